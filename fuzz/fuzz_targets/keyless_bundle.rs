//! Keyless bundles, and how we call the crate that verifies them: nothing is proved about something else.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use weighbridge::digest::Sha256;
use weighbridge::sigstore::trust::{Instance, public, verifier};
use weighbridge::sigstore::{Ask, KeylessVerifier, Subject};

static ROOT: LazyLock<Arc<dyn KeylessVerifier>> =
    LazyLock::new(|| public(Instance::Production).expect("a trust root"));

fuzz_target!(|data: &[u8]| {
    // The same bytes as a trust root: read, or refused.
    _ = verifier(data);
    let other = Sha256::of(b"what no seed is about");
    assert!(ROOT.prove(data, other, Ask::ALL).is_err());
    let subject = Subject::Bytes(b"what no seed is about");
    assert!(ROOT.prove_subject(data, &subject, Ask::ALL).is_err());
    if let Ok(bundle) = weighbridge::oms::OmsBundle::parse(data) {
        _ = bundle
            .first_subject()
            .map(|digest| ROOT.prove(data, digest, Ask::ALL));
    }
});
