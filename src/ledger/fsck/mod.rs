//! Checks a whole ledger from its entries: every tile, every bundle, every commit slot, every
//! blob, byte for byte, and the signature of the checkpoint. Changes nothing.

mod leaves;
mod rest;
mod slots;
mod tree;

use super::LedgerError;
use super::reader::Log;
use super::store::Store;
use crate::checkpoint::Checkpoint;
use crate::disk::TEMPORARY_PREFIX;
use crate::note::{MAX_NOTE, NoteKey};
use crate::tlog_policy::TlogPolicy;

/// What was checked and what is wrong.
#[derive(Debug)]
pub struct FsckReport {
    pub checkpoint: Checkpoint,
    /// The note that it was in.
    pub note: Vec<u8>,
    /// Why something could not be read, whatever it holds.
    pub unreadable: Option<String>,
    /// Tiles, bundles, slots and blobs that were read.
    pub files: u64,
    /// Things that are no damage: a slot that is not published yet, a left-over of a crash.
    pub notes: Vec<Problem>,
    pub problems: Vec<Problem>,
}

impl FsckReport {
    /// The log that was checked, at the checkpoint that was checked.
    pub fn log<'a>(&self, store: &'a dyn Store) -> Log<'a> {
        Log::at(store, self.checkpoint.clone(), self.note.clone())
    }
}

/// Something wrong with one file of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub what: String,
}

/// Must the commit slots be there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slots {
    /// In the ledger that writers use, and in any copy that should be able to take its place.
    Required,
    /// In a copy for reading, or a log of another program, they are not.
    Absent,
}

/// Checks the ledger in `store` against what is trusted. An error means that it could not be
/// checked at all; what is wrong with it is in the report.
pub fn fsck(
    store: &dyn Store,
    trust: &TlogPolicy,
    slots: Slots,
) -> Result<FsckReport, LedgerError> {
    for _ in 0..ATTEMPTS {
        let (report, note) = check(store, trust, slots)?;
        // A writer may have gone on meanwhile: then what looks like damage may be progress.
        let now = store.read("checkpoint", MAX_NOTE as u64)?;
        if report.problems.is_empty() || now.as_ref() == Some(&note) {
            return Ok(report);
        }
    }
    Ok(check(store, trust, slots)?.0)
}

/// How often a ledger is checked that changes all the time.
const ATTEMPTS: usize = 4;
/// After so many problems a ledger needs no further ones.
const ENOUGH: usize = 1000;

fn check(
    store: &dyn Store,
    trust: &TlogPolicy,
    slots: Slots,
) -> Result<(FsckReport, Vec<u8>), LedgerError> {
    let note = store
        .read("checkpoint", MAX_NOTE as u64)?
        .ok_or(LedgerError::NoCheckpoint)?;
    let checkpoint = trust.open(&note)?;
    let report = FsckReport {
        checkpoint,
        note: note.clone(),
        unreadable: None,
        files: 1,
        notes: Vec::new(),
        problems: Vec::new(),
    };
    let mut checker = Checker {
        store,
        report,
        committed: 0,
        log_keys: trust.logs().cloned().collect(),
    };
    checker.tree();
    match slots {
        Slots::Required => checker.slots()?,
        Slots::Absent => checker.committed = checker.report.checkpoint.size,
    }
    checker.rest()?;
    Ok((checker.report, note))
}

struct Checker<'a> {
    store: &'a dyn Store,
    report: FsckReport,
    /// How many entries the slots hold, published or not.
    committed: u64,
    /// Who signs the state.
    log_keys: Vec<NoteKey>,
}

impl Checker<'_> {
    fn problem(&mut self, key: impl Into<String>, what: impl Into<String>) {
        let (key, what) = (key.into(), what.into());
        let what = match self.report.problems.len() {
            ..ENOUGH => what,
            ENOUGH => "and more: no further problems are listed".into(),
            _ => return,
        };
        self.report.problems.push(Problem { key, what });
    }

    fn note(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.report.notes.push(Problem {
            key: key.into(),
            what: what.into(),
        });
    }

    fn read(&mut self, key: &str, limit: u64) -> Option<Vec<u8>> {
        self.report.files += 1;
        match self.store.read(key, limit) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.is_ambiguous() {
                    self.report.unreadable = Some(root_cause(&error));
                }
                self.problem(key, root_cause(&error));
                None
            }
        }
    }
}

fn is_temporary(key: &str) -> bool {
    key.rsplit('/')
        .next()
        .is_some_and(|name| name.starts_with(TEMPORARY_PREFIX))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
