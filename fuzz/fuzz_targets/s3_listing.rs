//! Lists of objects: no more keys than the page has room for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::source::s3::listing::parse;

fuzz_target!(|data: &[u8]| {
    if let Ok(page) = parse(data) {
        let bytes: usize = page.keys.iter().map(String::len).sum();
        assert!(bytes <= data.len() && page.keys.len() <= data.len());
    }
});
