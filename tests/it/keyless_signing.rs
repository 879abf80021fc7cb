//! Signing keyless against a Sigstore that runs here: who the token says is who signed, for us and for the
//! peer; and what is refused.

use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::registry;
use crate::servers::{self, Server};

use crate::support::{Run, Workspace, peer, repository};

fn sigstore() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let make = || {
        for (name, program) in [
            ("fulcio", "fulcio"),
            ("rekor-server", "rekor-server"),
            ("timestamp-server", "timestamp-server"),
            ("tesseract", "tesseract"),
        ] {
            peer(name, program)?;
        }
        let directory = peer("fulcio", "fulcio")?.parent()?.to_owned();
        let script = repository().join("tests/peers/sigstore.py");
        let port = servers::free_port();
        Some(servers::start_with(
            Command::new("python3").arg(script),
            port,
            &[directory.to_str()?, &port.to_string()],
        ))
    };
    SERVER.get_or_init(make).as_ref()
}

struct Instance<'a> {
    server: &'a Server,
    workspace: Workspace,
}

impl Instance<'_> {
    fn new() -> Option<Instance<'static>> {
        let server = sigstore()?;
        let workspace = Workspace::new();
        workspace.model("model");
        Some(Instance { server, workspace })
    }

    fn file(&self, name: &str) -> String {
        self.server.directory.join(name).display().to_string()
    }

    fn token(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(&format!("token.{name}"))).unwrap()
    }

    fn issuer(&self, kind: &str) -> String {
        format!("http://127.0.0.1:{}/{kind}", self.server.port)
    }

    fn sign(&self, variables: &[(&str, &str)], more: &[&str]) -> Run {
        let config = self.file("trust_config.json");
        let mut args = vec![
            "sign",
            "--keyless",
            "--signing-config",
            &config,
            "--signature",
            "s",
        ];
        args.extend(more);
        args.push("model");
        let mut command = self.workspace.command(args);
        command.envs(variables.iter().copied());
        Run::from(command.output().unwrap())
    }

    fn verify(&self, identity: &str, issuer: &str) -> Run {
        let root = self.file("trusted_root.json");
        self.workspace.run([
            "verify",
            "--signature",
            "s",
            "--certificate-identity",
            identity,
            "--certificate-oidc-issuer",
            issuer,
            "--trusted-root",
            &root,
            "model",
        ])
    }
}

const GITHUB: &str = "https://github.com/acme/widget/.github/workflows/release.yml@refs/heads/main";
const GITLAB: &str = "https://gitlab.com/acme/widget//.gitlab-ci.yml@refs/heads/main";

#[test]
fn whom_the_token_names() {
    let Some(instance) = Instance::new() else {
        return;
    };
    let token = instance.token("email");
    instance
        .sign(&[("SIGSTORE_ID_TOKEN", &token)], &[])
        .exits(0)
        .says("signed as dev@example.com");
    instance
        .verify("dev@example.com", &instance.issuer("email"))
        .exits(0)
        .says("is in the transparency log");
    instance
        .verify("dev@example.com", &instance.issuer("github"))
        .exits(1)
        .says("signature.identity");
    // GitLab hands its token over in a variable, GitHub by a request of the job.
    let token = instance.token("gitlab");
    let run = instance.sign(&[("SIGSTORE_ID_TOKEN", &token)], &["--json"]);
    assert_eq!(run.exits(0).json()["identity"], GITLAB);
    instance.verify(GITLAB, &instance.issuer("gitlab")).exits(0);
    let url = format!(
        "http://127.0.0.1:{}/runner?api-version=2.0",
        instance.server.port
    );
    let job = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner"),
    ];
    instance.sign(&job, &[]).exits(0);
    instance.verify(GITHUB, &instance.issuer("github")).exits(0);
    let report = instance.verify(GITHUB, &instance.issuer("github"));
    report.says(GITHUB);
    // A token in a descriptor, and BLAKE3 for the files.
    instance.workspace.write("token", instance.token("email"));
    let config = instance.file("trust_config.json");
    let mut command = instance.workspace.command([
        "sign",
        "--keyless",
        "--signing-config",
        &config,
        "--signature",
        "s",
        "--algorithm",
        "blake3",
        "--identity-token-fd",
        "0",
        "model",
    ]);
    command.stdin(std::fs::File::open(instance.workspace.path("token")).unwrap());
    Run::from(command.output().unwrap()).exits(0);
    instance
        .verify("dev@example.com", &instance.issuer("email"))
        .exits(0);
    instance.workspace.write("model/config.json", "{ }");
    instance
        .verify("dev@example.com", &instance.issuer("email"))
        .exits(1)
        .says("artifact.changed");
}

/// Signed by a login, recorded with a key: what a gate asks for.
#[test]
fn a_keyless_release_is_recorded() {
    let Some(instance) = Instance::new() else {
        return;
    };
    let token = instance.token("email");
    let variables = [("SIGSTORE_ID_TOKEN", token.as_str())];
    let workspace = &instance.workspace;
    instance
        .sign(&variables, &["--record"])
        .exits(2)
        .says("weighbridge.toml");
    instance
        .sign(&variables, &["--key", "keys/signing.key.pem"])
        .exits(2)
        .says("--record");
    workspace.run(["init", "--no-passphrase"]).exits(0);
    let run = instance.sign(&variables, &["--record", "--json"]).exits(0);
    assert_eq!(run.json()["index"], 0);
    let gate = || workspace.run(["gate", "--signature", "s", "model"]);
    gate().exits(1).says("and is expected by key");
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let (root, issuer) = (instance.file("trusted_root.json"), instance.issuer("email"));
    std::fs::copy(root, workspace.path("root.json")).unwrap();
    let identity = format!(
        "[[identity]]\nname = \"ci\"\nroles = [\"developer\"]\nkeyless = {{ identity = \"dev@example.com\", \
         issuer = \"{issuer}\", trust_root = \"root.json\" }}\n\n[gate]"
    );
    workspace.write("weighbridge.toml", policy.replace("[gate]", &identity));
    gate().exits(0).says("the one that was recorded");
    // Another signature is not the recorded one, by whomever it is.
    instance.sign(&variables, &[]).exits(0);
    gate().exits(1).says("signature.recorded");
}

/// A manifest in a registry, signed by a login.
#[test]
fn an_image_is_signed_keyless() {
    let (Some(sigstore), Some(place)) = (sigstore(), registry::place()) else {
        return;
    };
    let file = |name: &str| sigstore.directory.join(name).display().to_string();
    let issuer = format!("http://127.0.0.1:{}/email", sigstore.port);
    place.workspace.write("m.bin", "weights");
    let layers = json!([{ "file": "m.bin", "mediaType": "application/vnd.cncf.model.weight.v1.raw",
        "annotations": { "org.cncf.model.filepath": "m.bin" } }]);
    let specification = json!({ "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": { "mediaType": "application/vnd.cncf.model.config.v1+json", "content": {} }, "layers": layers });
    place.push("signed", &specification);
    let source = format!("oci://{}/signed:v1", place.host());
    place
        .run(&["acquire", "--no-record", &source, "got"])
        .exits(0);
    let (config, root) = (file("trust_config.json"), file("trusted_root.json"));
    let mut sign = place.command(&[
        "sign",
        "--keyless",
        "--signing-config",
        &config,
        "--signature",
        "s",
        "--attach",
        &source,
        "got",
    ]);
    let token = std::fs::read_to_string(file("token.email")).unwrap();
    sign.env("SIGSTORE_ID_TOKEN", token);
    Run::from(sign.output().unwrap())
        .exits(0)
        .says("attached 2 signatures");
    let acquire = |identity: &str, issuer: &str| {
        place.run(&[
            "acquire",
            "--json",
            "--image-identity",
            identity,
            "--image-issuer",
            issuer,
            "--image-trusted-root",
            &root,
            &source,
            "got",
        ])
    };
    let run = acquire("dev@example.com", &issuer).exits(0).json();
    assert_eq!(run["authentication"]["method"], "sigstore");
    let publisher = run["authentication"]["publisher"].as_str().unwrap();
    assert_eq!(publisher, format!("dev@example.com by {issuer}"));
    for (identity, issuer) in [
        ("other@example.com", issuer.as_str()),
        ("dev@example.com", "https://accounts.example"),
    ] {
        acquire(identity, issuer)
            .exits(1)
            .says("none of them is by whom was named");
    }
    // Under the roots of the public instance it is nobody's.
    place
        .run(&[
            "acquire",
            "--no-record",
            "--image-identity",
            "dev@example.com",
            "--image-issuer",
            &issuer,
            &source,
            "got",
        ])
        .exits(1);
    place
        .run(&["acquire", "--image-identity", "x", &source, "got"])
        .exits(2)
        .says("--image-issuer");
}

/// Both ways with the peer, under its own names.
#[test]
fn keyless_as_model_signing_has_it() {
    let Some(instance) = Instance::new() else {
        return;
    };
    let Some(program) = peer("model_signing", "venv/bin/model_signing") else {
        return;
    };
    let (config, token) = (instance.file("trust_config.json"), instance.token("email"));
    let issuer = instance.issuer("email");
    let workspace = &instance.workspace;
    let peer = |args: &[&str]| -> Run {
        let mut command = Command::new(&program);
        command.args(args).current_dir(workspace.root());
        command.output().unwrap().into()
    };
    let sign = [
        "sign",
        "sigstore",
        "--trust_config",
        &config,
        "--identity_token",
        &token,
        "--signature",
        "s",
        "model",
    ];
    let verify = [
        "verify",
        "sigstore",
        "--trust_config",
        &config,
        "--identity",
        "dev@example.com",
        "--identity_provider",
        &issuer,
        "--signature",
        "s",
        "model",
    ];
    let ours = |args: &[&str]| workspace.run(["oms"].iter().chain(args).copied());
    ours(&sign).exits(0).says("Signing succeeded");
    peer(&verify).exits(0).says("Verification succeeded");
    ours(&verify).exits(0);
    peer(&sign).exits(0);
    ours(&verify).exits(0).says("Verification succeeded");
    workspace.write("model/config.json", "{ }");
    ours(&verify).exits(1);
    peer(&verify).exits(1);
}

#[test]
fn what_is_not_signed() {
    let Some(instance) = Instance::new() else {
        return;
    };
    let refused = |variables: &[(&str, &str)], more: &[&str], code: i32, says: &str| {
        let run = instance.sign(variables, more);
        assert!(!instance.workspace.path("s").exists(), "{run:?}");
        for (_, value) in variables {
            assert!(
                value.len() < 100 || !run.stderr.contains(value),
                "a token was shown"
            );
        }
        run.exits(code).says(says);
    };
    refused(&[], &[], 2, "there is no identity token");
    for name in ["expired", "audience"] {
        let token = instance.token(name);
        refused(&[("SIGSTORE_ID_TOKEN", &token)], &[], 2, "answers 400");
    }
    refused(&[("SIGSTORE_ID_TOKEN", "nonsense")], &[], 2, "answers 400");
    let job = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:9/x"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "wrong"),
    ];
    refused(&job, &[], 2, "cannot reach");
    // An instance that another root vouches for: nothing is written.
    let token = instance.token("email");
    let other = crate::support::fixture("vectors/oms/sigstore-trust-config.json");
    let other = ["--trusted-root", other.to_str().unwrap()];
    refused(
        &[("SIGSTORE_ID_TOKEN", &token)],
        &other,
        1,
        "does not verify under the trust root",
    );
    instance.workspace.write("empty.json", "{}");
    let run = instance.workspace.run([
        "sign",
        "--keyless",
        "--signing-config",
        "empty.json",
        "model",
    ]);
    run.exits(2).says("empty.json");
}
