//! An artifact that stays at its source: every file is read there once, and nothing is kept here.

use std::collections::BTreeMap;
use std::num::NonZero;

use super::download::{self, Came};
use super::fetch::came;
use crate::artifact::{Manifest, Progress};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::progress::Bar;
use crate::digest::Sha256;
use crate::parallel;
use crate::path::ArtifactPath;
use crate::source::Channel;
use crate::source::published::{Expected, Published, PublishedFile};
use crate::verify::ArtifactEvidence;

/// What a signature in a directory is called; no verb counts it to the artifact.
const SIGNATURE: &str = "model.sig";

/// Reads every file of `published` at its source. Archives must have been listed: that was to read them.
pub(in crate::cli) fn read(
    channel: &dyn Channel,
    published: &Published,
    (connections, most): (NonZero<usize>, u64),
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    let (packed, plain): (BTreeMap<_, _>, BTreeMap<_, _>) =
        published.files.iter().partition(|(_, file)| file.is_member);
    let plain: Vec<(&ArtifactPath, &PublishedFile)> = plain.into_iter().collect();
    let bar = Bar::of(output, "reading");
    let bytes = download::total(plain.iter().map(|(_, file)| *file));
    bar.start(plain.len(), bytes);
    let results = parallel::each(&plain, connections, |(path, file)| {
        download::stream(channel, path, file, (most, &bar))
    });
    bar.finish();
    let mut all = came(results, None)?;
    let listed = packed.into_iter().filter_map(|(path, file)| {
        let Expected::Digest(digest) = &file.expected else {
            return None;
        };
        let sha256 = Sha256(digest.bytes.as_ref().try_into().ok()?);
        Some((path.clone(), file.size?, sha256))
    });
    all.extend(listed);
    if all.len() != published.files.len() {
        return Err(Failure::error("not every file could be read"));
    }
    let manifest = manifest(all, published)?;
    let signature = ArtifactPath::new(SIGNATURE).ok();
    let signature =
        signature.filter(|path| !published.is_single && manifest.file(path.as_str()).is_some());
    Ok(ArtifactEvidence {
        manifest: manifest.without(signature.as_ref()),
        obstacles: Vec::new(),
        faults: Vec::new(),
        not_covered: signature.into_iter().collect(),
    })
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
