//! What an entry says: any bytes are an entry, and what is not understood is not passed over.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::ledger::facts::facts;
use weighbridge::ledger::monitor::{Rules, Watched};
use weighbridge::statement::source_address::host;
use weighbridge::statement::source_pattern::SourcePattern;

fuzz_target!(|data: &[u8]| {
    let facts = facts(data);
    assert!(facts.mentions.len() <= 520);
    let rules = Rules::parse("version = 1\none_digest_per_version = true").expect("rules");
    let alerts = rules.look(0, &facts, &mut Watched::default());
    assert_eq!(
        facts.record.is_none(),
        alerts.iter().any(|alert| alert.rule == "entry.unknown")
    );
    if let Ok(text) = std::str::from_utf8(data) {
        _ = host(text);
        // A pattern that was read is read again as the same.
        if let Ok(pattern) = text.parse::<SourcePattern>() {
            assert_eq!(pattern.as_str().parse(), Ok(pattern.clone()));
            _ = pattern.matches(text);
        }
    }
});
