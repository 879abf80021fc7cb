//! `record KIND` for every kind that needs no more than what its fields say: from flags, or from a file.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use serde_json::{Map, Value, json};

use super::cosign;
use super::flags::{augment, fields};
use super::value::{Reader, entry};
use super::{Recorder, SigningArgs, manifest_reference, parse_digest, signing_key};
use crate::artifact::ArtifactDigest;
use crate::cli::context::Config;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::target::TargetArgs;
use crate::cli::{Global, Outcome, keys, receipt, signers};
use crate::digest::{Algorithm, Sha256};
use crate::disk;
use crate::ledger::{self, Log, MAX_BLOB};
use crate::statement::{About, Kind, MAX_PAYLOAD, Record, Statement, SubjectDigest, Text};
use crate::verify::ArtifactEvidence;

/// The kinds that are made here. The others have flags of their own, or verbs.
fn kinds() -> impl Iterator<Item = Kind> {
    let is_here = |kind: &Kind| {
        !matches!(kind, Kind::Acquire | Kind::Derive | Kind::Key) && kind.about() != About::Scope
    };
    Kind::ALL.iter().copied().filter(is_here)
}

/// A kind, and what was given for it.
#[derive(Clone)]
pub(super) struct AnyKind {
    kind: Kind,
    matches: ArgMatches,
}

/// What can be given for every kind.
#[derive(clap::Args)]
struct AnyArgs {
    /// The artifact that it is about: a file or a directory
    path: Option<PathBuf>,
    /// Its digest instead, as dirHash1:HEX or sha256:HEX, where the artifact is not here
    #[arg(long, value_name = "DIGEST", conflicts_with = "path")]
    digest: Option<String>,
    /// What it says, as JSON in the form of --template; flags go before it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print a whole one as JSON, and do nothing
    #[arg(long)]
    template: bool,
    /// Evidence to keep in the ledger with it; once for each file
    #[arg(long = "attach", value_name = "FILE")]
    attachments: Vec<PathBuf>,
    /// The signature of the artifact, which is not part of it; unless given, model.sig in it, or FILE.sig beside it
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    #[command(flatten)]
    cosigning: cosign::CosignArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

fn command(kind: Kind) -> Command {
    let name = kind.name();
    let about = kind.meaning().trim().trim_end_matches('.').to_owned();
    let roles: Vec<&str> = kind.permitted().iter().map(|role| role.name()).collect();
    let mut after = format!("Signed in the role {}", roles.join(" or "));
    if let Some(role) = kind.cosigned_by() {
        after.push_str(", and by somebody else in the role ");
        after.push_str(role.name());
        after.push_str(
            ": --pending FILE keeps what was signed first, and --cosign FILE signs and records it",
        );
    }
    let examples = if kind.cosigned_by().is_some() {
        format!(
            "  weighbridge record {name} --from {name}.json --pending {name}.pending ./model\n  \
             weighbridge record {name} --cosign {name}.pending --key custodian.pem"
        )
    } else {
        format!("  weighbridge record {name} --from {name}.json ./model")
    };
    let after = format!(
        "{after}.\n\nExamples:\n  weighbridge record {name} --template > {name}.json\n{examples}"
    );
    Command::new(name)
        .about(about)
        .after_help(after)
        // Made when it is asked for: there are many, and start-up is to be short.
        .defer(with_flags)
}

/// Adds the flags of the kind that `command` is called by.
fn with_flags(command: Command) -> Command {
    let kind = kinds().find(|kind| kind.name() == command.get_name());
    let Some(kind) = kind else { return command };
    let about = command.get_about().cloned().unwrap_or_default();
    let mut command = augment(AnyArgs::augment_args(command), kind).about(about);
    if kind.cosigned_by().is_none() {
        for name in ["pending", "cosign"] {
            command = command.mut_arg(name, |arg| arg.hide(true));
        }
    }
    command.long_about(None)
}

impl FromArgMatches for AnyKind {
    fn from_arg_matches(matches: &ArgMatches) -> Result<AnyKind, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let kind = kinds().find(|kind| kind.name() == name);
        Ok(AnyKind {
            kind: kind.ok_or_else(missing)?,
            matches: matches.clone(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = AnyKind::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for AnyKind {
    fn augment_subcommands(command: Command) -> Command {
        kinds().fold(command, |all, kind| all.subcommand(self::command(kind)))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        AnyKind::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        kinds().any(|kind| kind.name() == name)
    }
}

pub(super) fn run(given: &AnyKind, global: &Global, output: &Output) -> Outcome {
    let args = AnyArgs::from_arg_matches(&given.matches)
        .map_err(|error| Failure::error(error.to_string()))?;
    let kind = given.kind;
    if args.template {
        return template(kind, output);
    }
    let config = Config::load(global)?;
    let signing = &args.signing;
    if let Some(pending) = &args.cosigning.cosign {
        let mut said = fields(kind).into_iter();
        let said = said.any(|field| !field.given(&given.matches).is_empty());
        if said || !args.attachments.is_empty() || args.signature.is_some() {
            return Err(Failure::error(
                "--cosign signs what the first has signed: nothing else can be said with it",
            ));
        }
        return cosign::second((kind, pending), (&config, global), signing, output);
    }
    args.cosigning.suits(kind)?;
    let target = target(kind, &args)?;
    let opened = target.as_ref().map(TargetArgs::open).transpose()?;
    let artifact = opened.as_ref().map(|target| &target.artifact);
    let mut reader = signing.passphrase.reader();
    let key_path = signing_key(signing.key.clone(), &config)?;
    if let Some(artifact) = artifact {
        config.keep_out_of(artifact)?;
        keys::keep_out_of(artifact, &key_path)?;
        if let Some(receipt) = &signing.receipt {
            receipt::writable(receipt, artifact)?;
        }
    }
    let key = signers::open(&key_path, artifact, &mut reader, output)?;
    let recorder = signing.recorder((global, &config), kind, &*key, &mut reader, output)?;

    if signing.receipt.is_some() && args.cosigning.pending.is_none() {
        recorder.can_write_receipt()?;
    }
    let body = body(kind, &args, &given.matches, &recorder, output)?;
    // Everything that can be wrong with it is found before the time to hash is spent.
    let nothing = ArtifactDigest::Sha256(Sha256::of(b""));
    statement(kind, body.clone(), ("x", nothing), None, &recorder)?;
    let evidence = opened
        .as_ref()
        .map(|target| target.read_complete(&[Algorithm::Sha256], output))
        .transpose()?;
    let (name, digest) = match (&evidence, artifact, &args.digest) {
        (Some(evidence), Some(artifact), _) => {
            let digest = evidence.manifest.artifact_digest();
            let digest = digest.map_err(|error| Failure::because(artifact.name(), &error))?;
            (artifact.name(), digest)
        }
        (_, _, text) => {
            let text = text.as_deref().unwrap_or_default();
            let digest = parse_digest(text).ok_or_else(|| {
                let shown = crate::path::display(text);
                Failure::error(format!(
                    "--digest {shown}: expected dirHash1:HEX or sha256:HEX"
                ))
            })?;
            (text.to_owned(), digest)
        }
    };
    let statement = statement(kind, body, (&name, digest), evidence.as_ref(), &recorder)?;
    let entry = recorder.sign(&statement)?;
    if let Some(pending) = &args.cosigning.pending {
        for path in &args.attachments {
            ledger::put_blob(recorder.store(), &disk::read(path, MAX_BLOB)?)?;
        }
        return cosign::first((kind, pending), &entry, digest, output);
    }
    if let Some(evidence) = evidence.filter(|_| kind.about() == About::Content) {
        ledger::put_blob(recorder.store(), evidence.manifest.text().as_bytes())?;
    }
    // Nothing is published before everything is known to be good.
    for path in &args.attachments {
        ledger::put_blob(recorder.store(), &disk::read(path, MAX_BLOB)?)?;
    }
    let recorded = recorder.record(entry, (kind, digest), output)?;
    let document = json!({ "artifact": digest.to_string(), "kind": kind.name() });
    recorder.conclude(&recorded, document, signing.receipt.as_deref(), output)
}

/// The artifact that it is about, if it is here.
fn target(kind: Kind, args: &AnyArgs) -> Result<Option<TargetArgs>, Failure> {
    match (&args.path, &args.digest) {
        (Some(path), _) => Ok(Some(TargetArgs {
            path: path.clone(),
            signature: args.signature.clone(),
            jobs: args.jobs,
        })),
        (None, Some(_)) if kind.about() == About::Content => Err(Failure::error(format!(
            "{} holds the manifest of the artifact: name where the artifact is, not its digest",
            kind.name()
        ))),
        (None, Some(_)) => Ok(None),
        (None, None) => Err(
            Failure::error("it is not said which artifact this is about")
                .hint("name it, or give its --digest; --template shows what a record says"),
        ),
    }
}

/// Prints a whole body, of which everything is to be replaced.
pub(super) fn template(kind: Kind, output: &Output) -> Outcome {
    output.data(&format!("{}\n", kind.example()))?;
    Ok(0)
}

/// What the record says, by file and flags.
fn body(
    kind: Kind,
    args: &AnyArgs,
    matches: &ArgMatches,
    recorder: &Recorder<'_>,
    output: &Output,
) -> Result<Value, Failure> {
    let mut body = match &args.from {
        None => Value::Object(Map::new()),
        Some(path) => from_file(path)?,
    };
    let own = if kind == Kind::TestResult {
        body.get(RUN)
    } else {
        Some(&body)
    };
    if own.is_some_and(|own| own.get("attachments").is_some()) {
        return Err(Failure::error(
            "attachments are files that are kept in the ledger: their digests alone are none",
        )
        .hint("leave them out of the file, and name the files with --attach"));
    }
    let log = || Log::open(recorder.store(), recorder.trust());
    let read = |index: u64| entry(&log()?, index);
    let reader = Reader {
        now: recorder.now(),
        log: &read,
        output,
    };
    let fields = fields(kind);
    for field in &fields {
        let given = field.given(matches);
        if given.is_empty() {
            continue;
        }
        let values = given
            .into_iter()
            .map(|text| reader.read(&field.flag, &field.shape, text));
        field.put(&mut body, values.collect::<Result<_, _>>()?);
    }
    if kind == Kind::VerifyEvent
        && let Some(body) = body.as_object_mut()
        && !body.contains_key("ledger_head")
    {
        let log = log()?;
        let head = log.checkpoint();
        let head = json!({ "size": head.size, "root": head.root.to_string() });
        body.insert("ledger_head".into(), head);
    }
    let missing: Vec<String> = fields
        .iter()
        .filter(|field| field.is_required && !field.is_in(&body))
        .map(|field| format!("--{}", field.flag))
        .collect();
    if !missing.is_empty() {
        let name = kind.name();
        return Err(
            Failure::error(format!("{name} needs {}", missing.join(", "))).hint(format!(
                "give them, or a file with --from; `weighbridge record {name} --template` prints a whole one"
            )),
        );
    }
    if !args.attachments.is_empty() {
        let all = args.attachments.iter().map(|path| attachment(path));
        let all = Value::Array(all.collect::<Result<_, _>>()?);
        let place = if kind == Kind::TestResult {
            body.get_mut(RUN)
        } else {
            Some(&mut body)
        };
        if let Some(place) = place.and_then(Value::as_object_mut) {
            place.insert("attachments".into(), all);
        }
    }
    Ok(body)
}

/// A file that says what a record says.
pub(super) fn from_file(path: &Path) -> Result<Value, Failure> {
    let fail = |error: &dyn std::error::Error| Failure::because(path.display(), error);
    let bytes = disk::read(path, MAX_PAYLOAD as u64)?;
    let value: Value = crate::json::parse(&bytes, MAX_PAYLOAD).map_err(|error| fail(&error))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Failure::error(format!(
            "{} is no JSON object",
            path.display()
        )))
    }
}

/// How a record names the file at `path`.
fn attachment(path: &Path) -> Result<Value, Failure> {
    let bytes = disk::read(path, MAX_BLOB)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let media_type = match extension.to_ascii_lowercase().as_str() {
        "json" | "sarif" => "application/json",
        "pdf" => "application/pdf",
        "md" => "text/markdown",
        "html" => "text/html",
        "txt" | "log" => "text/plain",
        _ => "application/octet-stream",
    };
    let sha256 = Sha256::of(&bytes);
    Ok(json!({ "name": name, "sha256": sha256.to_string(), "media_type": media_type }))
}

/// Where in-toto's test result has what the ledger asks for.
const RUN: &str = "https://weighbridge.dev/test-result/v1";

/// The statement that says `body`, with what every record says.
pub(super) fn statement(
    kind: Kind,
    mut body: Value,
    (name, digest): (&str, ArtifactDigest),
    evidence: Option<&ArtifactEvidence>,
    recorder: &Recorder<'_>,
) -> Result<Statement, Failure> {
    let header = json!({
        "time": recorder.now().to_string(),
        "time_source": "local",
        "actor": recorder.actor(),
        "log": recorder.log(),
    });
    let place = if kind == Kind::TestResult {
        body.get_mut(RUN)
    } else {
        Some(&mut body)
    };
    let place = place.and_then(Value::as_object_mut);
    let place = place
        .ok_or_else(|| Failure::error(format!("a {} needs what is in {RUN:?}", kind.name())))?;
    for (name, value) in header.as_object().into_iter().flatten() {
        if place.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::error(format!(
                "{name:?} is not yours to say: this program says it"
            ))
            .hint("leave it out of the file"));
        }
    }
    if kind.about() == About::Content {
        let manifest = evidence.map_or_else(
            || json!({ "sha256": Sha256::of(b"").to_string(), "files": 0, "bytes": 0 }),
            |evidence| json!(manifest_reference(evidence)),
        );
        place.insert("manifest".into(), manifest);
    }
    let name = Text::new(crate::path::display(name))
        .map_err(|error| Failure::because("the artifact's name", &error))?;
    let whole = json!({
        "_type": crate::statement::STATEMENT,
        "subject": [{ "name": name, "digest": SubjectDigest::new(digest, None) }],
        "predicateType": kind.predicate_type(),
        "predicate": body,
    });
    let payload = crate::json::canonical(&whole)?;
    let statement = Statement::parse(&payload).map_err(|error| {
        let name = kind.name();
        Failure::because(name, &error).hint(format!(
            "`weighbridge record {name} --template` prints a whole one"
        ))
    })?;
    if statement
        .record
        .expires()
        .is_some_and(|end| end <= recorder.now())
    {
        return Err(Failure::error(format!(
            "{} has expired already",
            kind.name()
        )));
    }
    Ok(statement)
}

/// The record of a kind whose flags are its own, from a file.
pub(super) fn record_from(
    (kind, path): (Kind, &Path),
    evidence: Option<&ArtifactEvidence>,
    recorder: &Recorder<'_>,
) -> Result<Record, Failure> {
    let nothing = ArtifactDigest::Sha256(Sha256::of(b""));
    let statement = statement(kind, from_file(path)?, ("x", nothing), evidence, recorder)?;
    Ok(statement.record)
}
