//! A manifest as a channel: what it names is published; it is the evidence.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use super::manifest::{Manifest, files, name, parse, parse_digest, spelled};
use super::referrers::{self, Attached, ImageSigner};
use super::{Layout, OllamaStore, Reference, Registry};
use crate::client::fetch::Peer;
use crate::digest::Sha256;
use crate::path::ArtifactPath;
use crate::source::SourceError;
use crate::source::channel::{Channel, Content, endpoint};
use crate::source::published::{Assurance, Evidence, Published, PublishedFile};
use crate::statement::Text;
use crate::statement::acquire::{
    Asset, AuthenticationMethod, AuthenticationResult, PublishedDigest,
};

/// A manifest, where it is, and who must have signed it.
pub enum OciChannel {
    Registry {
        registry: Box<Registry>,
        reference: Reference,
        /// Who must have signed the manifest, in a bundle that is attached to it.
        signer: Option<ImageSigner>,
    },
    Layout(Layout),
    Ollama(OllamaStore, Reference),
}

/// What they are called among the attachments of a record.
pub const MANIFEST: &str = "oci-manifest";
pub const CONFIG: &str = "oci-config";
const BUNDLE: &str = "sigstore-bundle";

/// The largest configuration that is kept.
const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// The most bundles that are kept.
const MAX_BUNDLES: usize = 8;

/// The files that a manifest stands for, by its bytes alone.
pub fn files_of(bytes: &[u8]) -> Result<(Manifest, super::manifest::Files), SourceError> {
    let unusable = |error: super::manifest::ManifestError| SourceError::Unusable(error.to_string());
    match parse(bytes).map_err(unusable)? {
        Ok(manifest) => {
            let files = files(&manifest).map_err(unusable)?;
            Ok((manifest, files))
        }
        Err(index) => Err(SourceError::Unusable(format!(
            "it is a list of {} manifests: name one of them by its digest",
            index.manifests.len()
        ))),
    }
}

impl OciChannel {
    fn manifest(&self) -> Result<(Vec<u8>, Vec<Peer>), SourceError> {
        match self {
            OciChannel::Registry {
                registry,
                reference,
                ..
            } => {
                let received = registry.manifest(&reference.version())?;
                Ok((
                    only(&received.bytes, |digest| {
                        registry.manifest(digest).map(|it| it.bytes)
                    })?,
                    received.peers,
                ))
            }
            OciChannel::Layout(layout) => {
                let bytes = layout.manifest()?;
                let one = only(&bytes, |digest| {
                    let digest = parse_digest(digest)
                        .ok_or_else(|| SourceError::Unusable("it is no digest".into()))?;
                    layout.manifest_by(&digest)
                })?;
                Ok((one, Vec::new()))
            }
            OciChannel::Ollama(store, _) => Ok((store.manifest()?, Vec::new())),
        }
    }

    fn address(&self) -> String {
        match self {
            OciChannel::Registry { reference, .. } | OciChannel::Ollama(_, reference) => {
                reference.address()
            }
            OciChannel::Layout(layout) => layout.address(),
        }
    }

    fn config(&self, manifest: &Manifest) -> Result<Option<Vec<u8>>, SourceError> {
        let Some(config) = manifest.config.as_ref().filter(|it| it.size <= MAX_CONFIG) else {
            return Ok(None);
        };
        let unusable =
            |error: super::manifest::ManifestError| SourceError::Unusable(error.to_string());
        let digest = config.digest().map_err(unusable)?;
        let bytes = match self {
            OciChannel::Registry { registry, .. } => registry.small_blob(&digest, MAX_CONFIG)?,
            OciChannel::Layout(layout) => whole(layout.blob(&spelled(&digest))?)?,
            OciChannel::Ollama(store, _) => whole(store.blob(&spelled(&digest))?)?,
        };
        if *digest.bytes != digest.algorithm.of(&bytes) {
            return Err(SourceError::Contradiction(vec![format!(
                "the configuration {} has another digest",
                spelled(&digest)
            )]));
        }
        Ok(Some(bytes))
    }

    /// The bundles that are attached, and who signed, if somebody must have.
    fn bundles(&self, name: &str) -> Result<(Vec<Attached>, Option<Assured>), SourceError> {
        let OciChannel::Registry {
            registry, signer, ..
        } = self
        else {
            return Ok((Vec::new(), None));
        };
        let mut all = referrers::read(registry, name)?;
        let Some(signer) = signer else {
            return Ok((all, None));
        };
        let subject = parse_digest(name)
            .ok_or_else(|| SourceError::Unusable(format!("{name} is no digest")))?;
        let made = |one: &Attached| signer.made(&one.bytes, &subject);
        let found = all
            .iter()
            .enumerate()
            .find_map(|(at, one)| Some((at, made(one)?, Sha256::of(&one.bytes))));
        let Some((at, identity, signature)) = found else {
            return Err(SourceError::Contradiction(vec![format!(
                "{name}: {} signatures are attached, and none of them is by whom was named",
                all.len()
            )]));
        };
        // The first are kept: that one above all.
        all.swap(0, at);
        let assured = Assured {
            identity,
            signature,
        };
        Ok((all, Some(assured)))
    }
}

struct Assured {
    identity: String,
    signature: Sha256,
}

/// The manifest itself, or the one that a list of one names.
fn only(
    bytes: &[u8],
    get: impl Fn(&str) -> Result<Vec<u8>, SourceError>,
) -> Result<Vec<u8>, SourceError> {
    match parse(bytes) {
        Ok(Err(index)) if index.manifests.len() == 1 => {
            let one = index.manifests.into_iter().next();
            let digest = one.map(|one| one.digest).unwrap_or_default();
            if parse_digest(&digest).is_none() {
                return Err(SourceError::Unusable("a list names no digest".into()));
            }
            get(&digest)
        }
        _ => Ok(bytes.to_vec()),
    }
}

fn whole(file: File) -> Result<Vec<u8>, SourceError> {
    crate::disk::read_open(file, std::path::Path::new("the configuration"), MAX_CONFIG)
        .map_err(|error| SourceError::Unusable(crate::gate::cause(&error)))
}

impl Channel for OciChannel {
    fn published(&self) -> Result<Published, SourceError> {
        let (bytes, peers) = self.manifest()?;
        let (manifest, found) = files_of(&bytes)?;
        let name = name(&bytes);
        let config = self.config(&manifest)?;
        let (bundles, assured) = self.bundles(&name)?;
        let mut assurance = Assurance {
            endpoint: peers.first().and_then(endpoint),
            digest: Text::new(format!("OCI manifest {name}"))
                .ok()
                .map(|read_from| PublishedDigest {
                    digest: Sha256::of(&bytes),
                    read_from,
                }),
            ..Assurance::default()
        };
        if let OciChannel::Registry { registry, .. } = self {
            if registry.is_https() {
                assurance.method = AuthenticationMethod::Tls;
                assurance.result = AuthenticationResult::Verified;
            }
            let login = registry.has_login();
            assurance.credential = login.then(|| "login at the registry".into());
        }
        if let Some(assured) = assured {
            assurance.method = AuthenticationMethod::Sigstore;
            assurance.result = AuthenticationResult::Verified;
            assurance.publisher_identity = Some(assured.identity);
            assurance.signature = Some(assured.signature);
        }
        let mut evidence = vec![Evidence {
            name: MANIFEST,
            media_type: "application/vnd.oci.image.manifest.v1+json",
            bytes,
        }];
        evidence.extend(config.clone().map(|bytes| Evidence {
            name: CONFIG,
            media_type: "application/json",
            bytes,
        }));
        evidence.extend(bundles.into_iter().take(MAX_BUNDLES).map(|one| Evidence {
            name: BUNDLE,
            media_type: crate::bundle::MEDIA_TYPE,
            bytes: one.bytes,
        }));
        let (reference, publisher) = match self {
            OciChannel::Registry { reference, .. } | OciChannel::Ollama(_, reference) => {
                let publisher = reference.repository.rsplit_once('/');
                (Some(reference), publisher.map(|(publisher, _)| publisher))
            }
            OciChannel::Layout(_) => (None, None),
        };
        Ok(Published {
            uri: self.address(),
            // A tag, or the digest of a list that names this one.
            requested: reference
                .map(Reference::version)
                .filter(|version| *version != name),
            name: format!("manifest {name}"),
            revision: Some(name),
            publisher: publisher.map(str::to_owned),
            licence: licence(&manifest, config.as_deref()),
            public: None,
            asset: Asset::Model,
            files: found.files,
            packed: found.packed,
            commit_signature: None,
            claims: Vec::new(),
            is_open: false,
            is_single: false,
            evidence,
            assurance,
        })
    }

    fn open(
        &self,
        _: &ArtifactPath,
        file: &PublishedFile,
        from: u64,
        _: Option<&str>,
    ) -> Result<Content, SourceError> {
        let local = |mut file: File| {
            let failed = |source| SourceError::Read {
                place: "a blob".into(),
                source,
            };
            let size = file.metadata().map_err(failed)?.len();
            file.seek(SeekFrom::Start(from)).map_err(failed)?;
            Ok(Content::of_file(file, size))
        };
        match self {
            OciChannel::Registry { registry, .. } => {
                Ok(Content::of_answer(registry.blob(&file.place, from)?))
            }
            OciChannel::Layout(layout) => local(layout.blob(&file.place)?),
            OciChannel::Ollama(store, _) => local(store.blob(&file.place)?),
        }
    }

    fn hint(&self) -> &'static str {
        "a private repository takes `docker login` or `podman login`; a registry that is not on this machine takes TLS"
    }
}

/// What the publisher says: in an annotation, or in the configuration of a `ModelPack`.
fn licence(manifest: &Manifest, config: Option<&[u8]>) -> Option<String> {
    let annotated = manifest
        .annotations
        .get("org.opencontainers.image.licenses");
    let in_config = || {
        let config: serde_json::Value = serde_json::from_slice(config?).ok()?;
        let all = config.get("descriptor")?.get("licenses")?.as_array()?;
        let all: Vec<&str> = all.iter().filter_map(serde_json::Value::as_str).collect();
        (!all.is_empty()).then(|| all.join(" AND "))
    };
    annotated.cloned().or_else(in_config)
}
