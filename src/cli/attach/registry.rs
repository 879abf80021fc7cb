//! `sign --attach`: puts a signature beside the model in a registry, where cosign and admission controllers look.

use std::path::Path;

use super::By;
use crate::artifact::Artifact;
use crate::bundle::MAX_BUNDLE;
use crate::cli::acquire::{self, Against, Source};
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::disk;
use crate::gate::cause;
use crate::source::oci::manifest::{name, parse_digest};
use crate::source::oci::referrers::{self, Subject};
use crate::source::oci::{MANIFEST, OciChannel, Reference, Registry};
use crate::source::published::Published;
use crate::verify::ArtifactEvidence;

/// Where a signature is attached.
#[derive(clap::Args)]
pub(in crate::cli) struct AttachArgs {
    /// Attach the signature to this model in a registry, as `oci://HOST/REPOSITORY:TAG`, and sign its manifest so that
    /// `cosign verify` and admission controllers verify it. The files there must be those that are signed
    #[arg(long, value_name = "REFERENCE")]
    attach: Option<String>,
}

impl AttachArgs {
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.attach.is_some()
    }

    /// Asks for what is there, if anything is to be attached.
    pub(in crate::cli) fn open(&self) -> Result<Attachment, Failure> {
        Ok(Attachment(
            self.attach.as_deref().map(Image::open).transpose()?,
        ))
    }
}

/// What a signature is attached to, or nothing.
pub(in crate::cli) struct Attachment(Option<Image>);

impl Attachment {
    /// What is signed here must be what is there: else a signature would vouch for another model.
    pub(in crate::cli) fn compare(
        &self,
        artifact: &Artifact,
        evidence: &ArtifactEvidence,
    ) -> Result<(), Failure> {
        let image = self.0.as_ref();
        image.map_or(Ok(()), |image| image.compare(artifact, evidence))
    }

    /// Attaches the bundle at `path`, and the statement about the manifest that cosign looks for. The digests of what
    /// was attached.
    pub(in crate::cli) fn attach(
        &self,
        path: &Path,
        by: &By<'_>,
        output: &Output,
    ) -> Result<Vec<String>, Failure> {
        let image = self.0.as_ref();
        image.map_or(Ok(Vec::new()), |image| image.attach(path, by, output))
    }
}

/// A manifest that is going to be signed.
struct Image {
    reference: Reference,
    registry: Registry,
    manifest: Vec<u8>,
    media_type: String,
    published: Published,
}

impl Image {
    /// Asks the registry what `text` names, and reads what it is made of.
    fn open(text: &str) -> Result<Image, Failure> {
        let source: Source = text
            .parse()
            .map_err(|why: String| Failure::error(format!("--attach: {why}")))?;
        let Source::Oci(reference) = &source else {
            return Err(
                Failure::error(format!("--attach: {source} is in no registry"))
                    .hint("name it as oci://HOST/REPOSITORY:TAG"),
            );
        };
        let logins = acquire::logins();
        let fail = |error| Failure::because(&source, &error);
        let registry = Registry::new(reference, &logins).map_err(fail)?;
        let channel = OciChannel::Registry {
            registry: Box::new(Registry::new(reference, &logins).map_err(fail)?),
            reference: reference.clone(),
            signer: None,
        };
        let mut published = acquire::ask(&channel, &source)?;
        acquire::list_archives(&channel, &mut published)?;
        let evidence = published.evidence.iter().find(|one| one.name == MANIFEST);
        let manifest = evidence.map(|one| one.bytes.clone()).unwrap_or_default();
        let received = registry.manifest(&name(&manifest)).map_err(fail)?;
        Ok(Image {
            reference: reference.clone(),
            registry,
            manifest,
            media_type: received.media_type,
            published,
        })
    }

    fn compare(&self, artifact: &Artifact, evidence: &ArtifactEvidence) -> Result<(), Failure> {
        let against = Against {
            files: &self.published.files,
            name: &self.published.name,
            is_open: false,
        };
        let findings = acquire::judge(&mut acquire::reader(artifact), evidence, &against);
        let wrong = acquire::wrong_lines(&findings, false);
        if wrong.is_empty() {
            return Ok(());
        }
        let hint = format!(
            "{} holds other files than are signed here; nothing is signed",
            self.reference
        );
        Err(Failure::refused(wrong).hint(hint))
    }

    fn attach(&self, path: &Path, by: &By<'_>, output: &Output) -> Result<Vec<String>, Failure> {
        let digest = name(&self.manifest);
        let subject = Subject {
            media_type: &self.media_type,
            digest: &digest,
            size: self.manifest.len(),
        };
        let now = context::now().to_string();
        let mut bundles = vec![disk::read(path, MAX_BUNDLE as u64)?];
        let image = parse_digest(&digest)
            .ok_or_else(|| Failure::error(format!("{digest} is no digest")))?;
        bundles.push(match by {
            By::Key(signer) => referrers::image_signature(&image, *signer)
                .map_err(|error| Failure::because(&self.reference, &*error))?,
            By::Keyless(keyless) => keyless.sign(referrers::image_statement(&image)?, output)?.0,
        });
        let mut attached = Vec::new();
        for bundle in bundles {
            let put = referrers::attach(&self.registry, &subject, &bundle, &now);
            attached.push(put.map_err(|error| {
                let text = format!("{}: {}", self.reference, cause(&error));
                Failure::error(text).hint(format!(
                    "{} is written; run the same command again to attach it",
                    path.display()
                ))
            })?);
        }
        output.say(format!(
            "attached {} to {}@{digest}",
            crate::report::text::count(attached.len(), "signature"),
            self.reference.address()
        ));
        Ok(attached)
    }
}
