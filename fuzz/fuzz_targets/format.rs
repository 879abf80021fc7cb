//! Formats of files: every file is of one, whatever it holds, and no more of it is looked at than its head.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::artifact::Format;
use weighbridge::artifact::format::{HEAD, identify};

fuzz_target!(|data: &[u8]| {
    let (name, content) = data.split_at(data.len().min(12));
    let name = String::from_utf8_lossy(name);
    let format = identify(&name, content);
    assert_eq!(format == Format::Empty, content.is_empty());
    assert_eq!(format.name().parse(), Ok(format));
    // Where it lies is no matter.
    if !name.contains('/') {
        assert_eq!(identify(&format!("a/{name}"), content), format);
    }
    if let Some(head) = content.get(..HEAD) {
        _ = identify(&name, head);
    }
});
