//! Records: one that was read and is written again is the same record, in the one form that is
//! signed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::json;
use weighbridge::statement::{About, Kind, MAX_PAYLOAD, Statement, StatementError};
use weighbridge::time::Timestamp;

fuzz_target!(|data: &[u8]| {
    let statement = match Statement::parse(data) {
        Ok(statement) => statement,
        Err(StatementError::UnknownKind { predicate_type, .. }) => {
            let mut known = Kind::ALL.iter();
            assert!(!known.any(|kind| kind.predicate_type() == predicate_type));
            return;
        }
        Err(_) => return,
    };
    assert!(
        data.trim_ascii_start().starts_with(b"{"),
        "a record is an object"
    );
    let [subject] = &statement.subject;
    let digest = subject.digest.artifact().expect("exactly one digest");
    // What a record about a key, a source or another record is about is no artifact.
    let artifact = statement.artifact();
    assert!(
        artifact == Some(digest)
            || !matches!(
                statement.record.kind().about(),
                About::Content | About::Artifact
            )
    );
    let kind = statement.record.kind();
    let time = statement.record.time();
    assert_eq!(
        Timestamp::from_millis(time.millis()),
        Some(time),
        "an instant has one spelling"
    );

    let payload = statement.to_payload().expect("it came from JSON");
    // A time without milliseconds gets them: the form may be larger than what was read.
    if payload.len() <= MAX_PAYLOAD {
        let again = Statement::parse(&payload).expect("what is signed can be read");
        assert_eq!(again, statement);
        assert_eq!(again.artifact(), artifact);
        assert_eq!(again.to_payload().expect("as above"), payload);
    }
    let value: serde_json::Value = json::parse(&payload, usize::MAX).expect("JSON");
    assert_eq!(value["predicateType"], kind.predicate_type());
    assert_eq!(
        value["subject"][0]["digest"][digest.name()],
        digest.value().to_string()
    );
});
