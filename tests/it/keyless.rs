//! Keyless signatures: the cases of sigstore-conformance, and every field of good bundles changed.

use std::path::Path;

use serde_json::Value;
use weighbridge::sigstore::trust::{Instance, public, verifier};
use weighbridge::sigstore::{Ask, Expect, KeylessError, KeylessTrust, KeylessVerifier, Subject};

use crate::support::{Workspace, fixture, peer, repository};

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn directory() -> std::path::PathBuf {
    fixture("vectors/sigstore-conformance")
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The hidden verb, as the suite calls it: with a file, and with the digest of the file.
#[test]
fn the_cases_of_the_conformance_suite() {
    let workspace = Workspace::new();
    let expected = text(&directory().join("expect.txt")).unwrap();
    assert_eq!(expected.lines().count(), 70);
    for line in expected.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let code: i32 = words.next().unwrap().parse().unwrap();
        let rule = words.next().unwrap_or("");
        assert_eq!(code == 0, !name.ends_with("_fail"), "{name}");
        let case = directory().join(name);
        let file = |name: &str| case.join(name);
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut args = vec!["verify-bundle".to_owned(), "--bundle".into()];
        args.push(path(&file("bundle.sigstore.json")));
        if file("key.pub").exists() {
            args.extend(["--key".into(), path(&file("key.pub"))]);
        } else {
            let identity = text(&file("identity")).unwrap_or(IDENTITY.into());
            let issuer = text(&file("issuer")).unwrap_or(ISSUER.into());
            args.extend(["--certificate-identity".into(), identity.trim().into()]);
            args.extend(["--certificate-oidc-issuer".into(), issuer.trim().into()]);
        }
        if file("trusted_root.json").exists() {
            args.extend(["--trusted-root".into(), path(&file("trusted_root.json"))]);
        }
        let artifact = if file("artifact").exists() {
            file("artifact")
        } else {
            directory().join("a.txt")
        };
        let digest = weighbridge::digest::Sha256::of(&std::fs::read(&artifact).unwrap());
        for about in [path(&artifact), format!("sha256:{digest}")] {
            let mut args = args.clone();
            args.push(about);
            let run = workspace.run(args);
            assert_eq!(run.code, code, "{name}: {run:?}");
            run.says(rule);
        }
    }
}

fn trust(root: std::sync::Arc<dyn KeylessVerifier>) -> KeylessTrust {
    KeylessTrust {
        verifier: root,
        identity: Expect::exact(IDENTITY).unwrap(),
        issuer: Expect::pattern(r"https://token\.actions\.githubusercontent\.com").unwrap(),
        claims: Vec::new(),
        ask: Ask::ALL,
        revoked: Vec::new(),
    }
}

fn admit(trust: &KeylessTrust, bundle: &[u8], artifact: &[u8]) -> Result<(), KeylessError> {
    let proof = trust
        .verifier
        .prove_subject(bundle, &Subject::Bytes(artifact), trust.ask)?;
    trust.admit(&proof)
}

/// What is not signed, not said twice, and changes nothing of what is proved.
const HARMLESS: &[&str] = &[
    // Where the entry is among all shards of a log: the proof says where it is in its own.
    "/verificationMaterial/tlogEntries/0/logIndex",
    // Outside what the authority signed.
    "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
];

/// Every string and number of a bundle, by its path.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                leaves(value, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                leaves(value, &format!("{path}/{index}"), found);
            }
        }
        Value::String(_) | Value::Number(_) => found.push(path.into()),
        _ => {}
    }
}

/// The value with one character changed: in its middle, or in what the log signed of a checkpoint, which
/// witnesses may have signed as well.
fn changed(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_u64().unwrap() + 1),
        Value::String(text) => {
            let middle = match text.split_once("\n\n") {
                Some((signed, _)) => signed.len() / 2,
                None => text.len() / 2,
            };
            let changed: String = text
                .char_indices()
                .map(|(at, c)| match c {
                    _ if at != middle => c,
                    '0'..='8' => (c as u8 + 1) as char,
                    '9' => '0',
                    'A' => 'B',
                    _ => 'A',
                })
                .collect();
            Value::String(changed)
        }
        other => other.clone(),
    }
}

#[test]
fn no_field_can_be_changed() {
    let mut tried = 0;
    for case in [
        "happy-path-v0.1",
        "happy-path-v0.2",
        "happy-path-v0.3",
        "happy-path-intoto-in-dsse-v3",
        "rekor2-happy-path",
        "rekor2-dsse-happy-path",
    ] {
        let case = directory().join(case);
        let root = match std::fs::read(case.join("trusted_root.json")) {
            Ok(root) => verifier(&root).unwrap(),
            Err(_) => public(Instance::Production).unwrap(),
        };
        let trust = trust(root);
        let artifact = std::fs::read(directory().join("a.txt")).unwrap();
        let bytes = std::fs::read(case.join("bundle.sigstore.json")).unwrap();
        admit(&trust, &bytes, &artifact).unwrap();
        assert!(admit(&trust, &bytes, b"something else").is_err());
        let bundle: Value = serde_json::from_slice(&bytes).unwrap();
        let mut paths = Vec::new();
        leaves(&bundle, "", &mut paths);
        for path in paths {
            let mut mutant = bundle.clone();
            let field = mutant.pointer_mut(&path).unwrap();
            *field = changed(field);
            if mutant == bundle {
                continue;
            }
            tried += 1;
            let result = admit(&trust, mutant.to_string().as_bytes(), &artifact);
            let harmless = HARMLESS.contains(&path.as_str());
            assert!(
                result.is_err() || harmless,
                "{}: {path} was changed unseen",
                case.display()
            );
        }
        // A field that is there twice is read by somebody in another way.
        let twice = String::from_utf8(bytes)
            .unwrap()
            .replacen('{', "{\"mediaType\":\"x\",", 1);
        assert!(admit(&trust, twice.as_bytes(), &artifact).is_err());
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn others_are_not_expected() {
    let case = directory().join("happy-path-v0.3");
    let bundle = std::fs::read(case.join("bundle.sigstore.json")).unwrap();
    let artifact = std::fs::read(directory().join("a.txt")).unwrap();
    let trust = trust(public(Instance::Production).unwrap());
    let with = |change: &dyn Fn(&mut KeylessTrust)| {
        let mut trust = trust.clone();
        change(&mut trust);
        admit(&trust, &bundle, &artifact)
    };
    let rule = |result: Result<(), KeylessError>| result.unwrap_err().rule().id();
    let prefix = Expect::pattern(r"https://github\.com/sigstore-conformance/").unwrap();
    assert_eq!(
        rule(with(&|trust| trust.identity = prefix.clone())),
        "signature.identity"
    );
    let other = Expect::exact("https://accounts.google.com").unwrap();
    assert_eq!(
        rule(with(&|trust| trust.issuer = other.clone())),
        "signature.identity"
    );
    let claim = |name: &str, value: &str| vec![(name.into(), Expect::exact(value).unwrap())];
    let main = claim("source-repository-ref", "refs/heads/main");
    assert_eq!(with(&|trust| trust.claims = main.clone()), Ok(()));
    for wrong in [
        claim("source-repository-ref", "refs/heads/other"),
        claim("deployment-environment", "production"),
    ] {
        assert_eq!(
            rule(with(&|trust| trust.claims = wrong.clone())),
            "signature.identity"
        );
    }
    // Another instance's root knows none of this.
    let staging = public(Instance::Staging).unwrap();
    assert!(with(&|trust| trust.verifier = staging.clone()).is_err());
}

/// A policy that names who logs in: the gate takes his signature and nobody else's.
#[test]
fn the_gate_takes_keyless_signatures() {
    let workspace = Workspace::initialised();
    let case = fixture("vectors/oms/cases/upstream-python-scripts-tests/v1.1.0-sigstore");
    crate::support::copy_tree(&case, &workspace.path("model"));
    std::fs::copy(
        fixture("vectors/oms/sigstore-trust-config.json"),
        workspace.path("root.json"),
    )
    .unwrap();
    workspace
        .shell("mv model/model.sig s; rm -f model/ignore-me; rm -rf model/.git*")
        .exits(0);
    workspace.run(["record", "release", "model"]).exits(0);
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let vendor = |keyless: &str| {
        let identity = format!(
            "[[identity]]\nname = \"vendor\"\nroles = [\"tester\"]\nkeyless = {{ {keyless} }}\n\n[gate]"
        );
        let policy = policy.replace("[gate]", &identity).replace(
            "signature = { roles = [\"developer\"] }",
            "signature = { roles = [\"tester\"] }",
        );
        workspace.write("weighbridge.toml", policy);
        workspace.run(["gate", "--signature", "s", "model"])
    };
    let issuer = "issuer = \"https://sigstore.verify.ibm.com/oauth2\"";
    let root = "trust_root = \"root.json\"";
    vendor(&format!(
        "identity = \"stefanb@us.ibm.com\", {issuer}, {root}"
    ))
    .exits(0)
    .says("vendor may sign as tester")
    .says("is in the transparency log");
    // The public instance's root is compiled in.
    vendor(&format!("identity_pattern = '.*@us\\.ibm\\.com', {issuer}")).exits(0);
    vendor(&format!(
        "identity = \"other@us.ibm.com\", {issuer}, {root}"
    ))
    .exits(1)
    .says("signature.identity")
    .says("signed by stefanb@us.ibm.com");
    for (keyless, says) in [
        (
            format!("identity_pattern = '.*', {issuer}"),
            "matches every name",
        ),
        ("identity = \"a@b\"".into(), "exactly one of issuer"),
        (
            format!("identity = \"a@b\", {issuer}, trust_root = \"model/missing\""),
            "model/missing",
        ),
        (
            format!("identity = \"a@b\", {issuer}, claims = {{ x = \"y\" }}"),
            "there is no claim",
        ),
    ] {
        vendor(&keyless).exits(2).says(says);
    }
}

/// A trust root out of a copy of a TUF repository, which another implementation made.
#[test]
fn a_trust_root_from_a_copy() {
    let Some(python) = peer("model_signing", "venv/bin/python") else {
        return;
    };
    let workspace = Workspace::new();
    let root = directory().join("rekor2-happy-path/trusted_root.json");
    let script = repository().join("tests/peers/tuf_copy.py");
    let make = |name: &str, more: &[&str]| {
        let output = std::process::Command::new(&python)
            .arg(&script)
            .arg(workspace.path(name))
            .arg(&root)
            .args(more)
            .output();
        crate::support::Run::from(output.unwrap()).exits(0);
    };
    make("copy", &["newer"]);
    make("old", &["expired"]);
    let take = |copy: &str, root: &str| {
        _ = std::fs::remove_file(workspace.path("out.json"));
        let run = workspace.run([
            "trust-root",
            "--copy",
            copy,
            "--root",
            root,
            "--out",
            "out.json",
        ]);
        assert_eq!(workspace.path("out.json").exists(), run.code == 0);
        run
    };
    take("copy", "copy/1.root.json")
        .exits(0)
        .says("version 2 of the root");
    assert_eq!(workspace.read("out.json"), std::fs::read(&root).unwrap());
    take("copy", "copy/2.root.json").exits(0);
    take("old", "old/1.root.json")
        .exits(1)
        .says("timestamp.json");
    take("copy", "old/1.root.json").exits(1).says("2.root.json");
    take("copy", "missing.json").exits(2);
    take("model", "copy/1.root.json")
        .exits(2)
        .says("timestamp.json");
    // From its server; and whoever has seen the newer one does not take the older one any more.
    let Some(server) = crate::servers::files(&workspace.path("copy-newer")) else {
        return;
    };
    let root_file = "copy/1.root.json";
    let remembering = |from: &[&str]| {
        let mut args = vec!["--state-dir", "state", "trust-root", "--root", root_file];
        args.extend(from);
        args.extend(["--out", "out.json"]);
        workspace.run(args)
    };
    remembering(&["--copy", "copy"]).exits(0);
    let url = format!("http://127.0.0.1:{}", server.port);
    remembering(&["--url", &url]).exits(0);
    assert_eq!(workspace.read("out.json"), std::fs::read(&root).unwrap());
    remembering(&["--copy", "copy"])
        .exits(1)
        .says("timestamp.json is of version 1, and 2 was seen before");
    remembering(&["--copy", "copy-newer"]).exits(0);
    remembering(&["--url", "http://127.0.0.1:1"]).exits(2);
    remembering(&[]).exits(2).says("--copy");
    take("copy", root_file).exits(0);
    // Each file of the copy changed, in turn.

    for (name, says) in [
        ("2.root.json", "2.root.json"),
        ("timestamp.json", "timestamp.json"),
        ("1.snapshot.json", "1.snapshot.json"),
        ("1.targets.json", "1.targets.json"),
    ] {
        let path = format!("copy/{name}");
        let good = workspace.read(&path);
        let text = String::from_utf8(good.clone()).unwrap();
        let changed = text.replacen("\"expires\": \"20", "\"expires\": \"21", 1);
        let changed = changed.replacen("\"expires\":\"20", "\"expires\":\"21", 1);
        assert_ne!(changed, text);
        workspace.write(&path, changed);
        take("copy", "copy/1.root.json").exits(1).says(says);
        workspace.write(&path, good);
    }
    let target = workspace.shell("ls copy/targets/*").exits(0).stdout;
    let mut bytes = workspace.read(target.trim());
    bytes[100] ^= 1;
    workspace.write(target.trim(), &bytes);
    take("copy", "copy/1.root.json")
        .exits(1)
        .says("its SHA-256");
    bytes.push(b'x');
    workspace.write(target.trim(), &bytes);
    take("copy", "copy/1.root.json").exits(2);
}
