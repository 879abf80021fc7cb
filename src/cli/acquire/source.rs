//! A source as the user names it, and the channel to it.

use std::fmt;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::lists::ListSource;
use super::{aws, hub};
use crate::artifact::checksum_list::MAX_LIST;
use crate::cli::context::variable;
use crate::cli::failure::Failure;
use crate::cli::trust;
use crate::disk;
use crate::key::PublicKey;
use crate::minisign::{MAX_FILE, MinisignKey};
use crate::path::ArtifactPath;
use crate::sigstore::trust::Instance;
use crate::sigstore::{Expect, KeylessTrust};
use crate::source::directory::DirectoryChannel;
use crate::source::gpg::{Fingerprint, Key};
use crate::source::https::{self, Checks, HttpsChannel, List};
use crate::source::hub::{HubChannel, HubSource};
use crate::source::oci::manifest::spelled;
use crate::source::oci::referrers::ImageSigner;
use crate::source::oci::{
    Layout, LayoutReference, Logins, OciChannel, OllamaStore, Reference, ReferenceError, Registry,
};
use crate::source::s3::{ObjectReference, ObjectReferenceError, S3Channel};
use crate::source::{Channel, SourceError};

/// How many questions are asked at once about objects.
const CONNECTIONS: NonZero<usize> = NonZero::new(16).unwrap();

/// Where an artifact is.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Source {
    Hub(HubSource),
    Https(String),
    Oci(Reference),
    /// In a directory.
    Layout(LayoutReference),
    /// In Ollama's own store on this machine.
    Ollama(Reference),
    S3(ObjectReference),
    List(ListSource),
    /// Here; what it carries says where it is from.
    Directory(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        if https::is_https(text) {
            return Ok(Source::Https(text.into()));
        }
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        if scheme.is_empty() || scheme.contains(['/', '.']) {
            return Ok(Source::Directory(text.into()));
        }
        match scheme {
            "hf" => text
                .parse()
                .map(Source::Hub)
                .map_err(|error: crate::source::hub::SourceError| error.to_string()),
            "oci" => text
                .parse()
                .map(Source::Oci)
                .map_err(|error: ReferenceError| error.to_string()),
            "oci-layout" => text
                .parse()
                .map(Source::Layout)
                .map_err(|error: ReferenceError| error.to_string()),
            "ollama" => Reference::of_ollama(text)
                .map(Source::Oci)
                .map_err(|error| error.to_string()),
            "ollama-store" => {
                Reference::of_ollama(text.strip_prefix("ollama-store:").unwrap_or(text))
                    .map(Source::Ollama)
                    .map_err(|error| error.to_string())
            }
            "s3" => text
                .parse()
                .map(Source::S3)
                .map_err(|error: ObjectReferenceError| error.to_string()),
            "http" => Err(format!(
                "{}: everybody between could change what comes; an https address is needed",
                crate::path::display(text)
            )),
            _ => Err(format!(
                "{:?} is no source: hf:ORG/NAME[@REVISION], oci://HOST/REPOSITORY[:TAG], ollama:NAME[:TAG], ollama-store:NAME[:TAG], \
                 oci-layout:DIRECTORY[:TAG], s3://BUCKET/KEY or https://HOST/FILE",
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
            Source::Oci(reference) => reference.fmt(f),
            Source::Layout(reference) => reference.fmt(f),
            Source::Ollama(reference) => write!(f, "{reference} in the store of Ollama"),
            Source::S3(reference) => reference.fmt(f),
            Source::List(list) => {
                f.write_str(&crate::path::display(&list.path().display().to_string()))
            }
            Source::Directory(path) => {
                f.write_str(&crate::path::display(&path.display().to_string()))
            }
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
    /// The OpenPGP key that must have signed the list of an https source, or the commit of a hub or a checkout, by its
    /// whole fingerprint; gpg verifies
    #[arg(long, value_name = "FINGERPRINT")]
    openpgp_key: Option<Fingerprint>,
    /// Where that key lies, unless among your own
    #[arg(long, value_name = "FILE", requires = "openpgp_key")]
    keyring: Option<PathBuf>,
    /// Of an OCI source: the public key that must have signed the manifest, as `cosign sign --key` or `sign --attach`
    /// do; in PEM
    #[arg(long, value_name = "FILE")]
    image_key: Option<PathBuf>,
    /// Of an OCI source: who must have signed the manifest keyless, as `cosign sign` or `sign --keyless --attach` do: an
    /// address or a URI, exactly
    #[arg(
        long,
        value_name = "NAME",
        requires = "image_issuer",
        conflicts_with = "image_key"
    )]
    image_identity: Option<String>,
    /// The same as a regular expression for the whole name, from its first character to its last
    #[arg(long, value_name = "REGEX", requires = "image_issuer", conflicts_with_all = ["image_key", "image_identity"])]
    image_identity_regexp: Option<String>,
    /// Who vouches for that identity: the `OpenID` Connect issuer, exactly
    #[arg(long, value_name = "URL", conflicts_with = "image_key")]
    image_issuer: Option<String>,
    /// The Sigstore instance of that signature, as a trusted root or a `ClientTrustConfig`; unless given, the public one
    #[arg(long, value_name = "FILE", requires = "image_issuer")]
    image_trusted_root: Option<PathBuf>,
    /// Of a hub: compute the hashes of Xet as well, and compare those that are published. Costs about as much again as
    /// SHA-256
    #[arg(long)]
    xet: bool,
}

impl CheckArgs {
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.is_for_https() || self.openpgp_key.is_some() || self.is_for_images()
    }

    fn is_for_https(&self) -> bool {
        self.checksums.is_some() || self.minisign_key.is_some()
    }

    fn is_for_images(&self) -> bool {
        self.image_key.is_some() || self.image_issuer.is_some()
    }

    fn openpgp(&self) -> Option<Key> {
        let fingerprint = self.openpgp_key.clone()?;
        Some(Key {
            fingerprint,
            keyring: self.keyring.clone(),
            scratch: std::env::temp_dir(),
        })
    }

    fn image_signer(&self) -> Result<Option<ImageSigner>, Failure> {
        if let Some(issuer) = &self.image_issuer {
            let identity = match (&self.image_identity, &self.image_identity_regexp) {
                (Some(name), _) => Expect::exact(name),
                (None, Some(pattern)) => Expect::pattern(pattern),
                (None, None) => {
                    return Err(Failure::error(
                        "--image-issuer vouches for whoever logs in there: --image-identity is missing",
                    ));
                }
            };
            let wrong = |error| Failure::because("--image-identity", &error);
            let issuer = Expect::exact(issuer);
            let root = trust::root(self.image_trusted_root.as_deref(), Instance::Production)?;
            let trust = KeylessTrust::new(
                root,
                identity.map_err(wrong)?,
                issuer.map_err(|error| Failure::because("--image-issuer", &error))?,
            );
            return Ok(Some(ImageSigner::Keyless(Box::new(trust))));
        }
        let Some(path) = &self.image_key else {
            return Ok(None);
        };
        let pem = disk::read(path, MAX_FILE as u64)?;
        let pem = String::from_utf8_lossy(&pem);
        let key = PublicKey::from_pem(&pem);
        key.map(|key| Some(ImageSigner::Key(Box::new(key))))
            .map_err(|error| Failure::because(path.display(), &error))
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
            openpgp: self.openpgp(),
        })
    }
}

impl Source {
    /// The source that a record names, at this revision.
    pub(in crate::cli) fn of_record(
        uri: &str,
        revision: Option<&str>,
        is_single: bool,
    ) -> Result<Source, Failure> {
        let hub = hub::hub(true)?;
        if let (Some(place), Some(revision)) = (hub.place(uri), revision) {
            let text = format!("hf:{place}@{revision}");
            let source = text.parse().map(Source::Hub);
            return source.map_err(|error| Failure::because(uri, &error));
        }
        let digest = revision.filter(|revision| revision.starts_with("sha"));
        let text = match digest {
            Some(digest) if uri.starts_with("oci") => format!("{uri}@{digest}"),
            None if uri.starts_with("s3://") => match revision {
                Some(version) => format!("{uri}?versionId={version}"),
                None if is_single => uri.to_owned(),
                None => format!("{uri}/"),
            },
            _ => uri.to_owned(),
        };
        text.parse()
            .map_err(|why: String| Failure::error(format!("the record's source: {why}")))
    }

    /// Does it take no network?
    pub(super) fn is_here(&self, adopts: bool) -> bool {
        match self {
            Source::Directory(_) | Source::Layout(_) | Source::Ollama(_) => true,
            Source::List(_) => adopts,
            Source::Hub(_) | Source::Https(_) | Source::Oci(_) | Source::S3(_) => false,
        }
    }

    /// All that lies beneath it, where its address may mean that: a key without a slash behind it.
    pub(super) fn whole(&self) -> Option<Source> {
        match self {
            Source::S3(reference) if reference.version.is_none() && !reference.is_prefix() => {
                let key = format!("{}/", reference.key);
                Some(Source::S3(ObjectReference {
                    key,
                    ..reference.clone()
                }))
            }
            _ => None,
        }
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
            Source::Oci(Reference { repository, .. })
            | Source::Ollama(Reference { repository, .. }) => {
                Ok(repository.rsplit('/').next().unwrap_or_default().to_owned())
            }
            Source::Layout(_) => Err(Failure::error(format!("{self} has no name of its own"))
                .hint("say where it goes: weighbridge acquire oci-layout:DIRECTORY DEST")),
            Source::List(_) => Err(Failure::error("a list has no name for what it becomes")
                .hint("say where it goes: weighbridge acquire --from-csv FILE DEST")),
            Source::Directory(path) => Ok(path.display().to_string()),
            Source::S3(reference) => {
                let key = reference.key.trim_end_matches('/');
                let name = key.rsplit('/').next().filter(|name| !name.is_empty());
                Ok(name.unwrap_or(&reference.bucket).to_owned())
            }
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
        if checks.is_for_https() && !matches!(self, Source::Https(_)) {
            return Err(Failure::error(format!(
                "{self} is verified by its own evidence: --checksums and --minisign-key are for https sources"
            )));
        }
        let has_signer = matches!(
            self,
            Source::Https(_) | Source::Hub(_) | Source::Directory(_)
        );
        if checks.openpgp_key.is_some() && !has_signer {
            return Err(Failure::error(format!(
                "{self} has no OpenPGP signature: --openpgp-key is for https sources and for commits"
            )));
        }
        if checks.is_for_images() && !matches!(self, Source::Oci(_)) {
            return Err(Failure::error(format!(
                "{self} is in no registry, where signatures are attached: --image-key and --image-identity are for those"
            )));
        }
        let fail = |error: SourceError| Failure::because(self, &error);
        match self {
            Source::Hub(source) => Ok(Box::new(HubChannel::new(
                hub::hub(offline)?,
                source.clone(),
                checks.openpgp(),
                checks.xet,
            ))),
            Source::Https(url) => {
                let name = dest.file_name().unwrap_or_default();
                let name = ArtifactPath::new(&name.to_string_lossy())?;
                let channel = HttpsChannel::new(url, name, checks.checks()?);
                Ok(Box::new(
                    channel.map_err(|error| Failure::because(self, &error))?,
                ))
            }
            Source::Oci(reference) => Ok(Box::new(OciChannel::Registry {
                registry: Box::new(Registry::new(reference, &logins()).map_err(fail)?),
                reference: reference.clone(),
                signer: checks.image_signer()?,
            })),
            Source::Layout(reference) => Ok(Box::new(OciChannel::Layout(
                Layout::open(reference).map_err(fail)?,
            ))),
            Source::Ollama(reference) => {
                let store = ollama_store()
                    .and_then(|place| OllamaStore::open(&place, reference).map_err(fail));
                Ok(Box::new(OciChannel::Ollama(store?, reference.clone())))
            }
            Source::S3(reference) => {
                let name = dest.file_name().unwrap_or_default();
                let name = ArtifactPath::new(&name.to_string_lossy()).ok();
                let channel = S3Channel::new(reference, aws::account()?, name, CONNECTIONS);
                Ok(Box::new(channel.map_err(fail)?))
            }
            Source::List(list) => Ok(Box::new(list.channel()?)),
            Source::Directory(path) => {
                let path = std::path::absolute(path)
                    .map_err(|error| Failure::because(path.display(), &error))?;
                Ok(Box::new(DirectoryChannel::new(path, checks.openpgp())))
            }
        }
    }

    /// The address by which records name it.
    pub(in crate::cli) fn uri(&self) -> Result<String, Failure> {
        match self {
            Source::Hub(source) => Ok(hub::hub(true)?.address(source)),
            Source::Https(url) => Ok(https::recorded(url)),
            Source::Oci(reference) | Source::Ollama(reference) => Ok(reference.address()),
            Source::S3(reference) => Ok(reference.address()),
            Source::List(_) | Source::Directory(_) => Err(Failure::error(format!(
                "{self} is no source that could be asked again"
            ))),
            Source::Layout(reference) => {
                let layout = Layout::open(reference);
                Ok(layout
                    .map_err(|error| Failure::because(self, &error))?
                    .address())
            }
        }
    }

    /// The version of it that is asked for.
    pub(in crate::cli) fn revision(&self) -> Option<String> {
        match self {
            Source::Hub(source) => source.revision.clone(),
            Source::Https(_) | Source::List(_) | Source::Directory(_) => None,
            Source::Oci(Reference { digest, .. })
            | Source::Ollama(Reference { digest, .. })
            | Source::Layout(LayoutReference { digest, .. }) => digest.as_ref().map(spelled),
            Source::S3(reference) => reference.version.clone(),
        }
    }
}

/// Where logins of registries are kept, as Docker and Podman look for them.
pub(in crate::cli) fn logins() -> Logins {
    let path = |name: &str| variable(name).map(PathBuf::from);
    let home = path("HOME");
    let docker = path("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    let runtime = path("XDG_RUNTIME_DIR").map(|it| it.join("containers/auth.json"));
    let config = path("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let files = [
        path("REGISTRY_AUTH_FILE"),
        docker.map(|it| it.join("config.json")),
        runtime,
        config.map(|it| it.join("containers/auth.json")),
    ];
    Logins {
        files: files.into_iter().flatten().collect(),
    }
}

/// Where Ollama keeps its models.
fn ollama_store() -> Result<PathBuf, Failure> {
    let home = || Some(PathBuf::from(variable("HOME")?).join(".ollama/models"));
    let place = variable("OLLAMA_MODELS").map(PathBuf::from).or_else(home);
    place.ok_or_else(|| {
        Failure::error("it is not known where Ollama keeps its models")
            .hint("name it by OLLAMA_MODELS")
    })
}
