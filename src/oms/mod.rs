//! OpenSSF Model Signing v1.0 (ossf/model-signing-spec): one signed statement that lists every file
//! of a model with its digest. Bytes in, bytes out; reads no file.
//!
//! Covered: methods `files` and `shards`, SHA-256, BLAKE2b and BLAKE3, all three verification
//! materials, and what model_signing 0.2 to 1.1 wrote. Whose signature counts is said by `credential`.
//!
//! Stricter than model_signing 1.1.1: duplicate names and JSON keys, non-canonical hexadecimal,
//! empty manifests, paths that leave the model, and more than one signature are refused.

mod content;
mod statement;

use std::borrow::Cow;

use crate::artifact::manifest::Line;
use crate::artifact::seals::VerityDigest;
use crate::artifact::{Manifest, ManifestFile};
use crate::bundle::{Bundle, BundleError, MAX_BUNDLE, RawCertificate};
use crate::digest::{Algorithm, DigestBytes, DigestError, Sha256, Sharding};
use crate::envelope::{Envelope, IN_TOTO};
use crate::json::{self, Document, JsonError};
use crate::key::{Hash, PublicKey, Signer, SignerError};
use crate::path::{ArtifactPath, PathError};
use crate::x509::{Certificate, CertificateError, MAX_CHAIN};

use content::{Listed, SINGLE_FILE};
pub use statement::first_subject;
use statement::{OmsStatement, Predicate, Resource, Serialization, Subject, SubjectDigest};

/// What OMS leaves out at the top of a model, whatever the bundle says (spec §11.2).
pub const DEFAULT_IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// A bundle that was read; the signature is not verified yet.
#[derive(Debug)]
pub struct OmsBundle {
    envelope: Envelope,
    /// Who made the signature, as the bundle has it. Outside the signature.
    pub material: Material,
    /// Timestamps over the signature (RFC 3161), unverified.
    pub timestamps: Vec<Vec<u8>>,
    /// What it says. Of no interest unless somebody trusted signed it.
    pub model: Result<OmsModel, OmsError>,
    bytes: Vec<u8>,
    /// What model_signing 0.2.0 wrote, which signed something else.
    pub is_of_0_2: bool,
}

/// How a bundle names its signer.
#[derive(Debug)]
pub enum Material {
    /// A key, perhaps by its hint.
    Key { hint: Option<String> },
    /// Certificates, the signer's first.
    Certificates {
        chain: Vec<Certificate>,
        /// It came with entries of a transparency log: it was signed keyless.
        logged: bool,
    },
}

/// What a bundle says about a model.
#[derive(Debug)]
pub struct OmsModel {
    /// The digest that the resources have.
    pub algorithm: Algorithm,
    /// For people: what the signer called the model.
    pub name: String,
    /// The root digest over all resources; it agrees with them.
    pub root: Sha256,
    /// Paths that the signature does not cover.
    pub ignored: Vec<String>,
    /// What was signed.
    pub content: Content,
    /// The resources are not in the order that the specification asks for.
    pub unsorted: bool,
    /// What kernels keep of whole files under fs-verity, and the digest by `algorithm` that each has.
    pub fs_verity: Vec<(VerityDigest, DigestBytes)>,
}

/// What a bundle signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The files of a tree, sorted by path.
    Tree(Vec<Line>),
    /// One file, whatever it is called.
    File { digest: DigestBytes },
}

/// Why a bundle is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OmsError {
    #[error("the bundle {0}")]
    Bundle(#[from] BundleError),
    #[error("the signed payload is of type {0:?}, not {IN_TOTO:?}")]
    PayloadType(String),
    #[error("the signed statement is malformed: {0}")]
    Json(#[from] JsonError),
    #[error("the signed statement is malformed: {0}")]
    Statement(&'static str),
    #[error("resource {name:?}: {source}")]
    Path { name: String, source: PathError },
    #[error("resource {name:?}: {source}")]
    Digest { name: String, source: DigestError },
    #[error("resource {0:?} is listed twice")]
    Twice(String),
    #[error("the shards of {0:?} leave a gap, overlap, or are not of the shard size")]
    Shards(String),
    #[error("{path} has more than {most} shards, or they were not hashed")]
    ShardCount { path: String, most: u64 },
    #[error("the root digest does not belong to the listed resources")]
    Root,
    #[error("this version does not verify {0}")]
    Unsupported(String),
    #[error("certificate {number} of the bundle {source}")]
    Certificate {
        number: usize,
        source: CertificateError,
    },
    #[error("the signature cannot be made: {0}")]
    Signer(#[from] SignerError),
    #[error("the model holds no file that would be signed")]
    Empty,
}

impl OmsBundle {
    /// Reads a bundle and what it says.
    pub fn parse(bytes: &[u8]) -> Result<OmsBundle, OmsError> {
        let bundle = Bundle::parse(bytes)?;
        let material = Material::read(&bundle)?;
        let stamps = bundle.verification_material.timestamp_verification_data;
        let stamps = stamps.unwrap_or_default().rfc3161_timestamps;
        if stamps.len() > MAX_TIMESTAMPS {
            return Err(OmsError::Statement(
                "the bundle has more than 16 timestamps",
            ));
        }
        let envelope = bundle.dsse_envelope;
        let model = OmsModel::read(&envelope);
        // It was about as large as a thousand files at most, and takes four times its size to verify.
        // What is of version 1.0 names the model, and is not read again.
        let is_named = model.as_ref().is_ok_and(|model| !model.name.is_empty());
        let is_of_0_2 = !is_named
            && envelope.payload.len() <= MAX_0_2
            && json::parse::<statement::Outline>(&envelope.payload, MAX_0_2)
                .is_ok_and(|outline| outline.predicate_type == statement::DIGESTS);
        // Only the verifier of keyless signatures reads the bundle again, with its own reader.
        let keep = matches!(material, Material::Certificates { .. });
        Ok(OmsBundle {
            envelope,
            material,
            timestamps: stamps.into_iter().map(|one| one.signed_timestamp).collect(),
            model,
            is_of_0_2,
            bytes: if keep { bytes.to_vec() } else { Vec::new() },
        })
    }

    /// Did `key` sign?
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        self.signatures_of(key).is_some()
    }

    /// Which signatures are those of `key`; `None` unless it signed.
    pub fn signatures_of(&self, key: &PublicKey) -> Option<Vec<usize>> {
        let made = self.envelope.signatures_of(key);
        made.or_else(|| self.signed_by_as_of_0_2(key).then(|| vec![0]))
    }

    /// How many signatures there are.
    pub fn signatures(&self) -> usize {
        self.envelope.signatures.len()
    }

    /// model_signing 0.2.0 signed the Python representation of the payload, with a certificate's key
    /// always by way of SHA-256. Only what it wrote is read so.
    fn signed_by_as_of_0_2(&self, key: &PublicKey) -> bool {
        if !self.is_of_0_2 {
            return false;
        }
        let message = encoding_of_0_2(&self.envelope.payload_type, &self.envelope.payload);
        let certified = matches!(self.material, Material::Certificates { .. });
        key.verify(&message, self.signature())
            || (certified && key.verify_ecdsa(Hash::Sha256, &message, self.signature()))
    }

    /// The digest that the statement is about first: the root, or in version 0.2 that of a file.
    pub fn first_subject(&self) -> Option<Sha256> {
        first_subject(&self.envelope.payload)
    }

    /// The bundle as it was read, where it names certificates.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The signature: what timestamps are over.
    pub fn signature(&self) -> &[u8] {
        self.envelope
            .signatures
            .first()
            .map_or(&[][..], |one| one.sig.as_slice())
    }

    /// Does the bundle name another key than `key`? A hint proves nothing either way.
    pub fn hint_contradicts(&self, key: &PublicKey) -> bool {
        let expected = key.oms_hint().to_string();
        match &self.material {
            Material::Key { hint: Some(hint) } => !hint.is_empty() && *hint != expected,
            _ => false,
        }
    }
}

impl OmsModel {
    fn read(envelope: &Envelope) -> Result<OmsModel, OmsError> {
        if envelope.payload_type != IN_TOTO {
            return Err(OmsError::PayloadType(envelope.payload_type.clone()));
        }
        let read = json::parse_distinct::<OmsStatement<'_>>(&envelope.payload, MAX_BUNDLE);
        if let Ok(statement) = read
            && statement.predicate_type == statement::PREDICATE
        {
            return OmsModel::of(statement);
        }
        let document = Document::new(&envelope.payload, MAX_BUNDLE)?;
        let outline: statement::Outline = document.read()?;
        if outline.predicate_type == statement::DIGESTS {
            let statement: statement::DigestsStatement = document.read()?;
            let Listed {
                content,
                root,
                unsorted,
                fs_verity,
            } = content::subjects(statement.subject)?;
            return Ok(OmsModel {
                algorithm: Algorithm::Sha256,
                name: String::new(),
                root,
                ignored: Vec::new(),
                content,
                unsorted,
                fs_verity,
            });
        }
        if outline.predicate_type != statement::PREDICATE {
            return Err(OmsError::Unsupported(format!(
                "predicate type {:?}, only {:?}",
                outline.predicate_type,
                statement::PREDICATE
            )));
        }
        OmsModel::of(document.read()?)
    }

    fn of(statement: OmsStatement<'_>) -> Result<OmsModel, OmsError> {
        let [subject] = <[Subject; 1]>::try_from(statement.subject)
            .map_err(|_| OmsError::Statement("it has not exactly one subject"))?;
        if subject.name.is_empty() {
            return Err(OmsError::Statement("the subject has no name"));
        }
        let count = statement.predicate.resources.len();
        let algorithm = content::algorithm(&statement.predicate.serialization, count)?;
        let Predicate {
            serialization,
            resources,
        } = statement.predicate;
        let ignored = ignored(serialization.ignore_paths)?;
        let Listed {
            content,
            root,
            unsorted,
            fs_verity,
        } = content::resources(resources, algorithm)?;
        if root != subject.digest.sha256 {
            return Err(OmsError::Root);
        }
        Ok(OmsModel {
            algorithm,
            name: subject.name,
            root,
            ignored,
            content,
            unsorted,
            fs_verity,
        })
    }

    /// Does the signature leave `path` out?
    pub fn ignores(&self, path: &ArtifactPath) -> bool {
        DEFAULT_IGNORED
            .iter()
            .any(|ignored| path.is_within(ignored))
            || self.ignored.iter().any(|ignored| path.is_within(ignored))
    }

    /// Is the file at `path` empty, and therefore not listed among shards?
    pub fn leaves_out_empty(&self, manifest: &Manifest, path: &ArtifactPath) -> bool {
        let sharded = matches!(self.algorithm, Algorithm::Sharded(_));
        let file = manifest.file(path.as_str());
        sharded && file.is_some_and(|file| file.size == 0)
    }

    /// The signed files as lines to compare with `manifest`; `None` if one is of a single file and
    /// the other is not.
    pub fn lines(&self, manifest: &Manifest) -> Option<Cow<'_, [Line]>> {
        match (&self.content, manifest.files()) {
            (Content::Tree(lines), _) => Some(lines.into()),
            (Content::File { digest }, [file]) if manifest.is_single_file() => {
                let line = Line {
                    digest: *digest,
                    path: file.path.clone(),
                };
                Some(vec![line].into())
            }
            (Content::File { .. }, _) => None,
        }
    }
}

impl Material {
    fn read(bundle: &Bundle) -> Result<Material, OmsError> {
        let material = &bundle.verification_material;
        let chain = material.x509_certificate_chain.as_ref();
        match (&material.public_key, &material.certificate, chain) {
            (Some(key), None, None) => {
                if key.hint.is_none() && key.raw_bytes.is_none() {
                    return Err(OmsError::Statement(
                        "the bundle's public key has neither hint nor bytes",
                    ));
                }
                let hint = key.hint.clone();
                Ok(Material::Key { hint })
            }
            (None, Some(one), None) => Material::certificates(bundle, &[one]),
            (None, None, Some(chain)) => {
                Material::certificates(bundle, &chain.certificates.iter().collect::<Vec<_>>())
            }
            (None, None, None) => Err(OmsError::Statement(
                "the bundle names neither key nor certificate",
            )),
            _ => Err(OmsError::Statement(
                "the bundle names more than one of key, certificate and chain",
            )),
        }
    }

    fn certificates(bundle: &Bundle, raw: &[&RawCertificate]) -> Result<Material, OmsError> {
        if raw.is_empty() || raw.len() > MAX_CHAIN {
            return Err(OmsError::Statement(
                "the bundle's chain holds no certificate, or more than 32",
            ));
        }
        let mut chain = Vec::new();
        for (number, one) in raw.iter().enumerate() {
            let certificate = Certificate::from_der(&one.raw_bytes);
            chain.push(certificate.map_err(|source| OmsError::Certificate { number, source })?);
        }
        let logged = !bundle.verification_material.tlog_entries.is_empty();
        Ok(Material::Certificates { chain, logged })
    }
}

/// The largest statement of version 0.2.
const MAX_0_2: usize = 16 * 1024 * 1024;

/// More timestamps than this on one signature prove nothing more.
const MAX_TIMESTAMPS: usize = 16;

/// The recorded exclusions. One that would exclude everything is refused.
fn ignored(paths: Vec<String>) -> Result<Vec<String>, OmsError> {
    for path in &paths {
        ArtifactPath::new(path).map_err(|source| OmsError::Path {
            name: path.clone(),
            source,
        })?;
    }
    Ok(paths)
}

/// What model_signing 0.2.0 signed instead of DSSE's encoding: a capital V, and the payload as Python
/// shows bytes.
fn encoding_of_0_2(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (types, length) = (payload_type.len(), payload.len());
    let mut message = format!("DSSEV1 {types} {payload_type} {length} ").into_bytes();
    // Python prefers the quote that does not occur; if both do, it escapes the single one.
    let quote = if payload.contains(&b'\'') && !payload.contains(&b'"') {
        b'"'
    } else {
        b'\''
    };
    message.extend([b'b', quote]);
    for byte in payload {
        match byte {
            b'\\' => message.extend(b"\\\\"),
            b'\n' => message.extend(b"\\n"),
            b'\r' => message.extend(b"\\r"),
            b'\t' => message.extend(b"\\t"),
            byte if *byte == quote => message.extend([b'\\', quote]),
            0x20..=0x7e => message.push(*byte),
            byte => message.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    message.push(quote);
    message
}

/// What to sign, beside the files.
#[derive(Debug, Clone)]
pub struct SignOptions {
    /// What the files are hashed with: SHA-256, BLAKE2b or BLAKE3; in shards, whose digests were kept.
    pub algorithm: Algorithm,
    /// What the model is called.
    pub name: String,
    /// Paths that the signature leaves out, recorded in it: [`DEFAULT_IGNORED`] and the signature
    /// file, unless the caller knows better.
    pub ignored: Vec<String>,
    /// Record that links to the model's own files are allowed.
    pub allow_symlinks: bool,
}

/// Who signs, and how the bundle names him.
pub enum SigningMaterial<'a> {
    /// By the hint of his key.
    Key,
    /// By a certificate of his key, and those between it and a root, in this order.
    Certificates(&'a [Certificate]),
}

/// The statement over the files of `manifest` that are not ignored, and its root digest.
///
/// Written so that model_signing verifies it: resources in string order, a single file named `.`.
pub fn statement(manifest: &Manifest, options: SignOptions) -> Result<(Vec<u8>, Sha256), OmsError> {
    let mut listed = Vec::new();
    let algorithm = options.algorithm;
    for file in manifest.files() {
        if options
            .ignored
            .iter()
            .any(|ignored| file.path.is_within(ignored))
        {
            continue;
        }
        match algorithm {
            Algorithm::Sharded(sharding) => shards(manifest, file, sharding, &mut listed)?,
            whole => {
                let digest = manifest.digest(file, whole).unwrap_or_default();
                let verity = manifest.digest(file, Algorithm::FsVerity);
                listed.push((name(manifest, file).to_owned(), digest, verity));
            }
        }
    }
    if listed.is_empty() {
        return Err(OmsError::Empty);
    }
    listed.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    let digests: Vec<&[u8]> = listed.iter().map(|(_, digest, _)| *digest).collect();
    let root = Sha256::of(&digests.concat());
    // The specification names the hash alone; model_signing and the Go tool look for this.
    let (method, hash, shard_size, label) = match algorithm {
        Algorithm::Sharded(Sharding { of, size, .. }) => {
            let hash = of.algorithm().name();
            ("shards", hash, Some(size), format!("{hash}-sharded-{size}"))
        }
        whole => ("files", whole.name(), None, whole.name().to_owned()),
    };
    let resource = |(name, digest, verity): ToList<'_>| Resource {
        name: name.into(),
        algorithm: label.as_str().into(),
        digest: data_encoding::HEXLOWER.encode(digest).into(),
        fs_verity: verity.map(|verity| content::verity_text(verity).into()),
    };
    let resources = listed.into_iter().map(resource).collect();

    let statement = OmsStatement {
        statement_type: crate::statement::StatementType::V1,
        subject: vec![Subject {
            name: options.name,
            digest: SubjectDigest { sha256: root },
        }],
        predicate_type: statement::PREDICATE.into(),
        predicate: Predicate {
            serialization: Serialization {
                method: method.into(),
                hash_type: hash.into(),
                shard_size,
                allow_symlinks: options.allow_symlinks,
                ignore_paths: options.ignored,
            },
            resources,
        },
    };
    let payload = serde_json::to_vec(&statement).map_err(JsonError::from)?;
    Ok((payload, root))
}

/// Signs a statement: the bundle as model_signing writes it, with an empty key id.
pub fn sign(
    payload: Vec<u8>,
    signer: &dyn Signer,
    material: &SigningMaterial<'_>,
) -> Result<Bundle, OmsError> {
    let envelope = Envelope::sign(payload, IN_TOTO, signer, "")?;
    let key = signer.public();
    Ok(match material {
        SigningMaterial::Key => Bundle::with_key_hint(envelope, key.oms_hint().to_string()),
        SigningMaterial::Certificates(chain) => {
            let chain = chain.iter().map(|one| one.der().to_vec()).collect();
            Bundle::with_certificates(envelope, chain)
        }
    })
}

/// What the statement calls `file`.
fn name<'a>(manifest: &Manifest, file: &'a ManifestFile) -> &'a str {
    if manifest.is_single_file() {
        SINGLE_FILE
    } else {
        file.path.as_str()
    }
}

/// A resource: its name, its digest, and what a kernel keeps of it.
type ToList<'a> = (String, &'a [u8], Option<&'a [u8]>);

/// The shards of `file`: names, and digests. An empty file has none.
fn shards<'a>(
    manifest: &'a Manifest,
    file: &ManifestFile,
    sharding: Sharding,
    listed: &mut Vec<ToList<'a>>,
) -> Result<(), OmsError> {
    let size = sharding.size.get();
    let length = sharding.of.algorithm().length();
    let parts = manifest.parts(file).chunks_exact(length);
    let count = parts.len() as u64;
    if count != file.size.div_ceil(size) || count > sharding.most {
        return Err(OmsError::ShardCount {
            path: file.path.to_string(),
            most: sharding.most,
        });
    }
    let name = name(manifest, file);
    let mut start = 0_u64;
    for digest in parts {
        let end = file.size.min(start.saturating_add(size));
        listed.push((format!("{name}:{start}:{end}"), digest, None));
        start = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::encoding_of_0_2;

    /// As Python 3 prints these bytes.
    #[test]
    fn bytes_as_python_shows_them() {
        let shown = |payload: &[u8]| {
            let message = String::from_utf8(encoding_of_0_2("t", payload)).unwrap();
            let head = format!("DSSEV1 1 t {} ", payload.len());
            message.strip_prefix(&head).unwrap().to_owned()
        };
        let payload = b"{\"a\":'x\\\n\r\t\x7f\x00\xc3\xa9 ~}";
        let expected = r#"b'{"a":\'x\\\n\r\t\x7f\x00\xc3\xa9 ~}'"#;
        assert_eq!(shown(payload), expected);
        assert_eq!(shown(b"it's"), r#"b"it's""#);
        assert_eq!(shown(b"\"q\""), r#"b'"q"'"#);
        assert_eq!(shown(b""), "b''");
    }
}
