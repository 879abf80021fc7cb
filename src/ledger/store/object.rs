//! A ledger in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.
//! One object per key. Writers coordinate by conditional writes (`If-None-Match: *`, or what the
//! service has in its place), which `probe` puts to the test.
//!
//! The client's own retries are off: it takes a lost answer for a request that was not sent, and
//! would tell a writer that somebody else took the key that it took itself.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
};

use super::http::{chain, is_distrust, is_loopback, without_secrets};
use super::runtime::{CONNECT, Patience, limit, wait};
use super::{Created, Store, StoreError};

/// A ledger in a bucket.
pub struct BucketStore {
    bucket: Arc<Bucket>,
}

struct Bucket {
    objects: Arc<dyn ObjectStore>,
    /// Lists page by page; a store without it lists folder by folder.
    pages: Option<Arc<dyn PaginatedListStore>>,
    /// Of every key: empty, or with a slash at its end.
    prefix: String,
    place: String,
    /// What no message may show.
    secrets: Vec<String>,
}

/// Which service a bucket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    S3,
    Google,
    Azure,
}

impl BucketStore {
    /// The ledger at `url`, under `prefix` in the bucket that it names. `options` are the names and
    /// values that the service's tools read from the environment, such as `AWS_ENDPOINT_URL`;
    /// others are left alone.
    pub fn open(
        service: Service,
        url: &str,
        prefix: &str,
        options: &[(String, String)],
    ) -> Result<BucketStore, StoreError> {
        let mine: Vec<(String, &String)> = options
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .filter(|(name, value)| name.starts_with(service.options()) && !value.is_empty())
            .collect();
        let secrets: Vec<String> = mine
            .iter()
            .filter(|(name, _)| SECRET.iter().any(|word| name.contains(word)))
            .map(|(_, value)| (*value).clone())
            .collect();
        let place = without_secrets(url);
        let wrong = |error: &dyn std::error::Error| StoreError::Location {
            text: place.clone(),
            why: hidden(&secrets, chain(error)),
        };
        Path::parse(prefix).map_err(|error| wrong(&error))?;
        // An address without TLS is for this machine, unless the user says otherwise in an option.
        let local = mine.iter().any(|(name, value)| {
            name.contains("endpoint")
                && reqwest::Url::parse(value).is_ok_and(|url| is_loopback(&url))
        });
        let client = ClientOptions::new()
            .with_allow_http(local)
            .with_connect_timeout(CONNECT)
            .with_timeout(Duration::from_secs(4 * 3600));
        let retry = RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        };
        macro_rules! build {
            ($builder:expr) => {{
                let mut builder = $builder
                    .with_url(url)
                    .with_client_options(client)
                    .with_retry(retry);
                for (name, value) in &mine {
                    // What the client does not know belongs to another tool.
                    if let Ok(key) = name.parse() {
                        builder = builder.with_config(key, *value);
                    }
                }
                // Builds on the runtime, which chose the TLS provider.
                let built = wait(async move { builder.build() })?;
                let built = Arc::new(built.map_err(|error| wrong(&error))?);
                (
                    built.clone() as Arc<dyn ObjectStore>,
                    built as Arc<dyn PaginatedListStore>,
                )
            }};
        }
        let (objects, pages) = match service {
            Service::S3 => build!(
                // Deletes one key by one request, which a bucket's policy can forbid.
                object_store::aws::AmazonS3Builder::new().with_disable_bulk_delete(true)
            ),
            Service::Google => build!(object_store::gcp::GoogleCloudStorageBuilder::new()),
            Service::Azure => build!(object_store::azure::MicrosoftAzureBuilder::new()),
        };
        Ok(BucketStore::new(
            objects,
            Some(pages),
            prefix,
            place,
            secrets,
        ))
    }

    /// A ledger in the memory of this process, for tests.
    pub fn in_memory() -> BucketStore {
        let objects = Arc::new(object_store::memory::InMemory::new());
        BucketStore::new(objects, None, "", "memory:".into(), Vec::new())
    }

    fn new(
        objects: Arc<dyn ObjectStore>,
        pages: Option<Arc<dyn PaginatedListStore>>,
        prefix: &str,
        place: String,
        secrets: Vec<String>,
    ) -> BucketStore {
        let prefix = prefix.trim_matches('/');
        BucketStore {
            bucket: Arc::new(Bucket {
                objects,
                pages,
                prefix: if prefix.is_empty() {
                    String::new()
                } else {
                    format!("{prefix}/")
                },
                place,
                secrets,
            }),
        }
    }

    /// Runs one operation on the runtime.
    fn run<T, F>(
        &self,
        operation: &'static str,
        key: &str,
        future: impl FnOnce(Arc<Bucket>, Path) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        let path = Path::parse(format!("{}{key}", self.bucket.prefix))
            .map_err(|error| StoreError::remote(self, operation, key, error.to_string()))?;
        let result = wait(future(self.bucket.clone(), path))?;
        result.map_err(|trouble| match trouble {
            Trouble::TooLarge { size, limit } => StoreError::too_large(self, key, size, limit),
            Trouble::TooMany => {
                let why = format!("there are more than {MAX_KEYS} keys");
                StoreError::remote(self, operation, key, why)
            }
            Trouble::Client(error) => {
                let why = hidden(&self.bucket.secrets, chain(&error));
                StoreError::remote(self, operation, key, why)
            }
            Trouble::Slow => {
                let why = "the server does not answer".to_owned();
                StoreError::remote(self, operation, key, why)
            }
        })
    }
}

impl Service {
    /// How the names of its options begin.
    fn options(self) -> &'static str {
        match self {
            Service::S3 => "aws_",
            Service::Google => "google_",
            Service::Azure => "azure_",
        }
    }
}

/// Why an operation failed.
enum Trouble {
    Client(Error),
    Slow,
    TooLarge { size: u64, limit: u64 },
    TooMany,
}

/// What a failed request tells about what the server did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing was done, and trying again may help.
    None,
    /// It may have been done.
    Unknown,
    /// It was refused, and will be again.
    Refused,
}

/// The client keeps the status to itself, so a status is read from its message.
fn effect(error: &Trouble) -> Effect {
    let error = match error {
        Trouble::Client(error) => error,
        Trouble::Slow => return Effect::Unknown,
        _ => return Effect::Refused,
    };
    if !matches!(error, Error::Generic { .. }) {
        return Effect::Refused;
    }
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return match error.kind() {
                HttpErrorKind::Connect if is_distrust(&chain(error)) => Effect::Refused,
                HttpErrorKind::Connect => Effect::None,
                _ => Effect::Unknown,
            };
        }
        next = error.source();
    }
    let text = error.to_string();
    let transient = ["code: 5", "code: 408", "code: 429", "error response"];
    if transient.iter().any(|part| text.contains(part)) && !text.contains("code: 501") {
        return Effect::Unknown;
    }
    Effect::Refused
}

/// A request that may take as long as `bytes` take.
async fn timed<T>(
    bytes: u64,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(limit(bytes), request).await {
        Ok(result) => result.map_err(Trouble::Client),
        Err(_) => Err(Trouble::Slow),
    }
}

/// Repeats an operation that can be repeated without harm.
async fn repeated<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Trouble>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let mut patience = Patience::new();
    loop {
        match attempt().await {
            Err(trouble) if effect(&trouble) != Effect::Refused && patience.pause().await => {}
            result => return result,
        }
    }
}

impl Bucket {
    async fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Trouble> {
        repeated(|| async {
            let found = match timed(0, self.objects.get(path)).await {
                Err(Trouble::Client(Error::NotFound { .. })) => return Ok(None),
                found => found?,
            };
            // The size is the Content-Length, and no more than that is taken from the connection.
            let size = found.meta.size;
            if size > limit {
                return Err(Trouble::TooLarge { size, limit });
            }
            let bytes = timed(size, found.bytes()).await?;
            Ok(Some(bytes.into()))
        })
        .await
    }

    async fn exists(&self, path: &Path) -> Result<bool, Trouble> {
        repeated(|| async {
            match timed(0, self.objects.head(path)).await {
                Ok(_) => Ok(true),
                Err(Trouble::Client(Error::NotFound { .. })) => Ok(false),
                Err(trouble) => Err(trouble),
            }
        })
        .await
    }

    async fn create(&self, path: &Path, bytes: &PutPayload) -> Result<Created, Trouble> {
        let size = bytes.content_length() as u64;
        let mut patience = Patience::new();
        // Did an earlier attempt of ours perhaps succeed?
        let mut doubt = false;
        loop {
            let request = self
                .objects
                .put_opts(path, bytes.clone(), PutMode::Create.into());
            match timed(size, request).await {
                Ok(_) => return Ok(Created::New),
                Err(Trouble::Client(
                    error @ (Error::AlreadyExists { .. } | Error::Precondition { .. }),
                )) => {
                    // S3 also answers so to one of two writers at once, of whom neither may succeed.
                    if doubt && self.holds(path, bytes).await? {
                        return Ok(Created::New);
                    }
                    if self.exists(path).await? {
                        return Ok(Created::Exists);
                    }
                    if !patience.pause().await {
                        return Err(Trouble::Client(error));
                    }
                }
                Err(trouble) => match effect(&trouble) {
                    Effect::Refused => return Err(trouble),
                    effect => {
                        doubt |= effect == Effect::Unknown;
                        if !patience.pause().await {
                            // The last word is what is there.
                            let ours = doubt && self.holds(path, bytes).await?;
                            return if ours { Ok(Created::New) } else { Err(trouble) };
                        }
                    }
                },
            }
        }
    }

    /// Is it these bytes that lie under `path`?
    async fn holds(&self, path: &Path, bytes: &PutPayload) -> Result<bool, Trouble> {
        match self.read(path, bytes.content_length() as u64).await {
            Ok(Some(found)) => Ok(bytes.iter().flatten().eq(&found)),
            Ok(None) | Err(Trouble::TooLarge { .. }) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// All keys that begin with `prefix`, in any order.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, Trouble> {
        let full = format!("{}{prefix}", self.prefix);
        let mut keys = Vec::new();
        let Some(pages) = &self.pages else {
            self.list_folders(&full, &mut keys).await?;
            return Ok(keys);
        };
        let mut page_token = None;
        loop {
            let page = repeated(|| {
                let options = PaginatedListOptions {
                    page_token: page_token.clone(),
                    ..PaginatedListOptions::default()
                };
                timed(0, pages.list_paginated(Some(&full), options))
            })
            .await?;
            let objects = page.result.objects.iter();
            keys.extend(objects.filter_map(|object| self.key(object.location.as_ref(), &full)));
            if keys.len() > MAX_KEYS {
                return Err(Trouble::TooMany);
            }
            match page.page_token {
                // A server that gives the same page again would do so for ever.
                Some(next) if page_token.as_ref() == Some(&next) => return Err(Trouble::TooMany),
                Some(next) => page_token = Some(next),
                None => return Ok(keys),
            }
        }
    }

    async fn list_folders(&self, full: &str, keys: &mut Vec<String>) -> Result<(), Trouble> {
        let folder = full.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut pending = vec![Path::from(folder)];
        while let Some(folder) = pending.pop() {
            let found = timed(0, self.objects.list_with_delimiter(Some(&folder))).await?;
            let objects = found.objects.iter();
            keys.extend(objects.filter_map(|object| self.key(object.location.as_ref(), full)));
            if keys.len() > MAX_KEYS {
                return Err(Trouble::TooMany);
            }
            pending.extend(found.common_prefixes);
        }
        Ok(())
    }

    /// The key of the object at `location`, if that begins with `full`.
    fn key(&self, location: &str, full: &str) -> Option<String> {
        let wanted = location.starts_with(full);
        let key = location.strip_prefix(self.prefix.as_str())?;
        wanted.then(|| key.to_owned())
    }
}

impl Store for BucketStore {
    fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.run("read", key, |bucket, path| async move {
            bucket.read(&path, limit).await
        })
    }

    fn read_all(&self, keys: &[String], limit: u64) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        let parts = keys.chunks(keys.len().div_ceil(AT_ONCE).max(1));
        std::thread::scope(|scope| {
            let read = |part: &[String]| -> Vec<_> {
                part.iter().map(|key| self.read(key, limit)).collect()
            };
            let parts: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
            let stopped = || StoreError::Runtime("a thread that reads has stopped".into());
            let answers = parts
                .into_iter()
                .flat_map(|part| part.join().unwrap_or_else(|_| vec![Err(stopped())]));
            answers.collect()
        })
    }

    fn exists(&self, key: &str) -> Result<bool, StoreError> {
        self.run("look for", key, |bucket, path| async move {
            bucket.exists(&path).await
        })
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let bytes = PutPayload::from(bytes.to_vec());
        self.run("create", key, |bucket, path| async move {
            bucket.create(&path, &bytes).await
        })
    }

    fn create_all(&self, items: &[(String, Vec<u8>)]) -> Result<Vec<Created>, StoreError> {
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((key, bytes)) = items.get(index) else {
                    return Ok(done);
                };
                match self.create(key, bytes) {
                    Ok(created) => done.push((index, created)),
                    Err(error) => {
                        // Nothing further is begun.
                        next.store(items.len(), Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        };
        let mut done = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..items.len().min(AT_ONCE))
                .map(|_| scope.spawn(worker))
                .collect();
            let mut all = Vec::with_capacity(items.len());
            for worker in workers {
                let part = worker.join().unwrap_or_else(|_| {
                    let why = "a writer of this process stopped";
                    Err(StoreError::Runtime(why.into()))
                });
                all.extend(part?);
            }
            Ok::<_, StoreError>(all)
        })?;
        done.sort_unstable_by_key(|(index, _)| *index);
        Ok(done.into_iter().map(|(_, created)| created).collect())
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let size = bytes.len() as u64;
        let bytes = PutPayload::from(bytes.to_vec());
        self.run("write", key, |bucket, path| async move {
            repeated(|| async {
                let put = bucket.objects.put(&path, bytes.clone());
                timed(size, put).await.map(|_| ())
            })
            .await
        })
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.run("remove", key, |bucket, path| async move {
            repeated(|| async {
                match timed(0, bucket.objects.delete(&path)).await {
                    Err(Trouble::Client(Error::NotFound { .. })) => Ok(()),
                    result => result,
                }
            })
            .await
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let wanted = prefix.to_owned();
        // The operation's own path is not used: a prefix may end in the middle of a name.
        let mut keys = self.run(
            "list",
            "",
            |bucket, _| async move { bucket.list(&wanted).await },
        )?;
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    fn place(&self) -> String {
        self.bucket.place.clone()
    }
}

impl fmt::Debug for BucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketStore({})", self.bucket.place)
    }
}

/// A message without secrets, and not longer than a person reads.
fn hidden(secrets: &[String], mut text: String) -> String {
    for secret in secrets {
        text = text.replace(secret.as_str(), "…");
    }
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(600)
        .collect()
}

/// Words in the names of options whose values are secret.
const SECRET: &[&str] = &["secret", "password", "token", "key", "sas", "credential"];

/// Requests in flight.
const AT_ONCE: usize = 16;

/// The most keys that are listed: a ledger of some hundred million entries.
const MAX_KEYS: usize = 4_000_000;
