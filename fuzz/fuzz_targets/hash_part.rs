//! Parts of a hashed artifact: what merges is in order, complete, and prints what it was made of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::report::HashPart;
use weighbridge::report::hash_part::merge;

fuzz_target!(|data: &[u8]| {
    let Ok(part) = HashPart::parse(data) else {
        return;
    };
    let alone = part.clone();
    if let Ok((path, manifest)) = merge(vec![part.clone()]) {
        assert_eq!(alone.parts, 1);
        assert_eq!(manifest.files().len() as u64, alone.all_files);
        assert!(manifest.files().is_sorted_by(|a, b| a.path < b.path));
        let numbers = (alone.part, alone.parts);
        let again = HashPart::new(path, numbers, (alone.all_files, alone.listing), &manifest);
        let mut files = alone.files;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(again.files, files);
    }
    assert!(merge(vec![part.clone(), part]).is_err());
});
