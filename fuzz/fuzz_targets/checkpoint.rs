//! Checkpoints: what was read, written again, is the text without its extension lines. Signed, it
//! opens under the key of its origin and under no other.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weighbridge::checkpoint::{Checkpoint, CheckpointError, decimal};
use weighbridge::key::{PrivateKey, private_key_from_pem};
use weighbridge::note::{self, Note, NoteKey};

/// The log key of all seeds.
static KEY: LazyLock<PrivateKey> = LazyLock::new(|| {
    let pem = include_str!("../seeds/private_key_pem/ed25519");
    private_key_from_pem(pem, None).expect("a key")
});

fuzz_target!(|data: &[u8]| {
    let PrivateKey::Ed25519(key) = &*KEY else {
        return;
    };
    let trusted = NoteKey::new("fuzz.example/log", key.verifying_key()).expect("a name");
    if let Ok(checkpoint) = Checkpoint::open(data, &trusted) {
        assert_eq!(checkpoint.origin, trusted.name());
        assert!(data.starts_with(checkpoint.to_string().as_bytes()));
    }

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let number = text.parse::<u64>().ok();
    assert_eq!(
        decimal(text),
        number.filter(|number| number.to_string() == text)
    );
    let Ok(checkpoint) = Checkpoint::parse(text) else {
        return;
    };
    let canonical = checkpoint.to_string();
    assert!(text.starts_with(&canonical));
    assert_eq!(Checkpoint::parse(&canonical).as_ref(), Ok(&checkpoint));

    // A note holds no control characters; a checkpoint alone may, and its origin may be no name.
    if let Ok(signed) = note::sign(text, &checkpoint.origin, key)
        && Note::parse(signed.as_bytes()).is_ok()
    {
        let own = NoteKey::new(&checkpoint.origin, key.verifying_key()).expect("signed under it");
        assert_eq!(Checkpoint::open(signed.as_bytes(), &own), Ok(checkpoint));
    }
    let signed = note::sign(text, "other", key).expect("a name");
    let other = NoteKey::new("other", key.verifying_key()).expect("a name");
    match Checkpoint::open(signed.as_bytes(), &other) {
        Ok(checkpoint) => assert_eq!(checkpoint.origin, "other"),
        Err(error) => assert!(matches!(
            error,
            CheckpointError::Origin { .. } | CheckpointError::Note(_)
        )),
    }
});
