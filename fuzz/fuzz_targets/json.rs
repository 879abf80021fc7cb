//! JSON from outside: accepted is what `serde_json` accepts with the same value, less what is not
//! unambiguous, and nothing else. The canonical form says the same, and is canonical.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weighbridge::json;

const LIMIT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let lenient = serde_json::from_slice::<Value>(data).ok();
    let unambiguous = lenient.filter(|value| {
        let (keys, most) = keys(value);
        value.is_object() && keys == colons(data) && most <= json::MAX_KEYS
    });
    let strict = json::parse::<Value>(data, LIMIT).ok();
    assert_eq!(strict, unambiguous);
    assert!(data.is_empty() || json::parse::<Value>(data, data.len() - 1).is_err());

    if let Some(value) = strict {
        let canonical = json::canonical(&value).expect("a value has a canonical form");
        // Numbers may get longer, so the form may be larger than the document.
        let again: Value = json::parse(&canonical, usize::MAX).expect("canonical JSON is JSON");
        assert!(same(&value, &again), "{value} became {again}");
        assert_eq!(json::canonical(&again).expect("as above"), canonical);
    }
});

/// How many keys all objects have together, and how many the one with the most. In a [`Value`] no
/// object has a key twice: the last one won.
fn keys(value: &Value) -> (usize, usize) {
    let (own, children) = match value {
        Value::Object(object) => (object.len(), object.values().collect()),
        Value::Array(array) => (0, array.iter().collect()),
        _ => (0, Vec::new()),
    };
    children
        .into_iter()
        .map(keys)
        .fold((own, own), |(sum, most), (keys, largest)| {
            (sum + keys, most.max(largest))
        })
}

/// The colons outside strings: as many as the text has keys.
fn colons(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Equal, where a number is the IEEE 754 double that RFC 8785 makes of it.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}
