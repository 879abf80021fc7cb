//! Sigstore bundles v0.3 (sigstore/protobuf-specs), as OMS v1.0 §4.1 uses them. Bytes in, bytes out;
//! verifies nothing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::envelope::{Envelope, from_base64, to_base64};
use crate::json::{self, Distinct, JsonError};

/// The media type that is written, and read beside the older spelling of the same version.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const MEDIA_TYPE_OLD_SPELLING: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// The largest bundle: the signature of about a million files. More is refused unread.
pub const MAX_BUNDLE: usize = 256 * 1024 * 1024;

/// The most signatures in one envelope. The format has one; further ones are ours (DSSE allows them), and
/// readers of the format look at the first.
pub const MAX_SIGNATURES: usize = 16;

/// The most entries of transparency logs.
pub const MAX_LOG_ENTRIES: usize = 32;

/// A bundle: an envelope, and what it takes to verify it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bundle {
    pub media_type: String,
    pub verification_material: VerificationMaterial,
    pub dsse_envelope: Envelope,
}

/// Material that this version tells apart and does not look into; it takes no memory.
#[derive(Clone, Copy, Debug)]
pub struct Opaque;

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Opaque, D::Error> {
        json::Value::deserialize(deserializer).map(|_| Opaque)
    }
}

impl Distinct for Bundle {}

/// Which key or certificate made the signature. Outside the signature, so only a hint.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerificationMaterial {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKeyIdentifier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<RawCertificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x509_certificate_chain: Option<CertificateChain>,
    #[serde(default, serialize_with = "no_entries")]
    pub tlog_entries: Vec<Opaque>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_verification_data: Option<TimestampVerificationData>,
}

/// What was read opaque is not written: new bundles have no entries of a log. One that exists is changed
/// by [`edit`].
fn no_entries<S: Serializer>(_: &[Opaque], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(std::iter::empty::<()>())
}

/// A certificate in DER.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawCertificate {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub raw_bytes: Vec<u8>,
}

/// Certificates, that of the signer first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateChain {
    pub certificates: Vec<RawCertificate>,
}

/// Timestamps over the signature.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimestampVerificationData {
    #[serde(default)]
    pub rfc3161_timestamps: Vec<SignedTimestamp>,
}

/// A TimeStampResp or a bare token (RFC 3161) in DER.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedTimestamp {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub signed_timestamp: Vec<u8>,
}

/// A key by hint, or in full as model_signing wrote it before 1.1.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicKeyIdentifier {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_bytes: Option<String>,
    #[serde(default, skip_serializing)]
    pub key_details: Option<Opaque>,
}

/// Why bytes are not a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    #[error("is not a Sigstore bundle: {0}")]
    Json(#[from] JsonError),
    #[error("has media type {0:?}; OMS signatures are {MEDIA_TYPE:?}")]
    MediaType(String),
    #[error("has {0} entries of transparency logs; more than {MAX_LOG_ENTRIES} prove nothing more")]
    LogEntries(usize),
    #[error("has {0} signatures, not one to {MAX_SIGNATURES}")]
    Signatures(usize),
}

impl Bundle {
    /// Reads a bundle.
    pub fn parse(bytes: &[u8]) -> Result<Bundle, BundleError> {
        let bundle: Bundle = json::parse_distinct(bytes, MAX_BUNDLE)?;
        if ![MEDIA_TYPE, MEDIA_TYPE_OLD_SPELLING].contains(&bundle.media_type.as_str()) {
            return Err(BundleError::MediaType(bundle.media_type));
        }
        let entries = bundle.verification_material.tlog_entries.len();
        if entries > MAX_LOG_ENTRIES {
            return Err(BundleError::LogEntries(entries));
        }
        let count = bundle.dsse_envelope.signatures.len();
        if !(1..=MAX_SIGNATURES).contains(&count) {
            return Err(BundleError::Signatures(count));
        }
        Ok(bundle)
    }

    /// The bundle of an envelope that was signed by the key with `hint`.
    pub fn with_key_hint(envelope: Envelope, hint: String) -> Bundle {
        let public_key = Some(PublicKeyIdentifier {
            hint: Some(hint),
            raw_bytes: None,
            key_details: None,
        });
        Bundle::with_material(
            envelope,
            VerificationMaterial {
                public_key,
                ..Default::default()
            },
        )
    }

    /// The bundle of an envelope that was signed by the key of the first of `certificates`.
    pub fn with_certificates(envelope: Envelope, certificates: Vec<Vec<u8>>) -> Bundle {
        let raw = |raw_bytes| RawCertificate { raw_bytes };
        let certificates = certificates.into_iter().map(raw).collect();
        Bundle::with_material(
            envelope,
            VerificationMaterial {
                x509_certificate_chain: Some(CertificateChain { certificates }),
                ..Default::default()
            },
        )
    }

    fn with_material(envelope: Envelope, material: VerificationMaterial) -> Bundle {
        Bundle {
            media_type: MEDIA_TYPE.into(),
            verification_material: material,
            dsse_envelope: envelope,
        }
    }

    /// The bytes to write.
    pub fn to_json(&self) -> Result<Vec<u8>, JsonError> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// Appends `item` to the list at `path` (RFC 6901) in a bundle, making what is missing on the way, and leaves
/// everything else as it is, understood or not.
pub fn append(bundle: &[u8], path: &[&str], item: Value) -> Result<Vec<u8>, JsonError> {
    let mut root: Value = json::parse(bundle, MAX_BUNDLE)?;
    let mut place = &mut root;
    for name in path {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        let Value::Object(map) = place else {
            unreachable!("as above")
        };
        place = map.entry(*name).or_insert(Value::Null);
    }
    match place {
        Value::Array(list) => list.push(item),
        other => *other = Value::Array(vec![item]),
    }
    Ok(serde_json::to_vec(&root)?)
}

/// Where timestamps stand.
pub const TIMESTAMPS: [&str; 3] = [
    "verificationMaterial",
    "timestampVerificationData",
    "rfc3161Timestamps",
];

/// A bundle with one more timestamp over its signature.
pub fn with_timestamp(bundle: &[u8], token: &[u8]) -> Result<Vec<u8>, JsonError> {
    let token = data_encoding::BASE64.encode(token);
    append(
        bundle,
        &TIMESTAMPS,
        serde_json::json!({ "signedTimestamp": token }),
    )
}
