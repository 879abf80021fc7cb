//! Witnesses and mirrors that run, for the tests that ask them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use ed25519_dalek::SigningKey;
use weighbridge::key::{PrivateKey, private_key_to_pem};

use crate::support::Workspace;

/// A process that cosigns; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) keys: Vec<String>,
    pub(crate) url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Running {
    /// Our witness in `workspace`, with its key in `witness.pem`, of the logs in `logs.policy`.
    pub(crate) fn start(workspace: &Workspace) -> Running {
        Running::serve(workspace, "witness", "127.0.0.1:0")
    }

    /// `ledger VERB` in `workspace`, with its key in `witness.pem` and its state in `witness`, of the
    /// logs in `logs.policy`.
    pub(crate) fn serve(workspace: &Workspace, verb: &str, address: &str) -> Running {
        let mut child = workspace
            .command([
                "ledger",
                verb,
                "--listen",
                address,
                "--key",
                "witness.pem",
                "--name",
                "w.example",
                "--state",
                "witness",
                "--trust",
                "logs.policy",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("it listens").unwrap();
        let keys = vec![line(), line()];
        Running {
            child,
            keys,
            url: line(),
        }
    }

    pub(crate) fn policy(&self, log: &str) -> String {
        format!(
            "log {log}\nwitness w-ed25519 {} {url}\nwitness w-ml-dsa {} {url}\n\
             group both all w-ed25519 w-ml-dsa\nquorum both\n",
            self.keys[0],
            self.keys[1],
            url = self.url
        )
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }
}

pub(crate) fn key_file(workspace: &Workspace, name: &str, seed: u8) {
    let key = PrivateKey::Ed25519(Box::new(SigningKey::from_bytes(&[seed; 32])));
    workspace.write(name, private_key_to_pem(&key, None).unwrap().as_bytes());
    let status = Command::new("chmod")
        .arg("600")
        .arg(workspace.path(name))
        .status();
    assert!(status.unwrap().success());
}

/// The log of `weighbridge init`, with its key.
pub(crate) fn log_of(workspace: &Workspace) -> String {
    let policy = workspace.run(["ledger", "policy"]).exits(0).stdout;
    let log = policy.lines().find_map(|line| line.strip_prefix("log "));
    log.unwrap().to_owned()
}

/// Lets the policy take its trust from `trust.policy`, with `more` lines under `[log]`.
pub(crate) fn trust_from_file(workspace: &Workspace, more: &str) {
    let toml = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let (before, after) = match toml.split_once("trust = \"\"\"") {
        Some((before, rest)) => (before, rest.split_once("\"\"\"").unwrap().1),
        None => toml.split_once("trust_file = \"trust.policy\"").unwrap(),
    };
    let toml = format!("{before}trust_file = \"trust.policy\"\n{more}{after}");
    workspace.write("weighbridge.toml", toml);
}
