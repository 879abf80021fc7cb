//! Where a ledger is, as a person writes it: a path or an address. Opens the store that is there.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{DirectoryStore, Store, StoreError};

/// Where a ledger is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    Directory(PathBuf),
    /// `s3://bucket/prefix`
    S3(Address),
    /// `gs://bucket/prefix`
    Google(Address),
    /// `az://container/prefix`, `abfss://container@account.dfs.core.windows.net/prefix`
    Azure(Address),
    /// `https://…`, which is read and never written.
    Http(String),
}

/// A bucket and what its keys begin with.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: String,
    prefix: String,
}

impl Location {
    /// Reads a location.
    pub fn parse(text: &str) -> Result<Location, StoreError> {
        let wrong = |why: &str| StoreError::Location {
            text: shown(text),
            why: why.into(),
        };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Location::Directory(text.into()));
        };
        let scheme = scheme.to_ascii_lowercase();
        let address = || {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if rest.contains(['?', '#', '%', '\\']) || rest.contains(char::is_whitespace) {
                return Err(wrong("the address of a bucket is scheme://bucket/prefix"));
            }
            let at = bucket.contains('@') && !scheme.starts_with("abfs");
            if bucket.is_empty() || at || bucket.contains(':') {
                return Err(wrong("the name of the bucket is missing or not a name"));
            }
            let prefix = prefix.trim_end_matches('/');
            if !prefix.is_empty()
                && prefix
                    .split('/')
                    .any(|part| matches!(part, "" | "." | ".."))
            {
                return Err(wrong("the prefix has an empty or relative part"));
            }
            Ok(Address {
                url: format!("{scheme}://{}", rest.trim_end_matches('/')),
                prefix: prefix.into(),
            })
        };
        match scheme.as_str() {
            "s3" => Ok(Location::S3(address()?)),
            "gs" => Ok(Location::Google(address()?)),
            "az" | "abfs" | "abfss" => Ok(Location::Azure(address()?)),
            "http" | "https" => Ok(Location::Http(text.into())),
            "postgres" | "postgresql" => Err(wrong(
                "a database holds slots only; name it as slots, beside a ledger elsewhere",
            )),
            _ => Err(wrong(
                "this is not a path, s3://, gs://, az://, abfss:// or https://",
            )),
        }
    }

    /// The same, where a path is relative to the directory `base`.
    #[must_use]
    pub fn relative_to(self, base: Option<&Path>) -> Location {
        match (self, base) {
            (Location::Directory(path), Some(base)) if !base.as_os_str().is_empty() => {
                Location::Directory(base.join(path))
            }
            (location, _) => location,
        }
    }

    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Location::Directory(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => write!(f, "{}", path.display()),
            Location::S3(address) | Location::Google(address) | Location::Azure(address) => {
                f.write_str(&address.url)
            }
            Location::Http(url) => f.write_str(&shown(url)),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// The store at `location`. `options` are names and values as in the environment: credentials,
/// endpoints and regions by the names that each service's own tools use. `WEIGHBRIDGE_ALLOW_HTTP`
/// set to `1` reads a ledger without TLS.
pub fn open(
    location: &Location,
    options: impl IntoIterator<Item = (String, String)>,
) -> Result<Box<dyn Store>, StoreError> {
    if let Location::Directory(path) = location {
        return Ok(Box::new(DirectoryStore::new(path)));
    }
    let options: Vec<(String, String)> = options.into_iter().collect();
    open_remote(location, &options)
}

#[cfg(feature = "http")]
fn open_remote(
    location: &Location,
    options: &[(String, String)],
) -> Result<Box<dyn Store>, StoreError> {
    use super::http::{HttpStore, PlainHttp};
    use super::object::{BucketStore, Service};

    let bucket = |service, address: &Address| {
        let store = BucketStore::open(service, &address.url, &address.prefix, options)?;
        Ok(Box::new(store) as Box<dyn Store>)
    };
    match location {
        Location::Directory(path) => Ok(Box::new(DirectoryStore::new(path))),
        Location::S3(address) => bucket(Service::S3, address),
        Location::Google(address) => bucket(Service::Google, address),
        Location::Azure(address) => bucket(Service::Azure, address),
        Location::Http(url) => {
            let allowed = options
                .iter()
                .any(|(name, value)| name == "WEIGHBRIDGE_ALLOW_HTTP" && value == "1");
            let plain = if allowed {
                PlainHttp::Anywhere
            } else {
                PlainHttp::Loopback
            };
            Ok(Box::new(HttpStore::new(url, plain)?))
        }
    }
}

#[cfg(not(feature = "http"))]
fn open_remote(
    location: &Location,
    _options: &[(String, String)],
) -> Result<Box<dyn Store>, StoreError> {
    Err(StoreError::Location {
        text: location.to_string(),
        why: "this program was built without the feature http".into(),
    })
}

/// As it may be shown: an address can hold a password or a token.
fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.into();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match rest.rsplit_once('@') {
        Some((_, rest)) if !scheme.starts_with("abfs") => format!("{scheme}://{rest}"),
        _ => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for (text, shown) in [
            ("ledger", Some("ledger")),
            ("/a b/ledger", Some("/a b/ledger")),
            ("s3://bucket", Some("s3://bucket")),
            ("S3://bucket/a/b/", Some("s3://bucket/a/b")),
            ("gs://bucket/a", Some("gs://bucket/a")),
            ("az://container/a", Some("az://container/a")),
            (
                "abfss://c@account.dfs.core.windows.net/a",
                Some("abfss://c@account.dfs.core.windows.net/a"),
            ),
            ("https://log.example/a", Some("https://log.example/a")),
            ("", None),
            ("s3://", None),
            ("s3:///a", None),
            ("s3://key:secret@bucket/a", None),
            ("s3://bucket/a/../b", None),
            ("s3://bucket//a", None),
            ("s3://bucket/a?versionId=1", None),
            ("ftp://host/a", None),
            ("postgres://me:secret@host/database", None),
        ] {
            match (Location::parse(text), shown) {
                (Ok(location), Some(shown)) => assert_eq!(location.to_string(), shown),
                (Err(error), None) => assert!(!error.to_string().contains("secret"), "{error}"),
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
    }

    #[test]
    fn only_a_path_is_relative() {
        let base = Some(Path::new("/base"));
        let of = |text| Location::parse(text).unwrap().relative_to(base).to_string();
        assert_eq!(of("ledger"), "/base/ledger");
        assert_eq!(of("/ledger"), "/ledger");
        assert_eq!(of("s3://bucket/a"), "s3://bucket/a");
    }
}
