//! Manifests: each line read is one line of the text, and the text that is made of them is read as
//! the same lines.

#![no_main]

use std::fmt::Write;

use libfuzzer_sys::fuzz_target;
use weighbridge::artifact::manifest::{Line, parse};
use weighbridge::digest::{Algorithm, Digest};

fuzz_target!(|data: &[u8]| {
    for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
        if let Ok(lines) = parse(data, algorithm) {
            check(data, algorithm, &lines);
        }
    }
});

fn check(data: &[u8], algorithm: Algorithm, lines: &[Line]) {
    assert!(lines.is_sorted_by(|a, b| a.path < b.path));
    let text = std::str::from_utf8(data).expect("accepted, so UTF-8");
    let mut there: Vec<&str> = text
        .strip_suffix('\n')
        .unwrap_or(text)
        .split('\n')
        .collect();
    assert_eq!(lines.len(), there.len());

    let mut canonical = String::new();
    for line in lines {
        let hex = Digest {
            algorithm,
            bytes: line.digest.into(),
        }
        .hex();
        let path = line.path.as_str();
        let spellings = ["  ", " *", "  ./", " *./"].map(|mark| format!("{hex}{mark}{path}"));
        let found = there
            .iter()
            .position(|line| spellings.iter().any(|spelling| spelling == line));
        there.swap_remove(found.expect("each line read is a line of the text"));
        writeln!(canonical, "{hex}  {path}").expect("a string takes everything");
    }
    let again = parse(canonical.as_bytes(), algorithm).expect("the canonical text is a manifest");
    assert_eq!(again, lines);
}
