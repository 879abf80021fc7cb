//! What an artifact that was acquired is made of: formats by which code can be run, and what it loads from elsewhere.

use std::collections::BTreeMap;
use std::io::Read;

use crate::artifact::format::{HEAD, identify};
use crate::artifact::{Artifact, Format, Manifest};
use crate::cli::output::Output;
use crate::path::ArtifactPath;
use crate::report::text::count;
use crate::source::dependencies::{self, MAX_CONFIG, MAX_DEPENDENCIES};
use crate::statement::acquire::Dependency;

/// How many files are of which format; said aloud where a loader can be made to run what is in them.
pub(super) fn formats(
    artifact: Option<&Artifact>,
    manifest: &Manifest,
    output: &Output,
) -> BTreeMap<&'static str, usize> {
    let mut all = BTreeMap::new();
    let mut told: BTreeMap<Format, Vec<&str>> = BTreeMap::new();
    for file in manifest.files() {
        let found = file.format.or_else(|| by_head(artifact?, &file.path));
        let Some(format) = found else { continue };
        *all.entry(format.name()).or_default() += 1;
        // What is only packed, and what is read by people, is another matter.
        let runs = format.runs_code()
            && !matches!(
                format,
                Format::Unknown | Format::Html | Format::Compressed | Format::Zip | Format::Tar
            );
        if runs {
            told.entry(format).or_default().push(file.path.as_str());
        }
    }
    for (format, paths) in told {
        let some: Vec<&str> = paths.iter().take(3).copied().collect();
        let more = if paths.len() > some.len() {
            ", …"
        } else {
            ""
        };
        output.warn(format!(
            "{} of the format {format}, by which code can be run when it is loaded: {}{more}",
            count(paths.len(), "file"),
            some.join(", ")
        ));
    }
    all
}

/// What kind of file it is that was hashed as it came.
fn by_head(artifact: &Artifact, path: &ArtifactPath) -> Option<Format> {
    let file = artifact.directory().open_file(path).ok()?;
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head).ok()?;
    Some(identify(path.as_str(), &head))
}

/// What the artifact's configuration refers to elsewhere; said aloud where that is code.
pub(super) fn dependencies(
    artifact: &Artifact,
    manifest: &Manifest,
    output: &Output,
) -> Vec<Dependency> {
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
