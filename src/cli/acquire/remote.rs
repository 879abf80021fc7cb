//! An artifact that stays at its source: every file is read there once, and nothing is kept here.

use std::collections::BTreeMap;
use std::num::NonZero;

use super::download::{self, Came};
use super::fetch::came;
use super::parts::Parts;
use crate::artifact::{Manifest, Progress};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::progress::Bar;
use crate::digest::Algorithm;
use crate::path::ArtifactPath;
use crate::source::Channel;
use crate::source::published::{Expected, Published, PublishedFile};
use crate::verify::ArtifactEvidence;

/// What a signature in a directory is called; no verb counts it to the artifact.
const SIGNATURE: &str = "model.sig";

/// Reads every file of `published` at its source, as an artifact.
pub(in crate::cli) fn read(
    channel: &dyn Channel,
    published: &Published,
    limits: (NonZero<usize>, u64),
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    let manifest = read_all(channel, published, &[Algorithm::Sha256], limits, output)?;
    let signature = ArtifactPath::new(SIGNATURE).ok();
    let signature =
        signature.filter(|path| !published.is_single && manifest.file(path.as_str()).is_some());
    let rest = manifest.without(signature.as_ref());
    let not_covered = signature.into_iter().collect();
    Ok(ArtifactEvidence::whole(rest, not_covered))
}

/// The digests by `algorithms` of every file of `published`. Archives must have been listed: that was to read them.
pub(in crate::cli) fn read_all(
    channel: &dyn Channel,
    published: &Published,
    algorithms: &[Algorithm],
    (connections, most): (NonZero<usize>, u64),
    output: &Output,
) -> Result<Manifest, Failure> {
    let (packed, plain): (BTreeMap<_, _>, BTreeMap<_, _>) =
        published.files.iter().partition(|(_, file)| file.is_member);
    if !packed.is_empty() && algorithms != [Algorithm::Sha256] {
        return Err(Failure::error(
            "the members of archives are read by their SHA-256 alone",
        ));
    }
    let plain: Vec<(&ArtifactPath, &PublishedFile)> = plain.into_iter().collect();
    let bar = Bar::of(output, "reading");
    let bytes = download::total(plain.iter().map(|(_, file)| *file));
    bar.start(plain.len(), bytes);
    let parts = Parts {
        channel,
        algorithms,
        connections,
        most,
        progress: &bar,
    };
    let results = parts.read(&plain);
    bar.finish();
    let mut all = came(results, None)?;
    let listed = packed.into_iter().filter_map(|(path, file)| {
        let Expected::Digest(digest) = &file.expected else {
            return None;
        };
        Some((path.clone(), file.size?, digest.bytes.to_vec()))
    });
    all.extend(listed);
    if all.len() != published.files.len() {
        return Err(Failure::error("not every file could be read"));
    }
    all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let manifest = Manifest::of_files(algorithms, published.is_single, all);
    manifest.map_err(|error| Failure::error(error.to_string()))
}

/// The manifest of what came.
pub(super) fn manifest(all: Vec<Came>, published: &Published) -> Result<Manifest, Failure> {
    if !published.is_single {
        return Ok(Manifest::of_digests(all));
    }
    let first = all.into_iter().next();
    let first = first.ok_or_else(|| Failure::error("not every file came"))?;
    Ok(Manifest::of_file(first))
}
