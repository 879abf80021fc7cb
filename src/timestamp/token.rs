//! The structure of a timestamp: TimeStampResp and TSTInfo (RFC 3161 §2.4.2), in SignedData (RFC 5652
//! §5). Bytes in, parts out; judges nothing.

use der::asn1::{IntRef, ObjectIdentifier, OctetStringRef};
use der::{AnyRef, Decode, Encode, Reader, SliceReader, Tag, TagNumber};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::{MAX_TOKEN, TimestampError};
use crate::time::Timestamp;
use crate::x509::{Certificate, MAX_CHAIN};

/// A token with everything that its verification takes.
pub(super) struct Token {
    pub(super) info: Info,
    /// TSTInfo as it was signed.
    pub(super) content: Vec<u8>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) signer: SignerInfo,
}

/// What the authority states.
pub(super) struct Info {
    pub(super) imprint_algorithm: ObjectIdentifier,
    pub(super) imprint: Vec<u8>,
    pub(super) time: Timestamp,
    pub(super) accuracy_millis: u64,
    pub(super) nonce: Option<Vec<u8>>,
}

/// Who signed it, and how.
pub(super) struct SignerInfo {
    pub(super) id: SignerId,
    pub(super) digest_algorithm: ObjectIdentifier,
    /// The attributes as they are signed: a SET, in the order in which they were received.
    pub(super) signed_attributes: Vec<u8>,
    pub(super) message_digest: Vec<u8>,
    pub(super) named: Named,
    pub(super) signature_algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: Vec<u8>,
}

/// How the signer's certificate is found.
pub(super) enum SignerId {
    IssuerAndSerial { issuer: Vec<u8>, serial: Vec<u8> },
    KeyIdentifier(Vec<u8>),
}

/// The certificate that the signed attributes name.
pub(super) enum Named {
    /// SigningCertificate (RFC 2634), which knows no other digest. It identifies, beside the signature.
    Sha1(Vec<u8>),
    /// SigningCertificateV2 (RFC 5035).
    Hash(ObjectIdentifier, Vec<u8>),
}

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

type Read<T> = Result<T, TimestampError>;

/// The parts of a constructed value, each as it stands there.
fn parts(value: &[u8]) -> Read<Vec<&[u8]>> {
    let mut reader = SliceReader::new(value)?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        if parts.len() == MAX_CHAIN {
            return Err(TimestampError::Malformed("too many parts"));
        }
        parts.push(reader.tlv_bytes()?);
    }
    Ok(parts)
}

/// The content of a value that must have `tag`.
fn content(der: &[u8], tag: Tag) -> Read<&[u8]> {
    let any = AnyRef::from_der(der)?;
    if any.header().tag() != tag {
        return Err(TimestampError::Malformed("another type than expected"));
    }
    Ok(any.value())
}

fn sequence(der: &[u8]) -> Read<Vec<&[u8]>> {
    parts(content(der, Tag::Sequence)?)
}

const fn context(number: u32, constructed: bool) -> Tag {
    Tag::ContextSpecific {
        constructed,
        number: TagNumber(number),
    }
}

fn is(der: &[u8], tag: Tag) -> bool {
    AnyRef::from_der(der).is_ok_and(|any| any.header().tag() == tag)
}

impl Token {
    /// Reads a TimeStampResp, or the token alone.
    pub(super) fn parse(der: &[u8]) -> Read<Token> {
        if der.len() > MAX_TOKEN {
            return Err(TimestampError::TooLarge);
        }
        let outer = sequence(der)?;
        let first = outer
            .first()
            .ok_or(TimestampError::Malformed("it is empty"))?;
        if is(first, Tag::ObjectIdentifier) {
            return Token::from_content_info(der);
        }
        let status = sequence(first)?;
        let status = status
            .first()
            .ok_or(TimestampError::Malformed("it has no status"))?;
        match (u8::from_der(status)?, outer.get(1)) {
            // granted, and granted with modifications
            (0 | 1, Some(token)) if outer.len() == 2 => Token::from_content_info(token),
            (0 | 1, _) => Err(TimestampError::Malformed("it has no token")),
            (status, _) => Err(TimestampError::Refused(status)),
        }
    }

    fn from_content_info(der: &[u8]) -> Read<Token> {
        let [kind, explicit] = exactly(&sequence(der)?)?;
        if ObjectIdentifier::from_der(kind)? != SIGNED_DATA {
            return Err(TimestampError::Malformed("it is not signed data"));
        }
        let data = sequence(content(explicit, context(0, true))?)?;
        let mut data = data.into_iter();
        let mut next = || {
            data.next()
                .ok_or(TimestampError::Malformed("it ends early"))
        };
        u8::from_der(next()?)?;
        content(next()?, Tag::Set)?;
        let encapsulated = next()?;
        let mut certificates = Vec::new();
        let mut part = next()?;
        if is(part, context(0, true)) {
            for one in parts(content(part, context(0, true))?)? {
                // Other kinds than X.509 have other tags, and are of no use here.
                if is(one, Tag::Sequence) {
                    certificates.push(Certificate::from_der(one)?);
                }
            }
            part = next()?;
        }
        if is(part, context(1, true)) {
            part = next()?;
        }
        let signers = parts(content(part, Tag::Set)?)?;
        if data.next().is_some() {
            return Err(TimestampError::Malformed("it goes on after its signers"));
        }
        // §2.4.2: "The token MUST NOT contain any signatures other than the signature of the TSA."
        let [signer] = exactly(&signers)?;
        let [kind, explicit] = exactly(&sequence(encapsulated)?)?;
        if ObjectIdentifier::from_der(kind)? != TST_INFO {
            return Err(TimestampError::Malformed("what is signed is no timestamp"));
        }
        let octets = content(explicit, context(0, true))?;
        let content = <&OctetStringRef>::from_der(octets)?.as_bytes().to_vec();
        Ok(Token {
            info: Info::parse(&content)?,
            content,
            certificates,
            signer: SignerInfo::parse(signer)?,
        })
    }
}

fn exactly<'a, const N: usize>(parts: &[&'a [u8]]) -> Read<[&'a [u8]; N]> {
    parts
        .try_into()
        .map_err(|_| TimestampError::Malformed("it has more or fewer parts than it should"))
}

impl SignerInfo {
    fn parse(der: &[u8]) -> Read<SignerInfo> {
        let all = sequence(der)?;
        let mut all = all.into_iter();
        let mut next = || {
            all.next()
                .ok_or(TimestampError::Malformed("its signer ends early"))
        };
        u8::from_der(next()?)?;
        let id = next()?;
        let id = if is(id, context(0, false)) {
            SignerId::KeyIdentifier(content(id, context(0, false))?.to_vec())
        } else {
            let [issuer, serial] = exactly(&sequence(id)?)?;
            SignerId::IssuerAndSerial {
                issuer: issuer.to_vec(),
                serial: content(serial, Tag::Integer)?.to_vec(),
            }
        };
        let digest_algorithm = AlgorithmIdentifierOwned::from_der(next()?)?.oid;
        let attributes = next()?;
        let inner = content(attributes, context(0, true))
            .map_err(|_| TimestampError::Malformed("it has no signed attributes"))?;
        // What is signed is the SET OF, not the implicit tag (RFC 5652 §5.4).
        let signed_attributes = AnyRef::new(Tag::Set, inner)?.to_der()?;
        let (message_digest, named) = attributes_of(inner)?;
        Ok(SignerInfo {
            id,
            digest_algorithm,
            signed_attributes,
            message_digest,
            named,
            signature_algorithm: AlgorithmIdentifierOwned::from_der(next()?)?,
            signature: <&OctetStringRef>::from_der(next()?)?.as_bytes().to_vec(),
        })
    }
}

/// The message digest and the certificate that the signed attributes name. Each attribute once, with one
/// value.
fn attributes_of(attributes: &[u8]) -> Read<(Vec<u8>, Named)> {
    let (mut digest, mut named, mut named_v2, mut content_type) = (None, None, None, None);
    let mut seen = Vec::new();
    for attribute in parts(attributes)? {
        let [id, values] = exactly(&sequence(attribute)?)?;
        let id = ObjectIdentifier::from_der(id)?;
        if seen.contains(&id) {
            return Err(TimestampError::Malformed("it has an attribute twice"));
        }
        seen.push(id);
        if ![
            CONTENT_TYPE,
            MESSAGE_DIGEST,
            SIGNING_CERTIFICATE,
            SIGNING_CERTIFICATE_V2,
        ]
        .contains(&id)
        {
            continue;
        }
        let [value] = exactly(&parts(content(values, Tag::Set)?)?)?;
        match id {
            CONTENT_TYPE => content_type = Some(ObjectIdentifier::from_der(value)?),
            MESSAGE_DIGEST => {
                digest = Some(<&OctetStringRef>::from_der(value)?.as_bytes().to_vec());
            }
            SIGNING_CERTIFICATE => named = Some(named_by(value, false)?),
            _ => named_v2 = Some(named_by(value, true)?),
        }
    }
    if content_type != Some(TST_INFO) {
        let what = "its attributes do not say that it is a timestamp";
        return Err(TimestampError::Malformed(what));
    }
    let digest = digest.ok_or(TimestampError::Malformed("it has no message digest"))?;
    // Where both are given, the stronger says more (RFC 5816 §2.2.1).
    let named = named_v2.or(named).ok_or(TimestampError::Malformed(
        "it does not name its certificate",
    ))?;
    Ok((digest, named))
}

/// The first certificate of a SigningCertificate: that of the signer.
fn named_by(der: &[u8], v2: bool) -> Read<Named> {
    let missing = TimestampError::Malformed("it does not name its certificate");
    let all = sequence(der)?;
    let certificates = sequence(all.first().ok_or(missing)?)?;
    let missing = TimestampError::Malformed("it does not name its certificate");
    let first = sequence(certificates.first().ok_or(missing)?)?;
    let octets = |der: Option<&&[u8]>| -> Read<Vec<u8>> {
        let der = der.ok_or(TimestampError::Malformed(
            "it does not name its certificate",
        ))?;
        Ok(<&OctetStringRef>::from_der(der)?.as_bytes().to_vec())
    };
    if !v2 {
        return Ok(Named::Sha1(octets(first.first())?));
    }
    match first.first() {
        Some(algorithm) if is(algorithm, Tag::Sequence) => {
            let algorithm = AlgorithmIdentifierOwned::from_der(algorithm)?.oid;
            Ok(Named::Hash(algorithm, octets(first.get(1))?))
        }
        digest => Ok(Named::Hash(SHA256, octets(digest)?)),
    }
}

impl Info {
    fn parse(der: &[u8]) -> Read<Info> {
        let all = sequence(der)?;
        let mut all = all.into_iter().peekable();
        let mut next = || {
            all.next()
                .ok_or(TimestampError::Malformed("its statement ends early"))
        };
        if u8::from_der(next()?)? != 1 {
            return Err(TimestampError::Malformed("its version is not 1"));
        }
        // The policy: nobody here asked for one.
        content(next()?, Tag::ObjectIdentifier)?;
        let [algorithm, imprint] = exactly(&sequence(next()?)?)?;
        let imprint_algorithm = AlgorithmIdentifierOwned::from_der(algorithm)?.oid;
        let imprint = <&OctetStringRef>::from_der(imprint)?.as_bytes().to_vec();
        IntRef::from_der(next()?)?;
        let text = content(next()?, Tag::GeneralizedTime)?;
        let mut info = Info {
            imprint_algorithm,
            imprint,
            time: time(text)?,
            // Digits beyond milliseconds are cut off: what is lost is less than one.
            accuracy_millis: u64::from(text.len() > "YYYYMMDDhhmmss.mmmZ".len()),
            nonce: None,
        };
        // accuracy, ordering, nonce, tsa, extensions: each may be left out, in this order.
        let mut least = 0;
        for part in all {
            let any = AnyRef::from_der(part)?;
            let rank = match any.header().tag() {
                Tag::Sequence => {
                    info.accuracy_millis = info.accuracy_millis.saturating_add(accuracy(part)?);
                    1
                }
                Tag::Boolean => 2,
                Tag::Integer => {
                    info.nonce = Some(any.value().to_vec());
                    3
                }
                tag if tag == context(0, true) => 4,
                tag if tag == context(1, true) => {
                    no_critical_extension(any.value())?;
                    5
                }
                _ => {
                    return Err(TimestampError::Malformed(
                        "its statement has a part too many",
                    ));
                }
            };
            if rank <= least {
                return Err(TimestampError::Malformed("its statement is out of order"));
            }
            least = rank;
        }
        Ok(info)
    }
}

/// A critical extension changes what the statement means, and none is known here.
fn no_critical_extension(extensions: &[u8]) -> Read<()> {
    for extension in parts(extensions)? {
        let critical = sequence(extension)?
            .get(1)
            .is_some_and(|part| is(part, Tag::Boolean));
        if critical {
            let what = "it has a critical extension, which is not understood";
            return Err(TimestampError::Malformed(what));
        }
    }
    Ok(())
}

/// Seconds, milliseconds and microseconds (§2.4.2), rounded up to milliseconds.
fn accuracy(der: &[u8]) -> Read<u64> {
    let mut millis = 0_u64;
    for part in sequence(der)? {
        let any = AnyRef::from_der(part)?;
        let number = |bytes: &[u8]| -> Read<u64> {
            let bad = TimestampError::Malformed("its accuracy is out of range");
            if bytes.len() > 5 || bytes.first().is_none_or(|first| first & 0x80 != 0) {
                return Err(bad);
            }
            Ok(bytes
                .iter()
                .fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
        };
        let value = number(any.value())?;
        millis = millis.saturating_add(match any.header().tag() {
            Tag::Integer => value.saturating_mul(1000),
            tag if tag == context(0, false) => value,
            tag if tag == context(1, false) => value.div_ceil(1000),
            _ => {
                return Err(TimestampError::Malformed(
                    "its accuracy has a part too many",
                ));
            }
        });
    }
    Ok(millis)
}

/// `YYYYMMDDhhmmss[.f…]Z`, with fractions, which X.509 forbids and this allows (§2.4.2).
fn time(text: &[u8]) -> Read<Timestamp> {
    let bad = || TimestampError::Malformed("its time is malformed");
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    let text = text.strip_suffix('Z').ok_or_else(bad)?;
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(a, b)| (a, Some(b)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || !digits(whole) {
        return Err(bad());
    }
    let millis = match fraction {
        None => "000".into(),
        // DER leaves out trailing zeros.
        Some(fraction)
            if !fraction.is_empty()
                && fraction.len() <= 9
                && digits(fraction)
                && !fraction.ends_with('0') =>
        {
            format!("{fraction:0<3.3}")
        }
        Some(_) => return Err(bad()),
    };
    let part = |range: std::ops::Range<usize>| whole.get(range).unwrap_or_default();
    let spelled = format!(
        "{}-{}-{}T{}:{}:{}.{millis}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..12),
        part(12..14),
    );
    spelled.parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_fractions() {
        let read = |text: &str| time(text.as_bytes()).map(|time| time.to_string()).ok();
        assert_eq!(read("20261128093000Z").unwrap(), "2026-11-28T09:30:00.000Z");
        assert_eq!(
            read("20261128093000.1Z").unwrap(),
            "2026-11-28T09:30:00.100Z"
        );
        assert_eq!(
            read("20261128093000.123456Z").unwrap(),
            "2026-11-28T09:30:00.123Z"
        );
        for bad in [
            "20261128093000",
            "202611280930Z",
            "20261128093000.Z",
            "20261128093000.10Z",
            "20261328093000Z",
            "20261128093000+0100",
            "2026112809300\u{e9}Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
