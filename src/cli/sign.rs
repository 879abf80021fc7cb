//! `sign`: an OMS bundle over an artifact, and with `--record` a release in the ledger.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::attach::{AttachArgs, By};
use super::context::{self, Config};
use super::failure::Failure;
use super::keyless::KeylessArgs;
use super::keys::{self, KeyReader, PassphraseArgs};
use super::log_access::Acknowledgement;
use super::output::Output;
use super::progress::jobs;
use super::receipt;
use super::receipts::Receipts;
use super::record::Recorder;
use super::signing::{Earlier, How, Signed, read_for, replaceable, write_keyless, write_signature};
use super::target::{Target, TargetArgs};
use super::timestamp::AuthorityArgs;
use super::{Global, Outcome, catalogue, keyring, signers, trust, values};
use crate::artifact::manifest::Line;
use crate::artifact::{Artifact, Known, Names, StatCache};
use crate::bundle::MAX_BUNDLE;
use crate::digest::{Algorithm, ShardHash, Sharding};
use crate::disk;
use crate::key::Signer;
use crate::oms::{Content, OmsBundle};
use crate::parallel;
use crate::report::text::count;
use crate::sigstore::trust::Instance;
use crate::statement::Kind;
use crate::statement::release::SignatureReference;
use crate::verify::ArtifactEvidence;
use crate::x509::Certificate;

/// Sign an artifact with an OMS bundle that model_signing verifies too
///
/// The signature is written to model.sig inside a directory, or to FILE.sig beside a file. With
/// --record the release is also recorded in the ledger; the index of its entry is printed once it
/// is durable.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command")]
#[command(after_help = "Examples:
  weighbridge sign ./model
  weighbridge sign --record ./model
  weighbridge sign --key key.pem --signature model.sig ./model    without a policy file
  weighbridge sign --catalogue models
    weighbridge sign --update model/model.sig ./model               reads what has changed since
  weighbridge sign --fs-verity ./model                            `verify --fast` need not read what is under fs-verity
  weighbridge sign --attach oci://registry.example/team/model:v1 ./model


  weighbridge sign --keyless ./model                              in CI, by its identity token
  weighbridge sign --key key.pem --certificate chain.pem ./model  for whoever trusts the root of the chain

A key elsewhere is named by pkcs11:… (RFC 7512), ssh-agent:NAME, awskms://[ENDPOINT]/KEY, hashivault://NAME,
openbao://NAME, or NAME://… for a plugin sigstore-kms-NAME on the path.")]
pub(super) struct SignArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The private key, in PEM or as OpenSSH writes it, or the URI of one elsewhere (see below); unless given,
    /// the one that the policy names
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The certificate of the key, in PEM, with those between it and a root behind it: whoever trusts the
    /// root can verify, without knowing the key
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    certificate: Option<PathBuf>,
    /// Add a signature to those that are there, over the same statement: the files must be as signed
    #[arg(long, conflicts_with_all = ["certificate", "algorithm", "timestamp_url"])]
    add: bool,
    /// Do not read again what has not changed since OLD.sig was made here
    ///
    /// A file is passed over if nothing about it has changed that the kernel keeps track of since this
    /// host signed it, by a receipt that is kept in your cache directory, and OLD.sig, which is to be by the same
    /// key, says so too. Not for a release that others rely on: docs/signing.md says what a receipt does not see.
    #[arg(long, value_name = "OLD.sig", conflicts_with_all = ["add", "catalogue", "keyless"])]
    update: Option<PathBuf>,
    /// With --record: let the release vouch for files that --update did not read again
    #[arg(long, requires_all = ["record", "update"])]
    update_release: bool,
    /// Ask the timestamp authority at this address to vouch for the time
    #[arg(long, value_name = "URL")]
    timestamp_url: Option<String>,
    #[command(flatten)]
    authorities: AuthorityArgs,
    /// What the files are hashed with; model_signing's command line verifies sha256 only
    #[arg(long, value_parser = values::word::<Algorithm>(&["sha256", "blake2b", "blake3"]), default_value = "sha256", value_name = "NAME")]
    algorithm: Algorithm,
    /// Sign parts of so many bytes instead of whole files, as the method "shards" of OMS: one that was damaged
    /// can be told by its place. Empty files have no part, and are outside the signature
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["add", "update"])]
    shard_size: Option<NonZero<u64>>,
    /// Say beside each digest what the kernel keeps of the file under fs-verity, so that whoever puts it under fs-verity can
    /// verify it without reading it (`verify --fast`)
    #[arg(long, conflicts_with_all = ["add", "shard_size"])]
    fs_verity: bool,
    /// The directory holds many artifacts: sign each directory in it

    #[arg(long, conflicts_with_all = ["add", "record", "keyless"])]
    catalogue: bool,
    /// Sign keyless: as whoever the identity token is about (Sigstore). Asks the network. With --record, --key
    /// signs the record: these are signed with keys
    #[arg(long, conflicts_with_all = ["certificate", "add", "timestamp_url"], help_heading = "Signing keyless")]
    keyless: bool,
    #[command(flatten)]
    keyless_args: KeylessArgs,
    #[command(flatten)]
    attach: AttachArgs,
    /// Record the release in the ledger as well
    #[arg(long)]
    record: bool,
    /// Write the receipt of the record to this file, and the record beside it
    #[arg(long, value_name = "FILE", requires = "record")]
    receipt: Option<PathBuf>,
    #[command(flatten)]
    acknowledgement: Acknowledgement,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// An option that would change nothing is a misunderstanding.
fn nothing_in_vain(args: &SignArgs) -> Result<(), Failure> {
    let needs = |option: &str, other: &str| {
        Err(Failure::error(format!(
            "{option} does nothing without {other}"
        )))
    };
    if args.authorities.is_given() && args.timestamp_url.is_none() {
        return needs("--authorities", "--timestamp-url");
    }
    if args.acknowledgement.is_given() && !args.record {
        return needs("--ack", "--record");
    }
    if args.catalogue && args.attach.is_given() {
        return Err(Failure::error(
            "--attach is for one artifact, not for a catalogue",
        ));
    }
    if args.keyless && args.key.is_some() && !args.record {
        return needs("--key", "--record: the signature is made without a key");
    }
    if args.fs_verity && args.algorithm != Algorithm::Sha256 {
        return Err(Failure::error(
            "--fs-verity says beside SHA-256 what kernels keep: leave out --algorithm",
        ));
    }
    if args.update.is_some() && args.record && !args.update_release {
        return Err(Failure::error(
            "a release is read in full: --update would let it vouch for unread files",
        )
        .hint("leave out --update, or say --update-release"));
    }

    Ok(())
}

pub(super) fn run(args: &SignArgs, global: &Global, output: &Output) -> Outcome {
    nothing_in_vain(args)?;

    let config = if args.record {
        Some(Config::load(global)?)
    } else {
        Config::find(global)?
    };
    if args.catalogue {
        return catalogue_of(args, config.as_ref(), output);
    }
    let target = args.target.open()?;
    let artifact = &target.artifact;
    if let Some(config) = &config {
        config.keep_out_of(artifact)?;
    }
    let signature = &target.signature;
    if args.keyless {
        return keyless(args, &target, (global, config.as_ref()), output);
    }

    // Keys first: a wrong passphrase should not cost the time to hash.
    let mut reader = args.passphrase.reader();
    let key_path = key_path(args, config.as_ref())?;
    let key = signers::open(&key_path, Some(artifact), &mut reader, output)?;
    let key = &*key;
    let how = how(args, config.as_ref(), key)?;
    let earlier = if args.add {
        Some(Earlier::read(signature)?)
    } else {
        replaceable(signature)?;
        None
    };
    let recorder = recorder(
        args,
        (global, config.as_ref()),
        artifact,
        (key, &mut reader),
        output,
    )?;
    let attachment = args.attach.open()?;
    let mut unread = 0;
    let (evidence, signed) = if let Some(earlier) = earlier {
        let evidence = target.read_complete(&earlier.algorithms(), output)?;
        let now = context::now();
        let policy = config.as_ref().map(|config| keyring::policy(config, now));
        let policy = policy.transpose()?;
        attachment.compare(artifact, &evidence)?;
        let by = (signature.as_path(), key);
        let signed = earlier.add(artifact, &evidence, by, policy.as_ref(), output)?;
        (evidence, signed)
    } else {
        let evidence;
        let by = Some(key);
        (evidence, unread) = read(args, &target, (&how.algorithms(), by), global, output)?;
        attachment.compare(artifact, &evidence)?;
        let signed = write_signature(artifact, &evidence, signature, &how, output)?;
        (evidence, signed)
    };
    let attached = attachment.attach(signature, &By::Key(key), output)?;
    let document = json!({
        "signature": signature.display().to_string(),
        "root": signed.root.to_string(),
        "unread_files": unread,
        "attached": attached,
    });
    finish(
        args,
        recorder,
        artifact,
        (&evidence, &signed),
        document,
        output,
    )
}

/// Who records the release, if it is to be recorded, with everything checked that it takes.
fn recorder<'a>(
    args: &SignArgs,
    (global, config): (&Global, Option<&'a Config>),
    artifact: &Artifact,
    (key, reader): (&'a dyn Signer, &mut KeyReader<'_>),
    output: &'a Output,
) -> Result<Option<Recorder<'a>>, Failure> {
    let Some(config) = config.filter(|_| args.record) else {
        return Ok(None);
    };
    if let Some(receipt) = &args.receipt {
        receipt::writable(receipt, artifact)?;
    }
    let acknowledgement = args.acknowledgement;
    let recorder = Recorder::open((global, config), key, None, acknowledgement, reader, output)?;
    recorder.must_permit(Kind::Release)?;

    if args.receipt.is_some() {
        recorder.can_write_receipt()?;
    }
    Ok(Some(recorder))
}

/// Records the release, if that was asked for, and says what was done.
fn finish(
    args: &SignArgs,
    recorder: Option<Recorder<'_>>,
    artifact: &Artifact,
    (evidence, signed): (&ArtifactEvidence, &Signed),
    document: serde_json::Value,
    output: &Output,
) -> Outcome {
    let Some(recorder) = recorder else {
        if output.json {
            output.document(&document)?;
        }
        return Ok(0);
    };
    let reference = SignatureReference {
        sha256: signed.bundle,
        key_id: signed.key_id,
    };
    let release = recorder.release(evidence, Some(reference));
    let recorded = recorder.append(
        &artifact.name(),
        evidence,
        release,
        Some(signed.root),
        output,
    )?;
    recorder.conclude(&recorded, document, args.receipt.as_deref(), output)
}

/// Signs each directory in a directory with one key.
fn catalogue_of(args: &SignArgs, config: Option<&Config>, output: &Output) -> Outcome {
    let name = args.target.signature_name()?;
    let root = &args.target.path;
    let found = catalogue::find(root, &name)?;
    for link in &found.links {
        output.warn(format!("{} is a link: it is not followed", link.display()));
    }
    let mut places: Vec<PathBuf> = found.signed;
    places.extend(found.unsigned);
    places.sort_unstable();
    if places.is_empty() {
        return Err(Failure::error(format!(
            "{} holds no directory with files in it",
            root.display()
        )));
    }
    let mut reader = args.passphrase.reader();
    let key_path = key_path(args, config)?;
    let whole = Artifact::open(root)?;
    let key = signers::open(&key_path, Some(&whole), &mut reader, output)?;
    let how = how(args, config, &*key)?;
    for place in &places {
        replaceable(&place.join(&name))?;
    }
    // What is hashed at the same time is signed one after the other: a token has one door.
    let algorithms = how.algorithms();
    let read = parallel::each(&places, jobs(args.target.jobs), |place| {
        let artifact = Artifact::open(place)?;
        let path = place.join(&name);
        let evidence = catalogue::read(
            &artifact,
            &path,
            &algorithms,
            Names::Printable,
            Known::NOTHING,
        )?;
        context::complete(place, &evidence)?;
        Ok::<_, Failure>((artifact, path, evidence))
    });
    let mut signed = Vec::new();
    for one in read {
        let (artifact, path, evidence) = one?;
        let written = write_signature(&artifact, &evidence, &path, &how, output)?;
        signed.push(json!({
            "signature": path.display().to_string(),
            "root": written.root.to_string(),
        }));
    }
    output.say(format!("signed {}", count(signed.len(), "artifact")));
    if output.json {
        output.document(&signed)?;
    }
    Ok(0)
}

/// How `key` signs.
fn how<'a>(
    args: &'a SignArgs,
    config: Option<&'a Config>,
    key: &'a dyn Signer,
) -> Result<How<'a>, Failure> {
    Ok(How {
        signer: key,
        chain: chain(args, key)?,
        timestamp: match &args.timestamp_url {
            Some(url) => Some((url, args.authorities.read(config)?)),
            None => None,
        },
        withdrawn: config.map_or(&[], |config| &config.policy.revoked),
        algorithm: algorithm(args)?,
        fs_verity: args.fs_verity,
    })
}

/// The key to sign with: the one given, else that of the policy.
fn key_path(args: &SignArgs, config: Option<&Config>) -> Result<PathBuf, Failure> {
    let path = args.key.clone().or_else(|| {
        let config = config?;
        Some(config.resolve(&config.policy.signing.as_ref()?.key))
    });
    let hint = "name one with --key, or make a set-up with `weighbridge init`";
    keys::required(path, "signing key", hint)
}

/// What the files are hashed with for the signature.
fn algorithm(args: &SignArgs) -> Result<Algorithm, Failure> {
    let Some(size) = args.shard_size else {
        return Ok(args.algorithm);
    };
    let of = match args.algorithm {
        Algorithm::Sha256 => ShardHash::Sha256,
        Algorithm::Blake2b => ShardHash::Blake2b,
        Algorithm::Blake3 => ShardHash::Blake3,
        other => {
            let name = other.name();
            return Err(Failure::error(format!("{name} does not sign shards")));
        }
    };
    Ok(Algorithm::Sharded(Sharding {
        of,
        size,
        most: MOST_SHARDS,
        keep: true,
    }))
}

/// More than this of one file would make a signature that nobody reads.
const MOST_SHARDS: u64 = 20_000;

/// Reads the artifact, and keeps receipts of it. With --update, what has a receipt is not read: how many
/// files these are.
fn read(
    args: &SignArgs,
    target: &Target<'_>,
    (algorithms, signer): (&[Algorithm], Option<&dyn Signer>),
    global: &Global,
    output: &Output,
) -> Result<(ArtifactEvidence, usize), Failure> {
    let mut receipts = Receipts::of(&target.artifact, algorithms, global);
    if let Some(old) = &args.update {
        let lines = listed(old, (args.algorithm, signer), &target.artifact)?;
        match &mut receipts {
            Ok(receipts) => {
                if receipts.read() == 0 {
                    output.say("there are no receipts of it on this host: every file is read");
                }
                receipts.cache.agree_with(args.algorithm, lines);
            }
            Err(why) => output.warn(format!(
                "there are no receipts, and every file is read: {why}"
            )),
        }
    }
    let cache = receipts.as_ref().map(|receipts| &receipts.cache).ok();
    let evidence = target.read_to_sign(algorithms, cache, output)?;
    // Whole files alone are taken over.
    if let Ok(receipts) = &receipts
        && args.shard_size.is_none()
        && let Err(why) = receipts.write()
        && args.update.is_some()
    {
        output.warn(format!("no receipts of this hashing are kept: {why}"));
    }

    let unread = cache.map_or(0, StatCache::used);
    if let Some(old) = &args.update {
        output.say(format!(
            "{unread} of {} not read again: they are as this host read them before, and as {} says",
            count(evidence.manifest.files().len(), "file"),
            old.display()
        ));
    }
    Ok((evidence, unread))
}

/// What the signature at `path` says that the files of `artifact` have by `algorithm`.
fn listed(
    path: &Path,
    (algorithm, signer): (Algorithm, Option<&dyn Signer>),
    artifact: &Artifact,
) -> Result<Vec<Line>, Failure> {
    let fail = |why: &dyn std::fmt::Display| Failure::error(format!("{}: {why}", path.display()));
    let bytes = disk::read(path, MAX_BUNDLE as u64)?;
    let bundle = OmsBundle::parse(&bytes).map_err(|error| fail(&error))?;
    if !signer.is_some_and(|signer| bundle.signed_by(&signer.public())) {
        return Err(fail(&"it is not by the key that signs now").hint("leave out --update"));
    }
    let model = bundle.model.map_err(|error| fail(&error))?;
    if model.algorithm != algorithm {
        let found = model.algorithm.name();
        let wanted = algorithm.name();
        return Err(fail(&format!("it lists {found} digests, not {wanted}"))
            .hint("sign with the same --algorithm, or leave out --update"));
    }
    match (model.content, artifact.single_file()) {
        (Content::Tree(lines), None) => Ok(lines),
        (Content::File { digest }, Some(path)) => Ok(vec![Line {
            digest,
            path: path.clone(),
        }]),
        _ => Err(fail(&"one is of a file, and the other of a directory")),
    }
}

fn keyless(
    args: &SignArgs,
    target: &Target<'_>,
    (global, config): (&Global, Option<&Config>),
    output: &Output,
) -> Outcome {
    let (artifact, path) = (&target.artifact, &target.signature);
    let keyless = args.keyless_args.open(None, Instance::Production)?;
    replaceable(path)?;
    let mut reader = args.passphrase.reader();
    let key = if args.record {
        let path = key_path(args, config)?;
        Some(signers::open(&path, Some(artifact), &mut reader, output)?)
    } else {
        None
    };
    let recorder = match &key {
        Some(key) => recorder(
            args,
            (global, config),
            artifact,
            (&**key, &mut reader),
            output,
        )?,
        None => None,
    };
    let algorithm = algorithm(args)?;
    let algorithms = read_for(algorithm, args.fs_verity);
    let attachment = args.attach.open()?;
    let (evidence, unread) = read(args, target, (&algorithms, None), global, output)?;
    attachment.compare(artifact, &evidence)?;
    let how = (&keyless, algorithm);
    let (signed, proof) = write_keyless(artifact, &evidence, path, how, output)?;
    let attached = attachment.attach(path, &By::Keyless(&keyless), output)?;

    let document = json!({
        "signature": path.display().to_string(),
        "root": signed.root.to_string(),
                "unread_files": unread,
        "attached": attached,
        "identity": proof.identity,
        "issuer": proof.issuer,
    });
    finish(
        args,
        recorder,
        artifact,
        (&evidence, &signed),
        document,
        output,
    )
}

/// The certificates that go into the bundle, that of `signer` first.
fn chain(args: &SignArgs, signer: &dyn Signer) -> Result<Vec<Certificate>, Failure> {
    let Some(path) = &args.certificate else {
        return Ok(Vec::new());
    };
    let chain = trust::certificates(path)?;
    trust::belongs(signer, &chain, path)?;
    Ok(chain)
}
