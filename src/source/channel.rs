//! What every channel can do: say what is published, and give its files.

use super::hub::HubError;
use super::published::{Assurance, Evidence, Published, PublishedFile};
use crate::artifact::Manifest;
use crate::client::fetch::{Answer, FetchError, Peer};
use crate::digest::Sha256;
use crate::git::snapshot::Snapshot;
use crate::path::ArtifactPath;
use crate::statement::Text;
use crate::statement::acquire::EndpointIdentity;
use crate::x509::Certificate;

/// A source that was named, with what it takes to ask it.
pub trait Channel: Sync {
    /// Asks what is there, and proves as much of it as the source gives evidence for.
    fn published(&self) -> Result<Published, SourceError>;

    /// The content of a file from the byte `from` on. If `validator` is given, only that version of it.
    fn open(
        &self,
        path: &ArtifactPath,
        file: &PublishedFile,
        from: u64,
        validator: Option<&str>,
    ) -> Result<Content, SourceError>;

    /// Can parts be asked for of files whose validator is known?
    fn has_parts(&self) -> bool {
        false
    }

    /// What is of a file from the byte `from` up to `to`, of the version that its validator tells; more may come. Only where
    /// [`Channel::has_parts`].
    fn open_part(
        &self,
        path: &ArtifactPath,
        file: &PublishedFile,
        (from, _): (u64, u64),
    ) -> Result<Content, SourceError> {
        self.open(path, file, from, file.validator.as_deref())
    }

    /// What is to be known of it besides, when its files are here.
    fn described(&self, _: &Manifest) -> Result<Vec<Evidence>, SourceError> {
        Ok(Vec::new())
    }

    /// How it is known that the source is the source, when its files are here.
    fn assured(&self, at_first: &Assurance) -> Assurance {
        at_first.clone()
    }

    /// What was not understood, or is warned of, for people; after it was asked.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// What to do if it cannot be had.
    fn hint(&self) -> &'static str {
        "check the address, and whether the network is there"
    }
}

/// Content that comes.
pub struct Content {
    body: Box<dyn Body>,
    /// It begins where it was asked to, and not at its start.
    pub is_rest: bool,
    /// How large the whole is, if it is said.
    pub size: Option<u64>,
    /// What tells this version from any other.
    pub validator: Option<String>,
}

trait Body {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError>;
}

impl Body for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        Ok(Answer::read(self, buffer)?)
    }
}

/// A file on this machine.
struct Local(std::fs::File);

impl Body for Local {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            match std::io::Read::read(&mut self.0, buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(SourceError::Read {
                        place: "a file of the source".into(),
                        source,
                    });
                }
                Ok(count) => return Ok(count),
            }
        }
    }
}

impl std::io::Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Content::read(self, buffer).map_err(std::io::Error::other)
    }
}

impl Content {
    /// What is left of a file that has `size` bytes.
    pub(crate) fn of_file(file: std::fs::File, size: u64) -> Content {
        Content {
            is_rest: true,
            size: Some(size),
            validator: None,
            body: Box::new(Local(file)),
        }
    }

    /// What a server answers to a question for what comes after `from`.
    pub fn of_answer(answer: Answer) -> Content {
        Content {
            is_rest: answer.partial,
            size: answer.whole_size(),
            validator: answer.validator(),
            body: Box::new(answer),
        }
    }

    /// A piece of it; nothing at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        self.body.read(buffer)
    }
}

/// Why a source does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What it says does not fit together, or what it publishes is not what was promised.
    #[error("{}", .0.join("; "))]
    Contradiction(Vec<String>),
    /// What it says cannot be read, or is more than is taken.
    #[error("{0}")]
    Unusable(String),
    #[error("cannot read {place}")]
    Read {
        place: String,
        source: std::io::Error,
    },
}

/// Refuses a commit that cannot be verified file by file.
pub(super) fn refuse_others(snapshot: &Snapshot, source: &str) -> Result<(), SourceError> {
    if snapshot.files.is_empty() && snapshot.others.is_empty() {
        return Err(SourceError::Contradiction(vec![format!(
            "{source} holds no file"
        )]));
    }
    if snapshot.others.is_empty() {
        return Ok(());
    }
    let lines = snapshot.others.iter();
    let lines = lines.map(|(path, why)| {
        format!(
            "{path} {why}: such a repository cannot be verified file by file, and is not acquired"
        )
    });
    Err(SourceError::Contradiction(lines.collect()))
}

/// Who answered, as a record says it.
pub fn endpoint(peer: &Peer) -> Option<EndpointIdentity> {
    let der = peer.certificate.as_deref();
    // What is odd about a certificate that TLS has accepted is left out, not the rest.
    let certificate = der.and_then(|der| Certificate::from_der(der).ok());
    Some(EndpointIdentity {
        host: Text::new(peer.host.as_str()).ok()?,
        cert_sha256: der.map(Sha256::of),
        spki_sha256: certificate.as_ref().map(Certificate::key_id),
        issuer: certificate
            .as_ref()
            .and_then(|one| Text::new(one.issuer()).ok()),
        not_after: certificate.as_ref().map(|one| one.validity().1),
    })
}

impl SourceError {
    /// Was something looked at, and found wrong? Else it could not be looked at.
    pub fn is_contradiction(&self) -> bool {
        matches!(
            self,
            SourceError::Contradiction(_)
                | SourceError::Hub(HubError::Git { .. } | HubError::Listing { .. })
        )
    }

    /// Can it be otherwise the next time? What the server answered was asked for often enough.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            SourceError::Fetch(FetchError::Body { .. })
                | SourceError::Hub(HubError::Fetch(FetchError::Body { .. }))
        )
    }
}
