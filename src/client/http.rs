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
    #[error("the answer of {url} is larger than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
}

/// A request.
pub struct Request<'a> {
    pub url: &'a str,
    /// `None` gets, `Some` posts.
    pub body: Option<Vec<u8>>,
    pub headers: Vec<(&'a str, String)>,
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

/// The body of a successful answer.
pub fn send(request: Request<'_>) -> Result<Vec<u8>, HttpError> {
    // The query of an address can be a secret.
    let url = request.url.split('?').next().unwrap_or_default().to_owned();
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
        let body: String = body.trim().chars().take(SHOWN).collect();
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
