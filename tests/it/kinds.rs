//! The kinds of record: of each a schema, a page with a whole example, and that the example is one.

use std::fmt::Write;

use serde_json::{Value, json};
use weighbridge::statement::{About, Kind, Statement};

use crate::support::repository;

/// What every record says, beside its body.
fn whole(kind: Kind) -> Value {
    let mut body: Value = serde_json::from_str(kind.example()).unwrap();
    let header = json!({
        "time": "2026-11-28T09:30:00.000Z",
        "time_source": "local",
        "actor": {
            "key_id": "5a9f86b26b4a1b9f6bd1b9eb2a3a4a6e8f6a0f3f0b0a9a3f5f8a0c0d6f4d8b11",
            "party": "Example team",
            "role": kind.permitted()[0],
        },
        "log": "example.org/log",
    });
    let place = if kind == Kind::TestResult {
        &mut body["https://weighbridge.dev/test-result/v1"]
    } else {
        &mut body
    };
    for (name, value) in header.as_object().unwrap() {
        place[name] = value.clone();
    }
    if kind.about() == About::Content {
        place["manifest"] = json!({
            "sha256": "4f2d8bd9a1cfe2d6c0b6f8a5e1a1d1b7a5f3a9a7b1d4c0e3f6a7b8c9d0e1f203",
            "files": 3,
            "bytes": 1_048_576,
        });
    }
    let (name, digest) = match body.pointer("/scope/pattern").and_then(Value::as_str) {
        Some(pattern) => {
            let sha256 = weighbridge::digest::Sha256::of(pattern.as_bytes());
            (pattern.to_owned(), json!({ "sha256": sha256.to_string() }))
        }
        None => (
            "model".to_owned(),
            match kind.about() {
                About::Content | About::Artifact => {
                    json!({ "dirHash1": "4f2d8bd9a1cfe2d6c0b6f8a5e1a1d1b7a5f3a9a7b1d4c0e3f6a7b8c9d0e1f203" })
                }
                _ => {
                    json!({ "sha256": "4f2d8bd9a1cfe2d6c0b6f8a5e1a1d1b7a5f3a9a7b1d4c0e3f6a7b8c9d0e1f203" })
                }
            },
        ),
    };
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": name, "digest": digest }],
        "predicateType": kind.predicate_type(),
        "predicate": body,
    })
}

#[test]
fn every_example_is_a_record() {
    for &kind in Kind::ALL {
        let payload = whole(kind).to_string();
        let statement = Statement::parse(payload.as_bytes())
            .unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
        assert_eq!(statement.record.kind(), kind);
        let schema: Value = kind.schema().into();
        let errors: Vec<String> = jsonschema::validator_for(&schema)
            .unwrap()
            .iter_errors(&whole(kind)["predicate"])
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", kind.name());
        assert!(
            !kind.provisions().is_empty() || kind == Kind::Key,
            "{}",
            kind.name()
        );
    }
}

/// Without any field that is required, and with one more than there is, it is no record, by us and by the schema.
#[test]
fn fields_that_are_missing_and_fields_that_are_too_many() {
    for &kind in Kind::ALL {
        let schema: Value = kind.schema().into();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let refused = |statement: &Value, what: &str| {
            let parsed = Statement::parse(statement.to_string().as_bytes());
            assert!(parsed.is_err(), "{}: {what}", kind.name());
            assert!(
                !validator.is_valid(&statement["predicate"]),
                "{}: {what} by the schema",
                kind.name()
            );
        };
        for name in schema["required"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let mut statement = whole(kind);
            statement["predicate"].as_object_mut().unwrap().remove(name);
            refused(&statement, name);
        }
        let mut statement = whole(kind);
        statement["predicate"]["unknown"] = true.into();
        refused(&statement, "unknown");
        for list in statement["predicate"].clone().as_object().unwrap() {
            if list.1.as_array().is_some_and(|all| !all.is_empty()) {
                let mut statement = whole(kind);
                statement["predicate"][list.0] = "x".into();
                refused(&statement, list.0);
            }
        }
    }
}

/// What its types do not say.
#[test]
fn records_that_contradict_themselves() {
    let bad: [(Kind, &str, Value, &str); 14] = [
        (
            Kind::Justify,
            "/expires",
            json!("2026-11-28T09:29:59.000Z"),
            "expires before",
        ),
        (
            Kind::DeployApprove,
            "/expires",
            json!("2020-01-01T00:00:00Z"),
            "expires before",
        ),
        (
            Kind::CustodianApprove,
            "/expires",
            json!("2020-01-01T00:00:00Z"),
            "expires before",
        ),
        (
            Kind::RiskAssess,
            "/review_by",
            json!("2020-01-01T00:00:00Z"),
            "expires before",
        ),
        (Kind::Justify, "/rules", json!([]), "at least one"),
        (Kind::RiskAssess, "/threats", json!([]), "at least one"),
        (
            Kind::TestResult,
            "/failedTests",
            json!(["x"]),
            "says PASSED",
        ),
        (
            Kind::ConfigChange,
            "/before",
            whole(Kind::ConfigChange)["predicate"]["after"].clone(),
            "changes nothing",
        ),
        (
            Kind::Register,
            "/modalities_unused",
            json!(["audio"]),
            "as used and as unused",
        ),
        (
            Kind::VerifyEvent,
            "/result",
            json!("pass"),
            "names deviations",
        ),
        (
            Kind::KnownGood,
            "/last_verified",
            json!("2027-01-01T00:00:00Z"),
            "after it was written",
        ),
        (
            Kind::Revoke,
            "/scope/pattern",
            json!("https://other.example/"),
            "SHA-256 of the pattern",
        ),
        (
            Kind::Quarantine,
            "/scope",
            json!({ "of": "artifact", "more": 1 }),
            "unknown field",
        ),
        (
            Kind::Notice,
            "/sent_at",
            json!("2027-01-01T00:00:00Z"),
            "after it was written",
        ),
    ];
    for (kind, place, value, says) in bad {
        let mut statement = whole(kind);
        let predicate = &mut statement["predicate"];
        match predicate.pointer_mut(place) {
            Some(place) => *place = value,
            None => predicate[&place[1..]] = value,
        }
        let error = Statement::parse(statement.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains(says), "{}: {error}", kind.name());
    }
}

/// What a field can be, in words.
fn value(schema: &Value, root: &Value) -> String {
    let target = |one: &Value| {
        let name = one["$ref"].as_str()?.strip_prefix("#/$defs/")?.to_owned();
        let found = root["$defs"][&name].clone();
        Some((name, found))
    };
    if let Some(all) = schema["anyOf"].as_array() {
        let one = all.iter().find(|one| one["type"] != "null").unwrap();
        return value(one, root);
    }
    let (name, found) = target(schema).unwrap_or_else(|| (String::new(), schema.clone()));
    if let Some(words) = found["enum"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return format!("`{}`", words.join("`, `"));
    }
    if found["type"] == "array" {
        return format!("list of {}", value(&found["items"], root));
    }
    match name.as_str() {
        "Text" => "text, to 1,024 bytes".into(),
        "Timestamp" => "time, RFC 3339 in UTC".into(),
        "Sha256" => "SHA-256 in hexadecimal".into(),
        "SourceUri" => "absolute URI without secrets".into(),
        "SubjectDigest" => "`{dirHash1}` or `{sha256}`".into(),
        "" => match &found["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(all) => all[0].as_str().unwrap().to_owned(),
            _ => "object".into(),
        },
        _ => match found["properties"].as_object() {
            Some(fields) => {
                let fields: Vec<&str> = fields.keys().map(String::as_str).collect();
                format!("object: {}", fields.join(", "))
            }
            None => name,
        },
    }
}

fn rows(page: &mut String, object: &Value, root: &Value) {
    let required = object["required"].as_array().unwrap();
    for (name, schema) in object["properties"].as_object().unwrap() {
        let ours = [
            "time",
            "time_source",
            "actor",
            "log",
            "on_behalf_of",
            "refs",
            "attachments",
        ];
        if ours.contains(&name.as_str()) {
            continue;
        }
        let need = if required.contains(&json!(name)) {
            "yes"
        } else {
            ""
        };
        let target = schema["$ref"]
            .as_str()
            .and_then(|it| it.strip_prefix("#/$defs/"));
        let described = schema["description"].as_str();
        let described = described.or_else(|| root["$defs"][target?]["description"].as_str());
        let described = described.unwrap_or_default().replace('\n', " ");
        writeln!(
            page,
            "| `{name}` | {need} | {} | {described} |",
            value(schema, root)
        )
        .unwrap();
        if name.contains("://") {
            rows(page, &root["$defs"][target.unwrap()], root);
        }
    }
}

fn page(kind: Kind) -> String {
    let (name, schema): (&str, Value) = (kind.name(), kind.schema().into());
    let mut page = format!("# `{name}`\n\n{}\n\n", kind.meaning().trim());
    let roles: Vec<&str> = kind.permitted().iter().map(|role| role.name()).collect();
    let cosigner = kind.cosigned_by().map_or(String::new(), |role| {
        format!(", and by somebody else as {}", role.name())
    });
    writeln!(
        page,
        "Signed as {}{cosigner}. Evidence for EN 304 223: {}.\n",
        roles.join(", "),
        match kind.provisions() {
            [] => "none by itself".to_owned(),
            all => all.join(", "),
        }
    )
    .unwrap();
    writeln!(page, "`predicateType`: `{}`; schema: [`{name}.v1.json`](../../schemas/records/{name}.v1.json).\n", kind.predicate_type()).unwrap();
    let subject = match kind.about() {
        About::Content => "the artifact, whose manifest is kept with the record",
        About::Artifact => "the artifact, by its digest; it need not be there any more",
        About::Key => "the key, by its id",
        About::Scope => {
            "what is meant: an artifact or a key by its digest, a source by SHA-256 of its pattern, a record by SHA-256 of its entry"
        }
    };
    writeln!(page, "Subject: {subject}.\n").unwrap();
    page.push_str("| field | needed | value | what it says |\n|---|---|---|---|\n");
    rows(&mut page, &schema, &schema);
    page.push_str("\nBeside these every record says `time`, `time_source`, `actor` and `log`, which `weighbridge` writes itself.\n");
    if kind == Kind::Key {
        page.push_str("\nWritten by `weighbridge key register`, `rotate` and `revoke`.\n");
    } else {
        let usage = match kind {
            Kind::ReleaseQuarantine => {
                "weighbridge record release-quarantine --explanation TEXT INDEX".to_owned()
            }
            Kind::Quarantine | Kind::Revoke => format!(
                "weighbridge record {name} --reason poisoned-source --source https://forum.example.com/"
            ),
            _ => format!("weighbridge record {name} --from {name}.json ./model"),
        };
        writeln!(page, "\n```text\n{usage}\n```").unwrap();
    }
    let text = serde_json::to_string_pretty(&whole(kind)).unwrap();
    writeln!(page, "\nA whole one:\n\n```json\n{text}\n```").unwrap();
    page
}

/// With `UPDATE_SCHEMAS=1` the files are written anew.
#[test]
fn schemas_and_pages_are_current() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let check = |path: String, text: String| {
        let path = repository().join(path);
        if update {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, text, "run `UPDATE_SCHEMAS=1 cargo test schemas`");
    };
    for &kind in Kind::ALL {
        let schema: Value = kind.schema().into();
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        check(format!("schemas/records/{}.v1.json", kind.name()), text);
        check(format!("docs/records/{}.md", kind.name()), page(kind));
    }
}
