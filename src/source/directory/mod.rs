//! A directory that is here already, as a source of itself: what it carries says what its files should be. A checkout
//! of git has its commit; others have lists of digests, descriptions, the files of DVC and `MLflow`.

mod carried;
mod checkout;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::SourceError;
use super::channel::{Channel, Content};
use super::gpg;
use super::published::{Assurance, Published, PublishedFile};
use crate::git::repository::Repository;
use crate::path::ArtifactPath;
use crate::statement::acquire::Asset;

/// A directory, and who must have signed its commit.
pub struct DirectoryChannel {
    path: PathBuf,
    signer: Option<gpg::Key>,
}

impl DirectoryChannel {
    /// The directory at `path`.
    pub fn new(path: PathBuf, signer: Option<gpg::Key>) -> DirectoryChannel {
        DirectoryChannel { path, signer }
    }
}

/// Of which nothing is known yet.
fn blank() -> Published {
    Published {
        // Where it is on this machine is nobody's matter.
        uri: String::new(),
        revision: None,
        requested: None,
        publisher: None,
        licence: None,
        public: None,
        asset: Asset::Model,
        files: BTreeMap::new(),
        packed: Vec::new(),
        is_single: false,
        is_open: false,
        evidence: Vec::new(),
        assurance: Assurance::default(),
        commit_signature: None,
        claims: Vec::new(),
        name: String::new(),
    }
}

impl Channel for DirectoryChannel {
    fn published(&self) -> Result<Published, SourceError> {
        let unusable = |error: crate::git::repository::RepositoryError| {
            SourceError::Unusable(crate::gate::cause(&error))
        };
        let repository = Repository::open(&self.path).map_err(unusable)?;
        let mut published = match &repository {
            Some(repository) => checkout::published(blank(), repository, self.signer.as_ref())?,
            None if self.signer.is_some() => {
                return Err(SourceError::Contradiction(vec![
                    "it is no checkout of git, so it has no commit that the named key could have signed".into(),
                ]));
            }
            None => carried::published(blank(), &self.path)?,
        };
        carried::claims(&mut published, &self.path)?;
        Ok(published)
    }

    fn open(
        &self,
        path: &ArtifactPath,
        _: &PublishedFile,
        _: u64,
        _: Option<&str>,
    ) -> Result<Content, SourceError> {
        Err(SourceError::Unusable(format!(
            "{path} is not here, and a directory has no other place to fetch it from"
        )))
    }

    fn hint(&self) -> &'static str {
        "what is missing is brought by the tool that manages the directory: git lfs pull, dvc pull"
    }
}
