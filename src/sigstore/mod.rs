//! Sigstore keyless signatures: a short-lived certificate that names who logged in, with proof that the
//! signature was made while it held. Bytes in, answers out: everything is verified offline.
//!
//! What must be proved is said here, in our own types. The proving itself is behind
//! [`KeylessVerifier`], so that no type of the crates that do it gets out of `native`.

#[cfg(feature = "sigstore")]
mod duplicates;
pub mod expect;
#[cfg(feature = "sigstore")]
mod native;
pub mod signing_config;
pub mod trust;
#[cfg(feature = "sigstore")]
pub mod tuf;

use std::fmt;
use std::sync::Arc;

use crate::digest::Sha256;
use crate::finding::Rule;
use crate::time::Timestamp;
use crate::x509::Withdrawn;

pub use expect::{Expect, PatternError};

/// Proves that a bundle's certificate was issued, logged and used in time.
pub trait KeylessVerifier: Send + Sync {
    /// Verifies the whole bundle but for who signed: certificate, log, timestamps, signature, and that
    /// it is about `digest`.
    fn prove(&self, bundle: &[u8], digest: Sha256, ask: Ask) -> Result<Proof, KeylessError>;

    /// Verifies a bundle that was signed with the key in `spki` (DER) instead of a certificate.
    fn prove_key(
        &self,
        bundle: &[u8],
        subject: &Subject<'_>,
        spki: &[u8],
    ) -> Result<Proof, KeylessError>;

    /// The same as [`KeylessVerifier::prove`], of a file or a digest.
    fn prove_subject(
        &self,
        bundle: &[u8],
        subject: &Subject<'_>,
        ask: Ask,
    ) -> Result<Proof, KeylessError>;
}

/// What a bundle is to be about.
pub enum Subject<'a> {
    Digest(Sha256),
    Bytes(&'a [u8]),
}

/// What evidence is demanded. Leaving one out is for private instances that do not run the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Inclusion in the transparency log.
    pub log: bool,
    /// Inclusion of the certificate in a certificate transparency log.
    pub certificate_log: bool,
}

impl Ask {
    /// What the public instance gives.
    pub const ALL: Ask = Ask {
        log: true,
        certificate_log: true,
    };
}

/// What was proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Who logged in: an address or a URI, from the certificate.
    pub identity: String,
    /// Who vouches for that: the OpenID Connect issuer.
    pub issuer: String,
    /// What else the certificate says, by the names of Fulcio's extensions.
    pub claims: Vec<(&'static str, String)>,
    /// When the signature existed, from log and timestamp authorities, the earliest first.
    pub times: Vec<Timestamp>,
    /// SHA-256 over the certificate.
    pub certificate: Option<Sha256>,
}

/// The claims that a certificate can make beside identity and issuer, by the names that Fulcio's
/// documentation gives its extensions.
pub const CLAIMS: [&str; 21] = [
    "build-signer-uri",
    "build-signer-digest",
    "runner-environment",
    "source-repository-uri",
    "source-repository-digest",
    "source-repository-ref",
    "source-repository-identifier",
    "source-repository-owner-uri",
    "source-repository-owner-identifier",
    "build-config-uri",
    "build-config-digest",
    "build-trigger",
    "run-invocation-uri",
    "source-repository-visibility-at-signing",
    "deployment-environment",
    "token-subject",
    "github-workflow-trigger",
    "github-workflow-sha",
    "github-workflow-name",
    "github-workflow-repository",
    "github-workflow-ref",
];

/// Whose keyless signature counts.
#[derive(Clone)]
pub struct KeylessTrust {
    pub verifier: Arc<dyn KeylessVerifier>,
    pub identity: Expect,
    pub issuer: Expect,
    /// Further claims of the certificate, by the names of [`Proof::claims`].
    pub claims: Vec<(String, Expect)>,
    pub ask: Ask,
    /// Certificates and keys that no longer count.
    pub revoked: Vec<Withdrawn>,
}

impl fmt::Debug for KeylessTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeylessTrust({} by {})", self.identity, self.issuer)
    }
}

/// Why a keyless signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeylessError {
    #[error("{0}")]
    Bundle(String),
    #[error("the signature does not verify: {0}")]
    Signature(String),
    #[error("the bundle is about something else: {0}")]
    Subject(String),
    #[error("the certificate does not count: {0}")]
    Certificate(String),
    #[error("the proof of logging does not count: {0}")]
    Log(String),
    #[error("there is no trusted time of the signature: {0}")]
    Time(String),
    #[error("{field} is stated twice in the bundle, as {one} and as {other}")]
    Contradiction {
        field: &'static str,
        one: String,
        other: String,
    },
    #[error("signed by {found}, expected is {expected}")]
    Identity { found: String, expected: String },
    #[error("{found} vouches for the signer, expected is {expected}")]
    Issuer { found: String, expected: String },
    #[error("the certificate's {name} is {found}, expected is {expected}")]
    Claim {
        name: String,
        found: String,
        expected: String,
    },
    #[error("the trust root cannot be used: {0}")]
    Root(String),
}

impl KeylessError {
    /// The rule that failed.
    pub fn rule(&self) -> Rule {
        match self {
            KeylessError::Bundle(_) | KeylessError::Contradiction { .. } => Rule::SignatureFormat,
            KeylessError::Signature(_) => Rule::SignatureKey,
            KeylessError::Subject(_) => Rule::SignatureStatement,
            KeylessError::Certificate(_) | KeylessError::Root(_) => Rule::SignatureCertificate,
            KeylessError::Log(_) => Rule::SignatureLog,
            KeylessError::Time(_) => Rule::SignatureTime,
            KeylessError::Identity { .. }
            | KeylessError::Issuer { .. }
            | KeylessError::Claim { .. } => Rule::SignatureIdentity,
        }
    }
}

impl KeylessTrust {
    /// `identity`, for whom `issuer` vouches, with all the proof there can be.
    pub fn new(
        verifier: Arc<dyn KeylessVerifier>,
        identity: Expect,
        issuer: Expect,
    ) -> KeylessTrust {
        KeylessTrust {
            verifier,
            identity,
            issuer,
            claims: Vec::new(),
            ask: Ask::ALL,
            revoked: Vec::new(),
        }
    }

    /// Verifies `bundle`, which is about `digest`, and that it is by whom is expected.
    pub fn verify(&self, bundle: &[u8], digest: Sha256) -> Result<Proof, KeylessError> {
        let proof = self.verifier.prove(bundle, digest, self.ask)?;
        self.admit(&proof)?;
        Ok(proof)
    }

    /// Is it by whom is expected?
    pub fn admit(&self, proof: &Proof) -> Result<(), KeylessError> {
        if !self.identity.matches(&proof.identity) {
            return Err(KeylessError::Identity {
                found: proof.identity.clone(),
                expected: self.identity.to_string(),
            });
        }
        if !self.issuer.matches(&proof.issuer) {
            return Err(KeylessError::Issuer {
                found: proof.issuer.clone(),
                expected: self.issuer.to_string(),
            });
        }
        for (name, expected) in &self.claims {
            let found = proof.claims.iter().find(|(claim, _)| claim == name);
            let found = found.map_or("", |(_, value)| value.as_str());
            if !expected.matches(found) {
                let found = if found.is_empty() { "absent" } else { found };
                return Err(KeylessError::Claim {
                    name: name.clone(),
                    found: found.into(),
                    expected: expected.to_string(),
                });
            }
        }
        Ok(())
    }
}
