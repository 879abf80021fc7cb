//! Manifests of OCI: every file that one stands for can lie in an artifact, and has a digest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::git::snapshot::acceptable_path;
use weighbridge::source::oci::manifest::{files, parse};
use weighbridge::source::published::Expected;

fuzz_target!(|data: &[u8]| {
    let Ok(Ok(manifest)) = parse(data) else {
        return;
    };
    if let Ok(found) = files(&manifest) {
        assert!(found.files.len() + found.packed.len() <= manifest.layers.len());
        for (path, file) in &found.files {
            assert!(acceptable_path(path).is_ok());
            assert!(matches!(file.expected, Expected::Digest(_)) && file.size.is_some());
        }
    }
});
