//! What an artifact was made from, as the records of those whom the policy trusts say, and where all of that is from.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::records::{Said, said};
use super::{LedgerEntry, LedgerEvidence};
use crate::artifact::ArtifactDigest;
use crate::digest::Sha256;
use crate::policy::Policy;
use crate::statement::{Record, SourceUri};

/// An artifact, and everything that it was made from.
#[derive(Default)]
pub(super) struct Lineage {
    /// Each, and the record by which it belongs to this: none for the artifact itself.
    pub(super) members: HashMap<Sha256, Option<u64>>,
    /// Where they are from: the address, what is from there, and the record that says so.
    pub(super) sources: Vec<Source>,
}

/// Where something is from.
pub(super) struct Source {
    pub(super) uris: Vec<String>,
    pub(super) artifact: ArtifactDigest,
    pub(super) index: u64,
}

impl Lineage {
    /// Anybody in the policy who may speak of it is believed, in office or not: what is left out here would be out of reach of
    /// a revocation.
    pub(super) fn of(
        artifact: Option<ArtifactDigest>,
        ledger: &LedgerEvidence,
        policy: &Policy,
    ) -> Lineage {
        let mut lineage = Lineage::default();
        let (
            Some(artifact),
            LedgerEvidence::Records {
                entries,
                lineage: made,
                ..
            },
        ) = (artifact, ledger)
        else {
            return lineage;
        };
        lineage.members.insert(artifact.value(), None);
        let heard = |entry: &LedgerEntry| said(entry, policy).ok();
        let all: Vec<Said> = entries.iter().chain(made).filter_map(heard).collect();
        let mut steps: HashMap<ArtifactDigest, Vec<(u64, ArtifactDigest)>> = HashMap::new();
        for one in &all {
            let Some(about) = one.statement.artifact() else {
                continue;
            };
            for input in one.statement.record.made_from() {
                steps.entry(about).or_default().push((one.index, input));
            }
        }
        let mut pending = vec![artifact];
        while let Some(about) = pending.pop() {
            for (index, input) in steps.get(&about).into_iter().flatten() {
                if let Entry::Vacant(slot) = lineage.members.entry(input.value()) {
                    slot.insert(Some(*index));
                    pending.push(*input);
                }
            }
        }
        for one in all {
            let (Record::Acquire(acquire), Some(about)) =
                (&one.statement.record, one.statement.artifact())
            else {
                continue;
            };
            if !lineage.members.contains_key(&about.value()) {
                continue;
            }
            let http = acquire.authentication.http.as_ref();
            let elsewhere = http.into_iter().flat_map(|http| {
                http.final_uri
                    .iter()
                    .chain(&http.redirects)
                    .map(SourceUri::as_str)
            });
            let uris = std::iter::once(acquire.source_uri.as_str()).chain(elsewhere);
            lineage.sources.push(Source {
                uris: uris.map(str::to_owned).collect(),
                artifact: about,
                index: one.index,
            });
        }
        lineage
    }
}
