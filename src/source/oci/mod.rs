//! OCI registries, and what holds the same things on disk: image layouts and the store of Ollama.
//!
//! The manifest names every layer by its digest, and is named by its own: from there on nothing is believed.

mod channel;
mod login;
pub mod manifest;
pub mod referrers;
mod registry;
mod store;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use channel::{CONFIG, MANIFEST, OciChannel, files_of};
pub use login::{Login, Logins};
pub use registry::Registry;
pub use store::{Layout, OllamaStore};

use crate::digest::Digest;
use manifest::{parse_digest, spelled};

/// A manifest in a registry: `oci://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub host: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// A manifest on disk: `oci-layout:DIRECTORY[:TAG|@DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutReference {
    pub directory: PathBuf,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// Why text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not {1}")]
pub struct ReferenceError(String, &'static str);

const FORM: &str = "oci://HOST/REPOSITORY with :TAG, @sha256:DIGEST or neither behind it";
const OLLAMA_FORM: &str =
    "ollama:NAME[:TAG], ollama:NAMESPACE/NAME[:TAG] or ollama:HOST/NAMESPACE/NAME[:TAG]";
const LAYOUT_FORM: &str = "oci-layout:DIRECTORY with :TAG, @sha256:DIGEST or neither behind it";

/// Where Ollama's models are, unless they say otherwise.
pub const OLLAMA_HOST: &str = "registry.ollama.ai";

impl Reference {
    /// The tag that is asked for.
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// What is asked for: a digest, or a tag.
    pub fn version(&self) -> String {
        match &self.digest {
            Some(digest) => spelled(digest),
            None => self.tag().to_owned(),
        }
    }

    /// The address of it without its digest, as records have it.
    pub fn address(&self) -> String {
        let tag = match (&self.tag, &self.digest) {
            (None, Some(_)) => String::new(),
            _ => format!(":{}", self.tag()),
        };
        format!("oci://{}/{}{tag}", self.host, self.repository)
    }

    /// As `ollama pull` takes names.
    pub fn of_ollama(text: &str) -> Result<Reference, ReferenceError> {
        let wrong = || ReferenceError(crate::path::display(text), OLLAMA_FORM);
        let name = text.strip_prefix("ollama:").unwrap_or(text);
        let name = name.strip_prefix("//").unwrap_or(name);
        let full = match name.split('/').count() {
            1 => format!("oci://{OLLAMA_HOST}/library/{name}"),
            2 => format!("oci://{OLLAMA_HOST}/{name}"),
            _ => format!("oci://{name}"),
        };
        full.parse().map_err(|_: ReferenceError| wrong())
    }

    /// At what `digest` names, whatever the tag means by then.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Reference {
        Reference {
            digest: Some(digest),
            ..self.clone()
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        let wrong = || ReferenceError(crate::path::display(text), FORM);
        let rest = text.strip_prefix("oci://").ok_or_else(wrong)?;
        let (host, rest) = rest.split_once('/').ok_or_else(wrong)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest).ok_or_else(wrong)?)),
            None => (rest, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let host_is_good = !host.is_empty()
            && host.len() <= 255
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
        // distribution-spec, "Pulling manifests"; capitals, which Ollama's names may have.
        let part_is_good = |part: &str| {
            part.bytes()
                .next()
                .is_some_and(|it| it.is_ascii_alphanumeric())
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let repository_is_good = repository.len() <= 255 && repository.split('/').all(part_is_good);
        let tag_is_good = tag.is_none_or(|tag| {
            tag.len() <= 128
                && tag
                    .bytes()
                    .next()
                    .is_some_and(|it| it.is_ascii_alphanumeric() || it == b'_')
                && tag
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        });
        if !host_is_good || !repository_is_good || !tag_is_good {
            return Err(wrong());
        }
        Ok(Reference {
            host: host.into(),
            repository: repository.into(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())?;
        match &self.digest {
            Some(digest) => write!(f, "@{}", spelled(digest)),
            None => Ok(()),
        }
    }
}

impl FromStr for LayoutReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<LayoutReference, ReferenceError> {
        let wrong = || ReferenceError(crate::path::display(text), LAYOUT_FORM);
        let rest = text.strip_prefix("oci-layout:").ok_or_else(wrong)?;
        let (rest, digest) = match rest.rsplit_once('@') {
            Some((rest, digest)) if digest.contains(':') => {
                (rest, Some(parse_digest(digest).ok_or_else(wrong)?))
            }
            _ => (rest, None),
        };
        let (directory, tag) = match rest.rsplit_once(':') {
            Some((directory, tag)) if !tag.contains('/') => (directory, Some(tag)),
            _ => (rest, None),
        };
        if directory.is_empty() || tag.is_some_and(str::is_empty) {
            return Err(wrong());
        }
        Ok(LayoutReference {
            directory: directory.into(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for LayoutReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display().to_string();
        write!(f, "oci-layout:{}", crate::path::display(&directory))?;
        if let Some(tag) = &self.tag {
            write!(f, ":{}", crate::path::display(tag))?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{}", spelled(digest)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let parse = |text: &str| text.parse::<Reference>();
        let one = parse("oci://localhost:5000/team/model:v1").unwrap();
        assert_eq!(
            (one.host.as_str(), one.version().as_str()),
            ("localhost:5000", "v1")
        );
        assert_eq!(one.address(), "oci://localhost:5000/team/model:v1");
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = parse(&format!("oci://h/m@{digest}")).unwrap();
        assert_eq!(pinned.version(), digest);
        assert_eq!(pinned.to_string(), format!("oci://h/m@{digest}"));
        for wrong in [
            "oci://h",
            "oci://h/",
            "oci://h/a:b:c",
            "oci://h/../b",
            "oci://h/a@sha256:1",
            "oci://u@h/a",
            "h/a",
            "oci://h/a?x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let ollama = |text: &str| Reference::of_ollama(text).unwrap().to_string();
        assert_eq!(
            ollama("ollama:tiny"),
            "oci://registry.ollama.ai/library/tiny:latest"
        );
        assert_eq!(
            ollama("ollama:me/tiny:q4"),
            "oci://registry.ollama.ai/me/tiny:q4"
        );
        assert_eq!(ollama("ollama:hf.co/me/tiny"), "oci://hf.co/me/tiny:latest");
        let layout: LayoutReference = "oci-layout:/a/b:v1".parse().unwrap();
        assert_eq!(
            (layout.directory.to_str(), layout.tag.as_deref()),
            (Some("/a/b"), Some("v1"))
        );
        assert!("oci-layout:".parse::<LayoutReference>().is_err());
    }
}
