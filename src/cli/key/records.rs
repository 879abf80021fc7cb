//! `key register|rotate|revoke`: records about keys; and `key list`, what they come to.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::context::{self, Config};
use crate::cli::failure::Failure;
use crate::cli::history::History;
use crate::cli::keys::{self, KeyReader, PassphraseArgs};
use crate::cli::log_access::Acknowledgement;
use crate::cli::output::Output;
use crate::cli::record::{Recorder, signing_key};
use crate::cli::{Global, Outcome, keyring, signers, values};
use crate::credential::Credential;
use crate::digest::Sha256;
use crate::key::PublicKey;
use crate::ledger::Log;
use crate::policy::{Identity, Policy};
use crate::statement::key::{KeyChange, KeyText, RevocationReason};
use crate::statement::{
    KeyRecord, Record, Role, SourceUri, Statement, SubjectDigest, Text, TextError, TimeSource,
};
use crate::time::Timestamp;
use crate::verify::Taken;

/// Who signs the record, and how it is appended.
#[derive(Args)]
struct ByArgs {
    /// The private key to sign the record with, in PEM; unless given, the one that the policy names
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    acknowledgement: Acknowledgement,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Record in the ledger whose a key is, and what it may sign
///
/// Signed by an admin of the policy: an [[identity]] with that role and a key. From then on gates that read
/// this ledger count the new key like an [[identity]] of the policy. Prints the index of the record.

#[derive(Args)]
#[command(after_help = "Example:
  weighbridge key register --key admin.pem --name \"Training team\" --role developer trainer.pem.pub")]
pub(super) struct RegisterArgs {
    /// The public key, in PEM; or the URI of a key elsewhere
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The party that it speaks for; never a person
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// What it may speak as; may be repeated
    #[arg(long, required = true, value_parser = values::word::<Role>(values::GIVEN_ROLES), value_name = "ROLE")]
    role: Vec<Role>,
    /// From when on it no longer counts
    #[arg(long, value_name = "TIME")]
    valid_until: Option<Timestamp>,
    /// Where the party can be reached; never a person
    #[arg(long, value_name = "TEXT")]
    contact: Option<String>,
    /// Where the party says how vulnerabilities are reported to it
    #[arg(long, value_name = "URI")]
    disclosure_policy: Option<String>,
    #[command(flatten)]
    by: ByArgs,
}

/// Record in the ledger that a new key replaces an older one, in the same roles
///
/// Signed by an admin of the policy. What the older one signed before it retires counts: records by their
/// place in the log, signatures if a trusted timestamp says that they are older.
#[derive(Args)]
#[command(after_help = "Example:
  weighbridge key rotate --key admin.pem --previous trainer.pem.pub trainer-2.pem.pub")]
pub(super) struct RotateArgs {
    /// The new public key, in PEM; or the URI of a key elsewhere
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The key that it replaces: a public key in PEM, or a key id
    #[arg(long, value_name = "KEY")]
    previous: PathBuf,
    /// When the older one retires; unless given, now
    #[arg(long, value_name = "TIME")]
    previous_until: Option<Timestamp>,
    /// From when on the new one no longer counts
    #[arg(long, value_name = "TIME")]
    valid_until: Option<Timestamp>,
    #[command(flatten)]
    by: ByArgs,
}

/// Record in the ledger that a key no longer counts
///
/// Signed by an admin of the policy, or with the key itself. A signature made before still counts if a
/// trusted timestamp says so. Records that are in the log already still count, unless --since says that the
/// key was out before. There is no way back: register another key.
#[derive(Args)]
#[command(after_help = "Examples:
  weighbridge key revoke --key trainer-2.pem --reason cessation-of-operation trainer-2.pem.pub
  weighbridge key revoke --key admin.pem --reason compromised \\
      --since 2026-01-31T00:00:00Z trainer.pem.pub")]
pub(super) struct RevokeArgs {
    /// The key: a public key in PEM, the URI of a key elsewhere, or a key id
    #[arg(value_name = "KEY")]
    which: PathBuf,
    /// As of when, if not now: nothing that it signed since counts
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// The key id is of a key that neither the policy nor the ledger names
    #[arg(long)]
    unknown: bool,
    /// Why
    #[arg(long, value_parser = values::word::<RevocationReason>(REASONS), default_value = "unspecified", value_name = "REASON")]
    reason: RevocationReason,
    #[command(flatten)]
    by: ByArgs,
}

const REASONS: &[&str] = &[
    "compromised",
    "lost",
    "privilege-withdrawn",
    "cessation-of-operation",
    "unspecified",
];

/// List whose keys count, by the policy and by the ledger
#[derive(Args)]
#[command(after_help = "Example:
  weighbridge key list")]
pub(super) struct ListArgs {}

/// A key in a file or elsewhere.
fn public(file: &Path, reader: &mut KeyReader<'_>, output: &Output) -> Result<PublicKey, Failure> {
    if signers::is_uri(file) {
        return Ok(signers::open(file, None, reader, output)?.public());
    }
    keys::public(file)
}

/// The id of a key that is named by it or by a file.
fn id_of(which: &Path, reader: &mut KeyReader<'_>, output: &Output) -> Result<Sha256, Failure> {
    let text = which.to_str().unwrap_or_default();
    match text.to_ascii_lowercase().parse() {
        Ok(id) => Ok(id),
        Err(_) => Ok(public(which, reader, output)?.key_id()),
    }
}

fn flag<T>(name: &str, value: Result<T, TextError>) -> Result<T, Failure> {
    value.map_err(|error| Failure::because(name, &error))
}

pub(super) fn register(args: &RegisterArgs, global: &Global, output: &Output) -> Outcome {
    let mut reader = args.by.passphrase.reader();
    let key = public(&args.file, &mut reader, output)?;
    let contact = args.contact.as_deref().map(Text::new);
    let policy = args.disclosure_policy.as_deref().map(SourceUri::new);
    let change = KeyChange::Register {
        roles: args.role.clone(),
        public_key: KeyText::new(&key),
        valid_until: args.valid_until,
        contact: contact.map(|it| flag("--contact", it)).transpose()?,
        disclosure_policy: policy
            .map(|it| flag("--disclosure-policy", it))
            .transpose()?,
    };
    let name = flag("--name", Text::new(args.name.as_str()))?;
    let what = format!("that the key {} is of {name}", key.key_id());
    not_over(args.valid_until)?;
    let new = New {
        unknown: true,
        id: key.key_id(),
        name: Some(name),
        change,
        what,
    };
    record(new, &args.by, (global, reader), output)
}

pub(super) fn rotate(args: &RotateArgs, global: &Global, output: &Output) -> Outcome {
    let mut reader = args.by.passphrase.reader();
    let key = public(&args.file, &mut reader, output)?;
    let previous = id_of(&args.previous, &mut reader, output)?;
    not_over(args.valid_until)?;
    let new = New {
        unknown: true,
        id: key.key_id(),
        name: None,
        change: KeyChange::Rotate {
            previous,
            public_key: KeyText::new(&key),
            previous_until: args.previous_until,
            valid_until: args.valid_until,
        },
        what: format!("that the key {} replaces {previous}", key.key_id()),
    };
    record(new, &args.by, (global, reader), output)
}

pub(super) fn revoke(args: &RevokeArgs, global: &Global, output: &Output) -> Outcome {
    let mut reader = args.by.passphrase.reader();
    let id = id_of(&args.which, &mut reader, output)?;
    let new = New {
        unknown: args.unknown,
        id,
        name: None,
        change: KeyChange::Revoke {
            since: args.since,
            reason: args.reason,
        },
        what: format!("that the key {id} no longer counts"),
    };
    record(new, &args.by, (global, reader), output)
}

/// A key that never counts is a mistake.
fn not_over(until: Option<Timestamp>) -> Result<(), Failure> {
    match until {
        Some(until) if until <= context::now() => Err(Failure::error(format!(
            "--valid-until {until} is over: the key would never count"
        ))),
        _ => Ok(()),
    }
}

/// A record to be written.
struct New {
    /// It may be about a key that nobody knows.
    unknown: bool,
    /// The key that it is about.
    id: Sha256,
    /// Whose it is; unless given, as is known of it.
    name: Option<Text>,
    change: KeyChange,
    what: String,
}

/// Signs and appends a record about a key, if it would count.
fn record(
    new: New,
    by: &ByArgs,
    (global, mut reader): (&Global, KeyReader<'_>),
    output: &Output,
) -> Outcome {
    let config = Config::load(global)?;
    let path = signing_key(by.key.clone(), &config)?;
    let signer = signers::open(&path, None, &mut reader, output)?;
    let speaker = keyring::speaker(&config, &signer.public(), context::now())?;
    let role = speaker.role_among(&[Role::Admin]);
    let admin = role.is_some();
    let recorder = Recorder::open(
        (global, &config),
        &*signer,
        role.or(speaker.roles.first().copied()),
        by.acknowledgement,
        &mut reader,
        output,
    )?;

    let store = context::store(&config)?;
    let mut ring = keyring::read(&*store, &config, recorder.now())?;
    let known = match &new.change {
        KeyChange::Rotate { previous, .. } => previous,
        _ => &new.id,
    };
    let known = ring.policy().identity(known);
    if known.is_none() && !new.unknown && !is_half(ring.policy(), &new.id) {
        let id = new.id;
        return Err(Failure::error(format!("nobody has the key {id}")).hint(
            "`weighbridge key list` shows the ids; --unknown revokes a key that is not among them, as that of a \
             certificate",
        ));
    }
    let name = new.name.or_else(|| Some(known?.name.clone()));
    let name = name.map_or_else(|| Text::new("unknown"), Ok);
    let digest = SubjectDigest {
        dir_hash1: None,
        sha256: Some(new.id),
        oms_root: None,
    };
    let statement = Statement::new(
        flag("the name of the party", name)?,
        digest,
        Record::Key(Box::new(KeyRecord {
            time: recorder.now(),
            time_source: TimeSource::Local,
            actor: recorder.actor(),
            log: recorder.log(),
            change: new.change,
        })),
    );
    let entry = recorder.sign(&statement)?;
    match ring.take(u64::MAX, &entry) {
        Taken::Counts => {}
        Taken::Ignored(why) | Taken::Retires(why) | Taken::Unknown(why) => {
            return Err(would_not_count(&why, admin));
        }
        Taken::Foreign => return Err(would_not_count("it is by nobody who is trusted", admin)),
    }
    let added = ring.policy().identity(&new.id);
    if added.is_some_and(|identity| identity.is_expired(recorder.now())) {
        let why = "the key that it replaces has expired, and nobody gains time by a new key";
        return Err(would_not_count(why, admin));
    }
    let index = recorder.write(entry, &new.what, output)?;
    if output.json {
        output.document(&json!({ "index": index, "key_id": new.id }))?;
    } else {
        output.data(&format!("{index}\n"))?;
    }
    Ok(0)
}

/// Is it the id of half of a hybrid key that is known?
fn is_half(policy: &Policy, id: &Sha256) -> bool {
    policy.identities.iter().any(|identity| {
        let key = identity.credential.key();
        key.is_some_and(|key| key.key_ids().contains(id))
    })
}

fn would_not_count(why: &str, admin: bool) -> Failure {
    let failure = Failure::error(format!("the record would not count: {why}"));
    if admin {
        return failure;
    }
    failure.hint(
        "sign it with --key and the key of an [[identity]] of the policy that has the role admin; a key that \
         is to be revoked may sign that itself",
    )
}

/// How a key is known.
#[derive(serde::Serialize)]
struct Line<'a> {
    name: &'a str,
    roles: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    /// A key, certificates, a login.
    credential: &'static str,
    /// The record that says so; none if the policy does.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<Timestamp>,
    state: State,
    /// Since when it is revoked, and who says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

#[derive(Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Valid,
    Expired,
    Revoked,
}

pub(super) fn list(_: &ListArgs, global: &Global, output: &Output) -> Outcome {
    let config = Config::load(global)?;
    let now = context::now();
    let store = context::store(&config)?;
    let trust = config.policy.log.trust.without_quorum();
    let history = History::new(global, Some(&config), trust.log(), output);
    history.demand(&Log::open(&*store, &trust)?)?;
    let ring = keyring::read(&*store, &config, now)?;
    let policy = ring.policy();
    let mut lines: Vec<Line<'_>> = policy
        .identities
        .iter()
        .map(|identity| line(identity, policy, now))
        .collect();
    lines.extend(ring.expelled.iter().map(|identity| {
        let mut line = line(identity, policy, now);
        line.state = State::Revoked;
        line.revoked = Some("with the key of the admin who registered it".into());
        line
    }));
    if output.json {
        output.document(&lines)?;
        return Ok(0);
    }
    output.lines(lines.iter().map(|line| {
        let id = line.key_id.map(|id| id.to_string());
        let state = match (line.state, &line.revoked) {
            (State::Valid, _) => "valid".to_owned(),
            (State::Expired, _) => "expired".to_owned(),
            (State::Revoked, why) => format!("revoked {}", why.as_deref().unwrap_or_default()),
        };
        let place = line
            .record
            .map_or_else(|| "policy".to_owned(), |index| format!("record {index}"));
        format!(
            "{}  {}  {}  {place}  {state}\n",
            id.as_deref().unwrap_or(line.credential),
            crate::path::display(line.name),
            line.roles.join(","),
        )
    }))?;
    Ok(0)
}

fn line<'a>(identity: &'a Identity, policy: &Policy, now: Timestamp) -> Line<'a> {
    let key = identity.credential.key();
    let withdrawn = key.and_then(|key| policy.withdrawn(key, None));
    Line {
        name: identity.name.as_str(),
        roles: identity.roles.iter().map(|role| role.name()).collect(),
        key_id: key.map(PublicKey::key_id),
        algorithm: key.map(|key| key.algorithm().name()),
        credential: match identity.credential {
            Credential::Key(_) => "key",
            Credential::Certificate(_) => "certificate",
            Credential::Keyless(_) => "keyless",
        },
        record: identity.registered.as_ref().map(|it| it.record),
        valid_until: identity.expires,
        state: if withdrawn.is_some() {
            State::Revoked
        } else if identity.is_expired(now) {
            State::Expired
        } else {
            State::Valid
        },
        revoked: withdrawn.map(|it| match it.since {
            Some(since) => format!("as of {since} {}", it.by),
            None => it.by.to_string(),
        }),
    }
}
