//! A Hugging Face Hub: which commit a name means, which files are in it, the commit's own objects, and the
//! files themselves (the Hub's REST interface; git's protocol v2 over smart HTTP). Believes no listing: what
//! it says is compared with the commit.

mod channel;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::client::fetch::{Answer, Ask, FetchError, Fetcher, Method, Peer};
use crate::digest::Sha256;
use crate::git::pack::{self, Objects};
use crate::git::snapshot::{Snapshot, SnapshotProof};
use crate::git::{GitError, ObjectId, Pointer};
use crate::path::ArtifactPath;
use crate::percent::encoded;
use crate::source::https::http;
use crate::statement::acquire::Http;

pub use channel::{HubChannel, SNAPSHOT};

/// A repository, and which of its commits: `hf:[datasets/|spaces/]ORG/NAME[@REVISION]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSource {
    pub kind: RepositoryKind,
    pub name: String,
    pub revision: Option<String>,
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryKind {
    Model,
    Dataset,
    Space,
}

/// Why text names no repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not hf:ORG/NAME, hf:datasets/ORG/NAME or hf:spaces/ORG/NAME, with @REVISION behind it or not"
)]
pub struct SourceError(String);

/// Why the hub does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the answer of the hub about {what} cannot be read: {why}")]
    Answer { what: String, why: String },
    #[error("the objects of commit {commit}: {source}")]
    Git { commit: ObjectId, source: GitError },
    #[error("the hub's list of files is not that of commit {commit}: {why}")]
    Listing { commit: ObjectId, why: String },
    #[error("the git server says: {0}")]
    Server(String),
}

impl RepositoryKind {
    /// In the paths of the interface.
    const fn plural(self) -> &'static str {
        match self {
            RepositoryKind::Model => "models",
            RepositoryKind::Dataset => "datasets",
            RepositoryKind::Space => "spaces",
        }
    }

    /// Before the name, in the address of a repository.
    const fn prefix(self) -> &'static str {
        match self {
            RepositoryKind::Model => "",
            RepositoryKind::Dataset => "datasets/",
            RepositoryKind::Space => "spaces/",
        }
    }
}

impl FromStr for HubSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<HubSource, SourceError> {
        let wrong = || SourceError(crate::path::display(text));
        let rest = text.strip_prefix("hf:").ok_or_else(wrong)?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (repository, revision) = match rest.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (rest, None),
        };
        let (kind, name) = match repository.split_once('/') {
            Some(("models", name)) if name.contains('/') => (RepositoryKind::Model, name),
            Some(("datasets", name)) => (RepositoryKind::Dataset, name),
            Some(("spaces", name)) => (RepositoryKind::Space, name),
            _ => (RepositoryKind::Model, repository),
        };
        let plain = |part: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !part.is_empty()
                && part.len() <= 96
                && part.bytes().all(known)
                && !part.starts_with('.')
        };
        let parts: Vec<&str> = name.split('/').collect();
        if !(1..=2).contains(&parts.len()) || !parts.iter().all(|part| plain(part)) {
            return Err(wrong());
        }
        let odd = |revision: &&str| {
            revision.is_empty() || revision.len() > 256 || revision.chars().any(char::is_control)
        };
        if revision.as_ref().is_some_and(odd) {
            return Err(wrong());
        }
        // A commit is a commit in capitals too.
        let is_commit =
            |text: &str| text.len() == 40 && text.bytes().all(|it| it.is_ascii_hexdigit());
        let revision = revision.map(|text| {
            if is_commit(text) {
                text.to_ascii_lowercase()
            } else {
                text.to_owned()
            }
        });
        Ok(HubSource {
            kind,
            name: name.into(),
            revision,
        })
    }
}

impl fmt::Display for HubSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}{}", self.kind.prefix(), self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{}", crate::path::display(revision)),
            None => Ok(()),
        }
    }
}

/// A hub.
pub struct Hub {
    fetcher: Fetcher,
    endpoint: String,
    /// As the interface takes it, and as git does.
    token: Option<(Zeroizing<String>, Zeroizing<String>)>,
}

/// What the hub says of a commit.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub commit: ObjectId,
    pub private: bool,
    pub gated: bool,
    pub licence: Option<String>,
    /// Whoever proved to be the hub: SHA-256 over the certificate.
    pub peers: Vec<Peer>,
    /// What the hub's own scanners say, if they say something.
    pub security: Option<SecurityStatus>,
    /// The answer that said all this.
    pub http: Http,
}

/// What a hub says of its scans for malware and of pickles (`securityRepoStatus`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityStatus {
    #[serde(default)]
    pub scans_done: bool,
    #[serde(default)]
    pub files_with_issues: Vec<SecurityIssue>,
}

/// A file that a scanner warns of.
#[derive(Debug, Clone, Deserialize)]
pub struct SecurityIssue {
    pub path: String,
    pub level: String,
}

/// A file as the hub lists it, after it was found to be what the commit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    pub path: ArtifactPath,
    pub size: u64,
    /// Of a large one.
    pub sha256: Option<Sha256>,
    /// Of a large one, if the hub says so.
    pub xet: Option<String>,
}

#[derive(Deserialize)]
struct RevisionAnswer {
    sha: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    gated: serde_json::Value,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(rename = "securityRepoStatus")]
    security: Option<SecurityStatus>,
}

#[derive(Deserialize)]
struct TreeItem {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<LfsItem>,
    #[serde(rename = "xetHash")]
    xet: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LfsItem {
    oid: String,
    size: u64,
    pointer_size: Option<u64>,
}

/// Limits of what the hub may say.
const MAX_PAGE: u64 = 64 * 1024 * 1024;
const MAX_PAGES: usize = 20_000;
const MAX_ITEM: u64 = 8 * 1024;
const MAX_PACK: u64 = 512 * 1024 * 1024;

impl Hub {
    /// The hub at `endpoint`, asked by whoever has `token`.
    pub fn new(endpoint: &str, token: Option<Zeroizing<String>>) -> Result<Hub, FetchError> {
        let endpoint = endpoint.trim_end_matches('/');
        Ok(Hub {
            fetcher: Fetcher::new(endpoint)?,
            endpoint: endpoint.into(),
            token: token.map(|token| {
                let basic = Zeroizing::new(format!("token:{}", token.as_str()));
                let basic = Zeroizing::new(BASE64.encode(basic.as_bytes()));
                (
                    Zeroizing::new(format!("Bearer {}", token.as_str())),
                    Zeroizing::new(format!("Basic {}", basic.as_str())),
                )
            }),
        })
    }

    /// Its host, and whether it proves to be that.
    pub fn identity(&self) -> (&str, bool) {
        (self.fetcher.host(), self.fetcher.is_https())
    }

    /// Does somebody known ask?
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The address of a repository, for people and records.
    pub fn address(&self, source: &HubSource) -> String {
        format!("{}/{}{}", self.endpoint, source.kind.prefix(), source.name)
    }

    /// What stands behind its own address in that of a repository: `ORG/NAME`, `datasets/ORG/NAME`.
    pub fn place<'a>(&self, address: &'a str) -> Option<&'a str> {
        address.strip_prefix(&self.endpoint)?.strip_prefix('/')
    }

    fn question(&self) -> Ask<'_> {
        Ask {
            authorization: self.token.as_ref().map(|(bearer, _)| bearer.as_str()),
            ..Ask::default()
        }
    }

    /// Which commit `source` means.
    pub fn resolve(&self, source: &HubSource) -> Result<Resolved, HubError> {
        let revision = source.revision.as_deref().unwrap_or("main");
        let url = format!(
            "{}/api/{}/{}/revision/{}?securityStatus=true",
            self.endpoint,
            source.kind.plural(),
            source.name,
            encoded(revision, false)
        );
        let wrong = |why: String| HubError::Answer {
            what: source.to_string(),
            why,
        };
        let answer = self.fetcher.ask(&url, &self.question())?;
        let peers = answer.peers.clone();
        let http = http(&answer);

        let bytes = answer.all(MAX_PAGE)?;
        let answer: RevisionAnswer =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        let commit = ObjectId::parse(&answer.sha).ok_or_else(|| {
            wrong(format!(
                "{:?} is no commit",
                crate::path::display(&answer.sha)
            ))
        })?;
        if ObjectId::parse(revision).is_some_and(|asked| asked != commit) {
            let why = format!("commit {revision} was asked for");
            return Err(HubError::Listing { commit, why });
        }
        let licence = answer
            .tags
            .iter()
            .find_map(|tag| tag.strip_prefix("license:"));
        Ok(Resolved {
            commit,
            private: answer.private,
            gated: !matches!(
                answer.gated,
                serde_json::Value::Null | serde_json::Value::Bool(false)
            ),
            licence: licence.map(str::to_owned),
            peers,
            security: answer.security,
            http,
        })
    }

    /// The commit and every tree beneath it.
    pub fn proof(&self, source: &HubSource, commit: ObjectId) -> Result<SnapshotProof, HubError> {
        let objects = self.objects(source, commit)?;
        let git = |source| HubError::Git { commit, source };
        SnapshotProof::gather(commit, &objects).map_err(git)
    }

    /// One request of git's protocol v2: this commit alone, without the content of files.
    fn objects(&self, source: &HubSource, commit: ObjectId) -> Result<Objects, HubError> {
        let url = format!("{}.git/git-upload-pack", self.address(source));
        let mut body = line("command=fetch");
        body.extend_from_slice(b"0001");
        for text in ["no-progress", "ofs-delta", "deepen 1", "filter blob:none"] {
            body.extend(line(text));
        }
        body.extend(line(&format!("want {commit}")));
        body.extend(line("done"));
        body.extend_from_slice(b"0000");
        let ask = Ask {
            headers: vec![
                ("content-type", "application/x-git-upload-pack-request"),
                ("accept", "application/x-git-upload-pack-result"),
                ("git-protocol", "version=2"),
            ],
            method: Method::Post,
            body,
            authorization: self.token.as_ref().map(|(_, basic)| basic.as_str()),
            ..Ask::default()
        };
        let (answer, _) = self.fetcher.get(&url, &ask, MAX_PACK)?;
        let pack = unwrapped(&answer)?;
        pack::read(&pack).map_err(|source| HubError::Git { commit, source })
    }

    /// The files of a commit with their sizes, every page of the list, each found to be what the commit says.
    pub fn listing(
        &self,
        source: &HubSource,
        snapshot: &Snapshot,
    ) -> Result<Vec<ListedFile>, HubError> {
        let commit = snapshot.commit;
        let wrong = |why: String| HubError::Listing { commit, why };
        let mut next = Some(format!(
            "{}/api/{}/{}/tree/{commit}?recursive=true&expand=false",
            self.endpoint,
            source.kind.plural(),
            source.name
        ));
        let mut files = BTreeMap::new();
        // What a list of these files takes, and room for what the hub adds.
        let most = snapshot.files.len() + snapshot.directories + 1000;
        let (mut items_left, mut bytes_left) = (most, most as u64 * MAX_ITEM);
        for _ in 0..MAX_PAGES {
            let Some(url) = next else { break };
            let limit = bytes_left.min(MAX_PAGE);
            let (bytes, headers) = self.fetcher.get(&url, &self.question(), limit)?;
            bytes_left -= bytes.len() as u64;
            let items: Vec<TreeItem> = serde_json::from_slice(&bytes)
                .map_err(|error| wrong(format!("a page cannot be read: {error}")))?;
            items_left = items_left
                .checked_sub(items.len())
                .ok_or_else(|| wrong("it has more items than the commit has names".into()))?;
            for item in items.into_iter().filter(|item| item.kind == "file") {
                let file = agrees(&item, snapshot).map_err(wrong)?;
                if files.insert(file.path.clone(), file).is_some() {
                    let path = crate::path::display(&item.path);
                    return Err(wrong(format!("{path} is there twice")));
                }
            }
            next = next_page(&headers);
            if let Some(next) = &next
                && !self.fetcher.is_own(next)
            {
                return Err(wrong("its next page is on another server".into()));
            }
        }
        if next.is_some() {
            return Err(wrong(format!("it has more than {MAX_PAGES} pages")));
        }
        if let Some(path) = snapshot.files.keys().find(|path| !files.contains_key(path)) {
            return Err(wrong(format!("it lacks {path}")));
        }
        Ok(files.into_values().collect())
    }

    /// The content of a file, from a byte on.
    pub fn open(
        &self,
        source: &HubSource,
        commit: ObjectId,
        path: &str,
        from: u64,
    ) -> Result<Answer, HubError> {
        let url = format!(
            "{}/resolve/{commit}/{}",
            self.address(source),
            encoded(path, true)
        );
        let ask = Ask {
            from,
            ..self.question()
        };
        Ok(self.fetcher.ask(&url, &ask)?)
    }
}

/// The file of a listed item, if the commit says the same.
fn agrees(item: &TreeItem, snapshot: &Snapshot) -> Result<ListedFile, String> {
    let shown = crate::path::display(&item.path);
    let path = ArtifactPath::new(&item.path).ok();
    let blob = path.as_ref().and_then(|path| snapshot.files.get(path));
    let (Some(path), Some(blob)) = (path, blob) else {
        return Err(format!("it lists {shown}, which is not in the commit"));
    };
    if ObjectId::parse(&item.oid) != Some(blob.id) {
        return Err(format!("{shown} has another object id"));
    }
    let Some(lfs) = &item.lfs else {
        return Ok(ListedFile {
            path,
            size: item.size,
            sha256: None,
            xet: item.xet.clone(),
        });
    };
    let sha256: Sha256 = lfs
        .oid
        .parse()
        .map_err(|_| format!("{shown} has no SHA-256"))?;
    let pointer = Pointer {
        sha256,
        size: lfs.size,
    };
    let length = pointer.content().len() as u64;
    let id = pointer.id().map_err(|error| format!("{shown}: {error}"))?;
    if id != blob.id || lfs.pointer_size.is_some_and(|size| size != length) {
        return Err(format!("the SHA-256 of {shown} is not the committed one"));
    }
    Ok(ListedFile {
        path,
        size: lfs.size,
        sha256: Some(sha256),
        xet: item.xet.clone(),
    })
}

/// `Link: <address>; rel="next"` (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(reqwest::header::LINK);
    let values = all.iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters
            .split(';')
            .any(|one| matches!(one.trim(), "rel=\"next\"" | "rel=next"))
            .then(|| address.to_owned())
    })
}

/// A line of git's protocol: its length in four hexadecimal digits, and itself.
fn line(text: &str) -> Vec<u8> {
    format!("{:04x}{text}\n", text.len() + 5).into_bytes()
}

/// The pack in an answer of `fetch`: sections of lines, the last of which is `packfile`, in band 1.
fn unwrapped(answer: &[u8]) -> Result<Vec<u8>, HubError> {
    let damaged = |why: &str| HubError::Server(why.to_owned());
    let mut rest = answer;
    let mut pack = Vec::new();
    let mut in_pack = false;
    while !rest.is_empty() {
        let (length, after) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| damaged("an answer that is cut off"))?;
        let digits = std::str::from_utf8(length).ok();
        let length = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let length = length.ok_or_else(|| damaged("an answer that is not of git"))?;
        let Some(size) = length.checked_sub(4) else {
            // Flush, delimiter, end.
            rest = after;
            continue;
        };
        let (content, after) = after
            .split_at_checked(size)
            .ok_or_else(|| damaged("an answer that is cut off"))?;
        rest = after;
        if !in_pack {
            if let Some(message) = content.strip_prefix(b"ERR ") {
                return Err(HubError::Server(said(message)));
            }
            in_pack = content.trim_ascii_end() == b"packfile";
            continue;
        }
        match content.split_first() {
            Some((1, data)) => pack.extend_from_slice(data),
            Some((3, message)) => return Err(HubError::Server(said(message))),
            _ => {}
        }
    }
    if in_pack {
        Ok(pack)
    } else {
        Err(damaged("an answer without a pack"))
    }
}

fn said(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    crate::path::display(&text.trim().chars().take(300).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let parse = |text: &str| text.parse::<HubSource>();
        let tiny = parse("hf:acme/tiny@v1.0").unwrap();
        assert_eq!(
            (tiny.kind, tiny.name.as_str()),
            (RepositoryKind::Model, "acme/tiny")
        );
        assert_eq!(tiny.revision.as_deref(), Some("v1.0"));
        assert_eq!(
            parse("hf:datasets/acme/data").unwrap().kind,
            RepositoryKind::Dataset
        );
        assert_eq!(parse("hf://acme/tiny").unwrap().name, "acme/tiny");
        assert_eq!(parse("hf:gpt2").unwrap().name, "gpt2");
        assert_eq!(
            parse("hf:acme/tiny@refs/pr/1").unwrap().to_string(),
            "hf:acme/tiny@refs/pr/1"
        );
        for wrong in [
            "acme/tiny",
            "hf:",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/b@",
            "hf:a b",
            "hf:a/.git",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages() {
        let mut headers = HeaderMap::new();
        assert_eq!(next_page(&headers), None);
        let value = "<http://h/a?cursor=1>; rel=\"prev\", <http://h/a?cursor=3>; rel=\"next\"";
        headers.insert(reqwest::header::LINK, value.parse().unwrap());
        assert_eq!(next_page(&headers).as_deref(), Some("http://h/a?cursor=3"));
    }

    #[test]
    fn answers_of_git() {
        let mut answer = line("packfile");
        answer.extend_from_slice(b"0006\x01P0006\x02x0006\x01K0000");
        assert_eq!(unwrapped(&answer).unwrap(), b"PK");
        for wrong in ["", "0008ERR ", "zzzz", "000fpackfi", "0008NAK\n0000"] {
            assert!(unwrapped(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
