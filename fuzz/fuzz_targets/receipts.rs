//! Receipts of earlier hashing, under a good keyed hash: what is read is within its bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::artifact::StatCache;
use weighbridge::artifact::stat_cache::HostKey;
use weighbridge::digest::Algorithm;
use weighbridge::time::Timestamp;

fuzz_target!(|data: &[u8]| {
    let key = HostKey([7; 32]);
    let began = Timestamp::from_millis(1_800_000_000_000).expect("a time");
    let mut cache = StatCache::new(&[Algorithm::Sha256], began);
    assert_eq!(
        cache.read(data.into(), &HostKey([8; 32])),
        None,
        "it is of another host"
    );
    let mac = blake3::keyed_hash(&key.0, data);
    let bytes = [data, mac.as_bytes()].concat();
    if let Some(count) = cache.read(bytes, &key) {
        assert!(count * (52 + 8 + 1 + 32) <= data.len());
    }
    assert_eq!(cache.used(), 0);
});
