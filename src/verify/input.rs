//! What was found out about an artifact, as expressions of the policy are given it, and as `gate --input-only` prints it: who
//! has it and an engine for CEL comes to the same verdicts.

use serde_json::{Value, json};

use super::recall::Recalls;
use super::records::Judged;
use super::{ArtifactEvidence, Report};
use crate::artifact::Format;
use crate::digest::Algorithm;
use crate::policy::{MAX_ITEMS, Policy};
use crate::time::Timestamp;

/// The `schema` of the document.
const INPUT: &str = "https://weighbridge.dev/input/v1";

pub(super) fn input(
    report: &Report,
    artifact: &ArtifactEvidence,
    (judged, recalls): (&[Judged], &Recalls),
    policy: &Policy,
    now: Timestamp,
) -> Value {
    let manifest = &artifact.manifest;
    let files = manifest.files();
    let mut document = json!({
        "schema": INPUT,
        "now": now.seconds(),
        "artifact": {
            "digest": report.artifact.map(|digest| digest.to_string()),
            "files": report.files,
            "bytes": report.bytes,
        },
        "signers": signers(report, policy),
        "policy": { "log": policy.log.trust.log().name() },
    });
    // A list that is cut short would be half the truth.
    let mut lists = Vec::new();
    if files.len() <= MAX_ITEMS {
        let file = |file: &crate::artifact::ManifestFile| {
            let sha256 = manifest.digest(file, Algorithm::Sha256).unwrap_or_default();
            json!({
                "path": file.path.as_str(),
                "size": file.size,
                "sha256": data_encoding::HEXLOWER.encode(sha256),
                "format": file.format.map(Format::name),
            })
        };
        lists.push(("files", files.iter().map(file).collect::<Vec<_>>()));
    }
    if judged.len() <= MAX_ITEMS {
        lists.push(("records", judged.iter().map(record).collect()));
    }
    let lineage = &recalls.lineage;
    if lineage.members.len() <= MAX_ITEMS && lineage.sources.len() <= MAX_ITEMS {
        let mut members: Vec<String> = lineage.members.keys().map(ToString::to_string).collect();
        members.sort_unstable();
        lists.push(("lineage", members.into_iter().map(Value::from).collect()));
        let source = |one: &super::lineage::Source| json!({ "uri": one.uris.first(), "artifact": one.artifact.to_string(), "record": one.index });
        lists.push(("sources", lineage.sources.iter().map(source).collect()));
    }
    if let Some(document) = document.as_object_mut() {
        for (name, list) in lists {
            document.insert(name.into(), Value::Array(list));
        }
    }
    document
}

fn signers(report: &Report, policy: &Policy) -> Vec<Value> {
    let known = report.signers.iter().map(|name| {
        let mut identities = policy.identities.iter();
        let identity = identities.find(|one| one.name.as_str() == name);
        let roles = identity.map_or(&[][..], |one| one.roles.as_slice());
        json!({ "name": name, "roles": roles })
    });
    known.collect()
}

fn record(one: &Judged) -> Value {
    let record = &one.statement.record;
    let whole = serde_json::to_value(record).unwrap_or_default();
    json!({
        "index": one.index,
        "kind": record.kind().name(),
        "signer": one.identity.name,
        "role": record.actor().role,
        "time": record.time().seconds(),
        "expires": record.expires().map(Timestamp::seconds),
        "predicate": whole.get("predicate"),
    })
}
