//! Certificates and revocation lists: whatever is read can be asked, and leads nowhere but to itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::time::Timestamp;
use weighbridge::x509::path::build;
use weighbridge::x509::{Certificate, CertificateTrust, Crl, Pin, Purpose, SubjectName};

fuzz_target!(|data: &[u8]| {
    let now = Timestamp::from_seconds(1_800_000_000).expect("a time");
    if let Ok(lists) = Crl::read(data) {
        assert!(!lists.is_empty());
    }
    let text = String::from_utf8_lossy(data);
    let chain = match Certificate::from_der(data) {
        Ok(one) => vec![one],
        Err(_) => Certificate::from_pem(&text).unwrap_or_default(),
    };
    let Some((leaf, pool)) = chain.split_first() else {
        return;
    };
    assert_eq!(Certificate::from_der(leaf.der()).as_ref().ok(), Some(leaf));
    _ = leaf.public_key();
    for purpose in [Purpose::CodeSigning, Purpose::TimeStamping] {
        // Nobody is trusted.
        assert!(build(leaf, pool, &[], purpose, now).is_err());
        if let Ok(path) = build(leaf, pool, &chain[chain.len() - 1..], purpose, now) {
            assert_eq!(path.first(), Some(&leaf));
            assert_eq!(path.last(), chain.last().as_ref());
        }
    }
    let somebody_else = SubjectName::Email("somebody@else.example".into());
    let trust = CertificateTrust {
        anchors: chain.clone(),
        pins: vec![Pin::Name(somebody_else.clone())],
        ..Default::default()
    };
    let admitted = trust.admit(&chain, None, now).is_ok();
    assert!(!admitted || leaf.names().contains(&somebody_else));
});
