//! Public keys in PEM and DER: one key has one PEM text and one id, whatever it was read from.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::key::PublicKey;

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = PublicKey::from_spki(data) {
        check(&key);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = PublicKey::from_pem(text)
    {
        check(&key);
        assert!(text.contains("-----BEGIN PUBLIC KEY-----"));
    }
});

fn check(key: &PublicKey) {
    let pem = key.to_pem();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let again = PublicKey::from_pem(&pem).expect("what is written can be read");
    assert_eq!(again, *key);
    assert_eq!(again.to_pem(), pem);
    assert_eq!(again.key_id(), key.key_id());
    let framed = PublicKey::from_pem(&format!("text\n{pem}text\n"));
    assert_eq!(framed.expect("text around it is ignored"), *key);

    // Nobody can sign without the private key.
    assert!(!key.verify(b"message", &[0; 64]));
    assert!(!key.verify(b"message", pem.as_bytes()));
}
