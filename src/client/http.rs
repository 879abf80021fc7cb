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

/// Through the proxy that the environment names, or past it: to it what is not encrypted is no secret.
fn client(past_proxies: bool) -> Result<reqwest::blocking::Client, reqwest::Error> {
    static CLIENTS: [OnceLock<reqwest::blocking::Client>; 2] = [OnceLock::new(), OnceLock::new()];
    let [through, past] = &CLIENTS;
    let kept = if past_proxies { past } else { through };
    if let Some(client) = kept.get() {
        return Ok(client.clone());
    }
    // Whoever embeds the library may have chosen a provider already; then that one serves.
    _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::blocking::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")));
    if past_proxies {
        builder = builder.no_proxy();
    }
    let client = builder.build()?;
    Ok(kept.get_or_init(|| client).clone())
}

/// An address without what in it can be a secret: a password, the query, the fragment.
pub fn shown(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let parts = parsed.as_ref().and_then(|url| Some((url, url.host_str()?)));
    let Some((url, host)) = parts else {
        return "(a malformed address)".into();
    };
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let shown = format!("{}://{host}{port}{}", url.scheme(), url.path());
    crate::path::display(&shown)
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
    let in_clear = !request.secrets.is_empty() && !request.url.starts_with("https:");
    let client = client(in_clear).map_err(failed)?;
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
            ("http://me:pass@host:81/x#y", "http://host:81/x"),
            ("http://me:p@ss@host", "http://host/"),
            ("http://me:pa/ss@host", "(a malformed address)"),
            ("me:pass@host/x", "(a malformed address)"),
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
