//! One file of an HTTPS server (RFC 9110 over TLS): who serves it, what its headers say, and which digests and signatures
//! are published beside it. No plain HTTP, not even after a redirect. Sends no credentials.

use std::collections::BTreeMap;

use crate::artifact::checksum_list::{self, MAX_LIST};
use crate::client::fetch::{Answer, Ask, FetchError, Fetcher, Method, Peer};
use crate::client::http::shown;
use crate::digest::{Algorithm, Digest, Sha256, decode_base64};
use crate::minisign::{MAX_FILE, MinisignKey, MinisignSignature};
use crate::path::ArtifactPath;
use crate::percent;
use crate::source::channel::{Channel, Content, SourceError, endpoint};
use crate::source::gpg;
use crate::source::published::{Assurance, Evidence, Expected, Published, PublishedFile};
use crate::statement::acquire::{
    Asset, AuthenticationMethod, AuthenticationResult, Http, PublishedDigest,
};
use crate::statement::{SourceUri, Text};

/// A file of a server, and what is known of its publisher.
pub struct HttpsChannel {
    fetcher: Fetcher,
    url: String,
    name: ArtifactPath,
    checks: Checks,
}

/// What the publisher's word is compared with.
#[derive(Default)]
pub struct Checks {
    /// A list of digests that must name the file. Unless given, it is looked for beside the file.
    pub list: Option<List>,
    /// The key of minisign that must have signed the list, or else the file.
    pub minisign: Option<MinisignKey>,
    /// The OpenPGP key that must have signed the list.
    pub openpgp: Option<gpg::Key>,
}

/// A list that was read, or where it is.
pub enum List {
    Bytes { bytes: Vec<u8>, read_from: String },
    Url(String),
}

/// What the list is called among the attachments of a record.
pub const LIST: &str = "checksum-list";
/// And the signature of it.
const LIST_SIGNATURE: &str = "checksum-list-signature";

/// Names of lists beside a file.
pub(in crate::source) const LISTS: [&str; 7] = [
    "SHA256SUMS",
    "SHA256SUMS.txt",
    "sha256sums.txt",
    "sha256sum.txt",
    "checksums.txt",
    "CHECKSUMS",
    "SHA512SUMS",
];

/// The largest of those: what a server sends in place of one that it does not have is not to cost much.
const MAX_LOOKED_FOR: u64 = 4 * 1024 * 1024;

/// Endings of a file's own.
const ENDINGS: [&str; 3] = [".sha256", ".sha256sum", ".sha512"];

/// A small document and who served it.
#[derive(Debug)]
pub struct Fetched {
    pub bytes: Vec<u8>,
    /// After redirects, without a query.
    pub final_url: String,
    pub peers: Vec<Peer>,
}

/// Is this something that [`fetch`] would fetch?
pub fn is_https(text: &str) -> bool {
    text.get(..8)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// Fetches `url`, which may have at most `limit` bytes.
pub fn fetch(url: &str, limit: u64) -> Result<Fetched, FetchError> {
    if !is_https(url) {
        return Err(FetchError::NotHttps { url: shown(url) });
    }
    let answer = Fetcher::new(url)?.ask(url, &Ask::default())?;
    let peers = answer.peers.clone();
    Ok(Fetched {
        final_url: peers
            .last()
            .map(|peer| peer.url.clone())
            .unwrap_or_default(),
        bytes: answer.all(limit)?,
        peers,
    })
}

/// The file's name in the last part of an address.
pub fn file_name(url: &str) -> Option<ArtifactPath> {
    let url = reqwest::Url::parse(url).ok()?;
    let last = url.path_segments()?.next_back()?;
    let path = ArtifactPath::new(&percent::decoded(last)?).ok()?;
    path.printable().ok()?;
    (!path.as_str().contains('/')).then_some(path)
}

impl HttpsChannel {
    /// The file at `url`, which becomes one of this name.
    pub fn new(url: &str, name: ArtifactPath, checks: Checks) -> Result<HttpsChannel, FetchError> {
        if !is_https(url) {
            return Err(FetchError::NotHttps { url: shown(url) });
        }
        Ok(HttpsChannel {
            fetcher: Fetcher::new(url)?,
            url: url.into(),
            name,
            checks,
        })
    }

    /// What the file is called where it is.
    fn published_name(&self) -> String {
        let name = last_part(&self.url);
        percent::decoded(&name).unwrap_or(name)
    }

    /// The head of the answer, by a question for it or, where that is not answered, for all.
    fn head(&self) -> Result<Answer, FetchError> {
        let ask = Ask {
            method: Method::Head,
            ..Ask::default()
        };
        match self.fetcher.ask(&self.url, &ask) {
            Err(FetchError::Status {
                status: 403 | 405 | 501,
                ..
            }) => self.fetcher.ask(&self.url, &Ask::default()),
            answer => answer,
        }
    }

    /// The list that was named, or the first beside the file that names it.
    fn list(&self) -> Result<Option<FoundList>, SourceError> {
        let name = self.published_name();
        // Only of a file's own list it is known which file a bare digest is of; or of one that the user names.
        let digest_in = |bytes: &[u8], own: bool| {
            let found = checksum_list::find(bytes, &name);
            let may_be_bare = own || checksum_list::is_bare(bytes);
            found.or_else(|| checksum_list::only(bytes, &name).filter(|_| may_be_bare))
        };
        match &self.checks.list {
            Some(List::Bytes { bytes, read_from }) => {
                let digest = digest_in(bytes, false);
                let digest = digest.ok_or_else(|| not_named(read_from, &name))?;
                return Ok(Some(FoundList {
                    bytes: bytes.clone(),
                    digest,
                    url: None,
                    read_from: read_from.clone(),
                }));
            }
            Some(List::Url(url)) => {
                let fetched = fetch(url, MAX_LIST)?;
                let digest = digest_in(&fetched.bytes, false);
                let digest = digest.ok_or_else(|| not_named(&shown(url), &name))?;
                return Ok(Some(FoundList {
                    bytes: fetched.bytes,
                    digest,
                    url: Some(url.clone()),
                    read_from: fetched.final_url,
                }));
            }
            None => {}
        }
        let own = ENDINGS.map(|ending| (format!("{}{ending}", without_query(&self.url)), true));
        let shared = LISTS.map(|list| (beside(&self.url, list), false));
        for (url, own) in own.into_iter().chain(shared) {
            let Some((bytes, _)) = self.look(&url, MAX_LOOKED_FOR)? else {
                continue;
            };
            // A page that says that there is none answers with success, too, on some servers.
            let digest = if own {
                digest_in(&bytes, true)
            } else {
                checksum_list::find(&bytes, &name)
            };
            if let Some(digest) = digest {
                return Ok(Some(FoundList {
                    bytes,
                    digest,
                    read_from: shown(&url),
                    url: Some(url),
                }));
            }
        }
        Ok(None)
    }

    /// A small document that may be there.
    fn look(&self, url: &str, limit: u64) -> Result<Option<(Vec<u8>, String)>, FetchError> {
        match self.fetcher.ask(url, &Ask::default()) {
            Ok(answer) => match answer.all(limit) {
                Ok(bytes) => Ok(Some((bytes, shown(url)))),
                Err(FetchError::TooLarge { .. }) => Ok(None),
                Err(error) => Err(error),
            },
            // What could not be looked at may be there: busy servers are no answer.
            Err(
                FetchError::Status {
                    status: 400 | 401 | 403 | 404 | 405 | 406 | 410 | 451,
                    ..
                }
                | FetchError::Redirect { .. }
                | FetchError::Redirects { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file's own signature, if there is a key to verify it by.
    fn signature(&self, key: &MinisignKey) -> Result<Option<MinisignSignature>, SourceError> {
        let url = format!("{}.minisig", without_query(&self.url));
        let Some((bytes, url)) = self.look(&url, MAX_FILE as u64)? else {
            return Ok(None);
        };
        let signature = MinisignSignature::parse(&bytes);
        let signature =
            signature.map_err(|error| SourceError::Unusable(format!("{url}: {error}")))?;
        if !signature.is_prehashed {
            return Err(SourceError::Unusable(format!(
                "{url}: it is of the old kind, over the whole file and not its digest"
            )));
        }
        if signature.key_id() != key.id() {
            return Err(SourceError::Contradiction(vec![format!(
                "{url}: it is by key {}, and {} was named",
                signature.key_id(),
                key.id()
            )]));
        }
        // As minisign writes it, unless its user says otherwise.
        let name = self.published_name();
        let said = signature.comment().split_whitespace();
        let said: Vec<&str> = said.filter_map(|word| word.strip_prefix("file:")).collect();
        if said.iter().any(|said| *said != name) {
            return Err(SourceError::Contradiction(vec![format!(
                "{url}: its signer says that it is of {}",
                crate::path::display(&said.join(" "))
            )]));
        }
        Ok(Some(signature))
    }

    /// Whoever was named must have signed `list`.
    fn signed_list(&self, list: &FoundList) -> Result<Option<SignedList>, SourceError> {
        let Some(url) = &list.url else {
            return Ok(None);
        };
        let url = without_query(url);
        if let Some(key) = &self.checks.minisign
            && let Some((bytes, place)) = self.look(&format!("{url}.minisig"), MAX_FILE as u64)?
        {
            let refuse = |error: &dyn std::fmt::Display| {
                SourceError::Contradiction(vec![format!("{place}: {error}")])
            };
            let signature = MinisignSignature::parse(&bytes).map_err(|error| refuse(&error))?;
            let digest = Algorithm::Blake2b.of(&list.bytes);
            let signed = if signature.is_prehashed {
                &digest
            } else {
                &list.bytes
            };
            let comment = key
                .verify(&signature, signed)
                .map_err(|error| refuse(&error))?;
            self.is_of_this_file(list, comment)?;
            return Ok(Some(SignedList {
                method: AuthenticationMethod::Minisign,
                by: format!("minisign key {}", key.id()),
                signature: bytes,
            }));
        }
        if let Some(key) = &self.checks.openpgp {
            for ending in [".asc", ".sig", ".gpg"] {
                let Some((bytes, place)) =
                    self.look(&format!("{url}{ending}"), gpg::MAX_SIGNATURE)?
                else {
                    continue;
                };
                gpg::verify(&list.bytes, &bytes, key).map_err(|error| match error {
                    gpg::GpgError::NotRun(why) => SourceError::Unusable(why),
                    error => SourceError::Contradiction(vec![format!("{place}: {error}")]),
                })?;
                self.is_of_this_file(list, "")?;
                return Ok(Some(SignedList {
                    method: AuthenticationMethod::Gpg,
                    by: format!("OpenPGP key {}", key.fingerprint),
                    signature: bytes,
                }));
            }
        }
        Ok(None)
    }
}

struct FoundList {
    bytes: Vec<u8>,
    digest: Digest,
    /// Where its signature would be beside it.
    url: Option<String>,
    read_from: String,
}

struct SignedList {
    method: AuthenticationMethod,
    by: String,
    signature: Vec<u8>,
}

fn not_named(list: &str, name: &str) -> SourceError {
    let name = crate::path::display(name);
    SourceError::Contradiction(vec![format!(
        "{list} has no digest, or more than one, for {name}"
    )])
}

impl Channel for HttpsChannel {
    fn published(&self) -> Result<Published, SourceError> {
        let head = self.head()?;
        let mut evidence = Vec::new();
        let mut assurance = Assurance {
            method: AuthenticationMethod::Tls,
            result: AuthenticationResult::Verified,
            endpoint: head.asked().and_then(endpoint),
            http: Some(http(&head)),
            ..Assurance::default()
        };
        let (sent, claims) = digests(&head);
        let list = self.list()?;
        let mut signature = None;
        let mut expected = None;
        if let Some(list) = list {
            let signed = self.signed_list(&list)?;
            assurance.method = AuthenticationMethod::ChecksumFromPublisher;
            let read_from = Text::new(list.read_from.as_str());
            assurance.digest = read_from.ok().map(|read_from| PublishedDigest {
                digest: Sha256::of(&list.bytes),
                read_from,
            });
            if let Some(signed) = signed {
                assurance.method = signed.method;
                assurance.publisher_identity = Some(signed.by);
                assurance.signature = Some(Sha256::of(&signed.signature));
                evidence.push(Evidence {
                    name: LIST_SIGNATURE,
                    media_type: "application/octet-stream",
                    bytes: signed.signature,
                });
            }
            evidence.push(Evidence {
                name: LIST,
                media_type: "text/plain",
                bytes: list.bytes,
            });
            expected = Some(list.digest);
        }
        if let Some(key) = &self.checks.minisign
            && assurance.method != AuthenticationMethod::Minisign
            && let Some(found) = self.signature(key)?
        {
            assurance.method = AuthenticationMethod::Minisign;
            assurance.publisher_identity = Some(format!("minisign key {}", key.id()));
            signature = Some(Box::new((found, key.clone())));
        }
        self.demand(&assurance)?;
        let file = PublishedFile {
            size: head.whole_size(),
            validator: head.validator(),
            is_member: false,
            expected: match expected.or(sent) {
                Some(digest) => Expected::Digest(digest),
                None => Expected::Unknown,
            },
            signature,
            claims,
            place: self.url.clone(),
        };
        Ok(Published {
            name: match &file.expected {
                Expected::Digest(digest) => {
                    format!("{} {}", digest.algorithm.title(), digest.hex())
                }
                _ => "what the server has, which publishes no digest of it".into(),
            },
            uri: recorded(&self.url),
            revision: head.header("x-amz-version-id").map(str::to_owned),
            requested: None,
            publisher: None,
            licence: None,
            public: None,
            asset: Asset::Model,
            files: BTreeMap::from([(self.name.clone(), file)]),
            packed: Vec::new(),
            commit_signature: None,
            claims: Vec::new(),
            is_open: false,
            is_single: true,
            evidence,
            assurance,
        })
    }

    fn open(
        &self,
        _: &ArtifactPath,
        file: &PublishedFile,
        from: u64,
        validator: Option<&str>,
    ) -> Result<Content, SourceError> {
        let ask = Ask {
            from,
            validator,
            ..Ask::default()
        };
        Ok(Content::of_answer(self.fetcher.ask(&file.place, &ask)?))
    }
}

impl HttpsChannel {
    /// A signed digest with no name could be put beside any file: then what its signer says besides must name it.
    fn is_of_this_file(&self, list: &FoundList, comment: &str) -> Result<(), SourceError> {
        let name = self.published_name();
        // The whole of a word: `big-model.bin` is not `model.bin`.
        let names = |word: &str| {
            let word = word.strip_prefix("file:").unwrap_or(word);
            let rest = word.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || ENDINGS.contains(&rest))
        };
        if !checksum_list::is_bare(&list.bytes) || comment.split_whitespace().any(names) {
            return Ok(());
        }
        Err(SourceError::Contradiction(vec![format!(
            "{} is signed, and does not say of which file it is",
            list.read_from
        )]))
    }

    /// Who named a key wants its signature, or nothing.
    fn demand(&self, assurance: &Assurance) -> Result<(), SourceError> {
        let missing = |what: &str| {
            Err(SourceError::Contradiction(vec![format!(
                "{}: no signature by the {what} that was named is published beside it",
                shown(&self.url)
            )]))
        };
        if self.checks.minisign.is_some() && assurance.method != AuthenticationMethod::Minisign {
            return missing("minisign key");
        }
        if self.checks.openpgp.is_some() && assurance.method != AuthenticationMethod::Gpg {
            return missing("OpenPGP key");
        }
        Ok(())
    }
}

/// What the headers say of the answer, for a record.
pub(in crate::source) fn http(answer: &Answer) -> Http {
    let text = |name: &str| answer.header(name).and_then(|it| Text::new(it).ok());
    let uri = |peer: &Peer| SourceUri::new(peer.url.as_str()).ok();
    let (first, last) = (answer.peers.first(), answer.peers.last());
    let moved = answer.peers.len() > 1;
    let between = answer.peers.iter().skip(1);
    let between = between.take(answer.peers.len().saturating_sub(2));
    Http {
        status: answer.status(),
        date: text("date"),
        etag: text("etag"),
        last_modified: text("last-modified"),
        final_uri: last.filter(|_| moved).and_then(uri),
        redirects: between.filter_map(uri).collect(),
        served_by: last
            .filter(|last| first.is_some_and(|first| first.host != last.host))
            .and_then(endpoint),
    }
}

/// The digest that the answer says the content has (RFC 9530, RFC 3230, S3), and weaker ones.
fn digests(answer: &Answer) -> (Option<Digest>, Vec<Digest>) {
    let decoded = |algorithm: Algorithm, text: &str| {
        let bytes = decode_base64(text.trim_matches(':'))?;
        (bytes.len() == algorithm.length()).then(|| Digest {
            algorithm,
            bytes: bytes.into(),
        })
    };
    let mut strong = None;
    for (header, separator) in [
        ("repr-digest", ","),
        ("content-digest", ","),
        ("digest", ","),
    ] {
        let value = answer.header(header).unwrap_or_default();
        for one in value.split(separator) {
            let (name, digest) = one.trim().split_once('=').unwrap_or_default();
            let algorithm = match name.to_ascii_lowercase().as_str() {
                "sha-256" => Algorithm::Sha256,
                "sha-512" => Algorithm::Sha512,
                _ => continue,
            };
            strong = strong.or_else(|| decoded(algorithm, digest));
        }
    }
    let amazon = answer.header("x-amz-checksum-sha256");
    let whole = answer
        .header("x-amz-checksum-type")
        .is_none_or(|it| it == "FULL_OBJECT");
    strong = strong.or_else(|| decoded(Algorithm::Sha256, amazon.filter(|_| whole)?));
    let google = answer.header("x-goog-hash").unwrap_or_default();
    let google = google
        .split(',')
        .find_map(|one| one.trim().strip_prefix("md5="));
    let md5 = answer.header("content-md5").or(google);
    let claims = md5.and_then(|text| decoded(Algorithm::Md5, text));
    (strong, claims.into_iter().collect())
}

/// As a record says it: without its query, which can hold a secret under any name.
pub fn recorded(url: &str) -> String {
    shown(url)
}

pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

fn last_part(url: &str) -> String {
    without_query(url)
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn beside(url: &str, name: &str) -> String {
    let url = without_query(url);
    let directory = url.rsplit_once('/').map_or(url, |(directory, _)| directory);
    format!("{directory}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_addresses() {
        let name = |url: &str| file_name(url).map(|path| path.as_str().to_owned());
        assert_eq!(
            name("https://h/a/b%20c.bin?x=1").as_deref(),
            Some("b c.bin")
        );
        for none in [
            "https://h/",
            "https://h/a/",
            "https://h/..%2Fa",
            "https://h/%0A",
            "x",
        ] {
            assert_eq!(name(none), None, "{none}");
        }
        assert_eq!(
            beside("https://h/a/b.bin?x", "SHA256SUMS"),
            "https://h/a/SHA256SUMS"
        );
        assert_eq!(recorded("https://h/a?token=x"), "https://h/a");
        assert_eq!(recorded("https://h/a?st=x"), "https://h/a");
    }
}
