//! Certificate revocation lists (RFC 5280 §5): direct and complete ones, signed by the authority whose
//! certificates they are about. Bytes in, answers out.
//!
//! Lists of changes, of other authorities' certificates, or with a narrower scope are told apart and
//! not used.

use std::collections::HashMap;

use der::asn1::{GeneralizedTime, ObjectIdentifier};
use der::{Decode, Encode, Sequence};
use x509_cert::Version;
use x509_cert::crl::RevokedCert;
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::CrlReason;
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

use super::path::label;
use super::signature::Scheme;
use super::{Certificate, CertificateError, Signed, pem_blocks};
use crate::time::Timestamp;

/// The largest list: some hundred thousand certificates.
pub const MAX_CRL: usize = 32 * 1024 * 1024;

/// A revocation list that was read; that its authority signed it is not known yet.
#[derive(Clone)]
pub struct Crl {
    issuer: Box<[u8]>,
    signed: Signed,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    revoked: HashMap<Box<[u8]>, Revoked>,
    /// A critical extension that is not understood.
    unknown: Option<ObjectIdentifier>,
}

/// TBSCertList (RFC 5280 §5.1). The one of x509-cert knows no lists of version 1, which OpenSSL writes.
#[derive(Sequence)]
struct List {
    #[asn1(optional = "true")]
    version: Option<Version>,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    this_update: Time,
    #[asn1(optional = "true")]
    next_update: Option<Time>,
    #[asn1(optional = "true")]
    revoked: Option<Vec<RevokedCert>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

/// From when on a certificate no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    pub since: Timestamp,
    pub reason: Option<CrlReason>,
}

/// What lists say about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Every certificate below the anchor is on no list, and for each there is a current one.
    Good,
    /// A certificate no longer counts.
    Revoked { subject: String, revoked: Revoked },
    /// There is no usable list for one of them.
    Unknown(String),
    /// The signer's certificate is trusted by itself: nobody's list is about it.
    NotAsked,
}

impl std::fmt::Debug for Crl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crl({} certificates)", self.revoked.len())
    }
}

impl Crl {
    /// Every list in a file, in PEM or one in DER.
    pub fn read(bytes: &[u8]) -> Result<Vec<Crl>, CertificateError> {
        if bytes.len() > MAX_CRL {
            return Err(CertificateError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).ok();
        if let Some(text) = text.filter(|text| text.contains("-----BEGIN ")) {
            let blocks = pem_blocks(text, "X509 CRL")?;
            if blocks.is_empty() {
                return Err(CertificateError::Pem);
            }
            return blocks.iter().map(|der| Crl::from_der(der)).collect();
        }
        Ok(vec![Crl::from_der(bytes)?])
    }

    /// Reads one list in DER.
    pub fn from_der(der: &[u8]) -> Result<Crl, CertificateError> {
        let signed = Signed::parse(der)?;
        let list = List::from_der(&signed.content)?;

        if list.signature != signed.algorithm {
            return Err(CertificateError::Algorithms);
        }
        let mut unknown = None;
        for extension in list.extensions.iter().flatten() {
            // Lists of changes and of a part narrow what a list says, critical or not.
            if extension.critical || [CHANGES, SCOPE].contains(&extension.extn_id) {
                unknown = Some(extension.extn_id);
            }
        }
        let mut revoked: HashMap<Box<[u8]>, Revoked> = HashMap::new();
        for entry in list.revoked.into_iter().flatten() {
            let mut since = time(entry.revocation_date)?;
            let mut reason = None;
            for extension in entry.crl_entry_extensions.iter().flatten() {
                let value = extension.extn_value.as_bytes();
                match extension.extn_id {
                    REASON => reason = Some(CrlReason::from_der(value)?),
                    INVALIDITY_DATE => {
                        let from = GeneralizedTime::from_der(value)?;
                        since = since.min(time(from.into())?);
                    }
                    id if extension.critical || id == OTHER_ISSUER => unknown = Some(id),
                    _ => {}
                }
            }
            if reason == Some(CrlReason::RemoveFromCRL) {
                continue;
            }
            let serial = entry.serial_number.as_bytes().into();
            let earliest = revoked.entry(serial).or_insert(Revoked { since, reason });
            earliest.since = earliest.since.min(since);
        }
        Ok(Crl {
            issuer: list.issuer.to_der()?.into(),
            signed,
            this_update: time(list.this_update)?,
            next_update: list.next_update.map(time).transpose()?,
            revoked,
            unknown,
        })
    }

    /// Is it by `issuer`, and wholly understood? If not, why not.
    fn authentic(&self, issuer: &Certificate) -> Result<(), String> {
        let name = label(issuer);
        if let Some(id) = self.unknown {
            return Err(format!(
                "the revocation list of {name} has the extension {id}, which is not understood"
            ));
        }
        if issuer
            .extensions
            .usage
            .is_some_and(|usage| !usage.crl_sign())
        {
            return Err(format!("{name} may not sign revocation lists"));
        }
        let verified = Scheme::of(&self.signed.algorithm).and_then(|scheme| {
            scheme.verify(&issuer.spki, &self.signed.content, &self.signed.signature)
        });
        verified.map_err(|fault| format!("the revocation list of {name} is not by it: {fault}"))
    }

    /// Does it tell, now, that `certificate` was not revoked? If not, why not.
    fn clears(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        now: Timestamp,
    ) -> Result<(), String> {
        let name = label(issuer);
        // An authority may leave out what expired (§3.3).
        if self.this_update > certificate.not_after {
            return Err(format!(
                "the revocation list of {name} was made after the certificate of {} expired, and need not name it",
                label(certificate)
            ));
        }
        match self.next_update {
            _ if now < self.this_update => Err(format!(
                "the revocation list of {name} is dated {}, after now",
                self.this_update
            )),
            Some(next) if next < now => Err(format!(
                "the revocation list of {name} was due for renewal at {next}"
            )),
            Some(_) => Ok(()),
            None => Err(format!(
                "the revocation list of {name} does not say until when it is current"
            )),
        }
    }
}

fn time(time: Time) -> Result<Timestamp, CertificateError> {
    Timestamp::from_seconds(time.to_unix_duration().as_secs()).ok_or(CertificateError::Time)
}

const CHANGES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const SCOPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
const OTHER_ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.29");
const REASON: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");

/// What `lists` say about `path`, from leaf to anchor. `signed_at` is a time that somebody trusted
/// vouches for: what was revoked later still counts.
pub fn check(
    path: &[&Certificate],
    lists: &[Crl],
    signed_at: Option<Timestamp>,
    now: Timestamp,
) -> Revocation {
    if path.len() < 2 {
        return Revocation::NotAsked;
    }
    let mut unknown = None;
    for (certificate, issuer) in path.iter().zip(path.iter().skip(1)) {
        let mut of_issuer = lists
            .iter()
            .filter(|list| list.issuer == issuer.subject)
            .peekable();
        if of_issuer.peek().is_none() {
            let issuer = label(issuer);
            unknown.get_or_insert(format!("there is no revocation list of {issuer}"));
            continue;
        }
        let mut current = false;
        let mut why = None;
        for list in of_issuer {
            if let Err(fault) = list.authentic(issuer) {
                why.get_or_insert(fault);
                continue;
            }
            match list.clears(certificate, issuer, now) {
                Ok(()) => current = true,
                Err(fault) => {
                    why.get_or_insert(fault);
                }
            }
            // A list that is out of date no longer clears anybody; what it says against somebody stays.
            if let Some(&revoked) = list.revoked.get(&certificate.serial)
                && signed_at.is_none_or(|signed| signed >= revoked.since)
            {
                let subject = label(certificate);
                return Revocation::Revoked { subject, revoked };
            }
        }
        if !current && let Some(why) = why {
            unknown.get_or_insert(why);
        }
    }
    unknown.map_or(Revocation::Good, Revocation::Unknown)
}
