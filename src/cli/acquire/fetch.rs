//! Brings what is published to its place: verifies what is there, fetches what is not, and leaves everything else as
//! it is.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;

use super::AcquireArgs;
use super::aside::Aside;
use super::destination;
use super::download::{self, Came, Download, Failed};
use super::judge::{judge, wrong_lines};
use crate::artifact::{Artifact, Manifest, Names, Symlinks};
use crate::cli::catalogue;
use crate::cli::context::{self, ReadRequest};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::progress::Bar;
use crate::digest::{Algorithm, Digest, Sha256};
use crate::gate;
use crate::path::ArtifactPath;
use crate::source::Channel;
use crate::source::published::{Expected, Published, PublishedFile, algorithms};
use crate::verify::ArtifactEvidence;

/// What lies at the destination in the end.
pub(super) struct Fetched {
    pub(super) evidence: ArtifactEvidence,
    pub(super) came: usize,
}

/// Verifies what is there, and fetches what is not.
pub(super) fn fetch(
    args: &AcquireArgs,
    channel: &dyn Channel,
    published: &Published,
    dest: &Path,
    output: &Output,
) -> Result<Fetched, Failure> {
    let before = before(args, channel, published, dest, output)?;
    let has = |path: &ArtifactPath| before.manifest.file(path.as_str()).is_some();
    let wanted = published.files.iter().filter(|(path, _)| !has(path));
    let wanted: BTreeMap<_, _> = wanted.collect();
    if wanted.is_empty() {
        return Ok(Fetched {
            evidence: before,
            came: 0,
        });
    }
    let aside = Aside::open(dest)?;
    let target = destination::root(dest, published.is_single)?;
    let bar = Bar::of(output, "fetching");
    let download = Download {
        channel,
        target: &target,
        aside: &aside,
        connections: args.connections,
        most: args.max_size,
        progress: &bar,
    };
    let results = download.run(&wanted);
    bar.finish();
    let came = came(results, Some(&aside))?;
    aside.remove();
    let number = came.len();
    let manifest = if published.is_single {
        let first = came.into_iter().next();
        Manifest::of_file(first.ok_or_else(|| Failure::error("not every file came"))?)
    } else {
        let kept = before.manifest.files().iter().filter_map(|file| {
            let digest = before.manifest.digest(file, Algorithm::Sha256)?;
            let sha256 = Sha256(digest.try_into().ok()?);
            Some((file.path.clone(), file.size, sha256))
        });
        Manifest::of_digests(came.into_iter().chain(kept))
    };
    let evidence = ArtifactEvidence {
        manifest,
        obstacles: Vec::new(),
        faults: Vec::new(),
        not_covered: before.not_covered,
    };
    if evidence.manifest.files().len() != published.files.len() {
        return Err(Failure::error("not every file came"));
    }
    Ok(Fetched {
        evidence,
        came: number,
    })
}

/// What is there already, all of it as published.
fn before(
    args: &AcquireArgs,
    channel: &dyn Channel,
    published: &Published,
    dest: &Path,
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    if dest.symlink_metadata().is_err() {
        if published.is_single && !args.adopt {
            return Ok(ArtifactEvidence {
                manifest: Manifest::of_digests([]),
                obstacles: Vec::new(),
                faults: Vec::new(),
                not_covered: Vec::new(),
            });
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
    let evidence = read(&artifact, &algorithms(&published.files), args.jobs, output)?;
    context::complete_or_empty(dest, &evidence)?;
    let there = |path: &ArtifactPath| evidence.manifest.file(path.as_str()).is_some();
    let mut files = published.files.clone();

    let mut to_learn = files.clone();
    to_learn.retain(|path, _| there(path));
    learn(
        channel,
        &mut to_learn,
        (args.connections, args.max_size),
        output,
    )?;
    files.extend(to_learn);
    let findings = judge(&artifact, &evidence, (&files, &published.name));
    let wrong = wrong_lines(&findings, !args.adopt);
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
        crate::report::text::count(unknown.len(), "file")
    ));
    let bar = Bar::of(output, "reading");
    let bytes = unknown.iter().filter_map(|(_, file)| file.size).sum();
    crate::artifact::Progress::start(&bar, unknown.len(), bytes);
    let results = catalogue::each(&unknown, Some(connections), |(path, file)| {
        download::stream(channel, path, file, (most, &bar))
    });
    bar.finish();
    for (path, size, sha256) in came(results, None)? {
        if let Some(file) = files.get_mut(&path) {
            file.size = Some(size);
            file.expected = Expected::Digest(Digest {
                algorithm: Algorithm::Sha256,
                bytes: sha256.0.into(),
            });
        }
    }
    Ok(())
}

/// All that came, or why not all did.
fn came(results: Vec<Result<Came, Failed>>, aside: Option<&Aside>) -> Result<Vec<Came>, Failure> {
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
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    let request = ReadRequest {
        exclusions: &crate::artifact::Exclusions::standard(None),
        algorithms,
        symlinks: Symlinks::Refuse,
        names: Names::Printable,
        jobs,
        receipts: None,
    };
    context::read(artifact, &request, output)
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
    ArtifactEvidence {
        manifest: evidence.manifest.without(signature.as_ref()),
        obstacles: Vec::new(),
        faults: Vec::new(),
        not_covered,
    }
}
