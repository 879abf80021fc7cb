//! Records that this program would not write, and halves of records: what the gate makes of them.

use serde_json::{Value, json};
use weighbridge::statement::Kind;

use crate::gate_stage::{EXCUSED, WORDS, raw, with_gate};

/// A record that this program would not write, and what becomes of it.
struct Foreign {
    name: &'static str,
    gate: &'static str,
    keys: &'static [&'static str],
    kind: Kind,
    /// What is otherwise than in the example, as a merge patch (RFC 7386).
    patch: &'static str,
    code: i32,
    says: &'static str,
}

const fn foreign(
    (name, gate): (&'static str, &'static str),
    keys: &'static [&'static str],
    kind: Kind,
    patch: &'static str,
    (code, says): (i32, &'static str),
) -> Foreign {
    Foreign {
        name,
        gate,
        keys,
        kind,
        patch,
        code,
        says,
    }
}

const DEV: &str = "keys/signing.key.pem";
const APPROVED: &str = "records = [{ kind = \"deploy-approve\", roles = [\"operator\"] }]";
const ASSESSED: &str =
    "records = [{ kind = \"risk-assess\", roles = [\"developer\"], max_age = \"90d\" }]";
const IN_CUSTODY: &str = "records = [{ kind = \"custodian-approve\", roles = [\"custodian\"] }]";
const SCANNED: &str = "records = [{ kind = \"scan-result\", roles = [\"developer\"] }]";
const IT: &str = r#"{"predicate":{"scope":{"of":"artifact","pattern":null}}}"#;

const FOREIGN: &[Foreign] = &[
    foreign(
        ("an approval that has expired", APPROVED),
        &["op.pem"],
        Kind::DeployApprove,
        r#"{"predicate":{"time":"2020-01-01T00:00:00Z","expires":"2021-01-01T00:00:00Z"}}"#,
        (1, "expired on"),
    ),
    foreign(
        ("an old assessment", ASSESSED),
        &[DEV],
        Kind::RiskAssess,
        r#"{"predicate":{"time":"2020-01-01T00:00:00Z"}}"#,
        (1, "more than 90d ago"),
    ),
    foreign(
        ("a justification without an end", EXCUSED),
        &["op.pem"],
        Kind::Justify,
        r#"{"predicate":{"expires":null}}"#,
        (0, "record.ignored"),
    ),
    foreign(
        ("custody by the developer", IN_CUSTODY),
        &[DEV],
        Kind::CustodianApprove,
        "{}",
        (1, "may not sign"),
    ),
    foreign(
        ("a record from tomorrow", SCANNED),
        &[DEV],
        Kind::ScanResult,
        r#"{"predicate":{"time":"2100-01-01T00:00:00Z"}}"#,
        (1, "after now"),
    ),
    foreign(
        ("a record for another log", SCANNED),
        &[DEV],
        Kind::ScanResult,
        r#"{"predicate":{"log":"elsewhere"}}"#,
        (1, "made for the log"),
    ),
    foreign(
        ("disposed of by one alone", ""),
        &[DEV],
        Kind::Dispose,
        "{}",
        (0, "not signed by a custodian"),
    ),
    foreign(
        ("disposed of by two who are one", ""),
        &[DEV, DEV],
        Kind::Dispose,
        "{}",
        (0, "not signed by a custodian"),
    ),
    foreign(
        ("disposed of by a custodian and a stranger", ""),
        &["stranger.pem", "cust.pem"],
        Kind::Dispose,
        "{}",
        (0, "names another key"),
    ),
    foreign(
        ("revoked by a stranger", ""),
        &["stranger.pem"],
        Kind::Revoke,
        IT,
        (0, "not by a trusted key"),
    ),
    foreign(
        ("revoked by a tester", ""),
        &["test.pem"],
        Kind::Revoke,
        r#"{"predicate":{"scope":{"of":"artifact","pattern":null},"actor":{"role":"tester"}}}"#,
        (0, "may not sign"),
    ),
    foreign(
        ("revoked by somebody who has left", ""),
        &["left.pem"],
        Kind::Revoke,
        r#"{"predicate":{"scope":{"of":"artifact","pattern":null},"actor":{"role":"operator"}}}"#,
        (1, "recall.revoked"),
    ),
    foreign(
        ("revoked in a way that is new", ""),
        &["op.pem"],
        Kind::Revoke,
        r#"{"predicate":{"scope":{"of":"region","pattern":null,"name":"eu"},"actor":{"role":"operator"}}}"#,
        (2, "recall.unknown"),
    ),
    foreign(
        ("a word that is new", ""),
        &[DEV],
        Kind::ScanResult,
        r#"{"predicate":{"result":"QUARANTINED"}}"#,
        (2, "record.unknown"),
    ),
    foreign(
        ("a quarantine that another role ended", ""),
        &["cust.pem"],
        Kind::ReleaseQuarantine,
        r#"{"predicate":{"actor":{"role":"custodian"}}}"#,
        (1, "recall.quarantined"),
    ),
];

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

#[test]
fn records_by_other_programs() {
    for case in FOREIGN {
        let workspace = with_gate(case.gate);
        let mut patch: Value = serde_json::from_str(case.patch).unwrap();
        if case.kind == Kind::ReleaseQuarantine {
            let script = format!("{WORDS} r quarantine op.pem --reason other model");
            workspace.shell(&script).exits(0);
            let entry = workspace.run(["ledger", "show", "2", "--raw"]).stdout;
            let sha256 = weighbridge::digest::Sha256::of(entry.as_bytes()).to_string();
            patch["predicate"]["releases"] = json!({ "index": 2, "sha256": sha256 });
        }
        raw(&workspace, case.keys, case.kind, &|statement| {
            merge(statement, &patch);
        });
        if case.name.contains("has left") {
            let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
            let policy = policy.replace("# left expires", "expires = \"2026-01-01T00:00:00Z\"");
            workspace.write("weighbridge.toml", policy);
        }
        let run = workspace.gate();
        assert!(
            run.code == case.code && run.stdout.contains(case.says),
            "{}: {} {}\n{run:?}",
            case.name,
            case.code,
            case.says
        );
    }
}
/// The pending half of a record is signed once, and what was changed in it is found.
#[test]
fn second_signatures() {
    let workspace = with_gate("");
    let run = |args: &[&str]| workspace.run([&["record"], args].concat());
    let first = [
        "transfer",
        "--receiving-party",
        "P",
        "--right",
        "use",
        "--residual-copies",
        "none",
    ];
    run(&[&first[..], &["model"]].concat())
        .exits(2)
        .says("--pending");
    run(&[&first[..], &["--pending", "t", "model"]].concat()).exits(0);
    let before = workspace.run(["ledger", "fsck"]).stdout;
    // Nobody signs twice, nor in another role, nor another kind.
    run(&["transfer", "--cosign", "t", "--key", "keys/signing.key.pem"])
        .exits(2)
        .says("custodian");
    run(&["transfer", "--cosign", "t", "--key", "op.pem"])
        .exits(2)
        .says("custodian");
    run(&["dispose", "--cosign", "t", "--key", "cust.pem"])
        .exits(2)
        .says("is a transfer");
    run(&["justify", "--cosign", "t", "--key", "op.pem"]).exits(2);
    run(&[
        "transfer", "--cosign", "t", "--key", "cust.pem", "--right", "own",
    ])
    .exits(2)
    .says("nothing else can be said");
    // Nor what the first did not sign.
    let text = String::from_utf8(workspace.read("t")).unwrap();
    let envelope: Value = serde_json::from_str(&text).unwrap();
    let payload = data_encoding::BASE64
        .decode(envelope["payload"].as_str().unwrap().as_bytes())
        .unwrap();
    let changed = String::from_utf8(payload)
        .unwrap()
        .replace("\"use\"", "\"own\"");
    let mut other = envelope.clone();
    other["payload"] = data_encoding::BASE64.encode(changed.as_bytes()).into();
    workspace.write("changed", other.to_string());
    run(&["transfer", "--cosign", "changed", "--key", "cust.pem"])
        .exits(2)
        .says("would not count");
    assert_eq!(workspace.run(["ledger", "fsck"]).stdout, before);
    let index = run(&["transfer", "--json", "--cosign", "t", "--key", "cust.pem"])
        .exits(0)
        .json()["index"]
        .clone();
    let shown = workspace
        .run(["ledger", "show", &index.to_string(), "--raw"])
        .stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["signatures"].as_array().unwrap().len(), 2);
    // What is recorded with one signature alone is not: for kinds that take one, there is nothing pending.
    run(&[
        "scan-result",
        "--scanner",
        "s",
        "--version",
        "1",
        "--result",
        "PASSED",
        "--pending",
        "x",
        "model",
    ])
    .exits(2)
    .says("takes one signature");
}
/// What cannot be recorded leaves nothing behind, and what is checked is not passed over.
#[test]
fn records_that_are_refused() {
    let workspace = with_gate("");
    let run = |args: &[&str]| workspace.run([&["record"], args].concat());
    let blobs = || workspace.shell("find ledger/blob -type f | wc -l").stdout;
    let before = blobs();
    workspace.write("secret.txt", "not for everybody");
    run(&[
        "scan-result",
        "--scanner",
        "s",
        "--version",
        "1",
        "--result",
        "MAYBE",
        "--attach",
        "secret.txt",
        "model",
    ])
    .exits(2);
    run(&[
        "scan-result",
        "--scanner",
        "s",
        "--version",
        "1",
        "--result",
        "PASSED",
        "--findings",
        "critical=1",
        "--attach",
        "secret.txt",
        "model",
    ])
    .exits(2)
    .says("critical findings");
    run(&[
        "scan-result",
        "--scanner",
        "s",
        "--version",
        "1",
        "--result",
        "PASSED",
        "--attach",
        "secret.txt",
        "nowhere",
    ])
    .exits(2);
    assert_eq!(blobs(), before);
    workspace.write(
        "a.json",
        "{\"attachments\":[],\"scanner\":\"s\",\"version\":\"1\",\"result\":\"PASSED\"}",
    );
    run(&["scan-result", "--from", "a.json", "model"])
        .exits(2)
        .says("--attach");
    workspace.write("a.json", "{\"time\":\"2020-01-01T00:00:00Z\",\"scanner\":\"s\",\"version\":\"1\",\"result\":\"PASSED\"}");
    run(&["scan-result", "--from", "a.json", "model"])
        .exits(2)
        .says("is not yours to say");
    // A list that is not compared is not passed over.
    workspace
        .shell("weighbridge record acquire --template > acquire.json; echo x > SUMS")
        .exits(0);
    run(&[
        "acquire",
        "--from",
        "acquire.json",
        "--checksums",
        "SUMS",
        "model",
    ])
    .exits(2)
    .says("cannot be used with");
    run(&[
        "acquire",
        "--from",
        "acquire.json",
        "--licence",
        "MIT",
        "model",
    ])
    .exits(2)
    .says("cannot be used with");
    run(&["acquire", "--from", "acquire.json", "model"]).exits(0);
    // What a file means is what is meant.
    workspace
        .shell("weighbridge record revoke --template > revoke.json")
        .exits(0);
    run(&["revoke", "--from", "revoke.json", "model"])
        .exits(2)
        .says("not what is named");
    workspace.write("r.json", "{\"reason\":\"other\",\"more\":1}");
    run(&["revoke", "--from", "r.json", "model"])
        .exits(2)
        .says("cannot be said there");
    run(&["revoke", "--from", "revoke.json"]).exits(0);
}
