//! What a kernel says of a file: what it takes to notice that it has changed.

use std::collections::HashSet;
use std::fs::File;
use std::sync::{Mutex, PoisonError};

use rustix::fs::Stat;

use super::stat_cache::RACY;
use crate::time::Timestamp;

/// What tells a file from others on this machine.
pub(super) type Inode = (u64, u64);

/// The files that were read, each in the state in which it was.
#[derive(Default)]
pub struct States(Mutex<HashSet<State>>);

impl States {
    pub(super) fn note(&self, stat: &Stat) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(State::of(stat));
    }

    /// Is `file` one of them, and as it was then?
    pub fn hold(&self, file: &File) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rustix::fs::fstat(file).is_ok_and(|stat| all.contains(&State::of(&stat)))
    }
}

/// What the kernel says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) modified: (i64, u32),
    pub(super) changed: (i64, u32),
}

/// Bytes of a state in the file: device, inode, size, and seconds of two times in eight each; mode, and nanoseconds, in four.
pub(super) const STATE: usize = 5 * 8 + 3 * 4;
impl State {
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        clippy::unnecessary_cast,
        reason = "the fields of stat differ in width and sign among platforms; all bits are kept, for a second has fewer nanoseconds"
    )]
    pub(super) fn of(stat: &Stat) -> State {
        State {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            mode: stat.st_mode as u32,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }

    /// Can everybody write to it?
    pub(super) fn is_open(&self) -> bool {
        self.mode & 0o002 != 0
    }

    pub(super) fn inode(&self) -> Inode {
        (self.device, self.inode)
    }

    /// Was it at rest before `began`, by a clock that may have been set back meanwhile?
    pub(super) fn rested(&self, began: Timestamp) -> bool {
        let before = (began.millis() - RACY).div_euclid(1000);
        self.modified.0 < before && self.changed.0 < before
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for number in [self.device, self.inode, self.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for seconds in [self.modified.0, self.changed.0] {
            out.extend_from_slice(&seconds.to_le_bytes());
        }
        for number in [self.mode, self.modified.1, self.changed.1] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(super) fn read(bytes: &[u8; STATE]) -> Option<State> {
        let (long, rest) = bytes.split_first_chunk::<{ 5 * 8 }>()?;
        let ([device, inode, size, modified, changed], []) = long.as_chunks::<8>() else {
            return None;
        };
        let ([mode, nanos, changed_nanos], []) = rest.as_chunks::<4>() else {
            return None;
        };
        Some(State {
            device: u64::from_le_bytes(*device),
            inode: u64::from_le_bytes(*inode),
            size: u64::from_le_bytes(*size),
            mode: u32::from_le_bytes(*mode),
            modified: (i64::from_le_bytes(*modified), u32::from_le_bytes(*nanos)),
            changed: (
                i64::from_le_bytes(*changed),
                u32::from_le_bytes(*changed_nanos),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_and_as_it_was() {
        let (one, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let states = States::default();
        assert!(!states.hold(&one));
        states.note(&rustix::fs::fstat(&one).unwrap());
        assert!(states.hold(&one));
        assert!(!states.hold(&other));
        one.set_len(1).unwrap();
        assert!(!states.hold(&one));
    }
}
