//! `record`: append a fact about an artifact to the ledger.

mod acquire;
mod any;
mod checksums;
mod cosign;
mod derive;
mod flags;
mod recall;
mod recorder;
mod value;

use std::num::NonZero;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::context::Config;
use super::failure::Failure;
use super::keys::{self, KeyReader, PassphraseArgs};
use super::log_access::Acknowledgement;
use super::output::Output;
use super::receipt;
use super::target::TargetArgs;
use super::{Global, Outcome, signers, values};
use crate::digest::Sha256;
use crate::key::Signer;
use crate::statement::acquire::ManifestReference;
use crate::statement::{Kind, Role, Text, TextError};

use acquire::AcquireArgs;
use any::AnyKind;
use checksums::PublishedList;
use derive::DeriveArgs;
pub(super) use derive::parse_digest;
pub(super) use recorder::{Recorder, manifest_reference};

/// Append a record about an artifact to the ledger
///
/// Prints the index of the entry once it is durable and in a signed checkpoint.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge record release --version 1.2 ./model
  weighbridge record acquire --source https://example.org/model --revision 9f3c… ./model
  weighbridge record derive --relation trained-on --input training-data=./data ./model
  weighbridge record justify --template

docs/records has a page on each kind.")]
pub(super) struct RecordArgs {
    #[command(subcommand)]
    kind: RecordKind,
}

#[derive(Subcommand)]
enum RecordKind {
    Acquire(Box<AcquireArgs>),
    Derive(Box<DeriveArgs>),
    Quarantine(Box<recall::QuarantineArgs>),
    Revoke(Box<recall::RevokeArgs>),
    ReleaseQuarantine(Box<recall::ReleaseQuarantineArgs>),
    #[command(flatten)]
    Any(AnyKind),
}

/// What every record needs.
#[derive(clap::Args)]
struct CommonArgs {
    /// File or directory
    #[arg(required_unless_present = "template")]
    path: Option<PathBuf>,
    /// The signature; unless given, model.sig in the directory, or FILE.sig beside the file
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// What it says, as JSON in the form of --template, instead of flags
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Print what one says as JSON, and do nothing
    #[arg(long)]
    template: bool,
    #[command(flatten)]
    signing: SigningArgs,
}

impl CommonArgs {
    fn target(&self) -> Result<TargetArgs, Failure> {
        let path = self.path.clone();
        Ok(TargetArgs {
            path: path.ok_or_else(|| Failure::error("it is not said which artifact"))?,
            signature: self.signature.clone(),
            jobs: self.jobs,
        })
    }
}

/// Who signs a record, and how it is appended.
#[derive(clap::Args)]
pub(super) struct SigningArgs {
    /// The private key to sign the record with, in PEM; unless given, the one that the policy names
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// The role to sign in; unless given, the one that the policy names
    #[arg(long, value_parser = values::word::<Role>(values::ROLES), value_name = "ROLE")]
    pub(super) role: Option<Role>,
    /// Write the receipt to this file, and the record beside it
    #[arg(long, value_name = "FILE")]
    pub(super) receipt: Option<PathBuf>,
    #[command(flatten)]
    pub(super) acknowledgement: Acknowledgement,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
}

impl SigningArgs {
    /// Makes sure, before anything is hashed, that a record of `kind` by `key` would count.
    fn recorder<'a>(
        &self,
        (global, config): (&Global, &'a Config),
        kind: Kind,
        key: &'a dyn Signer,
        reader: &mut KeyReader<'_>,
        output: &'a Output,
    ) -> Result<Recorder<'a>, Failure> {
        let recorder = Recorder::open(
            (global, config),
            key,
            self.role,
            self.acknowledgement,
            reader,
            output,
        )?;
        let recorder = recorder.for_kind(kind, self.role);
        recorder.must_permit(kind)?;
        Ok(recorder)
    }
}

pub(super) fn run(args: &RecordArgs, global: &Global, output: &Output) -> Outcome {
    let (kind, common) = match &args.kind {
        RecordKind::Acquire(args) => (Kind::Acquire, &args.common),
        RecordKind::Derive(args) => (Kind::Derive, &args.common),
        RecordKind::Quarantine(args) => return args.run(global, output),
        RecordKind::Revoke(args) => return args.run(global, output),
        RecordKind::ReleaseQuarantine(args) => return args.run(global, output),
        RecordKind::Any(given) => return any::run(given, global, output),
    };
    if common.template {
        return any::template(kind, output);
    }
    let signing = &common.signing;
    let config = Config::load(global)?;
    let target = common.target()?;
    let target = target.open()?;
    let artifact = &target.artifact;
    config.keep_out_of(artifact)?;
    let mut reader = signing.passphrase.reader();
    let path = signing_key(signing.key.clone(), &config)?;

    keys::keep_out_of(artifact, &path)?;
    if let Some(receipt) = &signing.receipt {
        receipt::writable(receipt, artifact)?;
    }
    let key = signers::open(&path, Some(artifact), &mut reader, output)?;
    let recorder = signing.recorder((global, &config), kind, &*key, &mut reader, output)?;

    if signing.receipt.is_some() {
        recorder.can_write_receipt()?;
    }

    // Everything that can be wrong with the flags is found before the time to hash is spent.
    let nothing = ManifestReference {
        sha256: Sha256::of(b""),
        files: 0,
        bytes: 0,
        not_covered: Vec::new(),
    };
    let mut inputs = Vec::new();
    let list = match &args.kind {
        _ if common.from.is_some() => None,
        RecordKind::Derive(args) => {
            inputs = derive::inputs(args, output)?;
            derive::record(args, &recorder, inputs.clone(), nothing)?;
            None
        }
        RecordKind::Acquire(args) => {
            acquire::record(args, &recorder, None, nothing)?;
            args.checksums
                .as_deref()
                .map(PublishedList::read)
                .transpose()?
        }
        _ => None,
    };
    let evidence = target.read_complete(&[crate::digest::Algorithm::Sha256], output)?;
    let manifest = manifest_reference(&evidence);
    let record = match (&args.kind, &common.from) {
        (_, Some(path)) => any::record_from((kind, path), Some(&evidence), &recorder)?,
        (RecordKind::Acquire(args), None) => {
            let checked = match &list {
                Some(list) => Some((list, list.check(&evidence.manifest)?)),
                None => None,
            };
            acquire::record(args, &recorder, checked, manifest)?
        }
        (RecordKind::Derive(args), None) => derive::record(args, &recorder, inputs, manifest)?,
        _ => return Err(Failure::error("this kind of record is made elsewhere")),
    };
    let recorded = recorder.append(&artifact.name(), &evidence, record, None, output)?;
    let document = json!({ "artifact": recorded.artifact });
    recorder.conclude(&recorded, document, signing.receipt.as_deref(), output)
}

/// The key to sign a record with: the one given, else that of the policy.
pub(super) fn signing_key(given: Option<PathBuf>, config: &Config) -> Result<PathBuf, Failure> {
    let signing = config.policy.signing.as_ref();
    let path = given.or_else(|| Some(config.resolve(&signing?.key)));
    let hint = "name one with --key, or in [signing] of the policy";
    keys::required(path, "signing key", hint)
}

fn flag<T>(name: &str, value: Result<T, TextError>) -> Result<T, Failure> {
    value.map_err(|error| Failure::because(name, &error))
}

fn text(name: &str, value: Option<&String>) -> Result<Option<Text>, Failure> {
    value
        .map(|value| flag(name, Text::new(value.as_str())))
        .transpose()
}
