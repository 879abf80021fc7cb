//! A tree of our own with exactly the files of an artifact: what is judged there is what is used.

use std::path::Path;

use super::failure::Failure;
use crate::artifact::{Artifact, Names, Symlinks, walk};
use crate::disk::{self, Directory, Materialised};
use crate::gate;

/// How many files were put there, and how.
pub(super) struct Copies {
    pub(super) files: usize,
    pub(super) how: Materialised,
}

/// Puts every file of `artifact` but its signature beneath `root`, which is empty; none if `stops` says to end.
pub(super) fn copy(
    artifact: &Artifact,
    signature: &Path,
    (root, hard_links): (&Path, bool),
    mut stops: impl FnMut() -> bool,
) -> Result<Option<Copies>, Failure> {
    let exclusions = gate::exclusions(artifact, signature);
    let found = walk(artifact, &exclusions, Symlinks::Refuse, Names::Printable)?;
    if let Some(obstacle) = found.obstacles.first() {
        let finding = crate::verify::obstacle_finding(obstacle);
        let line = format!("{} {}", obstacle.location, finding.message);
        return Err(Failure::refused(vec![line]).hint("nothing was started"));
    }
    let directory = Directory::open(root)?;
    let mut how = Materialised::Reflink;
    for file in &found.files {
        if stops() {
            return Ok(None);
        }
        let source = artifact.open_found(file)?;
        let one = disk::materialise(&directory, &file.path, (source, file.size), hard_links)?;
        how = how.max(one);
    }
    let files = found.files.len();
    Ok(Some(Copies { files, how }))
}
