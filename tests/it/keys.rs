//! Keys of every kind: made, shown, encrypted, damaged.

use std::os::unix::fs::PermissionsExt;

use crate::support::{PASSPHRASE, Run, Workspace};

fn with_passphrase(workspace: &Workspace, args: &[&str]) -> Run {
    let mut command = workspace.command(args);
    Run::from(
        command
            .env("WEIGHBRIDGE_PASSPHRASE", PASSPHRASE)
            .output()
            .unwrap(),
    )
}

#[test]
fn every_kind_signs_and_verifies() {
    for algorithm in ["p256", "p384", "p521", "ed25519", "ml-dsa-65", "hybrid"] {
        let workspace = Workspace::new();
        workspace.model("model");
        let new = ["key", "new", "--algorithm", algorithm, "k"];
        let id = with_passphrase(&workspace, &new).exits(0).stdout;
        let mode = workspace.path("k").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let pem = String::from_utf8(workspace.read("k")).unwrap();
        assert!(!pem.contains("BEGIN PRIVATE KEY"), "{algorithm}");
        with_passphrase(&workspace, &new)
            .exits(2)
            .says("is there already");
        let show = workspace.run(["key", "show", "--json", "k.pub"]).json();
        assert_eq!(show["key_id"].as_str().unwrap(), id.trim());
        assert_eq!(show["algorithm"], algorithm);
        with_passphrase(&workspace, &["key", "show", "k"])
            .exits(0)
            .says(id.trim());
        with_passphrase(
            &workspace,
            &["sign", "--key", "k", "--signature", "s", "model"],
        )
        .exits(0);
        let verify = || workspace.run(["verify", "--key", "k.pub", "--signature", "s", "model"]);
        verify().exits(0).says(algorithm);
        workspace.write("model/config.json", "{ }");
        verify().exits(1);
        // A new passphrase, and the old one is worth nothing.
        workspace.write("new", "another one\n");
        let mut command = workspace.command(["key", "encrypt", "--new-passphrase-fd", "0", "k"]);
        command.stdin(std::fs::File::open(workspace.path("new")).unwrap());
        command.env("WEIGHBRIDGE_PASSPHRASE", PASSPHRASE);
        Run::from(command.output().unwrap()).exits(0);
        with_passphrase(&workspace, &["key", "show", "k"])
            .exits(2)
            .says("wrong passphrase");
    }
}

/// Both halves of a hybrid signature must be there and good.
#[test]
fn half_a_hybrid_signature_is_none() {
    let workspace = Workspace::new();
    workspace.model("model");
    workspace
        .run([
            "key",
            "new",
            "--no-passphrase",
            "--algorithm",
            "hybrid",
            "k",
        ])
        .exits(0);
    workspace
        .run(["sign", "--key", "k", "--signature", "s", "model"])
        .exits(0);
    let bundle: serde_json::Value = serde_json::from_slice(&workspace.read("s")).unwrap();
    let signatures = bundle["dsseEnvelope"]["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 2);
    let verify =
        |key: &str| workspace.run(["verify", "--key", key, "--signature", "half", "model"]);
    for half in 0..2 {
        let mut changed = bundle.clone();
        changed["dsseEnvelope"]["signatures"] = serde_json::json!([signatures[half]]);
        workspace.write("half", changed.to_string());
        verify("k.pub").exits(1).says("signature.key");
        // Somebody who trusts one half only has what that half says.
        let pem = String::from_utf8(workspace.read("k.pub")).unwrap();
        let blocks: Vec<&str> = pem.split_inclusive("-----END PUBLIC KEY-----\n").collect();
        assert_eq!(blocks.len(), 2);
        workspace.write("one.pub", blocks[half]);
        verify("one.pub").exits(0);
        workspace.write("one.pub", blocks[1 - half]);
        verify("one.pub").exits(1);
    }
}

/// What is left of a hybrid key that was damaged is not taken for the key.
#[test]
fn a_damaged_hybrid_key_is_no_key() {
    let workspace = Workspace::new();
    workspace.model("model");
    workspace
        .run([
            "key",
            "new",
            "--no-passphrase",
            "--algorithm",
            "hybrid",
            "k",
        ])
        .exits(0);
    for name in ["k", "k.pub"] {
        let pem = String::from_utf8(workspace.read(name)).unwrap();
        let half = pem.find("-----END").unwrap();
        let second = half + pem[half..].find("-----BEGIN").unwrap();
        let (first, quantum) = pem.split_at(second);
        for damaged in [
            pem[..pem.len() - 5].to_owned(),
            format!("{quantum}{first}"),
            format!("{pem}{first}"),
            format!("{first}{}", quantum.replacen('M', "!", 1)),
            format!("{first}{first}"),
            pem.replacen("\n-----BEGIN", "\n----BEGIN", 1),
            pem.replacen("-----BEGIN", "----BEGIN", 1),
            format!("{first}{}", quantum.replacen("-----BEGIN", "-----BEG1N", 1)),
        ] {
            workspace.write("damaged", damaged);
            workspace.shell("chmod 600 damaged").exits(0);
            workspace.run(["key", "show", "damaged"]).exits(2);
            let what = if name == "k" { "sign" } else { "verify" };
            workspace
                .run([what, "--key", "damaged", "--signature", "s", "model"])
                .exits(2)
                .says("holds");
        }
    }
}

/// Encrypting a key leaves none in the clear, and nothing else behind.
#[test]
fn what_is_encrypted_is_the_file() {
    let workspace = Workspace::new();
    workspace.new_key("plain");
    workspace.shell("ln -s plain link").exits(0);
    with_passphrase(&workspace, &["key", "encrypt", "link"])
        .exits(2)
        .says("is a link");
    workspace
        .shell("(cat plain; printf -- '-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n') > both; chmod 600 both")
        .exits(0);
    let before = workspace.read("both");
    with_passphrase(&workspace, &["key", "encrypt", "both"])
        .exits(2)
        .says("CERTIFICATE beside the private key");
    assert_eq!(workspace.read("both"), before);
}
