//! Xet's name for content (huggingface.co/docs/xet, "Hashing"; xet-core-structures 1.8.0): chunks that are cut where the content
//! says so, hashed by keyed BLAKE3, and a tree over them. Bytes in, digest out; memory is one chunk and a few nodes a level.

use std::fmt::Write;

/// The chunks that are cut so far, and what was hashed over them.
#[derive(Default)]
pub struct XetHasher {
    chunk: Vec<u8>,
    /// Where in the chunk nothing was looked for yet.
    looked: usize,
    gear: gearhash::Hasher<'static>,
    levels: Vec<Level>,
}

/// Nodes that are in no group yet.
#[derive(Default)]
struct Level {
    pending: Vec<Node>,
    /// Groups of it went up.
    has_parents: bool,
}

type Node = ([u8; 32], u64);

/// A chunk has at least and at most so many bytes, but for the last.
const MIN_CHUNK: usize = 8 * 1024;
const MAX_CHUNK: usize = 128 * 1024;

/// Where all these bits of the rolling hash are zero, a chunk ends.
const MASK: u64 = 0xFFFF_0000_0000_0000;

/// The rolling hash knows this many bytes.
const WINDOW: usize = 64;

/// The largest group.
const MAX_GROUP: usize = 9;

const DATA_KEY: [u8; 32] = [
    0x66, 0x97, 0xf5, 0x77, 0x5b, 0x95, 0x50, 0xde, 0x31, 0x35, 0xcb, 0xac, 0xa5, 0x97, 0x18, 0x1c,
    0x9d, 0xe4, 0x21, 0x10, 0x9b, 0xeb, 0x2b, 0x58, 0xb4, 0xd0, 0xb0, 0x4b, 0x93, 0xad, 0xf2, 0x29,
];
const NODE_KEY: [u8; 32] = [
    0x01, 0x7e, 0xc5, 0xc7, 0xa5, 0x47, 0x29, 0x96, 0xfd, 0x94, 0x66, 0x66, 0xb4, 0x8a, 0x02, 0xe6,
    0x5d, 0xdd, 0x53, 0x6f, 0x37, 0xc7, 0x6d, 0xd2, 0xf8, 0x63, 0x52, 0xe6, 0x4a, 0x53, 0x71, 0x3f,
];

impl XetHasher {
    /// Continues with `bytes`.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = MAX_CHUNK - self.chunk.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            let before = self.chunk.len();
            self.chunk.extend_from_slice(now);
            match self.end() {
                Some(end) => {
                    // What is behind the end comes again.
                    let taken = end - before;
                    self.chunk.truncate(end);
                    self.cut();
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
                None => bytes = later,
            }
        }
    }

    /// Where the chunk ends, if it does by now.
    fn end(&mut self) -> Option<usize> {
        let start = self.looked.max(MIN_CHUNK - 1);
        if self.chunk.len() > start {
            if self.looked < MIN_CHUNK - 1 {
                // Nothing is looked for before: of that only what the rolling hash knows by then matters.
                let known = self.chunk.get(MIN_CHUNK - 1 - WINDOW..MIN_CHUNK - 1);
                self.gear.set_hash(0);
                self.gear.update(known.unwrap_or_default());
            }
            let rest = self.chunk.get(start..).unwrap_or_default();
            if let Some(length) = self.gear.next_match(rest, MASK) {
                return Some(start + length);
            }
            self.looked = self.chunk.len();
        }
        (self.chunk.len() == MAX_CHUNK).then_some(MAX_CHUNK)
    }

    fn cut(&mut self) {
        let hash = blake3::keyed_hash(&DATA_KEY, &self.chunk);
        let node = (*hash.as_bytes(), self.chunk.len() as u64);
        self.chunk.clear();
        self.looked = 0;
        self.push(0, node);
    }

    fn push(&mut self, at: usize, node: Node) {
        if self.levels.len() <= at {
            self.levels.resize_with(at + 1, Level::default);
        }
        let Some(level) = self.levels.get_mut(at) else {
            return;
        };
        level.pending.push(node);
        // With so many the next group is known, whatever comes.
        if level.pending.len() >= MAX_GROUP {
            let group: Vec<Node> = level.pending.drain(..group(&level.pending)).collect();
            level.has_parents = true;
            self.push(at + 1, merge(&group));
        }
    }

    /// The digest, its bytes in the order in which it is spelled in hexadecimal.
    pub fn finish(mut self) -> [u8; 32] {
        if !self.chunk.is_empty() {
            self.cut();
        }
        let mut at = 0;
        let root = loop {
            let Some(level) = self.levels.get_mut(at) else {
                return [0; 32];
            };
            if let ([root], false) = (&level.pending[..], level.has_parents) {
                break root.0;
            }
            while let Some(level) = self.levels.get_mut(at).filter(|it| !it.pending.is_empty()) {
                let group: Vec<Node> = level.pending.drain(..group(&level.pending)).collect();
                level.has_parents = true;
                self.push(at + 1, merge(&group));
            }
            at += 1;
        };
        spelled(*blake3::keyed_hash(&[0; 32], &root).as_bytes())
    }
}

/// How many nodes are the next group: three to nine, and one or two only at the end.
fn group(nodes: &[Node]) -> usize {
    if nodes.len() <= 2 {
        return nodes.len();
    }
    let end = nodes.len().min(MAX_GROUP);
    let ends = |(hash, _): &Node| hash.get(24).is_some_and(|byte| byte % 4 == 0);
    let found = nodes.iter().take(end).skip(2).position(ends);
    found.map_or(end, |at| at + 3)
}

/// The node over a group.
fn merge(group: &[Node]) -> Node {
    let mut text = String::new();
    for (hash, length) in group {
        text += &data_encoding::HEXLOWER.encode(&spelled(*hash));
        // Writing to a string cannot fail.
        _ = writeln!(text, " : {length}");
    }
    let hash = blake3::keyed_hash(&NODE_KEY, text.as_bytes());
    (
        *hash.as_bytes(),
        group.iter().map(|(_, length)| length).sum(),
    )
}

/// Four numbers of 64 bits, lowest byte first, are spelled highest digit first.
fn spelled(mut hash: [u8; 32]) -> [u8; 32] {
    for word in hash.chunks_exact_mut(8) {
        word.reverse();
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&[u8]]) -> String {
        let mut hasher = XetHasher::default();
        for piece in pieces {
            hasher.update(piece);
        }
        data_encoding::HEXLOWER.encode(&hasher.finish())
    }

    /// However the bytes come, the digest is the same; of nothing it is zero.
    #[test]
    fn pieces() {
        assert_eq!(of(&[]), "0".repeat(64));
        let mut state = 1_u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        let content: Vec<u8> = (0..3_000_000).map(|_| byte()).collect();
        let whole = of(&[&content]);
        for size in [1000, 8191, 8192, 65_537, 131_072, 1_000_003] {
            let pieces: Vec<&[u8]> = content.chunks(size).collect();
            assert_eq!(of(&pieces), whole, "{size}");
        }
        assert_ne!(of(&[&content[1..]]), whole);
    }
}
