//! The verdict as a SLSA Verification Summary (slsa.dev, `verification_summary/v1`), to be signed: whoever trusts the signer
//! need not verify again.

use serde_json::{Value, json};

use super::ReportDocument;
use crate::artifact::ArtifactDigest;
use crate::finding::Verdict;
use crate::json::{self, JsonError};
use crate::statement::{STATEMENT, SubjectDigest};

/// What the predicate is called.
pub const VERIFICATION_SUMMARY: &str = "https://slsa.dev/verification_summary/v1";

/// What is said to have been reached: that the policy was met. It is no level of a track of SLSA.
const REACHED: &str = "WEIGHBRIDGE_POLICY";

/// The statement. Inconclusive is not passed.
pub fn statement(
    document: &ReportDocument,
    artifact: ArtifactDigest,
    resource: &str,
) -> Result<Vec<u8>, JsonError> {
    let passed = document.verdict == Verdict::Pass;
    let policy = document.policy.as_ref().map(|policy| {
        json!({ "uri": policy_uri(&policy.path, policy.profile.as_deref()), "digest": { "sha256": policy.sha256 } })
    });
    let inputs: Vec<Value> = document
        .records
        .iter()
        .map(|record| json!({ "uri": format!("record:{}", record.index) }))
        .collect();
    let name = document
        .artifact
        .path
        .rsplit('/')
        .find(|part| !part.is_empty());
    json::canonical(&json!({
        "_type": STATEMENT,
        "subject": [{ "name": name, "digest": SubjectDigest::new(artifact, None) }],
        "predicateType": VERIFICATION_SUMMARY,
        "predicate": {
            "verifier": {
                "id": "https://weighbridge.dev/gate",
                "version": { "weighbridge": env!("CARGO_PKG_VERSION") },
            },
            "timeVerified": document.checked_at,
            "resourceUri": resource,
            "policy": policy,
            "inputAttestations": inputs,
            "verificationResult": if passed { "PASSED" } else { "FAILED" },
            "verifiedLevels": [if passed { REACHED } else { "FAILED" }],
            "slsaVersion": "1.1",
        },
    }))
}

/// No path of a machine: the name of the file.
fn policy_uri(path: &str, profile: Option<&str>) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match profile {
        Some(profile) => format!("{name}#profile.{profile}"),
        None => name.to_owned(),
    }
}
