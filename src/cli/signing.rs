//! Writing a signature: a new one, or one more beside those that are there.

use std::path::Path;

use super::failure::Failure;
use super::keyless::Keyless;
use super::output::Output;
use super::timestamp;
use crate::artifact::Artifact;
use crate::bundle::{self, Bundle, MAX_BUNDLE};
use crate::digest::{Algorithm, Sha256};
use crate::disk::{self, Access, DiskError, Existing};
use crate::envelope::Envelope;
use crate::finding::Severity;
use crate::gate;
use crate::key::Signer;
use crate::oms::{self, Material, OmsBundle, SignOptions, SigningMaterial};
use crate::report::text::count;
use crate::sigstore::Proof;
use crate::timestamp::Authorities;
use crate::verify::{ArtifactEvidence, verify_files};
use crate::x509::Certificate;

/// An older signature may be replaced; any other file is somebody's.
pub(super) fn replaceable(signature: &Path) -> Result<(), Failure> {
    let refuse = || {
        Failure::error(format!(
            "{} is there and is not a signature",
            signature.display()
        ))
        .hint("name another file with --signature, or remove it")
    };
    match disk::read(signature, MAX_BUNDLE as u64) {
        Ok(bytes) => Bundle::parse(&bytes).map(|_| ()).map_err(|_| refuse()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(DiskError::TooLarge { .. } | DiskError::NotRegular { .. }) => Err(refuse()),
        Err(error) => Err(error.into()),
    }
}

/// Who signs, and how the bundle names him.
pub(super) struct How<'a> {
    pub(super) signer: &'a dyn Signer,
    /// None: by his key.
    pub(super) chain: Vec<Certificate>,
    pub(super) timestamp: Option<(&'a String, Vec<Certificate>)>,
    pub(super) algorithm: Algorithm,
}

impl How<'_> {
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut all = vec![Algorithm::Sha256, self.algorithm];
        all.dedup();
        all
    }
}

pub(super) struct Signed {
    pub(super) root: Sha256,
    pub(super) bundle: Sha256,
}

/// The statement over an artifact that is to be signed at `path`, and its root digest.
fn statement(
    artifact: &Artifact,
    evidence: &ArtifactEvidence,
    path: &Path,
    algorithm: Algorithm,
    output: &Output,
) -> Result<(Vec<u8>, Sha256), Failure> {
    let mut ignored: Vec<String> = oms::DEFAULT_IGNORED
        .iter()
        .map(|&path| path.into())
        .collect();
    let left_out = evidence
        .not_covered
        .iter()
        .map(|path| path.as_str().to_owned());
    let own = artifact.locate(path).map(|path| path.as_str().to_owned());
    for path in left_out.chain(own) {
        if !ignored.contains(&path) {
            ignored.push(path);
        }
    }
    ignored.sort_unstable();
    if artifact.single_file().is_some() {
        ignored.clear();
    }
    let outside = evidence
        .manifest
        .files()
        .iter()
        .filter(|file| ignored.iter().any(|ignored| file.path.is_within(ignored)));
    for file in outside {
        output.say(format!(
            "{} is outside the signature (OMS leaves it out)",
            file.path
        ));
    }
    let options = SignOptions {
        algorithm,
        name: artifact.name(),
        ignored,
        allow_symlinks: false,
    };
    oms::statement(&evidence.manifest, options)
        .map_err(|error| Failure::refused(vec![error.to_string()]))
}

/// Signs with a key, and writes the bundle.
pub(super) fn write_signature(
    artifact: &Artifact,
    evidence: &ArtifactEvidence,
    path: &Path,
    how: &How<'_>,
    output: &Output,
) -> Result<Signed, Failure> {
    let (payload, root) = statement(artifact, evidence, path, how.algorithm, output)?;
    let material = if how.chain.is_empty() {
        SigningMaterial::Key
    } else {
        SigningMaterial::Certificates(&how.chain)
    };
    let bundle = oms::sign(payload, how.signer, &material)
        .map_err(|error| Failure::error(error.to_string()))?;
    let bytes = match &how.timestamp {
        Some((url, anchors)) => {
            let authorities = Authorities {
                anchors,
                withdrawn: &[],
            };
            timestamp::stamped(&bundle, url, authorities, output)?
        }
        None => bundle.to_json()?,
    };
    finish(evidence, path, &bytes, output)?;
    Ok(Signed {
        root,
        bundle: Sha256::of(&bytes),
    })
}

/// Signs keyless, and writes the bundle.
pub(super) fn write_keyless(
    artifact: &Artifact,
    evidence: &ArtifactEvidence,
    path: &Path,
    (keyless, algorithm): (&Keyless, Algorithm),
    output: &Output,
) -> Result<(Signed, Proof), Failure> {
    let (payload, root) = statement(artifact, evidence, path, algorithm, output)?;
    let (bytes, proof) = keyless.sign(payload, output)?;
    finish(evidence, path, &bytes, output)?;
    let bundle = Sha256::of(&bytes);
    Ok((Signed { root, bundle }, proof))
}

fn finish(
    evidence: &ArtifactEvidence,
    path: &Path,
    bytes: &[u8],
    output: &Output,
) -> Result<(), Failure> {
    disk::write(path, bytes, Existing::Replace, Access::Shared)?;
    output.say(format!(
        "signed {}, {} bytes: {}",
        count(evidence.manifest.files().len(), "file"),
        evidence.manifest.bytes(),
        path.display()
    ));
    Ok(())
}

/// A signature that others made, and what it is over.
pub(super) struct Earlier {
    bytes: Vec<u8>,
    envelope: Envelope,
    oms: OmsBundle,
}

impl Earlier {
    /// Reads the signature at `path`, which must be one that more can be added to.
    pub(super) fn read(path: &Path) -> Result<Earlier, Failure> {
        let bytes = disk::read(path, MAX_BUNDLE as u64)?;
        let fail = |why: String| Failure::error(format!("{}: {why}", path.display()));
        let oms = OmsBundle::parse(&bytes).map_err(|error| fail(error.to_string()))?;
        if let Material::Certificates { logged: true, .. } = oms.material {
            return Err(fail(
                "it was signed keyless, and the log has its one signature".into(),
            ));
        }
        let bundle = Bundle::parse(&bytes).map_err(|error| fail(error.to_string()))?;
        let envelope = bundle.dsse_envelope;
        Ok(Earlier {
            bytes,
            envelope,
            oms,
        })
    }

    /// The digests that tell whether the files are those that were signed.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        gate::algorithms_of(&self.oms)
    }

    /// Adds the signature of `signer` over the same statement, if the files are as it says.
    pub(super) fn add(
        mut self,
        evidence: &ArtifactEvidence,
        path: &Path,
        signer: &dyn Signer,
        output: &Output,
    ) -> Result<Signed, Failure> {
        let model = self
            .oms
            .model
            .as_ref()
            .map_err(|error| Failure::error(format!("{}: {error}", path.display())))?;
        if self.oms.signed_by(&signer.public()) {
            return Err(Failure::error(format!(
                "{} is signed with this key already",
                path.display()
            )));
        }
        let report = verify_files(evidence, model);
        let wrong: Vec<String> = report
            .findings
            .iter()
            .filter(|finding| finding.severity >= Severity::Inconclusive)
            .map(|finding| match &finding.location {
                Some(location) => format!("{location} {}", finding.message),
                None => finding.message.clone(),
            })
            .collect();
        if !wrong.is_empty() {
            return Err(Failure::refused(wrong));
        }
        let hint = signer.public().oms_hint().to_string();
        let before = self.envelope.signatures.len();
        self.envelope
            .add(signer, &hint)
            .map_err(|error| Failure::error(error.to_string()))?;
        let mut bytes = self.bytes;
        for one in self.envelope.signatures.iter().skip(before) {
            let path = ["dsseEnvelope", "signatures"];
            bytes = bundle::append(
                &bytes,
                &path,
                serde_json::to_value(one).map_err(crate::json::JsonError::from)?,
            )?;
        }
        // Whatever is written can be read again.
        OmsBundle::parse(&bytes).map_err(|error| Failure::error(error.to_string()))?;
        disk::write(path, &bytes, Existing::Replace, Access::Shared)?;
        output.say(format!(
            "{} has {}",
            path.display(),
            count(self.envelope.signatures.len(), "signature")
        ));
        Ok(Signed {
            root: model.root,
            bundle: Sha256::of(&bytes),
        })
    }
}
