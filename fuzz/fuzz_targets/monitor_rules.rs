//! Rules of a monitor: what is accepted can be applied.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::ledger::facts::facts;
use weighbridge::ledger::monitor::{Rules, Watched};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(rules) = Rules::parse(text) {
        let entry = facts(include_bytes!("../seeds/envelope/acquire"));
        let mut watched = Watched::default();
        for index in 0..4 {
            rules.look(index, &entry, &mut watched);
        }
    }
});
