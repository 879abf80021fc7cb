//! The schemas in `schemas/` are those of the types, and what the program prints is valid by them.

use serde_json::Value;
use weighbridge::report::{CatalogueDocument, HashDocument, HashPart, ReportDocument};
use weighbridge::statement::Statement;

use crate::support::{Workspace, repository};

fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        (
            "report.v1.json",
            schemars::schema_for!(ReportDocument).into(),
        ),
        (
            "catalogue.v1.json",
            schemars::schema_for!(CatalogueDocument).into(),
        ),
        ("hash.v1.json", schemars::schema_for!(HashDocument).into()),
        ("hash-part.v1.json", schemars::schema_for!(HashPart).into()),
        ("record.v1.json", schemars::schema_for!(Statement).into()),
        (
            "policy.v1.json",
            weighbridge::policy::Policy::schema().into(),
        ),
        (
            "dataset-items.v1.json",
            schemars::schema_for!(weighbridge::statement::items::Item).into(),
        ),
    ]
}

/// With `UPDATE_SCHEMAS=1` the files are written anew.
#[test]
fn schemas_are_current() {
    for (name, schema) in schemas() {
        let path = repository().join("schemas").join(name);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            found, text,
            "{name}: run `UPDATE_SCHEMAS=1 cargo test schemas_are_current`"
        );
    }
}

#[track_caller]
fn valid(name: &str, document: &Value) {
    let schema = std::fs::read(repository().join("schemas").join(name)).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:?}\n{document}");
}

#[test]
fn what_is_printed_is_valid() {
    let workspace = Workspace::released();
    workspace
        .run([
            "record",
            "acquire",
            "--source",
            "https://example.org/m",
            "model",
        ])
        .exits(0);
    valid(
        "report.v1.json",
        &workspace.run(["gate", "--json", "model"]).json(),
    );
    valid(
        "report.v1.json",
        &workspace.run(["verify", "--json", "model"]).json(),
    );
    valid(
        "hash.v1.json",
        &workspace
            .run(["hash", "--json", "-a", "sha256,md5", "model"])
            .json(),
    );
    workspace
        .run(["hash", "--part", "1/2", "--out", "part.json", "model"])
        .exits(0);
    let part = serde_json::from_slice(&workspace.read("part.json")).unwrap();
    valid("hash-part.v1.json", &part);
    workspace
        .shell("mkdir models; cp -r model models/a")
        .exits(0);
    valid(
        "catalogue.v1.json",
        &workspace
            .run(["verify", "--json", "--catalogue", "models"])
            .json(),
    );
    workspace
        .run([
            "record",
            "derive",
            "--relation",
            "converted",
            "--input",
            "source=./model",
            "models",
        ])
        .exits(0);
    for index in ["0", "1", "2"] {
        valid(
            "record.v1.json",
            &workspace.run(["ledger", "show", index]).json(),
        );
    }
    workspace.shell("echo x > model/added").exits(0);
    let report = workspace.run(["gate", "--json", "model"]).exits(1).json();
    valid("report.v1.json", &report);
    assert_eq!(report["verdict"], "fail");
    assert_eq!(report["exit_code"], 1);
    // The schema does say something: other documents are not valid by it.
    let schema: Value = schemars::schema_for!(ReportDocument).into();
    assert!(!jsonschema::is_valid(
        &schema,
        &serde_json::json!({ "verdict": "pass" })
    ));
    let mut wrong = report.clone();
    wrong["verdict"] = "maybe".into();
    assert!(!jsonschema::is_valid(&schema, &wrong));
}
