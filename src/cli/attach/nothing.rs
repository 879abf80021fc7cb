//! Without the network there is nowhere to attach to.

use std::path::Path;

use super::By;
use crate::artifact::Artifact;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::verify::ArtifactEvidence;

/// No flag.
#[derive(clap::Args)]
pub(in crate::cli) struct AttachArgs {}

/// Nothing.
pub(in crate::cli) struct Attachment;

#[expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "as its twin with the network"
)]
impl AttachArgs {
    pub(in crate::cli) fn is_given(&self) -> bool {
        false
    }

    pub(in crate::cli) fn open(&self) -> Result<Attachment, Failure> {
        Ok(Attachment)
    }
}

#[expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "as its twin with the network"
)]
impl Attachment {
    pub(in crate::cli) fn compare(
        &self,
        _: &Artifact,
        _: &ArtifactEvidence,
    ) -> Result<(), Failure> {
        Ok(())
    }

    pub(in crate::cli) fn attach(
        &self,
        _: &Path,
        _: &By<'_>,
        _: &Output,
    ) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }
}
