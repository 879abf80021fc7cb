//! Tar archives (POSIX.1-2024 pax and ustar, with GNU's long names), read as they come: which files are in one, and
//! their content. Opens nothing and writes nothing; what an archive says never decides how much memory is taken.

use std::io::{self, Read};

/// An archive that is read from its start to its end.
pub struct Archive<R> {
    input: R,
    /// What is left of the content of the entry, and of the padding behind it.
    left: u64,
    padding: u64,
    /// How many headers were read.
    headers: u64,
}

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: EntryKind,
    pub size: u64,
}

/// What an entry becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    Link,
    /// A device, a pipe, a sparse file, or what this version does not know.
    Other,
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    #[error("it is no tar archive: {0}")]
    Malformed(&'static str),
    #[error("it is cut off")]
    CutOff,
    #[error("it has more than {MAX_HEADERS} entries")]
    TooMany,
}

const BLOCK: usize = 512;

/// The most headers.
const MAX_HEADERS: u64 = 4_000_000;

/// How much emptiness may follow the end: archives are filled up to whole records.
const MAX_EMPTY: u64 = 64 * 1024 * 1024;

/// The largest name or set of attributes that stands in an entry of its own.
const MAX_EXTENSION: u64 = 64 * 1024;

impl<R: Read> Archive<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Archive<R> {
        Archive {
            input,
            left: 0,
            padding: 0,
            headers: 0,
        }
    }

    /// The next entry; what was not read of the one before is passed over.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut long_name = None;
        let mut attributes = Attributes::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                self.must_end()?;
                return Ok(None);
            };
            let size = number(field(&header, 124, 12))
                .ok_or(TarError::Malformed("the size of an entry is no number"))?;
            let flag = header.get(156).copied().unwrap_or_default();
            match flag {
                b'L' | b'K' | b'x' | b'g' => {
                    let content = self.extension(size)?;
                    match flag {
                        b'L' if long_name.is_none() => {
                            long_name = Some(until_zero(&content).to_vec());
                        }
                        b'x' if !attributes.is_read => attributes.read(&content)?,
                        b'g' => Attributes::default().read_for_all(&content)?,
                        b'K' => {}
                        _ => return Err(TarError::Malformed("an entry has two names")),
                    }
                }
                _ => {
                    let size = attributes.size.unwrap_or(size);
                    let kind = match flag {
                        b'0' | 0 | b'7' if !attributes.is_sparse => EntryKind::File,
                        b'5' => EntryKind::Directory,
                        b'1' | b'2' => EntryKind::Link,
                        _ => EntryKind::Other,
                    };
                    // Of links and directories no content follows, whatever size stands there.
                    let size = match kind {
                        EntryKind::Link | EntryKind::Directory => 0,
                        _ => size,
                    };
                    self.expect(size);
                    // Which of two names counts is not the same for all who read archives.
                    if attributes.path.is_some() && long_name.is_some() {
                        return Err(TarError::Malformed("an entry has two names"));
                    }
                    let path = attributes.path.or(long_name);
                    let path = path.unwrap_or_else(|| name(&header));
                    // Old archives tell directories by their slash alone.
                    let kind = match kind {
                        EntryKind::File if path.ends_with(b"/") && size == 0 => {
                            EntryKind::Directory
                        }
                        EntryKind::File if path.ends_with(b"/") => EntryKind::Other,
                        kind => kind,
                    };
                    return Ok(Some(Entry { path, kind, size }));
                }
            }
        }
    }

    /// A piece of the entry's content; nothing at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let length = buffer.len().min(most);
        let Some(part) = buffer.get_mut(..length).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        loop {
            match self.input.read(part) {
                Ok(0) => return Err(TarError::CutOff),
                Ok(count) => {
                    self.left -= count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 16 * 1024];
        while self.read(&mut buffer)? > 0 {}
        self.left = std::mem::take(&mut self.padding);
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// The content of an entry that says something about the next one.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION {
            return Err(TarError::Malformed(
                "a name or attributes of more than 64 KiB",
            ));
        }
        self.expect(size);
        let mut content = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = self.read(&mut buffer)?;
            if count == 0 {
                return Ok(content);
            }
            content.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }

    /// Behind the end there is nothing: some read on.
    fn must_end(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 16 * 1024];
        let mut empty: u64 = 0;
        loop {
            match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let read = buffer.get(..count).unwrap_or_default();
                    empty += count as u64;
                    if empty > MAX_EMPTY || read.iter().any(|byte| *byte != 0) {
                        return Err(TarError::Malformed("something follows its end"));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A header; `None` at the end of the archive, which empty blocks mark.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut header = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let rest = header.get_mut(have..).unwrap_or_default();
            match self.input.read(rest) {
                // An archive ends with empty blocks: without them it may have been longer.
                Ok(0) => return Err(TarError::CutOff),
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        self.headers += 1;
        if self.headers > MAX_HEADERS {
            return Err(TarError::TooMany);
        }
        let sum = header.iter().enumerate().map(|(at, byte)| match at {
            148..156 => u64::from(b' '),
            _ => u64::from(*byte),
        });
        if number(field(&header, 148, 8)) != Some(sum.sum()) {
            return Err(TarError::Malformed("the sum of a header is wrong"));
        }
        Ok(Some(header))
    }
}

/// What pax says of the next entry.
#[derive(Default)]
struct Attributes {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
    is_read: bool,
}

impl Attributes {
    /// Those for all entries to come may say nothing that matters: not everybody heeds them.
    fn read_for_all(mut self, content: &[u8]) -> Result<(), TarError> {
        self.read(content)?;
        if self.path.is_some() || self.size.is_some() || self.is_sparse {
            return Err(TarError::Malformed("it has a name or size for all entries"));
        }
        Ok(())
    }

    /// Records `LENGTH KEY=VALUE\n`, where the length counts all of it.
    fn read(&mut self, mut content: &[u8]) -> Result<(), TarError> {
        let wrong = || TarError::Malformed("the attributes of an entry");
        self.is_read = true;
        while !content.is_empty() && content.first() != Some(&0) {
            let space = content.iter().position(|byte| *byte == b' ');
            let digits = space.and_then(|space| content.get(..space));
            let length: usize = digits
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
                .ok_or_else(wrong)?;
            let (record, rest) = content.split_at_checked(length).ok_or_else(wrong)?;
            content = rest;
            let record = record
                .get(digits.unwrap_or_default().len() + 1..)
                .and_then(|record| record.strip_suffix(b"\n"))
                .ok_or_else(wrong)?;
            let equals = record.iter().position(|byte| *byte == b'=');
            let equals = equals.ok_or_else(wrong)?;
            let (key, value) = record.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"size" => {
                    let text = std::str::from_utf8(value).ok();
                    self.size = Some(text.and_then(|it| it.parse().ok()).ok_or_else(wrong)?);
                }
                key if key.starts_with(b"GNU.sparse") => self.is_sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

fn field(header: &[u8; BLOCK], from: usize, length: usize) -> &[u8] {
    header.get(from..from + length).unwrap_or_default()
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default()
}

/// The name, behind its prefix where the header is one of POSIX; GNU has other things there.
fn name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_zero(field(header, 0, 100));
    let prefix = until_zero(field(header, 345, 155));
    if field(header, 257, 6) == b"ustar\0" && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

/// An octal number, or with GNU's mark a binary one.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = field.split_first() {
        let (high, low) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        let low: [u8; 8] = low.try_into().ok()?;
        return high
            .iter()
            .all(|byte| *byte == 0)
            .then(|| u64::from_be_bytes(low))
            .filter(|number| *number < 1 << 62);
    }
    let text = std::str::from_utf8(until_zero(field)).ok()?.trim();
    if text.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(String, EntryKind, Vec<u8>)>, TarError> {
        let mut archive = Archive::new(bytes);
        let mut found = Vec::new();
        while let Some(entry) = archive.next_entry()? {
            let mut content = Vec::new();
            let mut buffer = [0; 100];
            loop {
                let count = archive.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                content.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(content.len() as u64, entry.size);
            let path = String::from_utf8(entry.path).unwrap();
            found.push((path, entry.kind, content));
        }
        Ok(found)
    }

    fn header(path: &str, flag: u8, size: &str) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[124..124 + size.len()].copy_from_slice(size.as_bytes());
        header[156] = flag;
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header
    }

    #[test]
    fn entries_and_limits() {
        let file = [header("a", b'0', "3"), b"abc".to_vec(), vec![0; 509]].concat();
        let end = [0; 1024];
        let with_end = |parts: &[&[u8]]| all(&[&parts.concat()[..], &end].concat());
        let found = with_end(&[&file, &header("d/", b'0', "0"), &header("l", b'2', "7")]);
        assert_eq!(
            found.unwrap(),
            [
                ("a".into(), EntryKind::File, b"abc".to_vec()),
                ("d/".into(), EntryKind::Directory, Vec::new()),
                ("l".into(), EntryKind::Link, Vec::new()),
            ]
        );
        let odd = [header("d/", b'0', "3"), b"abc".to_vec(), vec![0; 509]].concat();
        assert_eq!(with_end(&[&odd]).unwrap()[0].1, EntryKind::Other);
        // What comes after the end would be read by some; and without the end, there may have been more.
        assert!(with_end(&[&file, &end, &file]).is_err());
        assert!(all(&file).is_err());
        let named = |name: &[u8]| {
            let mut block = name.to_vec();
            block.resize(BLOCK, 0);
            [header("n", b'L', &format!("{:o}", name.len())), block].concat()
        };
        assert_eq!(with_end(&[&named(b"long"), &file]).unwrap()[0].0, "long");
        assert!(with_end(&[&named(b"long"), &named(b"other"), &file]).is_err());
        assert!(all(&file[..514]).is_err());
        assert!(all(&[7; 512]).is_err());
        let mut wrong = file.clone();
        wrong[0] = b'b';
        assert!(all(&wrong).is_err());
        // A name that takes more than it may.
        assert!(all(&header("n", b'L', "77777777777")).is_err());
        assert!(all(&header("n", b'0', "77777777777")).is_err());
        let attributes = |text: &str| {
            let size = format!("{:o}", text.len());
            let mut block = text.as_bytes().to_vec();
            block.resize(BLOCK, 0);
            with_end(&[&header("x", b'x', &size), &block, &file])
        };
        assert_eq!(attributes("10 path=b\n").unwrap()[0].0, "b");
        for wrong in [
            "99 path=b\n",
            "x",
            "8 path=b\n",
            "10 pathxb\n",
            "9 size=x\n",
        ] {
            assert!(attributes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            attributes("22 GNU.sparse.major=1\n").unwrap()[0].1,
            EntryKind::Other
        );
    }
}
