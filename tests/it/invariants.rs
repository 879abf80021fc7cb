//! DESIGN's invariant 7: removing any single record, signature, file or policy line that a pass
//! relied on turns the verdict into fail or inconclusive.

use crate::support::{Workspace, copy_tree};

fn copy(released: &Workspace) -> Workspace {
    let workspace = Workspace::new();
    for part in ["model", "ledger", "weighbridge.toml"] {
        copy_tree(&released.path(part), &workspace.path(part));
    }
    workspace
}

#[test]
fn no_policy_line_may_go() {
    let released = Workspace::released();
    let policy = String::from_utf8(released.read("weighbridge.toml")).unwrap();
    let lines: Vec<&str> = policy.lines().collect();
    let signing = lines.iter().position(|line| *line == "[signing]").unwrap();
    let workspace = copy(&released);
    for (number, line) in lines.iter().enumerate().take(signing) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut without = lines.clone();
        without.remove(number);
        workspace.write("weighbridge.toml", without.join("\n"));
        let run = workspace.gate();
        assert!(run.code == 1 || run.code == 2, "without {line:?}: {run:?}");
    }
    // What the gate does not rely on may go.
    workspace.write("weighbridge.toml", lines[..signing].join("\n"));
    workspace.gate().exits(0);
}

#[test]
fn no_file_of_the_artifact_may_go() {
    let released = Workspace::released();
    let files = released.shell("cd model; find . -type f | cut -c3-").stdout;
    assert_eq!(files.lines().count(), 8);
    for file in files.lines() {
        let workspace = copy(&released);
        std::fs::remove_file(workspace.path("model").join(file)).unwrap();
        workspace.gate().exits(1);
    }
}

#[test]
fn nothing_of_the_ledger_that_the_gate_reads_may_go() {
    let released = Workspace::released();
    for file in ["checkpoint", "tile/entries/000.p/1"] {
        let workspace = copy(&released);
        std::fs::remove_file(workspace.path("ledger").join(file)).unwrap();
        workspace.gate().exits(2);
    }
    let workspace = copy(&released);
    workspace.shell("rm -r ledger").exits(0);
    workspace.gate().exits(2);
}

/// The signer's identity, role, or log key is another's.
#[test]
fn nobody_elses_authority_counts() {
    let released = Workspace::released();
    let other = Workspace::released();
    let policy = String::from_utf8(released.read("weighbridge.toml")).unwrap();
    let others = String::from_utf8(other.read("weighbridge.toml")).unwrap();
    let between = |text: &str, from: &str, to: &str| {
        let start = text.find(from).unwrap();
        text[start..start + text[start..].find(to).unwrap()].to_owned()
    };
    let swap = |from: &str, to: &str| {
        policy.replace(&between(&policy, from, to), &between(&others, from, to))
    };
    let workspace = copy(&released);
    // Another log key: what this log signed counts for nothing.
    workspace.write(
        "weighbridge.toml",
        swap("key = \"weighbridge.local", "\npath"),
    );
    workspace.gate().exits(2).says("ledger.checkpoint");
    // Another identity.
    workspace.write("weighbridge.toml", swap("-----BEGIN", "-----END"));
    workspace
        .gate()
        .exits(1)
        .says("signature.key")
        .says("record.missing");
    // The role is taken away; somebody else has it.
    let auditor = policy.replacen("roles = [\"developer\"]", "roles = [\"auditor\"]", 1);
    let identity = between(&others, "[[identity]]", "[gate]").replace("\"release\"", "\"other\"");
    workspace.write(
        "weighbridge.toml",
        auditor.replace("[gate]", &format!("{identity}\n[gate]")),
    );
    workspace.gate().exits(1);
    assert_eq!(
        workspace.failing_rules(),
        ["identity.role", "record.missing"]
    );
    // The identity has expired.
    let expired = policy.replace(
        "# expires = \"2030-01-01T00:00:00Z\"",
        "expires = \"2026-01-01T00:00:00Z\"",
    );
    workspace.write("weighbridge.toml", expired);
    workspace.gate().exits(1).says("expired at 2026-01-01");
    workspace.write("weighbridge.toml", policy);
    workspace.gate().exits(0);
}

/// A record of a kind that this version does not know may revoke the artifact: it is not passed
/// over. One about another artifact is nobody's business.
#[test]
fn an_unknown_kind_of_record_is_not_passed_over() {
    use weighbridge::envelope::{Envelope, IN_TOTO};
    let workspace = Workspace::released();
    let log = std::fs::read_to_string(workspace.path("keys/log.key.pem")).unwrap();
    let weighbridge::key::PrivateKey::Ed25519(log) =
        weighbridge::key::private_key_from_pem(&log, None).unwrap()
    else {
        panic!("not Ed25519")
    };
    let signer = std::fs::read_to_string(workspace.path("keys/signing.key.pem")).unwrap();
    let signer = weighbridge::key::private_key_from_pem(&signer, None).unwrap();
    let store = weighbridge::ledger::DirectoryStore::new(&workspace.path("ledger"));
    let policy = std::fs::read_to_string(workspace.path("weighbridge.toml")).unwrap();
    let policy = weighbridge::policy::Policy::parse(&policy).unwrap();
    let append = |digest: &str| {
        let payload = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicate":{{}},"predicateType":"https://weighbridge.dev/revoke/v1","subject":[{{"digest":{{"dirHash1":"{digest}"}},"name":"m"}}]}}"#
        );
        let entry = Envelope::sign(payload.into_bytes(), IN_TOTO, &signer, "");
        let entry = entry.to_json().unwrap();
        weighbridge::ledger::append(&store, policy.log.key.name(), &log, &[entry]).unwrap();
    };
    append(&"0".repeat(64));
    workspace.gate().exits(0);
    let shown = workspace.run(["ledger", "show", "0"]).json();
    append(shown["subject"][0]["digest"]["dirHash1"].as_str().unwrap());
    workspace
        .gate()
        .exits(2)
        .says("record.unknown")
        .says("revoke");
}
