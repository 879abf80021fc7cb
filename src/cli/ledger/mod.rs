//! `ledger`: read, prove and check a transparency log.

mod append;
mod checkpoint;
#[cfg(feature = "http")]
mod cosign;
#[cfg(feature = "server")]
mod cosigner;
#[cfg(feature = "index")]
pub(in crate::cli) mod find;
mod mirror;
mod monitor;
mod pin;
mod policy;
mod probe;
mod prune;
mod publish;
#[cfg(feature = "server")]
mod serve_mirror;
#[cfg(feature = "server")]
mod witness;

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::cli::context::{self, Config};
use crate::cli::failure::Failure;
use crate::cli::history::History;
use crate::cli::keys::PassphraseArgs;
use crate::cli::log_access::LogAccess;
use crate::cli::output::Output;
use crate::cli::{Global, Outcome, receipt};
use crate::disk;
use crate::envelope::Envelope;
use crate::gate;
use crate::ledger::fsck::{Problem, Slots, fsck};
use crate::ledger::proof::MAX_PROOF;
use crate::ledger::tile::MAX_ENTRY;
use crate::ledger::{self, Location, Log, Store, TlogProof};
use crate::note::NoteKey;
use crate::statement::{Record, Statement, Text};
use crate::tlog_policy::TlogPolicy;

/// Read, prove and check the ledger
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger log
  weighbridge ledger show 0
  weighbridge ledger prove 0 --out model.tlog-proof
  weighbridge ledger append record.dsse
  weighbridge ledger policy                what others need to trust this log
  weighbridge ledger fsck
  weighbridge ledger --ledger ./log --log-key 'origin+id+key' fsck    any C2SP tlog-tiles log")]
pub(super) struct LedgerArgs {
    /// The ledger: a directory, s3://…, gs://…, az://… or https://… (to read); unless given, the
    /// one that the policy names
    #[arg(long, alias = "dir", global = true, value_name = "LOCATION")]
    ledger: Option<String>,
    /// The database that holds the ledger's slots; unless given, the one that the policy names, if
    /// any
    #[arg(long, global = true, value_name = "postgres://…")]
    slots: Option<String>,
    /// The log's key, as origin+id+key; unless given, the one that the policy trusts
    #[arg(long, global = true, value_name = "VKEY")]
    log_key: Option<String>,
    /// A tlog-policy: the log's keys, its witnesses and how many must agree
    #[arg(long, global = true, value_name = "FILE")]
    trust: Vec<PathBuf>,
    #[command(subcommand)]
    verb: LedgerVerb,
}

#[derive(Subcommand)]
enum LedgerVerb {
    /// Make the ledger and its first checkpoint, if they are not there
    Init,
    Append(append::AppendArgs),
    Publish(publish::PublishArgs),
    /// List the records, oldest first
    Log,
    /// Print one record
    Show {
        /// Its index
        index: u64,
        /// Print the entry verbatim: the signed envelope
        #[arg(long)]
        raw: bool,
        /// Print the manifest that the record names
        #[arg(long, conflicts_with = "raw")]
        manifest: bool,
    },
    /// Print the signed checkpoint, and who signed it
    Checkpoint,
    /// Keep the newest checkpoint beside the policy: no older or other ledger is accepted any more
    Pin,
    #[cfg(feature = "index")]
    Find(find::FindArgs),
    #[cfg(feature = "index")]
    Index(find::IndexArgs),
    Monitor(monitor::MonitorArgs),
    Mirror(mirror::MirrorArgs),
    Export(mirror::ExportArgs),
    Import(mirror::ImportArgs),
    Prune(prune::PruneArgs),
    /// Print the tlog-policy in force: what one gives to others who shall trust this log
    Policy,
    /// Ask the witnesses of the policy to cosign the newest checkpoint, and publish it with what
    /// they answer
    #[cfg(feature = "http")]
    Cosign(cosign::CosignArgs),
    /// Run a witness: cosign the checkpoints of other logs as long as they only grow
    #[cfg(feature = "server")]
    Witness(witness::WitnessArgs),
    #[cfg(feature = "server")]
    ServeMirror(serve_mirror::ServeMirrorArgs),
    /// Prove that a record is in the log, or that an older log is a prefix of this one
    Prove {
        /// The record's index
        #[arg(
            required_unless_present = "consistency",
            conflicts_with = "consistency"
        )]
        index: Option<u64>,
        /// Prove that the log of this size is a prefix of the log now
        #[arg(long, value_name = "SIZE")]
        consistency: Option<u64>,
        /// Write the receipt to this file, and the record beside it
        #[arg(long, value_name = "FILE", conflicts_with = "consistency")]
        out: Option<PathBuf>,
    },
    /// Verify a receipt offline; its record lies beside it as .dsse
    Verify {
        /// The receipt
        receipt: PathBuf,
        /// The record
        #[arg(long, value_name = "FILE")]
        entry: Option<PathBuf>,
    },
    Probe(probe::ProbeArgs),
    /// Recompute everything from the entries, and name what is wrong
    Fsck {
        /// The ledger is a copy for reading, or of another program: it has no commit slots
        #[arg(long)]
        copy: bool,
        /// The copy is of the log alone, without the manifests that records name
        #[arg(long, requires = "copy")]
        no_blobs: bool,
    },
}

pub(super) fn run(args: &LedgerArgs, global: &Global, output: &Output) -> Outcome {
    let elsewhere = args.ledger.is_some()
        || args.slots.is_some()
        || args.log_key.is_some()
        || !args.trust.is_empty();
    match &args.verb {
        LedgerVerb::Init | LedgerVerb::Append(_) | LedgerVerb::Publish(_) if elsewhere => {
            return Err(Failure::error(
                "what is written goes to the ledger of the policy; \
                 --ledger, --slots, --log-key and --trust do not apply",
            ));
        }
        LedgerVerb::Init => return init(global, &Config::load(global)?, output),
        LedgerVerb::Append(own) => return append::run(own, global, &Config::load(global)?, output),
        LedgerVerb::Publish(own) => {
            return publish::run(own, global, &Config::load(global)?, output);
        }
        LedgerVerb::Probe(own) => return probe::run(own, args, global, output),
        // These have no ledger: their trust files say which logs they know.
        #[cfg(feature = "server")]
        LedgerVerb::Witness(own) => return witness::run(own, &args.trust, output),
        #[cfg(feature = "server")]
        LedgerVerb::ServeMirror(own) => return serve_mirror::run(own, &args.trust, output),
        _ => {}
    }
    let (store, trust, config) = place(args, global)?;
    let store = &*store;
    let history = History::new(global, config.as_ref(), trust.log(), output);
    match &args.verb {
        LedgerVerb::Verify { receipt, entry } => {
            let beside = || gate::receipt_entry(receipt);
            let entry = entry.clone().unwrap_or_else(beside);
            return verify(&trust, receipt, &entry, output);
        }
        LedgerVerb::Policy => return policy::run(&trust, output),
        LedgerVerb::Import(own) => return mirror::import(own, &trust, &history, output),
        LedgerVerb::Monitor(own) => return monitor::run(own, global, store, &trust, output),
        LedgerVerb::Mirror(own) => return mirror::mirror_to(own, store, &trust, &history, output),
        LedgerVerb::Fsck { copy, no_blobs } => {
            let slots = if *copy {
                Slots::Absent
            } else {
                Slots::Required
            };
            return check((store, &trust), (slots, *no_blobs), &history, output);
        }
        _ => {}
    }
    // The very checkpoint that was compared with what is known is the one that is read at.
    let log = Log::open(store, &trust.without_quorum())?;
    history.demand(&log)?;
    #[cfg(feature = "http")]
    if let LedgerVerb::Cosign(own) = &args.verb {
        return cosign::run(own, &log, (&trust, config.as_ref()), output);
    }
    trust
        .open(log.note())
        .map_err(|error| Failure::error(gate::cause(&error)))?;
    match &args.verb {
        LedgerVerb::Log => list(&log, output),
        LedgerVerb::Show {
            index,
            raw,
            manifest,
        } => show(&log, *index, (*raw, *manifest), output),
        LedgerVerb::Checkpoint => checkpoint::run(&log, &trust, output),
        #[cfg(feature = "index")]
        LedgerVerb::Find(own) => find::find(own, &log, output),
        #[cfg(feature = "index")]
        LedgerVerb::Index(own) => find::index(own, &log, output),
        LedgerVerb::Export(own) => mirror::export(own, &log, output),
        LedgerVerb::Prune(own) => prune::run(own, &log, config.as_ref(), output),
        LedgerVerb::Pin => pin::run(&log, config.as_ref(), output),
        LedgerVerb::Prove {
            index,
            consistency,
            out,
        } => match (index, consistency) {
            (_, Some(old)) => prove_consistency(&log, *old, output),
            (Some(index), None) => prove(&log, *index, out.as_ref(), output),
            (None, None) => Err(Failure::error("name a record, or --consistency SIZE")),
        },
        // All others returned above.
        _ => Ok(2),
    }
}

/// A ledger, what is trusted of it, and the policy, where it is the policy's.
type Place = (Box<dyn Store>, TlogPolicy, Option<Config>);

/// The ledger, and who must have signed its checkpoints.
fn place(args: &LedgerArgs, global: &Global) -> Result<Place, Failure> {
    let trusts = args.log_key.is_some() || !args.trust.is_empty();
    let config = match &args.ledger {
        Some(_) if trusts => None,
        _ => Some(Config::load(global)?),
    };
    let key = args.log_key.as_ref().map(|text| NoteKey::parse(text));
    let key = key
        .transpose()
        .map_err(|error| Failure::because("--log-key", &error))?;
    let trust = match (args.trust.as_slice(), key, &config) {
        ([], Some(key), _) => TlogPolicy::of_log(key),
        ([], None, Some(config)) => config.policy.log.trust.clone(),
        ([], None, None) => return Err(Failure::error("no log key was given")),
        ([file], key, _) => {
            let trust = policy::read(file)?;
            // Of several logs in the file, the first is meant unless --log-key names another.
            let key = key.unwrap_or_else(|| trust.log().clone());
            trust.for_log(&key).ok_or_else(|| {
                Failure::error(format!("{} does not list --log-key", file.display()))
            })?
        }
        _ => {
            return Err(Failure::error("--trust was given twice")
                .hint("only `ledger witness` and `ledger serve-mirror` take several trust files"));
        }
    };
    let store = store(
        args.ledger.as_deref(),
        args,
        config.as_ref(),
        trust.log().name(),
    )?;
    // What is pinned beside a policy is about the policy's ledger.
    Ok((store, trust, config.filter(|_| args.ledger.is_none())))
}

/// The ledger at the location that was typed, or else the policy's.
fn store(
    typed: Option<&str>,
    args: &LedgerArgs,
    config: Option<&Config>,
    origin: &str,
) -> Result<Box<dyn Store>, Failure> {
    let location = match (typed, config) {
        (Some(text), _) => Location::parse(text).map_err(context::store_failure)?,
        (None, Some(config)) => config.location(),
        (None, None) => return Err(Failure::error("no ledger was given")),
    };
    // Slots of the policy belong to the policy's ledger.
    let of_policy = config.filter(|_| typed.is_none());
    let of_policy = of_policy.and_then(|config| config.policy.log.slots.clone());
    let slots = args.slots.clone().or(of_policy);
    context::open(&location, slots.as_deref(), origin)
}

fn init(global: &Global, config: &Config, output: &Output) -> Outcome {
    let passphrase = PassphraseArgs::default();
    let mut reader = passphrase.reader();
    let access = LogAccess::new((global, config), &mut reader, output)?;
    let created = access.create()?;
    let what = match created {
        ledger::Created::New => "made",
        ledger::Created::Exists => "is there already:",
    };
    output.say(format!("{what} {}", access.store().place()));
    Ok(0)
}

/// What one entry says, in one line.
fn summary(bytes: &[u8]) -> serde_json::Value {
    let envelope = match Envelope::parse(bytes, MAX_ENTRY) {
        Ok(envelope) => envelope,
        Err(error) => return json!({ "error": format!("not an envelope: {error}") }),
    };
    match Statement::parse(&envelope.payload) {
        Ok(statement) => {
            let [subject] = &statement.subject;
            let record = &statement.record;
            let mut line = json!({
                "kind": record.kind().name(),
                "name": subject.name.as_str(),
                "artifact": statement.artifact().map(|digest| digest.to_string()),
                "time": record.time(),
                "signer": record.actor().party.as_ref().map(Text::as_str),
                "role": record.actor().role,
            });
            match (record, line.as_object_mut()) {
                (Record::Acquire(acquire), Some(line)) => {
                    line.insert("source".into(), acquire.source_uri.as_str().into());
                }
                (Record::Key(record), Some(line)) => {
                    let key = subject.digest.sha256.map(|id| id.to_string());
                    line.insert("key".into(), key.into());
                    line.insert("action".into(), record.change.name().into());
                }
                _ => {}
            }

            line
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn list(log: &Log<'_>, output: &Output) -> Outcome {
    let mut lines = Vec::new();
    log.scan(|index, bytes| lines.push((index, summary(bytes))))?;
    print(lines, output)?;
    output.say(format!(
        "{} entries, checked against the signed root",
        log.checkpoint().size
    ));
    Ok(0)
}

/// Prints records, a line each.
fn print(lines: Vec<(u64, serde_json::Value)>, output: &Output) -> Result<(), Failure> {
    if output.json {
        let records: Vec<_> = lines
            .into_iter()
            .map(|(index, mut line)| {
                if let Some(line) = line.as_object_mut() {
                    line.insert("index".into(), index.into());
                }
                line
            })
            .collect();
        return output.document(&records);
    }
    output.lines(lines.into_iter().map(|(index, line)| {
        let field = |name: &str| {
            let value = line.get(name).and_then(|value| value.as_str());
            crate::path::display(value.unwrap_or_default())
        };
        if let Some(error) = line.get("error").and_then(|error| error.as_str()) {
            return format!("{index}  {}\n", crate::path::display(error));
        }
        format!(
            "{index}  {}  {}  {}  {}  {}\n",
            field("time"),
            field("kind"),
            field("artifact") + &field("key"),
            field("name"),
            field("source") + &field("action")
        )
        .trim_end()
        .to_owned()
            + "\n"
    }))
}

fn show(log: &Log<'_>, index: u64, (raw, manifest): (bool, bool), output: &Output) -> Outcome {
    let (entry, _) = log.entry(index)?;
    if raw {
        output.bytes(&entry)?;
        return Ok(0);
    }
    let fail = |error: &dyn std::error::Error| Failure::because(format!("record {index}"), error);
    let envelope = Envelope::parse(&entry, MAX_ENTRY).map_err(|error| fail(&error))?;
    if manifest {
        let statement = Statement::parse(&envelope.payload).map_err(|error| fail(&error))?;
        let manifest = statement.record.manifest().ok_or_else(|| {
            let kind = statement.record.kind().name();
            Failure::error(format!(
                "record {index} is of kind {kind} and has no manifest"
            ))
        })?;
        let digest = manifest.sha256;
        let text = ledger::blob(log.store(), &digest)?;
        output.bytes(&text)?;
        return Ok(0);
    }
    let statement: serde_json::Value =
        crate::json::parse(&envelope.payload, MAX_ENTRY).map_err(|error| fail(&error))?;
    output.document(&statement)?;
    output.say(format!(
        "record {index}, proved by inclusion; its signature is judged by `gate`"
    ));
    Ok(0)
}

fn prove(log: &Log<'_>, index: u64, out: Option<&PathBuf>, output: &Output) -> Outcome {
    if let Some(path) = out {
        receipt::write(log, index, path, output)?;
    } else {
        let (_, proof) = log.entry(index)?;
        output.data(&String::from_utf8_lossy(&proof.encode()))?;
    }
    Ok(0)
}

fn prove_consistency(log: &Log<'_>, old: u64, output: &Output) -> Outcome {
    let (hashes, root) = log.consistency(old)?;
    let checkpoint = log.checkpoint();
    output.document(&json!({
        "origin": checkpoint.origin,
        "old": { "size": old, "root": root.to_string() },
        "new": { "size": checkpoint.size, "root": checkpoint.root.to_string() },
        "proof": hashes.iter().map(ToString::to_string).collect::<Vec<_>>(),
    }))?;
    Ok(0)
}

fn verify(
    trust: &TlogPolicy,
    receipt: &std::path::Path,
    entry: &std::path::Path,
    output: &Output,
) -> Outcome {
    let proof = disk::read(receipt, MAX_PROOF as u64)?;
    let bytes = disk::read(entry, MAX_ENTRY as u64)?;
    let refused = |error: &dyn std::error::Error| {
        Failure::refused(vec![format!(
            "{}: {}",
            receipt.display(),
            gate::cause(error)
        )])
    };
    let proof = TlogProof::parse(&proof).map_err(|error| refused(&error))?;
    let checkpoint = proof
        .verify(&bytes, trust)
        .map_err(|error| refused(&error))?;
    if output.json {
        output.document(&json!({
            "index": proof.index,
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "record": summary(&bytes),
        }))?;
    } else {
        output.data(&format!(
            "{} is entry {} of {} ({} entries)\n",
            entry.display(),
            proof.index,
            checkpoint.origin,
            checkpoint.size
        ))?;
    }
    Ok(0)
}

fn check(
    (store, trust): (&dyn Store, &TlogPolicy),
    (slots, no_blobs): (Slots, bool),
    history: &History<'_>,
    output: &Output,
) -> Outcome {
    let mut report = fsck(store, trust, slots)?;
    let log = report.log(store);
    history.demand(&log)?;
    if !no_blobs {
        missing_manifests(store, &log, &mut report.problems)?;
    }
    if let Some(why) = &report.unreadable {
        return Err(Failure::error(format!(
            "not everything could be read: {why}"
        )));
    }
    let (size, root) = (report.checkpoint.size, report.checkpoint.root);
    let line = |problem: &Problem| format!("{}: {}", problem.key, problem.what);
    if output.json {
        output.document(&json!({
            "origin": report.checkpoint.origin,
            "size": size,
            "root": root.to_string(),
            "files": report.files,
            "notes": report.notes.iter().map(line).collect::<Vec<_>>(),
            "problems": report.problems.iter().map(line).collect::<Vec<_>>(),
        }))?;
    }
    for note in &report.notes {
        output.say(format!("note: {}", line(note)));
    }
    if report.problems.is_empty() {
        if !output.json {
            output.data(&format!(
                "{} is sound: {size} entries, {} files, root {root}\n",
                report.checkpoint.origin, report.files
            ))?;
        }
        return Ok(0);
    }
    if output.json {
        return Ok(1);
    }
    let lines = report.problems.iter().take(20).map(line).collect();
    Err(Failure::refused(lines).hint(
        "the ledger was altered or damaged; restore it from a copy, and keep this one as evidence",
    ))
}

/// Every record's manifest must be there: it says what the record is about.
fn missing_manifests(
    store: &dyn Store,
    log: &Log<'_>,
    problems: &mut Vec<Problem>,
) -> Result<(), Failure> {
    let mut named = Vec::new();
    // A log whose entries do not lead to its root was reported already.
    _ = log.scan(|index, bytes| {
        let envelope = Envelope::parse(bytes, MAX_ENTRY).ok();
        let statement = envelope.and_then(|envelope| Statement::parse(&envelope.payload).ok());
        let blobs = statement.map_or(Vec::new(), |statement| statement.record.blobs());
        named.extend(blobs.into_iter().map(|digest| (index, digest)));
    });
    for (index, digest) in named {
        let key = ledger::blob_key(&digest);
        if !store.exists(&key)? {
            let what = format!("is missing: record {index} names it");
            problems.push(Problem { key, what });
        }
    }
    Ok(())
}
