//! Packs as a server sends them (gitformat-pack, version 2), small ones: a commit and its trees. Every object
//! is unpacked and hashed; what an object is called by others is asked of its hash.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::bufread::ZlibDecoder;

use super::{GitError, Kind, MAX_OBJECT, ObjectId};

/// The most objects, and bytes of them all.
const MAX_OBJECTS: usize = 1_000_000;
const MAX_BYTES: usize = 512 * 1024 * 1024;

/// A round resolves every delta whose base stands before it; git makes chains of 50 at most.
const MAX_ROUNDS: usize = 64;

/// The objects of a pack, by their ids.
pub type Objects = BTreeMap<ObjectId, (Kind, Vec<u8>)>;

/// What stands in the pack at an offset.
pub(super) enum Packed {
    Whole(Kind, Vec<u8>),
    /// Against the object at another offset, or of another id.
    Delta(Base, Vec<u8>),
}

pub(super) enum Base {
    Offset(usize),
    Id(ObjectId),
}

/// Unpacks `pack`.
pub fn read(pack: &[u8]) -> Result<Objects, GitError> {
    let damaged = GitError::Pack;
    let (content, trailer) = pack
        .split_last_chunk::<20>()
        .ok_or(damaged("it is too short"))?;
    let mut hasher = <sha1_checked::Sha1 as sha1_checked::Digest>::new();
    sha1_checked::Digest::update(&mut hasher, content);
    if hasher.try_finalize().hash().as_slice() != trailer {
        return Err(damaged("its hash is wrong"));
    }
    let rest = content
        .strip_prefix(b"PACK\0\0\0\x02")
        .ok_or(damaged("it is not of version 2"))?;
    let (count, _) = rest
        .split_first_chunk::<4>()
        .ok_or(damaged("it is too short"))?;
    let count = u32::from_be_bytes(*count) as usize;
    if count > MAX_OBJECTS {
        return Err(GitError::Limit {
            what: "the number of objects in the pack",
            limit: MAX_OBJECTS,
        });
    }
    let mut at = 12;
    let mut packed = BTreeMap::new();
    let mut bytes = 0;
    for _ in 0..count {
        let (object, next) = object(content, at, at, MAX_OBJECT)?;
        bytes += match &object {
            Packed::Whole(_, content) | Packed::Delta(_, content) => content.len(),
        };
        within(bytes)?;
        packed.insert(at, object);
        at = next;
    }
    if at != content.len() {
        return Err(damaged("something follows the last object"));
    }
    resolve(packed)
}

fn within(bytes: usize) -> Result<(), GitError> {
    if bytes > MAX_BYTES {
        return Err(GitError::Limit {
            what: "the size of all objects in the pack",
            limit: MAX_BYTES,
        });
    }
    Ok(())
}

/// The object at `at`, which is `place` bytes into the pack, of at most `most` bytes; and where the next one begins.
pub(super) fn object(
    pack: &[u8],
    at: usize,
    place: usize,
    most: usize,
) -> Result<(Packed, usize), GitError> {
    let ends = || GitError::Pack("an object is cut off");
    let mut next = at;
    let mut byte = || {
        let byte = pack.get(next).copied();
        next += 1;
        byte.ok_or_else(ends)
    };
    let first = byte()?;
    let kind = (first >> 4) & 7;
    let mut size = usize::from(first & 15);
    let mut shift = 4;
    let mut more = first;
    while more & 0x80 != 0 {
        more = byte()?;
        size = join(size, more, shift)?;
        shift += 7;
    }
    let base = match kind {
        6 => {
            let mut byte_of = byte()?;
            let mut back = usize::from(byte_of & 0x7f);
            while byte_of & 0x80 != 0 {
                byte_of = byte()?;
                let grown = back
                    .checked_add(1)
                    .and_then(|back| back.checked_mul(128))
                    .ok_or(GitError::Pack("an offset is too large"))?;
                back = grown + usize::from(byte_of & 0x7f);
            }
            let offset = place.checked_sub(back).filter(|_| back > 0);
            Some(Base::Offset(
                offset.ok_or(GitError::Pack("a delta has no base"))?,
            ))
        }
        7 => {
            let mut id = [0; 20];
            for one in &mut id {
                *one = byte()?;
            }
            Some(Base::Id(ObjectId(id)))
        }
        _ => None,
    };
    if size > most {
        return Err(GitError::Limit {
            what: "the size of an object",
            limit: most,
        });
    }
    let compressed = pack.get(next..).ok_or_else(ends)?;
    let mut decoder = ZlibDecoder::new(compressed);
    let mut content = Vec::new();
    let read = (&mut decoder)
        .take(size as u64 + 1)
        .read_to_end(&mut content);
    if read.is_err() || content.len() != size {
        return Err(GitError::Pack("an object cannot be unpacked"));
    }
    let used = usize::try_from(decoder.total_in()).map_err(|_| ends())?;
    let kind = match kind {
        1 => Kind::Commit,
        2 => Kind::Tree,
        3 => Kind::Blob,
        4 => Kind::Tag,
        _ => {
            let base = base.ok_or(GitError::Pack("an object is of no known kind"))?;
            return Ok((Packed::Delta(base, content), next + used));
        }
    };
    Ok((Packed::Whole(kind, content), next + used))
}

/// Adds seven more bits to a number.
fn join(number: usize, byte: u8, shift: u32) -> Result<usize, GitError> {
    let large = GitError::Pack("a number is too large");
    if shift > 40 {
        return Err(large);
    }
    Ok(number | (usize::from(byte & 0x7f) << shift))
}

/// Applies the deltas, in as many rounds as the longest chain is deep.
fn resolve(packed: BTreeMap<usize, Packed>) -> Result<Objects, GitError> {
    let mut objects = Objects::new();
    let mut by_offset: BTreeMap<usize, ObjectId> = BTreeMap::new();
    let mut waiting = Vec::new();
    let mut bytes = 0;
    let mut keep = |objects: &mut Objects, kind: Kind, content: Vec<u8>| {
        bytes += content.len();
        within(bytes)?;
        let id = ObjectId::of(kind, &content)?;
        objects.insert(id, (kind, content));
        Ok::<_, GitError>(id)
    };
    for (at, one) in packed {
        match one {
            Packed::Whole(kind, content) => {
                by_offset.insert(at, keep(&mut objects, kind, content)?);
            }
            Packed::Delta(base, delta) => waiting.push((at, base, delta)),
        }
    }
    for _ in 0..MAX_ROUNDS {
        if waiting.is_empty() {
            return Ok(objects);
        }
        let before = waiting.len();
        let mut still = Vec::new();
        for (at, base, delta) in waiting {
            let id = match &base {
                Base::Offset(offset) => by_offset.get(offset).copied(),
                Base::Id(id) => objects.contains_key(id).then_some(*id),
            };
            let Some((kind, content)) = id.and_then(|id| objects.get(&id)) else {
                still.push((at, base, delta));
                continue;
            };
            let (kind, content) = (*kind, apply(content, &delta, MAX_OBJECT)?);
            by_offset.insert(at, keep(&mut objects, kind, content)?);
        }
        if still.len() == before {
            return Err(GitError::Pack("a delta has no base"));
        }
        waiting = still;
    }
    Err(GitError::Limit {
        what: "the depth of deltas against later objects",
        limit: MAX_ROUNDS,
    })
}

/// What `delta` makes of `base`, of at most `most` bytes: pieces of it, and new ones.
pub(super) fn apply(base: &[u8], delta: &[u8], most: usize) -> Result<Vec<u8>, GitError> {
    let damaged = || GitError::Pack("a delta is damaged");
    let mut rest = delta;
    let number = |rest: &mut &[u8]| {
        let mut value = 0;
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or_else(damaged)?;
            *rest = after;
            value = join(value, byte, shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok::<usize, GitError>(value);
            }
        }
    };
    if number(&mut rest)? != base.len() {
        return Err(damaged());
    }
    let size = number(&mut rest)?;
    if size > most {
        return Err(damaged());
    }
    let mut out = Vec::new();
    while let Some((&code, after)) = rest.split_first() {
        rest = after;
        let piece = if code & 0x80 == 0 {
            let count = usize::from(code);
            let (piece, after) = rest.split_at_checked(count).ok_or_else(damaged)?;
            rest = after;
            if count == 0 {
                return Err(damaged());
            }
            piece
        } else {
            // Four bytes of an offset and three of a count, as far as the bits of the code say.
            let (mut offset, mut count) = (0_usize, 0_usize);
            for bit in 0..7 {
                if code & (1 << bit) != 0 {
                    let (&byte, after) = rest.split_first().ok_or_else(damaged)?;
                    rest = after;
                    if bit < 4 {
                        offset |= usize::from(byte) << (8 * bit);
                    } else {
                        count |= usize::from(byte) << (8 * (bit - 4));
                    }
                }
            }
            let count = match count {
                0 => 0x1_0000,
                count => count,
            };
            base.get(offset..offset + count).ok_or_else(damaged)?
        };
        if out.len() + piece.len() > size {
            return Err(damaged());
        }
        out.extend_from_slice(piece);
    }
    if out.len() == size {
        Ok(out)
    } else {
        Err(damaged())
    }
}
