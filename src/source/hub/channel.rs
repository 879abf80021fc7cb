//! A repository of a hub as a channel: from its commit, what is published, with the commit's objects as evidence.

use std::sync::OnceLock;

use super::{Hub, HubError, HubSource, RepositoryKind};
use crate::digest::{Algorithm, Digest, Sha256, decode};
use crate::git::snapshot::MAX_PROOF;
use crate::git::{ObjectId, Pointer};
use crate::json::JsonError;
use crate::path::ArtifactPath;
use crate::source::channel::{Channel, Content, SourceError, endpoint, refuse_others};
use crate::source::gpg;
use crate::source::published::{Assurance, Evidence, Published, PublishedFile, of_snapshot};
use crate::statement::Text;
use crate::statement::acquire::{
    Asset, AuthenticationMethod, AuthenticationResult, Claim, PublishedDigest,
};

/// A repository, and the hub that has it.
pub struct HubChannel {
    hub: Hub,
    source: HubSource,
    /// What was resolved: asked for by its id from then on.
    commit: OnceLock<ObjectId>,
    /// Who must have signed the commit.
    signer: Option<gpg::Key>,
    /// Compute the hashes of Xet, too: they cost as much again as SHA-256.
    with_xet: bool,
    /// What the hub's scanners warn of.
    warnings: OnceLock<Vec<String>>,
}

/// What the proof is called among the attachments of a record.
pub const SNAPSHOT: &str = "git-snapshot";

impl Channel for HubChannel {
    fn published(&self) -> Result<Published, SourceError> {
        let (hub, source) = (&self.hub, &self.source);
        let resolved = hub.resolve(source)?;
        let commit = resolved.commit;
        let commit = *self.commit.get_or_init(|| commit);
        self.warnings.get_or_init(|| warnings(&resolved));

        let mut proof = hub.proof(source, commit)?;
        let git = |source| HubError::Git { commit, source };
        let snapshot = proof.snapshot().map_err(git)?;
        refuse_others(&snapshot, &source.to_string())?;
        let listing = hub.listing(source, &snapshot)?;
        let large = listing.iter().filter_map(|file| {
            let (sha256, size) = (file.sha256?, file.size);
            Some(Pointer { sha256, size })
        });
        proof.pointers = large.collect();
        let snapshot = proof.snapshot().map_err(git)?;
        // Evidence that could not be read again would be none.
        let json = |error: JsonError| SourceError::Unusable(error.to_string());
        let bytes = proof.to_json().map_err(json)?;
        if bytes.len() > MAX_PROOF {
            return Err(SourceError::Unusable(format!(
                "the objects take {} bytes as evidence, and are read up to {MAX_PROOF}",
                bytes.len()
            )));
        }
        let mut files = of_snapshot(&snapshot);
        for file in listing {
            if let Some(entry) = files.get_mut(&file.path) {
                entry.size = Some(file.size);
                let xet = file.xet.filter(|_| self.with_xet);
                let xet = xet.and_then(|hex| decode(Algorithm::Xet, &hex).ok());
                entry.claims.extend(xet.map(|bytes| Digest {
                    algorithm: Algorithm::Xet,
                    bytes: bytes.into(),
                }));
            }
        }
        let asked = source.revision.clone();
        let publisher = source.name.split_once('/').map(|(publisher, _)| publisher);
        Ok(Published {
            uri: hub.address(source),
            revision: Some(commit.to_string()),
            requested: asked.filter(|name| *name != commit.to_string()),
            publisher: publisher.map(str::to_owned),
            licence: resolved.licence.clone(),
            public: Some(!resolved.private && !resolved.gated),
            asset: match source.kind {
                RepositoryKind::Dataset => Asset::Dataset,
                _ => Asset::Model,
            },
            files,
            packed: Vec::new(),
            commit_signature: gpg::of_commit(&proof.commit, self.signer.as_ref())?,
            claims: security(&resolved),

            is_open: false,
            is_single: false,
            assurance: self.assurance(&resolved, commit, &bytes),
            evidence: vec![Evidence {
                name: SNAPSHOT,
                media_type: "application/json",
                bytes,
            }],
            name: format!("commit {commit}"),
        })
    }

    fn open(
        &self,
        path: &ArtifactPath,
        _: &PublishedFile,
        from: u64,
        _: Option<&str>,
    ) -> Result<Content, SourceError> {
        let commit = self.commit.get().copied();
        let commit = commit
            .ok_or_else(|| SourceError::Unusable("it is not known of which commit".into()))?;
        let answer = self.hub.open(&self.source, commit, path.as_str(), from)?;
        Ok(Content::of_answer(answer))
    }

    fn notes(&self) -> Vec<String> {
        self.warnings.get().cloned().unwrap_or_default()
    }

    fn hint(&self) -> &'static str {
        "a private or gated repository takes HF_TOKEN; another hub is named by HF_ENDPOINT"
    }
}

impl HubChannel {
    /// The repository `source` of `hub`.
    pub fn new(
        hub: Hub,
        source: HubSource,
        signer: Option<gpg::Key>,
        with_xet: bool,
    ) -> HubChannel {
        HubChannel {
            hub,
            source,
            commit: OnceLock::new(),
            signer,
            with_xet,
            warnings: OnceLock::new(),
        }
    }

    /// Over TLS the hub has proved who it is, and the commit id binds the files to what it answered.
    fn assurance(&self, resolved: &super::Resolved, commit: ObjectId, proof: &[u8]) -> Assurance {
        let (_, proved) = self.hub.identity();
        let (method, result) = if proved {
            (AuthenticationMethod::Tls, AuthenticationResult::Verified)
        } else {
            (AuthenticationMethod::None, AuthenticationResult::NotChecked)
        };
        let read_from = Text::new(format!("git commit {commit}")).ok();
        Assurance {
            method,
            result,
            endpoint: resolved.peers.first().and_then(endpoint),
            http: Some(resolved.http.clone()),
            credential: self.hub.has_token().then(|| "token of the hub".into()),
            digest: read_from.map(|read_from| PublishedDigest {
                digest: Sha256::of(proof),
                read_from,
            }),
            ..Assurance::default()
        }
    }
}

/// The most files with issues that are told of.
const MAX_ISSUES: usize = 32;

/// What people are told of that.
fn warnings(resolved: &super::Resolved) -> Vec<String> {
    let issues = resolved
        .security
        .iter()
        .flat_map(|it| &it.files_with_issues);
    let line = |one: &super::SecurityIssue| {
        let (path, level) = (
            crate::path::display(&one.path),
            crate::path::display(&one.level),
        );
        format!("{path}: the hub's own scanners call it {level}")
    };
    issues.take(MAX_ISSUES).map(line).collect()
}

/// What the hub's scanners say: a claim of the hub's, at the time of its answer.
fn security(resolved: &super::Resolved) -> Vec<Claim> {
    let Some(status) = &resolved.security else {
        return Vec::new();
    };
    let done = if status.scans_done {
        "done"
    } else {
        "not done"
    };
    let told = status.files_with_issues.iter().take(MAX_ISSUES);
    let issues = told.map(|one| {
        (
            format!("hub: {}", crate::path::display(&one.path)),
            one.level.as_str(),
        )
    });
    let all = std::iter::once(("hub: security scans".to_owned(), done)).chain(issues);
    all.filter_map(|(named_in, value)| {
        Some(Claim {
            named_in: Text::new(named_in).ok()?,
            value: Text::new(value).ok()?,
        })
    })
    .collect()
}
