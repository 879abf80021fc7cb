//! `record quarantine|revoke|release-quarantine`: what must not be used, by its digest, source, key or record.

use std::num::NonZero;
use std::path::PathBuf;

use serde_json::json;

use super::any::{from_file, template};
use super::value::entry;
use super::{Recorder, SigningArgs, flag, parse_digest, signing_key, text};
use crate::artifact::ArtifactDigest;
use crate::cli::context::Config;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::target::TargetArgs;
use crate::cli::{Global, Outcome, signers, values};
use crate::digest::{Algorithm, Sha256};
use crate::envelope::Envelope;
use crate::ledger::Log;
use crate::ledger::tile::MAX_ENTRY;
use crate::statement::recall::{Quarantine, RecallReason, ReleaseQuarantine, Revoke, Scope};
use crate::statement::source_pattern::SourcePattern;
use crate::statement::{Kind, Record, RecordReference, Statement, SubjectDigest, Text, TimeSource};
use crate::time::Timestamp;

/// Record that something must not be used until its quarantine is over, and nothing that was made from it
#[derive(clap::Args)]
#[command(
    after_help = "Signed in the role developer or operator or custodian; over when somebody of the same role says so.

Examples:
  weighbridge record quarantine --reason tampering ./model
  weighbridge record quarantine --reason poisoned-source --source https://forum.example.com/"
)]
pub(super) struct QuarantineArgs {
    #[command(flatten)]
    recall: RecallArgs,
}

/// Record that something must not be used any more, and nothing that was made from it
#[derive(clap::Args)]
#[command(
    after_help = "Signed in the role developer or operator or custodian. Nothing takes it back.

Examples:
  weighbridge record revoke --reason vulnerability --explanation CVE-2026-0001 ./model
  weighbridge record revoke --reason licence --source https://hub.example/acme/
  weighbridge record revoke --reason other --record 0"
)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    recall: RecallArgs,
}

/// Record that a quarantine is over
#[derive(clap::Args)]
#[command(after_help = "Signed in the role of whoever recorded the quarantine.

Example:
  weighbridge record release-quarantine --explanation \"the accounts were not used\" 17")]
pub(super) struct ReleaseQuarantineArgs {
    /// The index of the quarantine
    #[arg(required_unless_present = "template")]
    index: Option<u64>,
    /// Why it is over
    #[arg(long, value_name = "TEXT", required_unless_present = "template")]
    explanation: Option<String>,
    /// Print what one says as JSON, and do nothing
    #[arg(long)]
    template: bool,
    #[command(flatten)]
    signing: SigningArgs,
}

/// What is meant, and why.
#[derive(clap::Args)]
struct RecallArgs {
    /// An artifact: a file or a directory
    #[arg(group = "what")]
    path: Option<PathBuf>,
    /// An artifact by its digest, as dirHash1:HEX or sha256:HEX
    #[arg(long, group = "what", value_name = "DIGEST")]
    digest: Option<String>,
    /// Everything that was acquired from there: a domain, the beginning of an address, or one with * for any characters
    #[arg(long, group = "what", value_name = "PATTERN")]
    source: Option<SourcePattern>,
    /// Everything that a key signed, by its id: as of --since, or as of now
    #[arg(long, group = "what", value_name = "HEX")]
    key_id: Option<Sha256>,
    /// One record, by its index
    #[arg(long, group = "what", value_name = "INDEX")]
    record: Option<u64>,
    /// As of when the key no longer counts
    #[arg(long, value_name = "TIME", requires = "key_id")]
    since: Option<Timestamp>,
    /// Why
    #[arg(long, value_parser = values::word::<RecallReason>(values::RECALL_REASONS), value_name = "WORD")]
    reason: Option<RecallReason>,
    /// The reason in words
    #[arg(long, value_name = "TEXT")]
    explanation: Option<String>,
    /// What it says, as JSON in the form of --template, for an artifact or a source; flags go before it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print what one says as JSON, and do nothing
    #[arg(long)]
    template: bool,
    /// The signature of the artifact, which is not part of it
    #[arg(long, value_name = "FILE", requires = "path")]
    signature: Option<PathBuf>,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    #[command(flatten)]
    signing: SigningArgs,
}

/// What is meant, named.
struct Meant {
    scope: Scope,
    name: String,
    digest: ArtifactDigest,
}

impl RecallArgs {
    fn meant(&self, recorder: &Recorder<'_>, output: &Output) -> Result<Meant, Failure> {
        let file = self.from.as_deref().map(from_file).transpose()?;
        let named = file
            .as_ref()
            .and_then(|file| file.get("scope")?.get("pattern")?.as_str());
        let pattern = match (&self.source, named) {
            (Some(pattern), _) => Some(pattern.clone()),
            (None, Some(text)) => Some(
                text.parse()
                    .map_err(|error| Failure::because("the pattern", &error))?,
            ),
            (None, None) => None,
        };
        if let Some(path) = &self.path {
            let target = TargetArgs {
                path: path.clone(),
                signature: self.signature.clone(),
                jobs: self.jobs,
            };
            let target = target.open()?;
            let evidence = target.read_complete(&[Algorithm::Sha256], output)?;
            let digest = evidence.manifest.artifact_digest();
            return Ok(Meant {
                scope: Scope::Artifact {},
                name: target.artifact.name(),
                digest: digest.map_err(|error| Failure::because(path.display(), &error))?,
            });
        }
        if let Some(text) = &self.digest {
            let digest = parse_digest(text).ok_or_else(|| {
                let shown = crate::path::display(text);
                Failure::error(format!(
                    "--digest {shown}: expected dirHash1:HEX or sha256:HEX"
                ))
            })?;
            return Ok(Meant {
                scope: Scope::Artifact {},
                name: text.clone(),
                digest,
            });
        }
        if let Some(id) = self.key_id {
            if !recorder.knows(&id) {
                output.warn(format!("{id} is no key of anybody in the policy"));
            }
            return Ok(Meant {
                scope: Scope::Key { since: self.since },
                name: format!("key {id}"),
                digest: ArtifactDigest::Sha256(id),
            });
        }
        if let Some(index) = self.record {
            let log = Log::open(recorder.store(), recorder.trust())?;
            let entry = entry(&log, index)?;
            return Ok(Meant {
                scope: Scope::Record { index },
                name: format!("record {index}"),
                digest: ArtifactDigest::Sha256(Sha256::of(&entry)),
            });
        }
        let pattern = pattern.ok_or_else(|| {
            Failure::error("it is not said what is meant")
                .hint("name an artifact, or give --digest, --source, --key-id or --record")
        })?;
        Ok(Meant {
            name: pattern.as_str().to_owned(),
            digest: ArtifactDigest::Sha256(Sha256::of(pattern.as_str().as_bytes())),
            scope: Scope::Source { pattern },
        })
    }

    fn reason(&self) -> Result<(RecallReason, Option<Text>), Failure> {
        let file = self.from.as_deref().map(from_file).transpose()?;
        let said = |name: &str| file.as_ref().and_then(|file| file.get(name)).cloned();
        let reason = match (self.reason, said("reason")) {
            (Some(reason), _) => reason,
            (None, Some(word)) => serde_json::from_value(word)
                .map_err(|error| Failure::because("the reason", &error))?,
            (None, None) => {
                return Err(Failure::error("it is not said why").hint("give --reason"));
            }
        };
        let words = said("explanation").and_then(|words| words.as_str().map(str::to_owned));
        let words = self.explanation.clone().or(words);
        Ok((reason, text("--explanation", words.as_ref())?))
    }

    /// What stands in a file must be what can be said, and said once.
    fn is_understood(&self) -> Result<(), Failure> {
        let Some(path) = &self.from else {
            return Ok(());
        };
        let file = from_file(path)?;
        let known = ["scope", "reason", "explanation"];
        let names = file.as_object().into_iter().flat_map(|file| file.keys());
        if let Some(name) = names
            .into_iter()
            .find(|name| !known.contains(&name.as_str()))
        {
            return Err(Failure::error(format!(
                "{}: {name:?} cannot be said there; {} can",
                path.display(),
                known.join(", ")
            )));
        }
        if file
            .get("explanation")
            .is_some_and(|words| !words.is_string())
        {
            return Err(Failure::error(format!(
                "{}: the explanation is no text",
                path.display()
            )));
        }
        let scope = file
            .get("scope")
            .and_then(|scope| scope.get("of")?.as_str());
        let named = self.path.is_some()
            || self.digest.is_some()
            || self.source.is_some()
            || self.key_id.is_some()
            || self.record.is_some();
        match scope {
            Some("source") if !named => Ok(()),
            Some("artifact") if self.path.is_some() || self.digest.is_some() => Ok(()),
            None if named => Ok(()),
            _ => Err(Failure::error(format!(
                "{}: what is meant there is not what is named here",
                path.display()
            ))
            .hint("a file can mean a source, or the artifact that is named")),
        }
    }

    fn run(&self, kind: Kind, global: &Global, output: &Output) -> Outcome {
        if self.template {
            return template(kind, output);
        }
        self.is_understood()?;
        let (reason, explanation) = self.reason()?;
        with_recorder((kind, &self.signing), global, output, |recorder| {
            let meant = self.meant(recorder, output)?;
            let (time, actor, log) = (recorder.now(), recorder.actor(), recorder.log());
            let scope = meant.scope;
            let record = if kind == Kind::Revoke {
                Record::Revoke(Box::new(Revoke {
                    time,
                    time_source: TimeSource::Local,
                    actor,
                    log,
                    on_behalf_of: None,
                    refs: Vec::new(),
                    attachments: Vec::new(),
                    scope,
                    reason,
                    explanation,
                }))
            } else {
                Record::Quarantine(Box::new(Quarantine {
                    time,
                    time_source: TimeSource::Local,
                    actor,
                    log,
                    on_behalf_of: None,
                    refs: Vec::new(),
                    attachments: Vec::new(),
                    scope,
                    reason,
                    explanation,
                }))
            };
            Ok((meant.name, meant.digest, record))
        })
    }
}

impl QuarantineArgs {
    pub(super) fn run(&self, global: &Global, output: &Output) -> Outcome {
        self.recall.run(Kind::Quarantine, global, output)
    }
}

impl RevokeArgs {
    pub(super) fn run(&self, global: &Global, output: &Output) -> Outcome {
        self.recall.run(Kind::Revoke, global, output)
    }
}

impl ReleaseQuarantineArgs {
    pub(super) fn run(&self, global: &Global, output: &Output) -> Outcome {
        let kind = Kind::ReleaseQuarantine;
        let (Some(index), Some(explanation), false) =
            (self.index, &self.explanation, self.template)
        else {
            return template(kind, output);
        };
        let explanation = flag("--explanation", Text::new(explanation.as_str()))?;
        with_recorder((kind, &self.signing), global, output, |recorder| {
            let log = Log::open(recorder.store(), recorder.trust())?;
            let bytes = entry(&log, index)?;
            let quarantine = Envelope::parse(&bytes, MAX_ENTRY)
                .ok()
                .and_then(|envelope| Statement::parse(&envelope.payload).ok())
                .filter(|statement| statement.record.kind() == Kind::Quarantine);
            let quarantine = quarantine
                .ok_or_else(|| Failure::error(format!("record {index} is no quarantine")))?;
            let wanted = quarantine.record.actor().role;
            if recorder.actor().role != wanted {
                return Err(Failure::error(format!(
                    "the quarantine was recorded by a {0}, and is over when a {0} says so",
                    wanted.name()
                ))
                .hint("sign with another --key or in another --role"));
            }
            let [subject] = &quarantine.subject;
            let digest = subject.digest.artifact();
            let digest = digest.ok_or_else(|| Failure::error("it is about nothing"))?;
            let record = Record::ReleaseQuarantine(Box::new(ReleaseQuarantine {
                time: recorder.now(),
                time_source: TimeSource::Local,
                actor: recorder.actor(),
                log: recorder.log(),
                on_behalf_of: None,
                refs: Vec::new(),
                attachments: Vec::new(),
                releases: RecordReference {
                    index,
                    sha256: Sha256::of(&bytes),
                },
                explanation: explanation.clone(),
            }));
            Ok((subject.name.as_str().to_owned(), digest, record))
        })
    }
}

type Made = (String, ArtifactDigest, Record);

/// Makes a record with everything that it takes, signs and appends it.
fn with_recorder(
    (kind, signing): (Kind, &SigningArgs),
    global: &Global,
    output: &Output,
    make: impl FnOnce(&Recorder<'_>) -> Result<Made, Failure>,
) -> Outcome {
    let config = Config::load(global)?;
    let mut reader = signing.passphrase.reader();
    let path = signing_key(signing.key.clone(), &config)?;
    let key = signers::open(&path, None, &mut reader, output)?;
    let recorder = signing.recorder((global, &config), kind, &*key, &mut reader, output)?;

    if signing.receipt.is_some() {
        recorder.can_write_receipt()?;
    }
    let (name, digest, record) = make(&recorder)?;
    let name = flag("the name", Text::new(crate::path::display(&name)))?;
    let statement = Statement::new(name, SubjectDigest::new(digest, None), record);
    let entry = recorder.sign(&statement)?;
    let recorded = recorder.record(entry, (kind, digest), output)?;
    let document = json!({ "subject": digest.to_string(), "kind": kind.name() });
    recorder.conclude(&recorded, document, signing.receipt.as_deref(), output)
}
