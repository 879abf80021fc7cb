//! A registry that runs here, for the tests that acquire from it.

use std::process::Command;

use serde_json::Value;

use crate::servers::{self, Server};
use crate::support::{Run, Workspace, peer, repository, tool};

/// A registry of one's own.
pub(crate) struct Place {
    pub(crate) workspace: Workspace,
    port: u16,
    server: Server,
}

/// `tester` with the password `secret-of-a-test`, as `htpasswd -B` writes it.
const PASSWORDS: &str = "tester:$2y$05$abcdefghijklmnopqrstuuWF5xLxbFEYcgKzhJRr.Tnen4mSayl0C\n";

fn start(authentication: &str) -> Option<Place> {
    if !tool("docker-registry") || !tool("python3") || !tool("curl") {
        return None;
    }
    let workspace = Workspace::initialised();
    let port = servers::free_port();
    let root = workspace.root().display().to_string();
    let authentication = authentication.replace("ROOT", &root);
    workspace.write("passwords", PASSWORDS);
    workspace.write(
        "registry.yml",
        format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {root}/registry}}}}\n{authentication}\
             http: {{addr: '127.0.0.1:{port}'}}\n"
        ),
    );
    let config = workspace.path("registry.yml").display().to_string();
    let server = servers::serve(port, &["docker-registry", "serve", &config]);
    Some(Place {
        workspace,
        port,
        server,
    })
}

pub(crate) fn place() -> Option<Place> {
    start("")
}

/// One that asks who is there.
pub(crate) fn private() -> Option<Place> {
    start("auth: {htpasswd: {realm: test, path: ROOT/passwords}}\n")
}

/// The same registry at a second address, where it takes only tokens, and the server that gives them.
pub(crate) struct WithTokens {
    pub(crate) place: Place,
    pub(crate) host: String,
    pub(crate) tokens: Server,
    _registry: Server,
}

pub(crate) fn with_tokens() -> Option<WithTokens> {
    if !tool("openssl") {
        return None;
    }
    let place = place()?;
    let workspace = &place.workspace;
    let (port, tokens) = (servers::free_port(), servers::free_port());
    let root = workspace.root().display().to_string();
    workspace
        .shell(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout token.key -out token.crt -days 2 -subj /CN=tokens 2>&1",
        )
        .exits(0);
    workspace.write(
        "tokens.yml",
        format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: false}}}}\n\
             storage: {{filesystem: {{rootdirectory: {root}/registry}}}}\n\
             auth: {{token: {{realm: 'http://localhost:{tokens}/token', service: test, issuer: tokens, \
             rootcertbundle: {root}/token.crt}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        ),
    );
    let config = format!("{root}/tokens.yml");
    let script = repository().join("tests/peers/oci/tokens.py");
    let (script, key, certificate) = (
        script.display().to_string(),
        format!("{root}/token.key"),
        format!("{root}/token.crt"),
    );
    let giver = ["python3", &script, &tokens.to_string(), &key, &certificate];
    Some(WithTokens {
        tokens: servers::serve(tokens, &giver),
        _registry: servers::serve(port, &["docker-registry", "serve", &config]),
        host: format!("localhost:{port}"),
        place,
    })
}

/// Another program, which lists what refers to a manifest.
pub(crate) fn with_referrers() -> Option<Place> {
    let program = peer("ferro-oci-server", "bin/ferro-oci-server")?;
    if !tool("python3") || !tool("curl") {
        return None;
    }
    let workspace = Workspace::initialised();
    let port = servers::free_port();
    let listen = format!("FERRO_OCI_LISTEN=127.0.0.1:{port}");
    let storage = format!(
        "FERRO_OCI_STORAGE_DIR={}",
        workspace.path("blobs").display()
    );
    let program = program.display().to_string();
    let server = servers::serve(port, &["env", &listen, &storage, &program]);
    Some(Place {
        workspace,
        port,
        server,
    })
}

/// One that answers otherwise than it should, and another server to which it sends.
pub(crate) fn odd() -> Option<Place> {
    if !tool("python3") {
        return None;
    }
    let workspace = Workspace::initialised();
    let (port, other) = (servers::free_port(), servers::free_port());
    let script = repository().join("tests/peers/oci/odd.py");
    let (script, first, second) = (
        script.display().to_string(),
        port.to_string(),
        other.to_string(),
    );
    let server = servers::serve(port, &["python3", &script, &first, &second]);
    Some(Place {
        workspace,
        port,
        server,
    })
}

impl Place {
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.workspace.command(args)
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    /// What the registry was asked.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.server.directory.join("server.log")).unwrap()
    }

    /// Pushes what `specification` says as NAME:v1; its digest.
    pub(crate) fn push(&self, name: &str, specification: &Value) -> String {
        self.workspace
            .write("specification.json", specification.to_string());
        let output = Command::new("python3")
            .arg(repository().join("tests/peers/oci/push.py"))
            .args([&self.host(), name, "v1", "specification.json"])
            .current_dir(self.workspace.root())
            .output()
            .unwrap();
        Run::from(output).exits(0).stdout.trim().to_owned()
    }
}
