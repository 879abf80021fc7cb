//! Lists of digests as publishers publish them: the format of GNU (`sha256sum`), that of BSD (`shasum --tag`), or in
//! a file of its own the bare digest.

use crate::digest::{Algorithm, Digest, decode};

/// The largest list.
pub const MAX_LIST: u64 = 64 * 1024 * 1024;

/// The digest that `list` has for the file `name`: the strongest, if it has several. `None` if it is no such list, does not
/// name the file, or names it with two digests of one kind.
pub fn find(list: &[u8], name: &str) -> Option<Digest> {
    let text = std::str::from_utf8(list).ok()?;
    let mut found: Vec<Digest> = Vec::new();
    for line in text.lines() {
        let Some((named, digest)) = entry(line) else {
            continue;
        };
        if named.strip_prefix("./").unwrap_or(named) != name {
            continue;
        }
        match found.iter().find(|one| one.algorithm == digest.algorithm) {
            Some(one) if *one != digest => return None,
            Some(_) => {}
            None => found.push(digest),
        }
    }
    found.into_iter().max_by_key(|one| one.bytes.len())
}

/// Is any line of it that of a list?
pub fn is_list(list: &[u8]) -> bool {
    let text = String::from_utf8_lossy(list);
    text.lines().any(|line| entry(line).is_some())
}

/// Every file that `list` names, with the digest on its line; `None` if a line of it is not understood. Empty lines and
/// remarks are none.
pub fn entries(list: &[u8]) -> Option<Vec<(&str, Digest)>> {
    let text = std::str::from_utf8(list).ok()?;
    let is_said = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    text.lines().filter(is_said).map(entry).collect()
}

/// The digest in a file that is about one file alone: with its name, wherever its author had it, or bare.
pub fn only(list: &[u8], name: &str) -> Option<Digest> {
    let text = std::str::from_utf8(list).ok()?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    let named = |(named, digest): (&str, Digest)| {
        let last = named.rsplit(['/', '\\']).next();
        (last == Some(name)).then_some(digest)
    };
    entry(line).and_then(named).or_else(|| bare(line.trim()))
}

/// Is it a digest and nothing else, so that it could be of any file?
pub fn is_bare(list: &[u8]) -> bool {
    std::str::from_utf8(list).is_ok_and(|text| bare(text.trim()).is_some())
}

/// A file's name and its digest.
fn entry(line: &str) -> Option<(&str, Digest)> {
    let line = line.trim_end_matches('\r');
    // BSD: `SHA256 (name) = digest`.
    for (word, algorithm) in [
        ("SHA256", Algorithm::Sha256),
        ("SHA512", Algorithm::Sha512),
        ("BLAKE2b", Algorithm::Blake2b),
        ("BLAKE3", Algorithm::Blake3),
    ] {
        let rest = line.strip_prefix(word);
        let rest = rest.and_then(|rest| rest.trim_start_matches(' ').strip_prefix('('));
        if let Some((name, hex)) = rest.and_then(|rest| rest.rsplit_once(')')) {
            let hex = hex.trim_start().strip_prefix('=')?.trim();
            return Some((name, digest(algorithm, hex)?));
        }
    }
    // GNU: `digest  name`, with `*` for binary mode.
    let (hex, name) = line.split_once([' ', '\t'])?;
    let name = name.trim_start_matches([' ', '\t']);
    Some((name.strip_prefix('*').unwrap_or(name), bare(hex)?))
}

/// By its length; what names MD5 or SHA-1 says nothing that could be relied on.
fn bare(hex: &str) -> Option<Digest> {
    let algorithm = match hex.len() {
        64 => Algorithm::Sha256,
        128 => Algorithm::Sha512,
        _ => return None,
    };
    digest(algorithm, hex)
}

fn digest(algorithm: Algorithm, hex: &str) -> Option<Digest> {
    let bytes = decode(algorithm, &hex.to_ascii_lowercase()).ok()?;
    Some(Digest {
        algorithm,
        bytes: bytes.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_they_are_published() {
        let a = "a".repeat(64);
        let b = "B".repeat(128);
        let list = format!(
            "# release\n{a}  model.bin\n{a} *./other.bin\r\nSHA512 (big (1).bin) = {b}\n{} md5.bin\n",
            "c".repeat(32)
        );
        let find = |name: &str| find(list.as_bytes(), name);
        assert_eq!(find("model.bin").unwrap().hex(), a);
        assert_eq!(find("other.bin").unwrap().hex(), a);
        assert_eq!(find("big (1).bin").unwrap().algorithm, Algorithm::Sha512);
        assert_eq!(find("big (1).bin").unwrap().hex(), b.to_lowercase());
        for none in ["md5.bin", "release", "", "model"] {
            assert_eq!(find(none), None, "{none}");
        }
        assert_eq!(only(format!("{a}\n").as_bytes(), "x").unwrap().hex(), a);
        assert_eq!(
            only(format!("{a}  d/x\n").as_bytes(), "x").unwrap().hex(),
            a
        );
        assert_eq!(only(format!("{a}  y\n").as_bytes(), "x"), None);
        assert_eq!(only(format!("{a}\n{a}\n").as_bytes(), "x"), None);
        assert_eq!(only(b"<html>", "x"), None);
    }

    #[test]
    fn two_answers_are_none() {
        let list = format!("{}  x\n{}  x\n", "a".repeat(64), "b".repeat(64));
        assert_eq!(find(list.as_bytes(), "x"), None);
        let three = format!(
            "{}  x\n{}  x\n{}  x\n",
            "a".repeat(64),
            "b".repeat(128),
            "c".repeat(64)
        );
        assert_eq!(find(three.as_bytes(), "x"), None);
        let list = format!("{}  x\n{}  x\n", "a".repeat(64), "b".repeat(128));
        assert_eq!(
            find(list.as_bytes(), "x").unwrap().algorithm,
            Algorithm::Sha512
        );
    }
}
