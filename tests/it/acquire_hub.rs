//! Acquiring from a hub: the real client's downloads, and our own, are what the commit says, or are refused.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::OnceLock;

use crate::servers::{self, Server};
use crate::support::{Run, Workspace, peer, repository, tool};

/// A hub, and its content network, which is another origin.
struct Hub {
    server: Server,
    _network: Server,
    root: PathBuf,
    commit: String,
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
    fn with<T>(&self, key: &str, value: serde_json::Value, then: impl FnOnce() -> T) -> T {
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
    fn repository(&self, name: &str, script: &str) {
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

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("access.log")).unwrap()
    }
}

struct Place {
    workspace: Workspace,
    hub: &'static Hub,
}

fn place() -> Option<Place> {
    let hub = hub()?;
    Some(Place {
        workspace: Workspace::initialised(),
        hub,
    })
}

impl Place {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.workspace.command(args);
        command
            .env(
                "HF_ENDPOINT",
                format!("http://127.0.0.1:{}", self.hub.server.port),
            )
            .env("HF_HOME", self.workspace.path("hf"));
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    fn acquire(&self, more: &[&str]) -> Run {
        let mut args = vec!["acquire", "--json"];
        args.extend(more);
        self.run(&args)
    }

    fn fetched(&self, more: &[&str]) -> u64 {
        let run = self.acquire(more).exits(0);
        run.json()["fetched_files"].as_u64().unwrap()
    }

    /// The real client's download, by `hf` itself; where it put it.
    fn hf(&self, more: &[&str]) -> Option<String> {
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

const LARGE: &str = "model-00001-of-00002.safetensors";

#[test]
fn what_the_hub_publishes() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let run = place.acquire(&["hf:acme/tiny@v1.0"]).exits(0);
    assert_eq!(run.json()["revision"], place.hub.commit.as_str());
    assert_eq!(run.json()["fetched_files"], 6);
    // As git itself has it.
    let repository = place.hub.root.join("models/acme/tiny.git");
    let config = place.workspace.shell(&format!(
        "git --git-dir {} show {}:config.json",
        repository.display(),
        place.hub.commit
    ));
    assert_eq!(
        config.stdout.as_bytes(),
        place.workspace.read("tiny/config.json")
    );
    let record = place.workspace.run(["ledger", "show", "0"]).json();
    let record = &record["predicate"];
    assert_eq!(record["revision"], place.hub.commit.as_str());
    assert_eq!(record["requested_revision"], "v1.0");
    // Nobody proved to be the hub: there is no TLS here.
    assert_eq!(record["authentication"]["result"], "not-checked");
    assert!(!place.workspace.path("tiny.partial").exists());
    // What is there is not fetched again, and is verified all the same.
    let before = place.hub.log();
    assert_eq!(place.fetched(&["hf:acme/tiny"]), 0);
    assert!(!place.hub.log()[before.len()..].contains("/resolve/"));
    // Every page of the list, though the hub gives two files at a time.
    let paged = place.hub.with("page", 2.into(), || {
        place.fetched(&["hf:acme/tiny", "paged"])
    });
    assert_eq!(paged, 6);
    assert_eq!(place.fetched(&["hf:datasets/acme/data", "data"]), 6);
    place
        .workspace
        .run(["ledger", "fsck"])
        .exits(0)
        .says("is sound");
    // A release that is signed and recorded passes the gate with the acquisition on record.
    place.workspace.run(["sign", "--record", "tiny"]).exits(0);
    place.workspace.run(["gate", "tiny"]).exits(0);
}

#[test]
fn later_without_the_hub() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    place.acquire(&["hf:acme/tiny"]).exits(0);
    let before = place.hub.log();
    let verify = |more: &[&str]| {
        let mut args = vec!["verify"];
        args.extend(more);
        args.push("tiny");
        place.run(&args)
    };
    verify(&["--source", "--offline"])
        .exits(0)
        .says("all 6 files are those of commit");
    verify(&["--source=hf:acme/tiny", "--offline"]).exits(0);
    assert_eq!(place.hub.log(), before, "nobody was asked");
    verify(&["--source"]).exits(0).says("asked just now");
    verify(&["--source=hf:acme/tiny@v1.0"]).exits(0);
    verify(&["--source=hf:acme/other", "--offline"])
        .exits(2)
        .says("no acquire record");
    // A changed file is told with both digests, without the hub too.
    let good = place.workspace.read(&format!("tiny/{LARGE}"));
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    place.workspace.write(&format!("tiny/{LARGE}"), &bad);
    let run = verify(&["--source=hf:acme/tiny", "--offline"]).exits(1);
    run.says("artifact.changed").says("is published");
    verify(&["--source=hf:acme/tiny"]).exits(1);
    // These are not the files of any record.
    verify(&["--source", "--offline"])
        .exits(2)
        .says("name the source");
    place.workspace.write(&format!("tiny/{LARGE}"), &good);
    // The pointer in place of the file, and a small file changed.
    place.workspace.write("tiny/config.json", "{}");
    verify(&["--source=hf:acme/tiny", "--offline"])
        .exits(1)
        .says("is not the git blob");
    // Evidence that was tampered with proves nothing.
    let blobs = place
        .workspace
        .shell("grep -rl git-snapshot/v1 ledger/blob")
        .stdout;
    let blob = blobs.trim();
    let text = String::from_utf8(place.workspace.read(blob)).unwrap();
    place.workspace.shell(&format!("chmod u+w {blob}")).exits(0);
    place
        .workspace
        .write(blob, text.replacen("\"commit\":\"d", "\"commit\":\"e", 1));
    verify(&["--source=hf:acme/tiny", "--offline"]).exits(2);
}

#[test]
fn tokens_go_to_the_hub_alone() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    place
        .acquire(&["hf:acme/gated"])
        .exits(2)
        .says("GatedRepo")
        .says("HF_TOKEN");
    place
        .acquire(&["hf:acme/nothing"])
        .exits(2)
        .says("RepoNotFound");
    let before = place.hub.log().len();
    let mut command = place.command(&["acquire", "hf:acme/gated"]);
    Run::from(command.env("HF_TOKEN", "hf_x").output().unwrap()).exits(0);
    let log = place.hub.log()[before..].to_owned();
    let network = log.lines().filter(|line| line.contains("/lfs-cdn/"));
    assert_eq!(network.clone().count(), 2);
    assert!(network.clone().all(|line| line.contains("auth=none")));
    let rest = log.lines().filter(|line| !line.contains("/lfs-cdn/"));
    assert!(
        rest.clone().all(|line| line.contains("auth=fixture")),
        "{log}"
    );
    // Nor into the ledger.
    let found = place.workspace.shell("grep -rl hf_x . || true").stdout;
    assert_eq!(found, "");
    let record = place.workspace.run(["ledger", "show", "0"]).json();
    assert_eq!(record["predicate"]["public"], false);
    let mut command = place.command(&["acquire", "hf:acme/gated"]);
    let odd = command.env("HF_TOKEN", "hf_x\nX-Evil: 1").output().unwrap();
    Run::from(odd).exits(2).says("characters that no token has");
    // Who is offline asks nobody.
    let mut command = place.command(&["acquire", "hf:acme/tiny"]);
    Run::from(command.env("HF_HUB_OFFLINE", "1").output().unwrap())
        .exits(2)
        .says("HF_HUB_OFFLINE");
}

#[test]
fn what_comes_otherwise_is_kept_aside() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let sha256 = "efff47644a4494e0be421d1e8c384448b3cd70f9211515690fa46a73f5e0bfd1";
    let flip = serde_json::json!({ sha256: "flip" });
    let run = place
        .hub
        .with("tamper", flip, || place.acquire(&["hf:acme/tiny"]));
    run.exits(1)
        .says(sha256)
        .says("is kept as")
        .says("is published");
    let kept = place.workspace.shell("ls tiny.partial").stdout;
    assert!(kept.contains("rejected-"), "{kept}");
    // What was good is there, and nothing is on record.
    assert!(place.workspace.path("tiny/config.json").exists());
    assert!(!place.workspace.path(&format!("tiny/{LARGE}")).exists());
    place
        .workspace
        .run(["ledger", "log"])
        .exits(0)
        .says("0 entries");
    // Later it comes right, and only what was missing is fetched.
    assert_eq!(place.fetched(&["hf:acme/tiny"]), 1);

    // A small file, by its git blob.
    let blob = place.workspace.shell(&format!(
        "git --git-dir {} rev-parse {}:config.json",
        place.hub.root.join("models/acme/tiny.git").display(),
        place.hub.commit
    ));
    let flip = serde_json::json!({ blob.stdout.trim(): "flip" });
    place
        .hub
        .with("tamper", flip, || {
            place.acquire(&["hf:acme/tiny", "second"])
        })
        .exits(1)
        .says("config.json is git blob");
    // What is there and is not of the source is not touched.
    place.workspace.write("tiny/extra.py", "import os");
    place
        .acquire(&["hf:acme/tiny"])
        .exits(1)
        .says("extra.py was added")
        .says("nothing was changed");
    place.workspace.shell("rm tiny/extra.py").exits(0);
    place.workspace.write("tiny/config.json", "{}");
    place
        .acquire(&["hf:acme/tiny"])
        .exits(1)
        .says("config.json has SHA-256");
    assert_eq!(place.workspace.read("tiny/config.json"), b"{}");
}

#[test]
fn an_interrupted_download_is_taken_up() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    place.acquire(&["hf:acme/tiny"]).exits(0);
    let good = place.workspace.read(&format!("tiny/{LARGE}"));
    let name = weighbridge::digest::Sha256::of(LARGE.as_bytes());
    let half = format!("tiny.partial/{name}");
    place.workspace.shell(&format!("rm tiny/{LARGE}")).exits(0);
    let kept = || {
        place
            .workspace
            .shell("mkdir -m 700 -p tiny.partial; touch tiny.partial/weighbridge-partial")
            .exits(0);
    };
    kept();
    place.workspace.write(&half, &good[..100_000]);
    let before = place.hub.log().len();
    assert_eq!(place.fetched(&["hf:acme/tiny"]), 1);
    assert_eq!(place.workspace.read(&format!("tiny/{LARGE}")), good);
    assert!(place.hub.log()[before..].contains("range=bytes=100000-"));
    // The half of something else, or more than there should be: from the beginning again.
    for wrong in [vec![7; 100_000], vec![7; 400_000]] {
        place.workspace.shell(&format!("rm tiny/{LARGE}")).exits(0);
        kept();
        place.workspace.write(&half, &wrong);
        assert_eq!(place.fetched(&["hf:acme/tiny"]), 1);
        assert_eq!(place.workspace.read(&format!("tiny/{LARGE}")), good);
    }
}

/// A connection that ends in the middle, and a server that is busy: the rest is asked for, and asked again.
#[test]
fn a_bad_connection() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let sha256 = "efff47644a4494e0be421d1e8c384448b3cd70f9211515690fa46a73f5e0bfd1";
    let before = place.hub.log().len();
    let cut = serde_json::json!({ sha256: 123_456 });
    let fetched = place
        .hub
        .with("cut", cut, || place.fetched(&["hf:acme/tiny"]));
    assert_eq!(fetched, 6);
    let log = place.hub.log()[before..].to_owned();
    assert!(log.contains("-> cut"), "{log}");
    assert!(log.contains("range=bytes=123456-"), "{log}");
    let fetched = place.hub.with("busy", 2.into(), || {
        place.fetched(&["hf:acme/tiny", "busy"])
    });
    assert_eq!(fetched, 6);
    assert!(place.hub.log()[before..].contains("-> 503"));
    // A list that holds more than the commit has names for.
    place
        .hub
        .with("extra", 5000.into(), || {
            place.acquire(&["hf:acme/tiny", "long"])
        })
        .exits(1)
        .says("more items");
    // For ever busy is an error, which says what to do, and what came is kept.
    let run = place.hub.with("busy", 1000.into(), || {
        place.acquire(&["hf:acme/tiny", "never"])
    });
    run.exits(2).says("503").says("run the same command again");
    place
        .workspace
        .run(["ledger", "log"])
        .exits(0)
        .says("2 entries");
    assert_eq!(place.fetched(&["hf:acme/tiny", "never"]), 6);
}

/// What the hub's own client downloaded, as it lies in its cache.
#[test]
fn the_clients_cache() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(snapshot) = place.hf(&[]) else {
        return;
    };
    let adopt = || place.acquire(&["--adopt", "hf:acme/tiny", &snapshot]);
    let verify = || place.run(&["verify", "--source", "--offline", &snapshot]);
    let first = adopt().exits(0);
    assert_eq!(first.json()["fetched_files"], 0);
    verify().exits(0);
    // The same artifact as one in plain files, to hash and to sign.
    let plain = place.acquire(&["hf:acme/tiny", "plain"]).exits(0);
    assert_eq!(first.json()["artifact"], plain.json()["artifact"]);
    place
        .workspace
        .run(["sign", "--record", "--signature", "s", &snapshot])
        .exits(0);
    place
        .workspace
        .run(["gate", "--signature", "s", &snapshot])
        .exits(0);
    place
        .workspace
        .run(["gate", "--signature", "s", "plain"])
        .exits(0);

    let refused = |says: &str| {
        adopt().exits(1).says(says);
        verify().exits(1).says(says);
        place
            .workspace
            .run(["gate", "--signature", "s", &snapshot])
            .exits(1)
            .says(says);
    };
    let link = format!("{snapshot}/{LARGE}");
    let blob = std::fs::canonicalize(place.workspace.path(&link)).unwrap();
    let good = std::fs::read(&blob).unwrap();
    // Tampered with, of the same size: the blob's name still is the right digest.
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, &bad).unwrap();
    refused("artifact.changed");
    std::fs::write(&blob, &good).unwrap();
    // Something added, something missing.
    place
        .workspace
        .write(&format!("{snapshot}/modeling_evil.py"), "x");
    refused("artifact.added");
    std::fs::remove_file(
        place
            .workspace
            .path(&format!("{snapshot}/modeling_evil.py")),
    )
    .unwrap();
    std::fs::remove_file(place.workspace.path(&link)).unwrap();
    refused("artifact.missing");
    // Links to anywhere else, even to the very content.
    place.workspace.write("elsewhere", &good);
    let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
    for target in [
        place.workspace.path("elsewhere").display().to_string(),
        "../../../../../elsewhere".into(),
        format!("../../blobs/../blobs/{name}"),
        "../../refs/main".into(),
        format!("../../snapshots/{}/config.json", place.hub.commit),
    ] {
        let at = place.workspace.path(&link);
        _ = std::fs::remove_file(&at);
        std::os::unix::fs::symlink(&target, &at).unwrap();
        adopt().exits(1).says("does not lead to a blob");
        verify().exits(1).says("artifact.symlink");
    }
}

/// The store that repositories share: two links, and only with its marker.
#[test]
fn a_poisoned_shared_blob() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(snapshot) = place.hf(&[]) else {
        return;
    };
    let blob = std::fs::canonicalize(place.workspace.path(&format!("{snapshot}/{LARGE}"))).unwrap();
    let good = std::fs::read(&blob).unwrap();
    let shared = "hf/hub/blobs/ab/abcdef";
    place.workspace.write(shared, &good);
    std::fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink("../../blobs/ab/abcdef", &blob).unwrap();
    let adopt = || place.acquire(&["--adopt", "hf:acme/tiny", &snapshot]);
    _ = std::fs::remove_file(
        place
            .workspace
            .path("hf/hub/blobs/.huggingface-shared-blobs"),
    );
    adopt().exits(1).says("does not lead to a blob");
    place
        .workspace
        .write("hf/hub/blobs/.huggingface-shared-blobs", "1\n");
    adopt().exits(0);
    let mut bad = good;
    bad.fill(0);
    place.workspace.write(shared, &bad);
    adopt().exits(1).says("artifact.changed");
    // A third link is one too many.
    place.workspace.write("hf/hub/blobs/cd/more", "x");
    std::fs::remove_file(place.workspace.path(shared)).unwrap();
    std::os::unix::fs::symlink("../cd/more", place.workspace.path(shared)).unwrap();
    adopt().exits(1).says("artifact.symlink");
}

/// A download into a directory has the client's bookkeeping in it, which is named and left out.
#[test]
fn the_clients_directory() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if place.hf(&["--local-dir", "local"]).is_none() {
        return;
    }
    assert!(place.workspace.path("local/.cache/huggingface").exists());
    assert_eq!(place.fetched(&["--adopt", "hf:acme/tiny", "local"]), 0);
    place
        .workspace
        .write("local/tok/tokenizer.json", "{\"a\":2}");
    place
        .acquire(&["--adopt", "hf:acme/tiny", "local"])
        .exits(1)
        .says("tok/tokenizer.json has SHA-256");
}

/// What a repository may hold that an artifact may not, or not quite.
#[test]
fn odd_repositories() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let hub = place.hub;
    // A signature that came along is verified, and is no part of the artifact: to no verb.
    hub.repository("signed", "echo a > a.txt; echo s > model.sig");
    let run = place.acquire(&["hf:acme/signed"]).exits(0);
    run.says("model.sig is not part of the artifact");
    place.run(&["record", "release", "signed"]).exits(0);
    let subject = |index: &str| {
        let record = place.workspace.run(["ledger", "show", index]).json();
        record["subject"][0]["digest"].clone()
    };
    assert_eq!(subject("0"), subject("1"));
    place
        .run(&["verify", "--source", "--offline", "signed"])
        .exits(0);
    place.workspace.write("signed/model.sig", "t");
    place
        .run(&["verify", "--source=hf:acme/signed", "signed"])
        .exits(1)
        .says("model.sig");

    hub.repository("linked", "echo a > a; ln -s /etc/passwd l");
    place
        .acquire(&["hf:acme/linked"])
        .exits(1)
        .says("l is a link");
    hub.repository(
        "hidden",
        "mkdir -p .cache/huggingface; echo x > .cache/huggingface/x.py",
    );
    place
        .acquire(&["hf:acme/hidden"])
        .exits(1)
        .says("in the directory of the hub's client");
    // What only others can read is not known, and said so.
    hub.repository(
        "nan",
        "echo '{\"x\": NaN, \"auto_map\": {\"A\": \"evil/r--m.C\"}}' > config.json",
    );
    let run = place.acquire(&["hf:acme/nan"]).exits(0);
    assert_eq!(run.json()["dependencies"][0]["source"], "unknown");
    hub.repository(
        "mapped",
        "echo '{\"auto_map\": {\"A\": \"evil/r--m.C\"}}' > config.json",
    );
    let run = place.acquire(&["hf:acme/mapped"]).exits(0);
    run.says("runs code of hf:evil/r");
}

/// The directory beside the artifact is this program's, or is left alone.
#[test]
fn what_lies_beside_it() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    place.workspace.write("a.partial/mine.txt", "mine");
    place
        .acquire(&["hf:acme/tiny", "a"])
        .exits(2)
        .says("not what an earlier run of yours left");
    assert_eq!(place.workspace.read("a.partial/mine.txt"), b"mine");
    place
        .workspace
        .shell("mkdir b.real; ln -s b.real b.partial")
        .exits(0);
    place.acquire(&["hf:acme/tiny", "b"]).exits(2);
    for dest in ["c/", "./d/.", "e/../f"] {
        place.workspace.shell("mkdir -p d e").exits(0);
        assert_eq!(place.fetched(&["hf:acme/tiny", dest]), 6, "{dest}");
    }
    let left = place
        .workspace
        .shell("find . -name '*.partial*' -newer weighbridge.toml");
    assert!(!left.stdout.contains("c/"), "{left:?}");
    // Two at once: one of them waits for nobody, and what lies there in the end is whole.
    let spawn = || place.command(&["acquire", "hf:acme/tiny", "two"]).output();
    let codes = std::thread::scope(|scope| {
        let both = [scope.spawn(spawn), scope.spawn(spawn)];
        both.map(|one| one.join().unwrap().unwrap().status.code())
    });
    assert!(codes.contains(&Some(0)), "{codes:?}");
    place
        .run(&["verify", "--source=hf:acme/tiny", "two"])
        .exits(0);
}

/// Whoever may write to a cache makes one snapshot a link to another: it is not taken for the one.
#[test]
fn a_snapshot_that_is_another() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(snapshot) = place.hf(&[]) else {
        return;
    };
    place
        .acquire(&["--adopt", "hf:acme/tiny", &snapshot])
        .exits(0);
    place
        .workspace
        .shell(
            "cd hf/hub; cp -r models--acme--tiny models--evil--tiny; cd models--acme--tiny/snapshots; c=$(ls); \
             rm -r $c; ln -s ../../models--evil--tiny/snapshots/$c $c",
        )
        .exits(0);
    // The files are the same, and the source is not said by whoever made the link.
    let run = place.run(&["verify", "--source", &snapshot]);
    assert!(!run.stdout.contains("evil"), "{run:?}");
    // A commit in capitals is that commit.
    let upper = place.hub.commit.to_uppercase();
    assert_eq!(
        place.fetched(&[&format!("hf:acme/tiny@{upper}"), "upper"]),
        6
    );
}

/// Sources that are none, and a place to record that is missing.
#[test]
fn what_is_asked_wrongly() {
    let Some(place) = place() else { return };
    let _alone = STATE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);

    for source in ["acme/tiny", "hf:../x", "hf:a/b@", "ftp://x"] {
        place.acquire(&[source]).exits(2).says("hf:ORG/NAME");
    }
    place.acquire(&["--adopt", "hf:acme/tiny"]).exits(2);
    place
        .acquire(&["--adopt", "hf:acme/tiny", "nowhere"])
        .exits(2)
        .says("nowhere is not there");
    place
        .acquire(&["hf:acme/tiny@no-such-branch"])
        .exits(2)
        .says("RevisionNotFound");
    // It takes no policy to verify only.
    let empty = Workspace::new();
    let run = |args: &[&str]| -> Run {
        let mut command = empty.command(args);
        command.env(
            "HF_ENDPOINT",
            format!("http://127.0.0.1:{}", place.hub.server.port),
        );
        command.output().unwrap().into()
    };
    run(&["acquire", "hf:acme/tiny"])
        .exits(2)
        .says("weighbridge.toml");
    assert!(!Path::new(&empty.path("tiny")).exists());
    run(&["acquire", "--no-record", "hf:acme/tiny"])
        .exits(0)
        .says("dirHash1:");
    run(&["verify", "--source=hf:acme/tiny", "tiny"]).exits(0);
}
