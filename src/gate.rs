//! Gathers what `verify` judges: reads the artifact, the signature and the ledger.
//! Reads files, writes none; knows no clock and no network.

use std::path::{Path, PathBuf};

use crate::artifact::manifest::{self, Line};
use crate::artifact::{Artifact, ArtifactDigest, Exclusions, Hashing, Names, Symlinks, hash, walk};
use crate::bundle::{BundleError, MAX_BUNDLE};
use crate::digest::{Algorithm, Sha256};
use crate::disk::{self, DiskError};
use crate::envelope::Envelope;
use crate::finding::Rule;
use crate::json::JsonError;
use crate::ledger::proof::MAX_PROOF;
use crate::ledger::tile::MAX_ENTRY;
use crate::ledger::{self, LedgerError, Log, MemoryError, Store, TlogProof};
use crate::oms::{OmsBundle, OmsError};
use crate::policy::Policy;
use crate::statement::{Record, Statement};
use crate::time::Timestamp;
use crate::verify::{
    ArtifactEvidence, Earlier, Keyring, LedgerEntry, LedgerEvidence, SignatureEvidence, Taken,
    is_about_a_key,
};

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

/// Lists and hashes the artifact.
pub fn read_artifact(
    artifact: &Artifact,
    exclusions: &Exclusions,
    reading: Reading<'_>,
) -> Result<ArtifactEvidence, DiskError> {
    let found = walk(artifact, exclusions, reading.symlinks, reading.names)?;
    let (manifest, faults) = hash(artifact, &found, reading.hashing);
    Ok(ArtifactEvidence {
        manifest,
        obstacles: found.obstacles,
        faults,
        not_covered: found.not_covered,
    })
}

/// Reads the signature.
pub fn read_signature(path: &Path) -> SignatureEvidence {
    let name = path.display().to_string();
    // A link, or a file that is no bundle by its size, is a bad signature, not a fault of ours.
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let bundle = Err(OmsError::Statement("the signature is not a regular file"));
        return SignatureEvidence::Bundle {
            sha256: Sha256::of(b""),
            bundle: Box::new(bundle),
        };
    }
    match disk::read(path, MAX_BUNDLE as u64) {
        Ok(bytes) => {
            let bundle = Box::new(OmsBundle::parse(&bytes));
            SignatureEvidence::Bundle {
                sha256: Sha256::of(&bytes),
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
                sha256: Sha256::of(b""),
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

/// Whether a log goes on from what is known of it.
pub type History<'a> = dyn Fn(&Log<'_>) -> Result<(), MemoryError> + 'a;

/// Scans the ledger for entries about `artifact`, and about keys by those whom `policy` trusts at `now`, if
/// it goes on from what is known of it.
pub fn read_ledger(
    store: &dyn Store,
    (policy, now): (&Policy, Timestamp),
    artifact: Option<ArtifactDigest>,
    signature: &SignatureEvidence,
    history: &History<'_>,
) -> LedgerEvidence {
    let unusable = |rule, why: &dyn std::error::Error| {
        let why = format!(
            "the ledger {} cannot be used: {}",
            store.place(),
            cause(why)
        );
        LedgerEvidence::Unusable { rule, why }
    };
    let scanned = match Log::open(store, &policy.log.trust) {
        Ok(log) => match history(&log) {
            Ok(()) => scan(store, &log, (policy, now), artifact, signature),
            Err(error) if error.is_contradiction() => {
                let why = cause(&error);
                return LedgerEvidence::Contradicts { why };
            }
            Err(error) => return unusable(Rule::LedgerRemembered, &error),
        },
        Err(error) => Err(error),
    };
    match scanned {
        Ok(evidence) => evidence,
        Err(error) => {
            let rule = match &error {
                LedgerError::Checkpoint(_) => Rule::LedgerCheckpoint,
                LedgerError::Damaged { .. } => Rule::LedgerConsistent,
                _ => Rule::LedgerUnreadable,
            };
            unusable(rule, &error)
        }
    }
}

fn scan(
    store: &dyn Store,
    log: &Log<'_>,
    (policy, now): (&Policy, Timestamp),
    artifact: Option<ArtifactDigest>,
    signature: &SignatureEvidence,
) -> Result<LedgerEvidence, LedgerError> {
    let signature = match signature {
        SignatureEvidence::Bundle { sha256, .. } => Some(*sha256),
        _ => None,
    };
    let mut matching = Vec::new();
    let mut same_signature = None;
    let mut about_keys = Vec::new();
    // What strangers say of keys is not kept, and little of what does not count: there may be any amount.
    let (mut idle, mut unknown) = (0, 0);
    let mut ring = Keyring::new(policy, now);
    log.scan(|index, bytes| {
        let payload = payload(bytes);
        if is_about_a_key(&payload) {
            let named = ring.named();
            let shown = match ring.take(index, bytes) {
                Taken::Foreign => false,
                Taken::Counts | Taken::Retires(_) => true,
                Taken::Ignored(_) => another(&mut idle),
                Taken::Unknown(_) => another(&mut unknown),
            };
            // A key that is named for the first time may give itself up later.
            if shown || ring.named() > named {
                about_keys.push(index);
            }
        }
        let payload = payload.to_ascii_lowercase();
        if artifact.is_some_and(|artifact| mentions(&payload, &artifact.value())) {
            matching.push(index);
        } else if let Some(signature) = signature
            && mentions(&payload, &signature)
            && let Some(manifest) = released_with(bytes, &signature)
        {
            same_signature = Some((index, manifest));
        }
    })?;
    let entries = |indices: Vec<u64>| -> Result<Vec<LedgerEntry>, LedgerError> {
        let entry = |index| {
            let (bytes, proof) = log.entry(index)?;
            Ok(LedgerEntry { bytes, proof })
        };
        indices.into_iter().map(entry).collect()
    };
    let (entries, keys) = (entries(matching)?, entries(about_keys)?);

    let earlier = same_signature.and_then(|(index, manifest)| {
        let text = ledger::blob(store, &manifest).ok()?;
        let lines: Vec<Line> = manifest::parse(&text, Algorithm::Sha256).ok()?;
        Some(Earlier { index, lines })
    });
    Ok(LedgerEvidence::Records {
        entries,
        keys,
        complete: Some(log.checkpoint().clone()),
        earlier,
    })
}

/// As many records about keys are shown that do not count, or cannot be understood.
const MOST_IDLE: usize = 32;

fn another(shown: &mut usize) -> bool {
    *shown += 1;
    *shown <= MOST_IDLE
}

/// What `entry` says. One that cannot be read otherwise may still say that an artifact must not be used,
/// so nothing is asked of it here but a `payload` in base64.
pub fn payload(entry: &[u8]) -> Vec<u8> {
    // Lenient on purpose: a key that is there twice must not hide what the entry says.
    let payload = match serde_json::from_slice::<serde_json::Value>(entry) {
        Ok(value) => {
            let text = value.get("payload").and_then(|payload| payload.as_str());
            text.and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok())
        }
        Err(_) => None,
    };
    payload.unwrap_or_else(|| entry.to_vec())
}

/// Does `payload`, in lower case, hold `digest`, in whatever field?
fn mentions(payload: &[u8], digest: &Sha256) -> bool {
    memchr::memmem::find(payload, digest.to_string().as_bytes()).is_some()
}

/// The manifest of the release that `entry` records with `signature`.
fn released_with(entry: &[u8], signature: &Sha256) -> Option<Sha256> {
    let envelope = Envelope::parse(entry, MAX_ENTRY).ok()?;
    match Statement::parse(&envelope.payload).ok()?.record {
        Record::Release(release) if release.signature.as_ref()?.sha256 == *signature => {
            Some(release.manifest.sha256)
        }
        _ => None,
    }
}

/// Reads a receipt instead of a ledger: the proof at `path` and the entry beside it.
pub fn read_receipt(path: &Path) -> LedgerEvidence {
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
            entries: vec![LedgerEntry { bytes, proof }],
            keys: Vec::new(),
            complete: None,
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
