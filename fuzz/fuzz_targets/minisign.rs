//! Keys and signatures of minisign: nothing that was read is by a key that did not make it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::minisign::{MinisignKey, MinisignSignature};

const KEY: &str = include_str!("../seeds/minisign/key");
/// What the seed is a signature of.
const CONTENT: &[u8] = b"abc\n";

fuzz_target!(|data: &[u8]| {
    let key = MinisignKey::parse(KEY).expect("a key");
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(other) = MinisignKey::parse(text)
    {
        assert_eq!(other.id().len(), 16);
    }
    let Ok(signature) = MinisignSignature::parse(data) else {
        return;
    };
    assert!(key.verify(&signature, b"something else").is_err());
    let digest = weighbridge::digest::Algorithm::Blake2b.of(CONTENT);
    if let Ok(comment) = key.verify(&signature, &digest) {
        assert!(comment.starts_with("timestamp:"));
    }
});
