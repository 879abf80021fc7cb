//! Findings and verdicts: what a check saw, and what follows from all of them.
//! No check lives here, and nothing is printed here.

use schemars::JsonSchema;
use serde::Serialize;

/// What one finding means for the verdict, from harmless to decisive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A check was made and passed.
    Pass,
    /// A fact worth knowing; above all what was not covered.
    Note,
    /// Something a person should look at; the verdict does not depend on it.
    Warning,
    /// A check that the policy asks for could not be made.
    Inconclusive,
    /// A check was made and failed.
    Fail,
}

/// May it be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that was asked for was checked and is good.
    Pass,
    /// At least one check failed.
    Fail,
    /// Nothing failed, and something that must be checked was not.
    Inconclusive,
}

macro_rules! rules {
    ($($variant:ident => $id:literal, $doc:literal;)*) => {
        /// The closed list of rules. The id is stable: scripts and reports rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        pub enum Rule {
            $(#[doc = $doc] #[serde(rename = $id)] $variant,)*
        }

        impl Rule {
            /// Every rule, in the order in which checks run.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)*];

            /// The stable id, such as `artifact.added`.
            pub const fn id(self) -> &'static str {
                match self { $(Rule::$variant => $id,)* }
            }

            /// One sentence on what the rule checks.
            pub const fn meaning(self) -> &'static str {
                match self { $(Rule::$variant => $doc,)* }
            }
        }
    };
}

rules! {
    ArtifactEmpty => "artifact.empty", "The artifact holds at least one file.";
    ArtifactUnreadable => "artifact.unreadable", "Every file can be read.";
    ArtifactUnstable => "artifact.unstable", "No file changes while it is hashed.";
    ArtifactSymlink => "artifact.symlink", "The artifact holds no symbolic link.";
    ArtifactSpecial => "artifact.special-file", "The artifact holds regular files and directories only.";
    ArtifactName => "artifact.name", "Every file name can be written into a manifest.";
    ArtifactNotCovered => "artifact.not-covered", "Content that the check leaves out is named.";
    ArtifactReceipt => "artifact.receipt", "Files that were not read again, since this host had read them, are counted.";
    ArtifactFsVerity => "artifact.fs-verity", "Files that were not read, since the kernel keeps a digest of them and lets nobody change them, are counted; so are those that were to be measured and had to be read.";
    ArtifactFiles => "artifact.files", "Every file has the digest that was signed.";
    ArtifactChanged => "artifact.changed", "No signed file was changed.";
    ArtifactMissing => "artifact.missing", "No signed file is missing.";
    ArtifactAdded => "artifact.added", "No file was added to what was signed.";
    SignatureMissing => "signature.missing", "There is a signature.";
    SignatureFormat => "signature.format", "The bundle is a well-formed OMS v1.0 bundle.";
    SignatureUnsupported => "signature.unsupported", "The bundle uses only what this version can check.";
    SignatureKey => "signature.key", "The signature verifies under a trusted key.";
        SignatureOthers => "signature.others", "Every signature in the bundle is by somebody who is trusted.";
        SignatureAlgorithm => "signature.algorithm", "The signature is of a kind that the policy allows.";
    SignatureThreshold => "signature.threshold", "As many have signed as the policy asks for.";
    SignatureCertificate => "signature.certificate", "The signer's certificate leads to a trusted authority and held when it was used.";
    SignatureIdentity => "signature.identity", "The signature is by whom is expected.";
    SignatureRevoked => "signature.revoked", "The signer's key or certificate was not revoked when it was used.";
    SignatureTime => "signature.time", "A trusted authority says when the signature was made.";
    SignatureLog => "signature.log", "The signature is in the transparency log.";
    SignatureHint => "signature.hint", "The bundle's key hint names the key that verified it.";
    SignatureStatement => "signature.statement", "The signed statement is well-formed and its root digest is right.";
    SignatureCoverage => "signature.coverage", "Paths that the signature leaves out are named.";
    IdentityRole => "identity.role", "The signer has a role that the policy asks for.";
    LedgerUnreadable => "ledger.unreadable", "The ledger can be read.";
    LedgerCheckpoint => "ledger.checkpoint", "The checkpoint is signed by the trusted log key.";
    LedgerConsistent => "ledger.consistent", "The ledger's entries hash to the root of its checkpoint.";
    LedgerRemembered => "ledger.remembered", "The ledger goes on from every checkpoint that was seen of it before.";
        LedgerKeys => "ledger.keys", "Every record about a key counts, or is by nobody who may say whose keys count.";
    LedgerInclusion => "ledger.inclusion", "The record is included in the log.";
        SourceFiles => "source.files", "Every file is the one that the source publishes, and there is no other.";
    SourceEvidence => "source.evidence", "There is evidence of what the source publishes.";
    RecallRevoked => "recall.revoked", "Neither the artifact nor anything that it was made from was revoked.";
    RecallQuarantined => "recall.quarantined", "Neither the artifact nor anything that it was made from is in quarantine.";
    RecallDisposed => "recall.disposed", "Neither the artifact nor anything that it was made from was disposed of.";
    RecallUnknown => "recall.unknown", "Every record that takes something back can be understood.";
    RecordMissing => "record.missing", "The ledger holds the records that the policy asks for.";
    RecordPresent => "record.present", "A required record is in the ledger, by a permitted role.";
    RecordNegative => "record.negative", "The newest record of a required kind does not say that it failed.";
    RecordIgnored => "record.ignored", "A record about this artifact does not count, and why.";
    RecordUnknown => "record.unknown", "Every record that names this artifact can be understood.";
    SourceDenied => "source.denied", "The artifact, and what it was made from, is from a source that the policy allows.";
    SourceUnknown => "source.unknown", "The ledger says where the artifact is from.";
    SourceAuthentication => "source.authentication", "Who the source is was authenticated as far as the policy asks.";
    FormatDenied => "format.denied", "Every file is in a format that the policy allows.";
    LicenceDenied => "licence.denied", "The licence is one that the policy allows.";
    LicenceUnknown => "licence.unknown", "The ledger says under which licence the artifact is.";
    SizeExceeded => "size.exceeded", "The artifact is not larger than the policy allows.";
    ModalityRefused => "modality.refused", "Nothing is there that the policy does not allow, or that was registered as unused.";
    ModalityUnknown => "modality.unknown", "The artifact is registered with what it is used for.";
    LedgerAge => "ledger.age", "The ledger is not older than the policy allows, by its witnesses.";
    LedgerReceipt => "ledger.receipt", "The ledger itself is judged where the policy takes no receipt.";
    PolicyExpression => "policy.expression", "Every expression of the policy is true of the artifact.";
    ExceptionExpiring => "exception.expiring", "No exception ends soon.";
    SignatureRecorded => "signature.recorded", "The signature file is the one that the release names.";
}

/// One fact from a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// The stable id of the rule.
    pub rule: Rule,
    /// What it means for the verdict.
    pub severity: Severity,
    /// A file in the artifact, a leaf of the ledger, or a line of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What was found, and what was expected.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// A finding without location or hint.
    pub fn new(rule: Rule, severity: Severity, message: impl Into<String>) -> Finding {
        Finding {
            rule,
            severity,
            location: None,
            message: message.into(),
            hint: None,
        }
    }

    /// The same, at a place.
    #[must_use]
    pub fn at(mut self, location: impl Into<String>) -> Finding {
        self.location = Some(location.into());
        self
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = Some(hint.into());
        self
    }
}

/// The verdict that follows from `findings` when `files` files were hashed.
///
/// A failure decides; then anything that could not be checked. Nothing checked is never a pass.
pub fn verdict(findings: &[Finding], files: usize) -> Verdict {
    let worst = findings.iter().map(|finding| finding.severity).max();
    match worst {
        Some(Severity::Fail) => Verdict::Fail,
        Some(Severity::Inconclusive) | None => Verdict::Inconclusive,
        Some(_) if files == 0 => Verdict::Inconclusive,
        Some(_)
            if findings
                .iter()
                .all(|finding| finding.severity != Severity::Pass) =>
        {
            Verdict::Inconclusive
        }
        Some(_) => Verdict::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity) -> Finding {
        Finding::new(Rule::ArtifactFiles, severity, "")
    }

    #[test]
    fn nothing_checked_is_never_a_pass() {
        assert_eq!(verdict(&[], 7), Verdict::Inconclusive);
        assert_eq!(
            verdict(&[finding(Severity::Pass)], 0),
            Verdict::Inconclusive
        );
        assert_eq!(
            verdict(&[finding(Severity::Note)], 1),
            Verdict::Inconclusive
        );
        assert_eq!(verdict(&[finding(Severity::Pass)], 1), Verdict::Pass);
    }

    #[test]
    fn failure_wins_over_inconclusive() {
        use Severity::{Fail, Inconclusive, Pass};
        let all = [finding(Pass), finding(Inconclusive), finding(Fail)];
        assert_eq!(verdict(&all, 1), Verdict::Fail);
        assert_eq!(verdict(&all[..2], 1), Verdict::Inconclusive);
    }

    #[test]
    fn rule_ids_are_distinct() {
        let mut ids: Vec<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Rule::ALL.len());
    }
}
