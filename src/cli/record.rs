//! `record`: append a fact about an artifact to the ledger.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::context::{self, Config, ReadRequest};
use super::failure::Failure;
use super::keys::{self, KeyReader, PassphraseArgs};
use super::output::Output;
use super::{Global, Outcome, values};
use crate::artifact::{Artifact, Names, Symlinks};
use crate::digest::{Algorithm, Sha256};
use crate::disk::{self, Access, Existing};
use crate::envelope::{Envelope, IN_TOTO};
use crate::gate;
use crate::key::PrivateKey;
use crate::ledger::{self, DirectoryStore, Log};
use crate::statement::acquire::{
    Acquire, Asset, Authentication, AuthenticationMethod, AuthenticationResult, EndpointIdentity,
    ManifestReference, Method, PublishedDigest, Retrieved,
};
use crate::statement::release::{Release, SignatureReference};
use crate::statement::{
    Actor, Record, Role, SourceUri, Statement, SubjectDigest, Text, TextError, TimeSource,
};
use crate::time::Timestamp;
use crate::verify::ArtifactEvidence;

/// Append a record about an artifact to the ledger
///
/// Prints the index of the entry once it is durable and in a signed checkpoint.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge record release --version 1.2 ./model
  weighbridge record acquire --source https://example.org/model --revision 9f3c… ./model")]
pub(super) struct RecordArgs {
    #[command(subcommand)]
    kind: RecordKind,
}

#[derive(Subcommand)]
enum RecordKind {
    Acquire(Box<AcquireArgs>),
    Release(ReleaseArgs),
}

/// What every record needs.
#[derive(clap::Args)]
struct CommonArgs {
    /// File or directory
    path: PathBuf,
    /// The signature that belongs to the artifact, and is not part of it
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The private key, in PEM; unless given, the one that the policy names
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The role to sign in; unless given, the one that the policy names
    #[arg(long, value_parser = values::word::<Role>(values::ROLES), value_name = "ROLE")]
    role: Option<Role>,
    /// Write the receipt to this file, and the record beside it
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Record where an artifact was obtained, how, when, and how that was authenticated
#[derive(clap::Args)]
#[command(after_help = "Example:
  weighbridge record acquire --source pkg:pypi/silero-vad@6.2.3 --licence MIT \\
      --auth-method checksum-from-publisher --auth-result verified \\
      --published-digest SHA256SUMS ./model")]
struct AcquireArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Where it was obtained: an absolute URI, without credentials
    #[arg(long, value_name = "URI")]
    source: String,
    /// What the source calls this exact content: a commit, a version
    #[arg(long, value_name = "TEXT")]
    revision: Option<String>,
    /// Who publishes it there
    #[arg(long, value_name = "TEXT")]
    publisher: Option<String>,
    /// What kind of artifact it is
    #[arg(long, value_parser = values::word::<Asset>(values::ASSETS), default_value = "model", value_name = "WORD")]
    asset: Asset,
    /// How it was obtained
    #[arg(long, value_parser = values::word::<Method>(values::METHODS), default_value = "download", value_name = "WORD")]
    method: Method,
    /// When retrieval began, in RFC 3339; unless given, now
    #[arg(long, value_name = "TIME")]
    retrieved_start: Option<Timestamp>,
    /// When retrieval ended; unless given, when it began
    #[arg(long, value_name = "TIME")]
    retrieved_end: Option<Timestamp>,
    /// The program that retrieved it
    #[arg(long, value_name = "TEXT")]
    retriever: Option<String>,
    /// SPDX licence expression
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// Where the terms of use can be read
    #[arg(long, value_name = "TEXT")]
    terms: Option<String>,
    /// Is the source open to the public?
    #[arg(long, value_name = "BOOL")]
    public: Option<bool>,
    /// How the source was authenticated
    #[arg(long, value_parser = values::word::<AuthenticationMethod>(values::AUTHENTICATION_METHODS), default_value = "none", value_name = "WORD")]
    auth_method: AuthenticationMethod,
    /// With what result
    #[arg(long, value_parser = values::word::<AuthenticationResult>(values::AUTHENTICATION_RESULTS), default_value = "not-checked", value_name = "WORD")]
    auth_result: AuthenticationResult,
    /// The host that was talked to
    #[arg(long, value_name = "HOST")]
    auth_host: Option<String>,
    /// SHA-256 of the host's certificate in DER
    #[arg(long, value_name = "HEX", requires = "auth_host")]
    auth_cert: Option<Sha256>,
    /// Who the publisher proved to be: a key id, or an OIDC issuer and subject
    #[arg(long, value_name = "TEXT")]
    publisher_identity: Option<String>,
    /// The name of the credential that was used; never the secret
    #[arg(long, value_name = "TEXT")]
    credential_ref: Option<String>,
    /// A digest list that the publisher publishes: its SHA-256 is recorded
    #[arg(long, value_name = "FILE")]
    published_digest: Option<PathBuf>,
    /// Where the digest list was read; unless given, its file name
    #[arg(long, value_name = "TEXT", requires = "published_digest")]
    published_at: Option<String>,
}

/// Record that the developer publishes an artifact under its digest
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  weighbridge record release --version 1.2 --licence MIT ./model"
)]
struct ReleaseArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The version, as the developer calls it
    #[arg(long, value_name = "TEXT")]
    version: Option<String>,
    /// SPDX licence expression
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// Where the list of hashes is published
    #[arg(long, value_name = "URI")]
    hash_list: Option<String>,
    /// Until when security updates are made
    #[arg(long, value_name = "TIME")]
    support_until: Option<Timestamp>,
}

pub(super) fn run(args: &RecordArgs, global: &Global, output: &Output) -> Outcome {
    let common = match &args.kind {
        RecordKind::Acquire(args) => &args.common,
        RecordKind::Release(args) => &args.common,
    };
    let config = Config::load(global)?;
    let artifact = Artifact::open(&common.path)?;
    config.keep_out_of(&artifact)?;
    let mut reader = common.passphrase.reader();
    let named = config
        .policy
        .signing
        .as_ref()
        .map(|signing| config.resolve(&signing.key));
    let path = common.key.clone().or(named);
    let path = keys::required(
        path,
        "signing key",
        "name one with --key, or in [signing] of the policy",
    )?;
    let key = reader.private(&path, output)?;
    let recorder = Recorder::open(&config, &key, common.role, &mut reader, output)?;

    let signature = common
        .signature
        .clone()
        .unwrap_or_else(|| gate::default_signature(&artifact));
    let exclusions = gate::exclusions(&artifact, &signature);
    let request = ReadRequest {
        exclusions: &exclusions,
        algorithms: &[Algorithm::Sha256],
        symlinks: Symlinks::Refuse,
        names: Names::Printable,
        jobs: common.jobs,
    };
    // Everything that can be wrong with the flags is found before the time to hash is spent.
    let template = |manifest| match &args.kind {
        RecordKind::Acquire(args) => recorder.acquire(args, manifest),
        RecordKind::Release(args) => recorder.release_with(args, manifest),
    };
    template(ManifestReference {
        sha256: Sha256::of(b""),
        files: 0,
        bytes: 0,
        not_covered: Vec::new(),
    })?;
    let evidence = context::read(&artifact, &request, output)?;
    context::complete(&common.path, &evidence)?;
    let record = template(manifest_reference(&evidence))?;
    let recorded = recorder.append(&artifact, &evidence, record, None, output)?;
    if let Some(receipt) = &common.receipt {
        write_receipt(&config, recorded.index, receipt, output)?;
    }
    if output.json {
        output.document(&json!({ "index": recorded.index, "artifact": recorded.artifact }))?;
    } else {
        output.data(&format!("{}\n", recorded.index))?;
    }
    Ok(0)
}

/// Everything that it takes to append a record: the policy, who signs, and the log's key.
pub(super) struct Recorder<'a> {
    config: &'a Config,
    key: &'a PrivateKey,
    role: Role,
    log_key: Box<ed25519_dalek::SigningKey>,
    now: Timestamp,
}

/// What was appended.
pub(super) struct Recorded {
    pub(super) index: u64,
    artifact: String,
}

impl<'a> Recorder<'a> {
    /// Makes sure that the record would count before anything is written.
    pub(super) fn open(
        config: &'a Config,
        key: &'a PrivateKey,
        role: Option<Role>,
        reader: &mut KeyReader<'_>,
        output: &Output,
    ) -> Result<Recorder<'a>, Failure> {
        let policy = &config.policy;
        let identity = policy.identity(&key.public().key_id()).ok_or_else(|| {
            Failure::error("the signing key belongs to no identity of the policy")
                .hint("add its public key as an [[identity]], or sign with another key")
        })?;
        let role = role.or(policy.signing.as_ref().map(|signing| signing.role));
        let role = role
            .or(identity.roles.first().copied())
            .unwrap_or(Role::Developer);
        if !identity.roles.contains(&role) {
            return Err(Failure::error(format!(
                "identity {} does not have the role {}",
                identity.name,
                role.name()
            )));
        }
        let log_key = policy
            .signing
            .as_ref()
            .and_then(|signing| signing.log_key.as_ref());
        let log_key = log_key.map(|path| config.resolve(path));
        let hint = "name it as log_key in [signing] of the policy";
        let log_key = reader.log(&keys::required(log_key, "log key", hint)?, output)?;
        if crate::note::NoteKey::new(policy.log.key.name(), log_key.verifying_key()).as_ref()
            != Ok(&policy.log.key)
        {
            return Err(Failure::error(
                "the log key is not the one that the policy trusts",
            ));
        }
        Ok(Recorder {
            config,
            key,
            role,
            log_key,
            now: context::now(),
        })
    }

    pub(super) fn config(&self) -> &Config {
        self.config
    }

    fn actor(&self) -> Actor {
        let key_id = self.key.public().key_id();
        let party = self
            .config
            .policy
            .identity(&key_id)
            .map(|identity| identity.name.clone());
        Actor {
            key_id,
            party,
            role: self.role,
        }
    }

    /// A release without further particulars.
    pub(super) fn release(
        &self,
        evidence: &ArtifactEvidence,
        signature: Option<SignatureReference>,
    ) -> Record {
        Record::Release(Box::new(Release {
            time: self.now,
            time_source: TimeSource::Local,
            actor: self.actor(),
            version: None,
            licence: None,
            hash_list_uri: None,
            support_until: None,
            signature,
            manifest: manifest_reference(evidence),
        }))
    }

    fn release_with(
        &self,
        args: &ReleaseArgs,
        manifest: ManifestReference,
    ) -> Result<Record, Failure> {
        Ok(Record::Release(Box::new(Release {
            time: self.now,
            time_source: TimeSource::Local,
            actor: self.actor(),
            version: text("--version", args.version.as_ref())?,
            licence: text("--licence", args.licence.as_ref())?,
            hash_list_uri: args
                .hash_list
                .as_ref()
                .map(|uri| flag("--hash-list", SourceUri::new(uri.as_str())))
                .transpose()?,
            support_until: args.support_until,
            signature: None,
            manifest,
        })))
    }

    fn acquire(&self, args: &AcquireArgs, manifest: ManifestReference) -> Result<Record, Failure> {
        let start = args.retrieved_start.unwrap_or(self.now);
        let end = args
            .retrieved_end
            .unwrap_or(start.max(args.retrieved_start.unwrap_or(start)));
        if end < start {
            return Err(Failure::error(
                "--retrieved-end is before --retrieved-start",
            ));
        }
        if end > self.now {
            return Err(Failure::error("--retrieved-end is after now"));
        }
        Ok(Record::Acquire(Box::new(Acquire {
            time: self.now,
            time_source: TimeSource::Local,
            actor: self.actor(),
            asset: args.asset,
            source_uri: flag("--source", SourceUri::new(args.source.as_str()))?,
            revision: text("--revision", args.revision.as_ref())?,
            publisher: text("--publisher", args.publisher.as_ref())?,
            method: args.method,
            retrieved: Retrieved { start, end },
            retriever: text("--retriever", args.retriever.as_ref())?,
            authentication: self.authentication(args)?,
            upstream_digests: Vec::new(),
            licence: text("--licence", args.licence.as_ref())?,
            terms: text("--terms", args.terms.as_ref())?,
            public: args.public,
            manifest,
        })))
    }

    fn authentication(&self, args: &AcquireArgs) -> Result<Authentication, Failure> {
        if args.auth_method == AuthenticationMethod::None
            && args.auth_result == AuthenticationResult::Verified
        {
            return Err(Failure::error(
                "--auth-result verified needs an --auth-method",
            ));
        }
        let host = text("--auth-host", args.auth_host.as_ref())?;
        let endpoint_identity = host.map(|host| EndpointIdentity {
            host,
            cert_sha256: args.auth_cert,
        });
        let published_digest = match &args.published_digest {
            Some(path) => {
                let name = path
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned());
                let read_from = args.published_at.clone().or(name).unwrap_or_default();
                Some(PublishedDigest {
                    digest: Sha256::of(&disk::read(path, ledger::MAX_BLOB)?),
                    read_from: flag("--published-at", Text::new(read_from))?,
                })
            }
            None => None,
        };
        Ok(Authentication {
            method: args.auth_method,
            result: args.auth_result,
            checked_at: self.now,
            endpoint_identity,
            publisher_identity: text("--publisher-identity", args.publisher_identity.as_ref())?,
            credential_ref: text("--credential-ref", args.credential_ref.as_ref())?,
            signature_digest: None,
            published_digest,
        })
    }

    /// Signs and appends `record`. The manifest becomes durable before the record that names it.
    pub(super) fn append(
        &self,
        artifact: &Artifact,
        evidence: &ArtifactEvidence,
        record: Record,
        oms_root: Option<Sha256>,
        output: &Output,
    ) -> Result<Recorded, Failure> {
        let kind = record.kind();
        if !kind.permitted().contains(&self.role) {
            return Err(Failure::error(format!(
                "role {} may not sign {}",
                self.role.name(),
                kind.name()
            )));
        }
        let digest = evidence
            .manifest
            .artifact_digest()
            .map_err(|error| Failure::because(artifact.path().display(), &error))?;
        let name = Text::new(crate::path::display(&artifact.name()));
        let name = name.map_err(|error| Failure::because("the artifact's name", &error))?;
        let statement = Statement::new(name, SubjectDigest::new(digest, oms_root), record);
        let payload = statement.to_payload()?;
        // What is written must be what can be read.
        Statement::parse(&payload).map_err(|error| Failure::because("the new record", &error))?;
        let key_id = self.key.public().key_id().to_string();
        let entry = Envelope::sign(payload, IN_TOTO, self.key, &key_id).to_json()?;

        let store = DirectoryStore::new(&self.config.ledger());
        ledger::put_blob(&store, evidence.manifest.text().as_bytes())?;
        let origin = self.config.policy.log.key.name();
        let appended = ledger::append(&store, origin, &self.log_key, &[entry])?;
        if appended.recovered > 0 {
            output.say(format!(
                "published {} entries that an interrupted writer had committed",
                appended.recovered
            ));
        }
        output.say(format!(
            "recorded {} of {digest} as entry {} of {origin}, durable and published",
            kind.name(),
            appended.first
        ));
        Ok(Recorded {
            index: appended.first,
            artifact: digest.to_string(),
        })
    }
}

fn manifest_reference(evidence: &ArtifactEvidence) -> ManifestReference {
    let manifest = &evidence.manifest;
    let paths = evidence.not_covered.iter().take(64);
    ManifestReference {
        sha256: Sha256::of(manifest.text().as_bytes()),
        files: manifest.files().len() as u64,
        bytes: manifest.bytes(),
        not_covered: paths
            .filter_map(|path| Text::new(path.to_string()).ok())
            .collect(),
    }
}

fn flag<T>(name: &str, value: Result<T, TextError>) -> Result<T, Failure> {
    value.map_err(|error| Failure::because(name, &error))
}

fn text(name: &str, value: Option<&String>) -> Result<Option<Text>, Failure> {
    value
        .map(|value| flag(name, Text::new(value.as_str())))
        .transpose()
}

/// Writes the receipt of entry `index` to `path`, and the entry beside it.
pub(super) fn write_receipt(
    config: &Config,
    index: u64,
    path: &Path,
    output: &Output,
) -> Result<(), Failure> {
    let store = DirectoryStore::new(&config.ledger());
    let log = Log::open(&store, &config.policy.log.key)?;
    let (entry, proof) = log.entry(index)?;
    let beside = gate::receipt_entry(path);
    if beside == path {
        return Err(Failure::error(
            "a receipt cannot be called .dsse: its record is",
        ));
    }
    disk::write(&beside, &entry, Existing::Replace, Access::Shared)?;
    disk::write(path, &proof.encode(), Existing::Replace, Access::Shared)?;
    output.say(format!(
        "wrote receipt {} and record {}",
        path.display(),
        beside.display()
    ));
    Ok(())
}
