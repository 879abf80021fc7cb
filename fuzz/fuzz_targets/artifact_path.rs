//! Paths in an artifact: accepted is what stays beneath the artifact, byte for byte.

#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use weighbridge::path::{ArtifactPath, MAX_LENGTH};

fuzz_target!(|data: &[u8]| {
    let parsed = ArtifactPath::from_bytes(data);
    let text = std::str::from_utf8(data).ok();
    assert_eq!(parsed.is_ok(), text.is_some_and(is_good));

    let (Ok(path), Some(text)) = (parsed, text) else {
        return;
    };
    assert_eq!(path.as_str(), text);
    assert!(
        Path::new(text)
            .components()
            .all(|component| matches!(component, Component::Normal(_)))
    );
    assert_eq!(
        path.printable().is_ok(),
        !data.iter().any(|byte| b"\n\r\\".contains(byte))
    );
    assert!(!path.to_string().contains(char::is_control));

    assert!(path.is_within(text));
    for (at, _) in text.char_indices() {
        let (ancestor, rest) = text.split_at(at);
        assert_eq!(
            path.is_within(ancestor),
            rest.starts_with('/'),
            "{text:?} in {ancestor:?}"
        );
    }
});

/// The definition, one component after the other.
fn is_good(text: &str) -> bool {
    let component_is_good =
        |component: &str| !component.is_empty() && component != "." && component != "..";
    text.len() <= MAX_LENGTH && !text.contains('\0') && text.split('/').all(component_is_good)
}
