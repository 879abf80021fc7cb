//! Datasets that are lists: of addresses, with or without digests; fetched file by file from wherever each is, or
//! described where they lie already.

mod croissant;
mod table;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::sync::{Arc, Mutex, PoisonError};

use crate::artifact::Manifest;
use crate::client::fetch::{Answer, Ask, FetchError, Fetcher};
use crate::client::http::shown;
use crate::digest::{Algorithm, Digest, Sha256};
use crate::git::snapshot::acceptable_path;
use crate::path::ArtifactPath;
use crate::source::SourceError;
use crate::source::channel::{Channel, Content};
use crate::source::https::http;
use crate::source::published::{Assurance, Evidence, Expected, Published, PublishedFile};
use crate::statement::acquire::{
    Asset, AuthenticationMethod, AuthenticationResult, Http, PublishedDigest,
};
use crate::statement::items::{ITEMS, Item, MEDIA_TYPE};
use crate::statement::{SourceUri, Text};
use crate::time::Timestamp;

pub use croissant::parse as parse_croissant;
pub use table::parse as parse_table;

/// The largest list.
pub const MAX_LIST: u64 = 1 << 30;

/// The most files of a dataset.
pub const MAX_FILES: usize = 5_000_000;

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ListError(pub String);

/// A file of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub url: String,
    pub path: ArtifactPath,
    pub sha256: Option<Sha256>,
    pub size: Option<u64>,
    pub retrieved_at: Option<Timestamp>,
    pub licence: Option<String>,
}

/// A dataset as a list has it.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub entries: Vec<Entry>,
    /// Where its description is, if it says so.
    pub uri: Option<String>,
    pub licence: Option<String>,
    pub publisher: Option<String>,
    pub version: Option<String>,
    /// The description itself, unless it is large.
    pub description: Option<Vec<u8>>,
    /// Columns and files that are not understood, for people.
    pub ignored: Vec<String>,
}

/// A list as a channel.
pub struct DatasetChannel {
    list: List,
    /// Of the list's own bytes.
    digest: Sha256,
    read_from: String,
    now: fn() -> Timestamp,
    /// May addresses lead into a private network?
    allow_private: bool,
    fetchers: Mutex<BTreeMap<String, Arc<Fetcher>>>,
    seen: Mutex<BTreeMap<ArtifactPath, Seen>>,
}

/// What a server said when a file was fetched.
struct Seen {
    http: Http,
    at: Timestamp,
}

/// The name of a file where its address is all that is known: behind its host.
pub(super) fn default_path(url: &str) -> Option<ArtifactPath> {
    let parsed = reqwest::Url::parse(url).ok()?;
    let name = crate::source::https::file_name(url)?;
    parsed.query().is_none().then_some(name)
}

/// May a file be called so, and have this address?
pub(super) fn acceptable(url: &str, path: &ArtifactPath) -> Result<(), ListError> {
    let shown = || shown(url);
    SourceUri::new(url).map_err(|error| ListError(format!("{}: {error}", shown())))?;
    let is_http = url.get(..8).is_some_and(|start| {
        let start = start.to_ascii_lowercase();
        start.starts_with("http://") || start.starts_with("https://")
    });
    if !is_http {
        return Err(ListError(format!(
            "{}: it is no address of http or https",
            shown()
        )));
    }
    if path.as_str() == "model.sig" {
        return Err(ListError(format!(
            "{path} is what a signature is called: as a file of the dataset it needs another name"
        )));
    }
    acceptable_path(path).map_err(|why| ListError(format!("{path} {why}")))
}

/// The address as everybody reads it: the one that is fetched, recorded and looked for.
pub(super) fn normal(url: &str) -> Result<String, ListError> {
    let parsed =
        reqwest::Url::parse(url).map_err(|_| ListError(format!("{} is no address", shown(url))))?;
    Ok(parsed.to_string())
}

impl DatasetChannel {
    /// The list that `bytes` were, which were read from what is called `read_from`.
    pub fn new(
        list: List,
        (bytes, read_from): (&[u8], String),
        now: fn() -> Timestamp,
        allow_private: bool,
    ) -> DatasetChannel {
        DatasetChannel {
            list,
            digest: Sha256::of(bytes),
            read_from,
            now,
            allow_private,
            fetchers: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// One for each server.
    fn fetcher(&self, url: &str) -> Result<Arc<Fetcher>, FetchError> {
        let parsed = reqwest::Url::parse(url).map_err(|_| FetchError::Address(shown(url)))?;
        let origin = parsed.origin().ascii_serialization();
        let mut fetchers = self.fetchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetcher) = fetchers.get(&origin) {
            return Ok(Arc::clone(fetcher));
        }
        // Whoever wrote the list is not this machine's owner: where it leads to is looked at.
        let fetcher = if self.allow_private {
            Fetcher::new(&origin)?
        } else {
            Fetcher::public(&origin)?
        };
        let fetcher = Arc::new(fetcher);
        // Each keeps connections: not those of every host of the world.
        if fetchers.len() >= MAX_HOSTS {
            fetchers.clear();
        }
        fetchers.insert(origin, Arc::clone(&fetcher));
        Ok(fetcher)
    }

    fn note(&self, path: &ArtifactPath, answer: &Answer) {
        let mut http = http(answer);
        // Who served each of a million files is not kept; that it was TLS follows from the address.
        http.served_by = None;
        let at = (self.now)();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(path.clone(), Seen { http, at });
    }
}

/// What a description in Croissant is called among the attachments of a record.
const DESCRIPTION: &str = "croissant";

/// As many servers are kept in mind.
const MAX_HOSTS: usize = 512;

impl Channel for DatasetChannel {
    fn published(&self) -> Result<Published, SourceError> {
        let mut files = BTreeMap::new();
        for entry in &self.list.entries {
            let expected = entry.sha256.map(|sha256| {
                Expected::Digest(Digest {
                    algorithm: Algorithm::Sha256,
                    bytes: sha256.0.into(),
                })
            });
            let file = PublishedFile {
                size: entry.size,
                ..PublishedFile::new(expected.unwrap_or(Expected::Unknown), entry.url.clone())
            };
            match files.entry(entry.path.clone()) {
                Slot::Vacant(slot) => _ = slot.insert(file),
                Slot::Occupied(_) => {
                    return Err(SourceError::Unusable(format!(
                        "two of the list become {}: give each a path of its own",
                        entry.path
                    )));
                }
            }
        }
        let read_from = Text::new(self.read_from.as_str()).ok();
        Ok(Published {
            uri: self.address(),
            revision: self.list.version.clone(),
            requested: None,
            publisher: self.list.publisher.clone(),
            licence: self.list.licence.clone(),
            public: None,
            asset: Asset::Dataset,
            packed: Vec::new(),
            commit_signature: None,
            claims: Vec::new(),
            is_open: false,
            is_single: false,
            evidence: Vec::from_iter(self.list.description.clone().map(|bytes| Evidence {
                name: DESCRIPTION,
                media_type: "application/ld+json",
                bytes,
            })),
            assurance: Assurance {
                digest: read_from.map(|read_from| PublishedDigest {
                    digest: self.digest,
                    read_from,
                }),
                ..Assurance::default()
            },
            name: format!("the list {}", self.read_from),
            files,
        })
    }

    fn open(
        &self,
        path: &ArtifactPath,
        file: &PublishedFile,
        from: u64,
        validator: Option<&str>,
    ) -> Result<Content, SourceError> {
        let ask = Ask {
            from,
            validator,
            ..Ask::default()
        };
        let answer = self.fetcher(&file.place)?.ask(&file.place, &ask)?;
        self.note(path, &answer);
        Ok(Content::of_answer(answer))
    }

    /// The items: what the list says of each file, and what its server said.
    fn described(&self, manifest: &Manifest) -> Result<Vec<Evidence>, SourceError> {
        let unusable = |error: &dyn std::error::Error| SourceError::Unusable(error.to_string());
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        for entry in &self.list.entries {
            let file = manifest.file(entry.path.as_str()).ok_or_else(|| {
                SourceError::Unusable(format!("{} is in the list, and not here", entry.path))
            })?;
            let sha256 = manifest.digest(file, Algorithm::Sha256).unwrap_or_default();
            let sha256 = <[u8; 32]>::try_from(sha256).map_err(|error| unusable(&error))?;
            let seen = seen.get(&entry.path);
            let http = seen.map(|seen| &seen.http);
            let licence = entry.licence.as_deref().map(Text::new).transpose();
            let item = Item {
                path: entry.path.clone(),
                sha256: Sha256(sha256),
                size: file.size,
                url: SourceUri::new(entry.url.as_str()).map_err(|error| unusable(&error))?,
                final_url: http.and_then(|http| http.final_uri.clone()),
                retrieved_at: seen.map(|seen| seen.at).or(entry.retrieved_at),
                status: http.map(|http| http.status),
                etag: http.and_then(|http| http.etag.clone()),
                last_modified: http.and_then(|http| http.last_modified.clone()),
                licence: licence.map_err(|error| unusable(&error))?,
            };
            item.write(&mut bytes).map_err(|error| unusable(&error))?;
        }
        Ok(vec![Evidence {
            name: ITEMS,
            media_type: MEDIA_TYPE,
            bytes,
        }])
    }

    /// Over TLS, if every file came so now: of one that was here already its server said nothing.
    fn assured(&self, at_first: &Assurance) -> Assurance {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let by_tls = |entry: &Entry| {
            crate::source::https::is_https(&entry.url) && seen.contains_key(&entry.path)
        };
        let mut assurance = at_first.clone();
        if assurance.method == AuthenticationMethod::None && self.list.entries.iter().all(by_tls) {
            assurance.method = AuthenticationMethod::Tls;
            assurance.result = AuthenticationResult::Verified;
        }
        assurance
    }

    fn notes(&self) -> Vec<String> {
        let ignored = &self.list.ignored;
        if ignored.is_empty() {
            return Vec::new();
        }
        let some: Vec<&str> = ignored.iter().take(10).map(String::as_str).collect();
        vec![format!(
            "{} of {} are not understood, and not recorded: {}",
            ignored.len(),
            self.read_from,
            some.join(", ")
        )]
    }
}

impl DatasetChannel {
    /// What the list says it is, or the one server that all of it is from; else the list by its digest.
    fn address(&self) -> String {
        if let Some(uri) = &self.list.uri {
            return uri.clone();
        }
        let origin = |entry: &Entry| {
            let url = reqwest::Url::parse(&entry.url).ok()?;
            Some(format!("{}/", url.origin().ascii_serialization()))
        };
        let first = self.list.entries.first().and_then(origin);
        match first {
            Some(first)
                if self
                    .list
                    .entries
                    .iter()
                    .all(|one| origin(one).as_ref() == Some(&first)) =>
            {
                first
            }
            _ => format!("urn:sha256:{}", self.digest),
        }
    }
}
