//! Signed notes and their keys: what was read is the text and the signature lines and nothing
//! else; a key has one spelling; what was signed is what is verified.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weighbridge::key::{PrivateKey, private_key_from_pem};
use weighbridge::note::{self, MAX_NOTE, Note, NoteError, NoteKey};

/// The log key of all seeds.
static KEY: LazyLock<PrivateKey> = LazyLock::new(|| {
    let pem = include_str!("../seeds/private_key_pem/ed25519");
    private_key_from_pem(pem, None).expect("a key")
});

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(key) = NoteKey::parse(text) {
            assert_eq!(key.to_string(), text);
            assert!(text.starts_with(key.name()));
        }
        sign(text);
    }
    let Ok(note) = Note::parse(data) else {
        return;
    };
    let rest = data.strip_prefix(note.text.as_bytes()).expect("its text");
    assert!(note.text.ends_with('\n') && !rest[1..].windows(2).any(|pair| pair == b"\n\n"));
    let lines = std::str::from_utf8(rest).expect("accepted, so UTF-8");
    let lines = lines.strip_prefix('\n').expect("a blank line");
    let lines = lines.strip_suffix('\n').expect("a last line");
    for line in lines.split('\n') {
        let parts: Vec<&str> = line.split(' ').collect();
        let ["\u{2014}", name, base64] = parts[..] else {
            panic!("{line:?} is no signature line");
        };
        assert!(!name.is_empty() && !name.contains('+'));
        assert!(base64.len() >= 8 && base64.len().is_multiple_of(4));
        assert!(!base64.trim_end_matches('=').contains('='));
    }
});

/// A note over `text` is read as `text`, good under its key and under no other name.
fn sign(text: &str) {
    let PrivateKey::Ed25519(key) = &*KEY else {
        return;
    };
    let Ok(signed) = note::sign(text, "fuzz", key) else {
        assert!(!text.ends_with('\n'));
        return;
    };
    let verifier = NoteKey::new("fuzz", key.verifying_key()).expect("a name");
    match Note::parse(signed.as_bytes()) {
        Ok(note) => {
            assert_eq!(note.text, text);
            assert_eq!(note.verify(&verifier), Ok(()));
            let other = NoteKey::new("other", key.verifying_key()).expect("a name");
            assert!(matches!(
                note.verify(&other),
                Err(NoteError::NoSignature(_))
            ));
        }
        Err(_) => assert!(signed.len() > MAX_NOTE || text.contains(|c| c < ' ' && c != '\n')),
    }
}
