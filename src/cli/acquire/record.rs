//! The record of what was acquired: where, when, by what evidence.

use super::{AcquireArgs, Published};
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::record::{Recorder, manifest_reference};
use crate::digest::Sha256;
use crate::source::hub::{Hub, RepositoryKind};
use crate::statement::acquire::{
    Acquire, Asset, Attachment, Authentication, AuthenticationMethod, AuthenticationResult,
    Dependency, EndpointIdentity, Method, PublishedDigest, Retrieved,
};
use crate::statement::{Record, SourceUri, Text, TimeSource};
use crate::time::Timestamp;
use crate::verify::ArtifactEvidence;

/// Everything that a record says.
pub(super) struct About<'a> {
    pub(super) args: &'a AcquireArgs,
    pub(super) hub: &'a Hub,
    pub(super) published: &'a Published,
    pub(super) proof: Sha256,
    pub(super) retrieved: Option<Retrieved>,
    pub(super) dependencies: Vec<Dependency>,
}

impl About<'_> {
    pub(super) fn record(
        &self,
        recorder: &Recorder<'_>,
        evidence: &ArtifactEvidence,
    ) -> Result<Record, Failure> {
        let now = context::now();
        let (args, published) = (self.args, self.published);
        let source = &args.source;
        let commit = published.resolved.commit;
        let text = |what: &str, value: &str| {
            Text::new(value).map_err(|error| Failure::because(what, &error))
        };
        let asset = args.asset.unwrap_or(match source.kind {
            RepositoryKind::Dataset => Asset::Dataset,
            _ => Asset::Model,
        });
        let licence = match (&args.licence, &published.resolved.licence) {
            (Some(given), _) => Some(text("--licence", given)?),
            // What the hub says is the hub's.
            (None, said) => said.as_ref().and_then(|it| Text::new(it.as_str()).ok()),
        };
        let asked = source
            .revision
            .as_ref()
            .filter(|name| **name != commit.to_string());
        let publisher = source.name.split_once('/').map(|(publisher, _)| publisher);
        let uri = SourceUri::new(self.hub.address(source));
        Ok(Record::Acquire(Box::new(Acquire {
            time: now,
            time_source: TimeSource::Local,
            actor: recorder.actor(),
            log: recorder.log(),
            asset,
            source_uri: uri.map_err(|error| Failure::because("the source", &error))?,
            revision: Some(text("the revision", &commit.to_string())?),
            requested_revision: asked.map(|name| text("the revision", name)).transpose()?,
            publisher: publisher
                .map(|name| text("the publisher", name))
                .transpose()?,
            method: Method::Download,
            retrieved: self.retrieved,
            retriever: self
                .retrieved
                .map(|_| text("the retriever", RETRIEVER))
                .transpose()?,
            authentication: self.authentication(now)?,
            upstream_digests: Vec::new(),
            licence,
            terms: None,
            public: Some(!published.resolved.private && !published.resolved.gated),
            dependencies: self.dependencies.clone(),
            attachments: vec![Attachment {
                name: text("the attachment", SNAPSHOT)?,
                sha256: self.proof,
                media_type: text("the attachment", "application/json")?,
            }],
            manifest: manifest_reference(evidence),
        })))
    }

    /// Over TLS the hub has proved who it is, and the commit id binds the files to what it answered.
    fn authentication(&self, now: Timestamp) -> Result<Authentication, Failure> {
        let text =
            |value: &str| Text::new(value).map_err(|error| Failure::because("the hub", &error));
        let (host, proved) = self.hub.identity();
        let commit = self.published.resolved.commit;
        let token = self.hub.has_token().then(|| text("token of the hub"));
        Ok(Authentication {
            method: if proved {
                AuthenticationMethod::Tls
            } else {
                AuthenticationMethod::None
            },
            result: if proved {
                AuthenticationResult::Verified
            } else {
                AuthenticationResult::NotChecked
            },
            checked_at: now,
            endpoint_identity: Some(EndpointIdentity {
                host: text(host)?,
                cert_sha256: self.published.resolved.certificate,
            }),
            publisher_identity: None,
            credential_ref: token.transpose()?,
            signature_digest: None,
            published_digest: Some(PublishedDigest {
                digest: self.proof,
                read_from: text(&format!("git commit {commit}"))?,
            }),
        })
    }
}

const RETRIEVER: &str = concat!("weighbridge ", env!("CARGO_PKG_VERSION"));

/// What the proof is called among the attachments.
pub(in crate::cli) const SNAPSHOT: &str = "git-snapshot";
