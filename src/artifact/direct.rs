//! Reading a large file past the page cache (`O_DIRECT`): nothing reads ahead then, so a thread of its own does, a piece while the one
//! before is hashed. Where it cannot be, the file is read as any other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::disk;

/// Bytes of a piece: enough for a disk to be busy, and whole blocks of any hash.
pub(super) const PIECE: usize = 1024 * 1024;

/// What addresses, offsets and lengths are multiples of, as far as disks ask for it.
const ALIGNED: usize = 4096;

/// Pieces of a file: one is hashed while others are read.
const AHEAD: usize = 3;

/// Files of a thread at once: each has a thread and its pieces.
pub(super) const TOGETHER: usize = 4;

/// A piece of memory, a part of which begins at a multiple of [`ALIGNED`].
pub(super) struct Piece {
    memory: Box<[u8]>,
    start: usize,
    /// How much of it is filled.
    length: usize,
}

impl Piece {
    fn new() -> Piece {
        let memory: Box<[u8]> = vec![0; PIECE + ALIGNED].into();
        let start = memory.as_ptr().align_offset(ALIGNED).min(ALIGNED);
        Piece {
            memory,
            start,
            length: 0,
        }
    }

    /// What was read.
    pub(super) fn filled(&self) -> &[u8] {
        let whole = self.memory.get(self.start..).unwrap_or_default();
        whole.get(..self.length).unwrap_or_default()
    }

    /// Fills it from `offset` on; shorter at the end of the file.
    fn fill(&mut self, file: &File, offset: u64) -> io::Result<()> {
        self.length = 0;
        while self.length < PIECE {
            let from = self.start + self.length;
            let room = self.memory.get_mut(from..self.start + PIECE);
            match file.read_at(room.unwrap_or_default(), offset + self.length as u64) {
                Ok(0) => break,
                Ok(count) => self.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What is left is not as the disk wants it.
                Err(error) if is_invalid(&error) && disk::is_direct(file) => {
                    disk::set_direct(file, false)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_invalid(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// A file whose next pieces are being read.
pub(super) struct Ahead {
    full: Receiver<io::Result<Piece>>,
    empty: Sender<Piece>,
}

impl Ahead {
    /// Begins to read `file`, if it can be read so.
    pub(super) fn begin(file: &Arc<File>) -> Option<Ahead> {
        disk::set_direct(file, true).ok()?;
        let (give, full) = sync_channel(AHEAD);
        let (empty, take) = channel();
        for _ in 0..AHEAD {
            _ = empty.send(Piece::new());
        }
        // Ends with the file, or as soon as nobody wants any more of it.
        let name = "weighbridge-direct".into();
        let own = Arc::clone(file);
        let reader = move || read(&own, &give, &take);
        if thread::Builder::new().name(name).spawn(reader).is_err() {
            _ = disk::set_direct(file, false);
            return None;
        }
        Some(Ahead { full, empty })
    }

    /// The next piece; an empty one at the end.
    pub(super) fn next(&self) -> io::Result<Piece> {
        let ended = || Err(io::Error::other("the thread that reads has ended"));
        self.full.recv().unwrap_or_else(|_| ended())
    }

    /// Takes back a piece.
    pub(super) fn give_back(&self, piece: Piece) {
        // A reader that has come to its end needs no more.
        _ = self.empty.send(piece);
    }
}

fn read(file: &File, give: &SyncSender<io::Result<Piece>>, take: &Receiver<Piece>) {
    let mut offset = 0;
    while let Ok(mut piece) = take.recv() {
        let filled = piece.fill(file, offset);
        offset += piece.length as u64;
        let is_last = filled.is_err() || piece.length == 0;
        if give.send(filled.map(|()| piece)).is_err() || is_last {
            return;
        }
    }
}
