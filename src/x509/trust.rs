//! Whose certificates count: trust anchors, which of the certificates under them, and what was revoked.

use std::fmt;

use super::revocation::{self, Crl, Revocation};
use super::{Certificate, ChainError, Purpose, path};
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
    /// One of its alternative names: an address, a host, a URI.
    Name(String),
}

/// A certificate or key that its owner no longer answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// SHA-256 over a certificate, or over a SubjectPublicKeyInfo.
    pub digest: Sha256,
    /// From when on. What a trusted timestamp places before it still counts.
    pub since: Option<Timestamp>,
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
            Pin::Name(name) => write!(f, "alternative name {name:?}"),
        }
    }
}

impl Pin {
    fn fits(&self, leaf: &Certificate) -> bool {
        match self {
            Pin::Fingerprint(digest) => leaf.fingerprint() == *digest,
            Pin::Subject(subject) => leaf.subject() == subject,
            Pin::Name(expected) => leaf
                .names()
                .iter()
                .any(|name| name.text() == Some(expected.as_str())),
        }
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
            let withdrawn = self.revoked.iter().find(|one| {
                one.digest == certificate.fingerprint() || one.digest == certificate.key_id()
            });
            let Some(withdrawn) = withdrawn else { continue };
            let before = |since| signed_at.is_some_and(|signed| signed < since);
            if !withdrawn.since.is_some_and(before) {
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
            Revocation::Good => Ok(path),
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
