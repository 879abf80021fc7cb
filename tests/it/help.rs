//! Every example in `--help` and every command in the README runs.

use crate::support::{Workspace, repository, tool};

const VERBS: &[&[&str]] = &[
    &[],
    &["init"],
    &["tour"],
    &["hash"],
    &["sign"],
    &["verify"],
    &["seal"],
    &["record"],
    &["record", "acquire"],
    &["record", "derive"],
    &["trace"],
    &["acquire"],
    &["gate"],
    &["exec"],
    &["policy"],
    &["policy", "check"],
    &["policy", "explain"],
    &["policy", "schema"],
    &["ledger"],
    &["ledger", "append"],
    &["ledger", "mirror"],
    &["ledger", "export"],
    &["ledger", "import"],
    &["ledger", "monitor"],
    &["ledger", "find"],
    &["ledger", "index"],
    &["ledger", "publish"],
    &["ledger", "probe"],
    &["timestamp"],
    &["key", "new"],
    &["key", "show"],
    &["key", "encrypt"],
    &["key", "register"],
    &["key", "rotate"],
    &["key", "list"],
    &["key", "revoke"],
    &["debug", "verify-raw"],
    &["oms"],
    &["completions"],
    // From here on the model is recalled, and disposed of.
    &["record", "config-change"],
    &["record", "custodian-approve"],
    &["record", "dataset-check"],
    &["record", "dataset-revise"],
    &["record", "deploy-approve"],
    &["record", "justify"],
    &["record", "known-good"],
    &["record", "notice"],
    &["record", "quarantine"],
    &["record", "register"],
    &["record", "release"],
    &["record", "revoke"],
    &["record", "risk-assess"],
    &["record", "scan-result"],
    &["record", "supplier-assess"],
    &["record", "test-result"],
    &["record", "verify-event"],
    &["record", "transfer"],
    &["record", "dispose"],
];

/// A place in which every example has what it names.
fn stage() -> Workspace {
    let workspace = Workspace::released();
    workspace.shell(
        "mkdir -p models; cp -r model models/one; weighbridge sign models/one 2>/dev/null; \
         cp keys/signing.key.pem key.pem; cp keys/signing.pub.pem key.pub.pem; \
         cp keys/signing.pub.pem release.pub.pem; \
         weighbridge sign --signature model.sig ./model 2>/dev/null; cp -r model my-model; mkdir -p data; echo d > data/d; \
         cp model/weights.bin weights.onnx; weighbridge ledger prove 0 --out model.tlog-proof 2>/dev/null; \
         weighbridge hash model > SHA256SUMS 2>/dev/null; echo secret > FILE; \
         weighbridge ledger policy > log.policy 2>/dev/null; \
         printf 'version = 1\\nkinds = [\"acquire\"]\\n' > rules.toml; \
         printf '#!/bin/sh\\ncat >> alerts\\n' > alert.sh; chmod +x alert.sh; \
         weighbridge ledger show 0 --raw > record.dsse 2>/dev/null; (cat record.dsse; echo) > records.jsonl",
        ).exits(0);
    for key in ["admin.pem", "trainer.pem", "trainer-2.pem", "custodian.pem"] {
        workspace.new_key(key);
    }
    let public = String::from_utf8(workspace.read("admin.pem.pub")).unwrap();
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let custodian = String::from_utf8(workspace.read("custodian.pem.pub")).unwrap();
    let policy = policy.replacen(
        "roles = [\"developer\"]",
        "roles = [\"developer\", \"operator\", \"custodian\", \"tester\", \"auditor\"]",
        1,
    );
    let policy = format!(
        "{policy}\n[[identity]]\nname = \"security\"\nroles = [\"admin\"]\npublic_key = \"\"\"\n{public}\"\"\"\n\
         [[identity]]\nname = \"records office\"\nroles = [\"custodian\"]\npublic_key = \"\"\"\n{custodian}\"\"\"\n"
    );
    workspace.write("weighbridge.toml", policy);
    workspace
}

/// What an example that cannot run by itself holds.
const ELSEWHERE: [&str; 17] = [
    "policy test",
    "--profile production",
    "gate --at",
    "sign --attach",
    "weighbridge acquire",
    "verify --source",
    "--keyless",
    "sign --update",
    "--url http",
    "--reply",
    "--certificate",
    "certificate.pem",
    "oms verify sigstore",
    "ssh-agent:",
    "debug verify-raw",
    "hash s3://",
    "weighbridge seal",
];

#[test]
fn the_examples_run() {
    if !tool("openssl") {
        return;
    }
    let workspace = stage();
    let mut examples = 0;
    for verb in VERBS {
        let help = workspace.run([*verb, &["--help"]].concat()).exits(0).stdout;
        let help = help.replace("\\\n      ", "");
        let at = help
            .find("Example")
            .unwrap_or_else(|| panic!("{verb:?} has no example"));
        for line in help[at..].lines().filter(|line| line.starts_with("  ")) {
            // Two spaces and more separate the command from its explanation.
            let line = line.trim();
            let command = line.split("  ").next().unwrap().trim();
            if !command.contains("weighbridge ")
                || command.contains("tour")
                || command.contains('…')
            {
                continue;
            }
            let command = match command {
                // These make something new, or sign a file that stands for a directory.
                init if init.starts_with("weighbridge init") => {
                    if !init.contains("--") {
                        continue;
                    }
                    format!(
                        "mkdir -p new; cd new; rm -rf *; {}",
                        init.replace("3< FILE", "3< ../FILE")
                    )
                }
                verify if verify.ends_with("weights.onnx") => {
                    format!(
                        "weighbridge sign --key key.pem --signature model.sig weights.onnx; {verify}"
                    )
                }
                log if log.contains("--log-key") => continue,
                // These need an authority or a service; tests of their own have them.
                other if ELSEWHERE.iter().any(|what| other.contains(what)) => continue,
                key if key.starts_with("weighbridge key new") => {
                    format!("rm -f release.key.pem*; WEIGHBRIDGE_PASSPHRASE=x {key}")
                }
                key if key.starts_with("weighbridge key show") && key.contains(".pub") => {
                    format!(
                        "rm -f release.key.pem*; weighbridge key new --no-passphrase release.key.pem 2>/dev/null; {key}"
                    )
                }
                key if key.starts_with("weighbridge key encrypt") => format!(
                    "echo y > FILE; WEIGHBRIDGE_PASSPHRASE=x {key} --new-passphrase-fd 3 3< FILE"
                ),
                stamp if stamp.starts_with("weighbridge timestamp --query") => {
                    format!("rm -f request.tsq; cp model/model.sig .; {stamp}")
                }
                endless if endless.contains(" --every ") => {
                    format!("timeout 2 {endless} || test $? = 124")
                }
                blob if blob.contains("--blob manifest.json") => {
                    format!("weighbridge ledger show 0 --manifest > manifest.json; {blob}")
                }
                rebuild if rebuild.contains("publish --rebuild") => {
                    format!("echo torn > ledger/checkpoint; {rebuild}")
                }
                hash if hash.contains("--check") => {
                    format!(
                        "rm -f model/model.sig; weighbridge hash model > SHA256SUMS; {hash}; weighbridge sign model"
                    )
                }
                other => other.to_owned(),
            };
            let run = workspace.shell(&command);
            assert_eq!(run.code, 0, "{command}: {run:?}");
            examples += 1;
        }
    }
    assert!(examples >= 20, "{examples}");
}

/// Commands of the README's first steps, in order, as a new user types them.
#[test]
fn the_readme_runs() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let workspace = Workspace::new();
    workspace.model("model");
    let mut commands = 0;
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let (true, Some(command)) = (inside, line.strip_prefix("$ ")) {
            let (command, code) = match command.split_once("   # exit ") {
                Some((command, code)) => (command, code.trim().parse().unwrap()),
                None => (command, 0),
            };
            let command = format!("export WEIGHBRIDGE_PASSPHRASE=x; {command}");
            let run = workspace.shell(&command);
            assert_eq!(run.code, code, "{command}: {run:?}");
            commands += 1;
        }
    }
    assert!(commands >= 8, "{commands}");
}
