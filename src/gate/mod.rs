//! Gathers what `verify` judges: reads the artifact, the signature and the ledger.
//! Reads files, writes none; knows no clock and no network.

mod entries;
mod ledger;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::artifact::parts::{self, Part};
use crate::artifact::{
    Artifact, Exclusions, Hashing, Names, Seals, Symlinks, Unsealed, hash, walk_with,
};
use crate::bundle::{BundleError, MAX_BUNDLE};
use crate::digest::{Algorithm, Sha256};
use crate::disk::{self, DiskError};
use crate::finding::Rule;
use crate::json::JsonError;
use crate::ledger::TlogProof;
use crate::ledger::proof::MAX_PROOF;
use crate::ledger::tile::MAX_ENTRY;
use crate::oms::{OmsBundle, OmsError};
use crate::policy::Policy;
use crate::verify::{ArtifactEvidence, FileDigest, LedgerEntry, LedgerEvidence, SignatureEvidence};

pub use ledger::{History, OpenIndex, as_of, read_ledger};

/// How to read an artifact.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    pub hashing: Hashing<'a>,
    pub symlinks: Symlinks,
    pub names: Names,
}

/// Where the signature of the artifact at `path` lies, unless the user says otherwise: inside a
/// directory, beside a file.
pub fn default_signature(artifact: &Artifact) -> PathBuf {
    if artifact.single_file().is_none() {
        return artifact.path().join("model.sig");
    }
    let mut name = artifact.path().as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// What sign, verify, record and gate leave out of `artifact`.
pub fn exclusions(artifact: &Artifact, signature: &Path) -> Exclusions {
    Exclusions::standard(artifact.locate(signature))
}

/// Lists the artifact, and hashes what `part` of it is; how many files there are in all, and what tells that list from others.
pub fn read_part(
    artifact: &Artifact,
    exclusions: &Exclusions,
    reading: Reading<'_>,
    part: Part,
) -> Result<(ArtifactEvidence, u64, Sha256), DiskError> {
    let how = (reading.symlinks, reading.names);
    let found = walk_with(artifact, exclusions, how, reading.hashing.known.receipts)?;
    let (count, all) = (found.files.len() as u64, found.files.iter());
    let listing = parts::listing(all.map(|file| (file.path.as_str(), file.size)));
    let own = parts::share(found.files, part);
    let (manifest, faults) = hash(artifact, own, reading.hashing);
    let evidence = ArtifactEvidence {
        manifest,
        obstacles: found.obstacles,
        faults,
        not_covered: found.not_covered,
        unsealed: unsealed(reading),
    };
    Ok((evidence, count, listing))
}

/// Lists and hashes the artifact.
pub fn read_artifact(
    artifact: &Artifact,
    exclusions: &Exclusions,
    reading: Reading<'_>,
) -> Result<ArtifactEvidence, DiskError> {
    let found = walk_with(
        artifact,
        exclusions,
        (reading.symlinks, reading.names),
        reading.hashing.known.receipts,
    )?;
    let (manifest, faults) = hash(artifact, found.files, reading.hashing);
    Ok(ArtifactEvidence {
        manifest,
        obstacles: found.obstacles,
        faults,
        not_covered: found.not_covered,
        unsealed: unsealed(reading),
    })
}

/// Which files were read because their kernel does not vouch for them.
fn unsealed(reading: Reading<'_>) -> BTreeMap<Unsealed, usize> {
    let seals = reading.hashing.known.seals;
    seals.map(Seals::unsealed).unwrap_or_default()
}

/// Reads the signature.
pub fn read_signature(path: &Path) -> SignatureEvidence {
    let name = path.display().to_string();
    // A link, or a file that is no bundle by its size, is a bad signature, not a fault of ours.
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let bundle = Err(OmsError::Statement("the signature is not a regular file"));
        return SignatureEvidence::Bundle {
            sha256: FileDigest::of(Vec::new()),
            bundle: Box::new(bundle),
        };
    }
    match disk::read(path, MAX_BUNDLE as u64) {
        Ok(bytes) => {
            let bundle = Box::new(OmsBundle::parse(&bytes));
            SignatureEvidence::Bundle {
                sha256: FileDigest::of(bytes),
                bundle,
            }
        }
        Err(error) if error.is_not_found() => SignatureEvidence::Missing { path: name },
        Err(DiskError::TooLarge { size, .. }) => {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let error = BundleError::Json(JsonError::TooLarge {
                size,
                limit: MAX_BUNDLE,
            });
            let bundle = Box::new(Err(OmsError::Bundle(error)));
            SignatureEvidence::Bundle {
                sha256: FileDigest::of(Vec::new()),
                bundle,
            }
        }
        Err(error) => SignatureEvidence::Unreadable {
            path: name,
            why: cause(&error),
        },
    }
}

/// The digests to compute so that `signature` can be judged: SHA-256 always, and the signature's
/// own.
pub fn algorithms(signature: &SignatureEvidence) -> Vec<Algorithm> {
    match signature {
        SignatureEvidence::Bundle { bundle, .. } => match &**bundle {
            Ok(bundle) => algorithms_of(bundle),
            Err(_) => vec![Algorithm::Sha256],
        },
        _ => vec![Algorithm::Sha256],
    }
}

/// The same for a bundle that was read.
pub fn algorithms_of(bundle: &OmsBundle) -> Vec<Algorithm> {
    let mut algorithms = vec![Algorithm::Sha256];
    if let Ok(model) = &bundle.model
        && model.algorithm != Algorithm::Sha256
    {
        algorithms.push(model.algorithm);
    }
    algorithms
}

/// Reads a receipt instead of a ledger: the proof at `path` and the entry beside it.
pub fn read_receipt(path: &Path, policy: &Policy) -> LedgerEvidence {
    let unusable = |why: String| LedgerEvidence::Unusable {
        rule: Rule::LedgerUnreadable,
        why,
    };
    let entry = receipt_entry(path);
    let proof = match disk::read(path, MAX_PROOF as u64) {
        Ok(bytes) => TlogProof::parse(&bytes),
        Err(error) => return unusable(cause(&error)),
    };
    match (proof, disk::read(&entry, MAX_ENTRY as u64)) {
        (Ok(proof), Ok(bytes)) => LedgerEvidence::Records {
            vouched: ledger::vouched(&proof.checkpoint, policy),
            entries: vec![LedgerEntry { bytes, proof }],
            keys: Vec::new(),
            recalls: Vec::new(),
            lineage: Vec::new(),
            items: Vec::new(),
            complete: None,
            by_index: false,
            earlier: None,
        },
        (Err(error), _) => unusable(format!("the receipt {} {error}", path.display())),
        (_, Err(error)) => unusable(cause(&error)),
    }
}

/// Where the entry of the receipt at `path` lies: beside it.
pub fn receipt_entry(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".dsse");
    name.into()
}

/// An error with its sources, in one line.
pub fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        next = source.source();
    }
    text
}
