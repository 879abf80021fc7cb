//! Mirroring (C2SP tlog-mirror): the request `add-entries`, and what a mirror answers to it.
//! Bytes in, bytes out; opens no connection and keeps no state.
//!
//! A request is a header, then packages: the entries of one bundle, or of the part of it that lies in the
//! interval, and the proof that they are in the tree of the interval's end.

use std::io::{self, Read};

use data_encoding::BASE64;

use crate::checkpoint::decimal;
use crate::digest::{Sha256, decode_base64};
use crate::merkle::Hash;

/// Entries in a full package.
pub const WIDTH: u64 = 256;
/// The most packages that a client sends in one request.
pub const MAX_PACKAGES: usize = 32;
/// The content type of [`Info`].
pub const INFO_CONTENT_TYPE: &str = "text/x.tlog.mirror-info";
/// The longest ticket that a request can bring back.
const MAX_TICKET: usize = u16::MAX as usize;
const MAX_PROOF: usize = 63;
const MAX_INFO: usize = 96 << 10;

/// What a request uploads: the entries `start..end` of the log `origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As it is on the wire: a log's name, or that of none.
    pub origin: Vec<u8>,
    pub start: u64,
    pub end: u64,
    pub ticket: Vec<u8>,
}

/// The entries of a package, and the proof that leads from the subtree which they end to the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    pub entries: Vec<Vec<u8>>,
    pub proof: Vec<Hash>,
}

/// Where a package lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Where its subtree begins: a multiple of 256.
    pub begin: u64,
    /// Where its entries begin.
    pub start: u64,
    /// Where both end.
    pub end: u64,
}

/// Where a mirror stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The size of a tree that it was shown, and that a client may upload to.
    pub size: u64,
    /// The first entry that it does not have.
    pub next: u64,
    pub ticket: Vec<u8>,
}

/// Why a request cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// It ends in the middle of something, or the connection does.
    #[error("the request ends too early")]
    Ended(#[source] io::Error),
}

/// The packages that `start..end` consists of, in order: the "canonical sequence".
pub fn intervals(start: u64, end: u64) -> impl Iterator<Item = Interval> {
    let first = start / WIDTH;
    let last = if start < end {
        end.div_ceil(WIDTH)
    } else {
        first
    };
    (first..last).map(move |number| {
        let begin = number * WIDTH;
        Interval {
            begin,
            start: start.max(begin),
            end: end.min(begin.saturating_add(WIDTH)),
        }
    })
}

impl Header {
    /// The beginning of a request; `None` if a name does not fit into it.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = u16::try_from(self.origin.len())
            .ok()?
            .to_be_bytes()
            .to_vec();
        bytes.extend(&self.origin);
        bytes.extend(self.start.to_be_bytes());
        bytes.extend(self.end.to_be_bytes());
        bytes.extend(u16::try_from(self.ticket.len()).ok()?.to_be_bytes());
        bytes.extend(&self.ticket);
        Some(bytes)
    }

    /// Reads the beginning of a request.
    pub fn read(from: &mut dyn Read) -> Result<Header, ReadError> {
        let origin = sized(from)?;
        let (start, end) = (number(from)?, number(from)?);
        let ticket = sized(from)?;
        Ok(Header {
            origin,
            start,
            end,
            ticket,
        })
    }
}

impl Package {
    /// Its bytes; `None` if an entry or the proof is too long.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            bytes.extend(u16::try_from(entry.len()).ok()?.to_be_bytes());
            bytes.extend(entry);
        }
        let count = u8::try_from(self.proof.len()).ok();
        bytes.push(count.filter(|count| usize::from(*count) <= MAX_PROOF)?);
        bytes.extend(self.proof.iter().flat_map(|hash| hash.0));
        Some(bytes)
    }

    /// Reads the package that lies at `interval`; `None` if the request ends before it.
    pub fn read(from: &mut dyn Read, interval: &Interval) -> Result<Option<Package>, ReadError> {
        let mut first = [0];
        // An interrupted read is not the end of the request.
        let begun = loop {
            match from.read(&mut first) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(ReadError::Ended)?,
            }
        };
        if begun == 0 {
            return Ok(None);
        }
        let from = &mut first.as_slice().chain(from);
        let mut entries = Vec::new();
        for _ in interval.start..interval.end {
            entries.push(sized(from)?);
        }
        let mut count = [0];
        from.read_exact(&mut count).map_err(ReadError::Ended)?;
        let [count] = count.map(usize::from);
        if count > MAX_PROOF {
            return Err(ReadError::Malformed("a proof has more than 63 hashes"));
        }
        let mut proof = Vec::new();
        for _ in 0..count {
            let mut hash = [0; 32];
            from.read_exact(&mut hash).map_err(ReadError::Ended)?;
            proof.push(Sha256(hash));
        }
        Ok(Some(Package { entries, proof }))
    }
}

/// Bytes with their length in two bytes before them.
fn sized(from: &mut dyn Read) -> Result<Vec<u8>, ReadError> {
    let mut length = [0; 2];
    from.read_exact(&mut length).map_err(ReadError::Ended)?;
    let length = usize::from(u16::from_be_bytes(length));
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).map_err(ReadError::Ended)?;
    Ok(bytes)
}

fn number(from: &mut dyn Read) -> Result<u64, ReadError> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes).map_err(ReadError::Ended)?;
    Ok(u64::from_be_bytes(bytes))
}

impl Info {
    /// The body of an answer.
    pub fn encode(&self) -> String {
        let ticket = BASE64.encode(&self.ticket);
        format!("{}\n{}\n{ticket}\n", self.size, self.next)
    }

    /// Reads the body of an answer.
    pub fn parse(body: &str) -> Option<Info> {
        if body.len() > MAX_INFO {
            return None;
        }
        let mut lines = body.strip_suffix('\n')?.split('\n');
        let info = Info {
            size: decimal(lines.next()?)?,
            next: decimal(lines.next()?)?,
            ticket: decode_base64(lines.next()?)?,
        };
        (lines.next().is_none() && info.ticket.len() <= MAX_TICKET).then_some(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds that the specification gives: aligned at 256, cut at both ends.
    #[test]
    fn intervals_of_the_specification() {
        let all = |start, end| -> Vec<_> {
            intervals(start, end)
                .map(|one| (one.begin, one.start, one.end))
                .collect()
        };
        assert_eq!(all(0, 256), [(0, 0, 256)]);
        assert_eq!(
            all(100, 600),
            [(0, 100, 256), (256, 256, 512), (512, 512, 600)]
        );
        assert_eq!(all(300, 301), [(256, 300, 301)]);
        assert_eq!(all(5, 5), []);
        assert_eq!(all(0, 0), []);
        assert_eq!(intervals(u64::MAX - 1, u64::MAX).count(), 1);
    }

    #[test]
    fn what_is_encoded_is_read() {
        let header = Header {
            origin: b"log.example".to_vec(),
            start: 255,
            end: 258,
            ticket: b"ticket".to_vec(),
        };
        let packages =
            [vec![b"a".to_vec()], vec![Vec::new(), vec![7; 65_535]]].map(|entries| Package {
                entries,
                proof: vec![Sha256([9; 32]); 63],
            });
        let mut body = header.encode().unwrap();
        for package in &packages {
            body.extend(package.encode().unwrap());
        }
        let mut from = body.as_slice();
        assert_eq!(Header::read(&mut from).unwrap(), header);
        for (package, interval) in packages.iter().zip(intervals(255, 258)) {
            let read = Package::read(&mut from, &interval).unwrap();
            assert_eq!(read.as_ref(), Some(package));
        }
        let after = Interval {
            begin: 256,
            start: 258,
            end: 259,
        };
        assert!(matches!(Package::read(&mut from, &after), Ok(None)));
        // Cut anywhere, it is no package and no panic.
        let second = packages[0].encode().unwrap();
        for length in 1..second.len() {
            let mut from = &second[..length];
            let interval = intervals(255, 256).next().unwrap();
            let read = Package::read(&mut from, &interval);
            assert!(matches!(read, Err(ReadError::Ended(_))), "{length}");
        }
        let mut long = second;
        long[3] = 64;
        let read = Package::read(&mut long.as_slice(), &intervals(255, 256).next().unwrap());
        assert!(matches!(read, Err(ReadError::Malformed(_))));
    }

    #[test]
    fn malformed_headers_and_answers() {
        for bad in [
            b"".as_slice(),
            b"\0",
            &[0xff, 0xff],
            &[vec![0, 1, b'x'], vec![0; 16], vec![0xff, 0xff]].concat(),
        ] {
            assert!(Header::read(&mut &*bad).is_err(), "{bad:?}");
        }
        let info = Info {
            size: 7,
            next: 0,
            ticket: Vec::new(),
        };
        assert_eq!(info.encode(), "7\n0\n\n");
        assert_eq!(Info::parse(&info.encode()), Some(info));
        for bad in [
            "",
            "7\n0\n",
            "7\n0",
            "07\n0\n\n",
            "7\n0\n\n\n",
            "7\n0\n*\n",
            "7\n-1\n\n",
        ] {
            assert_eq!(Info::parse(bad), None, "{bad:?}");
        }
    }
}
