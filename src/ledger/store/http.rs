//! A ledger behind a plain web server (C2SP tlog-tiles, the read path): `GET`, and nothing else.
//! Writes nothing and lists nothing. Sends no credentials.

use std::fmt;
use std::sync::Arc;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode};

use super::runtime::{CONNECT, Patience, limit, wait};
use super::{Created, Store, StoreError};

/// A ledger at an address, for reading.
pub struct HttpStore {
    client: Client,
    /// Without a slash at its end.
    base: Arc<str>,
}

/// May an address without TLS be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// On this machine only.
    Loopback,
    /// Anywhere. Whoever is on the way can then withhold and alter what is read.
    Anywhere,
}

impl HttpStore {
    /// The ledger beneath the address `base`.
    pub fn new(base: &str, plain: PlainHttp) -> Result<HttpStore, StoreError> {
        let wrong = |why: &str| StoreError::Location {
            text: without_secrets(base),
            why: why.into(),
        };
        let url = reqwest::Url::parse(base).map_err(|error| wrong(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("an address must not hold a password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "the address of a ledger has no query and no fragment",
            ));
        }
        let https = url.scheme() == "https";
        if !https && plain == PlainHttp::Loopback && !is_loopback(&url) {
            return Err(wrong("without TLS only this machine is read; use https://"));
        }
        // Builds on the runtime, which chose the TLS provider.
        let client = wait(async move {
            Client::builder()
                .https_only(https)
                .connect_timeout(CONNECT)
                .redirect(Policy::custom(|attempt| {
                    let first = attempt.previous().first();
                    let downgrade = first.is_some_and(|first| first.scheme() == "https")
                        && attempt.url().scheme() != "https";
                    if downgrade || attempt.previous().len() > REDIRECTS {
                        attempt.stop()
                    } else {
                        attempt.follow()
                    }
                }))
                .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
                .build()
        })?;
        Ok(HttpStore {
            client: client.map_err(|error| wrong(&error.to_string()))?,
            base: base.trim_end_matches('/').into(),
        })
    }

    fn read_only<T>(&self) -> Result<T, StoreError> {
        Err(StoreError::ReadOnly {
            place: self.place(),
        })
    }
}

/// One answer with a status that says something, after as many attempts as it takes.
async fn ask(client: &Client, method: Method, url: &str) -> Result<Response, String> {
    let mut patience = Patience::new();
    loop {
        let request = client
            .request(method.clone(), url)
            .header(ACCEPT_ENCODING, "identity")
            .send();
        let (error, again) = match tokio::time::timeout(limit(0), request).await {
            Err(_) => ("the server does not answer".to_owned(), true),
            Ok(Err(error)) => {
                let why = chain(&error.without_url());
                let again = !is_distrust(&why);
                (why, again)
            }
            Ok(Ok(response)) => {
                let status = response.status();
                if !status.is_server_error()
                    && status != StatusCode::TOO_MANY_REQUESTS
                    && status != StatusCode::REQUEST_TIMEOUT
                {
                    return Ok(response);
                }
                let again = status != StatusCode::NOT_IMPLEMENTED;
                (format!("the server answers {}", status.as_u16()), again)
            }
        };
        if !again || !patience.pause().await {
            return Err(error);
        }
    }
}

/// Why there are no bytes.
enum Trouble {
    TooLarge(u64),
    /// Asking again does not help.
    Final(String),
    /// The transfer broke off.
    Transfer(String),
}

/// The bytes of `url`, at most `most`; `None` if the server knows that there are none.
async fn fetch(client: &Client, url: &str, most: u64) -> Result<Option<Vec<u8>>, Trouble> {
    let response = ask(client, Method::GET, url).await;
    let mut response = response.map_err(Trouble::Final)?;
    let status = response.status();
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if status != StatusCode::OK {
        let why = format!("the server answers {}", status.as_u16());
        return Err(Trouble::Final(why));
    }
    let encoding = response.headers().get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        let why = "the server compresses what was asked for as it is";
        return Err(Trouble::Final(why.into()));
    }
    if let Some(size) = response.content_length().filter(|size| *size > most) {
        return Err(Trouble::TooLarge(size));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Trouble::Transfer(chain(&error.without_url())))?
    {
        let size = bytes.len() as u64 + chunk.len() as u64;
        if size > most {
            return Err(Trouble::TooLarge(size));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

impl Store for HttpStore {
    fn read(&self, key: &str, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let (client, url) = (self.client.clone(), format!("{}/{key}", self.base));
        let fetched = wait(async move {
            let mut patience = Patience::new();
            loop {
                let body = tokio::time::timeout(limit(most), fetch(&client, &url, most));
                match body.await {
                    Ok(Err(Trouble::Transfer(why))) => {
                        if !patience.pause().await {
                            return Err(Trouble::Final(why));
                        }
                    }
                    Ok(fetched) => return fetched,
                    Err(_) => {
                        return Err(Trouble::Final("the server sends too slowly".into()));
                    }
                }
            }
        })?;
        fetched.map_err(|trouble| match trouble {
            Trouble::TooLarge(size) => StoreError::too_large(self, key, size, most),
            Trouble::Final(why) | Trouble::Transfer(why) => {
                StoreError::remote(self, "read", key, why)
            }
        })
    }

    fn exists(&self, key: &str) -> Result<bool, StoreError> {
        let (client, url) = (self.client.clone(), format!("{}/{key}", self.base));
        let status = wait(async move {
            let head = ask(&client, Method::HEAD, &url).await;
            match head.map(|response| response.status()) {
                // Not every file server knows HEAD.
                Err(_) | Ok(StatusCode::METHOD_NOT_ALLOWED) => {
                    let response = ask(&client, Method::GET, &url).await?;
                    Ok(response.status())
                }
                status => status,
            }
        })?;
        match status {
            Ok(StatusCode::OK) => Ok(true),
            Ok(StatusCode::NOT_FOUND) => Ok(false),
            Ok(status) => {
                let why = format!("the server answers {}", status.as_u16());
                Err(StoreError::remote(self, "look for", key, why))
            }
            Err(error) => Err(StoreError::remote(self, "look for", key, error)),
        }
    }

    fn create(&self, _: &str, _: &[u8]) -> Result<Created, StoreError> {
        self.read_only()
    }

    fn replace(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        self.read_only()
    }

    fn remove(&self, _: &str) -> Result<(), StoreError> {
        self.read_only()
    }

    fn list(&self, _: &str) -> Result<Vec<String>, StoreError> {
        Err(StoreError::NoList {
            place: self.place(),
        })
    }

    fn place(&self) -> String {
        self.base.to_string()
    }
}

impl fmt::Debug for HttpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpStore({})", self.base)
    }
}

/// Is this address on this machine?
pub(super) fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// An address as it may be shown: nothing before an `@`, and no query.
pub(super) fn without_secrets(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => text.into(),
    }
}

/// Does rustls say so of the server's certificate? Asking again does not help.
pub(super) fn is_distrust(why: &str) -> bool {
    why.contains("invalid peer certificate")
}

/// An error with its sources, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = source.source();
    }
    text
}

const REDIRECTS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_leak_or_can_be_tampered_with_are_refused() {
        for (base, plain, good) in [
            ("https://log.example/a", PlainHttp::Loopback, true),
            ("http://127.0.0.1:80/a", PlainHttp::Loopback, true),
            ("http://[::1]:80/a", PlainHttp::Loopback, true),
            ("http://log.example/a", PlainHttp::Loopback, false),
            ("http://127.0.0.1.log.example/a", PlainHttp::Loopback, false),
            ("http://log.example/a", PlainHttp::Anywhere, true),
            (
                "https://me:secret@log.example/a",
                PlainHttp::Anywhere,
                false,
            ),
            (
                "https://log.example/a?token=secret",
                PlainHttp::Anywhere,
                false,
            ),
        ] {
            let opened = HttpStore::new(base, plain);
            assert_eq!(opened.is_ok(), good, "{base}");
            if let Err(error) = opened {
                assert!(!error.to_string().contains("secret"), "{error}");
            }
        }
    }
}
