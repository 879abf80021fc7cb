//! Objects of S3 and what speaks like it (Amazon S3 API reference: `ListObjectsV2`, `HeadObject`, `GetObject`): one object,
//! or all beneath a prefix; with what the store says of each, of which a SHA-256 over the whole object is evidence, and
//! nothing else.

pub mod listing;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::client::fetch::{Answer, Ask, FetchError, Fetcher, Method};
use crate::client::sigv4::{AwsKeys, Request};
use crate::digest::{Algorithm, Digest, Sha256, decode_base64};
use crate::git::snapshot::acceptable_path;
use crate::json;
use crate::parallel;
use crate::path::ArtifactPath;
use crate::percent::encoded;
use crate::source::SourceError;
use crate::source::channel::{Channel, Content, endpoint};
use crate::source::https::http;
use crate::source::published::{Assurance, Evidence, Expected, Published, PublishedFile};
use crate::statement::Text;
use crate::statement::acquire::{
    Asset, AuthenticationMethod, AuthenticationResult, PublishedDigest,
};
use crate::time::Timestamp;

/// An object, or the objects beneath a prefix: `s3://BUCKET/KEY[?versionId=ID]`, `s3://BUCKET/PREFIX/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReference {
    pub bucket: String,
    pub key: String,
    pub version: Option<String>,
}

/// Why text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not s3://BUCKET/KEY, with ?versionId=ID behind it or not, nor s3://BUCKET/PREFIX/"
)]
pub struct ObjectReferenceError(String);

/// The store and who asks it.
pub struct Account {
    /// Unless given, the service of AWS.
    pub endpoint: Option<String>,
    pub region: String,
    /// Whoever has none asks as everybody.
    pub keys: Option<AwsKeys>,
    pub now: fn() -> Timestamp,
}

/// An object or a prefix as a channel.
pub struct S3Channel {
    fetcher: Fetcher,
    account: Account,
    reference: ObjectReference,
    /// `https://HOST` or `https://HOST/BUCKET`, whichever the store takes.
    base: String,
    host: String,
    /// What a single object becomes.
    name: Option<ArtifactPath>,
    connections: NonZero<usize>,
}

/// What the store says of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectFacts {
    pub key: String,
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// `sha256`, `crc64nvme` and so on, as the store spells them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checksums: BTreeMap<String, String>,
    /// `FULL_OBJECT`, or `COMPOSITE`: of parts, and then no evidence of the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_until: Option<String>,
}

/// What it is called among the attachments of a record.
pub const OBJECTS: &str = "s3-objects";
const SCHEMA: &str = "https://weighbridge.dev/s3-objects/v1";

/// The longest key (Amazon S3 user guide, "Object key names"), and all of them.
const MAX_KEY: usize = 1024;
const MAX_KEYS: usize = 512 * 1024 * 1024;

/// The most objects beneath a prefix.
const MAX_OBJECTS: usize = 2_000_000;

#[derive(Serialize)]
struct Attached<'a> {
    schema: &'static str,
    endpoint: &'a str,
    bucket: &'a str,
    prefix: &'a str,
    objects: &'a [ObjectFacts],
}

impl FromStr for ObjectReference {
    type Err = ObjectReferenceError;

    fn from_str(text: &str) -> Result<ObjectReference, ObjectReferenceError> {
        let wrong = || ObjectReferenceError(crate::path::display(text));
        let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
        let (rest, version) = match rest.split_once("?versionId=") {
            Some((rest, version)) => (rest, Some(version)),
            None => (rest, None),
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        // Amazon S3 user guide, "Bucket naming rules", and capitals, which others have.
        let is_bucket = (1..=255).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            && bucket.bytes().any(|byte| byte != b'.');
        let is_key = key.len() <= 1024 && !key.chars().any(char::is_control);
        let is_version = version.is_none_or(|it| {
            !it.is_empty()
                && it.len() <= 1024
                && it
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-+/=".contains(&byte))
        });
        if !is_bucket || !is_key || !is_version {
            return Err(wrong());
        }
        Ok(ObjectReference {
            bucket: bucket.into(),
            key: key.into(),
            version: version.map(str::to_owned),
        })
    }
}

impl fmt::Display for ObjectReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::path::display(&self.address()))?;
        match &self.version {
            Some(version) => write!(f, "?versionId={version}"),
            None => Ok(()),
        }
    }
}

impl ObjectReference {
    /// The address of it without its version, as records have it: a prefix without its slash.
    pub fn address(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key.trim_end_matches('/'))
    }

    /// Everything beneath a prefix, and not an object.
    pub fn is_prefix(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }
}

impl S3Channel {
    /// What `reference` names; a single object becomes a file called `name`.
    pub fn new(
        reference: &ObjectReference,
        account: Account,
        name: Option<ArtifactPath>,
        connections: NonZero<usize>,
    ) -> Result<S3Channel, SourceError> {
        let bucket = &reference.bucket;
        let base = match &account.endpoint {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            // A name with dots is no name in a certificate.
            None if bucket.contains('.') || bucket.contains('_') => {
                format!("https://s3.{}.amazonaws.com/{bucket}", account.region)
            }
            None => format!("https://{bucket}.s3.{}.amazonaws.com", account.region),
        };
        let fetcher = Fetcher::new(&base)?;
        let url = reqwest::Url::parse(&base).map_err(|_| FetchError::Address(base.clone()))?;
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(S3Channel {
            fetcher,
            account,
            reference: reference.clone(),
            base,
            host,
            name,
            connections,
        })
    }

    /// Asks for a key, or with none for the bucket.
    fn ask(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        (from, to, etag): (u64, Option<u64>, Option<&str>),
    ) -> Result<Answer, FetchError> {
        let mut pairs: Vec<(String, String)> = query
            .iter()
            .map(|(name, value)| (encoded(name, false), encoded(value, false)))
            .collect();
        pairs.sort_unstable();
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let query = pairs.join("&");
        let url = match key {
            "" => self.base.clone(),
            key => format!("{}/{}", self.base, encoded(key, true)),
        };
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{url}{mark}{query}");
        // What is signed is what is sent, after the client's own reading of the address.
        let parsed = reqwest::Url::parse(&url).map_err(|_| FetchError::Address(url.clone()))?;
        let nothing = Sha256::of(b"");
        let mut headers = vec![
            ("host", self.host.clone()),
            ("x-amz-content-sha256", nothing.to_string()),
        ];
        if method == Method::Head {
            headers.push(("x-amz-checksum-mode", "ENABLED".into()));
        }
        let signed = match &self.account.keys {
            Some(keys) => keys.sign(
                &Request {
                    service: "s3",
                    method: if method == Method::Head {
                        "HEAD"
                    } else {
                        "GET"
                    },
                    path: parsed.path(),
                    query: parsed.query().unwrap_or_default(),
                    headers,
                    payload: nothing,
                },
                (self.account.now)(),
            ),
            None => headers
                .into_iter()
                .filter(|(name, _)| *name != "host")
                .collect(),
        };
        let authorization = signed.iter().find(|(name, _)| *name == "authorization");
        let others = signed.iter().filter(|(name, _)| *name != "authorization");
        let mut headers: Vec<(&'static str, &str)> = others
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        headers.extend(etag.map(|etag| ("if-match", etag)));
        let ask = Ask {
            method,
            headers,
            authorization: authorization.map(|(_, value)| value.as_str()),
            from,
            to,
            // It is stored so, and means so many bytes.
            takes_encoded: true,
            ..Ask::default()
        };
        self.fetcher.ask(&url, &ask)
    }

    /// The content of an object, or a part of it.
    fn get(
        &self,
        file: &PublishedFile,
        what: (u64, Option<u64>, Option<&str>),
    ) -> Result<Content, SourceError> {
        let (version, key) = file.place.split_once('\n').unwrap_or_default();
        let version = Some(version).filter(|version| !version.is_empty());
        let query: Vec<(&str, &str)> = version.map(|it| ("versionId", it)).into_iter().collect();
        let answer = self.ask(Method::Get, key, &query, what)?;
        Ok(Content::of_answer(answer))
    }

    fn head(&self, key: &str, version: Option<&str>) -> Result<(ObjectFacts, Answer), FetchError> {
        let query: Vec<(&str, &str)> = version.map(|it| ("versionId", it)).into_iter().collect();
        let answer = self.ask(Method::Head, key, &query, (0, None, None))?;
        let text = |name: &str| answer.header(name).map(str::to_owned);
        let kinds = ["sha256", "sha1", "crc32", "crc32c", "crc64nvme"];
        let checksums = kinds.into_iter().filter_map(|kind| {
            let value = text(&format!("x-amz-checksum-{kind}"))?;
            Some((kind.to_owned(), value))
        });
        let facts = ObjectFacts {
            key: key.into(),
            size: answer.whole_size().unwrap_or_default(),
            etag: text("etag"),
            version_id: text("x-amz-version-id").filter(|version| version != "null"),
            last_modified: text("last-modified"),
            checksums: checksums.collect(),
            checksum_type: text("x-amz-checksum-type"),
            encryption: text("x-amz-server-side-encryption"),
            lock_mode: text("x-amz-object-lock-mode"),
            retain_until: text("x-amz-object-lock-retain-until-date"),
        };
        Ok((facts, answer))
    }

    /// Every key beneath the prefix, page by page.
    fn keys(&self, prefix: &str) -> Result<Vec<String>, SourceError> {
        let (mut keys, mut bytes) = (Vec::new(), 0);
        let mut token: Option<String> = None;
        loop {
            let mut query = vec![("list-type", "2"), ("prefix", prefix)];
            query.extend(token.as_deref().map(|token| ("continuation-token", token)));
            let answer = self.ask(Method::Get, "", &query, (0, None, None))?;
            let page = listing::parse(&answer.all(listing::MAX_PAGE)?)
                .map_err(|error| SourceError::Unusable(error.to_string()))?;
            if page.is_truncated && page.keys.is_empty() {
                return Err(SourceError::Contradiction(vec![
                    "the list has more, and a page of it has nothing".into(),
                ]));
            }
            for key in page.keys {
                bytes += key.len();
                if key.len() > MAX_KEY || bytes > MAX_KEYS {
                    return Err(SourceError::Unusable(format!(
                        "its keys have more than {MAX_KEY} bytes, or {MAX_KEYS} together"
                    )));
                }
                if !key.starts_with(prefix) {
                    let key = crate::path::display(&key);
                    return Err(SourceError::Contradiction(vec![format!(
                        "the list has {key}, which is not beneath {prefix}"
                    )]));
                }
                keys.push(key);
            }
            if keys.len() > MAX_OBJECTS {
                return Err(SourceError::Unusable(format!(
                    "there are more than {MAX_OBJECTS} objects"
                )));
            }
            match (page.is_truncated, page.next) {
                (false, _) => break,
                (true, Some(next)) if token.as_ref() != Some(&next) => token = Some(next),
                _ => {
                    return Err(SourceError::Contradiction(vec![
                        "the list has more, and does not say where".into(),
                    ]));
                }
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    fn file(&self, facts: &ObjectFacts) -> PublishedFile {
        let whole = facts
            .checksum_type
            .as_deref()
            .is_none_or(|it| it == "FULL_OBJECT");
        let sha256 = facts.checksums.get("sha256").filter(|_| whole);
        let sha256 = sha256
            .and_then(|text| decode_base64(text))
            .filter(|it| it.len() == 32);
        let expected = match sha256 {
            Some(bytes) => Expected::Digest(Digest {
                algorithm: Algorithm::Sha256,
                bytes: bytes.into(),
            }),
            None => Expected::Unknown,
        };
        let version = self
            .reference
            .version
            .as_ref()
            .or(facts.version_id.as_ref());
        let version = version.map_or("\n".into(), |version| format!("{version}\n"));
        PublishedFile {
            size: Some(facts.size),
            validator: facts.etag.clone().filter(|etag| etag.starts_with('"')),
            ..PublishedFile::new(expected, format!("{version}{}", facts.key))
        }
    }

    /// The object itself, if it is one.
    fn single(&self) -> Result<Option<(ObjectFacts, Answer)>, SourceError> {
        if self.reference.is_prefix() {
            return Ok(None);
        }
        match self.head(&self.reference.key, self.reference.version.as_deref()) {
            Ok(found) => Ok(Some(found)),
            Err(FetchError::Status { status, .. })
                if self.reference.version.is_none() && status == 404 =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn published_from(
        &self,
        objects: &[ObjectFacts],
        prefix: &str,
    ) -> Result<Published, SourceError> {
        let evidence = Attached {
            schema: SCHEMA,
            endpoint: self
                .base
                .strip_suffix(&format!("/{}", self.reference.bucket))
                .unwrap_or(&self.base),
            bucket: &self.reference.bucket,
            prefix,
            objects,
        };
        let bytes = json::canonical(&evidence);
        let bytes = bytes.map_err(|error| SourceError::Unusable(error.to_string()))?;
        let is_https = self.fetcher.is_https();
        let read_from = Text::new(format!(
            "{} objects of {}",
            objects.len(),
            self.reference.bucket
        ));
        Ok(Published {
            uri: self.reference.address(),
            revision: None,
            requested: None,
            publisher: None,
            licence: None,
            public: self.account.keys.is_none().then_some(true),
            asset: Asset::Model,
            files: BTreeMap::new(),
            packed: Vec::new(),
            commit_signature: None,
            claims: Vec::new(),
            is_open: false,
            is_single: false,
            assurance: Assurance {
                method: if is_https {
                    AuthenticationMethod::Tls
                } else {
                    AuthenticationMethod::None
                },
                result: if is_https {
                    AuthenticationResult::Verified
                } else {
                    AuthenticationResult::NotChecked
                },
                credential: self
                    .account
                    .keys
                    .as_ref()
                    .map(|_| "credentials of the store".into()),
                digest: read_from.ok().map(|read_from| PublishedDigest {
                    digest: Sha256::of(&bytes),
                    read_from,
                }),
                ..Assurance::default()
            },
            evidence: vec![Evidence {
                name: OBJECTS,
                media_type: "application/json",
                bytes,
            }],
            name: format!(
                "{} of {}",
                crate::report::text::count(objects.len(), "object"),
                self.reference
            ),
        })
    }
}

impl Channel for S3Channel {
    fn published(&self) -> Result<Published, SourceError> {
        if let Some((facts, answer)) = self.single()? {
            let mut published = self.published_from(std::slice::from_ref(&facts), &facts.key)?;
            let name = self.name.clone().ok_or_else(|| {
                SourceError::Unusable("it is one object, and no name is known for it here".into())
            })?;
            published.files.insert(name, self.file(&facts));
            published.is_single = true;
            published.revision.clone_from(&facts.version_id);
            published.assurance.http = Some(http(&answer));
            published.assurance.endpoint = answer.asked().and_then(endpoint);
            return Ok(published);
        }
        let prefix = match self.reference.key.as_str() {
            "" => String::new(),
            key => format!("{}/", key.trim_end_matches('/')),
        };
        let keys = self.keys(&prefix)?;
        // What the consoles show as folders.
        let keys: Vec<String> = keys.into_iter().filter(|key| !key.ends_with('/')).collect();
        if keys.is_empty() {
            return Err(SourceError::Unusable(format!(
                "{} is no object, and there is none beneath it",
                self.reference
            )));
        }
        let heads = parallel::each(&keys, self.connections, |key| {
            // Of each what is recorded, and no more: there may be millions.
            let (facts, answer) = self.head(key, None)?;
            Ok::<_, FetchError>((facts, answer.asked().and_then(endpoint)))
        });
        let mut objects = Vec::new();
        let mut peer = None;
        for head in heads {
            let (facts, answered) = head?;
            peer = peer.or(answered);
            objects.push(facts);
        }
        let mut published = self.published_from(&objects, &prefix)?;
        published.assurance.endpoint = peer;
        for facts in &objects {
            let path = facts.key.strip_prefix(&prefix).unwrap_or_default();
            let wrong = || {
                let key = crate::path::display(&facts.key);
                SourceError::Contradiction(vec![format!("{key} has a name that no file may have")])
            };
            let path = ArtifactPath::new(path).map_err(|_| wrong())?;
            acceptable_path(&path).map_err(|_| wrong())?;
            published.files.insert(path, self.file(facts));
        }
        Ok(published)
    }

    fn open(
        &self,
        _: &ArtifactPath,
        file: &PublishedFile,
        from: u64,
        validator: Option<&str>,
    ) -> Result<Content, SourceError> {
        self.get(file, (from, None, validator))
    }

    fn has_parts(&self) -> bool {
        true
    }

    fn open_part(
        &self,
        _: &ArtifactPath,
        file: &PublishedFile,
        (from, to): (u64, u64),
    ) -> Result<Content, SourceError> {
        self.get(file, (from, Some(to), file.validator.as_deref()))
    }

    fn hint(&self) -> &'static str {
        "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, AWS_REGION, and AWS_ENDPOINT_URL for another store"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let parse = |text: &str| text.parse::<ObjectReference>();
        let one = parse("s3://b/a/c.bin?versionId=x.y").unwrap();
        assert_eq!((one.bucket.as_str(), one.key.as_str()), ("b", "a/c.bin"));
        assert_eq!(one.version.as_deref(), Some("x.y"));
        assert!(parse("s3://b/a/").unwrap().is_prefix());
        assert!(parse("s3://b").unwrap().is_prefix());
        for wrong in [
            "s3://",
            "s3:///a",
            "s3://b c/a",
            "s3://../a",
            "s3://b/a?versionId=",
            "b/a",
            "s3://b/a\n",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
