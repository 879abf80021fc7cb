//! The signed state: what was changed in any way is not read as one.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weighbridge::key::{PrivateKey, private_key_from_pem};
use weighbridge::ledger::chain::Chain;
use weighbridge::note::{self, NoteKey};

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| {
    let pem = include_str!("../seeds/private_key_pem/ed25519");
    private_key_from_pem(pem, None).expect("a key")
});

fuzz_target!(|data: &[u8]| {
    let PrivateKey::Ed25519(own) = &*KEY else {
        unreachable!("the seed is an Ed25519 key");
    };
    let key = NoteKey::new("fuzz.example/log", own.verifying_key()).expect("a name");
    // Nobody else signs under this key.
    assert_eq!(Chain::open(data, &key), None);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(signed) = note::sign(text, key.name(), own)
        && let Some(chain) = Chain::open(signed.as_bytes(), &key)
    {
        assert_eq!(chain.text(key.name()), text);
    }
});
