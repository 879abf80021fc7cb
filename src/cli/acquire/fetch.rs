//! Brings what is published to its place: verifies what is there, fetches what is not, and leaves everything else as
//! it is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::Path;

use super::AcquireArgs;
use super::aside::Aside;
use super::destination;
use super::download::{self, Download, Failed};
use super::judge::{Against, judge, reader, wrong_lines};
use super::parts::Parts;
use super::remote;
use super::source::Source;
use super::unpack::{self, Archives};
use crate::artifact::{Artifact, Manifest, Names, Symlinks};
use crate::cli::context::{self, ReadRequest};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::progress::Bar;
use crate::cli::receipts::Reuse;
use crate::digest::{Algorithm, Digest, Sha256};
use crate::disk::Directory;
use crate::gate;
use crate::path::ArtifactPath;
use crate::report::text::count;
use crate::source::Channel;
use crate::source::archive::Members;
use crate::source::published::{Expected, Published, PublishedFile, algorithms};
use crate::verify::ArtifactEvidence;

/// What lies at the destination in the end.
pub(super) struct Fetched {
    pub(super) evidence: ArtifactEvidence,
    pub(super) came: usize,
}

/// Verifies what is there, and fetches what is not. `known` are members of archives that were read before.
pub(super) fn fetch(
    args: &AcquireArgs,
    channel: &dyn Channel,
    (published, known): (&mut Published, Option<Members>),
    (source, dest): (&Source, &Path),
    reuse: Reuse<'_>,
    output: &Output,
) -> Result<Fetched, Failure> {
    let adopts = args.adopt || matches!(source, Source::Directory(_));
    must_fit(dest, published, adopts)?;
    let bar = Bar::of(output, "fetching");
    let target = destination::root(dest, published.is_single)?;
    let open = Opener {
        args,
        connections: super::connections(args, published.files.values()),
        channel,
        target: &target,
        bar: &bar,
    };
    let mut aside = None;
    let most = args.max_size;
    unpack::members(published, known, most, |packed, listing| {
        if adopts {
            return unpack::stream(channel, packed, listing, most);
        }
        let aside = match &mut aside {
            Some(aside) => aside,
            none => none.insert(Aside::open(dest)?),
        };
        open.archives(aside).list(packed, listing)
    })?;
    let published = &*published;
    output.say(format!(
        "{} is {}, {}",
        source,
        published.name,
        count(published.files.len(), "file")
    ));
    let before = before(args, channel, published, (source, dest), reuse, output)?;
    let has = |path: &ArtifactPath| before.manifest.file(path.as_str()).is_some();
    let wanted = published.files.iter().filter(|(path, _)| !has(path));
    let mut wanted: BTreeMap<_, _> = wanted.collect();
    if wanted.is_empty() {
        if let Some(aside) = aside {
            aside.remove();
        }
        return Ok(Fetched {
            evidence: before,
            came: 0,
        });
    }
    let aside = match aside {
        Some(aside) => aside,
        None => Aside::open(dest)?,
    };
    let is_packed = |path: &ArtifactPath| {
        let file = published.files.get(path);
        file.is_some_and(|file| file.is_member)
    };
    let packed: BTreeSet<&ArtifactPath> = wanted
        .keys()
        .copied()
        .filter(|path| is_packed(path))
        .collect();
    wanted.retain(|path, _| !packed.contains(path));
    let results = open.download(&aside).run(&wanted);
    let mut came = came(results, Some(&aside))?;
    came.extend(open.archives(&aside).unpack(published, &packed)?);
    bar.finish();
    aside.remove();
    let number = came.len();
    let manifest = if published.is_single {
        remote::manifest(came, published)?
    } else {
        let kept = before.manifest.files().iter().filter_map(|file| {
            let digest = before.manifest.digest(file, Algorithm::Sha256)?;
            let sha256 = Sha256(digest.try_into().ok()?);
            Some((file.path.clone(), file.size, sha256))
        });
        Manifest::of_digests(came.into_iter().chain(kept)).checked_as(&before.manifest)
    };
    let evidence = ArtifactEvidence::whole(manifest, before.not_covered);
    if evidence.manifest.files().len() != published.files.len() {
        return Err(Failure::error("not every file came"));
    }
    Ok(Fetched {
        evidence,
        came: number,
    })
}

/// What every download of a run has in common.
struct Opener<'a> {
    args: &'a AcquireArgs,
    connections: NonZero<usize>,
    channel: &'a dyn Channel,
    target: &'a Directory,
    bar: &'a Bar,
}

impl Opener<'_> {
    fn download<'a>(&'a self, aside: &'a Aside) -> Download<'a> {
        Download {
            channel: self.channel,
            target: self.target,
            aside,
            connections: self.connections,
            most: self.args.max_size,
            progress: self.bar,
        }
    }

    fn archives<'a>(&'a self, aside: &'a Aside) -> Archives<'a> {
        Archives {
            download: self.download(aside),
            aside,
            target: self.target,
        }
    }
}

/// Makes the members of archives files of what is published, by reading the archives at their source.
pub(in crate::cli) fn list_archives(
    channel: &dyn Channel,
    published: &mut Published,
) -> Result<(), Failure> {
    list(channel, published, super::DEFAULTS.1)
}

/// The same, with no file larger than `most`.
pub(super) fn list(
    channel: &dyn Channel,
    published: &mut Published,
    most: u64,
) -> Result<(), Failure> {
    unpack::members(published, None, most, |packed, listing| {
        unpack::stream(channel, packed, listing, most)
    })
}

/// Is `dest` what the source becomes, a file or a directory, or nothing yet?
fn must_fit(dest: &Path, published: &Published, adopt: bool) -> Result<(), Failure> {
    if dest.symlink_metadata().is_err() {
        if published.is_single && !adopt {
            return Ok(());
        }
        return Err(Failure::error(format!("{} is not there", dest.display())));
    }
    let artifact = Artifact::open(dest)?;
    if artifact.single_file().is_some() != published.is_single {
        let (is, becomes) = if published.is_single {
            ("a directory", "a file")
        } else {
            ("a file", "a directory")
        };
        return Err(
            Failure::error(format!("{} is {is}", dest.display())).hint(format!(
                "this source becomes {becomes}: name one, or a place where there is nothing"
            )),
        );
    }
    Ok(())
}

/// What is there already, all of it as published.
fn before(
    args: &AcquireArgs,
    channel: &dyn Channel,
    published: &Published,
    (source, dest): (&Source, &Path),
    reuse: Reuse<'_>,
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    let adopts = args.adopt || matches!(source, Source::Directory(_));
    if dest.symlink_metadata().is_err() {
        let nothing = Manifest::of_digests([]);
        return Ok(ArtifactEvidence::whole(nothing, Vec::new()));
    }
    let artifact = Artifact::open(dest)?;
    let evidence = read(
        &artifact,
        &algorithms(&published.files),
        args.jobs,
        reuse,
        output,
    )?;
    context::complete_or_empty(dest, &evidence)?;
    let evidence = without_signature(&artifact, evidence, &published.files);

    // With a list, --adopt takes the user's word for where files are from, and asks nobody.
    let takes_word = adopts && matches!(source, Source::List(_) | Source::Directory(_));
    let is_unknown = |(path, file): &(&ArtifactPath, &PublishedFile)| {
        !file.is_known() && evidence.manifest.file(path.as_str()).is_some()
    };
    let unknown = published.files.iter().filter(is_unknown);
    let unknown = unknown.filter(|_| !takes_word);
    let mut learned: BTreeMap<_, _> = unknown
        .map(|(path, file)| (path.clone(), file.clone()))
        .collect();
    let limits = (super::connections(args, learned.values()), args.max_size);
    learn(channel, &mut learned, limits, output)?;
    let files = if learned.is_empty() {
        Cow::Borrowed(&published.files)
    } else {
        let mut files = published.files.clone();
        files.extend(learned);
        Cow::Owned(files)
    };
    let findings = judge(
        &mut reader(&artifact),
        &evidence,
        &Against {
            files: &files,
            name: &published.name,
            is_open: published.is_open,
        },
    );
    let wrong = wrong_lines(&findings, !adopts);
    if !wrong.is_empty() {
        return Err(Failure::refused(wrong).hint(
            "nothing was changed; what is not of the source is moved away by hand, or another place is named",
        ));
    }
    Ok(evidence)
}

/// Reads at the source, keeping nothing, those of `files` of which it publishes no digest: then it is known what they
/// are now.
pub(in crate::cli) fn learn(
    channel: &dyn Channel,
    files: &mut BTreeMap<ArtifactPath, PublishedFile>,
    (connections, most): (NonZero<usize>, u64),
    output: &Output,
) -> Result<(), Failure> {
    let unknown: Vec<_> = files.iter().filter(|(_, file)| !file.is_known()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    output.say(format!(
        "no digest is published of {}: read at the source, to compare",
        count(unknown.len(), "file")
    ));
    let bar = Bar::of(output, "reading");
    let bytes = download::total(unknown.iter().map(|(_, file)| *file));
    crate::artifact::Progress::start(&bar, unknown.len(), bytes);
    let parts = Parts {
        channel,
        algorithms: &[Algorithm::Sha256],
        connections,
        most,
        progress: &bar,
    };
    let unknown: Vec<_> = unknown
        .iter()
        .map(|(path, file)| (*path, &**file))
        .collect();
    let results = parts.read(&unknown);
    bar.finish();
    for (path, size, sha256) in came(results, None)? {
        if let Some(file) = files.get_mut(&path) {
            file.size = Some(size);
            file.expected = Expected::Digest(Digest {
                algorithm: Algorithm::Sha256,
                bytes: sha256.into(),
            });
        }
    }
    Ok(())
}

/// All that came, or why not all did.
pub(super) fn came<T>(
    results: Vec<Result<T, Failed>>,
    aside: Option<&Aside>,
) -> Result<Vec<T>, Failure> {
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
        let failure = Failure::error(message);
        return Err(match aside {
            Some(aside) => failure.hint(format!(
                "run the same command again: what came is kept, in part in {}",
                aside.path().display()
            )),
            None => failure,
        });
    }
    Ok(came)
}

/// Lists and hashes what is there, a hub's snapshot as the files that it stands for.
pub(in crate::cli) fn read(
    artifact: &Artifact,
    algorithms: &[Algorithm],
    jobs: Option<NonZero<usize>>,
    reuse: Reuse<'_>,
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    reuse.with(artifact, algorithms, output, |known| {
        let request = ReadRequest {
            exclusions: &crate::artifact::Exclusions::standard(None),
            algorithms,
            symlinks: Symlinks::Refuse,
            names: Names::Printable,
            jobs,
            known,
            direct: false,
        };
        context::read(artifact, &request, output)
    })
}

/// The same without a signature that was put there since: the source does not have it, and no verb counts it to the
/// artifact.
pub(in crate::cli) fn without_signature(
    artifact: &Artifact,
    mut evidence: ArtifactEvidence,
    files: &BTreeMap<ArtifactPath, PublishedFile>,
) -> ArtifactEvidence {
    let signature = artifact.locate(&gate::default_signature(artifact));
    let signature = signature.filter(|path| {
        evidence.manifest.file(path.as_str()).is_some() && !files.contains_key(path)
    });
    evidence.manifest = evidence.manifest.without(signature.as_ref());
    evidence.not_covered.extend(signature);
    evidence.not_covered.sort_unstable();
    evidence
}

/// The same without a signature that came along: a gate does not count it to the artifact, and says so.
pub(in crate::cli) fn as_recorded(
    artifact: &Artifact,
    evidence: &ArtifactEvidence,
) -> ArtifactEvidence {
    let signature = artifact.locate(&gate::default_signature(artifact));
    let signature = signature.filter(|path| evidence.manifest.file(path.as_str()).is_some());
    let mut not_covered = evidence.not_covered.clone();
    not_covered.extend(signature.clone());
    not_covered.sort_unstable();
    let rest = evidence.manifest.without(signature.as_ref());
    ArtifactEvidence::whole(rest, not_covered)
}
