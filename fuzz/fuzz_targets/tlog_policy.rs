//! Trust policies: what was read, printed and read again is the same; printing has one form; a
//! policy that asks for witnesses opens nothing that it would not open without them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::tlog_policy::TlogPolicy;

const NOTE: &[u8] = include_bytes!("../seeds/cosignature/good");

fuzz_target!(|data: &[u8]| {
    let Ok(policy) = TlogPolicy::parse(data) else {
        return;
    };
    let printed = policy.encode();
    let again = TlogPolicy::parse(&printed).expect("what we print we read");
    assert_eq!(again, policy);
    assert_eq!(again.encode(), printed);
    let log = policy.log().clone();
    assert!(policy.for_log(&log).is_some_and(|one| *one.log() == log));
    if let Ok(opened) = policy.examine(NOTE) {
        assert_eq!(
            policy.without_quorum().open(NOTE).as_ref(),
            Ok(&opened.checkpoint)
        );
        assert!(!policy.asks_for_witnesses() || !opened.witnesses.is_empty());
    }
});
