//! Whose certificates count: trust anchors, which of the certificates under them, and what was revoked.

use std::fmt;

use super::revocation::{self, Crl, Revocation};
use super::{Certificate, ChainError, Purpose, SubjectName, path};
use crate::digest::Sha256;
use crate::time::Timestamp;

/// Anchors and pins. An empty list of anchors trusts nobody.
#[derive(Clone, Debug, Default)]
pub struct CertificateTrust {
    pub anchors: Vec<Certificate>,
    /// What the signer's certificate must be. Without one, every certificate under the anchors will do.
    pub pins: Vec<Pin>,
    /// Revocation lists. If there are any, each certificate below the anchor must be on a current one's
    /// good side.
    pub lists: Vec<Crl>,
    /// Certificates and keys that no longer count, whatever their authority says.
    pub revoked: Vec<Withdrawn>,
}

/// One property of the signer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// SHA-256 over it.
    Fingerprint(Sha256),
    /// The subject as RFC 4514 writes it.
    Subject(String),
    /// One of its alternative names, of this kind: an authority that may only name hosts must not name
    /// somebody by a host that looks like his address.
    Name(SubjectName),
}

/// Why a pin is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is empty")]
pub struct PinError;

/// A certificate or key that its owner no longer answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// SHA-256 over a certificate, or over a SubjectPublicKeyInfo.
    pub digest: Sha256,
    /// From when on. What a trusted timestamp places before it still counts.
    pub since: Option<Timestamp>,
    pub by: WithdrawnBy,
}

/// Who says that a key or a certificate no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithdrawnBy {
    Policy,
    /// A record in the ledger.
    Record {
        index: u64,
        /// Older records that it signed count: the log's order shows that they were there before.
        older_count: bool,
    },
}

/// Why a signer's certificate does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    #[error("{0}")]
    Chain(#[from] ChainError),
    #[error("the certificate of {found} is another than expected: {expected}")]
    Pin { found: String, expected: String },
    #[error("{0}")]
    Revoked(String),
    #[error("whether a certificate was revoked is not known: {0}")]
    Unknown(String),
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pin::Fingerprint(digest) => write!(f, "fingerprint {digest}"),
            Pin::Subject(subject) => write!(f, "subject {subject:?}"),
            Pin::Name(name) => write!(f, "alternative name {name}"),
        }
    }
}

impl Pin {
    /// An alternative name: `email:`, `uri:` or `dns:` and the name, or the name alone, whose kind is seen
    /// from its form.
    pub fn name(text: &str) -> Result<Pin, PinError> {
        let prefixed = |prefix: &str| {
            let (head, rest) = text.split_once(':')?;
            head.eq_ignore_ascii_case(prefix).then(|| rest.to_owned())
        };
        let name = if let Some(name) = prefixed("email") {
            SubjectName::Email(name)
        } else if let Some(name) = prefixed("dns") {
            SubjectName::Dns(name)
        } else if let Some(name) = prefixed("uri") {
            SubjectName::Uri(name)
        } else if text.contains(':') {
            SubjectName::Uri(text.into())
        } else if text.contains('@') {
            SubjectName::Email(text.into())
        } else {
            SubjectName::Dns(text.into())
        };
        match name.text() {
            None | Some("") => Err(PinError),
            Some(_) => Ok(Pin::Name(name)),
        }
    }

    /// A subject, which must not be empty: that is the subject of every certificate that has none.
    pub fn subject(text: &str) -> Result<Pin, PinError> {
        if text.is_empty() {
            return Err(PinError);
        }
        Ok(Pin::Subject(text.into()))
    }

    fn fits(&self, leaf: &Certificate) -> bool {
        match self {
            Pin::Fingerprint(digest) => leaf.fingerprint() == *digest,
            Pin::Subject(subject) => leaf.subject() == subject,
            Pin::Name(expected) => leaf.names().contains(expected),
        }
    }
}

impl fmt::Display for WithdrawnBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WithdrawnBy::Policy => f.write_str("in the policy"),
            WithdrawnBy::Record { index, .. } => write!(f, "by record {index}"),
        }
    }
}

impl Withdrawn {
    /// Does `certificate` no longer count, for what somebody trusted says to have existed at `signed_at`?
    pub fn withdraws(&self, certificate: &Certificate, signed_at: Option<Timestamp>) -> bool {
        certificate.is_named_by(&self.digest) && !self.came_after(signed_at)
    }

    /// Was it withdrawn after that time?
    pub fn came_after(&self, signed_at: Option<Timestamp>) -> bool {
        signed_at.is_some_and(|signed| self.since.is_some_and(|since| signed < since))
    }
}

impl CertificateTrust {
    /// Does the first of `chain` count, at `now`, or if somebody trusted says so at `signed_at`? The path
    /// to the anchor.
    pub fn admit<'a>(
        &'a self,
        chain: &'a [Certificate],
        signed_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<&'a Certificate>, TrustError> {
        let (leaf, pool) = chain.split_first().ok_or(ChainError::NoAnchors)?;
        let at = signed_at.unwrap_or(now);
        let path = path::build(leaf, pool, &self.anchors, Purpose::CodeSigning, at)?;
        if let Some(pin) = self.pins.iter().find(|pin| !pin.fits(leaf)) {
            return Err(TrustError::Pin {
                found: path::label(leaf),
                expected: pin.to_string(),
            });
        }
        for certificate in &path {
            let withdrawn = self
                .revoked
                .iter()
                .find(|one| one.withdraws(certificate, signed_at));
            if let Some(withdrawn) = withdrawn {
                let since = withdrawn
                    .since
                    .map_or(String::new(), |since| format!(" as of {since}"));
                let name = path::label(certificate);
                return Err(TrustError::Revoked(format!(
                    "the policy revokes the certificate of {name}{since}"
                )));
            }
        }
        if self.lists.is_empty() {
            return Ok(path);
        }
        match revocation::check(&path, &self.lists, signed_at, now) {
            Revocation::Good | Revocation::NotAsked => Ok(path),
            Revocation::Revoked { subject, revoked } => {
                let reason = revoked
                    .reason
                    .map_or(String::new(), |reason| format!(" ({reason:?})"));
                Err(TrustError::Revoked(format!(
                    "the certificate of {subject} was revoked as of {}{reason}",
                    revoked.since
                )))
            }
            Revocation::Unknown(why) => Err(TrustError::Unknown(why)),
        }
    }
}
