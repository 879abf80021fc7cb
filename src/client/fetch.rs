//! Asking a server for what may be large: redirects by hand, so that credentials stay where they belong and a
//! server's word leads nowhere that its user did not name; retries; a part of a file.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{StatusCode, Url, header};

use super::address::{is_private, is_within, not_public};
use super::http::shown;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    #[error("{0} is no address of http or https, without a name and password")]
    Address(String),
    #[error("{url} is an address of a private network")]
    Private { url: String },
    #[error("{url} is not an https URL")]
    NotHttps { url: String },
    #[error("cannot reach {url}")]
    Request { url: String, source: reqwest::Error },
    #[error("{url} sends another part than was asked for")]
    Range { url: String },
    #[error("{url} is sent in the encoding {encoding}: its bytes are not the file's")]
    Encoded { url: String, encoding: String },
    #[error("the answer of {url} ends too early")]
    Body { url: String, source: std::io::Error },
    #[error("{url} answers {status}{}", code.as_ref().map_or(String::new(), |code| format!(" ({code})")))]
    Status {
        url: String,
        status: u16,
        /// What the hub calls it.
        code: Option<String>,
        /// How to prove who asks (`WWW-Authenticate`, RFC 9110 §11.6.1).
        challenge: Option<Box<str>>,
    },
    #[error("{url} redirects more than {REDIRECTS} times")]
    Redirects { url: String },
    #[error("{from} redirects to {to}, {why}")]
    Redirect {
        from: String,
        to: String,
        why: &'static str,
    },
    #[error("the answer of {url} is larger than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error("the answer of {url} takes longer than ten minutes")]
    Slow { url: String },
}

const REDIRECTS: usize = 5;
const ATTEMPTS: u32 = 5;
/// For each step: to connect, to get the head of an answer, to get the next piece of it.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// For an answer that is taken as a whole.
const WHOLE: Duration = Duration::from_secs(600);

/// Asks one server, and those to which it sends.
pub struct Fetcher {
    client: Client,
    base: Url,
    /// The user named a machine of his own network: then its answers may lead into it.
    private: OnceLock<bool>,
    guarded: Guarded,
}

/// A question.
#[derive(Clone, Default)]
pub struct Ask<'a> {
    pub headers: Vec<(&'static str, &'a str)>,
    /// What proves who asks; sent to the server itself only.
    pub authorization: Option<&'a str>,
    pub method: Method,
    /// What is posted or put.
    pub body: Vec<u8>,
    /// From this byte on.
    pub from: u64,
    /// And up to this one, which is not wanted any more.
    pub to: Option<u64>,
    /// And only of this version: of another, the whole comes.
    pub validator: Option<&'a str>,
    /// An encoding is a property of what is stored, and the bytes are the stored ones.
    pub takes_encoded: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Get,
    /// The head of the answer alone.
    Head,
    Post,
    Put,
}

/// A server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub host: String,
    /// What was asked of it, without its query.
    pub url: String,
    /// Its certificate in DER, where it proved who it is.
    pub certificate: Option<Vec<u8>>,
}

/// Names to which a server has sent, and that must not lead into a private network.
type Guarded = Arc<Mutex<BTreeSet<String>>>;

/// Resolves names for the connections themselves: what was looked at before may be another the next time. A
/// proxy's name is the user's, and not among those that are guarded.
struct Guard(Guarded);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (name.as_str(), 0).to_socket_addrs().map(Vec::from_iter);
        let found = found.map_err(|error| Box::new(error) as Box<dyn Error + Send + Sync>);
        let guarded = self.0.lock().is_ok_and(|all| all.contains(name.as_str()));
        let leads_in = |all: &[SocketAddr]| all.iter().any(|address| not_public(address.ip()));
        let checked = found.and_then(|all| {
            if guarded && leads_in(&all) {
                return Err("the name leads into a private network".into());
            }
            Ok(Box::new(all.into_iter()) as Addrs)
        });
        Box::pin(std::future::ready(checked))
    }
}

/// An answer whose body was not read yet.
pub struct Answer {
    response: Response,
    /// Who answered: first who was asked, last who sent this.
    pub peers: Vec<Peer>,
    /// The body begins where it was asked to.
    pub partial: bool,
    url: String,
}

impl Fetcher {
    /// For the server at `base`.
    pub fn new(base: &str) -> Result<Fetcher, FetchError> {
        let url = Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or_else(|| FetchError::Address(shown(base)))?;
        // Whoever embeds the library may have chosen a provider already; then that one serves.
        _ = rustls::crypto::ring::default_provider().install_default();
        let guarded = Guarded::default();
        let client = Client::builder()
            .dns_resolver(Arc::new(Guard(Arc::clone(&guarded))))
            .redirect(reqwest::redirect::Policy::none())
            .tls_info(true)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(64)
            .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| FetchError::Request {
                url: shown(base),
                source: source.without_url(),
            })?;
        Ok(Fetcher {
            client,
            private: OnceLock::new(),
            guarded,
            base: url,
        })
    }

    /// For a server whose address came from elsewhere than this machine's owner: one in a private network is not
    /// asked, neither by its number nor by a name that leads there.
    pub fn public(base: &str) -> Result<Fetcher, FetchError> {
        let fetcher = Fetcher::new(base)?;
        if is_private(&fetcher.base) {
            return Err(FetchError::Private { url: shown(base) });
        }
        _ = fetcher.private.set(false);
        let host = fetcher.host().to_owned();
        if let Ok(mut guarded) = fetcher.guarded.lock() {
            guarded.insert(host);
        }
        Ok(fetcher)
    }

    /// The server's host.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Does it prove who it is, and hide what is sent?
    pub fn is_https(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Another server, to which this one sends: not into a private network, unless this is within one, nor to where
    /// everybody can listen.
    pub fn sent_to(&self, url: &str) -> Result<Fetcher, FetchError> {
        let to = Url::parse(url).map_err(|_| FetchError::Address(shown(url)))?;
        self.may_go(&self.base, &to)?;
        let within = *self.private.get_or_init(|| is_within(&self.base));
        if within {
            Fetcher::new(url)
        } else {
            Fetcher::public(url)
        }
    }

    /// Is `url` on the server itself?
    pub fn is_own(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| same_origin(&url, &self.base))
    }

    /// The answer of `url`, a successful one. What may pass is tried again, after a pause.
    pub fn ask(&self, url: &str, ask: &Ask<'_>) -> Result<Answer, FetchError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (error, pause) = match self.follow(url, ask) {
                Ok(answer) => return Ok(answer),
                Err((error, pause)) => (error, pause),
            };
            let Some(pause) = pause.filter(|_| attempt < ATTEMPTS) else {
                return Err(error);
            };
            std::thread::sleep(pause.max(jittered(attempt)));
        }
    }

    /// The same, and the whole body.
    pub fn get(
        &self,
        url: &str,
        ask: &Ask<'_>,
        limit: u64,
    ) -> Result<(Vec<u8>, header::HeaderMap), FetchError> {
        let answer = self.ask(url, ask)?;
        let headers = answer.response.headers().clone();
        Ok((answer.all(limit)?, headers))
    }

    /// Follows redirects. With an error, how long to wait at least before another attempt, if one may help.
    fn follow(&self, url: &str, ask: &Ask<'_>) -> Result<Answer, (FetchError, Option<Duration>)> {
        let wrong = || (FetchError::Address(shown(url)), None);
        let mut at = Url::parse(url).map_err(|_| wrong())?;
        let mut peers = Vec::new();
        for _ in 0..=REDIRECTS {
            let response = self.send(&at, ask)?;
            let info = response.extensions().get::<reqwest::tls::TlsInfo>();
            let der = info.and_then(reqwest::tls::TlsInfo::peer_certificate);
            peers.push(Peer {
                host: at.host_str().unwrap_or_default().to_owned(),
                url: shown(at.as_str()),
                certificate: der.map(<[u8]>::to_vec),
            });

            let status = response.status();
            if status.is_redirection() {
                let location = response.headers().get(header::LOCATION);
                let next = location.and_then(|value| at.join(value.to_str().ok()?).ok());
                let next = next.ok_or_else(|| (status_error(&at, &response), None))?;
                self.may_go(&at, &next).map_err(|error| (error, None))?;
                let sends = matches!(ask.method, Method::Post | Method::Put);
                if sends && !same_origin(&next, &self.base) {
                    let error = FetchError::Redirect {
                        from: shown(at.as_str()),
                        to: shown(next.as_str()),
                        why: "where nothing is sent to",
                    };
                    return Err((error, None));
                }
                at = next;
                continue;
            }
            if status.is_success() {
                let answer = Answer {
                    partial: status == StatusCode::PARTIAL_CONTENT,
                    response,
                    peers,
                    url: shown(at.as_str()),
                };
                answer.must_fit(ask).map_err(|error| (error, None))?;
                return Ok(answer);
            }
            let busy = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
            let after = response.headers().get(header::RETRY_AFTER);
            let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
            let pause = Duration::from_secs(after.unwrap_or(0).min(60));
            let mut error = status_error(&at, &response);
            if let FetchError::Status { challenge, .. } = &mut error
                && !same_origin(&at, &self.base)
            {
                // Who asks is proved to the server itself alone, whoever else may want to know.
                *challenge = None;
            }
            return Err((error, busy.then_some(pause)));
        }
        Err((FetchError::Redirects { url: shown(url) }, None))
    }

    fn send(&self, url: &Url, ask: &Ask<'_>) -> Result<Response, (FetchError, Option<Duration>)> {
        let own = same_origin(url, &self.base);
        let mut builder = match ask.method {
            // What is posted is for the server that was asked.
            Method::Post if own => self.client.post(url.clone()).body(ask.body.clone()),
            Method::Put if own => self.client.put(url.clone()).body(ask.body.clone()),
            Method::Head => self.client.head(url.clone()),
            _ => self.client.get(url.clone()),
        };
        if own {
            for (name, value) in &ask.headers {
                builder = builder.header(*name, *value);
            }
            if let Some(authorization) = ask.authorization {
                builder = builder.header(header::AUTHORIZATION, authorization);
            }
        }
        let last = ask.to.map(|to| to.saturating_sub(1).to_string());
        if ask.from > 0 || last.is_some() {
            let range = format!("bytes={}-{}", ask.from, last.unwrap_or_default());
            builder = builder.header(header::RANGE, range);
            if let Some(validator) = ask.validator {
                builder = builder.header(header::IF_RANGE, validator);
            }
        }
        builder.send().map_err(|source| {
            let source = source.without_url();
            let url = shown(url.as_str());
            (FetchError::Request { url, source }, Some(Duration::ZERO))
        })
    }

    /// A server may send to others, but not from what is encrypted to what is not, nor into this network.
    fn may_go(&self, from: &Url, to: &Url) -> Result<(), FetchError> {
        let refuse = |why| {
            Err(FetchError::Redirect {
                from: shown(from.as_str()),
                to: shown(to.as_str()),
                why,
            })
        };
        if !matches!(to.scheme(), "http" | "https") {
            return refuse("which is no address of http or https");
        }
        if from.scheme() == "https" && to.scheme() != "https" {
            return refuse("where everybody can listen");
        }
        let private = *self.private.get_or_init(|| is_within(&self.base));
        if !private && !same_origin(to, &self.base) {
            if is_private(to) {
                return refuse("an address of a private network");
            }
            let name = to.host_str().unwrap_or_default();
            if let Ok(mut guarded) = self.guarded.lock()
                && Some(name) != self.base.host_str()
            {
                guarded.insert(name.into());
            }
        }
        Ok(())
    }
}

impl Answer {
    /// A header of it, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// A part is what was asked for, and the bytes are those of the file.
    fn must_fit(&self, ask: &Ask<'_>) -> Result<(), FetchError> {
        let range = self.header("content-range").unwrap_or_default();
        let from = range
            .strip_prefix("bytes ")
            .and_then(|range| range.split_once('-')?.0.trim().parse().ok());
        let asked = ask.from > 0 || ask.to.is_some();
        if self.partial && (!asked || from != Some(ask.from)) {
            let url = self.url.clone();
            return Err(FetchError::Range { url });
        }
        let encoding = self.header("content-encoding").unwrap_or("identity");
        if encoding != "identity" && !encoding.is_empty() && !ask.takes_encoded {
            return Err(FetchError::Encoded {
                url: self.url.clone(),
                encoding: crate::path::display(encoding),
            });
        }
        Ok(())
    }

    /// The status by which it succeeded.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The size of the whole, of which this may be the rest.
    pub fn whole_size(&self) -> Option<u64> {
        if self.partial {
            let range = self.header("content-range")?;
            return range.rsplit_once('/')?.1.parse().ok();
        }
        self.header("content-length")?.parse().ok()
    }

    /// What tells this version from any other byte by byte (RFC 9110 §8.8.1): a strong entity tag. A date is none.
    pub fn validator(&self) -> Option<String> {
        let tag = self.header("etag")?;
        (tag.starts_with('"') && tag.len() <= 512).then(|| tag.to_owned())
    }

    /// Who was asked.
    pub fn asked(&self) -> Option<&Peer> {
        self.peers.first()
    }

    /// A piece of the body; nothing at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        loop {
            match self.response.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => {
                    return read.map_err(|source| FetchError::Body {
                        url: self.url.clone(),
                        source,
                    });
                }
            }
        }
    }

    /// The whole body.
    pub fn all(self, limit: u64) -> Result<Vec<u8>, FetchError> {
        let url = self.url;
        let mut bytes = Vec::new();
        let began = Instant::now();
        let mut response = self.response.take(limit + 1);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match response.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|source| FetchError::Body {
                    url: url.clone(),
                    source,
                })?,
            };
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
            // After each piece: whoever sends a byte now and then is slow, too.
            if began.elapsed() > WHOLE {
                return Err(FetchError::Slow { url });
            }
        }
        if bytes.len() as u64 > limit {
            return Err(FetchError::TooLarge { url, limit });
        }
        Ok(bytes)
    }
}

fn status_error(url: &Url, response: &Response) -> FetchError {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let code = header("x-error-code");
    let challenge = header("www-authenticate").filter(|it| it.len() <= 4096);
    FetchError::Status {
        url: shown(url.as_str()),
        status: response.status().as_u16(),
        code: code
            .filter(|code| code.len() < 64 && !code.is_empty())
            .map(crate::path::display),
        challenge: challenge.map(Into::into),
    }
}

/// Longer after each attempt, and never the same for two who began together.
fn jittered(attempt: u32) -> Duration {
    let mut random = [0; 2];
    _ = getrandom::fill(&mut random);
    let jitter = u64::from(u16::from_le_bytes(random)) * 500 / u64::from(u16::MAX);
    Duration::from_millis((200 << attempt) + jitter)
}

fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name to which a server has sent is looked at when it is connected to; a proxy's is not.
    #[test]
    fn a_name_that_leads_in_on_the_second_look() {
        let guarded = Guarded::default();
        let guard = Guard(Arc::clone(&guarded));
        let resolved = || {
            let mut resolving = guard.resolve("localhost".parse().unwrap());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match resolving.as_mut().poll(&mut context) {
                std::task::Poll::Ready(answer) => answer.is_ok(),
                std::task::Poll::Pending => panic!("it is resolved at once"),
            }
        };
        assert!(resolved());
        guarded.lock().unwrap().insert("localhost".into());
        assert!(!resolved());
    }

    #[test]
    fn where_a_server_may_send() {
        let public = Fetcher::new("https://8.8.8.8").unwrap();
        let own = Fetcher::new("http://127.0.0.1:8099").unwrap();
        let go = |fetcher: &Fetcher, to: &str| {
            let to = Url::parse(to).unwrap();
            fetcher.may_go(&fetcher.base, &to).is_ok()
        };
        assert!(go(&public, "https://1.1.1.1/x"));
        assert!(!go(&public, "http://1.1.1.1/x"));
        assert!(!go(&public, "https://169.254.169.254/"));
        assert!(!go(&public, "file:///etc/passwd"));
        assert!(go(&own, "http://127.0.0.1:8098/x"));
        for wrong in ["ftp://a", "https://user:pass@a", "x"] {
            assert!(Fetcher::new(wrong).is_err(), "{wrong}");
        }
    }
}
