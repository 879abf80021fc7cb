//! `acquire`: fetches an artifact, or adopts one that is on disk, proves that it is what the source publishes,
//! and records that.

mod aside;
mod aws;
mod bring;
mod destination;
mod download;
mod fetch;
mod hub;
mod inspect;
mod judge;
mod lists;
mod parts;
mod record;
mod recorded;
mod remote;
mod signatures;
mod source;
mod unpack;

use std::num::NonZero;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::{self, Config};
use super::failure::Failure;
use super::output::Output;
use super::receipts::RehashArgs;
use super::record::{Recorder, SigningArgs, signing_key};
use super::{Global, Outcome, signers, values};
use crate::artifact::Artifact;
use crate::gate::cause;
use crate::ledger;
use crate::report::text::count;
use crate::source::archive::{self, Members};
use crate::source::published::{Assurance, Published, PublishedFile};
use crate::source::{Channel, SourceError};
use crate::statement::Kind;
use crate::statement::acquire::{Asset, Method, Retrieved};
use crate::time::Timestamp;
use crate::verify::{ArtifactEvidence, checked_files};

pub(super) use bring::bring;
use destination::Apart;
pub(super) use destination::plain;
use fetch::{Fetched, fetch};
pub(super) use fetch::{as_recorded, learn, list_archives, read, without_signature};
pub(super) use hub::is_offline;
pub(super) use judge::{Against, judge, reader, wrong_lines};
use lists::ListArgs;
use record::About;
pub(super) use recorded::{Recorded, Wanted};
pub(super) use remote::{read as read_remote, read_all};
pub(super) use source::{CheckArgs, Source, logins};

/// Fetch an artifact, prove that it is what the source publishes, and record that
///
/// From a Hugging Face Hub: the commit's own objects are fetched and kept as evidence, and every file must be
/// the one that they name; the hub's listings are believed in nothing. From a registry: the manifest names every file
/// by its digest. From an HTTPS server: the digest lists and
/// signatures that are published beside the file are looked for and checked. What is there already is verified
/// and not fetched again; what an earlier run began is taken up.
///
/// Tokens and logins go to the source alone, and are never recorded.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command")]
#[command(
    after_help = "The environment is heeded as each source's own client does: HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME,
HF_HUB_OFFLINE; DOCKER_CONFIG, REGISTRY_AUTH_FILE; OLLAMA_MODELS; AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_REGION,
AWS_ENDPOINT_URL and their like.

Examples:
  weighbridge acquire hf:openai-community/gpt2@main ./gpt2
  weighbridge acquire --adopt hf:openai-community/gpt2 ~/.cache/huggingface/hub/models--openai-community--gpt2/snapshots/607a…
  weighbridge acquire oci://registry.example/team/model:v1 ./model
  weighbridge acquire ollama:llama3.2:1b
  weighbridge acquire --stream s3://bucket/model/
  weighbridge acquire --minisign-key release.pub https://example.org/model.safetensors
  weighbridge acquire ./checkout
  weighbridge acquire --source-uri https://example.org/model ./downloaded
  weighbridge acquire --from-csv urls.csv --method crawl --licence CC-BY-4.0 ./data
  weighbridge acquire --no-record hf:acme/tiny ./tiny"
)]
pub(super) struct AcquireArgs {
    /// `hf:[datasets/|spaces/]ORG/NAME[@REVISION]`, `oci://HOST/REPOSITORY[:TAG]`, `ollama:NAME[:TAG]`,
    /// a directory that is here (a checkout of git, or one that carries lists, signatures, files of DVC, `MLmodel`),
    /// `ollama-store:NAME[:TAG]`, `oci-layout:DIRECTORY[:TAG]`, `s3://BUCKET/KEY`, `s3://BUCKET/PREFIX/` or
    /// `https://HOST/FILE`
    #[arg(required_unless_present_any = ["from_csv", "from_croissant"])]
    source: Option<Source>,
    /// Where it becomes a directory, or is one; of an https source, the file. Unless given, called as at the source
    dest: Option<PathBuf>,
    /// Fetch no file: DEST holds all of them, as a client of the source or anybody else left them
    #[arg(long)]
    adopt: bool,
    /// Keep no file: read each once where it is, as a server does that loads a model from a bucket; hash and record it
    #[arg(long, conflicts_with_all = ["adopt", "dest"])]
    stream: bool,
    /// Touch no network
    #[arg(long)]
    offline: bool,
    /// Verify only: record nothing
    #[arg(long, conflicts_with_all = ["key", "role", "receipt"])]
    no_record: bool,
    /// How many files are fetched at once; unless given, 8, and of large ones 4: more of them get in each other's way
    #[arg(long, value_name = "N")]
    connections: Option<NonZero<usize>>,
    /// No file may have more bytes than this
    #[arg(long, value_name = "BYTES", default_value = "2199023255552")]
    max_size: u64,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    #[command(flatten)]
    rehash: RehashArgs,
    #[command(flatten)]
    lists: ListArgs,
    #[command(flatten)]
    about: AboutArgs,
    #[command(flatten)]
    checks: CheckArgs,
    #[command(flatten)]
    signing: SigningArgs,
}

/// What the record says beside what was found out.
#[derive(clap::Args)]
struct AboutArgs {
    /// What it is; unless given, by the kind of source
    #[arg(long, value_parser = values::word::<Asset>(values::ASSETS), value_name = "KIND")]
    asset: Option<Asset>,
    /// SPDX licence expression; unless given, what the source says
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// How it was obtained
    #[arg(long, value_parser = values::word::<Method>(values::METHODS), default_value = "download", value_name = "WORD")]
    method: Method,
    /// Who collected it, if not you
    #[arg(long, value_name = "TEXT")]
    collector: Option<String>,
    /// Where the terms of use, or the rules for robots, can be read
    #[arg(long, value_name = "TEXT")]
    terms: Option<String>,
    /// Is the source open to the public?
    #[arg(long, value_name = "BOOL")]
    public: Option<bool>,
    /// What the record calls the source, where that is not its address
    #[arg(long, value_name = "URI")]
    source_uri: Option<String>,
}

/// How many files are read at once, and how large one may be, where nobody says.
pub(super) const DEFAULTS: (NonZero<usize>, u64) = (NonZero::new(8).unwrap(), 1 << 41);

/// From this size on, on average, files are large.
const LARGE: u64 = 16 * 1024 * 1024;

/// How many of `files` are fetched at once: of large ones as many as keep a few processors busy with hashing.
fn connections<'a>(
    args: &AcquireArgs,
    files: impl Iterator<Item = &'a PublishedFile>,
) -> NonZero<usize> {
    let sizes: Vec<u64> = files.filter_map(|file| file.size).collect();
    let total = sizes
        .iter()
        .fold(0, |all: u64, size| all.saturating_add(*size));
    let is_large = total / (sizes.len().max(1) as u64) >= LARGE;
    let usual = if is_large { MANY_LARGE } else { DEFAULTS.0 };
    args.connections.unwrap_or(usual)
}

/// `bench/hub` measures it.
const MANY_LARGE: NonZero<usize> = NonZero::new(4).unwrap();

/// Asks the source, and says what it is in the words of a verb that failed.
pub(super) fn ask(channel: &dyn Channel, source: &Source) -> Result<Published, Failure> {
    channel
        .published()
        .map_err(|error| source_failure(&error, channel, source))
}

fn source_failure(error: &SourceError, channel: &dyn Channel, source: &Source) -> Failure {
    if let SourceError::Contradiction(lines) = error {
        return Failure::refused(lines.clone()).hint("nothing is recorded");
    }
    let text = format!("{source}: {}", cause(error));
    if error.is_contradiction() {
        return Failure::refused(vec![text]).hint(
            "what the source answers does not fit together: ask again, and report it if it stays so",
        );
    }
    match error {
        SourceError::Hub(_) | SourceError::Fetch(_) => Failure::error(text).hint(channel.hint()),
        _ => Failure::error(text),
    }
}

/// The source, and where it goes; with a list as the source, the one name is where it goes.
fn source_of(args: &AcquireArgs) -> Result<(Source, Option<PathBuf>), Failure> {
    match (args.lists.source(), &args.source) {
        (Some(list), Some(Source::Directory(dest))) if args.dest.is_none() => {
            Ok((list, Some(dest.clone())))
        }
        (Some(list), None) => Ok((list, None)),
        (Some(_), _) => Err(Failure::error(
            "the list is the source: name only where it goes",
        )),
        // What is here is where it is.
        (None, Some(Source::Directory(_))) if args.dest.is_some() || args.stream => Err(
            Failure::error("a directory that is here is acquired in its place: name it alone"),
        ),
                (None, Some(Source::Directory(path))) if path.symlink_metadata().is_err() => {
            Err(Failure::error(format!("{} is not here", path.display())).hint(
                "sources elsewhere are hf:ORG/NAME, oci://HOST/REPOSITORY, ollama:NAME, s3://BUCKET/KEY, https://HOST/FILE",
            ))
        }
                (None, Some(Source::Directory(path))) => {
            Ok((Source::Directory(path.clone()), Some(path.clone())))
        }
        (None, Some(source)) => Ok((source.clone(), args.dest.clone())),
        (None, None) => Err(Failure::error("it is not said what to acquire")),
    }
}

pub(super) fn run(args: &AcquireArgs, global: &Global, output: &Output) -> Outcome {
    let (source, dest) = &source_of(args)?;
    if is_offline(args.offline) && !source.is_here(args.adopt) {
        return Err(Failure::error(format!(
            "{source} is elsewhere, and --offline or HF_HUB_OFFLINE forbids to ask for it"
        ))
        .hint("`weighbridge verify --source --offline` verifies by the recorded evidence"));
    }
    if args.adopt && dest.is_none() {
        return Err(Failure::error(
            "--adopt is about what is here already: name DEST, where it is",
        ));
    }
    let dest = match dest {
        Some(dest) => plain(dest)?,
        None => plain(Path::new(&source.default_name()?))?,
    };
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
    let apart = Apart {
        set_up: config.as_ref().zip(key_path.as_deref()),
        receipt: signing.receipt.as_deref(),
    };
    let is_there = dest.symlink_metadata().is_ok();
    if is_there && !args.stream {
        apart.keep(&dest)?;
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

    let is_named_here = matches!(source, Source::Directory(_) | Source::List(_));
    if args.about.source_uri.is_some() && !is_named_here {
        return Err(Failure::error(format!(
            "{source} has an address, by which it is recorded: --source-uri is for what is here"
        )));
    }
    let channel = source.channel(&dest, &args.checks, false)?;

    let job = Job {
        args,
        source,
        dest: &dest,
        channel: &*channel,
        output,
    };
    job.run(global, config.as_ref(), &apart, recorder.as_ref())
}

/// What is acquired, and where to.
struct Job<'a> {
    args: &'a AcquireArgs,
    source: &'a Source,
    dest: &'a Path,
    channel: &'a dyn Channel,
    output: &'a Output,
}

impl Job<'_> {
    /// Asks the source, brings what it has, and concludes.
    fn run(
        &self,
        global: &Global,
        config: Option<&Config>,
        apart: &Apart<'_>,
        recorder: Option<&Recorder<'_>>,
    ) -> Outcome {
        let Job {
            args,
            source,
            dest,
            channel,
            output,
        } = *self;
        let begun = context::now();
        let mut published = ask(channel, source)?;
        for note in channel.notes() {
            output.warn(note);
        }

        let known = match config {
            Some(config) if !published.packed.is_empty() && !args.stream => {
                known_members(&published, config, global, output)?
            }
            _ => None,
        };
        if args.stream {
            fetch::list(channel, &mut published, args.max_size)?;
            let limits = (connections(args, published.files.values()), args.max_size);
            let evidence = remote::read(channel, &published, limits, output)?;
            let found = Found {
                channel,
                published: &published,
                assurance: channel.assured(&published.assurance),
                evidence: &evidence,
                came: evidence.manifest.files().len(),
                place: Place::Remote(source.default_name()?),
                begun,
            };
            return conclude(args, &found, recorder, output);
        }
        if dest.symlink_metadata().is_err() && !args.adopt {
            apart.make(dest, published.is_single)?;
        }
        let Fetched { evidence, came } = fetch(
            args,
            channel,
            (&mut published, known),
            (source, dest),
            args.rehash.reuse(config, global, output),
            output,
        )?;
        let artifact = Artifact::open(dest)?;
        let carries = matches!(source, Source::Directory(_));
        // Whoever only verifies may have no policy: then nobody's signature counts.
        let policy = match config {
            None if carries => Config::find(global)?,
            _ => None,
        };
        let vouched = match config.or(policy.as_ref()) {
            Some(config) if carries => signatures::verified(
                (&artifact, &as_recorded(&artifact, &evidence)),
                args.jobs,
                config,
                output,
            )?,
            _ => None,
        };
        let found = Found {
            channel,
            published: &published,
            assurance: vouched.unwrap_or_else(|| channel.assured(&published.assurance)),
            evidence: &as_recorded(&artifact, &evidence),
            came,
            place: Place::Here(&artifact),
            begun,
        };
        conclude(args, &found, recorder, output)
    }
}

/// The members of its archives, if somebody trusted has recorded them: then none is read to know them.
fn known_members(
    published: &Published,
    config: &Config,
    global: &Global,
    output: &Output,
) -> Result<Option<Members>, Failure> {
    let wanted = Wanted {
        uri: Some(published.uri.clone()),
        revision: published.revision.clone(),
        artifact: None,
    };
    let Some(recorded) = Recorded::find(&wanted, config, global, output)? else {
        return Ok(None);
    };
    let bytes = recorded.attached(archive::MEMBERS)?;
    Ok(bytes.and_then(|bytes| Members::parse(&bytes).ok()))
}

/// What the source publishes, and what became of it here.
struct Found<'a> {
    channel: &'a dyn Channel,
    published: &'a Published,
    assurance: Assurance,
    evidence: &'a ArtifactEvidence,
    /// How many files were fetched.
    came: usize,
    place: Place<'a>,
    begun: Timestamp,
}

/// Where the artifact is in the end.
enum Place<'a> {
    Here(&'a Artifact),
    /// Where it was; what it is called there.
    Remote(String),
}

/// Records what was found, if it is to be recorded, and says it.
fn conclude(
    args: &AcquireArgs,
    found: &Found<'_>,
    recorder: Option<&Recorder<'_>>,
    output: &Output,
) -> Outcome {
    let Found {
        channel,
        published,
        assurance,
        evidence,
        came,
        place,
        begun,
    } = found;
    for path in &evidence.not_covered {
        output.say(format!(
            "{path} is not part of the artifact that is recorded"
        ));
    }
    let (name, path) = match place {
        Place::Here(artifact) => (artifact.name(), Some(artifact.path().display().to_string())),
        Place::Remote(name) => (name.clone(), None),
    };
    let digest = evidence.manifest.artifact_digest();
    let digest = digest.map_err(|error| Failure::because(&name, &error))?;
    let artifact = match place {
        Place::Here(artifact) => Some(*artifact),
        Place::Remote(_) => None,
    };
    let dependencies = artifact.map_or(Vec::new(), |artifact| {
        inspect::dependencies(artifact, &evidence.manifest, output)
    });
    let document = json!({
        "source": published.uri,
        "revision": published.revision,
        "path": path,
        "artifact": digest.to_string(),
        "files": evidence.manifest.files().len(),
        "bytes": evidence.manifest.bytes(),
        "fetched_files": came,
        "checked": checked_files(evidence),
        "authentication": {
            "method": assurance.method,
            "result": assurance.result,
            "publisher": assurance.publisher_identity,
        },
                "dependencies": dependencies,
        "formats": inspect::formats(artifact, &evidence.manifest, output),
    });
    output.say(told(args, found, path.as_deref()));
    if published.uri.is_empty() && args.about.source_uri.is_none() && recorder.is_some() {
        return Err(
            Failure::error(format!("{name} does not say where it is from"))
                .hint("name it with --source-uri; a path of this machine is not put on record"),
        );
    }
    let Some(recorder) = recorder else {
        return if output.json {
            output.document(&document).map(|()| 0)
        } else {
            output.data(&format!("{digest}\n")).map(|()| 0)
        };
    };
    let retrieved = (*came > 0).then(|| Retrieved {
        start: *begun,
        end: context::now(),
    });
    let described = channel.described(&evidence.manifest);
    let described = described.map_err(|error| Failure::because(&name, &error))?;
    let attached = [published.evidence.as_slice(), &described].concat();
    let about = About {
        args,
        published,
        assurance,
        evidence: &attached,
        retrieved,
        dependencies,
    };
    let record = about.record(recorder, evidence)?;
    for one in &attached {
        ledger::put_blob(recorder.store(), &one.bytes)?;
    }
    let recorded = recorder.append(&name, evidence, record, None, output)?;
    let receipt = args.signing.receipt.as_deref();
    recorder.conclude(&recorded, document, receipt, output)
}

/// What came, or was there, in a line.
fn told(args: &AcquireArgs, found: &Found<'_>, path: Option<&str>) -> String {
    let Found {
        published,
        evidence,
        came,
        ..
    } = found;
    let files = count(evidence.manifest.files().len(), "file");
    match path {
        Some(path) if published.is_open => {
            let compared = published.files.len();
            format!(
                "{compared} of {files} compared, with {}: {path}",
                published.name
            )
        }
        Some(path) => {
            let unknown = published
                .files
                .values()
                .filter(|file| !file.is_known())
                .count();
            let unknown = unknown.saturating_sub(*came);
            if unknown > 0 && args.adopt {
                let told = "of which nothing is published that would tell them";
                format!("{unknown} of {files} taken as they are, {told}: {path}")
            } else {
                told_here(evidence, *came, Path::new(path))
            }
        }
        None => format!("{files} read where they are; nothing is kept here"),
    }
}

/// That everything is there that is published.
fn told_here(evidence: &ArtifactEvidence, came: usize, path: &Path) -> String {
    let files = count(evidence.manifest.files().len(), "file");
    let path = path.display();
    format!("{came} of {files} fetched; all are as published: {path}")
}
