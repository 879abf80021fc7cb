//! A hub that runs here, for the tests that acquire from it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::servers::{self, Server};
use crate::support::{Run, Workspace, peer, repository, tool};

/// A hub, and its content network, which is another origin.
pub(crate) struct Hub {
    pub(crate) server: Server,
    _network: Server,
    pub(crate) root: PathBuf,
    pub(crate) commit: String,
}

/// The state of the hub is one file: who changes it has it alone.
static STATE: Mutex<()> = Mutex::new(());

fn hub() -> Option<&'static Hub> {
    static HUB: OnceLock<Option<Hub>> = OnceLock::new();
    let make = || {
        if !tool("git") || !tool("python3") {
            return None;
        }
        let scripts = repository().join("tests/peers/hub");
        let root = tempfile::tempdir().unwrap().keep().join("hub");
        let (port, network) = (servers::free_port(), servers::free_port());
        let made = Command::new("sh")
            .arg(scripts.join("fixture.sh"))
            .arg(&root)
            .arg(format!("127.0.0.1:{network}"))
            .output()
            .unwrap();
        let commit = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        assert_eq!(commit.len(), 40, "{:?}", String::from_utf8(made.stderr));
        let serve = |port: u16| {
            let (script, port_text) = (scripts.join("hub.py"), port.to_string());
            let command = [
                "python3",
                script.to_str().unwrap(),
                root.to_str().unwrap(),
                &port_text,
            ];
            servers::serve(port, &command)
        };
        Some(Hub {
            server: serve(port),
            _network: serve(network),
            commit,
            root,
        })
    };
    HUB.get_or_init(make).as_ref()
}

impl Hub {
    /// A change of what the hub does, for as long as this is held.
    pub(crate) fn with<T>(
        &self,
        key: &str,
        value: serde_json::Value,
        then: impl FnOnce() -> T,
    ) -> T {
        let path = self.root.join("state.json");
        let text = std::fs::read(&path).unwrap();
        let mut state: serde_json::Value = serde_json::from_slice(&text).unwrap();
        state[key] = value;
        std::fs::write(&path, state.to_string()).unwrap();
        let result = then();
        std::fs::write(&path, text).unwrap();
        result
    }

    /// A further repository, which `script` fills: it runs in a work tree.
    pub(crate) fn repository(&self, name: &str, script: &str) {
        let bare = self.root.join(format!("models/acme/{name}.git"));
        let script = format!(
            "export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@e \
             GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@e; rm -rf {0}; w=$(mktemp -d); cd $w; git init -q -b main .; \
             {script}\n git add -A -f; git commit -q -m x; git clone -q --bare . {0}; \
             git --git-dir {0} config uploadpack.allowFilter true; \
             git --git-dir {0} config uploadpack.allowAnySHA1InWant true; rm -rf $w",
            bare.display()
        );
        let made = Command::new("sh").args(["-euc", &script]).output().unwrap();
        assert!(
            made.status.success(),
            "{:?}",
            String::from_utf8(made.stderr)
        );
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("access.log")).unwrap()
    }
}

pub(crate) struct Place {
    pub(crate) workspace: Workspace,
    pub(crate) hub: &'static Hub,
    _alone: MutexGuard<'static, ()>,
}

pub(crate) fn place() -> Option<Place> {
    let hub = hub()?;
    Some(Place {
        workspace: Workspace::initialised(),
        hub,
        _alone: STATE.lock().unwrap_or_else(PoisonError::into_inner),
    })
}

impl Place {
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.workspace.command(args);
        command
            .env(
                "HF_ENDPOINT",
                format!("http://127.0.0.1:{}", self.hub.server.port),
            )
            .env("HF_HOME", self.workspace.path("hf"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    pub(crate) fn acquire(&self, more: &[&str]) -> Run {
        let mut args = vec!["acquire", "--json"];
        args.extend(more);
        self.run(&args)
    }

    pub(crate) fn fetched(&self, more: &[&str]) -> u64 {
        let run = self.acquire(more).exits(0);
        run.json()["fetched_files"].as_u64().unwrap()
    }

    /// The real client's download, by `hf` itself; where it put it.
    pub(crate) fn hf(&self, more: &[&str]) -> Option<String> {
        let program = peer("hf", "venv/bin/hf")?;
        let mut command = Command::new(program);
        command
            .args(["download", "acme/tiny"])
            .args(more)
            .current_dir(self.workspace.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.workspace.root())
            .env("HF_HUB_DISABLE_TELEMETRY", "1")
            .env("HF_HUB_DISABLE_UPDATE_CHECK", "1")
            .env("HF_HUB_DISABLE_XET", "1")
            .env(
                "HF_ENDPOINT",
                format!("http://127.0.0.1:{}", self.hub.server.port),
            )
            .env("HF_HOME", self.workspace.path("hf"));
        Run::from(command.output().unwrap()).exits(0);
        let snapshot = format!("hf/hub/models--acme--tiny/snapshots/{}", self.hub.commit);
        Some(snapshot)
    }
}

/// One of its large files, and the digest of it.
pub(crate) const LARGE: &str = "model-00001-of-00002.safetensors";
pub(crate) const LARGE_SHA256: &str =
    "efff47644a4494e0be421d1e8c384448b3cd70f9211515690fa46a73f5e0bfd1";
