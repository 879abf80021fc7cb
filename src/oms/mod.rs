//! OpenSSF Model Signing v1.0 (ossf/model-signing-spec) with keys: one signed statement that
//! lists every file of a model with its digest. Bytes in, bytes out; reads no file.
//!
//! Covered: method `files`, SHA-256 and BLAKE3, key material. A bundle with shards, BLAKE2b,
//! certificates, or of an older format is told apart from a malformed one: see
//! [`OmsError::Unsupported`].
//!
//! Stricter than model_signing 1.1.1: duplicate names and JSON keys, non-canonical hexadecimal,
//! empty manifests, paths that leave the model, and more than one signature are refused.

mod statement;

use crate::artifact::manifest::Line;
use crate::artifact::{Manifest, ManifestFile};
use crate::bundle::{Bundle, BundleError, MAX_BUNDLE};
use crate::digest::{Algorithm, DigestError, Sha256};
use crate::envelope::{Envelope, IN_TOTO};
use crate::json::{self, JsonError};
use crate::key::{PrivateKey, PublicKey};
use crate::path::{ArtifactPath, PathError};

use statement::{OmsStatement, Predicate, Resource, Serialization, Subject, SubjectDigest};

/// What OMS leaves out at the top of a model, whatever the bundle says (spec §11.2).
pub const DEFAULT_IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// The media name of a single file's only resource, as model_signing writes it.
const SINGLE_FILE: &str = ".";

/// A bundle that was read; the signature is not verified yet.
#[derive(Debug)]
pub struct OmsBundle {
    envelope: Envelope,
    hint: Option<String>,
    /// What it says. Of no interest unless somebody trusted signed it.
    pub model: Result<OmsModel, OmsError>,
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
}

/// What a bundle signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The files of a tree, sorted by path.
    Tree(Vec<Line>),
    /// One file, whatever it is called.
    File { digest: Box<[u8]> },
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
    #[error("the root digest does not belong to the listed resources")]
    Root,
    #[error("this version does not verify {0}")]
    Unsupported(String),
    #[error("the model holds no file that would be signed")]
    Empty,
}

impl OmsBundle {
    /// Reads a bundle and what it says.
    pub fn parse(bytes: &[u8]) -> Result<OmsBundle, OmsError> {
        let bundle = Bundle::parse(bytes)?;
        let hint = hint(&bundle)?;
        let envelope = bundle.dsse_envelope;
        let model = OmsModel::read(&envelope);
        Ok(OmsBundle {
            envelope,
            hint,
            model,
        })
    }

    /// Did `key` make the signature?
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        self.envelope.signed_by(key).is_some()
    }

    /// Does the bundle name another key than `key`? A hint proves nothing either way.
    pub fn hint_contradicts(&self, key: &PublicKey) -> bool {
        let expected = key.oms_hint().to_string();
        self.hint
            .as_ref()
            .is_some_and(|hint| !hint.is_empty() && *hint != expected)
    }
}

impl OmsModel {
    fn read(envelope: &Envelope) -> Result<OmsModel, OmsError> {
        if envelope.payload_type != IN_TOTO {
            return Err(OmsError::PayloadType(envelope.payload_type.clone()));
        }
        let outline: statement::Outline = json::parse(&envelope.payload, MAX_BUNDLE)?;
        if outline.predicate_type != statement::PREDICATE {
            return Err(OmsError::Unsupported(format!(
                "predicate type {:?}, only {:?}",
                outline.predicate_type,
                statement::PREDICATE
            )));
        }
        let statement: OmsStatement = json::parse(&envelope.payload, MAX_BUNDLE)?;
        let [subject] = <[Subject; 1]>::try_from(statement.subject)
            .map_err(|_| OmsError::Statement("it has not exactly one subject"))?;
        if subject.name.is_empty() {
            return Err(OmsError::Statement("the subject has no name"));
        }
        let algorithm = algorithm(&statement.predicate.serialization)?;
        let Predicate {
            serialization,
            resources,
        } = statement.predicate;
        let ignored = ignored(serialization.ignore_paths)?;
        let (content, root, unsorted) = content(resources, algorithm)?;
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
        })
    }

    /// Does the signature leave `path` out?
    pub fn ignores(&self, path: &ArtifactPath) -> bool {
        DEFAULT_IGNORED
            .iter()
            .any(|ignored| path.is_within(ignored))
            || self.ignored.iter().any(|ignored| path.is_within(ignored))
    }

    /// The signed files as lines to compare with `manifest`; `None` if one is of a single file and
    /// the other is not.
    pub fn lines(&self, manifest: &Manifest) -> Option<Vec<Line>> {
        match (&self.content, manifest.files()) {
            (Content::Tree(lines), _) => Some(lines.clone()),
            (Content::File { digest }, [file]) if manifest.is_single_file() => Some(vec![Line {
                digest: digest.clone(),
                path: file.path.clone(),
            }]),
            (Content::File { .. }, _) => None,
        }
    }
}

fn hint(bundle: &Bundle) -> Result<Option<String>, OmsError> {
    let material = &bundle.verification_material;
    if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
        return Err(OmsError::Unsupported(
            "signatures by certificate, only by key".into(),
        ));
    }
    let key = material.public_key.as_ref();
    let key = key.ok_or(OmsError::Statement(
        "the bundle names neither key nor certificate",
    ))?;
    if key.hint.is_none() && key.raw_bytes.is_none() {
        return Err(OmsError::Statement(
            "the bundle's public key has neither hint nor bytes",
        ));
    }
    Ok(key.hint.clone())
}

fn algorithm(serialization: &Serialization) -> Result<Algorithm, OmsError> {
    match serialization.method.as_str() {
        "files" if serialization.shard_size.is_some() => {
            return Err(OmsError::Statement("method files has a shard size"));
        }
        "files" => {}
        "shards" => return Err(OmsError::Unsupported("method shards, only files".into())),
        _ => return Err(OmsError::Statement("unknown serialization method")),
    }
    match serialization.hash_type.as_str() {
        "sha256" => Ok(Algorithm::Sha256),
        "blake3" => Ok(Algorithm::Blake3),
        "blake2b" => Err(OmsError::Unsupported(
            "blake2b, only sha256 and blake3".into(),
        )),
        _ => Err(OmsError::Statement("unknown hash type")),
    }
}

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

/// The resources as lines, the root digest over them in the order in which they are listed, and
/// whether that order is not the specified one.
fn content(
    resources: Vec<Resource>,
    algorithm: Algorithm,
) -> Result<(Content, Sha256, bool), OmsError> {
    if resources.is_empty() {
        return Err(OmsError::Statement("it lists no file"));
    }
    let single = matches!(resources.as_slice(), [resource] if resource.name == SINGLE_FILE);
    let mut lines = Vec::with_capacity(resources.len());
    let mut digests = Vec::with_capacity(resources.len() * algorithm.length());
    for Resource {
        name,
        algorithm: label,
        digest,
    } in resources
    {
        if label != algorithm.name() {
            return Err(OmsError::Statement(
                "a resource has another algorithm than hash_type",
            ));
        }
        let digest =
            crate::digest::decode(algorithm, &digest).map_err(|source| OmsError::Digest {
                name: name.clone(),
                source,
            })?;
        digests.extend_from_slice(&digest);
        if single {
            let root = Sha256::of(&digests);
            return Ok((
                Content::File {
                    digest: digest.into(),
                },
                root,
                false,
            ));
        }
        let path = ArtifactPath::new(&name).map_err(|source| OmsError::Path { name, source })?;
        lines.push(Line {
            digest: digest.into(),
            path,
        });
    }
    let unsorted = !lines.is_sorted_by(|a, b| a.path < b.path);
    lines.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let twice = lines
        .windows(2)
        .find(|pair| matches!(pair, [a, b] if a.path == b.path));
    if let Some([twice, ..]) = twice {
        return Err(OmsError::Twice(twice.path.as_str().into()));
    }
    Ok((Content::Tree(lines), Sha256::of(&digests), unsorted))
}

/// What to sign, beside the files.
#[derive(Debug, Clone)]
pub struct SignOptions {
    /// What the model is called.
    pub name: String,
    /// Paths that the signature leaves out, recorded in it: [`DEFAULT_IGNORED`] and the signature
    /// file, unless the caller knows better.
    pub ignored: Vec<String>,
    /// Record that links to the model's own files are allowed.
    pub allow_symlinks: bool,
}

/// The bundle over the files of `manifest` that are not ignored, and its root digest.
///
/// Written so that model_signing verifies it: resources in string order, a single file named `.`,
/// an empty key id, and the key's hint.
pub fn sign(
    manifest: &Manifest,
    options: SignOptions,
    key: &PrivateKey,
) -> Result<(Vec<u8>, Sha256), OmsError> {
    let mut resources = Vec::new();
    let mut digests = Vec::new();
    for file in manifest.files() {
        if options
            .ignored
            .iter()
            .any(|ignored| file.path.is_within(ignored))
        {
            continue;
        }
        let digest = manifest.digest(file, Algorithm::Sha256).unwrap_or_default();
        digests.extend_from_slice(digest);
        resources.push(resource(manifest, file, digest));
    }
    if resources.is_empty() {
        return Err(OmsError::Empty);
    }
    let root = Sha256::of(&digests);
    let statement = OmsStatement {
        statement_type: crate::statement::StatementType::V1,
        subject: vec![Subject {
            name: options.name,
            digest: SubjectDigest { sha256: root },
        }],
        predicate_type: statement::PREDICATE.into(),
        predicate: Predicate {
            serialization: Serialization {
                method: "files".into(),
                hash_type: Algorithm::Sha256.name().into(),
                shard_size: None,
                allow_symlinks: options.allow_symlinks,
                ignore_paths: options.ignored,
            },
            resources,
        },
    };
    let payload = serde_json::to_vec(&statement).map_err(JsonError::from)?;
    let envelope = Envelope::sign(payload, IN_TOTO, key, "");
    let hint = key.public().oms_hint().to_string();
    Ok((Bundle::with_key_hint(envelope, hint).to_json()?, root))
}

fn resource(manifest: &Manifest, file: &ManifestFile, digest: &[u8]) -> Resource {
    let name = if manifest.is_single_file() {
        SINGLE_FILE
    } else {
        file.path.as_str()
    };
    Resource {
        name: name.into(),
        algorithm: Algorithm::Sha256.name().into(),
        digest: data_encoding::HEXLOWER.encode(digest),
    }
}
