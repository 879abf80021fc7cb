//! DSSE envelopes: the canonical form is read as the same envelope, what is signed can be taken
//! apart in one way, and no signature is good that the key did not make.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weighbridge::envelope::{Envelope, pre_authentication_encoding};
use weighbridge::key::{PrivateKey, private_key_from_pem};

/// A key that signed none of the seeds.
static KEY: LazyLock<PrivateKey> = LazyLock::new(|| {
    let pem = include_str!("../seeds/private_key_pem/ed25519");
    private_key_from_pem(pem, None).expect("a key")
});

fuzz_target!(|data: &[u8]| {
    let Ok(envelope) = Envelope::parse(data, 1 << 20) else {
        return;
    };
    assert!(
        data.trim_ascii_start().starts_with(b"{"),
        "an envelope is an object"
    );
    let canonical = envelope.to_json().expect("it came from JSON");
    let again = Envelope::parse(&canonical, usize::MAX).expect("canonical JSON is JSON");
    assert_eq!(again, envelope);
    assert_eq!(again.to_json().expect("as above"), canonical);
    assert_eq!(base64(&canonical), base64(data), "bytes have one spelling");

    let (payload_type, payload) = (envelope.payload_type.as_str(), &envelope.payload);
    let signed = pre_authentication_encoding(payload_type, payload);
    assert_eq!(
        taken_apart(&signed),
        Some((payload_type.as_bytes(), payload.as_slice()))
    );

    assert!(!envelope.signed_by(&KEY.public()));
    let own =
        Envelope::sign(payload.clone(), payload_type, &*KEY, "").expect("a key in memory signs");
    assert!(own.signed_by(&KEY.public()));
});

/// The payload and the signatures as they are spelled.
fn base64(envelope: &[u8]) -> Vec<Value> {
    let envelope: Value = serde_json::from_slice(envelope).expect("as above");
    let signatures = envelope["signatures"].as_array().into_iter().flatten();
    let spelled = signatures.map(|signature| signature["sig"].clone());
    spelled.chain([envelope["payload"].clone()]).collect()
}

/// The type and the payload, read from front to back without looking for anything but lengths.
fn taken_apart(encoding: &[u8]) -> Option<(&[u8], &[u8])> {
    let (payload_type, rest) = field(encoding.strip_prefix(b"DSSEv1 ")?)?;
    let (payload, rest) = field(rest.strip_prefix(b" ")?)?;
    rest.is_empty().then_some((payload_type, payload))
}

/// A length, a space, and as many bytes.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().position(|&byte| byte == b' ')?;
    let length = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    bytes[space + 1..].split_at_checked(length)
}
