//! Receipts as two files: the proof, and the record that it proves beside it.

use std::path::Path;

use super::failure::Failure;
use super::output::Output;
use crate::artifact::Artifact;
use crate::disk::{self, Access, Existing};
use crate::gate;
use crate::ledger::proof::MAX_PROOF;
use crate::ledger::{Log, TlogProof};

/// Writes the receipt of entry `index` to `path`, and the entry beside it.
pub(super) fn write(
    log: &Log<'_>,
    index: u64,
    path: &Path,
    output: &Output,
) -> Result<(), Failure> {
    let (entry, proof) = log.entry(index)?;
    replaceable(path)?;
    let beside = gate::receipt_entry(path);
    disk::write(&beside, &entry, Existing::Replace, Access::Shared)?;
    disk::write(path, &proof.encode(), Existing::Replace, Access::Shared)?;
    output.say(format!(
        "wrote receipt {} and record {}",
        path.display(),
        beside.display()
    ));
    Ok(())
}

/// Can a receipt be written to `path`, which must not be part of `artifact`? Asked before anything
/// is recorded.
pub(super) fn writable(path: &Path, artifact: &Artifact) -> Result<(), Failure> {
    if artifact.locate(path).is_some() {
        return Err(Failure::error(format!(
            "the receipt {} lies inside the artifact",
            path.display()
        ))
        .hint("keep receipts beside the artifact"));
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if parent.is_some_and(|parent| !parent.is_dir()) {
        return Err(Failure::error(format!(
            "there is no directory for {}",
            path.display()
        )));
    }
    replaceable(path)
}

/// An older receipt may be replaced; any other file is somebody's.
fn replaceable(path: &Path) -> Result<(), Failure> {
    let is_receipt = match disk::read(path, MAX_PROOF as u64) {
        Ok(bytes) => TlogProof::parse(&bytes).is_ok(),
        Err(error) => error.is_not_found(),
    };
    if is_receipt {
        return Ok(());
    }
    Err(
        Failure::error(format!("{} is there and is not a receipt", path.display()))
            .hint("name another file, or remove it"),
    )
}
