//! Sigstore bundles v0.3 (sigstore/protobuf-specs), as OMS v1.0 §4.1 uses them. Bytes in, bytes out;
//! verifies nothing.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::envelope::{Envelope, from_base64, to_base64};
use crate::json::{self, JsonError};

/// The media type that is written, and read beside the older spelling of the same version.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const MEDIA_TYPE_OLD_SPELLING: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// The largest bundle: the signature of about a million files. More is refused unread.
pub const MAX_BUNDLE: usize = 256 * 1024 * 1024;

/// The most signatures in one envelope. The format has one; further ones are ours (DSSE allows them), and
/// readers of the format look at the first.
pub const MAX_SIGNATURES: usize = 16;

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
        IgnoredAny::deserialize(deserializer).map(|_| Opaque)
    }
}

impl Serialize for Opaque {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

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
    #[serde(default)]
    pub tlog_entries: Vec<Opaque>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_verification_data: Option<TimestampVerificationData>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    #[error("has {0} signatures, not one to {MAX_SIGNATURES}")]
    Signatures(usize),
}

impl Bundle {
    /// Reads a bundle.
    pub fn parse(bytes: &[u8]) -> Result<Bundle, BundleError> {
        let bundle: Bundle = json::parse(bytes, MAX_BUNDLE)?;
        if ![MEDIA_TYPE, MEDIA_TYPE_OLD_SPELLING].contains(&bundle.media_type.as_str()) {
            return Err(BundleError::MediaType(bundle.media_type));
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

    /// The same with a timestamp over its signature.
    #[must_use]
    pub fn with_timestamp(mut self, signed_timestamp: Vec<u8>) -> Bundle {
        let material = &mut self.verification_material;
        let data = material.timestamp_verification_data.get_or_insert_default();
        data.rfc3161_timestamps
            .push(SignedTimestamp { signed_timestamp });
        self
    }

    /// The bytes to write.
    pub fn to_json(&self) -> Result<Vec<u8>, JsonError> {
        Ok(serde_json::to_vec(self)?)
    }
}
