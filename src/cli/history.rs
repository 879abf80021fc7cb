//! What is known of a log: the checkpoint that was committed with the code, and the newest one that
//! this machine has seen.

use std::path::{Path, PathBuf};

use super::Global;
use super::context::Config;
use super::failure::Failure;
use super::output::Output;
use crate::checkpoint::Checkpoint;
use crate::disk;
use crate::gate::cause;
use crate::ledger::memory::goes_on;
use crate::ledger::{Log, Memory, MemoryError};
use crate::note::{MAX_NOTE, Note, NoteKey};

/// The file beside the policy that holds the least checkpoint to accept.
pub(super) const PIN: &str = "ledger.lock";

/// What a log is compared with.
pub(super) struct History<'a> {
    pin: Option<PathBuf>,
    memory: Option<Memory>,
    output: &'a Output,
}

impl<'a> History<'a> {
    /// The pin of the policy, if it has one, and the memory of this machine, if it has a place.
    pub(super) fn new(
        global: &Global,
        config: Option<&Config>,
        log: &NoteKey,
        output: &'a Output,
    ) -> History<'a> {
        let pin = config.map(|config| config.resolve(PIN));
        let place = if global.no_memory {
            None
        } else {
            global.state_dir.clone().or_else(state_directory)
        };
        History {
            pin: pin.filter(|pin| pin.symlink_metadata().is_ok()),
            memory: place.map(|place| Memory::new(&place.join("checkpoints"), log)),
            output,
        }
    }

    /// Is there anything to compare with?
    pub(super) fn is_known(&self) -> bool {
        let remembered = self.memory.as_ref();
        let remembered = remembered.is_some_and(|memory| memory.place().exists());
        self.pin.is_some() || remembered
    }

    /// The checkpoints that are known. One that cannot be read is an error: it may say anything.
    pub(super) fn known(&self) -> Result<Vec<Checkpoint>, Failure> {
        let remembered = self.memory.as_ref().map(Memory::place);
        let mut known = Vec::new();
        for path in self.pin.iter().cloned().chain(remembered) {
            let note = match disk::read_no_link(&path, MAX_NOTE as u64) {
                Ok(note) => note,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            let checkpoint = Note::parse(&note)
                .map_err(Into::into)
                .and_then(|note| Checkpoint::parse(note.text));
            known.push(checkpoint.map_err(|error| Failure::because(path.display(), &error))?);
        }
        Ok(known)
    }

    /// Makes sure that `log` goes on from what is known, and remembers it.
    pub(super) fn check(&self, log: &Log<'_>) -> Result<(), MemoryError> {
        if let Some(pin) = &self.pin {
            let note = disk::read_no_link(pin, MAX_NOTE as u64)?;
            goes_on(log, &note, pin)?;
        }
        match self.memory.as_ref().map(|memory| memory.check(log)) {
            None | Some(Ok(())) => Ok(()),
            // A machine that cannot keep anything, as a container's, is told so and goes on.
            Some(Err(MemoryError::Disk(error))) => {
                self.output.warn(format!(
                    "the newest checkpoint is not remembered: {}",
                    cause(&error)
                ));
                Ok(())
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// The same, as the end of a verb.
    pub(super) fn demand(&self, log: &Log<'_>) -> Result<(), Failure> {
        self.check(log).map_err(|error| {
            if !error.is_contradiction() {
                return Failure::error(cause(&error));
            }
            let mut lines = vec![cause(&error)];
            lines.push(format!("shown now:\n{}", statement(log.note())));
            let seen = match &error {
                MemoryError::Fork(fork) => Some(&fork.seen),
                MemoryError::RolledBack { seen, .. } => Some(seen),
                _ => None,
            };
            if let Some(seen) = seen
                && let Ok(note) = disk::read_no_link(seen, MAX_NOTE as u64)
            {
                lines.push(format!("seen before:\n{}", statement(&note)));
            }
            Failure::refused(lines).hint(
                "keep both as evidence, and ask who runs the log; to look at an older copy on \
                 purpose use --no-memory",
            )
        })
    }
}

/// What a note says and who signed it, with long signatures cut: whole notes are kept as evidence.
fn statement(note: &[u8]) -> String {
    let short = |line: &str| match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    };
    let lines: Vec<String> = String::from_utf8_lossy(note).lines().map(short).collect();
    lines.join("\n")
}

/// Where programs of this user keep what they remember (XDG Base Directory Specification).
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that looks for the state directory"
)]
pub(super) fn state_directory() -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(absolute);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    Some(
        state
            .or_else(|| home().filter(absolute))?
            .join("weighbridge"),
    )
}
