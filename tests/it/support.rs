//! A scratch directory in which the real program runs with a cleared environment, and peers that
//! may be absent.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_weighbridge");
pub(crate) const PASSPHRASE: &str = "correct horse";

/// The top of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn fixture(path: &str) -> PathBuf {
    repository().join("fixtures").join(path)
}

/// A scratch directory, removed when dropped.
pub(crate) struct Workspace(TempDir);

/// What a command said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Run {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Run {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(text), "{text:?} is not in:\n{all}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Workspace {
    pub(crate) fn new() -> Workspace {
        Workspace(tempfile::tempdir().unwrap())
    }

    /// With keys, a ledger and a policy.
    pub(crate) fn initialised() -> Workspace {
        let workspace = Workspace::new();
        workspace.run(["init", "--no-passphrase"]).exits(0);
        workspace
    }

    /// The same on the disk that the build is on: of files in memory no receipts are kept.
    pub(crate) fn on_disk() -> Workspace {
        let place = env!("CARGO_TARGET_TMPDIR");
        let workspace = Workspace(tempfile::tempdir_in(place).unwrap());
        workspace.run(["init", "--no-passphrase"]).exits(0);
        workspace
    }

    /// With a model that is signed and recorded, and passes the gate.
    pub(crate) fn released() -> Workspace {
        let workspace = Workspace::initialised();
        workspace.model("model");
        workspace.run(["sign", "--record", "model"]).exits(0);
        workspace
    }

    /// A P-256 key in the clear, in the file `name`, and its public half beside it.
    pub(crate) fn new_key(&self, name: &str) {
        self.run(["key", "new", "--no-passphrase", name]).exits(0);
    }

    /// A small tree with nested, empty, hidden and oddly named files.
    pub(crate) fn model(&self, name: &str) {
        for (path, content) in [
            ("config.json", "{}"),
            ("weights/part-1.bin", "weights"),
            ("weights/part 2.bin", "more weights"),
            ("weights.bin", "not in the directory"),
            ("empty", ""),
            (".hidden", "h"),
            ("ünïcödé/文件", "u"),
        ] {
            self.write(&format!("{name}/{path}"), content);
        }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.path(path)).unwrap()
    }

    /// The program, in this directory, with nothing of the environment that runs the tests.
    pub(crate) fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(args)
            .current_dir(self.root())
            .env_clear()
            .stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub(crate) fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Run {
        self.command(args).output().unwrap().into()
    }

    /// A shell script in this directory, which must succeed. `weighbridge` is in its path.
    #[track_caller]
    pub(crate) fn shell(&self, script: &str) -> Run {
        let directory = Path::new(PROGRAM).parent().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            std::iter::once(directory.to_path_buf()).chain(std::env::split_paths(&path)),
        );
        let output = Command::new("sh")
            .args(["-euc", script])
            .current_dir(self.root())
            .env_clear()
            .env("PATH", path.unwrap())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output();
        Run::from(output.unwrap())
    }

    /// The log's Ed25519 key, as the policy lists it.
    pub(crate) fn log_key(&self) -> String {
        let policy = String::from_utf8(self.read("weighbridge.toml")).unwrap();
        let key = policy.lines().find_map(|line| line.strip_prefix("log "));
        key.unwrap().to_owned()
    }

    pub(crate) fn gate(&self) -> Run {
        self.run(["gate", "model"])
    }

    /// The rule ids of the findings that fail the gate.
    pub(crate) fn failing_rules(&self) -> Vec<String> {
        let report = self.run(["gate", "--json", "model"]).json();
        let findings = report["findings"].as_array().unwrap().iter();
        let failing = findings.filter(|finding| finding["severity"] == "fail");
        failing
            .map(|finding| finding["rule"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Copies a directory as it is, links as links.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Where `cargo xtask test` put the peers; `None` skips the test, with its reason, unless that
/// command runs it.
pub(crate) fn peer(name: &str, path: &str) -> Option<PathBuf> {
    let peers = std::env::var_os("WEIGHBRIDGE_PEERS").map(PathBuf::from);
    if let Some(peer) = peers
        .map(|peers| peers.join(path))
        .filter(|peer| peer.exists())
    {
        return Some(peer);
    }
    assert!(!is_required(name), "{name} is not installed");
    eprintln!("skipped: needs {name}, which `cargo xtask test` installs");
    None
}

/// Must this peer be there? `cargo xtask test` says which it could not install.
pub(crate) fn is_required(name: &str) -> bool {
    let without = std::env::var("WEIGHBRIDGE_WITHOUT").unwrap_or_default();
    let required = std::env::var_os("WEIGHBRIDGE_REQUIRE_PEERS").is_some();
    required && !without.split(',').any(|one| one == name)
}

/// A tool of the system, likewise.
pub(crate) fn tool(name: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var_os("WEIGHBRIDGE_REQUIRE_PEERS").is_some();
    assert!(!required, "{name} is not installed");
    eprintln!("skipped: needs {name}");
    false
}

/// The tests run as root in most containers, where permissions do not hold: gives a command that
/// runs `program` without privileges.
pub(crate) fn unprivileged(workspace: &Workspace) -> Option<(Command, PathBuf)> {
    let program = workspace.path("weighbridge");
    std::fs::copy(PROGRAM, &program).unwrap();
    let root = std::fs::metadata("/proc/self").map(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == 0
    });
    if !root.unwrap_or(false) {
        return Some((Command::new(&program), program));
    }
    if !tool("setpriv") {
        return None;
    }
    let status = Command::new("chmod")
        .args(["755"])
        .arg(workspace.root())
        .status()
        .unwrap();
    assert!(status.success());
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program);
    Some((command, program))
}

/// A time for what is signed in tests.
pub(crate) fn now() -> weighbridge::time::Timestamp {
    weighbridge::time::Timestamp::from_millis(1_800_000_000_000).unwrap()
}
