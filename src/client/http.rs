//! One small request and its answer: bounded in size and time, no redirects, no credentials but those that
//! the caller puts in. Proxies as the environment names them.

use std::io::Read;
use std::sync::OnceLock;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    #[error("cannot reach {url}")]
    Request { url: String, source: reqwest::Error },
    #[error("cannot read the answer of {url}")]
    Body { url: String, source: std::io::Error },
    #[error("{url} answers {status}: {body}")]
    Status {
        url: String,
        status: u16,
        body: String,
    },
    #[error("{url} is not https, and what would be sent there is a secret")]
    Plain { url: String },
    #[error("the answer of {url} is larger than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
}

/// A request.
pub struct Request<'a> {
    pub url: &'a str,
    /// `None` gets, `Some` posts.
    pub body: Option<Vec<u8>>,
    pub headers: Vec<(&'a str, String)>,
    /// What must not be shown, should an answer repeat it; with any, the address must be one that nobody
    /// can listen to.
    pub secrets: Vec<&'a str>,
    /// The largest answer.
    pub limit: u64,
    pub timeout: Duration,
}

/// How much of an error page is shown.
const SHOWN: usize = 300;

fn client() -> Result<reqwest::blocking::Client, reqwest::Error> {
    static CLIENT: OnceLock<reqwest::blocking::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    // Whoever embeds the library may have chosen a provider already; then that one serves.
    _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::blocking::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

/// An address without what in it can be a secret: a password, the query, the fragment.
pub fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = bare.split_once("://").unwrap_or(("", bare));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let separator = if scheme.is_empty() { "" } else { "://" };
    crate::path::display(&format!("{scheme}{separator}{host}{path}"))
}

/// Is what is sent to this address for its owner alone?
fn is_private(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    url.scheme() == "https" || local
}

/// The body of a successful answer.
pub fn send(request: Request<'_>) -> Result<Vec<u8>, HttpError> {
    let url = shown(request.url);
    if !request.secrets.is_empty() && !is_private(request.url) {
        return Err(HttpError::Plain { url });
    }

    let failed = |source: reqwest::Error| HttpError::Request {
        url: url.clone(),
        source: source.without_url(),
    };
    let client = client().map_err(failed)?;
    let mut builder = match request.body {
        Some(body) => client.post(request.url).body(body),
        None => client.get(request.url),
    };
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    let response = builder.timeout(request.timeout).send().map_err(failed)?;
    let status = response.status();
    let mut bytes = Vec::new();
    response
        .take(request.limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| HttpError::Body {
            url: url.clone(),
            source,
        })?;
    if !status.is_success() {
        let body = String::from_utf8_lossy(&bytes);
        let repeats = request.secrets.iter().any(|secret| body.contains(secret));
        let body = if repeats {
            "(the answer repeats a secret, and is not shown)".into()
        } else {
            body.trim().chars().take(SHOWN).collect::<String>()
        };

        return Err(HttpError::Status {
            url,
            status: status.as_u16(),
            body: crate::path::display(&body),
        });
    }
    if bytes.len() as u64 > request.limit {
        return Err(HttpError::TooLarge {
            url,
            limit: request.limit,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_secrets() {
        for (url, expected) in [
            ("https://tsa.example/a?key=x", "https://tsa.example/a"),
            ("http://me:pass@host:80/x#y", "http://host:80/x"),
            ("http://me:p@ss@host", "http://host"),
            ("me:pass@host/x", "host/x"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn secrets_go_where_nobody_listens() {
        for url in [
            "https://a.example",
            "http://127.0.0.1:1/x",
            "http://[::1]/",
            "http://localhost:80",
        ] {
            assert!(is_private(url), "{url}");
        }
        for url in [
            "http://a.example",
            "http://localhost.example",
            "http://127.0.0.1@a.example",
            "x",
        ] {
            assert!(!is_private(url), "{url}");
        }
    }
}
