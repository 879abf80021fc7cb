//! Archives of tar: no entry has more content than the archive, and reading ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::tar::{Archive, EntryKind};

fuzz_target!(|data: &[u8]| {
    let mut archive = Archive::new(data);
    let mut total = 0;
    let mut buffer = [0; 700];
    while let Ok(Some(entry)) = archive.next_entry() {
        if entry.kind == EntryKind::Directory || entry.kind == EntryKind::Link {
            assert_eq!(entry.size, 0);
        }
        let mut size = 0;
        loop {
            match archive.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => size += count as u64,
                Err(_) => return,
            }
        }
        assert_eq!(size, entry.size);
        total += size;
        assert!(total <= data.len() as u64);
    }
});
