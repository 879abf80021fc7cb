//! Timestamps: none is accepted over what it is not about, whatever its bytes.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weighbridge::time::Timestamp;
use weighbridge::timestamp::{Authorities, Request, request, verify, verify_response};
use weighbridge::x509::Certificate;

/// The authority that signed the seeds, over `message`.
static ANCHORS: LazyLock<Vec<Certificate>> = LazyLock::new(|| {
    Certificate::from_pem(include_str!("../seeds/timestamp_root.pem")).expect("certificates")
});

fuzz_target!(|data: &[u8]| {
    let authorities = Authorities {
        anchors: &ANCHORS,
        withdrawn: &[],
    };
    let now = Timestamp::from_seconds(2_000_000_000).expect("a time");
    assert!(verify(data, b"massage", authorities, now).is_err());
    let asked = request(b"message", [7; 16]);
    assert!(verify_response(data, b"message", &asked, authorities, now).is_err());
    if let Ok(stamp) = verify(data, b"message", authorities, now) {
        assert!(stamp.latest() >= stamp.time);
    }
    if let Some(asked) = Request::parse(data, b"message") {
        assert_eq!(asked.der, data);
    }
});
