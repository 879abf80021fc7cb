//! HTTPS (RFC 9110 over TLS): fetches one small document and says who served it.
//! No plain HTTP, not even after a redirect; bounded in size, time and redirects. Sends no
//! credentials.

use std::io::Read;
use std::time::Duration;

use crate::digest::Sha256;

/// A document and who served it.
#[derive(Debug)]
pub struct Fetched {
    pub bytes: Vec<u8>,
    /// After redirects.
    pub final_url: String,
    /// The host that served it.
    pub host: String,
    /// SHA-256 of that host's certificate in DER.
    pub certificate: Option<Sha256>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpsError {
    #[error("cannot fetch {url}")]
    Request { url: String, source: reqwest::Error },
    #[error("cannot read {url}")]
    Body { url: String, source: std::io::Error },
    #[error("{url} answers {status}")]
    Status { url: String, status: u16 },
    #[error("{url} is larger than the limit of {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error("{url} is not an https URL")]
    NotHttps { url: String },
}

const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const REDIRECTS: usize = 5;

/// Is this something that [`fetch`] would fetch?
pub fn is_https(text: &str) -> bool {
    text.get(..8)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// Fetches `url`, which may have at most `limit` bytes.
pub fn fetch(url: &str, limit: u64) -> Result<Fetched, HttpsError> {
    if !is_https(url) {
        return Err(HttpsError::NotHttps { url: url.into() });
    }
    let failed = |source: reqwest::Error| HttpsError::Request {
        url: url.into(),
        // The message would repeat the URL.
        source: source.without_url(),
    };
    // Whoever embeds the library may have chosen a provider already; then that one serves.
    _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::blocking::Client::builder()
        .https_only(true)
        .tls_info(true)
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
        .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(failed)?;
    let response = client.get(url).send().map_err(failed)?;
    if !response.status().is_success() {
        return Err(HttpsError::Status {
            url: url.into(),
            status: response.status().as_u16(),
        });
    }
    let certificate = response
        .extensions()
        .get::<reqwest::tls::TlsInfo>()
        .and_then(reqwest::tls::TlsInfo::peer_certificate)
        .map(Sha256::of);
    let host = response.url().host_str().unwrap_or_default().to_owned();
    // The query of a presigned URL is a secret; scheme, host and path say where it was.
    let mut final_url = response.url().clone();
    final_url.set_query(None);
    final_url.set_fragment(None);
    let final_url = final_url.to_string();
    let mut bytes = Vec::new();
    response
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| HttpsError::Body {
            url: url.into(),
            source,
        })?;
    if bytes.len() as u64 > limit {
        return Err(HttpsError::TooLarge {
            url: url.into(),
            limit,
        });
    }
    Ok(Fetched {
        bytes,
        final_url,
        host,
        certificate,
    })
}
