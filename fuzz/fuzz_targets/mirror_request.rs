//! Uploads to a mirror and its answers: one spelling; bounded; a package is as many entries as its
//! interval has.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::tlog_mirror::{Header, Info, Package, intervals};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(info) = Info::parse(text)
    {
        assert_eq!(info.encode(), text);
    }
    let mut rest = data;
    let Ok(header) = Header::read(&mut rest) else {
        return;
    };
    let mut encoded = header.encode().expect("as long as it was");
    for interval in intervals(header.start, header.end) {
        assert!(interval.begin <= interval.start && interval.start < interval.end);
        let Ok(Some(package)) = Package::read(&mut rest, &interval) else {
            return;
        };
        assert_eq!(package.entries.len() as u64, interval.end - interval.start);
        encoded.extend(package.encode().expect("as long as it was"));
        assert!(data.starts_with(&encoded));
    }
});
