//! Conditions of policies on what records say: one that is read is about a field that its kind has, and can be held against
//! any record.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::policy::{Condition, Span};
use weighbridge::statement::{Kind, MAX_PAYLOAD, Statement};

fuzz_target!(|data: &[u8]| {
    let (text, record) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => data.split_at(at),
        None => (data, &data[..0]),
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse(), Ok(span));
    }
    let record = record
        .get(..record.len().min(MAX_PAYLOAD))
        .unwrap_or_default();
    let statement = Statement::parse(record).ok();
    for &kind in Kind::ALL {
        let Ok(condition) = Condition::parse(text, kind) else {
            continue;
        };
        assert_eq!(condition.to_string(), text);
        _ = condition.flag();
        if let Some(statement) = &statement {
            _ = condition.check(&statement.record);
        }
    }
});
