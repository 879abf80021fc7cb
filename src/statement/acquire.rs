//! `acquire`: where an artifact was obtained, how, when, and how that was authenticated
//! (EN 304 223 5.2.4-2, 5.2.4-2.1; the authentication block is beyond the baseline).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::predicate::{Predicate, header};
use super::text::{SourceUri, Text};
use super::{Actor, TimeSource};
use crate::digest::{Algorithm, Sha256};
use crate::time::Timestamp;

/// The predicate of an `acquire` record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// When the record was written.
    pub time: Timestamp,
    pub time_source: TimeSource,
    pub actor: Actor,
    /// The origin of the log that the record is for; in another log it does not count.
    pub log: Text,
    /// What kind of artifact it is.
    pub asset: Asset,
    /// Where it was obtained.
    pub source_uri: SourceUri,
    /// What the source calls this exact content: a commit, a version, an object version id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Text>,
    /// The name that was asked for, if it was another: a branch, a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_revision: Option<Text>,
    /// Who publishes it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<Text>,
    /// Who collected it, if not who records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collector: Option<Text>,
    pub method: Method,
    /// When retrieval began and ended; absent if nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrieved: Option<Retrieved>,
    /// The program that retrieved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retriever: Option<Text>,
    pub authentication: Authentication,
    /// The signature in the commit, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_signature: Option<CommitSignature>,
    /// What the artifact's own files, or the source, say of it, the scanners of a hub for one. Nobody vouches for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub claims: Vec<Claim>,
    /// Digests that the source publishes, and whether the content has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub upstream_digests: Vec<UpstreamDigest>,
    /// SPDX licence expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<Text>,
    /// Terms of use, robots rules, a contract: where they can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Text>,
    /// Is the source open to the public?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// What the artifact loads from elsewhere, as its own files say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub dependencies: Vec<Dependency>,
    /// Evidence that can be checked again later, as blobs of the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub attachments: Vec<Attachment>,
    /// The manifest, as a blob of the ledger.
    pub manifest: ManifestReference,
}

/// Something that is loaded from elsewhere together with the artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// As the file names it.
    pub source: Text,
    /// The file in the artifact that says so, and the field in it.
    pub named_in: Text,
    /// Code from there runs where the artifact is loaded.
    pub code: bool,
}

/// A commit's own signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitSignature {
    pub format: SignatureFormat,
    pub result: AuthenticationResult,
    /// The key that was named and made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Text>,
}

/// Who can verify a commit's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureFormat {
    Openpgp,
    Ssh,
    X509,
    Unknown,
}

/// What a file of the artifact says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The file, and the field in it; or the source, and what it is about.
    pub named_in: Text,
    pub value: Text,
}

/// A blob of the ledger that belongs to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// What it is: `git-snapshot`, the commit and trees that name every file; `dataset-items`, where each is from.
    pub name: Text,
    pub sha256: Sha256,
    pub media_type: Text,
}

/// What kind of artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Asset {
    Model,
    Adapter,
    Tokenizer,
    Dataset,
    Prompt,
    Config,
}

/// How it was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    Download,
    Crawl,
    Api,
    Purchase,
    UserFeedback,
    Synthetic,
    Internal,
}

/// When retrieval began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retrieved {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// How we know that the source is the source. `none` and `not-checked` are honest answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authentication {
    pub method: AuthenticationMethod,
    pub result: AuthenticationResult,
    pub checked_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_identity: Option<EndpointIdentity>,
    /// A key id, or an OIDC issuer and subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_identity: Option<Text>,
    /// The name of the credential that was used; never the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_ref: Option<Text>,
    /// SHA-256 of the publisher's signature file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_digest: Option<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_digest: Option<PublishedDigest>,
    /// What was answered, where it came over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
}

/// By what means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthenticationMethod {
    Tls,
    TlsPinned,
    Oms,
    Sigstore,
    Gpg,
    Minisign,
    Ssh,
    ChecksumFromPublisher,
    ApiCredential,
    Contract,
    None,
}

/// With what result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthenticationResult {
    Verified,
    Failed,
    NotChecked,
}

/// The TLS peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointIdentity {
    pub host: Text,
    /// SHA-256 of its certificate in DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_sha256: Option<Sha256>,
    /// SHA-256 of its public key, as the certificate has it (SubjectPublicKeyInfo in DER): stays when the
    /// certificate is renewed for the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spki_sha256: Option<Sha256>,
    /// Who issued the certificate, as RFC 4514 writes names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Text>,
    /// Until when the certificate is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

/// The answer that carried an artifact (RFC 9110): what its server said about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub status: u16,
    /// When the server answered, by its clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Text>,
    /// Where it came from in the end, if it was sent elsewhere; without its query, which can hold a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_uri: Option<SourceUri>,
    /// The addresses between, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub redirects: Vec<SourceUri>,
    /// Who served it in the end, if that is another host than the one that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_by: Option<EndpointIdentity>,
}

/// A digest list that the publisher publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedDigest {
    /// SHA-256 of the list.
    pub digest: Sha256,
    /// Where it was read.
    pub read_from: Text,
}

/// A digest as the source publishes it, for the whole artifact or for one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamDigest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
    pub algorithm: Algorithm,
    pub digest: Text,
    pub matched: bool,
}

/// Which manifest the record is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestReference {
    /// SHA-256 of the manifest text, which is a blob of the ledger. For a tree it is the artifact
    /// digest.
    pub sha256: Sha256,
    #[serde(deserialize_with = "super::predicate::exact")]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub files: u64,
    #[serde(deserialize_with = "super::predicate::exact")]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub bytes: u64,
    /// Paths that exist in the artifact and are left out of the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_covered: Vec<Text>,
}

impl Predicate for Acquire {
    const PROVISIONS: &'static [&'static str] = &[
        "5.1.2-3",
        "5.1.2-4",
        "5.2.1-2",
        "5.2.3-1",
        "5.2.4-2",
        "5.2.4-2.1",
    ];
    const EXAMPLE: &'static str = r#"{
  "asset": "model",
  "source_uri": "https://example.org/model.onnx",
  "revision": "6.2.3",
  "publisher": "Example Models Ltd",
  "method": "download",
  "retrieved": { "start": "2026-11-01T09:00:00.000Z", "end": "2026-11-01T09:01:00.000Z" },
  "authentication": {
    "method": "none",
    "result": "not-checked",
    "checked_at": "2026-11-01T09:01:00.000Z"
  },
  "licence": "MIT",
  "public": true
}"#;

    header!(attachments);

    fn manifest(&self) -> Option<&ManifestReference> {
        Some(&self.manifest)
    }

    fn check(&self, _: &super::Subject) -> Result<(), &'static str> {
        let authentication = &self.authentication;
        if authentication.method == AuthenticationMethod::None
            && authentication.result == AuthenticationResult::Verified
        {
            return Err("says that the source was verified, and by nothing");
        }
        match self.retrieved {
            Some(times) if times.end < times.start => Err("was retrieved before that began"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_canonical_json_would_change_are_refused() {
        let parse = |files: u64| {
            let sha256 = "0".repeat(64);
            let text = format!(r#"{{"sha256":"{sha256}","files":{files},"bytes":1}}"#);
            serde_json::from_str::<ManifestReference>(&text)
        };
        assert!(parse((1 << 53) - 1).is_ok());
        assert!(parse(1 << 53).is_err());
        assert!(parse(u64::MAX).is_err());
    }
}
