//! DESIGN's invariant 7: removing any single record, signature, file or policy line that a pass
//! relied on turns the verdict into fail or inconclusive.

use weighbridge::envelope::{Envelope, IN_TOTO};

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
        // Each of the log's two keys is enough.
        if line.trim().is_empty() || line.starts_with('#') || line.starts_with("log ") {
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
        swap("log weighbridge.local", "\nquorum"),
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
    let workspace = Workspace::released();
    let revoke = |digest: &str| {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicate":{{}},"predicateType":"https://weighbridge.dev/revoke/v1","subject":[{{"digest":{{"dirHash1":"{digest}"}},"name":"m"}}]}}"#
        )
    };
    append(&workspace, &workspace, &revoke(&"0".repeat(64)), IN_TOTO);
    workspace.gate().exits(0);
    let shown = workspace.run(["ledger", "show", "0"]).json();
    let digest = shown["subject"][0]["digest"]["dirHash1"].as_str().unwrap();
    // By a stranger it is a warning.
    append(
        &workspace,
        &Workspace::initialised(),
        &revoke(digest),
        IN_TOTO,
    );
    workspace.gate().exits(0).says("not by a trusted key");
    append(&workspace, &workspace, &revoke(digest), IN_TOTO);
    workspace
        .gate()
        .exits(2)
        .says("recall.unknown")
        .says("revoke");

    // However it says so: two digests, upper case, a field that is new, another payload type.
    for (change, payload_type, rule) in [
        (
            revoke(digest).replace("\"dirHash1\"", "\"sha256\":\"00\",\"dirHash1\""),
            IN_TOTO,
            "recall.unknown",
        ),
        (revoke(&digest.to_uppercase()), IN_TOTO, "recall.unknown"),
        (
            serde_json::to_string(&shown)
                .unwrap()
                .replace("\"predicate\":{", "\"predicate\":{\"withdrawn\":true,"),
            IN_TOTO,
            "record.unknown",
        ),
        (revoke(digest), "application/json", "recall.unknown"),
    ] {
        let workspace = Workspace::released();
        workspace.gate().exits(0);
        append(&workspace, &workspace, &change, payload_type);
        workspace.gate().exits(2).says(rule);
    }
}

/// Appends a payload of any form, signed by the signer of `signer`.
fn append(workspace: &Workspace, signer: &Workspace, payload: &str, payload_type: &str) {
    use weighbridge::key::{PrivateKey, private_key_from_pem};
    let key = |workspace: &Workspace, name: &str| {
        let pem = std::fs::read_to_string(workspace.path(name)).unwrap();
        private_key_from_pem(&pem, None).unwrap()
    };
    let PrivateKey::Ed25519(log) = key(workspace, "keys/log.key.pem") else {
        panic!("not Ed25519")
    };
    let policy = std::fs::read_to_string(workspace.path("weighbridge.toml")).unwrap();
    let policy = weighbridge::policy::Policy::parse(&policy).unwrap();
    let signer = key(signer, "keys/signing.key.pem");
    let entry = Envelope::sign(payload.into(), payload_type, &signer, "")
        .unwrap()
        .to_json()
        .unwrap();
    let store = weighbridge::ledger::DirectoryStore::new(&workspace.path("ledger"));
    let origin = policy.log.trust.log().name();
    let signer = weighbridge::cosignature::LogSigner::new(origin, *log).unwrap();
    weighbridge::ledger::append(&store, &signer, &[entry], crate::support::now()).unwrap();
}

/// A record that was made for one log does not count in another, whoever copies it there.
#[test]
fn records_of_another_log_do_not_count() {
    let staging = Workspace::released();
    let production = Workspace::initialised();
    copy_tree(&staging.path("model"), &production.path("model"));
    // One signer, two logs.
    let pem = String::from_utf8(staging.read("keys/signing.pub.pem")).unwrap();
    let own = String::from_utf8(production.read("keys/signing.pub.pem")).unwrap();
    let policy = String::from_utf8(production.read("weighbridge.toml")).unwrap();
    production.write("weighbridge.toml", policy.replace(&own, &pem));
    production.gate().exits(1).says("record.missing");
    let entry = staging
        .run(["ledger", "show", "0", "--raw"])
        .exits(0)
        .stdout;
    let payload: serde_json::Value = serde_json::from_str(&entry).unwrap();
    let payload = data_encoding::BASE64.decode(payload["payload"].as_str().unwrap().as_bytes());
    append(
        &production,
        &staging,
        std::str::from_utf8(&payload.unwrap()).unwrap(),
        IN_TOTO,
    );
    production
        .gate()
        .exits(1)
        .says("was made for the log")
        .says("record.missing");
}

/// Whatever lies in a download cannot say whom to trust; a file's signature is not a directory's.
#[test]
fn the_artifact_does_not_bring_its_own_policy_or_names() {
    let evil = Workspace::initialised();
    evil.write("code.py", "evil");
    evil.run(["sign", "--signature", "../s", "code.py"]);
    evil.run(["verify", "."])
        .exits(2)
        .says("lies inside the artifact");
    let workspace = Workspace::initialised();
    workspace.write("f.bin", "bytes");
    workspace.run(["sign", "f.bin"]).exits(0);
    workspace.write("d/(the single file)", "bytes");
    let verify = ["verify", "--signature", "f.bin.sig", "d"];
    workspace.run(verify).exits(1).says("of a single file");
}

/// An acquisition whose authentication failed is no acquisition; one without is said to be.
#[test]
fn failed_authentication_does_not_count() {
    let workspace = Workspace::released();
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let roles = "roles = [\"developer\", \"operator\"]";
    let policy = policy.replacen("roles = [\"developer\"]", roles, 1);
    let both = "records = [\n  { kind = \"acquire\", roles = [\"operator\"] },";
    workspace.write("weighbridge.toml", policy.replace("records = [", both));
    let acquire = |result: &str, method: &str| {
        workspace
            .run([
                "record",
                "acquire",
                "--role",
                "operator",
                "--source",
                "https://example.org/m",
                "--auth-method",
                method,
                "--auth-result",
                result,
                "model",
            ])
            .exits(0);
    };
    acquire("failed", "tls");
    workspace
        .gate()
        .exits(1)
        .says("authenticating the source failed");
    acquire("not-checked", "none");
    workspace
        .gate()
        .exits(0)
        .says("the source was not authenticated");
    acquire("verified", "tls");
    assert!(
        !workspace
            .gate()
            .exits(0)
            .stdout
            .contains("was not authenticated")
    );
}
