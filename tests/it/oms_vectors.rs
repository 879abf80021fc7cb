//! OMS bundles that other programs and hands made, each with the verdict it should get.

use std::path::Path;

use serde_json::Value;

use crate::support::{Run, Workspace, copy_tree, fixture};

/// Cases that this version answers otherwise than the list says, and why.
const OTHERWISE: &[(&str, i32, &str)] = &[
    // Judgement cases. Exactly v1.0, as the specification's §8.3 demands.
    ("x-predtype-v1.1", 2, "does not verify"),
    // The signature is not over DSSE's encoding; only the v0.2.0 producer had that bug.
    ("x-compat-pae", 1, "signature.key"),
    // A link out of the model is content that can change after the check.
    ("symlink-outside-allowed", 1, "leads out"),
    // A certificate for servers. model_signing does not look at the extended key usage where the key
    // usage will do.
    ("cert-ku-serverauth", 1, "signature.certificate"),
    // model_signing itself sorts otherwise than the specification asks: read, with a remark.
    ("x-resources-unsorted", 0, "order"),
];

fn cases(kind: &str) -> Vec<Value> {
    let index = std::fs::read(fixture("vectors/oms/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    index[kind].as_array().unwrap().clone()
}

/// Copies a case, and makes what git does not carry.
fn lay_out(case: &Value, workspace: &Workspace) {
    let directory = case["dir"].as_str().unwrap();
    let from = fixture("vectors/oms/cases").join(directory);
    let to = workspace.path(directory);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    if from.exists() {
        copy_tree(&from, &to);
    }
    for path in case["restore"]["directories"]
        .as_array()
        .into_iter()
        .flatten()
    {
        std::fs::create_dir_all(to.join(path.as_str().unwrap())).unwrap();
    }
    for (path, content) in case["restore"]["files"].as_object().into_iter().flatten() {
        std::fs::create_dir_all(to.join(path).parent().unwrap()).unwrap();
        std::fs::write(to.join(path), content.as_str().unwrap()).unwrap();
    }
    let links = case["conditions"]["symlinks"]
        .as_object()
        .or(case["symlinks"].as_object());
    for (path, target) in links.into_iter().flatten() {
        let path = to.join(path);
        _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(target.as_str().unwrap(), path).unwrap();
    }
}

/// Where a key or certificate of the list lies.
fn material(path: &Value) -> String {
    let path = path.as_str().unwrap();
    let path = if path.starts_with("upstream") {
        format!("cases/{path}")
    } else {
        path.into()
    };
    fixture("vectors/oms").join(path).to_str().unwrap().into()
}

fn verify(case: &Value, workspace: &Workspace) -> Run {
    let text = |name: &str| case[name].as_str().unwrap().to_owned();
    let method = text("method");
    let mut args: Vec<String> = ["oms", "verify", &method].map(String::from).into();
    let trust = &case["trust"];
    match method.as_str() {
        "key" => args.extend(["--public_key".into(), material(&trust["public_key"])]),
        "certificate" => {
            for path in trust["certificate_chain"].as_array().unwrap() {
                args.extend(["--certificate_chain".into(), material(path)]);
            }
        }
        _ => {
            for name in ["identity", "identity_provider"] {
                let value = trust[name].as_str().unwrap();
                args.extend([format!("--{name}"), value.into()]);
            }
            args.extend(["--trust_config".into(), material(&trust["trust_config"])]);
        }
    }
    args.extend(["--signature".into(), text("signature")]);
    let conditions = &case["conditions"];
    for path in conditions["ignore_paths"].as_array().into_iter().flatten() {
        args.extend(["--ignore-paths".into(), path.as_str().unwrap().into()]);
    }
    for (flag, name) in [
        ("--no-ignore-git-paths", "no_ignore_git_paths"),
        ("--allow_symlinks", "allow_symlinks"),
        ("--ignore_unsigned_files", "ignore_unsigned_files"),
    ] {
        if conditions[name] == true {
            args.push(flag.into());
        }
    }
    args.push(text("model"));
    workspace.run(args)
}

#[test]
fn every_bundle_gets_its_verdict() {
    let cases = cases("cases");
    assert_eq!(cases.len(), 90);
    for case in &cases {
        let workspace = Workspace::new();
        lay_out(case, &workspace);
        let id = case["id"].as_str().unwrap();
        let run = verify(case, &workspace);
        let said = format!("{}{}", run.stdout, run.stderr);
        if let Some((_, code, says)) = OTHERWISE.iter().find(|(name, ..)| *name == id) {
            assert_eq!(run.code, *code, "{id}: {said}");
            assert!(said.contains(says), "{id}: {said}");
            continue;
        }
        if case["expected"].as_str().unwrap() == "pass" {
            assert_eq!(run.code, 0, "{id} ({}): {said}", case["reason"]);
            assert_eq!(run.stdout, "Verification succeeded\n", "{id}");
        } else {
            assert!(run.code == 1 || run.code == 2, "{id}: {said}");
            assert!(
                said.contains("Verification failed with error: "),
                "{id}: {said}"
            );
            assert!(run.stdout.is_empty(), "{id}: {said}");
        }
    }
    let ids: Vec<&str> = cases
        .iter()
        .map(|case| case["id"].as_str().unwrap())
        .collect();
    assert!(OTHERWISE.iter().all(|(name, ..)| ids.contains(name)));
}

#[test]
fn what_must_not_be_signed_is_not() {
    for case in cases("sign_cases") {
        let workspace = Workspace::new();
        lay_out(&case, &workspace);
        let id = case["id"].as_str().unwrap();
        if id == "sign-fifo" {
            workspace
                .shell(&format!("mkfifo {}/pipe", case["model"].as_str().unwrap()))
                .exits(0);
        }
        let how = &case["sign"];
        let method = how["method"].as_str().unwrap();
        let mut args: Vec<String> = ["oms", "sign", method, "--private_key"]
            .map(String::from)
            .into();
        args.push(material(&how["private_key"]));
        if method == "certificate" {
            args.extend([
                "--signing_certificate".into(),
                material(&how["signing_certificate"]),
            ]);
            for path in how["certificate_chain"].as_array().unwrap() {
                args.extend(["--certificate_chain".into(), material(path)]);
            }
        }
        args.extend(["--signature".into(), "out.sig".into()]);
        args.push(case["model"].as_str().unwrap().into());
        let run = workspace.run(args);
        assert!(run.code == 1 || run.code == 2, "{id}: {run:?}");
        assert!(
            run.stderr.contains("refused: ") || run.stderr.contains("error: "),
            "{id}: {run:?}"
        );
        assert!(!Path::new(&workspace.path("out.sig")).exists(), "{id}");
    }
}

/// Both spellings of every flag, and the answer that scripts look for.
#[test]
fn flags_in_both_spellings() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    for (private, public, links, unsigned) in [
        (
            "--private_key",
            "--public_key",
            "--allow_symlinks",
            "--ignore_unsigned_files",
        ),
        (
            "--private-key",
            "--public-key",
            "--allow-symlinks",
            "--ignore-unsigned-files",
        ),
    ] {
        let sign = [
            "oms",
            "sign",
            "key",
            private,
            "keys/signing.key.pem",
            "--signature",
            "s",
            links,
            "model",
        ];
        assert_eq!(workspace.run(sign).exits(0).stdout, "Signing succeeded\n");
        let verify = [
            "oms",
            "--log-level",
            "INFO",
            "verify",
            "key",
            public,
            "keys/signing.pub.pem",
            "--signature",
            "s",
            links,
            unsigned,
            "model",
        ];
        assert_eq!(
            workspace.run(verify).exits(0).stdout,
            "Verification succeeded\n"
        );
    }
    workspace.write("model/added", "x");
    let verify = |flags: &[&str]| {
        let mut args = vec![
            "oms",
            "verify",
            "key",
            "--public_key",
            "keys/signing.pub.pem",
            "--signature",
            "s",
        ];
        args.extend(flags);
        args.push("model");
        workspace.run(args)
    };
    verify(&[]).exits(1).says("added");
    verify(&["--ignore_unsigned_files"]).exits(0);
    verify(&["--ignore_unsigned_files", "--no-ignore_unsigned_files"]).exits(1);
    verify(&["--ignore-paths", "model/added"]).exits(0);
    verify(&["--ignore-paths", "elsewhere"]).exits(1);
}

/// The root digest that a signature is about; and the method that is meant where none is named.
#[test]
fn digest_and_the_method_that_is_meant() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    let root = workspace
        .run(["sign", "--json", "--signature", "s", "model"])
        .json();
    let root = format!("sha256:{}\n", root["root"].as_str().unwrap());
    let digest = workspace.run(["oms", "digest", "model"]).exits(0);
    assert_eq!(digest.stdout, root);
    workspace.write("model/.gitignore", "x");
    let digest = |flags: &[&str]| {
        let args = ["oms", "digest"].iter().chain(flags).chain(&["model"]);
        workspace.run(args.copied()).exits(0).stdout
    };
    assert_eq!(digest(&["--ignore_git_paths"]), root);
    assert_ne!(digest(&["--no-ignore-git-paths"]), root);
    assert_ne!(digest(&["--ignore-paths", "model/config.json"]), root);
    // `verify` alone is `verify sigstore`, as the peer has it.
    workspace
        .run(["oms", "verify", "--signature", "s", "model"])
        .exits(2)
        .says("--identity");
    workspace
        .run(["oms", "sign", "--signature", "t", "model"])
        .exits(2)
        .says("there is no identity token");
}
