//! X.509 certificates (RFC 5280): what one says, and in `path` whether it leads to a trust anchor.
//! Bytes in, answers out; reads no file, knows no clock, asks no network.
//!
//! Strict DER. What was signed is verified as it was received, never written again. A critical
//! extension that is not understood makes a certificate useless for a path (§4.2).

mod names;
pub mod path;
pub mod revocation;
pub(crate) mod signature;
pub mod trust;

use std::fmt;

use der::asn1::{BitString, ObjectIdentifier};
use der::{AnyRef, Decode, Encode, Reader, SliceReader};
use x509_cert::certificate::CertificateInner;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::digest::Sha256;
use crate::key::{KeyError, PublicKey};
use crate::time::Timestamp;

pub use names::SubjectName;
pub use path::{ChainError, Purpose};
pub use revocation::Crl;
pub use signature::{RawVerdict, verify_raw};
pub use trust::{CertificateTrust, Pin, PinError, TrustError, Withdrawn, WithdrawnBy};

/// The largest certificate. Those of CAs with a post-quantum key have about 10 KiB.
pub const MAX_CERTIFICATE: usize = 64 * 1024;

/// The most certificates in one file.
pub const MAX_CERTIFICATES: usize = 512;

/// The most certificates in one bundle or timestamp: they come from whoever wants to be believed.
pub const MAX_CHAIN: usize = 32;

/// The most extensions of one certificate.
const MAX_EXTENSIONS: usize = 64;

/// What a key may do (RFC 5280 §4.2.1.12), as far as we ask.
pub(crate) const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
pub(crate) const TIME_STAMPING: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// A certificate that was read. That it was signed by anyone is not known yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Box<[u8]>,
    signed: Signed,
    subject: Box<[u8]>,
    issuer: Box<[u8]>,
    serial: Box<[u8]>,
    subject_text: String,
    issuer_text: String,
    not_before: Timestamp,
    not_after: Timestamp,
    spki: Box<[u8]>,
    extensions: Extensions,
    /// Version 1 has no extensions, and nothing to say what it is for.
    is_version_1: bool,
}

/// What an issuer signed, and how.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) content: Box<[u8]>,
    pub(crate) algorithm: AlgorithmIdentifierOwned,
    pub(crate) signature: Box<[u8]>,
}

/// The extensions that decide anything here.
#[derive(Clone, Default, PartialEq, Eq)]
struct Extensions {
    usage: Option<KeyUsage>,
    purposes: Option<Vec<ObjectIdentifier>>,
    purposes_critical: bool,
    authority: Option<BasicConstraints>,
    names: Vec<SubjectName>,
    constraints: Option<NameConstraints>,
    key_identifier: Option<Box<[u8]>>,
    /// Critical, and not understood.
    unknown: Option<ObjectIdentifier>,
}

/// Why bytes are not a certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    #[error("holds no certificate (`-----BEGIN CERTIFICATE-----`)")]
    None,
    #[error("is larger than {MAX_CERTIFICATE} bytes")]
    TooLarge,
    #[error("holds more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    #[error("holds a damaged PEM block")]
    Pem,
    #[error("is not a certificate in DER: {0}")]
    Der(der::Error),
    #[error("has two extensions {0}")]
    Twice(ObjectIdentifier),
    #[error("has more than {MAX_EXTENSIONS} extensions")]
    Extensions,
    #[error("names two different signature algorithms")]
    Algorithms,
    #[error("has a time out of range")]
    Time,
}

impl From<der::Error> for CertificateError {
    fn from(error: der::Error) -> CertificateError {
        CertificateError::Der(error)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject())
    }
}

impl Certificate {
    /// Reads one certificate in DER, with nothing behind it.
    pub fn from_der(der: &[u8]) -> Result<Certificate, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLarge);
        }
        let parsed = CertificateInner::<x509_cert::certificate::Rfc5280>::from_der(der)?;
        let signed = Signed::parse(der)?;
        let tbs = parsed.tbs_certificate();
        if *tbs.signature() != signed.algorithm {
            return Err(CertificateError::Algorithms);
        }
        let time = |time: x509_cert::time::Time| {
            Timestamp::from_seconds(time.to_unix_duration().as_secs()).ok_or(CertificateError::Time)
        };
        Ok(Certificate {
            der: der.into(),
            signed,
            subject: tbs.subject().to_der()?.into(),
            issuer: tbs.issuer().to_der()?.into(),
            serial: tbs.serial_number().as_bytes().into(),
            subject_text: tbs.subject().to_string(),
            issuer_text: tbs.issuer().to_string(),
            not_before: time(tbs.validity().not_before)?,
            not_after: time(tbs.validity().not_after)?,
            spki: tbs.subject_public_key_info().to_der()?.into(),
            extensions: Extensions::read(tbs)?,
            is_version_1: tbs.version() == x509_cert::Version::V1,
        })
    }

    /// Every certificate in a PEM file; other blocks and the text between blocks are ignored, as
    /// OpenSSL does.
    pub fn from_pem(text: &str) -> Result<Vec<Certificate>, CertificateError> {
        let blocks = pem_blocks(text, "CERTIFICATE")?;
        if blocks.is_empty() {
            return Err(CertificateError::None);
        }
        blocks
            .iter()
            .map(|der| Certificate::from_der(der))
            .collect()
    }

    /// The bytes that were read.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 over the certificate: what browsers and OpenSSL show as its fingerprint.
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::of(&self.der)
    }

    /// Is it the certificate or the key with this digest? A key has more than one encoding, and an ECDSA
    /// signature a twin, which anybody can put in its place: neither makes it another certificate.
    pub fn is_named_by(&self, digest: &Sha256) -> bool {
        let key = self.public_key().ok();
        self.fingerprint() == *digest
            || self.key_id() == *digest
            || key.is_some_and(|key| key.key_id() == *digest)
            || self.twins().iter().any(|twin| Sha256::of(twin) == *digest)
    }

    /// The certificate with the twin of its issuer's signature, on whichever curve the issuer's key is.
    fn twins(&self) -> Vec<Vec<u8>> {
        let signatures = crate::key::ecdsa_twins(&self.signed.signature);
        let with = |signature: &Vec<u8>| {
            let algorithm = self.signed.algorithm.to_der().ok()?;
            let signature = BitString::from_bytes(signature).ok()?.to_der().ok()?;
            let content = [&self.signed.content[..], &algorithm, &signature].concat();
            AnyRef::new(der::Tag::Sequence, &content)
                .ok()?
                .to_der()
                .ok()
        };
        signatures.iter().filter_map(with).collect()
    }

    /// SHA-256 over its SubjectPublicKeyInfo: our name for its key.
    pub fn key_id(&self) -> Sha256 {
        Sha256::of(&self.spki)
    }

    /// The subject's distinguished name (RFC 4514). It may be empty.
    pub fn subject(&self) -> &str {
        &self.subject_text
    }

    /// The issuer's distinguished name (RFC 4514).
    pub fn issuer(&self) -> &str {
        &self.issuer_text
    }

    /// The serial number in lower-case hexadecimal, which only its issuer makes unique.
    pub fn serial(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.serial)
    }

    /// The subject alternative names.
    pub fn names(&self) -> &[SubjectName] {
        &self.extensions.names
    }

    /// From when and until when it holds, both included.
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        (self.not_before, self.not_after)
    }

    /// Its key, if it is one that signs models.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_spki(&self.spki)
    }

    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The identifier that the certificate gives its own key.
    pub(crate) fn key_identifier(&self) -> Option<&[u8]> {
        self.extensions.key_identifier.as_deref()
    }

    pub(crate) fn issuer_and_serial(&self) -> (&[u8], &[u8]) {
        (&self.issuer, &self.serial)
    }

    /// Is the extended key usage there, critical, and this purpose alone (RFC 3161 §2.3)?
    pub(crate) fn is_solely_for(&self, purpose: ObjectIdentifier) -> bool {
        self.extensions.purposes_critical
            && self.extensions.purposes.as_deref() == Some(&[purpose][..])
    }
}

impl Signed {
    /// The parts of `SEQUENCE { content, algorithm, signature }`, with the content as it stands there.
    pub(crate) fn parse(der: &[u8]) -> Result<Signed, der::Error> {
        let mut outer = SliceReader::new(der)?;
        let signed = outer.sequence(|reader| {
            let content = reader.tlv_bytes()?.into();
            let algorithm = AlgorithmIdentifierOwned::decode(reader)?;
            let signature = BitString::decode(reader)?;
            let signature = signature
                .as_bytes()
                .ok_or_else(|| reader.error(der::ErrorKind::Failed))?;
            Ok::<_, der::Error>(Signed {
                content,
                algorithm,
                signature: signature.into(),
            })
        })?;
        outer.finish()?;
        Ok(signed)
    }
}

impl Extensions {
    fn read(tbs: &x509_cert::TbsCertificate) -> Result<Extensions, CertificateError> {
        let mut found = Extensions::default();
        let all = tbs.extensions().map_or(&[][..], |all| all.as_slice());
        if all.len() > MAX_EXTENSIONS {
            return Err(CertificateError::Extensions);
        }
        let mut seen = Vec::new();
        for extension in all {
            let id = extension.extn_id;
            if seen.contains(&id) {
                return Err(CertificateError::Twice(id));
            }
            seen.push(id);
            let value = extension.extn_value.as_bytes();
            match id {
                KEY_USAGE => found.usage = Some(KeyUsage::from_der(value)?),
                EXTENDED_KEY_USAGE => {
                    found.purposes = Some(ExtendedKeyUsage::from_der(value)?.0);
                    found.purposes_critical = extension.critical;
                }
                BASIC_CONSTRAINTS => found.authority = Some(BasicConstraints::from_der(value)?),
                ALTERNATIVE_NAME => {
                    let names = SubjectAltName::from_der(value)?;
                    found.names = names.0.iter().map(SubjectName::from).collect();
                }
                NAME_CONSTRAINTS => found.constraints = Some(NameConstraints::from_der(value)?),
                SUBJECT_KEY_IDENTIFIER => {
                    let id = SubjectKeyIdentifier::from_der(value)?;
                    found.key_identifier = Some(id.0.as_bytes().into());
                }
                // Nobody here asks for a policy, so that any policy will do (RFC 5280 §6.1.1(c)).
                CERTIFICATE_POLICIES => {
                    AnyRef::from_der(value)?;
                }
                id if extension.critical => found.unknown = Some(id),
                _ => {}
            }
        }
        Ok(found)
    }
}

const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");

/// The content of every PEM block with `label` (RFC 7468).
pub(crate) fn pem_blocks(text: &str, label: &str) -> Result<Vec<Vec<u8>>, CertificateError> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(&begin) {
        let block = rest.get(start..).ok_or(CertificateError::Pem)?;
        let length = block.find(&end).ok_or(CertificateError::Pem)? + end.len();
        let (one, behind) = block
            .split_at_checked(length)
            .ok_or(CertificateError::Pem)?;
        let (_, der) = der::pem::decode_vec(one.as_bytes()).map_err(|_| CertificateError::Pem)?;
        if blocks.len() == MAX_CERTIFICATES {
            return Err(CertificateError::TooMany);
        }
        blocks.push(der);
        rest = behind;
    }
    Ok(blocks)
}
