//! Both directions with the real `model_signing` 1.1.1: it verifies what we sign, and we verify what
//! it signs.

use std::path::Path;
use std::process::Command;

use crate::support::{Run, Workspace, peer, tool};

const CURVES: [&str; 3] = ["P-256", "P-384", "P-521"];

struct Peer<'a> {
    program: &'a Path,
    workspace: &'a Workspace,
}

impl Peer<'_> {
    fn run(&self, args: &[&str]) -> Run {
        let mut command = Command::new(self.program);
        command
            .args(args)
            .current_dir(self.workspace.root())
            .env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Run::from(command.env("HOME", self.workspace.root()).output().unwrap())
    }

    fn verify(&self, signature: &str, model: &str) -> Run {
        self.run(&[
            "verify",
            "key",
            "--public_key",
            "pub.pem",
            "--signature",
            signature,
            model,
        ])
    }
}

fn with_peer(test: impl Fn(&Peer<'_>, &Workspace)) {
    let Some(program) = peer("model_signing", "venv/bin/model_signing") else {
        return;
    };
    if !tool("openssl") {
        return;
    }
    for curve in CURVES {
        let workspace = Workspace::new();
        workspace
            .shell(&format!(
                "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out key.pem; \
             openssl pkey -in key.pem -pubout -out pub.pem; chmod 600 key.pem"
            ))
            .exits(0);
        workspace.model("model");
        workspace.shell("cd model; echo '* text' > .gitattributes; mkdir .git sub; echo x > .git/config; mkdir sub/.git; echo x > sub/.git/f; cp config.json 'a b'; mkdir a; cp config.json a/b; cp config.json a-b").exits(0);
        test(
            &Peer {
                program: &program,
                workspace: &workspace,
            },
            &workspace,
        );
    }
}

#[test]
fn it_verifies_what_we_sign() {
    with_peer(|peer, workspace| {
        workspace
            .run(["sign", "--key", "key.pem", "model"])
            .exits(0);
        peer.verify("model/model.sig", "model")
            .exits(0)
            .says("Verification succeeded");
        workspace
            .run(["verify", "--key", "pub.pem", "model"])
            .exits(0);
        // The signature beside the model.
        workspace.shell("rm model/model.sig").exits(0);
        workspace
            .run(["sign", "--key", "key.pem", "--signature", "s", "model"])
            .exits(0);
        peer.verify("s", "model").exits(0);
        // By its own command line.
        workspace
            .run([
                "oms",
                "sign",
                "key",
                "--private_key",
                "key.pem",
                "--signature",
                "t",
                "model",
            ])
            .exits(0);
        peer.verify("t", "model").exits(0);
        // It refuses what we refuse.
        workspace.write("model/added", "x");
        peer.verify("s", "model").exits(1);
        workspace
            .run(["verify", "--key", "pub.pem", "--signature", "s", "model"])
            .exits(1);
        workspace
            .shell("rm model/added; echo x >> model/config.json")
            .exits(0);
        peer.verify("s", "model").exits(1);
        workspace
            .run(["verify", "--key", "pub.pem", "--signature", "s", "model"])
            .exits(1);
    });
}

#[test]
fn it_verifies_our_signature_of_a_single_file() {
    with_peer(|peer, workspace| {
        workspace
            .run(["sign", "--key", "key.pem", "model/weights.bin"])
            .exits(0);
        peer.verify("model/weights.bin.sig", "model/weights.bin")
            .exits(0);
        workspace.write("model/weights.bin", "other");
        peer.verify("model/weights.bin.sig", "model/weights.bin")
            .exits(1);
    });
}

#[test]
fn we_verify_what_it_signs() {
    with_peer(|peer, workspace| {
        let sign = |signature: &str, model: &str| {
            peer.run(&[
                "sign",
                "key",
                "--private_key",
                "key.pem",
                "--signature",
                signature,
                model,
            ])
            .exits(0);
        };
        let verify = |signature: &str, model: &str| {
            workspace.run([
                "verify",
                "--key",
                "pub.pem",
                "--signature",
                signature,
                model,
            ])
        };
        sign("s", "model");
        let run = verify("s", "model").exits(0);
        // What it leaves out is named, not passed over.
        run.says("signature.coverage")
            .says(".gitattributes is outside the signature");
        workspace
            .run([
                "oms",
                "verify",
                "key",
                "--public_key",
                "pub.pem",
                "--signature",
                "s",
                "model",
            ])
            .exits(0);
        sign("model/model.sig", "model");
        workspace
            .run(["verify", "--key", "pub.pem", "model"])
            .exits(0);
        sign("f.sig", "model/weights.bin");
        verify("f.sig", "model/weights.bin").exits(0);
        workspace.write("model/sub/added", "x");
        verify("s", "model").exits(1).says("sub/added");
        workspace
            .shell("rm model/sub/added; rm model/empty")
            .exits(0);
        verify("s", "model").exits(1).says("empty");
    });
}

/// Our own Ed25519 signatures are for our own verifier: the peer says so, it does not pass.
#[test]
fn ed25519_is_ours_alone() {
    let Some(program) = peer("model_signing", "venv/bin/model_signing") else {
        return;
    };
    let workspace = Workspace::new();
    workspace
        .run(["init", "--no-passphrase", "--algorithm", "ed25519"])
        .exits(0);
    workspace.model("model");
    workspace
        .run(["sign", "--record", "--signature", "s", "model"])
        .exits(0);
    workspace
        .run(["gate", "--signature", "s", "model"])
        .exits(0);
    workspace.shell("cp keys/signing.pub.pem pub.pem").exits(0);
    let peer = Peer {
        program: &program,
        workspace: &workspace,
    };
    peer.verify("s", "model").exits(1);
}

/// Shards that we sign: verified by model_signing's library (its command line cannot), and by us.
#[test]
fn shards_of_ours() {
    let program = peer("model_signing", "venv/bin/model_signing");
    let workspace = Workspace::initialised();
    workspace.model("model");
    workspace.write("model/a/b", "0123456789".repeat(5));
    workspace.write("model/a b", "0123456789");
    workspace.write("model/a-b", "01234567890");
    workspace.write(
        "verify.py",
        "import sys, model_signing\n\
         model_signing.verifying.Config().use_elliptic_key_verifier(public_key='keys/signing.pub.pem')\
         .verify(sys.argv[1], 's')\n",
    );
    let python = program.map(|program| program.with_file_name("python"));
    let peer = |python: &Path, model: &str| -> Run {
        let mut command = Command::new(python);
        command
            .args(["verify.py", model])
            .current_dir(workspace.root());
        command.env_clear().env("HOME", workspace.root());
        command.output().unwrap().into()
    };
    let verify = |model: &str| workspace.run(["verify", "--signature", "s", model]);
    for (size, algorithm) in [
        ("10", "sha256"),
        ("3", "sha256"),
        ("1000000000", "sha256"),
        ("7", "blake2b"),
        ("7", "blake3"),
    ] {
        let sign = ["sign", "--shard-size", size, "--algorithm", algorithm];
        let sign = |model: &'static str| {
            workspace.run(sign.iter().copied().chain(["--signature", "s", model]))
        };
        sign("model")
            .exits(0)
            .says("empty is outside the signature");
        verify("model").exits(0).says("signature.coverage");
        let python = python.as_ref().filter(|_| algorithm == "sha256");
        if let Some(python) = python {
            peer(python, "model").exits(0);
        }
        workspace.write("model/a/b", "0123456789".repeat(5) + "x");
        verify("model").exits(1).says("artifact.changed");
        if let Some(python) = python {
            assert_ne!(peer(python, "model").code, 0);
        }
        workspace.write("model/a/b", "0123456789".repeat(5));
        // One file by itself.
        sign("model/a/b").exits(0);
        verify("model/a/b").exits(0);
    }
    workspace.write("big", vec![0; 20_001]);
    workspace
        .run(["sign", "--shard-size", "1", "--signature", "t", "big"])
        .exits(1)
        .says("more than 20000 shards");
}
