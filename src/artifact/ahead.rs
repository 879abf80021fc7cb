//! Large files that are read by threads of their own, each a piece in turn, while the pieces before are hashed: past the page cache
//! (`O_DIRECT`), where the kernel does not read ahead; and through it, where a core would be idle otherwise.

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

/// From this size on a thread of its own is worth it.
pub(super) const OVERLAPPED: u64 = 32 * 1024 * 1024;

/// Pieces of a file: one is hashed while others are read, or wait for it.
const PIECES: usize = 4;

/// Files of a thread at once that are read past the page cache: each has its readers and their pieces.
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
        let mut is_direct = true;
        while self.length < PIECE {
            let from = self.start + self.length;
            let room = self.memory.get_mut(from..self.start + PIECE);
            match file.read_at(room.unwrap_or_default(), offset + self.length as u64) {
                Ok(0) => break,
                Ok(count) => self.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What is left is not as the disk wants it; another reader may have found that out at the same time.
                Err(error) if is_invalid(&error) && is_direct => {
                    is_direct = false;
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
    readers: Vec<Reader>,
    /// Pieces that were taken.
    taken: usize,
}

/// Reads every piece whose turn it is.
struct Reader {
    full: Receiver<io::Result<Piece>>,
    empty: Sender<Piece>,
}

impl Ahead {
    /// Begins to read `file` past the page cache, if it can be read so. By two, so that the disk always has something to do.
    pub(super) fn past_cache(file: &Arc<File>) -> Option<Ahead> {
        disk::set_direct(file, true).ok()?;
        let begun = Ahead::begin(file, 2);
        if begun.is_none() {
            _ = disk::set_direct(file, false);
        }
        begun
    }

    /// Begins to read `file` through the page cache, if there can be a thread for it.
    pub(super) fn through_cache(file: &Arc<File>) -> Option<Ahead> {
        disk::read_ahead(file);
        Ahead::begin(file, 1)
    }

    fn begin(file: &Arc<File>, readers: usize) -> Option<Ahead> {
        let readers = (0..readers).map(|turn| Reader::begin(file, (turn, readers)));
        let readers = readers.collect::<io::Result<_>>().ok()?;
        Some(Ahead { readers, taken: 0 })
    }

    /// The next piece; an empty one at the end.
    pub(super) fn next(&mut self) -> io::Result<Piece> {
        let ended = || Err(io::Error::other("the thread that reads has ended"));
        let reader = self.readers.get(self.taken % self.readers.len());
        self.taken += 1;
        let piece = reader.and_then(|reader| reader.full.recv().ok());
        piece.unwrap_or_else(ended)
    }

    /// Takes back the piece that was taken last.
    pub(super) fn give_back(&self, piece: Piece) {
        let last = self.taken.saturating_sub(1) % self.readers.len();
        if let Some(reader) = self.readers.get(last) {
            // A reader that has come to its end needs no more.
            _ = reader.empty.send(piece);
        }
    }
}

impl Reader {
    /// Begins to read every piece of `file` whose turn it is, of so many readers.
    fn begin(file: &Arc<File>, turn: (usize, usize)) -> io::Result<Reader> {
        let pieces = PIECES / turn.1;
        let (give, full) = sync_channel(pieces);
        let (empty, take) = channel();
        for _ in 0..pieces {
            _ = empty.send(Piece::new());
        }
        // Ends with the file, or as soon as nobody wants any more of it.
        let own = Arc::clone(file);
        let name = "weighbridge-read".into();
        let read = move || read(&own, turn, &give, &take);
        thread::Builder::new().name(name).spawn(read)?;
        Ok(Reader { full, empty })
    }
}

fn read(
    file: &File,
    (turn, readers): (usize, usize),
    give: &SyncSender<io::Result<Piece>>,
    take: &Receiver<Piece>,
) {
    let mut offset = (turn * PIECE) as u64;
    while let Ok(mut piece) = take.recv() {
        let filled = piece.fill(file, offset);
        offset += (readers * PIECE) as u64;
        let is_last = filled.is_err() || piece.length == 0;
        if give.send(filled.map(|()| piece)).is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests make files")]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_their_order() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        let lengths = [0, 1, 7, 8, 9].map(|pieces| pieces * PIECE);
        for size in lengths
            .into_iter()
            .flat_map(|size| [size, size + 1, size + 4097])
        {
            let bytes: Vec<u8> = (0..=size / 8)
                .flat_map(|n| (n as u64).to_le_bytes())
                .take(size)
                .collect();
            std::fs::write(&path, &bytes).unwrap();
            let open = || Arc::new(File::open(&path).unwrap());
            // Not every file system has the one.
            let both = [Ahead::past_cache(&open()), Ahead::through_cache(&open())];
            assert!(both[1].is_some());
            for mut ahead in both.into_iter().flatten() {
                let mut read = Vec::new();
                loop {
                    let piece = ahead.next().unwrap();
                    if piece.filled().is_empty() {
                        break;
                    }
                    assert!(read.len() % PIECE == 0);
                    read.extend_from_slice(piece.filled());
                    ahead.give_back(piece);
                }
                assert!(read == bytes, "{size}");
            }
        }
    }

    /// Who is not interested in the rest leaves no thread behind: it would hold the file.
    #[test]
    fn readers_end_with_who_asks_them() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        std::fs::write(&path, vec![7; 9 * PIECE]).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let mut ahead = Ahead::through_cache(&file).unwrap();
        assert_eq!(ahead.next().unwrap().filled().len(), PIECE);
        assert_eq!(Arc::strong_count(&file), 2);
        drop(ahead);
        while Arc::strong_count(&file) > 1 {
            thread::yield_now();
        }
    }
}
