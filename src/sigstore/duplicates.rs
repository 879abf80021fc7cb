//! Fields of a bundle that say again, outside every signature, what a signed part says: whoever reads
//! them elsewhere must read the same. Verifiers take the signed part and ignore the copy.

use serde_json::Value;

use super::KeylessError;
use crate::digest::decode_base64;

/// Refuses a bundle that contradicts itself.
pub(super) fn check(bundle: &Value) -> Result<(), KeylessError> {
    if !bundle.get("mediaType").is_some_and(Value::is_string) {
        return Err(KeylessError::Bundle(
            "it does not say its media type".into(),
        ));
    }
    let entries = bundle
        .pointer("/verificationMaterial/tlogEntries")
        .and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        check_entry(entry)?;
    }
    Ok(())
}

fn check_entry(entry: &Value) -> Result<(), KeylessError> {
    let proof = entry.get("inclusionProof");
    // Rekor v1 counts entries over all its shards, and the proof within one. Rekor v2 has one number.
    let text = |path: &str| entry.pointer(path).and_then(Value::as_str);
    let version = text("/kindVersion/version");
    // The kind intoto had a version 0.0.2 in Rekor v1, and none in v2.
    if version == Some("0.0.2") && text("/kindVersion/kind") != Some("intoto") {
        let own = number(entry.get("logIndex"));
        let proved = number(proof.and_then(|proof| proof.get("logIndex")));
        same("the log index", own, proved)?;
    }
    let note = proof
        .and_then(|proof| proof.pointer("/checkpoint/envelope"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut lines = note.lines();
    let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
        return Ok(());
    };
    // Verifiers look for the signature by the key's short id. Rekor v1 has the tree's number behind its
    // name in the origin.
    let name = origin.split(" - ").next().unwrap_or_default();
    let signed = |line: &str| {
        let line = line.strip_prefix("\u{2014} ");
        line.is_some_and(|line| line.split(' ').next() == Some(name))
    };
    if !lines.any(signed) {
        return Err(KeylessError::Log(format!(
            "no signature of the checkpoint is by the log {name:?}"
        )));
    }
    let stated = proof.and_then(|proof| proof.get("treeSize"));
    same("the tree size", number(stated), Some(size.into()))?;
    let stated = proof
        .and_then(|proof| proof.get("rootHash"))
        .and_then(Value::as_str);
    let bytes =
        |text: &str| decode_base64(text).map(|bytes| data_encoding::HEXLOWER.encode(&bytes));
    same(
        "the root hash",
        stated.and_then(bytes),
        bytes(root).or_else(|| Some(root.into())),
    )
}

/// A number as protobuf JSON spells it: as a string, or as a number.
fn number(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A copy that is left out contradicts nothing.
fn same(
    field: &'static str,
    one: Option<String>,
    other: Option<String>,
) -> Result<(), KeylessError> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => {
            Err(KeylessError::Contradiction { field, one, other })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn copies_must_agree() {
        let root = data_encoding::BASE64.encode(&[7; 32]);
        let bundle = |index: &str, size: &str, hash: &str| {
            json!({"mediaType": "m", "verificationMaterial": {"tlogEntries": [{
                "logIndex": "5", "kindVersion": {"kind": "dsse", "version": "0.0.2"},
                "inclusionProof": {"logIndex": index, "treeSize": size, "rootHash": hash,
                    "checkpoint": {"envelope": format!("o\n9\n{root}\n\n— o AAAA\n")}}}]}})
        };
        let other = data_encoding::BASE64.encode(&[8; 32]);
        assert_eq!(check(&bundle("5", "9", &root)), Ok(()));
        for wrong in [
            bundle("6", "9", &root),
            bundle("5", "8", &root),
            bundle("5", "9", &other),
            json!({}),
        ] {
            assert!(check(&wrong).is_err(), "{wrong}");
        }
    }
}
