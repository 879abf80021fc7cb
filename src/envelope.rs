//! DSSE envelopes (secure-systems-lab/dsse v1.0). Bytes in, bytes out.
//! Never looks inside the payload, never re-serialises, knows no clock.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::json::{self, JsonError};
use crate::key::{PublicKey, Signer, SignerError};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A payload with signatures over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub payload: Vec<u8>,
    pub payload_type: String,
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub sig: Vec<u8>,
    /// A hint which key made it; never trusted. Absent and null are read as empty.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub keyid: String,
}

impl Envelope {
    /// Signs `payload`; `keyid` is a hint for the verifier.
    pub fn sign(
        payload: Vec<u8>,
        payload_type: &str,
        signer: &dyn Signer,
        keyid: &str,
    ) -> Result<Envelope, SignerError> {
        let mut envelope = Envelope {
            payload,
            payload_type: payload_type.into(),
            signatures: Vec::new(),
        };
        envelope.add(signer, keyid)?;
        Ok(envelope)
    }

    /// Adds a signature over the same payload.
    pub fn add(&mut self, signer: &dyn Signer, keyid: &str) -> Result<(), SignerError> {
        let message = self.message();
        let made = signer.sign(&message)?;
        // A token or a service can be set up wrongly: what does not verify is never written.
        let all: Vec<&[u8]> = made.iter().map(Vec::as_slice).collect();
        if signer.public().made(&[&message], &all).is_none() {
            let why = "what came back does not verify under its public key";
            return Err(SignerError(why.into()));
        }
        self.signatures
            .extend(made.into_iter().map(|sig| Signature {
                sig,
                keyid: keyid.into(),
            }));
        Ok(())
    }

    /// Reads an envelope of at most `limit` bytes.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Envelope, JsonError> {
        json::parse(bytes, limit)
    }

    /// The compact canonical form, which is what a ledger keeps.
    pub fn to_json(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(self)
    }

    /// Did `key` sign this payload?
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        self.signatures_of(key).is_some()
    }

    /// Which of the signatures are those of `key`; `None` unless it signed this payload.
    pub fn signatures_of(&self, key: &PublicKey) -> Option<Vec<usize>> {
        let all: Vec<&[u8]> = self
            .signatures
            .iter()
            .map(|one| one.sig.as_slice())
            .collect();
        let head = pre_authentication_head(&self.payload_type, &self.payload);
        key.made(&[head.as_bytes(), &self.payload], &all)
    }

    /// What is signed.
    pub fn message(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, &self.payload)
    }
}

/// What is signed: `DSSEv1 <length> <type> <length> <payload>`.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = pre_authentication_head(payload_type, payload);
    [head.as_bytes(), payload].concat()
}

/// What stands before the payload in that.
fn pre_authentication_head(payload_type: &str, payload: &[u8]) -> String {
    let (types, length) = (payload_type.len(), payload.len());
    format!("DSSEv1 {types} {payload_type} {length} ")
}

pub(crate) fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

/// Standard base64 with padding (RFC 4648 §4), in its one spelling.
pub(crate) fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Base64;
    impl de::Visitor<'_> for Base64 {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("base64")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
            crate::digest::decode_base64(text).ok_or_else(|| E::custom("not base64"))
        }
    }
    deserializer.deserialize_str(Base64)
}

fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyAlgorithm, PrivateKey};

    /// The example of the DSSE specification (protocol.md, "Test Vectors").
    #[test]
    fn encoding_of_the_specification() {
        let encoding = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            encoding,
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn round_trip() {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let other = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let envelope = Envelope::sign(b"{}".to_vec(), IN_TOTO, &key, "id").unwrap();
        let read = Envelope::parse(&envelope.to_json().unwrap(), 1000).unwrap();
        assert_eq!(read, envelope);
        assert!(read.signed_by(&key.public()));
        assert!(!read.signed_by(&other.public()));
        let mut changed = read.clone();
        changed.payload_type.push('x');
        assert!(!changed.signed_by(&key.public()));
    }

    #[test]
    fn strict() {
        let good =
            r#"{"payload":"e30=","payloadType":"t","signatures":[{"sig":"AA==","keyid":null}]}"#;
        assert!(Envelope::parse(good.as_bytes(), 1000).is_ok());
        for bad in [
            good.replace("e30=", "e30"),
            good.replace("e30=", "e31="),
            good.replace("AA==", "AA==AA=="),
            r#"["e30=","t",[["AA==",""]]]"#.into(),
            good.replace("\"payloadType\":\"t\",", ""),
            good.replace("\"payloadType\"", "\"extra\":1,\"payloadType\""),
            good.replace("\"payloadType\"", "\"payload\":\"\",\"payloadType\""),
            good.replace("\"keyid\"", "\"key\""),
        ] {
            assert!(Envelope::parse(bad.as_bytes(), 1000).is_err(), "{bad}");
        }
    }
}
