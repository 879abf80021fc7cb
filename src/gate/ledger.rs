//! Gathers what the ledger says of an artifact: records about it, whose keys count, what it was made from, and what of that
//! was recalled. Decides nothing; who speaks is looked at here only so that strangers cannot make it long.

use std::collections::{BTreeSet, HashSet};

use super::cause;
use super::entries::Entries;
use crate::artifact::ArtifactDigest;
use crate::artifact::manifest::{self, Line};
use crate::digest::{Algorithm, Sha256};
use crate::envelope::Envelope;
use crate::finding::Rule;
use crate::ledger::facts::payload;
#[cfg(feature = "index")]
use crate::ledger::index::Index;
use crate::ledger::tile::MAX_ENTRY;
use crate::ledger::{self, LedgerError, Log, MemoryError, Store};
use crate::policy::Policy;
use crate::statement::items::{self, ITEMS};
use crate::statement::source_pattern::SourcePattern;
use crate::statement::{Record, Scope, Statement, SubjectDigest, subjects};
use crate::time::Timestamp;
use crate::verify::{
    ArtifactEvidence, Earlier, ItemSources, Keyring, LedgerEntry, LedgerEvidence,
    SignatureEvidence, Taken, is_about_a_key, may_mean_anything, may_recall, signers_of, speaks,
};

/// Whether a log goes on from what is known of it.
pub type History<'a> = dyn Fn(&Log<'_>) -> Result<(), MemoryError> + 'a;

/// An index of a log that this host made itself and that is complete, if there is one: what it does not name is not there.
#[cfg(feature = "index")]
pub type OpenIndex<'a> = dyn Fn(&Log<'_>) -> Option<Index> + 'a;
/// Without the feature there is none.
#[cfg(not(feature = "index"))]
pub type OpenIndex<'a> = dyn Fn(&Log<'_>) -> Option<std::convert::Infallible> + 'a;

/// Scans the ledger for entries about `artifact`, and about keys by those whom `policy` trusts at `now`, if
/// it goes on from what is known of it.
pub fn read_ledger(
    store: &dyn Store,
    (policy, now, until): (&Policy, Timestamp, Option<Timestamp>),
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    (history, open): (&History<'_>, &OpenIndex<'_>),
) -> LedgerEvidence {
    let unusable = |rule, why: &dyn std::error::Error| {
        let why = format!(
            "the ledger {} cannot be used: {}",
            store.place(),
            cause(why)
        );
        LedgerEvidence::Unusable { rule, why }
    };
    let scanned = match Log::open(store, &policy.log.trust) {
        Ok(log) => match history(&log) {
            Ok(()) => {
                let index = open(&log);
                scan(
                    store,
                    &log,
                    index.as_ref(),
                    (policy, now, until),
                    artifact,
                    signature,
                )
            }
            Err(error) if error.is_contradiction() => {
                let why = cause(&error);
                return LedgerEvidence::Contradicts { why };
            }
            Err(error) => return unusable(Rule::LedgerRemembered, &error),
        },
        Err(error) => Err(error),
    };
    match scanned {
        Ok(evidence) => evidence,
        Err(error) => {
            let rule = match &error {
                LedgerError::Checkpoint(_) => Rule::LedgerCheckpoint,
                LedgerError::Damaged { .. } => Rule::LedgerConsistent,
                _ => Rule::LedgerUnreadable,
            };
            unusable(rule, &error)
        }
    }
}

/// What one pass over the log finds.
struct Found {
    /// About the artifact, or mentioning it.
    about: Vec<u64>,
    keys: Vec<u64>,
    /// That may take something back.
    recalls: Vec<(u64, Vec<u8>)>,
    same_signature: Option<(u64, Sha256)>,
}

#[cfg(not(feature = "index"))]
type Index = std::convert::Infallible;

fn scan(
    store: &dyn Store,
    log: &Log<'_>,
    index: Option<&Index>,
    (policy, now, until): (&Policy, Timestamp, Option<Timestamp>),
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
) -> Result<LedgerEvidence, LedgerError> {
    let mut ring = Keyring::new(policy, now);
    let digest = artifact.digest();
    #[cfg(feature = "index")]
    let source = index.map_or(Entries::All(log), |index| Entries::Indexed(log, index));
    #[cfg(not(feature = "index"))]
    let source = index.map_or(Entries::All(log), |never| match *never {});
    let found = first_pass(&source, (&mut ring, until), digest, signature)?;
    let lineage = Lineage::of((log, &source), &found.about, digest, ring.policy())?;
    let recalls = relevant(&found, (artifact, &lineage), ring.policy());
    let denied = policy.gate.sources.iter().flat_map(|rule| &rule.deny);
    let patterns = recalls.iter().filter_map(|(_, pattern)| pattern.as_ref());
    let patterns: Vec<SourcePattern> = patterns.chain(denied).cloned().collect();
    let items = item_sources(store, log, &lineage, &patterns)?;
    let entries = |indices: &mut dyn Iterator<Item = u64>| {
        let entry = |index| {
            let (bytes, proof) = log.entry(index)?;
            Ok(LedgerEntry { bytes, proof })
        };
        indices.map(entry).collect::<Result<Vec<_>, LedgerError>>()
    };
    let earlier = found.same_signature.and_then(|(index, manifest)| {
        let text = ledger::blob(store, &manifest).ok()?;
        let lines: Vec<Line> = manifest::parse(&text, Algorithm::Sha256).ok()?;
        Some(Earlier { index, lines })
    });
    Ok(LedgerEvidence::Records {
        entries: entries(&mut found.about.iter().copied())?,
        keys: entries(&mut found.keys.iter().copied())?,
        recalls: entries(&mut recalls.iter().map(|(index, _)| *index))?,
        lineage: entries(&mut lineage.records.iter().copied())?,
        items,
        complete: Some(log.checkpoint().clone()),
        by_index: source.is_indexed(),
        vouched: vouched(log.note(), policy),
        earlier,
    })
}

/// The same as it was at a time: without the records that are dated later. How many these are.
pub fn as_of(evidence: &mut LedgerEvidence, at: Timestamp) -> usize {
    let LedgerEvidence::Records {
        entries,
        keys,
        recalls,
        lineage,
        ..
    } = evidence
    else {
        return 0;
    };
    let was_there = |entry: &LedgerEntry| {
        let envelope = Envelope::parse(&entry.bytes, MAX_ENTRY).ok();
        let statement = envelope.and_then(|envelope| Statement::parse(&envelope.payload).ok());
        statement.is_none_or(|statement| statement.record.time() <= at)
    };
    let count = |all: [&Vec<LedgerEntry>; 4]| all.iter().map(|one| one.len()).sum::<usize>();
    let before = count([entries, keys, recalls, lineage]);
    for all in [&mut *entries, &mut *keys, &mut *recalls, &mut *lineage] {
        all.retain(was_there);
    }
    before - count([entries, keys, recalls, lineage])
}

/// When the witnesses vouched for a checkpoint.
pub(super) fn vouched(note: &[u8], policy: &Policy) -> Option<Timestamp> {
    let opened = policy.log.trust.examine(note).ok()?;
    Timestamp::from_seconds(opened.vouched?)
}

fn first_pass(
    entries: &Entries<'_>,
    (ring, until): (&mut Keyring<'_>, Option<Timestamp>),
    artifact: Option<ArtifactDigest>,
    signature: &SignatureEvidence,
) -> Result<Found, LedgerError> {
    let signature = match signature {
        SignatureEvidence::Bundle { sha256, .. } => Some(sha256.get()),
        _ => None,
    };
    let mut found = Found {
        about: Vec::new(),
        keys: Vec::new(),
        recalls: Vec::new(),
        same_signature: None,
    };
    // What strangers say of keys is not kept, and little of what does not count: there may be any amount.
    let (mut idle, mut unknown) = (0, 0);
    let artifact_hex = artifact.map(|artifact| artifact.value().to_string());
    let signature_hex = signature.map(|signature| signature.to_string());
    let mentions = |payload: &[u8], hex: &Option<String>| {
        let hex = hex.as_ref();
        hex.is_some_and(|hex| memchr::memmem::find(payload, hex.as_bytes()).is_some())
    };
    let wanted = artifact.map(ArtifactDigest::value).into_iter();
    let wanted: HashSet<Sha256> = wanted.chain(signature).collect();
    let mut keeper = Keeper::default();
    entries.visit(&wanted, true, |index, bytes| {
        let payload = payload(bytes);
        // As it was then, whose keys counted, too.
        if until.is_some_and(|until| is_later(&payload, until)) {
            return;
        }
        let may_matter = may_recall(&payload);
        let is_kept = may_matter && keeper.keeps(bytes, &payload, ring.policy());
        if is_kept {
            found.recalls.push((index, bytes.to_vec()));
        }
        if is_about_a_key(&payload) {
            let named = ring.named();
            let shown = match ring.take(index, bytes) {
                Taken::Foreign => false,
                Taken::Counts | Taken::Retires(_) => true,
                Taken::Ignored(_) => another(&mut idle),
                Taken::Unknown(_) => another(&mut unknown),
            };
            // A key that is named for the first time may give itself up later.
            if shown || ring.named() > named {
                found.keys.push(index);
            }
        }
        let lower = payload.to_ascii_lowercase();
        if mentions(&lower, &artifact_hex) {
            let first = !may_matter && keeper.keeps(bytes, &payload, ring.policy());
            if is_kept || first {
                found.about.push(index);
            }
        } else if let Some(signature) = signature
            && mentions(&lower, &signature_hex)
            && let Some(manifest) = released_with(bytes, &signature)
        {
            found.same_signature = Some((index, manifest));
        }
    })?;
    Ok(found)
}

/// What of the entries about an artifact is kept: of what nobody in the policy signed a little, and of what was appended again,
/// which anybody can do, the first.
#[derive(Default)]
struct Keeper {
    strange: usize,
    signed: HashSet<(Sha256, Vec<usize>)>,
}

impl Keeper {
    fn keeps(&mut self, entry: &[u8], payload: &[u8], policy: &Policy) -> bool {
        let envelope = Envelope::parse(entry, MAX_ENTRY).ok();
        let signers = envelope.map_or_else(Vec::new, |envelope| signers_of(&envelope, policy));
        if signers.is_empty() {
            another(&mut self.strange)
        } else {
            // A copy by another is not the one that its author appends after it.
            self.signed.insert((Sha256::of(payload), signers))
        }
    }
}

/// Is what `payload` says dated after `until`?
fn is_later(payload: &[u8], until: Timestamp) -> bool {
    let statement = Statement::parse(payload).ok();
    statement.is_some_and(|statement| statement.record.time() > until)
}

/// The statement in an entry, if somebody in the policy makes it.
fn spoken(bytes: &[u8], index: u64, policy: &Policy) -> Option<Statement> {
    let envelope = Envelope::parse(bytes, MAX_ENTRY).ok()?;
    let statement = Statement::parse(&envelope.payload).ok()?;
    speaks(&envelope, &statement, policy, index).then_some(statement)
}

/// What an artifact was made from, any number of steps back.
#[derive(Default)]
struct Lineage {
    /// The artifact, and everything that it was made from.
    digests: HashSet<Sha256>,
    /// Those that say so, or where one of them is from; but for those about the artifact itself.
    records: BTreeSet<u64>,
    /// Records that say where something is from, with its items.
    with_items: Vec<(u64, Sha256)>,
}

/// The most artifacts that one is made from, and the most steps.
const MAX_ANCESTORS: usize = 10_000;
const MAX_STEPS: usize = 64;

impl Lineage {
    fn of(
        (log, entries): (&Log<'_>, &Entries<'_>),
        about: &[u64],
        artifact: Option<ArtifactDigest>,
        policy: &Policy,
    ) -> Result<Lineage, LedgerError> {
        let mut lineage = Lineage::default();
        let Some(artifact) = artifact else {
            return Ok(lineage);
        };
        lineage.digests.insert(artifact.value());
        let mut next = HashSet::new();
        for &index in about {
            let (bytes, _) = log.entry(index)?;
            if let Some(statement) = spoken(&bytes, index, policy)
                && statement.artifact() == Some(artifact)
            {
                lineage.take(index, &statement, &mut next);
            }
        }
        for _ in 0..MAX_STEPS {
            if next.is_empty() {
                return Ok(lineage);
            }
            if lineage.digests.len() > MAX_ANCESTORS {
                break;
            }
            let wanted = std::mem::take(&mut next);
            entries.visit(&wanted, false, |index, bytes| {
                if names_any(&payload(bytes), &wanted)
                    && let Some(statement) = spoken(bytes, index, policy)
                    && statement
                        .artifact()
                        .is_some_and(|one| wanted.contains(&one.value()))
                    && lineage.take(index, &statement, &mut next)
                {
                    lineage.records.insert(index);
                }
            })?;
        }
        Err(LedgerError::TooDeep {
            artifacts: lineage.digests.len(),
        })
    }

    /// Notes what `statement` says of where its artifact is from; false if it says nothing of that.
    fn take(&mut self, index: u64, statement: &Statement, next: &mut HashSet<Sha256>) -> bool {
        if let Record::Acquire(acquire) = &statement.record {
            let mut attached = acquire.attachments.iter();
            if let Some(items) = attached.find(|one| one.name.as_str() == ITEMS) {
                self.with_items.push((index, items.sha256));
            }
            return true;
        }
        let made_from = statement.record.made_from();
        for one in &made_from {
            if self.digests.insert(one.value()) {
                next.insert(one.value());
            }
        }
        !made_from.is_empty()
    }
}

/// Does `payload` name one of `digests`, in hexadecimal?
fn names_any(payload: &[u8], digests: &HashSet<Sha256>) -> bool {
    let mut runs = payload.split(|byte| !byte.is_ascii_hexdigit());
    runs.any(|run| {
        run.len() == 64
            && std::str::from_utf8(run)
                .ok()
                .and_then(|text| text.to_ascii_lowercase().parse().ok())
                .is_some_and(|digest| digests.contains(&digest))
    })
}

/// Those recalls that may be about the artifact, with the pattern of those that are about a source.
fn relevant(
    found: &Found,
    (artifact, lineage): (&ArtifactEvidence, &Lineage),
    policy: &Policy,
) -> Vec<(u64, Option<SourcePattern>)> {
    let mut kept: Vec<(u64, Option<SourcePattern>)> = Vec::new();
    let mut unknown = 0;
    for (index, bytes) in &found.recalls {
        let Ok(envelope) = Envelope::parse(bytes, MAX_ENTRY) else {
            continue;
        };
        let Ok(statement) = Statement::parse(&envelope.payload) else {
            // A tree that is not this one, nor one that it was made from: whatever is said is not about it.
            let subjects = subjects(&envelope.payload);
            let of_another = |one: &SubjectDigest| {
                one.sha256.is_none()
                    && one
                        .dir_hash1
                        .is_some_and(|digest| !lineage.digests.contains(&digest))
            };
            if !subjects.is_empty() && subjects.iter().all(of_another) {
                continue;
            }
            if may_mean_anything(&envelope, policy, *index) && another(&mut unknown) {
                kept.push((*index, None));
            }
            continue;
        };
        let [subject] = &statement.subject;
        let about_it = subject
            .digest
            .artifact()
            .map(ArtifactDigest::value)
            .is_some_and(|one| {
                lineage.digests.contains(&one) || artifact.file_with(&one).is_some()
            });
        let is_kept = |wanted: u64| kept.iter().any(|(index, _)| *index == wanted);
        let pattern = match statement.record.scope() {
            Some(Scope::Source { pattern }) => Some(pattern.clone()),
            _ => None,
        };
        let matters = match (&statement.record, statement.record.scope()) {
            (_, Some(Scope::Source { .. } | Scope::Key { .. })) => true,
            (_, Some(Scope::Record { index })) => found.about.contains(index) || is_kept(*index),
            (Record::ReleaseQuarantine(release), _) => is_kept(release.releases.index),
            _ => about_it,
        };
        if matters && speaks(&envelope, &statement, policy, *index) {
            kept.push((*index, pattern));
        }
    }
    kept
}

/// Which of `patterns` the items of each dataset fit.
fn item_sources(
    store: &dyn Store,
    log: &Log<'_>,
    lineage: &Lineage,
    patterns: &[SourcePattern],
) -> Result<Vec<ItemSources>, LedgerError> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for (index, sha256) in &lineage.with_items {
        let subject = {
            let (bytes, _) = log.entry(*index)?;
            let envelope = Envelope::parse(&bytes, MAX_ENTRY).ok();
            envelope.and_then(|envelope| Statement::parse(&envelope.payload).ok()?.artifact())
        };
        let matched = match ledger::blob(store, sha256) {
            Ok(bytes) => fitting(&bytes, patterns),
            Err(error) => Err(cause(&error)),
        };
        all.push(ItemSources {
            index: *index,
            artifact: subject,
            matched,
        });
    }
    Ok(all)
}

fn fitting(bytes: &[u8], patterns: &[SourcePattern]) -> Result<Vec<SourcePattern>, String> {
    let mut left: Vec<&SourcePattern> = patterns.iter().collect();
    for item in items::read(bytes) {
        let item = item.map_err(|error| error.to_string())?;
        let fits = |pattern: &&SourcePattern| {
            let end = item.final_url.as_ref();
            pattern.matches(item.url.as_str())
                || end.is_some_and(|url| pattern.matches(url.as_str()))
        };
        left.retain(|pattern| !fits(pattern));
        if left.is_empty() {
            break;
        }
    }
    let fit = patterns.iter().filter(|one| !left.contains(one));
    Ok(fit.cloned().collect())
}

/// As many records about keys are shown that do not count, or cannot be understood.
const MOST_IDLE: usize = 32;

fn another(shown: &mut usize) -> bool {
    *shown += 1;
    *shown <= MOST_IDLE
}

/// The manifest of the release that `entry` records with `signature`.
fn released_with(entry: &[u8], signature: &Sha256) -> Option<Sha256> {
    let envelope = Envelope::parse(entry, MAX_ENTRY).ok()?;
    match Statement::parse(&envelope.payload).ok()?.record {
        Record::Release(release) if release.signature.as_ref()?.sha256 == *signature => {
            Some(release.manifest.sha256)
        }
        _ => None,
    }
}
