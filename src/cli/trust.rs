//! Whom to trust, by flags: keys, certificates, logins; and the files that these are in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::failure::Failure;
use super::keys;
use crate::credential::Credential;
use crate::digest::Sha256;
use crate::disk;
use crate::key::Signer;
use crate::sigstore::KeylessTrust;
use crate::sigstore::trust::{Instance, MAX_TRUST_ROOT, public, verifier};
use crate::sigstore::{Expect, KeylessVerifier};
use crate::x509::revocation::MAX_CRL;
use crate::x509::{Certificate, CertificateTrust, Crl, Pin, PinError};

/// The largest file of certificates.
const MAX_PEM: u64 = 16 * 1024 * 1024;

/// Whose signature to accept, instead of the identities of the policy.
#[derive(Args, Clone, Default)]
pub(super) struct TrustArgs {
    /// A trusted public key, in PEM; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Whose signature counts")]
    key: Vec<PathBuf>,
    /// Certificates of trusted authorities, in PEM; may be repeated
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["certificate_identity", "certificate_identity_regexp", "certificate_oidc_issuer", "certificate_oidc_issuer_regexp", "trusted_root"],
        help_heading = "Whose signature counts"
    )]
    certificate_chain: Vec<PathBuf>,
    /// The signer's certificate must have this alternative name: an address, a host or a URI; email:, dns:
    /// or uri: before it says which
    #[arg(
        long,
        value_name = "NAME",
        requires = "certificate_chain",
        help_heading = "Whose signature counts"
    )]
    certificate_name: Option<String>,
    /// The signer's certificate must have this subject, as RFC 4514 writes it
    #[arg(
        long,
        value_name = "DN",
        requires = "certificate_chain",
        help_heading = "Whose signature counts"
    )]
    certificate_subject: Option<String>,
    /// The signer's certificate must have this SHA-256 fingerprint
    #[arg(
        long,
        value_name = "HEX",
        requires = "certificate_chain",
        help_heading = "Whose signature counts"
    )]
    certificate_fingerprint: Option<Sha256>,
    /// Revocation lists of these authorities, in PEM or DER; may be repeated
    #[arg(
        long,
        value_name = "FILE",
        requires = "certificate_chain",
        help_heading = "Whose signature counts"
    )]
    crl: Vec<PathBuf>,
    /// Who logged in to sign keyless: an address or a URI, exactly
    #[arg(long, value_name = "NAME", help_heading = "Whose signature counts")]
    certificate_identity: Option<String>,
    /// The same as a regular expression for the whole name, from its first character to its last
    #[arg(
        long,
        value_name = "REGEX",
        conflicts_with = "certificate_identity",
        help_heading = "Whose signature counts"
    )]
    certificate_identity_regexp: Option<String>,
    /// Who vouches for that: the OpenID Connect issuer, exactly
    #[arg(long, value_name = "URL", help_heading = "Whose signature counts")]
    certificate_oidc_issuer: Option<String>,
    /// The same as a regular expression for the whole address
    #[arg(
        long,
        value_name = "REGEX",
        conflicts_with = "certificate_oidc_issuer",
        help_heading = "Whose signature counts"
    )]
    certificate_oidc_issuer_regexp: Option<String>,
    /// The Sigstore instance, as a trusted root or a ClientTrustConfig; unless given, the public one
    #[arg(long, value_name = "FILE", help_heading = "Whose signature counts")]
    trusted_root: Option<PathBuf>,
    /// Certificates of timestamp authorities, in PEM, whose word counts for when it was signed
    #[arg(long, value_name = "FILE", help_heading = "Whose signature counts")]
    timestamp_authorities: Vec<PathBuf>,
}

impl TrustArgs {
    /// Is anybody named?
    pub(super) fn is_empty(&self) -> bool {
        self.key.is_empty() && self.certificate_chain.is_empty() && !self.is_keyless()
    }

    fn is_keyless(&self) -> bool {
        self.certificate_identity.is_some()
            || self.certificate_identity_regexp.is_some()
            || self.certificate_oidc_issuer.is_some()
            || self.certificate_oidc_issuer_regexp.is_some()
            || self.trusted_root.is_some()
    }

    /// Everybody who is named, each with what he is called in the report.
    pub(super) fn credentials(&self) -> Result<Vec<(String, Credential)>, Failure> {
        let mut all = Vec::new();
        for path in &self.key {
            let key = keys::public(path)?;
            all.push((path.display().to_string(), Credential::Key(Box::new(key))));
        }
        if !self.certificate_chain.is_empty() {
            let trust = self.certificate_trust()?;
            let name = self.certificate_name.clone();
            let name = name.or_else(|| self.certificate_subject.clone());
            let name = name.unwrap_or_else(|| "a certified signer".into());
            all.push((name, Credential::Certificate(Box::new(trust))));
        }
        if self.is_keyless() {
            let trust = self.keyless_trust()?;
            all.push((
                trust.identity.to_string(),
                Credential::Keyless(Box::new(trust)),
            ));
        }
        Ok(all)
    }

    /// The anchors of timestamp authorities.
    pub(super) fn timestamp_authorities(&self) -> Result<Vec<Certificate>, Failure> {
        let mut all = Vec::new();
        for path in &self.timestamp_authorities {
            all.extend(certificates(path)?);
        }
        Ok(all)
    }

    fn certificate_trust(&self) -> Result<CertificateTrust, Failure> {
        let mut anchors = Vec::new();
        for path in &self.certificate_chain {
            anchors.extend(certificates(path)?);
        }
        let empty = |flag: &'static str| move |error: PinError| Failure::because(flag, &error);
        let fingerprint = self.certificate_fingerprint.map(Pin::Fingerprint);
        let mut pins: Vec<Pin> = fingerprint.into_iter().collect();
        if let Some(subject) = &self.certificate_subject {
            pins.push(Pin::subject(subject).map_err(empty("--certificate-subject"))?);
        }
        if let Some(name) = &self.certificate_name {
            pins.push(Pin::name(name).map_err(empty("--certificate-name"))?);
        }
        let mut lists = Vec::new();
        for path in &self.crl {
            let bytes = disk::read(path, MAX_CRL as u64)?;
            let read = Crl::read(&bytes)
                .map_err(|error| Failure::error(format!("{} {error}", path.display())))?;
            lists.extend(read);
        }
        Ok(CertificateTrust {
            anchors,
            pins,
            lists,
            revoked: Vec::new(),
        })
    }

    fn keyless_trust(&self) -> Result<KeylessTrust, Failure> {
        let missing = |flag: &str| {
            Failure::error(format!(
                "who signed keyless is half named: {flag} is missing"
            ))
            .hint("an identity counts only with the issuer that vouches for it")
        };
        let expect = |exact: &Option<String>, pattern: &Option<String>, flag: &str| {
            let parsed = match (exact, pattern) {
                (Some(text), _) => Expect::exact(text),
                (None, Some(text)) => Expect::pattern(text),
                (None, None) => return Err(missing(flag)),
            };
            parsed.map_err(|error| Failure::because(flag, &error))
        };
        Ok(KeylessTrust::new(
            root(self.trusted_root.as_deref(), Instance::Production)?,
            expect(
                &self.certificate_identity,
                &self.certificate_identity_regexp,
                "--certificate-identity",
            )?,
            expect(
                &self.certificate_oidc_issuer,
                &self.certificate_oidc_issuer_regexp,
                "--certificate-oidc-issuer",
            )?,
        ))
    }
}

/// Every certificate in the file at `path`.
pub(super) fn certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let bytes = disk::read(path, MAX_PEM)?;
    let fail =
        |error: &dyn std::fmt::Display| Failure::error(format!("{} {error}", path.display()));
    match std::str::from_utf8(&bytes) {
        Ok(text) => Certificate::from_pem(text).map_err(|error| fail(&error)),
        Err(_) => Certificate::from_der(&bytes)
            .map(|one| vec![one])
            .map_err(|error| fail(&error)),
    }
}

/// The trust root in the file at `path`, else the compiled-in one of `instance`.
pub(super) fn root(
    path: Option<&Path>,
    instance: Instance,
) -> Result<Arc<dyn KeylessVerifier>, Failure> {
    let Some(path) = path else {
        return public(instance).map_err(|error| Failure::error(error.to_string()));
    };
    let bytes = disk::read(path, MAX_TRUST_ROOT)?;
    verifier(&bytes).map_err(|error| Failure::error(format!("{}: {error}", path.display())))
}

/// The first of `chain` must be of the signer's key, or nobody could verify what he signs.
pub(super) fn belongs(
    signer: &dyn Signer,
    chain: &[Certificate],
    path: &Path,
) -> Result<(), Failure> {
    let leaf = chain.first().and_then(|leaf| leaf.public_key().ok());
    if leaf == Some(signer.public()) {
        return Ok(());
    }
    let message = format!(
        "the key does not belong to the certificate {}",
        path.display()
    );
    Err(Failure::error(message).hint("name the certificate that was issued for this key"))
}
