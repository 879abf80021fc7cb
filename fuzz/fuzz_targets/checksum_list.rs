//! Lists of digests: what is found for a name stands on a line that has that name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::artifact::checksum_list::{find, only};

fuzz_target!(|data: &[u8]| {
    for name in ["model.bin", "a b", "", "x)"] {
        for digest in find(data, name).into_iter().chain(only(data, name)) {
            let text = std::str::from_utf8(data)
                .expect("text")
                .to_ascii_lowercase();
            assert!(text.contains(&digest.hex()));
        }
    }
});
