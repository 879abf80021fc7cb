//! The report of `gate` and `verify` as a JSON document, with its schema.

use schemars::JsonSchema;
use serde::Serialize;

use crate::digest::Sha256;
use crate::finding::{Finding, Verdict};
use crate::statement::Kind;
use crate::time::Timestamp;
use crate::verify::{CheckedFiles, Report};

/// Everything that was checked about one artifact, and the verdict.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReportDocument {
    /// Always `https://weighbridge.dev/report/v1`.
    pub schema: String,
    /// The command that made it: `gate`, `verify`.
    pub command: String,
    pub verdict: Verdict,
    /// The process's exit code: 0 pass, 1 fail, 2 inconclusive.
    pub exit_code: u8,
    /// As of when everything was judged.
    pub checked_at: Timestamp,
    /// Whose time that is.
    pub clock: ClockSource,
    pub artifact: ArtifactSummary,
    /// The policy that was applied.
    pub policy: Option<PolicySummary>,
    /// The identity whose signature is good; of several, that of the first signature.
    pub signer: Option<String>,
    /// Every identity whose signature is good.
    pub signers: Vec<String>,
    /// The records that the verdict relies on.
    pub records: Vec<RecordSummary>,
    /// One entry per check, in the order in which they ran.
    pub findings: Vec<Finding>,
    /// What this verdict says nothing about.
    pub not_checked: Vec<String>,
}

/// Whose time a verdict is as of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClockSource {
    /// The clock of this machine.
    Local,
    /// The user's: `--at`.
    Given,
}

/// The artifact.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ArtifactSummary {
    /// As it was given.
    pub path: String,
    /// `dirHash1:…` or `sha256:…`; absent if there is no file.
    pub digest: Option<String>,
    /// Files that were hashed.
    pub files: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// How each file was checked; nothing where no file could be.
    pub checked: Vec<CheckedFiles>,
}

/// The policy.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PolicySummary {
    pub path: String,
    /// The profile whose gate was applied, if one was named.
    pub profile: Option<String>,
    /// SHA-256 of the policy file.
    pub sha256: Sha256,
    /// SHA-256 of the trust policy that it names, if it names one.
    pub trust_sha256: Option<Sha256>,
    /// The other files that it names.
    pub files: Vec<FileSummary>,
}

/// A file that was relied on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FileSummary {
    pub path: String,
    pub sha256: Sha256,
}

/// A record.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RecordSummary {
    /// Its index in the log.
    pub index: u64,
    pub kind: Kind,
    pub signer: String,
    /// When it was written, as its signer says.
    pub time: Timestamp,
}

/// The `schema` of a [`ReportDocument`].
pub const SCHEMA: &str = "https://weighbridge.dev/report/v1";

impl ReportDocument {
    /// The document of `report`.
    pub fn new(
        command: &str,
        path: String,
        report: Report,
        policy: Option<PolicySummary>,
        not_checked: &[&str],
        (now, clock): (Timestamp, ClockSource),
    ) -> ReportDocument {
        let verdict = report.verdict();
        ReportDocument {
            schema: SCHEMA.into(),
            command: command.into(),
            verdict,
            exit_code: exit_code(verdict),
            checked_at: now,
            clock,
            artifact: ArtifactSummary {
                path,
                digest: report.artifact.map(|digest| digest.to_string()),
                files: report.files,
                bytes: report.bytes,
                checked: report.checked,
            },
            policy,
            signer: report.signers.first().cloned(),
            signers: report.signers,
            records: report
                .records
                .into_iter()
                .map(|record| RecordSummary {
                    index: record.index,
                    kind: record.kind,
                    signer: record.signer,
                    time: record.time,
                })
                .collect(),
            findings: report.findings,
            not_checked: not_checked.iter().map(|&text| text.into()).collect(),
        }
    }
}

/// The exit code of a verdict. Only 0 opens a gate.
pub fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Fail => 1,
        Verdict::Inconclusive => 2,
    }
}
