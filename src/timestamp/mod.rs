//! Timestamps (RFC 3161): a trusted authority's word that something existed at a time. Bytes in, answers
//! out: asks no network, knows no clock.
//!
//! Verified in full: status, imprint, nonce, the one signer, his certificate up to an anchor at the time
//! stated with time stamping as its critical and only purpose, and the signed attribute that names this
//! certificate (§2.4.2; RFC 5816). Read by hand, because what is signed must be taken as it was received,
//! and real tokens do not always sort their sets. What is not signed, the unsigned attributes, is not read.

mod token;

use der::asn1::ObjectIdentifier;

use crate::digest::Sha256;
use crate::key::Hash;
use crate::time::Timestamp;
use crate::x509::path::{self, Purpose};
use crate::x509::signature::{self, Scheme, SignatureFault};
use crate::x509::{Certificate, CertificateError, ChainError, Withdrawn};

use token::{Named, SignerId, Token};

/// The largest token: certificates of an authority and all above it.
pub const MAX_TOKEN: usize = 256 * 1024;

/// A time that was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The time that the authority states.
    pub time: Timestamp,
    /// By how much it may be off, in milliseconds, either way.
    pub accuracy_millis: u64,
    /// The subject of the authority's certificate.
    pub authority: String,
}

impl Stamp {
    /// The latest moment that the stamp allows: what it is about existed by then.
    pub fn latest(&self) -> Timestamp {
        let off = i64::try_from(self.accuracy_millis).unwrap_or(i64::MAX);
        let millis = self.time.millis().saturating_add(off);
        Timestamp::from_millis(millis).unwrap_or(self.time)
    }
}

/// Why a timestamp does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    #[error("no timestamp authority is trusted")]
    NoAuthority,
    #[error("it is larger than {MAX_TOKEN} bytes")]
    TooLarge,
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
    #[error("it is malformed: {0}")]
    Der(#[from] der::Error),
    #[error("the authority refused: status {0}")]
    Refused(u8),
    #[error("a certificate in it {0}")]
    Certificate(#[from] CertificateError),
    #[error("it is about something else")]
    Imprint,
    #[error("it answers another request")]
    Nonce,
    #[error("it uses the digest {0}, which is not accepted")]
    Digest(ObjectIdentifier),
    #[error("the certificate of its signer is neither in it nor trusted")]
    NoCertificate,
    #[error("its signed attributes name another certificate than its signer's")]
    OtherCertificate,
    #[error("its content is not what was signed")]
    Content,
    #[error("its signature: {0}")]
    Signature(#[from] SignatureFault),
    #[error("its authority: {0}")]
    Chain(#[from] ChainError),
    #[error("the policy revokes the certificate of its authority {0}")]
    Revoked(String),
    #[error("it is of {0}, which is still to come")]
    Future(Timestamp),
}

/// Who may say when something existed.
#[derive(Clone, Copy)]
pub struct Authorities<'a> {
    pub anchors: &'a [Certificate],
    /// Certificates and keys that no longer count.
    pub withdrawn: &'a [Withdrawn],
}

/// How far the authority's clock may be ahead of ours.
const CLOCK_SKEW_MILLIS: i64 = 5 * 60 * 1000;

/// Verifies a token, or a response with a token in it, over `message`.
pub fn verify(
    der: &[u8],
    message: &[u8],
    authorities: Authorities<'_>,
    now: Timestamp,
) -> Result<Stamp, TimestampError> {
    if authorities.anchors.is_empty() {
        return Err(TimestampError::NoAuthority);
    }
    check(&Token::parse(der)?, message, authorities, now)
}

/// Verifies the answer to `request`.
pub fn verify_response(
    der: &[u8],
    message: &[u8],
    request: &Request,
    authorities: Authorities<'_>,
    now: Timestamp,
) -> Result<Stamp, TimestampError> {
    let token = Token::parse(der)?;
    if token.info.nonce.as_deref() != Some(&request.nonce[..]) {
        return Err(TimestampError::Nonce);
    }
    check(&token, message, authorities, now)
}

fn check(
    token: &Token,
    message: &[u8],
    authorities: Authorities<'_>,
    now: Timestamp,
) -> Result<Stamp, TimestampError> {
    let info = &token.info;
    if hash(&info.imprint_algorithm)?.of(message) != info.imprint {
        return Err(TimestampError::Imprint);
    }
    if info.time.millis() > now.millis().saturating_add(CLOCK_SKEW_MILLIS) {
        return Err(TimestampError::Future(info.time));
    }
    let digest = hash(&token.signer.digest_algorithm)?;
    if digest.of(&token.content) != token.signer.message_digest {
        return Err(TimestampError::Content);
    }
    let certificate = signer(token, authorities)?;
    // RSA's own identifier does not name a hash; that of the attributes is meant (RFC 3370 §3.2).
    let algorithm = &token.signer.signature_algorithm;
    let (spki, signed) = (certificate.spki(), &token.signer.signed_attributes);
    if algorithm.oid == signature::RSA {
        signature::verify_rsa(digest, spki, signed, &token.signer.signature)?;
    } else {
        Scheme::of(algorithm)?.verify(spki, signed, &token.signer.signature)?;
    }
    let path = path::build(
        certificate,
        &token.certificates,
        authorities.anchors,
        Purpose::TimeStamping,
        info.time,
    )?;
    // From when on does not matter: who has the key sets the clock.
    let revoked = path.iter().find(|one| {
        let mut withdrawn = authorities.withdrawn.iter();
        withdrawn.any(|entry| one.is_named_by(&entry.digest))
    });
    if let Some(revoked) = revoked {
        return Err(TimestampError::Revoked(path::label(revoked)));
    }
    Ok(Stamp {
        time: info.time,
        accuracy_millis: info.accuracy_millis,
        authority: certificate.subject().into(),
    })
}

/// The signer's certificate, which the signed attributes must name too: else another certificate of the
/// same key could be put in its place (RFC 5035 §1).
fn signer<'a>(
    token: &'a Token,
    authorities: Authorities<'a>,
) -> Result<&'a Certificate, TimestampError> {
    if let Named::Hash(algorithm, _) = &token.signer.named {
        hash(algorithm)?;
    }
    let mut candidates = token
        .certificates
        .iter()
        .chain(authorities.anchors)
        .filter(|one| match &token.signer.id {
            SignerId::IssuerAndSerial { issuer, serial } => {
                one.issuer_and_serial() == (issuer.as_slice(), serial.as_slice())
            }
            SignerId::KeyIdentifier(id) => one.key_identifier() == Some(id.as_slice()),
        })
        .peekable();
    if candidates.peek().is_none() {
        return Err(TimestampError::NoCertificate);
    }
    candidates
        .find(|one| named(one, &token.signer.named))
        .ok_or(TimestampError::OtherCertificate)
}

fn named(certificate: &Certificate, named: &Named) -> bool {
    match named {
        Named::Sha1(digest) => sha1_of(certificate.der()) == *digest,
        Named::Hash(algorithm, digest) => {
            hash(algorithm).is_ok_and(|hash| hash.of(certificate.der()) == *digest)
        }
    }
}

fn sha1_of(bytes: &[u8]) -> Vec<u8> {
    use sha1::Digest;
    sha1::Sha1::digest(bytes).to_vec()
}

fn hash(algorithm: &ObjectIdentifier) -> Result<Hash, TimestampError> {
    match *algorithm {
        SHA256 => Ok(Hash::Sha256),
        SHA384 => Ok(Hash::Sha384),
        SHA512 => Ok(Hash::Sha512),
        other => Err(TimestampError::Digest(other)),
    }
}

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// A request for a timestamp.
#[derive(Clone, Debug)]
pub struct Request {
    /// TimeStampReq in DER (§2.4.1), to be sent as `application/timestamp-query`.
    pub der: Vec<u8>,
    nonce: [u8; 16],
}

impl Request {
    /// A request that was made earlier for `message`; `None` if it is another one.
    pub fn parse(der: &[u8], message: &[u8]) -> Option<Request> {
        let start = der.len().checked_sub(NONCE + 3)?;
        let nonce = der.get(start..start + NONCE)?.try_into().ok()?;
        let again = request(message, nonce);
        (again.der == der).then_some(again)
    }
}

/// Bytes of a nonce.
const NONCE: usize = 16;

/// Asks for a timestamp over `message`, with the authority's certificates in the answer. `random` makes
/// the request its own.
pub fn request(message: &[u8], random: [u8; 16]) -> Request {
    let mut nonce = random;
    // A positive number of one length, in the one encoding of it.
    if let Some(first) = nonce.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    let digest = Sha256::of(message);
    let mut body = vec![0x02, 0x01, 0x01];
    // MessageImprint { sha256 without parameters, digest }
    body.extend([0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09]);
    body.extend(SHA256.as_bytes());
    body.extend([0x04, 0x20]);
    body.extend(digest.0);
    body.extend([0x02, 0x10]);
    body.extend(nonce);
    // certReq TRUE
    body.extend([0x01, 0x01, 0xff]);
    let length = u8::try_from(body.len()).unwrap_or_default();
    let mut der = vec![0x30, length];
    der.extend(body);
    Request { der, nonce }
}
