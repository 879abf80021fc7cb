//! Private keys in PEM: one that is read, written and read again is the same key, and signs.
//! Encrypted ones stay closed: how much work they may ask for is tested elsewhere.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::key::{KeyError, is_encrypted, private_key_from_pem, private_key_to_pem};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = private_key_from_pem(text, None);
    assert_eq!(is_encrypted(text), matches!(read, Err(KeyError::Encrypted)));
    let Ok(key) = read else {
        return;
    };
    let pem = private_key_to_pem(&key, None).expect("a key can be written");
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let again = private_key_from_pem(&pem, None).expect("what is written can be read");
    assert_eq!(again.public(), key.public());
    assert_eq!(private_key_to_pem(&again, None).expect("as above"), pem);

    let signatures = key.signatures(b"message");
    assert_eq!(
        again.signatures(b"message"),
        signatures,
        "signing is deterministic"
    );
    let all: Vec<&[u8]> = signatures.iter().map(Vec::as_slice).collect();
    assert!(key.public().made(&[b"message"], &all).is_some());
    assert!(key.public().made(&[b"massage"], &all).is_none());
});
