//! The signed state: what was changed in any way is not read as one.

#![no_main]

use std::sync::LazyLock;

use ed25519_dalek::SigningKey;
use libfuzzer_sys::fuzz_target;
use weighbridge::ledger::chain::Chain;
use weighbridge::note::{self, NoteKey};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[7; 32]));

fuzz_target!(|data: &[u8]| {
    let key = NoteKey::new("fuzz.example/log", KEY.verifying_key()).expect("a name");
    // Nobody else signs under this key.
    assert_eq!(Chain::open(data, &key), None);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(signed) = note::sign(text, key.name(), &KEY)
        && let Some(chain) = Chain::open(signed.as_bytes(), &key)
    {
        assert_eq!(chain.text(key.name()), text);
    }
});
