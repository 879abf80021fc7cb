//! What a model loads from elsewhere, as its own configuration says: code of another repository, and the
//! model under an adapter (transformers `auto_map`; peft `base_model_name_or_path`). Reads, follows nothing.

use serde_json::Value;

use crate::statement::Text;
use crate::statement::acquire::Dependency;

/// Files that are looked into, at the top of the artifact.
pub const FILES: [&str; 7] = [
    "adapter_config.json",
    "config.json",
    "feature_extractor_config.json",
    "image_processor_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
];

/// The largest of them that is read.
pub const MAX_CONFIG: u64 = 16 * 1024 * 1024;

/// The source of what is named in a file that cannot be read.
pub const UNKNOWN: &str = "unknown";

/// More than this are not recorded.
pub const MAX_DEPENDENCIES: usize = 64;

/// What the file `name` with this content refers to.
pub fn named_in(name: &str, content: &[u8]) -> Vec<Dependency> {
    let mut found = Vec::new();
    let value = serde_json::from_slice::<Value>(content);
    let mut add = |source: &str, field: &str, code: bool| {
        let source = Text::new(source.chars().take(512).collect::<String>());
        let named_in = Text::new(format!("{name}: {field}"));
        if let (Ok(source), Ok(named_in)) = (source, named_in) {
            found.push(Dependency {
                source,
                named_in,
                code,
            });
        }
    };
    // Others read what is no JSON, as Python does NaN.
    let Ok(value) = value else {
        add(UNKNOWN, "cannot be read", true);
        return found;
    };
    if let Some(map) = value.get("auto_map") {
        let mut pending = vec![map];
        while let Some(one) = pending.pop() {
            match one {
                // `ORG/NAME--module.Class` is code of another repository.
                Value::String(text) => {
                    if let Some((repository, _)) = text.split_once("--") {
                        add(&format!("hf:{repository}"), "auto_map", true);
                    }
                }
                Value::Array(list) => pending.extend(list),
                Value::Object(map) => pending.extend(map.values()),
                _ => {}
            }
        }
    }
    if name == "adapter_config.json"
        && let Some(base) = value.get("base_model_name_or_path").and_then(Value::as_str)
        && !base.is_empty()
    {
        let revision = value.get("revision").and_then(Value::as_str);
        // Where it lay on its author's machine is nobody's matter.
        let is_path = base.starts_with(['/', '.', '~']) || base.contains(['\\', ':']);
        let source = match revision {
            _ if is_path => "a path on the machine of its author".to_owned(),
            Some(revision) => format!("hf:{base}@{revision}"),
            None => format!("hf:{base}"),
        };
        add(&source, "base_model_name_or_path", false);
    }
    found.sort_by(|a, b| a.source.as_str().cmp(b.source.as_str()));
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_bases_elsewhere() {
        let config = br#"{"auto_map": {"AutoModel": "evil/repo--modeling.Evil", "AutoConfig": "configuration.C",
            "AutoTokenizer": ["evil/repo--tok.T", null]}}"#;
        let found = named_in("config.json", config);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].source.as_str(), "hf:evil/repo");
        assert!(found[0].code);
        let adapter = br#"{"base_model_name_or_path": "acme/base", "revision": "v1"}"#;
        let found = named_in("adapter_config.json", adapter);
        assert_eq!(found[0].source.as_str(), "hf:acme/base@v1");
        assert!(named_in("config.json", adapter).is_empty());
        let local = br#"{"base_model_name_or_path": "/home/alice/base"}"#;
        let found = named_in("adapter_config.json", local);
        assert!(!found[0].source.as_str().contains("alice"));
        for other in ["[]", "{\"auto_map\": 1}"] {
            assert!(named_in("config.json", other.as_bytes()).is_empty());
        }
        for unreadable in [
            "",
            "{",
            "{\"x\": NaN, \"auto_map\": {\"A\": \"evil/repo--x.Y\"}}",
        ] {
            let found = named_in("config.json", unreadable.as_bytes());
            assert_eq!(found[0].source.as_str(), UNKNOWN);
            assert!(found[0].code);
        }
    }
}
