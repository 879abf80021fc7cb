//! `acquire`: fetches an artifact, or adopts one that is on disk, proves that it is what the source publishes,
//! and records that.

mod aside;
mod download;
mod judge;
mod record;

use std::num::NonZero;
use std::path::{Component, Path, PathBuf};

use serde_json::json;
use zeroize::Zeroizing;

use super::context::{self, Config, ReadRequest, variable};
use super::failure::Failure;
use super::keys;
use super::output::Output;
use super::progress::Bar;
use super::record::{Recorder, SigningArgs, signing_key};
use super::{Global, Outcome, receipt, signers, values};
use crate::artifact::{Artifact, Manifest, Names, Symlinks};
use crate::digest::{Algorithm, Sha256};
use crate::disk;
use crate::gate;
use crate::git::Pointer;
use crate::git::snapshot::{MAX_PROOF, Snapshot, SnapshotProof};
use crate::ledger;
use crate::path::ArtifactPath;
use crate::report::text::count;
use crate::source::dependencies::{self, MAX_CONFIG, MAX_DEPENDENCIES};
use crate::source::hub::{Hub, HubError, HubSource, ListedFile, Resolved};
use crate::statement::Kind;
use crate::statement::acquire::{Asset, Dependency, Retrieved};
use crate::time::Timestamp;
use crate::verify::ArtifactEvidence;

use aside::Aside;
use download::{Download, Failed};
pub(super) use judge::judge;
use judge::wrong_lines;
use record::About;
pub(super) use record::SNAPSHOT;

/// Fetch an artifact, prove that it is what the source publishes, and record that
///
/// From a Hugging Face Hub: the commit's own objects are fetched and kept as evidence, and every file must be
/// the one that they name; the hub's listings are believed in nothing. What is there already is verified
/// and not fetched again; what an earlier run began is taken up.
///
/// A token is sent to the hub alone, and is never recorded.
#[derive(clap::Args)]
#[command(
    after_help = "The environment is heeded as the hub's own client does: HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME,
HF_HUB_OFFLINE.

Examples:
  weighbridge acquire hf:openai-community/gpt2@main ./gpt2
  weighbridge acquire hf:datasets/rajpurkar/squad ./squad
  weighbridge acquire --adopt hf:openai-community/gpt2 ~/.cache/huggingface/hub/models--openai-community--gpt2/snapshots/607a…
  weighbridge acquire --no-record hf:acme/tiny ./tiny"
)]
pub(super) struct AcquireArgs {
    /// hf:[datasets/|spaces/]ORG/NAME[@REVISION]
    source: HubSource,
    /// Where it becomes a directory, or is one; unless given, called like the repository
    dest: Option<PathBuf>,
    /// Fetch no file: DEST holds all of them, as a client of the hub or anybody else left them
    #[arg(long, requires = "dest")]
    adopt: bool,
    /// Touch no network
    #[arg(long)]
    offline: bool,
    /// Verify only: record nothing
    #[arg(long, conflicts_with_all = ["key", "role", "receipt", "asset"])]
    no_record: bool,
    /// What it is; unless given, by the kind of repository
    #[arg(long, value_parser = values::word::<Asset>(values::ASSETS), value_name = "KIND")]
    asset: Option<Asset>,
    /// SPDX licence expression; unless given, what the hub says
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// How many files are fetched at once
    #[arg(long, value_name = "N", default_value = "8")]
    connections: NonZero<usize>,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    #[command(flatten)]
    signing: SigningArgs,
}

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// The hub of the environment. Whom nobody asks needs no token.
pub(super) fn hub(offline: bool) -> Result<Hub, Failure> {
    let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into());
    let token = if offline { None } else { token()? };
    Hub::new(&endpoint, token).map_err(|error| Failure::error(gate::cause(&error)))
}

/// Has the user said that there is no network?
pub(super) fn is_offline(flag: bool) -> bool {
    let on = |name| {
        let value = variable(name).unwrap_or_default().to_ascii_uppercase();
        matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE")
    };
    flag || on("HF_HUB_OFFLINE")
}

/// The token as the hub's own client finds it.
fn token() -> Result<Option<Zeroizing<String>>, Failure> {
    let implicit = variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_none();
    let text = match variable("HF_TOKEN") {
        Some(token) => Some(token),
        None if implicit => {
            let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
                let home = variable("HOME").map(PathBuf::from)?;
                Some(home.join(".cache/huggingface"))
            });
            let path = variable("HF_TOKEN_PATH").map(PathBuf::from);
            let path = path.or_else(|| Some(home?.join("token")));
            match path.map(|path| disk::read(&path, 4096)) {
                Some(Ok(bytes)) => String::from_utf8(bytes).ok(),
                Some(Err(error)) if !error.is_not_found() => return Err(error.into()),
                _ => None,
            }
        }
        None => None,
    };
    let text = text.map(|text| Zeroizing::new(text.trim().to_owned()));
    let text = text.filter(|text| !text.is_empty());
    let odd = |text: &Zeroizing<String>| !text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.as_ref().is_some_and(odd) {
        return Err(
            Failure::error("the token of the hub holds characters that no token has")
                .hint("check HF_TOKEN, or the file that HF_TOKEN_PATH names"),
        );
    }
    Ok(text)
}

pub(super) fn hub_failure(error: &HubError, source: &HubSource) -> Failure {
    let text = format!("{source}: {}", gate::cause(error));
    match error {
        HubError::Git { .. } | HubError::Listing { .. } => Failure::refused(vec![text]).hint(
            "what the hub answers does not fit together: ask again, and report it if it stays so",
        ),
        HubError::Fetch(_) => Failure::error(text).hint(
            "a private or gated repository takes HF_TOKEN; another hub is named by HF_ENDPOINT",
        ),
        _ => Failure::error(text),
    }
}

/// What was found out at the source.
pub(super) struct Published {
    pub(super) resolved: Resolved,
    pub(super) proof: SnapshotProof,
    pub(super) snapshot: Snapshot,
    pub(super) listing: Vec<ListedFile>,
}

/// Refuses what cannot be verified file by file.
fn can_be_acquired(snapshot: &Snapshot, source: &HubSource) -> Result<(), Failure> {
    if snapshot.files.is_empty() && snapshot.others.is_empty() {
        return Err(Failure::refused(vec![format!("{source} holds no file")]));
    }
    if snapshot.others.is_empty() {
        return Ok(());
    }
    let lines = snapshot.others.iter();
    let lines = lines.map(|(path, why)| format!("{path} {why}")).collect();
    Err(Failure::refused(lines)
        .hint("such a repository cannot be verified file by file; it is not acquired"))
}

/// Asks the hub what `source` is, and proves it from the commit's objects.
pub(super) fn published(hub: &Hub, source: &HubSource) -> Result<Published, Failure> {
    let fail = |error: HubError| hub_failure(&error, source);
    let resolved = hub.resolve(source).map_err(fail)?;
    let commit = resolved.commit;
    let mut proof = hub.proof(source, commit).map_err(fail)?;
    let git = |source| HubError::Git { commit, source };
    let snapshot = proof.snapshot().map_err(git).map_err(fail)?;
    can_be_acquired(&snapshot, source)?;
    let listing = hub.listing(source, &snapshot).map_err(fail)?;
    let large = listing.iter().filter_map(|file| {
        let (sha256, size) = (file.sha256?, file.size);
        Some(Pointer { sha256, size })
    });
    proof.pointers = large.collect();
    let snapshot = proof.snapshot().map_err(git).map_err(fail)?;
    // Evidence that could not be read again would be none.
    let size = proof.to_json()?.len();
    if size > MAX_PROOF {
        return Err(Failure::error(format!(
            "the objects of {source} take {size} bytes as evidence, and are read up to {MAX_PROOF}"
        )));
    }
    Ok(Published {
        resolved,
        proof,
        snapshot,
        listing,
    })
}

pub(super) fn run(args: &AcquireArgs, global: &Global, output: &Output) -> Outcome {
    if is_offline(args.offline) {
        return Err(Failure::error(
            "to acquire takes the network, and --offline or HF_HUB_OFFLINE forbids it",
        )
        .hint("`weighbridge verify --source --offline` verifies by the recorded evidence"));
    }
    let source = &args.source;
    let short = source.name.rsplit('/').next().unwrap_or_default();
    let dest = plain(args.dest.as_deref().unwrap_or(Path::new(short)))?;
    let config = if args.no_record {
        None
    } else {
        Some(Config::load(global)?)
    };

    // Keys first: a wrong passphrase should not cost the time to download.
    let signing = &args.signing;
    let mut reader = signing.passphrase.reader();
    let key_path = config
        .as_ref()
        .map(|config| signing_key(signing.key.clone(), config));
    let key_path = key_path.transpose()?;
    let signer = match &key_path {
        Some(path) => Some(signers::open(path, None, &mut reader, output)?),
        None => None,
    };
    let set_up = config.as_ref().zip(key_path.as_deref());
    if dest.symlink_metadata().is_ok() {
        keep_apart(&dest, set_up, signing.receipt.as_deref())?;
    }
    let recorder = match (&config, &signer) {
        (Some(config), Some(signer)) => Some(Recorder::open(
            (global, config),
            &**signer,
            signing.role,
            signing.acknowledgement,
            &mut reader,
            output,
        )?),
        _ => None,
    };
    if let Some(recorder) = &recorder {
        recorder.must_permit(Kind::Acquire)?;
        if signing.receipt.is_some() {
            recorder.can_write_receipt()?;
        }
    }

    let hub = hub(false)?;
    let begun = context::now();
    let published = published(&hub, source)?;
    let commit = published.resolved.commit;
    output.say(format!(
        "{source} is commit {commit}, {}",
        count(published.snapshot.files.len(), "file")
    ));
    if dest.symlink_metadata().is_err() && !args.adopt {
        disk::create_directory(&dest)?;
        // It is empty yet, and goes again if it may not be there.
        if let Err(failure) = keep_apart(&dest, set_up, signing.receipt.as_deref()) {
            disk::remove_directory(&dest)?;
            return Err(failure);
        }
    }
    let fetched = fetch(args, &hub, &published, &dest, output)?;
    let found = Found {
        hub: &hub,
        published: &published,
        fetched: &fetched,
        dest: &dest,
        begun,
    };
    conclude(args, &found, recorder.as_ref(), output)
}

/// The artifact at `dest` holds no key, ledger, policy or receipt, and is part of none.
fn keep_apart(
    dest: &Path,
    set_up: Option<(&Config, &Path)>,
    receipt: Option<&Path>,
) -> Result<(), Failure> {
    let artifact = Artifact::open(dest)?;
    if let Some((config, key)) = set_up {
        config.keep_out_of(&artifact)?;
        keys::keep_out_of(&artifact, key)?;
    }
    match receipt {
        Some(receipt) => receipt::writable(receipt, &artifact),
        None => Ok(()),
    }
}

/// The place without `.`, `..` and slashes at its end, so that what lies beside it does not lie in it. Nothing
/// is made yet.
fn plain(dest: &Path) -> Result<PathBuf, Failure> {
    let fail = |error: &std::io::Error| Failure::because(dest.display(), error);
    if dest.symlink_metadata().is_ok() {
        return std::fs::canonicalize(dest).map_err(|error| fail(&error));
    }
    let absolute = std::path::absolute(dest).map_err(|error| fail(&error))?;
    let (Some(name), Some(parent)) = (absolute.file_name(), absolute.parent()) else {
        return Err(Failure::error(format!(
            "{} names no directory",
            dest.display()
        )));
    };
    match std::fs::canonicalize(parent) {
        Ok(parent) => Ok(parent.join(name)),
        // Without `..`, a path that is not there has one reading.
        Err(_)
            if !absolute
                .components()
                .any(|part| part == Component::ParentDir) =>
        {
            Ok(absolute.components().collect())
        }
        Err(error) => Err(fail(&error)),
    }
}

/// The same without a signature that came along: a gate does not count it to the artifact, and says so.
pub(super) fn as_recorded(artifact: &Artifact, evidence: &ArtifactEvidence) -> ArtifactEvidence {
    let signature = artifact.locate(&gate::default_signature(artifact));
    let signature = signature.filter(|path| evidence.manifest.file(path.as_str()).is_some());
    let mut not_covered = evidence.not_covered.clone();
    not_covered.extend(signature.clone());
    not_covered.sort_unstable();
    ArtifactEvidence {
        manifest: evidence.manifest.without(signature.as_ref()),
        obstacles: Vec::new(),
        faults: Vec::new(),
        not_covered,
    }
}

/// What the source publishes, and what became of it here.
struct Found<'a> {
    hub: &'a Hub,
    published: &'a Published,
    fetched: &'a Fetched,
    dest: &'a Path,
    begun: Timestamp,
}

/// Records what was found, if it is to be recorded, and says it.
fn conclude(
    args: &AcquireArgs,
    found: &Found<'_>,
    recorder: Option<&Recorder<'_>>,
    output: &Output,
) -> Outcome {
    let Found {
        hub,
        published,
        fetched,
        dest,
        begun,
    } = *found;
    let (source, commit) = (&args.source, published.resolved.commit);
    let artifact = Artifact::open(dest)?;
    let evidence = as_recorded(&artifact, &fetched.evidence);
    for path in &evidence.not_covered {
        output.say(format!(
            "{path} is not part of the artifact that is recorded"
        ));
    }
    let digest = evidence.manifest.artifact_digest();
    let digest = digest.map_err(|error| Failure::because(dest.display(), &error))?;
    let dependencies = dependencies_of(&artifact, &evidence.manifest, output);
    let document = json!({
        "source": hub.address(source),
        "revision": commit,
        "path": dest.display().to_string(),
        "artifact": digest.to_string(),
        "files": fetched.evidence.manifest.files().len(),
        "bytes": fetched.evidence.manifest.bytes(),
        "fetched_files": fetched.came,
        "dependencies": dependencies,
    });
    output.say(format!(
        "{} of {} fetched; all are those of the commit: {}",
        fetched.came,
        count(fetched.evidence.manifest.files().len(), "file"),
        dest.display()
    ));
    let Some(recorder) = recorder else {
        return if output.json {
            output.document(&document).map(|()| 0)
        } else {
            output.data(&format!("{digest}\n")).map(|()| 0)
        };
    };
    let proof = published.proof.to_json()?;
    let retrieved = (fetched.came > 0).then(|| Retrieved {
        start: begun,
        end: context::now(),
    });
    let about = About {
        args,
        hub,
        published,
        proof: Sha256::of(&proof),
        retrieved,
        dependencies,
    };
    let record = about.record(recorder, &evidence)?;
    ledger::put_blob(recorder.store(), &proof)?;
    let recorded = recorder.append(&artifact, &evidence, record, None, output)?;
    let receipt = args.signing.receipt.as_deref();
    recorder.conclude(&recorded, document, receipt, output)
}

/// What lies at the destination in the end.
struct Fetched {
    evidence: ArtifactEvidence,
    came: usize,
}

/// Verifies what is there, fetches what is not, and leaves everything else as it is.
fn fetch(
    args: &AcquireArgs,
    hub: &Hub,
    published: &Published,
    dest: &Path,
    output: &Output,
) -> Result<Fetched, Failure> {
    let source = &args.source;
    let (artifact, before) = if dest.symlink_metadata().is_ok() {
        let artifact = Artifact::open(dest)?;
        if artifact.single_file().is_some() {
            return Err(
                Failure::error(format!("{} is a file", dest.display())).hint(
                    "a repository becomes a directory: name one, or a place where there is nothing",
                ),
            );
        }

        let evidence = read(&artifact, args.jobs, output)?;
        context::complete_or_empty(dest, &evidence)?;
        let verification = judge(&artifact, &evidence, &published.snapshot);
        let wrong = wrong_lines(&verification, !args.adopt);
        if !wrong.is_empty() {
            return Err(Failure::refused(wrong).hint(
                "nothing was changed; what is not of the source is moved away by hand, or another place is named",
            ));
        }
        if verification.missing.is_empty() {
            return Ok(Fetched { evidence, came: 0 });
        }
        (artifact, evidence)
    } else {
        return Err(Failure::error(format!("{} is not there", dest.display())));
    };
    let has = |path: &ArtifactPath| before.manifest.file(path.as_str()).is_some();
    let wanted = published.listing.iter().filter(|file| !has(&file.path));
    let wanted: Vec<ListedFile> = wanted.cloned().collect();
    let aside = Aside::open(dest)?;
    let bar = Bar::of(output, "fetching");
    let download = Download {
        hub,
        source,
        snapshot: &published.snapshot,
        target: artifact.directory(),
        aside: &aside,
        connections: args.connections,
        progress: &bar,
    };
    let results = download.run(&wanted);
    bar.finish();
    let came = came(results, &aside)?;
    aside.remove();
    let number = came.len();
    let kept = before.manifest.files().iter().filter_map(|file| {
        let digest = before.manifest.digest(file, Algorithm::Sha256)?;
        let sha256 = Sha256(digest.try_into().ok()?);
        Some((file.path.clone(), file.size, sha256))
    });
    let manifest = Manifest::of_digests(came.into_iter().chain(kept));
    let evidence = ArtifactEvidence {
        manifest,
        obstacles: Vec::new(),
        faults: Vec::new(),
        not_covered: before.not_covered,
    };
    if evidence.manifest.files().len() != published.snapshot.files.len() {
        return Err(Failure::error("not every file came"));
    }
    Ok(Fetched {
        evidence,
        came: number,
    })
}

/// All that came, or why not all did.
fn came(
    results: Vec<Result<download::Came, Failed>>,
    aside: &Aside,
) -> Result<Vec<download::Came>, Failure> {
    let mut came = Vec::new();
    let (mut refused, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(file) => came.push(file),
            Err(Failed::Refused(why)) => refused.push(why),
            Err(Failed::Error(why)) => errors.push(why),
        }
    }
    if !refused.is_empty() {
        refused.truncate(20);
        return Err(Failure::refused(refused).hint(
            "the source served other bytes than it publishes; nothing is recorded. Ask again later, from elsewhere",
        ));
    }
    if !errors.is_empty() {
        errors.truncate(20);
        let message = errors.join("; ");
        return Err(Failure::error(message).hint(format!(
            "run the same command again: what came is kept, in part in {}",
            aside.path().display()
        )));
    }
    Ok(came)
}

/// Lists and hashes what is there, a hub's snapshot as the files that it stands for.
pub(super) fn read(
    artifact: &Artifact,
    jobs: Option<NonZero<usize>>,
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    let request = ReadRequest {
        exclusions: &crate::artifact::Exclusions::standard(None),
        algorithms: &[Algorithm::Sha256],
        symlinks: Symlinks::Refuse,
        names: Names::Printable,
        jobs,
        receipts: None,
    };
    context::read(artifact, &request, output)
}

/// What the artifact's configuration refers to elsewhere; said aloud where that is code.
fn dependencies_of(artifact: &Artifact, manifest: &Manifest, output: &Output) -> Vec<Dependency> {
    let mut all = Vec::new();
    for name in dependencies::FILES {
        let Some(file) = manifest.file(name).filter(|file| file.size <= MAX_CONFIG) else {
            continue;
        };
        let content = artifact.content(&file.path, MAX_CONFIG).unwrap_or_default();
        all.extend(dependencies::named_in(name, &content));
    }
    all.sort_by_key(|one| !one.code);
    if all.len() > MAX_DEPENDENCIES {
        let more = all.len() - MAX_DEPENDENCIES;
        output.warn(format!("it names {more} more sources than are recorded"));
    }
    all.truncate(MAX_DEPENDENCIES);
    for one in &all {
        if one.source.as_str() == dependencies::UNKNOWN {
            output.warn(format!(
                "{}: what it loads from elsewhere is not known: it cannot be read",
                one.named_in
            ));
            continue;
        }
        let what = if one.code {
            "runs code of"
        } else {
            "stands on"
        };
        output.warn(format!(
            "{}: {what} {}, which is not part of it",
            one.named_in, one.source
        ));
    }
    all
}
