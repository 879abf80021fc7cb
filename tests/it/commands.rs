//! What a user types, and what follows: the whole path, and what must not happen on it.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::{PASSPHRASE, Workspace, fixture};

/// The path a script takes: `init`, `sign --record`, `gate`, with the variable set.
#[test]
fn the_path_of_a_script() {
    let workspace = Workspace::new();
    workspace.model("model");
    let run = |args: &[&str]| {
        let mut command = workspace.command(args);
        crate::support::Run::from(
            command
                .env("WEIGHBRIDGE_PASSPHRASE", PASSPHRASE)
                .output()
                .unwrap(),
        )
    };
    run(&["init"]).exits(0);
    let signed = run(&["sign", "--record", "model"]).exits(0);
    assert_eq!(signed.stdout, "0\n");
    // The gate needs no key and no passphrase.
    workspace.gate().exits(0).says("allow model");
    for key in ["keys/signing.key.pem", "keys/log.key.pem"] {
        let pem = String::from_utf8(workspace.read(key)).unwrap();
        assert!(
            pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"),
            "{key}"
        );
        let mode = std::fs::metadata(workspace.path(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    assert_eq!(run(&["sign", "--record", "model"]).exits(0).stdout, "1\n");
    workspace.gate().exits(0);
}

#[test]
fn single_files_are_artifacts_too() {
    let workspace = Workspace::initialised();
    workspace.write("weights.onnx", "weights");
    workspace.run(["sign", "--record", "weights.onnx"]).exits(0);
    workspace
        .run(["gate", "weights.onnx"])
        .exits(0)
        .says("sha256:");
    assert!(workspace.path("weights.onnx.sig").exists());
    // A copy under another name is the same artifact.
    workspace
        .shell("cp weights.onnx copy.onnx; cp weights.onnx.sig copy.onnx.sig")
        .exits(0);
    workspace.run(["gate", "copy.onnx"]).exits(0);
    workspace.write("weights.onnx", "weighty");
    workspace
        .run(["gate", "weights.onnx"])
        .exits(1)
        .says("artifact.changed");
    workspace
        .shell("rm copy.onnx; ln -s weights.onnx copy.onnx")
        .exits(0);
    workspace
        .run(["gate", "copy.onnx"])
        .exits(1)
        .says("symbolic link");
    workspace.run(["gate", "gone.onnx"]).exits(2);
    // The signature of a file is not that of a directory with the file in it.
    workspace.shell("mkdir d; printf weights > d/weights.onnx; cp weights.onnx.sig d/model.sig");
    workspace.run(["gate", "d"]).exits(1);
}

#[test]
fn git_and_the_hub_clients_bookkeeping_are_left_out_and_named() {
    let workspace = Workspace::released();
    workspace.shell("cd model; mkdir -p .git .cache/huggingface; echo x > .git/config; echo x > .cache/huggingface/f").exits(0);
    let report = workspace.run(["gate", "--json", "model"]).exits(0).json();
    let findings = report["findings"].as_array().unwrap();
    let left_out: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["rule"] == "artifact.not-covered")
        .map(|finding| finding["location"].as_str().unwrap())
        .collect();
    assert_eq!(left_out, [".cache/huggingface", ".git", "model.sig"]);
}

#[test]
fn init_twice_destroys_nothing() {
    let workspace = Workspace::released();
    let before =
        workspace.shell("find keys ledger weighbridge.toml -type f | sort | xargs sha256sum");
    workspace
        .run(["init", "--no-passphrase"])
        .exits(0)
        .says("exists already");
    workspace.run(["init"]).exits(0);
    let after =
        workspace.shell("find keys ledger weighbridge.toml -type f | sort | xargs sha256sum");
    assert_eq!(before.stdout, after.stdout);
    workspace.gate().exits(0);
}

/// Interrupted anywhere, a second `init` completes the first: keys and ledger stay.
#[test]
fn init_completes_an_interrupted_one() {
    for missing in [
        "rm weighbridge.toml",
        "rm -r weighbridge.toml ledger",
        "rm -r weighbridge.toml ledger keys/log.key.pem",
        "rm weighbridge.toml keys/signing.pub.pem",
    ] {
        let workspace = Workspace::initialised();
        let key = workspace.read("keys/signing.key.pem");
        workspace.shell(missing).exits(0);
        workspace.run(["init", "--no-passphrase"]).exits(0);
        assert_eq!(workspace.read("keys/signing.key.pem"), key, "{missing}");
        workspace.model("model");
        workspace.run(["sign", "--record", "model"]).exits(0);
        workspace.gate().exits(0);
    }
    // A ledger whose key is lost is not taken over.
    let workspace = Workspace::initialised();
    workspace
        .shell("rm weighbridge.toml keys/log.key.pem")
        .exits(0);
    workspace
        .run(["init", "--no-passphrase"])
        .exits(2)
        .says("belongs to another key");
}

#[test]
fn passphrases() {
    let workspace = Workspace::new();
    workspace
        .run(["init"])
        .exits(2)
        .says("WEIGHBRIDGE_PASSPHRASE");
    assert!(!workspace.path("weighbridge.toml").exists());
    // From a file descriptor, with the line end that an editor leaves.
    workspace
        .shell("printf 'correct horse\\n' > p; weighbridge init --passphrase-fd 3 3< p")
        .exits(0);
    workspace.model("model");
    let with = |passphrase: &str| {
        let mut command = workspace.command(["sign", "--record", "model"]);
        crate::support::Run::from(
            command
                .env("WEIGHBRIDGE_PASSPHRASE", passphrase)
                .output()
                .unwrap(),
        )
    };
    with("wrong").exits(2).says("wrong passphrase");
    with("").exits(2).says("is empty");
    assert!(!workspace.path("model/model.sig").exists());
    with(PASSPHRASE).exits(0);
    workspace
        .run(["sign", "model"])
        .exits(2)
        .says("needs a passphrase");
    // There is no flag that takes the passphrase itself.
    workspace.run(["init", "--passphrase", "x", "d"]).exits(2);
}

/// On a terminal the passphrase is asked for, twice for new keys, and never shown.
#[test]
fn the_passphrase_is_asked_for_on_a_terminal() {
    if !crate::support::tool("python3") {
        return;
    }
    let workspace = Workspace::new();
    workspace.model("model");
    workspace.write(
        "ask.py",
        r#"
import os, pty, sys, time
answers = sys.argv[1].split(",")
child, terminal = pty.fork()
if child == 0:
    os.execvp("weighbridge", ["weighbridge", *sys.argv[2:]])
shown = b""
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    shown += piece
    if piece.endswith(b": ") and answers:
        time.sleep(0.2)  # the echo is switched off after the question
        os.write(terminal, answers.pop(0).encode() + b"\n")
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#,
    );
    let ask = |answers: &str, args: &str| {
        let run = workspace.shell(&format!("python3 ask.py {answers} {args}"));
        assert!(!run.stdout.contains("secret"), "{run:?}");
        run
    };
    ask("secret-a,secret-b", "init").exits(2).says("differ");
    ask("secret,secret", "init").exits(0).says("Once more");
    ask("secrex", "sign --record model")
        .exits(2)
        .says("wrong passphrase");
    // One question serves both keys.
    let run = ask("secret", "sign --record model").exits(0);
    assert_eq!(run.stdout.matches("Passphrase for").count(), 1, "{run:?}");
    workspace.gate().exits(0);
}

#[test]
fn a_key_that_others_can_read_is_warned_about() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    workspace.run(["sign", "model"]).exits(0);
    workspace.shell("chmod 644 keys/signing.key.pem").exits(0);
    let run = workspace
        .run(["sign", "--quiet", "model"])
        .exits(0)
        .says("can be read by others");
    assert!(run.stderr.contains("chmod 600"), "{}", run.stderr);
}

/// The ledger inside the artifact would change with every record; keys inside would be published.
#[test]
fn the_set_up_may_not_lie_inside_the_artifact() {
    let workspace = Workspace::initialised();
    workspace.write("weights.bin", "w");
    for verb in [["sign", "."], ["gate", "."], ["sign", "../"]] {
        workspace
            .run(verb)
            .exits(2)
            .says("lies inside the artifact");
    }
    workspace
        .run(["record", "release", "."])
        .exits(2)
        .says("lies inside the artifact");
}

#[test]
fn signing_destroys_nothing() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    for signature in [
        "model/weights.bin",
        "keys/signing.key.pem",
        "weighbridge.toml",
    ] {
        let before = workspace.read(signature);
        let sign = ["sign", "--signature", signature, "model"];
        workspace.run(sign).exits(2).says("is not a signature");
        let key = "keys/signing.key.pem";
        let oms = [
            "oms",
            "sign",
            "key",
            "--private_key",
            key,
            "--signature",
            signature,
            "model",
        ];
        workspace.run(oms).exits(2).says("is not a signature");
        assert_eq!(workspace.read(signature), before);
    }
    workspace.run(["sign", "model"]).exits(0);
    workspace.run(["sign", "model"]).exits(0);
    // A key that lies in the model would be published with it.
    workspace
        .shell("cp keys/signing.key.pem model/key.pem")
        .exits(0);
    workspace
        .run(["sign", "--key", "model/key.pem", "model"])
        .exits(2)
        .says("lies inside");
}

/// Receipts go beside the artifact, and over nothing but older receipts; asked before recording.
#[test]
fn receipts_destroy_nothing() {
    let workspace = Workspace::released();
    workspace.write("mine", "mine");
    for (receipt, says) in [
        ("model/config.json", "inside the artifact"),
        ("mine", "is not a receipt"),
        ("nowhere/r", "no directory"),
    ] {
        for verb in [vec!["sign", "--record"], vec!["record", "release"]] {
            let args = [verb, vec!["--receipt", receipt, "model"]].concat();
            workspace.run(args).exits(2).says(says);
        }
    }
    assert_eq!(workspace.read("mine"), b"mine");
    workspace
        .run(["ledger", "prove", "0", "--out", "mine"])
        .exits(2)
        .says("is not a receipt");
    workspace.run(["ledger", "fsck"]).exits(0).says("1 entries");
    // Two versions have two receipts, and a raw entry is the entry, to the byte.
    for receipt in ["llama-3.1", "llama-3.2", "llama-3.2"] {
        workspace
            .run(["record", "release", "--receipt", receipt, "model"])
            .exits(0);
    }
    workspace
        .run(["ledger", "verify", "llama-3.1"])
        .exits(0)
        .says("entry 1");
    workspace
        .shell("weighbridge ledger show 1 --raw > e; cmp e llama-3.1.dsse")
        .exits(0);
}

/// `--config` names the same file for every verb, `init` too.
#[test]
fn the_policy_is_where_config_says() {
    let workspace = Workspace::new();
    workspace.model("model");
    let with = |args: &[&str]| workspace.run([&["--config", "set/up/policy.toml"], args].concat());
    with(&["init", "--no-passphrase"]).exits(0);
    assert!(workspace.path("set/up/policy.toml").exists());
    with(&["sign", "--record", "model"]).exits(0);
    with(&["gate", "model"]).exits(0);
    with(&["init", "--no-passphrase", "elsewhere"])
        .exits(2)
        .says("would not lie in");
    workspace.run(["init", "--no-passphrase", "here"]).exits(0);
    assert!(workspace.path("here/weighbridge.toml").exists());
    assert!(!workspace.path("weighbridge.toml").exists());
}

#[test]
fn receipts_replace_the_ledger() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    workspace
        .run(["sign", "--record", "--receipt", "r.tlog-proof", "model"])
        .exits(0);
    workspace.shell("mv ledger elsewhere").exits(0);
    workspace.gate().exits(2).says("ledger");
    let gate = ["gate", "--receipt", "r.tlog-proof", "model"];
    workspace.run(gate).exits(0).says("judged by a receipt");
    workspace
        .run(["ledger", "verify", "r.tlog-proof"])
        .exits(0)
        .says("is entry 0 of");

    // Another model with the same receipt; a receipt whose record was altered; none at all.
    workspace.write("model/added", "x");
    workspace.run(gate).exits(1).says("record.missing");
    workspace
        .shell("rm model/added; cp r.tlog-proof.dsse kept; sed -i 's/payload/paylode/' r.tlog-proof.dsse")
        .exits(0);
    workspace.run(gate).exits(1);
    workspace.run(["ledger", "verify", "r.tlog-proof"]).exits(1);
    workspace
        .shell("cp kept r.tlog-proof.dsse; sed -i 's/^index 0/index 1/' r.tlog-proof")
        .exits(0);
    workspace.run(gate).exits(1).says("ledger.inclusion");
    workspace.shell("rm r.tlog-proof.dsse").exits(0);
    workspace.run(gate).exits(2);
}

#[test]
fn acquire_records_are_written_and_read_back() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    let digest = workspace.shell("cd model; find . -type f | cut -c3- | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 sha256sum | sha256sum | cut -c1-64").stdout;
    let run = workspace.run([
        "record",
        "acquire",
        "--source",
        "https://example.org/m?download=true",
        "--revision",
        "abc",
        "--publisher",
        "Example",
        "--auth-method",
        "tls",
        "--auth-result",
        "verified",
        "--auth-host",
        "example.org",
        "--retrieved-start",
        "2026-11-25T09:30:00Z",
        "--licence",
        "MIT",
        "--public",
        "true",
        "model",
    ]);
    assert_eq!(run.exits(0).stdout, "0\n");
    let statement = workspace.run(["ledger", "show", "0"]).exits(0).json();
    assert_eq!(
        statement["predicateType"],
        "https://weighbridge.dev/acquire/v1"
    );
    assert_eq!(statement["subject"][0]["digest"]["dirHash1"], digest.trim());
    let predicate = &statement["predicate"];
    assert_eq!(
        predicate["source_uri"],
        "https://example.org/m?download=true"
    );
    assert_eq!(predicate["retrieved"]["start"], "2026-11-25T09:30:00.000Z");
    assert_eq!(predicate["authentication"]["result"], "verified");
    assert_eq!(
        predicate["authentication"]["endpoint_identity"]["host"],
        "example.org"
    );
    workspace
        .run(["ledger", "log"])
        .exits(0)
        .says("https://example.org/m?download=true");
    let manifest = workspace
        .run(["ledger", "show", "0", "--manifest"])
        .exits(0)
        .stdout;
    let expected = workspace.run(["hash", "--quiet", "model"]).exits(0).stdout;
    assert_eq!(manifest, expected);
    // An acquire record is no release.
    workspace.run(["sign", "model"]).exits(0);
    workspace.gate().exits(1).says("has no release record");
}

/// Records are public and for ever: what must not enter is refused before anything is written.
#[test]
fn secrets_and_nonsense_do_not_enter_the_ledger() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    for args in [
        ["--source", "https://user:hunter2@example.org/m"],
        ["--source", "https://example.org/m?X-Amz-Signature=abc"],
        ["--source", "relative/path"],
        ["--auth-result", "verified"],
        ["--retrieved-start", "2999-01-01T00:00:00Z"],
        ["--retrieved-start", "yesterday"],
        ["--role", "auditor"],
        ["--role", "operator"],
    ] {
        let mut all = vec!["record", "acquire"];
        if args[0] != "--source" {
            all.extend(["--source", "https://example.org/m"]);
        }
        all.extend(args);
        all.push("model");
        workspace.run(all).exits(2);
    }
    workspace
        .run(["ledger", "log", "--json"])
        .exits(0)
        .says("[]");
}

#[test]
fn every_verb_speaks_json_and_errors_too() {
    let workspace = Workspace::released();
    for args in [
        vec!["hash", "model"],
        vec!["gate", "model"],
        vec!["verify", "model"],
        vec!["sign", "model"],
        vec!["sign", "--record", "model"],
        vec!["record", "release", "model"],
        vec!["ledger", "log"],
        vec!["ledger", "show", "0"],
        vec!["ledger", "checkpoint"],
        vec!["ledger", "prove", "--consistency", "1"],
        vec!["ledger", "fsck"],
    ] {
        let mut with = args.clone();
        with.push("--json");
        workspace.run(with).exits(0).json();
    }
    let error = workspace.run(["gate", "--json", "nowhere"]).exits(2).json();
    assert!(
        error["error"]["messages"][0]
            .as_str()
            .unwrap()
            .contains("nowhere")
    );
}

/// Colours need a terminal, and NO_COLOR wins even there.
#[test]
fn colours_only_where_they_are_wanted() {
    let workspace = Workspace::released();
    assert!(!workspace.gate().stdout.contains('\u{1b}'));
    if !crate::support::tool("script") {
        return;
    }
    let on_terminal = |variables: &str| {
        workspace
            .shell(&format!(
                "{variables} TERM=xterm script -qec 'weighbridge gate model' /dev/null"
            ))
            .stdout
    };
    assert!(on_terminal("COLOUR=1").contains("\u{1b}[1;32mallow"));
    assert!(!on_terminal("NO_COLOR=1").contains('\u{1b}'));
}

/// Whoever closes the pipe early gets no success, and no panic.
#[test]
fn a_closed_pipe_is_not_a_success() {
    let workspace = Workspace::new();
    for n in 0..3000 {
        workspace.write(&format!("model/{n}"), "");
    }
    let mut child = workspace
        .command(["hash", "model"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let run = crate::support::Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.code, 2);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn usage_errors_are_exit_2_and_help_is_0() {
    let workspace = Workspace::new();
    for args in [
        vec![],
        vec!["nonsense"],
        vec!["gate"],
        vec!["gate", "a", "b"],
        vec!["hash", "-a", "x", "."],
    ] {
        workspace.run(args).exits(2);
    }
    workspace.run(["--help"]).exits(0).says("Examples:");
    workspace
        .run(["--version"])
        .exits(0)
        .says(env!("CARGO_PKG_VERSION"));
    workspace
        .run(["completions", "bash"])
        .exits(0)
        .says("complete");
    workspace.run(["man"]).exits(0).says(".TH weighbridge");
    workspace
        .run(["gate", "."])
        .exits(2)
        .says("weighbridge init");
}

/// The real model passes by its own records, with a policy that asks for where it came from.
#[test]
fn the_fixture_passes_by_its_own_records() {
    let workspace = Workspace::new();
    let ledger = fixture("ledgers/silero-vad");
    let run = workspace.run([
        "gate",
        "--config",
        ledger.join("weighbridge.toml").to_str().unwrap(),
        "--signature",
        ledger.join("model.sig").to_str().unwrap(),
        fixture("models/silero-vad").to_str().unwrap(),
    ]);
    run.exits(0)
        .says("acquire by fixtures as operator")
        .says("release by fixtures as developer");
    // The weights are those of the wheel: its own digest list, read by another program's rules.
    let record = std::fs::read_to_string(ledger.join("RECORD")).unwrap();
    for name in ["silero_vad_16k.safetensors", "silero_vad_16k_op15.onnx"] {
        let bytes = std::fs::read(fixture("models/silero-vad/data").join(name)).unwrap();
        let digest = weighbridge::digest::Sha256::of(&bytes);
        let base64 = data_encoding::BASE64URL_NOPAD.encode(&digest.0);
        let line = format!("silero_vad/data/{name},sha256={base64},{}", bytes.len());
        assert!(record.lines().any(|listed| listed == line), "{line}");
    }
}
