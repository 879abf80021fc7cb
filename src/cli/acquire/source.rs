//! A source as the user names it, and the channel to it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::hub;
use crate::artifact::checksum_list::MAX_LIST;
use crate::cli::failure::Failure;
use crate::disk;
use crate::minisign::{MAX_FILE, MinisignKey};
use crate::path::ArtifactPath;
use crate::source::Channel;
use crate::source::gpg::Fingerprint;
use crate::source::https::{self, Checks, HttpsChannel, List};
use crate::source::hub::{HubChannel, HubSource};

/// Where an artifact is.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Source {
    Hub(HubSource),
    Https(String),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        if https::is_https(text) {
            return Ok(Source::Https(text.into()));
        }
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "hf" => text
                .parse()
                .map(Source::Hub)
                .map_err(|error: crate::source::hub::SourceError| error.to_string()),
            "http" => Err(format!(
                "{}: everybody between could change what comes; an https address is needed",
                crate::path::display(text)
            )),
            _ => Err(format!(
                "{:?} is no source: hf:ORG/NAME[@REVISION] or https://HOST/FILE",
                crate::path::display(text)
            )),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Hub(source) => source.fmt(f),
            Source::Https(url) => f.write_str(&crate::client::http::shown(url)),
        }
    }
}

/// What the publisher's word is compared with.
#[derive(clap::Args, Clone, Default)]
pub(in crate::cli) struct CheckArgs {
    /// Of an https source: the publisher's digest list that must name the file, as `sha256sum` or BSD write it.
    /// Unless given, FILE.sha256, SHA256SUMS and their like are looked for beside the file
    #[arg(long, value_name = "FILE|URL")]
    checksums: Option<String>,
    /// Of an https source: the minisign key that must have signed the list, or the file; the key, or its file
    #[arg(long, value_name = "KEY|FILE")]
    minisign_key: Option<String>,
    /// Of an https source: the OpenPGP key that must have signed the list, by its whole fingerprint; gpg verifies
    #[arg(long, value_name = "FINGERPRINT")]
    openpgp_key: Option<Fingerprint>,
    /// Where that key lies, unless among your own
    #[arg(long, value_name = "FILE", requires = "openpgp_key")]
    keyring: Option<PathBuf>,
}

impl CheckArgs {
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.checksums.is_some() || self.minisign_key.is_some() || self.openpgp_key.is_some()
    }

    fn checks(&self) -> Result<Checks, Failure> {
        let list = match &self.checksums {
            None => None,
            Some(place) if https::is_https(place) => Some(List::Url(place.clone())),
            Some(place) => {
                let path = Path::new(place);
                let name = path.file_name().unwrap_or_default();
                Some(List::Bytes {
                    bytes: disk::read(path, MAX_LIST)?,
                    read_from: name.to_string_lossy().into_owned(),
                })
            }
        };
        let minisign = match &self.minisign_key {
            None => None,
            Some(text) => {
                let parsed = MinisignKey::parse(text).or_else(|error| {
                    let text = disk::read(Path::new(text), MAX_FILE as u64)
                        .ok()
                        .and_then(|bytes| String::from_utf8(bytes).ok());
                    text.map_or(Err(error), |text| MinisignKey::parse(&text))
                });
                Some(parsed.map_err(|error| Failure::because("--minisign-key", &error))?)
            }
        };
        Ok(Checks {
            list,
            minisign,
            openpgp: self.openpgp_key.clone(),
            keyring: self.keyring.clone(),
            scratch: std::env::temp_dir(),
        })
    }
}

impl Source {
    /// The source that a record names, at this revision.
    pub(in crate::cli) fn of_record(uri: &str, revision: Option<&str>) -> Result<Source, Failure> {
        let hub = hub::hub(true)?;
        if let (Some(place), Some(revision)) = (hub.place(uri), revision) {
            let text = format!("hf:{place}@{revision}");
            let source = text.parse().map(Source::Hub);
            return source.map_err(|error| Failure::because(uri, &error));
        }
        uri.parse()
            .map_err(|why: String| Failure::error(format!("the record's source: {why}")))
    }

    /// What it is called where it goes, unless the user says.
    pub(super) fn default_name(&self) -> Result<String, Failure> {
        match self {
            Source::Hub(source) => Ok(source
                .name
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()),
            Source::Https(url) => match https::file_name(url) {
                Some(name) => Ok(name.as_str().to_owned()),
                None => Err(Failure::error(format!("{self} ends in no file name"))
                    .hint("say where it goes: weighbridge acquire URL DEST")),
            },
        }
    }

    /// Whom to ask about it; it goes, or lies, at `dest`.
    pub(in crate::cli) fn channel(
        &self,
        dest: &Path,
        checks: &CheckArgs,
        offline: bool,
    ) -> Result<Box<dyn Channel>, Failure> {
        let is_https = matches!(self, Source::Https(_));
        if checks.is_given() && !is_https {
            return Err(Failure::error(format!(
                "{self} is verified by its own evidence: --checksums, --minisign-key and --openpgp-key are for https sources"
            )));
        }
        match self {
            Source::Hub(source) => Ok(Box::new(HubChannel {
                hub: hub::hub(offline)?,
                source: source.clone(),
            })),
            Source::Https(url) => {
                let name = dest.file_name().unwrap_or_default();
                let name = ArtifactPath::new(&name.to_string_lossy())?;
                let channel = HttpsChannel::new(url, name, checks.checks()?);
                Ok(Box::new(
                    channel.map_err(|error| Failure::because(self, &error))?,
                ))
            }
        }
    }

    /// The address by which records name it.
    pub(in crate::cli) fn uri(&self) -> Result<String, Failure> {
        match self {
            Source::Hub(source) => Ok(hub::hub(true)?.address(source)),
            Source::Https(url) => Ok(https::recorded(url)),
        }
    }

    /// The version of it that is asked for.
    pub(in crate::cli) fn revision(&self) -> Option<&str> {
        match self {
            Source::Hub(source) => source.revision.as_deref(),
            Source::Https(_) => None,
        }
    }
}
