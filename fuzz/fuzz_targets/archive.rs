//! Archives of logs: bounded, and one spelling for each file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::ledger::archive::members;

fuzz_target!(|data: &[u8]| {
    if let Ok(members) = members(data, 1 << 16) {
        let blocks: usize = members
            .iter()
            .map(|(_, bytes)| 512 + bytes.len().next_multiple_of(512))
            .sum();
        assert_eq!(blocks + 1024, data.len());
    }
});
