//! Entry bundles and tiles: bytes are a bundle of one number of entries at most, and encoding the
//! entries gives the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::ledger::tile::{encode_entry, encode_hashes, parse_bundle, parse_hashes};

fuzz_target!(|data: &[u8]| {
    let count = count(data);
    let around = count.map_or([0, 1, 256], |count| {
        [count.saturating_sub(1), count, count + 1]
    });
    for asked in around.into_iter().chain([u64::MAX]) {
        let Ok(entries) = parse_bundle(data, asked) else {
            assert_ne!(Some(asked), count);
            continue;
        };
        assert_eq!(Some(asked), count);
        let mut bundle = Vec::new();
        for entry in entries {
            encode_entry(&mut bundle, entry).expect("it had a length before");
        }
        assert_eq!(bundle, data);
    }

    let width = data.len() as u64 / 32;
    if let Some(hashes) = parse_hashes(data, width) {
        assert_eq!(encode_hashes(&hashes), data);
    } else {
        assert!(!data.len().is_multiple_of(32));
    }
    assert!(parse_hashes(data, width + 1).is_none());
});

/// How many entries there are, if the last one ends where the bytes end.
fn count(mut bytes: &[u8]) -> Option<u64> {
    let mut count = 0;
    while let [high, low, rest @ ..] = bytes {
        bytes = rest.get(usize::from(*high) * 256 + usize::from(*low)..)?;
        count += 1;
    }
    bytes.is_empty().then_some(count)
}
