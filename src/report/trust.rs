//! What was proved, layer by layer, and what was not: a line each (`gate --explain`). Says no more than the findings do.

use std::fmt::Write;

use super::ReportDocument;
use crate::finding::{Finding, Rule, Severity};

/// A layer, the rules that speak of it, and what it means that none of them does.
type Layer = (&'static str, &'static [Rule], &'static str);

const LAYERS: &[Layer] = &[
    (
        "files",
        &[
            Rule::ArtifactFiles,
            Rule::ArtifactChanged,
            Rule::ArtifactMissing,
            Rule::ArtifactAdded,
            Rule::ArtifactEmpty,
            Rule::ArtifactSymlink,
            Rule::ArtifactSpecial,
            Rule::ArtifactName,
            Rule::ArtifactUnreadable,
            Rule::ArtifactUnstable,
        ],
        "no list of files was compared",
    ),
    (
        "signature",
        &[
            Rule::SignatureKey,
            Rule::SignatureStatement,
            Rule::SignatureMissing,
            Rule::SignatureFormat,
            Rule::SignatureUnsupported,
            Rule::SignatureCertificate,
            Rule::SignatureAlgorithm,
            Rule::SignatureRevoked,
            Rule::SignatureRecorded,
        ],
        "no signature was verified",
    ),
    (
        "time of signing",
        &[Rule::SignatureTime, Rule::SignatureLog],
        "nobody but the signer says when it was signed",
    ),
    (
        "signer",
        &[
            Rule::IdentityRole,
            Rule::SignatureIdentity,
            Rule::SignatureThreshold,
            Rule::SignatureOthers,
        ],
        "it was not asked who may sign",
    ),
    (
        "ledger",
        &[
            Rule::LedgerConsistent,
            Rule::LedgerUnreadable,
            Rule::LedgerCheckpoint,
            Rule::LedgerInclusion,
            Rule::LedgerReceipt,
        ],
        "no ledger was read",
    ),
    (
        "ledger's history",
        &[Rule::LedgerRemembered],
        "nothing shows that the ledger was not rolled back, but what this host remembers of it",
    ),
    (
        "ledger's age",
        &[Rule::LedgerAge],
        "how old what the ledger shows is, was not asked",
    ),
    (
        "whose keys count",
        &[Rule::LedgerKeys],
        "the policy alone says whose keys count: the ledger changed nothing",
    ),
    (
        "recalls",
        &[
            Rule::RecallRevoked,
            Rule::RecallQuarantined,
            Rule::RecallDisposed,
            Rule::RecallUnknown,
        ],
        "whether it was recalled is not known",
    ),
    (
        "records",
        &[
            Rule::RecordPresent,
            Rule::RecordMissing,
            Rule::RecordNegative,
            Rule::RecordUnknown,
        ],
        "no record was asked for",
    ),
    (
        "source",
        &[
            Rule::SourceDenied,
            Rule::SourceUnknown,
            Rule::SourceAuthentication,
        ],
        "where it is from was not asked",
    ),
    (
        "formats",
        &[Rule::FormatDenied],
        "what kinds of files it has was not asked",
    ),
    (
        "licence",
        &[Rule::LicenceDenied, Rule::LicenceUnknown],
        "its licence was not asked",
    ),
    (
        "size and parts",
        &[
            Rule::SizeExceeded,
            Rule::ModalityRefused,
            Rule::ModalityUnknown,
        ],
        "neither its size nor its parts were asked",
    ),
    (
        "rules of one's own",
        &[Rule::PolicyExpression],
        "the policy has none",
    ),
    (
        "content",
        &[],
        "no file was looked into for what it would do when it is loaded",
    ),
    (
        "behaviour",
        &[],
        "how the model behaves is not shown by any of this: only who tested it, where that is on record",
    ),
];

/// One line for each layer.
pub fn render(document: &ReportDocument) -> String {
    let mut out = String::new();
    for (name, rules, silence) in LAYERS {
        let about: Vec<&Finding> = document
            .findings
            .iter()
            .filter(|finding| rules.contains(&finding.rule) && finding.severity != Severity::Note)
            .collect();
        let worst = about.iter().max_by_key(|finding| finding.severity);
        let (word, text) = match worst {
            None => ("not asked", (*silence).to_owned()),
            Some(finding) => {
                let word = match finding.severity {
                    Severity::Fail => "refuted",
                    Severity::Inconclusive => "unknown",
                    Severity::Warning => "doubtful",
                    _ => "proved",
                };
                let same = about
                    .iter()
                    .filter(|one| one.severity == finding.severity)
                    .map(|one| match &one.location {
                        Some(location) => format!("{location} {}", one.message),
                        None => one.message.clone(),
                    });
                let all: Vec<String> = same.take(3).collect();
                (word, all.join("; "))
            }
        };
        _ = writeln!(
            out,
            "  {name:<18} {word:<9} {}",
            crate::path::display(&text)
        );
    }
    out
}
