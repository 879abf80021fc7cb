//! The record of what was acquired: where, when, by what evidence.

use super::AcquireArgs;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::record::{Recorder, manifest_reference};
use crate::digest::Sha256;
use crate::source::published::{Assurance, Evidence, Expected, Published};
use crate::statement::acquire::{
    Acquire, Attachment, Authentication, Dependency, Retrieved, UpstreamDigest,
};
use crate::statement::{Record, SourceUri, Text, TimeSource};
use crate::verify::ArtifactEvidence;

/// Everything that a record says.
pub(super) struct About<'a> {
    pub(super) args: &'a AcquireArgs,
    pub(super) published: &'a Published,
    pub(super) assurance: &'a Assurance,
    pub(super) evidence: &'a [Evidence],
    pub(super) retrieved: Option<Retrieved>,
    pub(super) dependencies: Vec<Dependency>,
}

/// The most digests that are repeated in a record; the evidence has all of them.
const MAX_REPEATED: usize = 16;

impl About<'_> {
    pub(super) fn record(
        &self,
        recorder: &Recorder<'_>,
        evidence: &ArtifactEvidence,
    ) -> Result<Record, Failure> {
        let (args, published) = (self.args, self.published);
        let text = |what: &str, value: &str| {
            Text::new(value).map_err(|error| Failure::because(what, &error))
        };
        let optional = |what: &str, value: &Option<String>| {
            value.as_deref().map(|value| text(what, value)).transpose()
        };
        let licence = match (&args.about.licence, &published.licence) {
            (Some(given), _) => Some(text("--licence", given)?),
            // What the source says is the source's.
            (None, said) => said.as_ref().and_then(|it| Text::new(it.as_str()).ok()),
        };
        let uri = args.about.source_uri.as_ref().unwrap_or(&published.uri);
        let uri = SourceUri::new(uri.as_str());
        let attachments = self.evidence.iter().map(|one| {
            Ok(Attachment {
                name: text("the attachment", one.name)?,
                sha256: Sha256::of(&one.bytes),
                media_type: text("the attachment", one.media_type)?,
            })
        });
        Ok(Record::Acquire(Box::new(Acquire {
            time: context::now(),
            time_source: TimeSource::Local,
            actor: recorder.actor(),
            log: recorder.log(),
            asset: args.about.asset.unwrap_or(published.asset),
            source_uri: uri.map_err(|error| Failure::because("the source", &error))?,
            revision: optional("the revision", &published.revision)?,
            requested_revision: optional("the revision", &published.requested)?,
            publisher: optional("the publisher", &published.publisher)?,
            collector: optional("--collector", &args.about.collector)?,
            method: args.about.method,
            retrieved: self.retrieved,
            retriever: self
                .retrieved
                .map(|_| text("the retriever", RETRIEVER))
                .transpose()?,
            authentication: self.authentication()?,
            commit_signature: published.commit_signature.clone(),
            claims: published.claims.clone(),
            upstream_digests: self.upstream(),
            licence,
            terms: optional("--terms", &args.about.terms)?,
            public: args.about.public.or(published.public),
            dependencies: self.dependencies.clone(),
            attachments: attachments.collect::<Result<_, Failure>>()?,
            manifest: manifest_reference(evidence),
        })))
    }

    fn authentication(&self) -> Result<Authentication, Failure> {
        let assurance = self.assurance;
        let text = |value: &Option<String>| {
            let text = value.as_deref().map(Text::new).transpose();
            text.map_err(|error| Failure::because("the source", &error))
        };
        Ok(Authentication {
            method: assurance.method,
            result: assurance.result,
            checked_at: context::now(),
            endpoint_identity: assurance.endpoint.clone(),
            publisher_identity: text(&assurance.publisher_identity)?,
            credential_ref: text(&assurance.credential)?,
            signature_digest: assurance.signature,
            published_digest: assurance.digest.clone(),
            http: assurance.http.clone(),
        })
    }

    /// The digests that the source publishes, all of which were compared.
    fn upstream(&self) -> Vec<UpstreamDigest> {
        if self.published.files.len() > MAX_REPEATED {
            return Vec::new();
        }
        let mut all = Vec::new();
        for (path, file) in &self.published.files {
            let expected = match &file.expected {
                Expected::Digest(digest) => Some(digest),
                _ => None,
            };
            for digest in expected.into_iter().chain(&file.claims) {
                let (Ok(path), Ok(hex)) = (Text::new(path.as_str()), Text::new(digest.hex()))
                else {
                    continue;
                };
                all.push(UpstreamDigest {
                    path: Some(path),
                    algorithm: digest.algorithm,
                    digest: hex,
                    matched: true,
                });
            }
        }
        all
    }
}

const RETRIEVER: &str = concat!("weighbridge ", env!("CARGO_PKG_VERSION"));
