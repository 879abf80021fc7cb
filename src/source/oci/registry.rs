//! A registry (OCI distribution-spec v1.1, and Docker's token authentication): manifests, blobs, and what refers to a
//! manifest; reading, and writing of signatures.

use std::sync::Mutex;

use data_encoding::BASE64;
use reqwest::header::LOCATION;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::manifest::{MAX_MANIFEST, name, spelled};
use super::{Login, Logins, Reference};
use crate::client::fetch::{Answer, Ask, FetchError, Fetcher, Method, Peer};
use crate::digest::Sha256;
use crate::source::SourceError;

/// A repository of a registry, and who asks.
pub struct Registry {
    fetcher: Fetcher,
    base: String,
    repository: String,
    login: Option<Login>,
    /// What was last given to prove who asks.
    authorization: Mutex<Option<Zeroizing<String>>>,
}

/// A manifest as it came.
pub struct Received {
    pub bytes: Vec<u8>,
    pub peers: Vec<Peer>,
    pub media_type: String,
}

const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// The largest answer of whoever gives tokens.
const MAX_TOKEN: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry {
    /// The repository of `reference`. A registry on this machine is asked without TLS, as Docker does.
    pub fn new(reference: &Reference, logins: &Logins) -> Result<Registry, SourceError> {
        let host = reference.host.as_str();
        let bare = host.rsplit_once(':').map_or(host, |(bare, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) {
                bare
            } else {
                host
            }
        });
        let plain = bare.trim_matches(['[', ']']);
        let is_local = plain == "localhost"
            || plain
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        let scheme = if is_local { "http" } else { "https" };
        // Docker Hub answers at another host than it has its name from.
        let at = if host == "docker.io" {
            "registry-1.docker.io"
        } else {
            host
        };
        let login = logins
            .find(host, &reference.repository)
            .map_err(SourceError::Unusable)?;
        let base = format!("{scheme}://{at}");
        Ok(Registry {
            fetcher: Fetcher::new(&base)?,
            base,
            repository: reference.repository.clone(),
            login,
            authorization: Mutex::new(None),
        })
    }

    /// Does somebody known ask?
    pub fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// Does the registry prove who it is?
    pub fn is_https(&self) -> bool {
        self.fetcher.is_https()
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.base, self.repository)
    }

    /// The answer of `url`; if it takes a proof of who asks, with that.
    fn ask(&self, url: &str, ask: &Ask<'_>) -> Result<Answer, FetchError> {
        let known = self.authorization.lock().ok().and_then(|held| held.clone());
        let with = |authorization: Option<&str>| {
            let ask = Ask {
                authorization,
                ..ask.clone()
            };
            self.fetcher.ask(url, &ask)
        };
        match with(known.as_deref().map(String::as_str)) {
            Err(FetchError::Status {
                status: 401,
                challenge: Some(challenge),
                url,
                code,
            }) => {
                let pushes = ask.method == Method::Post || ask.method == Method::Put;
                let Some(proof) = self.prove(&challenge, pushes)? else {
                    return Err(FetchError::Status {
                        status: 401,
                        challenge: None,
                        url,
                        code,
                    });
                };
                let answer = with(Some(&proof));
                if let Ok(mut held) = self.authorization.lock() {
                    *held = Some(proof);
                }
                answer
            }
            answer => answer,
        }
    }

    /// What proves who asks, as the registry wants it.
    fn prove(
        &self,
        challenge: &str,
        pushes: bool,
    ) -> Result<Option<Zeroizing<String>>, FetchError> {
        let basic = self.login.as_ref().filter(|login| !login.user.is_empty());
        let basic = basic.map(|login| {
            let pair = Zeroizing::new(format!("{}:{}", login.user, login.secret.as_str()));
            Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())))
        });
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let Some(realm) = parameter(rest, "realm") else {
            return Ok(None);
        };
        // Whoever gives tokens is named by the registry: not within this network, and not where others listen.
        let issuer = self.fetcher.sent_to(&realm)?;
        let service = parameter(rest, "service").unwrap_or_default();
        let actions = if pushes { "pull,push" } else { "pull" };
        let own = format!("repository:{}:{actions}", self.repository);
        let scope = parameter(rest, "scope").unwrap_or(own);
        let by_token = self.login.as_ref().filter(|login| login.user.is_empty());
        let token = if let Some(login) = by_token {
            // A token of a person is exchanged (docker's "oauth2").
            let mut form =
                reqwest::Url::parse("x:").map_err(|_| FetchError::Address(String::new()))?;
            form.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("service", &service)
                .append_pair("scope", &scope)
                .append_pair("client_id", "weighbridge")
                .append_pair("refresh_token", &login.secret);
            let ask = Ask {
                method: Method::Post,
                headers: vec![("content-type", "application/x-www-form-urlencoded")],
                body: form.query().unwrap_or_default().as_bytes().to_vec(),
                ..Ask::default()
            };
            issuer.ask(&realm, &ask)?.all(MAX_TOKEN)?
        } else {
            let mut url = reqwest::Url::parse(&realm)
                .map_err(|_| FetchError::Address(crate::client::http::shown(&realm)))?;
            url.query_pairs_mut()
                .append_pair("service", &service)
                .append_pair("scope", &scope);
            let ask = Ask {
                authorization: basic.as_deref().map(String::as_str),
                ..Ask::default()
            };
            issuer.ask(url.as_str(), &ask)?.all(MAX_TOKEN)?
        };
        let token: Option<Token> = serde_json::from_slice(&token).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        Ok(token.map(|token| Zeroizing::new(format!("Bearer {token}"))))
    }

    /// The manifest that a tag or a digest names. One that has another digest than it was asked for by is refused.
    pub fn manifest(&self, version: &str) -> Result<Received, SourceError> {
        let ask = Ask {
            headers: vec![("accept", ACCEPTED)],
            ..Ask::default()
        };
        let answer = self.ask(&self.url(&format!("manifests/{version}")), &ask)?;
        let peers = answer.peers.clone();
        let said = answer.header("docker-content-digest").map(str::to_owned);
        let media_type = answer.header("content-type").unwrap_or_default().to_owned();
        let bytes = answer.all(MAX_MANIFEST)?;
        let is = |digest: &str| {
            super::manifest::parse_digest(digest)
                .is_some_and(|digest| *digest.bytes == digest.algorithm.of(&bytes))
        };
        for digest in said.iter().map(String::as_str).chain(Some(version)) {
            if digest.contains(':') && !is(digest) {
                return Err(SourceError::Contradiction(vec![format!(
                    "the manifest {version} has digest {}, and {} was promised",
                    name(&bytes),
                    crate::path::display(digest)
                )]));
            }
        }
        Ok(Received {
            bytes,
            peers,
            media_type,
        })
    }

    /// A blob, from a byte on.
    pub fn blob(&self, digest: &str, from: u64) -> Result<Answer, SourceError> {
        let ask = Ask {
            from,
            ..Ask::default()
        };
        Ok(self.ask(&self.url(&format!("blobs/{digest}")), &ask)?)
    }

    /// A small blob as a whole, which must be what its digest says.
    pub fn small_blob(
        &self,
        digest: &crate::digest::Digest,
        limit: u64,
    ) -> Result<Vec<u8>, SourceError> {
        let name = spelled(digest);
        let bytes = self.blob(&name, 0)?.all(limit)?;
        if *digest.bytes != digest.algorithm.of(&bytes) {
            return Err(SourceError::Contradiction(vec![format!(
                "the blob {name} has another digest"
            )]));
        }
        Ok(bytes)
    }

    /// The list of what refers to a manifest: by the interface for it, or where there is none, by its tag. With it,
    /// whether it was the tag's.
    pub fn referrers(&self, subject: &str) -> Result<Option<(Vec<u8>, bool)>, SourceError> {
        let ask = Ask {
            headers: vec![("accept", "application/vnd.oci.image.index.v1+json")],
            ..Ask::default()
        };
        match self.ask(&self.url(&format!("referrers/{subject}")), &ask) {
            Ok(answer) => {
                // Some answer with a page of their own.
                let is_index = answer.header("content-type").is_some_and(|media| {
                    media.starts_with("application/vnd.oci.image.index.v1+json")
                });
                if is_index {
                    return Ok(Some((answer.all(MAX_MANIFEST)?, false)));
                }
            }
            Err(FetchError::Status { status, .. }) if (400..500).contains(&status) => {}
            Err(error) => return Err(error.into()),
        }
        match self.manifest(&subject.replacen(':', "-", 1)) {
            Ok(found) => Ok(Some((found.bytes, true))),
            Err(SourceError::Fetch(FetchError::Status { status: 404, .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a blob, unless it is there.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<(), SourceError> {
        let digest = format!("sha256:{}", Sha256::of(bytes));
        let head = Ask {
            method: Method::Head,
            ..Ask::default()
        };
        match self.ask(&self.url(&format!("blobs/{digest}")), &head) {
            Ok(_) => return Ok(()),
            Err(FetchError::Status { status: 404, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let begin = Ask {
            method: Method::Post,
            headers: vec![("content-length", "0")],
            ..Ask::default()
        };
        let answer = self.ask(&self.url("blobs/uploads/"), &begin)?;
        let place = answer.header(LOCATION.as_str()).unwrap_or_default();
        let base = reqwest::Url::parse(&self.base).ok();
        let place = base.and_then(|base| base.join(place).ok());
        let mut place = place.ok_or_else(|| {
            SourceError::Unusable("the registry names no place to upload to".into())
        })?;
        if !self.fetcher.is_own(place.as_str()) {
            return Err(SourceError::Unusable(
                "the registry names a place to upload to that is not its own".into(),
            ));
        }
        place.query_pairs_mut().append_pair("digest", &digest);
        let put = Ask {
            method: Method::Put,
            headers: vec![("content-type", "application/octet-stream")],
            body: bytes.to_vec(),
            ..Ask::default()
        };
        self.ask(place.as_str(), &put)?;
        Ok(())
    }

    /// Stores a manifest under a tag or its digest. Does the registry list it with what it refers to?
    pub fn put_manifest(
        &self,
        version: &str,
        media_type: &'static str,
        bytes: &[u8],
    ) -> Result<bool, SourceError> {
        let put = Ask {
            method: Method::Put,
            headers: vec![("content-type", media_type)],
            body: bytes.to_vec(),
            ..Ask::default()
        };
        let answer = self.ask(&self.url(&format!("manifests/{version}")), &put)?;
        Ok(answer.header("oci-subject").is_some())
    }
}

/// `name="value"` among the parameters of a challenge (RFC 9110 §11.2).
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_matches([' ', ',']);
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let text =
            r#"realm="https://auth.example/token",service="reg, x",scope="repository:a:pull""#;
        assert_eq!(
            parameter(text, "realm").as_deref(),
            Some("https://auth.example/token")
        );
        assert_eq!(parameter(text, "service").as_deref(), Some("reg, x"));
        assert_eq!(
            parameter(text, "scope").as_deref(),
            Some("repository:a:pull")
        );
        assert_eq!(parameter(text, "error"), None);
        assert_eq!(
            parameter("realm=x, service=y", "service").as_deref(),
            Some("y")
        );
        assert_eq!(parameter("realm=\"x", "realm"), None);
    }
}
