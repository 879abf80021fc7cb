//! Tiles and entry bundles (C2SP tlog-tiles v0.1.0): which ones a tree of a given size has, how
//! they are called, and how a bundle is encoded. Bytes in, bytes out; no store.

use crate::digest::Sha256;
use crate::merkle::{self, Hash};

/// Hashes in a full tile, and entries in a full bundle.
pub const WIDTH: u64 = 256;
/// The longest entry.
pub const MAX_ENTRY: usize = 65_535;
/// The largest bundle.
pub const MAX_BUNDLE: u64 = WIDTH * (MAX_ENTRY as u64 + 2);
/// The largest tile.
pub const MAX_TILE: u64 = WIDTH * 32;

/// Which rows a tile belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// The entries themselves.
    Entries,
    /// Hashes of subtrees of 256^level leaves.
    Hashes { level: u8 },
}

/// One tile or entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    pub row: Row,
    pub index: u64,
    /// 1 to 256; less than 256 is a partial tile.
    pub width: u64,
}

impl Tile {
    /// Where it lies.
    pub fn key(&self) -> String {
        let row = match self.row {
            Row::Entries => "entries".into(),
            Row::Hashes { level } => level.to_string(),
        };
        let index = index_path(self.index);
        if self.width < WIDTH {
            format!("tile/{row}/{index}.p/{}", self.width)
        } else {
            format!("tile/{row}/{index}")
        }
    }

    /// The directory of the partial forms of a tile.
    pub fn partial_directory(&self) -> String {
        Tile { width: 1, ..*self }
            .key()
            .trim_end_matches("/1")
            .into()
    }

    /// Reads a key; only the one spelling is accepted.
    pub fn parse(key: &str) -> Option<Tile> {
        let (row, rest) = key.strip_prefix("tile/")?.split_once('/')?;
        let row = match row {
            "entries" => Row::Entries,
            level => Row::Hashes {
                level: crate::checkpoint::decimal(level)?.try_into().ok()?,
            },
        };
        let (path, width) = match rest.split_once(".p/") {
            Some((path, width)) => (path, crate::checkpoint::decimal(width)?),
            None => (rest, WIDTH),
        };
        let mut index: u64 = 0;
        for element in path.split('/') {
            let digits = element.strip_prefix('x').unwrap_or(element);
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Tile { row, index, width };
        let level_exists = !matches!(row, Row::Hashes { level } if level > 63);
        (level_exists && (1..=WIDTH).contains(&width) && tile.key() == key).then_some(tile)
    }

    /// How many hashes or entries the tile has in a log of `size` entries; 0 if it is not there.
    pub fn width_in(row: Row, index: u64, size: u64) -> u64 {
        let total = match row {
            Row::Entries => size,
            Row::Hashes { level } => size.checked_shr(8 * u32::from(level)).unwrap_or(0),
        };
        total.saturating_sub(index.saturating_mul(WIDTH)).min(WIDTH)
    }
}

/// 1234067 is `x001/x234/067`.
fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

/// The hash of a complete subtree from the hashes of its children's children and so on: a power of
/// two of them.
pub fn subtree_hash(hashes: &[Hash]) -> Hash {
    let mut builder = merkle::RootBuilder::default();
    for hash in hashes {
        builder.push(*hash);
    }
    builder.root()
}

/// A tile's bytes: its hashes one after the other.
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes in a tile's bytes, if they are `width` hashes.
pub fn parse_hashes(bytes: &[u8], width: u64) -> Option<Vec<Hash>> {
    if bytes.len() as u64 != width * 32 {
        return None;
    }
    let (hashes, _) = bytes.as_chunks::<32>();
    Some(hashes.iter().map(|hash| Sha256(*hash)).collect())
}

/// Appends an entry to the bytes of a bundle: its length in two bytes, big-endian, and itself.
pub fn encode_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Option<()> {
    let length = u16::try_from(entry.len()).ok()?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Some(())
}

/// Why bytes are not an entry bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("ends in the middle of entry {0} of the bundle")]
    Truncated(u64),
    #[error("has {0} bytes after its last entry")]
    Trailing(usize),
}

/// The entries of a bundle that has `count` of them and nothing else.
pub fn parse_bundle(bytes: &[u8], count: u64) -> Result<Vec<&[u8]>, BundleError> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    for number in 0..count {
        let truncated = BundleError::Truncated(number);
        let (length, after) = rest.split_first_chunk::<2>().ok_or(truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, after) = after.split_at_checked(length).ok_or(truncated)?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(BundleError::Trailing(rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_specification() {
        let tile = |row, index, width| Tile { row, index, width }.key();
        assert_eq!(
            tile(Row::Hashes { level: 0 }, 1_234_067, 256),
            "tile/0/x001/x234/067"
        );
        assert_eq!(tile(Row::Hashes { level: 2 }, 0, 1), "tile/2/000.p/1");
        assert_eq!(tile(Row::Entries, 273, 112), "tile/entries/273.p/112");
        assert_eq!(
            Tile {
                row: Row::Entries,
                index: 5,
                width: 9
            }
            .partial_directory(),
            "tile/entries/005.p"
        );
        for key in [
            "tile/0/x001/x234/067",
            "tile/2/000.p/1",
            "tile/entries/273.p/112",
            "tile/63/000",
        ] {
            assert_eq!(Tile::parse(key).unwrap().key(), key);
        }
        for key in [
            "tile/0/1",
            "tile/0/0001",
            "tile/00/000",
            "tile/64/000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/data/000",
            "tile/0/000/",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(Tile::parse(key), None, "{key}");
        }
    }

    /// Size 70,000 of C2SP tlog-tiles: 273 full and a partial of 112, one full and 17, and 1.
    #[test]
    fn widths_of_the_specification() {
        let width = |level, index| Tile::width_in(Row::Hashes { level }, index, 70_000);
        assert_eq!((width(0, 272), width(0, 273), width(0, 274)), (256, 112, 0));
        assert_eq!((width(1, 0), width(1, 1), width(1, 2)), (256, 17, 0));
        assert_eq!((width(2, 0), width(3, 0)), (1, 0));
        assert_eq!(Tile::width_in(Row::Hashes { level: 63 }, 0, u64::MAX), 0);
    }

    #[test]
    fn bundles() {
        let mut bundle = Vec::new();
        for entry in [b"".as_slice(), b"a", &vec![7; MAX_ENTRY]] {
            encode_entry(&mut bundle, entry).unwrap();
        }
        assert!(encode_entry(&mut bundle.clone(), &vec![0; MAX_ENTRY + 1]).is_none());
        assert_eq!(parse_bundle(&bundle, 3).unwrap()[1], b"a");
        assert_eq!(
            parse_bundle(&bundle, 2),
            Err(BundleError::Trailing(MAX_ENTRY + 2))
        );
        assert_eq!(parse_bundle(&bundle, 4), Err(BundleError::Truncated(3)));
        assert_eq!(
            parse_bundle(&bundle[..bundle.len() - 1], 3),
            Err(BundleError::Truncated(2))
        );
    }
}
