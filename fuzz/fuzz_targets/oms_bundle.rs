//! OMS signatures: the root digest belongs to the listed files, which are all there once, and no
//! key is said to have signed that did not.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weighbridge::bundle::Bundle;
use weighbridge::digest::{Algorithm, Digest, Sha256, decode};
use weighbridge::json;
use weighbridge::key::{PublicKey, private_key_from_pem};
use weighbridge::oms::{Content, DEFAULT_IGNORED, OmsBundle};
use weighbridge::path::ArtifactPath;

/// A key that signed none of the seeds.
static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let pem = include_str!("../seeds/private_key_pem/ed25519");
    private_key_from_pem(pem, None).expect("a key").public()
});

fuzz_target!(|data: &[u8]| {
    let Ok(oms) = OmsBundle::parse(data) else {
        return;
    };
    assert!(!oms.signed_by(&KEY));
    // Read in one pass by the types themselves, and yet with no name twice, whether it is known or not.
    json::parse::<Value>(data, usize::MAX).expect("as above");
    let payload = Bundle::parse(data).expect("as above").dsse_envelope.payload;
    if oms.model.is_ok() {
        json::parse::<Value>(&payload, usize::MAX).expect("as above");
    }
    let Ok(model) = &oms.model else { return };
    for ignored in DEFAULT_IGNORED {
        assert!(model.ignores(&ArtifactPath::new(ignored).expect("a name")));
    }

    // The same again, from the payload, without our types. Shards and version 0.2 list other things.
    if matches!(model.algorithm, Algorithm::Sharded(_)) {
        return;
    }
    let statement: Value = serde_json::from_slice(&payload).expect("as above");
    let Some(resources) = statement["predicate"]["resources"].as_array() else {
        return;
    };
    let pairs: Vec<(&str, &str)> = resources
        .iter()
        .filter_map(|resource| Some((resource["name"].as_str()?, resource["digest"].as_str()?)))
        .collect();
    let digests: Vec<u8> = pairs
        .iter()
        .flat_map(|(_, hex)| decode(model.algorithm, hex).expect("hexadecimal").to_vec())
        .collect();
    assert_eq!(model.root, Sha256::of(&digests));
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        model.root.to_string()
    );

    let by_name: BTreeMap<&str, &str> = pairs.iter().copied().collect();
    assert_eq!(by_name.len(), resources.len(), "each name once");
    assert_eq!(model.unsorted, !pairs.is_sorted_by(|a, b| a.0 < b.0));
    let hex = |digest: &[u8]| {
        Digest {
            algorithm: model.algorithm,
            bytes: digest.into(),
        }
        .hex()
    };
    match &model.content {
        Content::Tree(lines) => {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| (line.path.as_str(), hex(&line.digest)))
                .collect();
            let listed: Vec<_> = by_name
                .iter()
                .map(|(name, hex)| (*name, (*hex).to_owned()))
                .collect();
            assert_eq!(lines, listed);
        }
        Content::File { digest } => {
            assert_eq!(pairs.len(), 1);
            assert_eq!(pairs.first().map(|pair| pair.1), Some(hex(digest).as_str()));
        }
    }
});
