//! What a host has sealed, under a good keyed hash: what is read is within its bytes, and is written as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::artifact::Seals;
use weighbridge::artifact::stat_cache::HostKey;
use weighbridge::digest::Algorithm;

fuzz_target!(|data: &[u8]| {
    let key = HostKey([7; 32]);
    let none = || Seals::of(&[Algorithm::Sha256]);
    assert_eq!(none().read(data, &key), None, "nobody has keyed it");
    let mac = blake3::keyed_hash(&key.0, data);
    let bytes = [data, mac.as_bytes()].concat();
    assert_eq!(
        none().read(&bytes, &HostKey([8; 32])),
        None,
        "it is of another host"
    );
    let mut seals = none();
    let Some(count) = seals.read(&bytes, &key) else {
        return;
    };
    assert!(count * 64 <= data.len());
    assert!(seals.len() <= count);
    let written = seals.write(&key).expect("it is as large at most");
    let mut again = none();
    let read = again.read(&written, &key).expect("as it was written");
    // What contradicts itself is not written.
    assert!(read <= seals.len());
    assert_eq!(again.write(&key), Some(written));
});
