//! What this host has sealed: the list of contents that it verified and put under fs-verity, beside its receipts.

use super::Global;
use super::output::Output;
use super::receipts;
use crate::artifact::seals::MAX_SEALS;
use crate::artifact::{Artifact, Seals};
use crate::digest::Algorithm;
use crate::disk;
use crate::oms::OmsModel;

/// A list of seals is not of receipts; it is of one artifact, by its path, whatever file system that is on.
const USED_FOR: (u64, &str) = (0, "seal");

/// What is known of the contents of `artifact`: by this host, and by a signature, if there is one whose word will be judged.
pub(super) fn known(
    artifact: &Artifact,
    algorithms: &[Algorithm],
    (global, stated): (&Global, Option<&OmsModel>),
    output: &Output,
) -> Seals {
    let mut seals = Seals::of(algorithms);
    if let Err(why) = read(&mut seals, artifact, algorithms, global) {
        output.warn(format!("what this host has sealed is not known: {why}"));
    }
    if let Some(model) = stated
        && algorithms == [model.algorithm]
    {
        for (verity, digest) in &model.fs_verity {
            seals.add(*verity, digest);
        }
    }
    seals
}

/// Adds what was sealed of `artifact` before; nothing, where that cannot be read.
pub(super) fn recall(
    seals: &mut Seals,
    artifact: &Artifact,
    algorithms: &[Algorithm],
    global: &Global,
) {
    _ = read(seals, artifact, algorithms, global);
}

fn read(
    seals: &mut Seals,
    artifact: &Artifact,
    algorithms: &[Algorithm],
    global: &Global,
) -> Result<(), String> {
    let (path, key) = receipts::place(artifact, algorithms, global, USED_FOR)?;
    let bytes = disk::read_no_link(&path, MAX_SEALS).unwrap_or_default();
    if seals.read(&bytes, &key).is_some() {
        // Those that were not used for longest are the first to be removed.
        _ = disk::touch(&path);
    }
    Ok(())
}

/// Keeps what was sealed of `artifact`.
pub(super) fn keep(
    artifact: &Artifact,
    algorithms: &[Algorithm],
    global: &Global,
    seals: &Seals,
) -> Result<(), String> {
    let (path, key) = receipts::place(artifact, algorithms, global, USED_FOR)?;
    let bytes = seals.write(&key);
    let bytes = bytes.ok_or_else(|| format!("they are more than {MAX_SEALS} bytes"))?;
    receipts::keep_at(&path, &bytes)
}
