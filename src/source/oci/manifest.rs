//! Manifests of OCI (image-spec v1.1) and Docker, and which files they stand for: CNCF `ModelPack`, `KitOps`, Docker Model
//! Runner, Ollama, ORAS, and images with a model in them. Bytes in, names and digests out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::{Algorithm, Digest, Sha256, decode};
use crate::git::snapshot::acceptable_path;
use crate::json;
use crate::path::ArtifactPath;
use crate::source::published::{Compression, Expected, PackedFiles, PublishedFile};

/// The largest manifest: registries take no larger one (distribution-spec, "Pushing Manifests").
pub const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// The most layers.
const MAX_LAYERS: usize = 50_000;

/// An image, or an artifact in the form of one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: Option<String>,
    #[serde(default)]
    pub artifact_type: Option<String>,
    #[serde(default)]
    pub config: Option<Descriptor>,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    #[serde(default)]
    pub media_type: Option<String>,
    pub manifests: Vec<Descriptor>,
}

/// Where something is, and what it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default)]
    pub artifact_type: Option<String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What Ollama calls a tensor.
    #[serde(default)]
    pub name: Option<String>,
}

/// The files that a manifest stands for.
#[derive(Debug, Default)]
pub struct Files {
    pub files: BTreeMap<ArtifactPath, PublishedFile>,
    /// Archives, in their order.
    pub packed: Vec<PackedFiles>,
}

/// Why a manifest stands for no files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(pub String);

fn wrong<T>(why: impl Into<String>) -> Result<T, ManifestError> {
    Err(ManifestError(why.into()))
}

impl Descriptor {
    /// Its digest.
    pub fn digest(&self) -> Result<Digest, ManifestError> {
        parse_digest(&self.digest)
            .ok_or_else(|| ManifestError(format!("{:?} is no digest", shown(&self.digest))))
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }
}

/// `sha256:HEX` or `sha512:HEX`, in lower case.
pub fn parse_digest(text: &str) -> Option<Digest> {
    let (name, hex) = text.split_once(':')?;
    let algorithm = match name {
        "sha256" => Algorithm::Sha256,
        "sha512" => Algorithm::Sha512,
        _ => return None,
    };
    let bytes = decode(algorithm, hex).ok()?;
    Some(Digest {
        algorithm,
        bytes: bytes.into(),
    })
}

/// As references and records spell it.
pub fn spelled(digest: &Digest) -> String {
    format!("{}:{}", digest.algorithm.name(), digest.hex())
}

fn shown(text: &str) -> String {
    crate::path::display(&text.chars().take(100).collect::<String>())
}

/// Reads a manifest; with an index, which has no files itself, `Err` of it.
pub fn parse(bytes: &[u8]) -> Result<Result<Manifest, Index>, ManifestError> {
    if bytes.len() as u64 > MAX_MANIFEST {
        return wrong(format!("the manifest has more than {MAX_MANIFEST} bytes"));
    }
    let wrong_json = |error: serde_json::Error| ManifestError(format!("no manifest: {error}"));
    let limit = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
    let value: serde_json::Value = json::parse(bytes, limit)
        .map_err(|error| ManifestError(format!("no manifest: {error}")))?;
    unambiguous(&value)?;
    // One that could be read as both is read as neither.
    let is_index = value.get("manifests").is_some();
    if is_index && (value.get("layers").is_some() || value.get("config").is_some()) {
        return wrong("it is a manifest and an index at once");
    }
    if is_index {
        return Ok(Err(serde_json::from_value(value).map_err(wrong_json)?));
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(wrong_json)?;
    if manifest.schema_version != 2 {
        return wrong(format!(
            "it is a manifest of version {}, and 2 is understood",
            manifest.schema_version
        ));
    }
    if manifest.layers.len() > MAX_LAYERS {
        return wrong(format!("it has more than {MAX_LAYERS} layers"));
    }
    Ok(Ok(manifest))
}

/// The names of fields; others read them in any case, and the last of two counts.
const FIELDS: [&str; 14] = [
    "annotations",
    "artifactType",
    "config",
    "data",
    "digest",
    "from",
    "layers",
    "manifests",
    "mediaType",
    "name",
    "schemaVersion",
    "size",
    "subject",
    "urls",
];

/// Refuses what other readers would read otherwise.
fn unambiguous(value: &serde_json::Value) -> Result<(), ManifestError> {
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        if let Some(all) = value.as_array() {
            pending.extend(all);
        }
        let Some(object) = value.as_object() else {
            continue;
        };
        for (key, inner) in object {
            let is_like = |field: &&str| field.eq_ignore_ascii_case(key) && *field != key;
            if FIELDS.iter().any(is_like) {
                return wrong(format!(
                    "the field {:?} is read by others as another",
                    shown(key)
                ));
            }
            // Its keys are anybody's.
            if key != "annotations" {
                pending.push(inner);
            }
        }
    }
    Ok(())
}

/// The annotations that name a layer's file: ORAS and OCI, `ModelPack`.
const TITLE: &str = "org.opencontainers.image.title";
const FILE_PATH: &str = "org.cncf.model.filepath";
/// ORAS packs a directory.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// What a layer is.
enum Layer<'a> {
    /// A file of this name, perhaps the one of several.
    File(&'a str, Option<&'static str>),
    /// An archive.
    Packed(Compression),
}

/// The files that `manifest` stands for.
pub fn files(manifest: &Manifest) -> Result<Files, ManifestError> {
    let mut all = Files::default();
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for layer in &manifest.layers {
        *counts
            .entry(unnamed(&layer.media_type).map_or("", |(stem, _)| stem))
            .or_default() += 1;
    }
    let mut seen: BTreeMap<&'static str, usize> = BTreeMap::new();
    for layer in &manifest.layers {
        let digest = layer.digest()?;
        let file = PublishedFile {
            size: Some(layer.size),
            ..PublishedFile::new(Expected::Digest(digest), layer.digest.clone())
        };
        let name = match kind(layer)? {
            Layer::Packed(compression) => {
                all.packed.push(PackedFiles { file, compression });
                continue;
            }
            Layer::File(name, None) => name.to_owned(),
            Layer::File(stem, Some(ending)) => {
                let stem_key = unnamed(&layer.media_type).map_or("", |(stem, _)| stem);
                let number = seen.entry(stem_key).or_default();
                *number += 1;
                let of = counts.get(stem_key).copied().unwrap_or(1);
                match (of, ending) {
                    (1, _) => format!("{stem}{ending}"),
                    // As every loader of parts expects them.
                    (_, ".gguf" | ".safetensors") => {
                        format!("{stem}-{number:05}-of-{of:05}{ending}")
                    }
                    _ => format!("{stem}-{number}{ending}"),
                }
            }
        };
        let path = ArtifactPath::new(&name)
            .ok()
            .filter(|path| acceptable_path(path).is_ok());
        let path = path.ok_or_else(|| {
            ManifestError(format!(
                "a layer has the name {:?}, which no file may have",
                shown(&name)
            ))
        })?;
        if all.files.insert(path, file).is_some() {
            return wrong(format!("two layers are the file {}", shown(&name)));
        }
    }
    if all.files.is_empty() && all.packed.is_empty() {
        return wrong("it has no layer with a file");
    }
    Ok(all)
}

fn kind(layer: &Descriptor) -> Result<Layer<'_>, ManifestError> {
    let media = layer.media_type.as_str();
    let named = layer.annotation(FILE_PATH).or(layer.annotation(TITLE));
    let packed = match media.rsplit(['.', '+']).collect::<Vec<_>>()[..] {
        ["tar", ..] => Some(Compression::None),
        ["gzip" | "gz", "tar", ..] => Some(Compression::Gzip),
        ["zstd", "tar", ..] => Some(Compression::Zstd),
        _ => None,
    };
    // ORAS gives a packed directory a name, and a file that is an archive as well.
    let is_file_of_its_own = named.is_some()
        && !media.starts_with("application/vnd.cncf.model.")
        && !media.starts_with("application/vnd.kitops.")
        && layer.annotation(UNPACK) != Some("true");
    if let Some(compression) = packed.filter(|_| !is_file_of_its_own) {
        return Ok(Layer::Packed(compression));
    }
    if layer.annotation(UNPACK) == Some("true") {
        return Ok(Layer::Packed(Compression::Gzip));
    }
    if let Some(name) = named {
        return Ok(Layer::File(name, None));
    }
    if let Some(name) = layer.name.as_deref() {
        return Ok(Layer::File(name, None));
    }
    if let Some((stem, ending)) = unnamed(media) {
        return Ok(Layer::File(stem, Some(ending)));
    }
    wrong(format!(
        "a layer of the kind {} has no name: it is not known which file it is",
        shown(media)
    ))
}

/// What layers become that have no name: those of Ollama and Docker Model Runner, by their kind.
fn unnamed(media: &str) -> Option<(&'static str, &'static str)> {
    if let Some(kind) = media.strip_prefix("application/vnd.ollama.image.") {
        return Some(match kind {
            "model" => ("model", ".gguf"),
            "projector" => ("projector", ".gguf"),
            "adapter" => ("adapter", ".gguf"),
            "draft" => ("draft", ".gguf"),
            "embed" => ("embed", ".bin"),
            "template" => ("template", ".txt"),
            "system" => ("system", ".txt"),
            "params" => ("params", ".json"),
            "messages" => ("messages", ".json"),
            "json" => ("config", ".json"),
            "license" => ("LICENSE", ""),
            _ => return None,
        });
    }
    let kind = media.strip_prefix("application/vnd.docker.ai.")?;
    Some(match kind {
        "gguf.v3" => ("model", ".gguf"),
        "safetensors" => ("model", ".safetensors"),
        "mmproj" => ("model", ".mmproj"),
        "license" => ("LICENSE", ""),
        "chat.template.jinja" => ("template", ".jinja"),
        _ => return None,
    })
}

/// SHA-256 of a manifest in the spelling of references.
pub fn name(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(layers: &str) -> Result<Files, ManifestError> {
        let text = format!(r#"{{"schemaVersion":2,"layers":[{layers}]}}"#);
        files(&parse(text.as_bytes())?.map_err(|_| ManifestError("an index".into()))?)
    }

    fn layer(media: &str, more: &str) -> String {
        let digest = "a".repeat(64);
        format!(r#"{{"mediaType":"{media}","digest":"sha256:{digest}","size":1{more}}}"#)
    }

    fn names(layers: &[String]) -> Vec<String> {
        let found = manifest(&layers.join(",")).unwrap();
        found
            .files
            .keys()
            .map(|path| path.as_str().to_owned())
            .collect()
    }

    #[test]
    fn layers_without_names() {
        let ollama = |kind: &str| layer(&format!("application/vnd.ollama.image.{kind}"), "");
        assert_eq!(
            names(&[
                ollama("model"),
                ollama("license"),
                ollama("license"),
                ollama("params")
            ]),
            ["LICENSE-1", "LICENSE-2", "model.gguf", "params.json"]
        );
        let docker = layer("application/vnd.docker.ai.gguf.v3", "");
        assert_eq!(names(std::slice::from_ref(&docker)), ["model.gguf"]);
        assert_eq!(
            names(&[docker.clone(), docker]),
            ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]
        );
        assert!(manifest(&layer("application/x", "")).is_err());
    }

    #[test]
    fn layers_with_names() {
        let named = |path: &str| {
            let annotation = format!(r#","annotations":{{"org.cncf.model.filepath":"{path}"}}"#);
            layer("application/vnd.cncf.model.weight.v1.raw", &annotation)
        };
        assert_eq!(names(&[named("a/b.safetensors")]), ["a/b.safetensors"]);
        for wrong in ["../a", "/a", "", ".git/config", "a//b", "a\\\\b"] {
            assert!(manifest(&named(wrong)).is_err(), "{wrong}");
        }
        assert!(manifest(&[named("a"), named("a")].join(",")).is_err());
        let tar = layer("application/vnd.kitops.modelkit.model.v1.tar+gzip", "");
        assert_eq!(manifest(&tar).unwrap().packed.len(), 1);
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "{}",
            r#"{"schemaVersion":1,"layers":[]}"#,
            r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#,
            r#"{"schemaVersion":2,"layers":[],"Layers":[]}"#,
            r#"{"schemaVersion":2,"layers":[],"layers":[]}"#,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let index = parse(br#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
        assert!(index.is_err());
        assert!(parse_digest("md5:00").is_none());
        assert!(parse_digest(&format!("sha256:{}", "A".repeat(64))).is_none());
    }
}
