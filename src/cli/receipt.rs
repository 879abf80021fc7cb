//! Receipts as two files: the proof, and the record that it proves beside it.

use std::path::Path;

use super::failure::Failure;
use super::output::Output;
use crate::disk::{self, Access, Existing};
use crate::gate;
use crate::ledger::{DirectoryStore, Log};
use crate::note::NoteKey;

/// Writes the receipt of entry `index` to `path`, and the entry beside it.
pub(super) fn write(
    store: &DirectoryStore,
    key: &NoteKey,
    index: u64,
    path: &Path,
    output: &Output,
) -> Result<(), Failure> {
    let (entry, proof) = Log::open(store, key)?.entry(index)?;
    let beside = gate::receipt_entry(path);
    if beside == path {
        return Err(Failure::error(
            "a receipt cannot be called .dsse: its record is",
        ));
    }
    disk::write(&beside, &entry, Existing::Replace, Access::Shared)?;
    disk::write(path, &proof.encode(), Existing::Replace, Access::Shared)?;
    output.say(format!(
        "wrote receipt {} and record {}",
        path.display(),
        beside.display()
    ));
    Ok(())
}
