//! The digests of fs-verity, as the tools of the kernel's developers compute them.

use std::process::Command;

use crate::support::{Run, Workspace, peer, tool};

// Around a block, a block of digests, and two levels of them.
const BLOCK: usize = 4096;
const SIZES: [usize; 12] = [
    0,
    1,
    BLOCK - 1,
    BLOCK,
    BLOCK + 1,
    BLOCK * 2,
    BLOCK * 127 + 3,
    BLOCK * 128,
    BLOCK * 128 + 1,
    BLOCK * 129,
    BLOCK * 128 * 3 + 7,
    BLOCK * 128 * 128 + 1,
];

#[test]
fn as_the_kernels_tool_computes_it() {
    if !tool("fsverity") {
        return;
    }
    let workspace = Workspace::new();
    for (number, size) in SIZES.into_iter().enumerate() {
        let bytes: Vec<u8> = (0..size)
            .map(|n| u8::try_from(n * 31 % 251).unwrap())
            .collect();
        workspace.write(&format!("files/{number:02}"), bytes);
    }
    let ours = workspace
        .run(["hash", "-a", "fs-verity", "files"])
        .exits(0)
        .stdout;
    let both = workspace
        .run(["hash", "-a", "sha256,fs-verity", "--json", "files"])
        .exits(0)
        .json();
    for (number, line) in ours.lines().enumerate() {
        let name = format!("{number:02}");
        let theirs = Command::new("fsverity")
            .args(["digest", "--compact"])
            .arg(workspace.path(&format!("files/{name}")))
            .output();
        let theirs = Run::from(theirs.unwrap()).exits(0).stdout;
        assert_eq!(line, format!("{}  {name}", theirs.trim()));
        assert_eq!(both["files"][number]["digests"]["fs-verity"], theirs.trim());
    }
    assert_eq!(ours.lines().count(), SIZES.len());
}

/// What was signed, as JSON.
fn statement(workspace: &Workspace) -> serde_json::Value {
    let bundle: serde_json::Value =
        serde_json::from_slice(&workspace.read("model/model.sig")).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = data_encoding::BASE64.decode(payload.as_bytes()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

fn signed() -> Workspace {
    let workspace = Workspace::initialised();
    workspace.write("model/sub/weights.bin", vec![7; 20_000]);
    workspace.write("model/config.json", "{}");
    workspace.write("model/empty", "");
    workspace
        .run(["sign", "--fs-verity", "--record", "model"])
        .exits(0);
    workspace
}

#[test]
fn a_signature_says_what_kernels_keep() {
    if !tool("fsverity") {
        return;
    }
    let workspace = signed();
    let said = statement(&workspace);
    let resources = said["predicate"]["resources"].as_array().unwrap();
    assert_eq!(resources.len(), 3);
    for resource in resources {
        let name = resource["name"].as_str().unwrap();
        let theirs = workspace
            .shell(&format!("fsverity digest model/{name} | cut -d' ' -f1"))
            .exits(0);
        assert_eq!(resource["fsVerity"], theirs.stdout.trim());
    }
    // Who does not know the field passes over it.
    workspace.run(["verify", "model"]).exits(0);
    if let Some(program) = peer("model_signing", "venv/bin/model_signing") {
        let verify = format!(
            "{} verify key --signature model/model.sig --public_key keys/signing.pub.pem model",
            program.display()
        );
        workspace.shell(&verify).exits(0);
    }
    // It is said of whole files only, and when it is asked for.
    workspace
        .run(["sign", "--fs-verity", "--shard-size", "1000", "model"])
        .exits(2);
    workspace.run(["sign", "model"]).exits(0);
    let plain = statement(&workspace).to_string();
    assert!(!plain.contains("fsVerity"), "{plain}");
}

/// Where nothing is under fs-verity, files are read, and the report says why. `cargo xtask vm` has what is where it is.
#[test]
fn without_fs_verity_files_are_read() {
    let workspace = signed();
    for verb in ["verify", "gate"] {
        let run = workspace
            .run([verb, "--fast", "--json", "model"])
            .exits(0)
            .json();
        assert_eq!(run["artifact"]["checked"][0]["how"], "full", "{verb}");
        let findings = run["findings"].as_array().unwrap();
        let why = findings
            .iter()
            .find(|one| one["rule"] == "artifact.fs-verity");
        let why = why.unwrap()["message"].as_str().unwrap();
        assert!(why.starts_with("not measured by their kernel: 3;"), "{why}");
        let plain = workspace.run([verb, "--json", "model"]).exits(0).stdout;
        assert!(!plain.contains("artifact.fs-verity"), "{plain}");
    }
    workspace
        .run(["verify", "--fast", "--catalogue", "."])
        .says("model");
    // What changed is found, of course.
    workspace.write("model/config.json", "[]");
    for verb in ["verify", "gate"] {
        workspace.run([verb, "--fast", "model"]).exits(1);
    }
    workspace
        .run(["seal", "model"])
        .exits(1)
        .says("nothing was sealed");
    workspace.write("model/config.json", "{}");
    workspace
        .run(["verify", "--fast", "--source", "model"])
        .exits(2)
        .says("--source");
}

/// tmpfs has fs-verity on no kernel.
#[test]
fn what_cannot_be_sealed_is_not() {
    let workspace = signed();
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let path = memory.path().join("model");
    let path = path.to_str().unwrap();
    workspace.shell(&format!("cp -r model {path}")).exits(0);
    workspace
        .run(["seal", path])
        .exits(2)
        .says("has no fs-verity");
    let verify = workspace.run(["verify", "--fast", path]).exits(0);
    verify.says("their file system has no fs-verity");
}

#[test]
fn a_policy_allows_it_or_not() {
    let workspace = signed();
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let with = |rule: &str| {
        let text = policy.replace("[gate]\n", &format!("[gate]\nrehash = \"{rule}\"\n"));
        assert_ne!(text, policy);
        workspace.write("weighbridge.toml", &text);
        workspace.run(["gate", "--fast", "model"]).exits(0)
    };
    with("always").says("--fast is not done");
    for rule in ["unsealed", "max-age=1d", "if-changed"] {
        let run = with(rule);
        assert!(!run.stderr.contains("not done"), "{rule}: {run:?}");
        run.says("artifact.fs-verity");
    }
    workspace
        .run(["gate", "--rehash", "unsealed", "model"])
        .exits(2)
        .says("--fast");
}

/// Whoever adds his signature stands for what the statement says of kernels: a lie about that would let other content pass.
#[test]
fn nobody_signs_what_is_not_so() {
    let workspace = signed();
    workspace.new_key("honest");
    let add = |code: i32| {
        let add = ["sign", "--add", "--key", "honest", "model"];
        workspace.run(add).exits(code)
    };
    let pem = String::from_utf8(workspace.read("keys/signing.key.pem")).unwrap();
    let liar = weighbridge::key::private_key_from_pem(&pem, None).unwrap();
    let said = statement(&workspace);
    let evil = format!("sha256:{}", "66".repeat(32));
    for lie in [
        Some(evil.as_str()),
        // Another file's.
        said["predicate"]["resources"][1]["fsVerity"].as_str(),
        None,
    ] {
        let mut statement = said.clone();
        if let Some(lie) = lie {
            statement["predicate"]["resources"][0]["fsVerity"] = lie.into();
        }
        let payload = serde_json::to_vec(&statement).unwrap();
        let material = weighbridge::oms::SigningMaterial::Key;
        let bundle = weighbridge::oms::sign(payload, &liar, &material).unwrap();
        workspace.write("model/model.sig", bundle.to_json().unwrap());
        if lie.is_some() {
            add(1).says("fsVerity");
        } else {
            add(0);
        }
    }
    workspace
        .run(["sign", "--fs-verity", "--algorithm", "blake3", "model"])
        .exits(2)
        .says("SHA-256");
}
