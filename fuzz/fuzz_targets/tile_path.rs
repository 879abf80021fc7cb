//! Keys of tiles: each tile has one key and each key one tile; widths are those of the definition.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::ledger::tile::{Row, Tile, WIDTH};

fuzz_target!(|data: &[u8]| {
    if let Some(tile) = std::str::from_utf8(data).ok().and_then(Tile::parse) {
        assert_eq!(tile.key().as_bytes(), data);
        check(tile);
    }
    if let [level, width, numbers @ ..] = data
        && let Some((index, rest)) = numbers.split_first_chunk()
        && let Some((size, _)) = rest.split_first_chunk()
    {
        let row = match level % 65 {
            64 => Row::Entries,
            level => Row::Hashes { level },
        };
        let (index, width) = (u64::from_le_bytes(*index), u64::from(*width) + 1);
        check(Tile { row, index, width });
        check_width(row, index, u64::from_le_bytes(*size));
    }
});

fn check(tile: Tile) {
    assert!((1..=WIDTH).contains(&tile.width));
    let key = tile.key();
    assert_eq!(Tile::parse(&key), Some(tile), "{key}");
    let directory = tile.partial_directory();
    if tile.width < WIDTH {
        assert_eq!(key, format!("{directory}/{}", tile.width));
    } else {
        assert_eq!(format!("{key}.p"), directory);
    }
}

/// A tile has the hashes of its row that are neither before nor after it.
fn check_width(row: Row, index: u64, size: u64) {
    let level = match row {
        Row::Entries => 0,
        Row::Hashes { level } => u32::from(level),
    };
    let in_row = (0..level).fold(u128::from(size), |size, _| size / 256);
    let before = u128::from(index) * 256;
    let naive = in_row.clamp(before, before + 256) - before;
    assert_eq!(u128::from(Tile::width_in(row, index, size)), naive);
}
