//! A checkout of git: its commit and trees say what every file is, with git-lfs by the pointers.

use std::collections::BTreeSet;

use crate::digest::Sha256;
use crate::git::repository::{Repository, RepositoryError};
use crate::git::snapshot::{MAX_PROOF, SnapshotProof};
use crate::source::channel::refuse_others;
use crate::source::hub::SNAPSHOT;
use crate::source::published::{Evidence, Published, of_snapshot};
use crate::source::{SourceError, gpg};
use crate::statement::acquire::PublishedDigest;
use crate::statement::{SourceUri, Text};

/// What the commit that is checked out says.
pub(super) fn published(
    mut published: Published,
    repository: &Repository,
    signer: Option<&gpg::Key>,
) -> Result<Published, SourceError> {
    let unusable = |error: RepositoryError| SourceError::Unusable(crate::gate::cause(&error));
    let (commit, branch) = repository.head().map_err(unusable)?;
    let mut get = |kind, id| repository.object(kind, id);
    let mut proof = SnapshotProof::gather_by(commit, &mut get).map_err(unusable)?;
    let git = |error: crate::git::GitError| SourceError::Contradiction(vec![error.to_string()]);
    let snapshot = proof.snapshot().map_err(git)?;
    refuse_others(&snapshot, "it")?;
    // The pointers, as far as they are here: a partial clone has them, too, or the file could not be.
    let ids: BTreeSet<_> = snapshot.files.values().map(|blob| blob.id).collect();
    let pointers = ids.into_iter().filter_map(|id| repository.pointer(id));
    proof.pointers = pointers.collect();
    let snapshot = proof.snapshot().map_err(git)?;
    published.commit_signature = gpg::of_commit(&proof.commit, signer)?;
    let bytes = proof.to_json();
    let bytes = bytes.map_err(|error| SourceError::Unusable(error.to_string()))?;
    // Evidence that could not be read again would be none.
    if bytes.len() > MAX_PROOF {
        return Err(SourceError::Unusable(format!(
            "its commit and trees take {} bytes as evidence, and are read up to {MAX_PROOF}",
            bytes.len()
        )));
    }
    // Where it was cloned from is what the checkout says: told apart from what a server has answered.
    let remote = repository.remote().map(|remote| format!("git+{remote}"));
    if let Some(remote) = remote.filter(|uri| SourceUri::new(uri.as_str()).is_ok()) {
        published.uri = remote;
    }
    published.files = of_snapshot(&snapshot);
    published.revision = Some(commit.to_string());
    published.requested = branch;
    published.name = format!("commit {commit}");
    let read_from = Text::new(format!("git commit {commit}")).ok();
    published.assurance.digest = read_from.map(|read_from| PublishedDigest {
        digest: Sha256::of(&bytes),
        read_from,
    });
    published.evidence.push(Evidence {
        name: SNAPSHOT,
        media_type: "application/json",
        bytes,
    });
    Ok(published)
}
