//! Writing a signature: a new one, or one more beside those that are there.

use std::collections::HashSet;
use std::path::Path;

use super::failure::Failure;
use super::keyless::Keyless;
use super::output::Output;
use super::{context, timestamp};
use crate::artifact::{Artifact, Manifest, ManifestFile};
use crate::bundle::{self, Bundle, MAX_BUNDLE};
use crate::credential::{self, Clock, Stamped};
use crate::digest::{Algorithm, Sha256};
use crate::disk::{self, Access, DiskError, Existing, Lock};
use crate::envelope::Envelope;
use crate::finding::Severity;
use crate::gate;
use crate::key::Signer;
use crate::oms::{self, Material, OmsBundle, OmsModel, SignOptions, SigningMaterial};
use crate::path::ArtifactPath;
use crate::policy::{Identity, Policy};
use crate::report::text::count;
use crate::sigstore::Proof;
use crate::timestamp::Authorities;
use crate::verify::{ArtifactEvidence, verify_files};
use crate::x509::{Certificate, Withdrawn};

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
    /// Timestamp authorities, among others, that no longer count.
    pub(super) withdrawn: &'a [Withdrawn],
    pub(super) algorithm: Algorithm,
    /// Say what a kernel keeps of each file, too.
    pub(super) fs_verity: bool,
}

impl How<'_> {
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        read_for(self.algorithm, self.fs_verity)
    }
}

/// What files are read for that are signed with `algorithm`.
pub(super) fn read_for(algorithm: Algorithm, fs_verity: bool) -> Vec<Algorithm> {
    let mut all = vec![Algorithm::Sha256, algorithm];
    all.dedup();
    all.extend(fs_verity.then_some(Algorithm::FsVerity));
    all
}

pub(super) struct Signed {
    pub(super) root: Sha256,
    pub(super) bundle: Sha256,
    /// The key that made the signature.
    pub(super) key_id: Sha256,
}

/// What a signature at `path` over an artifact leaves out, sorted.
fn left_out(artifact: &Artifact, evidence: &ArtifactEvidence, path: &Path) -> Vec<String> {
    if artifact.single_file().is_some() {
        return Vec::new();
    }
    let own = artifact.locate(path);
    let mut ignored: Vec<String> = oms::DEFAULT_IGNORED
        .iter()
        .copied()
        .chain(evidence.not_covered.iter().map(ArtifactPath::as_str))
        .chain(own.iter().map(ArtifactPath::as_str))
        .map(str::to_owned)
        .collect();
    ignored.sort_unstable();
    ignored.dedup();
    ignored
}

/// The statement over an artifact that is to be signed at `path`, and its root digest.
fn statement(
    artifact: &Artifact,
    evidence: &ArtifactEvidence,
    path: &Path,
    algorithm: Algorithm,
    output: &Output,
) -> Result<(Vec<u8>, Sha256), Failure> {
    let ignored = left_out(artifact, evidence, path);
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
    if let Algorithm::Sharded(_) = algorithm {
        let files = evidence.manifest.files().iter();
        for file in files.filter(|file| file.size == 0) {
            output.say(format!(
                "{} is outside the signature (it is empty, and has no shard)",
                file.path
            ));
        }
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
                withdrawn: how.withdrawn,
            };
            timestamp::stamped(&bundle, url, authorities, output)?
        }
        None => bundle.to_json()?,
    };
    finish(evidence, path, &bytes, output)?;
    Ok(Signed {
        root,
        bundle: Sha256::of(&bytes),
        key_id: how.signer.public().key_id(),
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
    let signed = Signed {
        root,
        bundle: Sha256::of(&bytes),
        key_id: certified_key(&bytes)?,
    };
    Ok((signed, proof))
}

/// The key of the certificate in a bundle that was signed keyless.
fn certified_key(bundle: &[u8]) -> Result<Sha256, Failure> {
    let bundle = OmsBundle::parse(bundle).map_err(|error| Failure::error(error.to_string()))?;
    match &bundle.material {
        Material::Certificates { chain, .. } => chain.first().map(Certificate::key_id),
        Material::Key { .. } => None,
    }
    .ok_or_else(|| Failure::error("the bundle has no certificate"))
}

fn finish(
    evidence: &ArtifactEvidence,
    path: &Path,
    bytes: &[u8],
    output: &Output,
) -> Result<(), Failure> {
    if bytes.len() > MAX_BUNDLE {
        let size = bytes.len();
        return Err(Failure::error(format!(
            "the signature would have {size} bytes, and is read up to {MAX_BUNDLE}"
        ))
        .hint("sign fewer files at once, or larger shards"));
    }
    let _lock = lock(path)?;
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

    /// The digests that tell whether the files are those that were signed, and all that is said of them.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut all = gate::algorithms_of(&self.oms);
        let says_verity = |model: &OmsModel| !model.fs_verity.is_empty();
        if self.oms.model.as_ref().is_ok_and(says_verity) {
            all.push(Algorithm::FsVerity);
        }
        all
    }

    /// Adds the signature of `signer` over the same statement, if the files are as it says and it is one to
    /// stand by: it leaves out nothing that a new one would not, and with a policy it is by somebody who is
    /// trusted.
    pub(super) fn add(
        mut self,
        artifact: &Artifact,
        evidence: &ArtifactEvidence,
        (path, signer): (&Path, &dyn Signer),
        policy: Option<&Policy>,
        output: &Output,
    ) -> Result<Signed, Failure> {
        let fail =
            |why: &dyn std::fmt::Display| Failure::error(format!("{}: {why}", path.display()));
        let model = self.oms.model.as_ref().map_err(|error| fail(error))?;
        let root = model.root;
        if self.oms.is_of_0_2 {
            return Err(
                fail(&"model_signing 0.2 signed it, in a way that is not continued")
                    .hint("sign it anew, without --add"),
            );
        }
        if self.oms.signed_by(&signer.public()) {
            return Err(fail(&"it is signed with this key already"));
        }
        must_be_alike(artifact, evidence, path, model)?;
        if !says_true(model, &evidence.manifest) {
            return Err(Failure::refused(vec![format!(
                "{}: what it says that kernels keep of the files (fsVerity) is not so",
                path.display()
            )])
            .hint("whoever signs it stands for that: sign anew, without --add"));
        }
        self.trusted(policy, output)?;
        output.say(format!(
            "adding to the statement that this is {:?} with root {root}",
            model.name
        ));
        let hint = signer.public().oms_hint().to_string();
        let before = self.envelope.signatures.len();
        self.envelope
            .add(signer, &hint)
            .map_err(|error| fail(&error))?;
        let added = self.envelope.signatures.split_off(before);

        // Others may have signed while this was.
        let _lock = lock(path)?;
        let there = Earlier::read(path)?;
        let same = there.envelope.payload == self.envelope.payload
            && there.envelope.payload_type == self.envelope.payload_type;
        if !same || there.oms.signed_by(&signer.public()) {
            return Err(fail(&"it was replaced meanwhile"));
        }
        let mut bytes = there.bytes;
        for one in &added {
            let value = serde_json::to_value(one).map_err(crate::json::JsonError::from)?;
            bytes = bundle::append(&bytes, &["dsseEnvelope", "signatures"], value)?;
        }
        // Whatever is written can be read again.
        let written = OmsBundle::parse(&bytes).map_err(|error| fail(&error))?;
        disk::write(path, &bytes, Existing::Replace, Access::Shared)?;
        output.say(format!(
            "{} has {}; a release that was recorded with it before names another file: record it again",
            path.display(),
            count(written.signatures(), "signature")
        ));
        Ok(Signed {
            root,
            bundle: Sha256::of(&bytes),
            key_id: signer.public().key_id(),
        })
    }

    /// Refuses unless somebody whom the policy trusts has signed.
    fn trusted(&self, policy: Option<&Policy>, output: &Output) -> Result<(), Failure> {
        let signatures = count(self.oms.signatures(), "signature");
        let Some(policy) = policy else {
            output.warn(format!(
                "nobody checked by whom the {signatures} are that are there: there is no policy"
            ));
            return Ok(());
        };
        let now = context::now();
        let clock = Clock {
            now,
            authorities: Authorities {
                anchors: &policy.timestamp_authorities,
                withdrawn: &policy.revoked,
            },
        };
        let stamped = Stamped::new(&self.oms, clock);
        let revoked = |signer: &credential::Signer, identity: &Identity| {
            let key = identity.credential.key();
            key.is_some_and(|key| policy.withdrawn(key, signer.signed_at).is_some())
        };
        let by: Vec<&str> = policy
            .identities
            .iter()
            .filter(|identity| !identity.is_expired(now))
            .filter(|identity| {
                let admitted = identity.credential.admit(&stamped);
                admitted.is_ok_and(|signer| {
                    let at = signer.signed_at.unwrap_or(now);
                    let objection = policy.algorithms.objection(signer.algorithm, at);
                    objection.is_none() && !revoked(&signer, identity)
                })
            })
            .map(|identity| identity.name.as_str())
            .collect();
        if by.is_empty() {
            return Err(Failure::refused(vec![format!(
                "none of the {signatures} that are there is by anybody whom the policy trusts: what they say is not \
                 to be signed unread"
            )])
            .hint("trust one of the signers in the policy, or sign anew, without --add"));
        }
        output.say(format!("signed before by {}", by.join(", ")));
        Ok(())
    }
}

/// Refuses unless the files are all those of the statement, as it says.
fn must_be_alike(
    artifact: &Artifact,
    evidence: &ArtifactEvidence,
    path: &Path,
    model: &OmsModel,
) -> Result<(), Failure> {
    let report = verify_files(evidence, model);
    let mut wrong: Vec<String> = report
        .findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Inconclusive)
        .map(|finding| match &finding.location {
            Some(location) => format!("{location} {}", finding.message),
            None => finding.message.clone(),
        })
        .collect();
    let left_out = left_out(artifact, evidence, path);
    let hidden = evidence.manifest.files().iter().filter(|file| {
        model.ignores(&file.path) && !left_out.iter().any(|path| file.path.is_within(path))
    });
    wrong.extend(hidden.map(|file| format!("{} is outside the signature", file.path)));
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(wrong))
}

/// Nobody else adds to the signature at `path` until this is dropped.
pub(super) fn lock(path: &Path) -> Result<Lock, Failure> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(
            Failure::error(format!("there is no directory {}", directory.display()))
                .hint("make it, or name another file with --signature"),
        );
    }
    Ok(Lock::acquire_directory(directory)?)
}

/// Is everything that is said of files under fs-verity so? Whoever signs stands for it.
fn says_true(model: &OmsModel, manifest: &Manifest) -> bool {
    let both = |file: &ManifestFile| {
        let verity = manifest.digest(file, Algorithm::FsVerity)?;
        Some((verity, manifest.digest(file, model.algorithm)?))
    };
    let so: HashSet<_> = manifest.files().iter().filter_map(both).collect();
    let mut said = model.fs_verity.iter();
    said.all(|(verity, digest)| so.contains(&(verity.as_slice(), &**digest)))
}
