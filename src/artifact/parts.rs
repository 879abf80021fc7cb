//! One artifact over several machines: which files are whose. Every machine that sees the same files comes to the same answer,
//! so that nobody has to tell them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

use super::walk::FoundFile;
use crate::digest::Sha256;

/// One of so many parts, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    pub number: u32,
    pub of: u32,
}

/// Into more parts nothing is split.
pub const MAX_PARTS: u32 = 10_000;

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        let wrong = || format!("{text:?} is no part such as 3/16");
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        let parse = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let (number, of) = (parse(number)?, parse(of)?);
        if of > MAX_PARTS {
            return Err(format!("nothing is split into more than {MAX_PARTS} parts"));
        }
        if number == 0 || number > of {
            return Err(format!("{text} is none of the parts 1/{of} to {of}/{of}"));
        }
        Ok(Part { number, of })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// What a file costs that has no content, in bytes that could be hashed meanwhile.
const OPENING: u64 = 16 * 1024;

/// The files of `part`, in the order in which they are listed: the largest first, each goes to the part that has least.
pub fn share(files: Vec<FoundFile>, part: Part) -> Vec<FoundFile> {
    let mut order: Vec<u32> = (0..).zip(&files).map(|(index, _)| index).collect();
    let size = |index: u32| usize::try_from(index).ok().and_then(|at| files.get(at));
    let size = |index: u32| size(index).map_or(0, |file| file.size);
    // Stable: of files of one size, the first in the listing is the first.
    order.sort_by_key(|index| Reverse(size(*index)));
    let mut parts: BinaryHeap<Reverse<(u64, u32)>> =
        (1..=part.of).map(|number| Reverse((0, number))).collect();
    let mut own = vec![false; files.len()];
    for index in order {
        let Some(Reverse((load, number))) = parts.pop() else {
            break;
        };
        let load = load.saturating_add(size(index)).saturating_add(OPENING);
        parts.push(Reverse((load, number)));
        if number == part.number
            && let Some(is_own) = usize::try_from(index).ok().and_then(|at| own.get_mut(at))
        {
            *is_own = true;
        }
    }
    let marked = files.into_iter().zip(own);
    marked
        .filter_map(|(file, own)| own.then_some(file))
        .collect()
}

/// What tells one list of files from another: SHA-256 over a line `<size><two spaces><path>` of each, in byte order of the path.
pub fn listing<'a>(files: impl Iterator<Item = (&'a str, u64)>) -> Sha256 {
    let mut hasher = sha2::Sha256::new();
    for (path, size) in files {
        hasher.update(format!("{size}  {path}\n"));
    }
    Sha256(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::ArtifactPath;

    #[test]
    fn every_file_is_in_one_part_and_all_have_alike() {
        let sizes: Vec<u64> = (0..1000).map(|n| (n * 7919) % 100_003).collect();
        let files = || -> Vec<FoundFile> {
            let named = sizes.iter().zip(0..);
            let mut files: Vec<FoundFile> = named
                .map(|(size, n)| {
                    FoundFile::of(ArtifactPath::new(&format!("f{n:04}")).unwrap(), *size)
                })
                .collect();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            files
        };
        for of in [1, 2, 3, 16, 999, 2000] {
            let parts = (1..=of).map(|number| share(files(), Part { number, of }));
            let parts: Vec<Vec<FoundFile>> = parts.collect();
            let mut all: Vec<FoundFile> = parts.iter().flatten().cloned().collect();
            all.sort_by(|a, b| a.path.cmp(&b.path));
            assert_eq!(all, files());
            assert!(
                parts
                    .iter()
                    .all(|part| part.is_sorted_by_key(|file| file.path.clone()))
            );
            let load =
                |part: &Vec<FoundFile>| part.iter().map(|file| file.size + OPENING).sum::<u64>();
            let loads = parts.iter().map(load);
            let (least, most) = (loads.clone().min().unwrap(), loads.max().unwrap());
            assert!(most - least <= 100_003 + OPENING, "{of}: {least} {most}");
        }
    }

    #[test]
    fn numbers_of_parts() {
        assert_eq!("3/16".parse(), Ok(Part { number: 3, of: 16 }));
        for wrong in [
            "", "3", "0/4", "5/4", "1/0", "-1/4", "1/10001", "a/b", "1/2/3",
        ] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
