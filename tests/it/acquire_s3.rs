//! Acquiring from real S3 servers: s3s-fs, Ceph's gateway, `MiniStack`; what lies there is put there by AWS's
//! own client.

use std::process::Command;

use crate::servers::{self, BUCKET, Server};
use crate::support::{Run, Workspace, peer, repository};

/// Python that has the client.
const BOTOCORE: &str = "stores/bin/python";

/// A workspace, and a store by its port.
pub(crate) struct Place {
    pub(crate) workspace: Workspace,
    port: u16,
    _own: Option<Server>,
}

/// On a server that goes on.
pub(crate) fn served(port: u16) -> Place {
    place(port, None)
}

fn place(port: u16, own: Option<Server>) -> Place {
    Place {
        workspace: Workspace::initialised(),
        port,
        _own: own,
    }
}

/// Keeps checksums, and has no versions.
pub(crate) fn s3s() -> Option<Place> {
    let program = peer("s3s-fs", "bin/s3s-fs")?;
    let port = servers::free_port();
    let root = tempfile::tempdir().unwrap().keep();
    std::fs::create_dir(root.join(BUCKET)).unwrap();
    let (program, root) = (program.display().to_string(), root.display().to_string());
    let port_text = port.to_string();
    let command = [
        program.as_str(),
        "--host",
        "127.0.0.1",
        "--port",
        &port_text,
        "--access-key",
        "tester",
        "--secret-key",
        "tester-secret",
        &root,
    ];
    Some(place(port, Some(servers::serve(port, &command))))
}

impl Place {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.workspace.command(args);
        command.envs(servers::s3(self.port));
        command
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    /// What AWS's own client does, a command a line.
    pub(crate) fn client(&self, bucket: &str, commands: &[&[&str]]) {
        let lines: Vec<String> = commands
            .iter()
            .map(|words| words.join("\t") + "\n")
            .collect();
        self.workspace.write("commands", lines.concat());
        let python = peer("botocore", BOTOCORE).unwrap();
        let script = repository().join("tests/peers/s3/client.py");
        self.workspace
            .shell(&format!(
                "{} {} http://127.0.0.1:{} {bucket} < commands",
                python.display(),
                script.display(),
                self.port
            ))
            .exits(0);
    }

    fn put(&self, key: &str, content: &str) {
        self.workspace.write("put", content);
        self.client(BUCKET, &[&["put", key, "put"]]);
    }
}

/// What every store does.
fn of_any_store(place: &Place, prefix: &str) {
    let all = [
        ("config.json", "{}"),
        ("sub/a b+c.txt", "odd name"),
        ("model.bin", "weights"),
    ];
    for (path, content) in all {
        place.put(&format!("{prefix}/{path}"), content);
    }
    // Not beneath it, though it begins so.
    place.put(&format!("{prefix}-other/x"), "x");
    let source = format!("s3://{BUCKET}/{prefix}/");
    let run = place
        .run(&["acquire", "--json", &source, "m"])
        .exits(0)
        .json();
    assert_eq!(run["fetched_files"], 3);
    for (path, content) in all {
        assert_eq!(
            place.workspace.read(&format!("m/{path}")),
            content.as_bytes()
        );
    }
    let record = place.run(&["ledger", "show", "0"]).json()["predicate"].clone();
    let attached = &record["attachments"][0];
    assert_eq!(attached["name"], "s3-objects");
    let blob = attached["sha256"].as_str().unwrap();
    let objects = place
        .workspace
        .shell(&format!("cat $(find ledger -name {blob}*)"))
        .exits(0)
        .json();
    assert_eq!(objects["objects"].as_array().unwrap().len(), 3);
    assert!(objects["objects"][0]["etag"].is_string());
    let text = objects.to_string() + &record.to_string();
    assert!(!text.contains("tester"), "{text}");
    // In the place where it is, with nothing kept here.
    let remote = |code: i32| place.run(&["verify", "--source", &source]).exits(code);
    remote(0).says("as record 0 has it");
    place
        .run(&["acquire", "--stream", "--json", &source])
        .exits(0);
    place
        .run(&["verify", "--source", "--offline", "m"])
        .exits(0);
    place.run(&["verify", "--source", "m"]).exits(0);
    let run = place
        .run(&["acquire", "--json", &source, "m"])
        .exits(0)
        .json();
    assert_eq!(run["fetched_files"], 0);
    // Changed there, of the same size; and more and fewer of them.
    place.put(&format!("{prefix}/model.bin"), "wEights");
    remote(1).says("model.bin has SHA-256");
    place
        .run(&["verify", "--source", "m"])
        .exits(1)
        .says("model.bin");
    place.put(&format!("{prefix}/model.bin"), "weights");
    remote(0);
    place.put(&format!("{prefix}/evil.py"), "x");
    remote(1).says("artifact.added");
    let (added, there) = (format!("{prefix}/evil.py"), format!("{prefix}/config.json"));
    place.client(BUCKET, &[&["delete", &added], &["delete", &there]]);
    remote(1).says("artifact.missing");
    // One object is a file.
    let one = format!("s3://{BUCKET}/{prefix}/model.bin");
    place
        .run(&["acquire", "--no-record", &one, "one.bin"])
        .exits(0);
    assert_eq!(place.workspace.read("one.bin"), b"weights");
    // Whoever may not look, sees nothing; and what is not there, is not.
    let mut command = place.command(&["acquire", "--no-record", &one, "no.bin"]);
    let run = Run::from(
        command
            .env("AWS_SECRET_ACCESS_KEY", "wrong")
            .output()
            .unwrap(),
    );
    run.exits(2).says("AWS_ACCESS_KEY_ID");
    let none = format!("s3://{BUCKET}/{prefix}-none/");
    place
        .run(&["acquire", "--no-record", &none])
        .exits(2)
        .says("none beneath it");
}

#[test]
fn on_a_file_system() {
    let Some(place) = s3s() else { return };
    of_any_store(&place, "team/model");
    // A SHA-256 that the store keeps is evidence; what is there is not read again to compare.
    place.workspace.write("put", "weights");
    place.client(BUCKET, &[&["sum", "sums/model.bin", "put"]]);
    let source = format!("s3://{BUCKET}/sums/model.bin");
    let run = place
        .run(&["acquire", "--no-record", &source, "sum.bin"])
        .exits(0);
    let hex = place
        .workspace
        .shell("sha256sum < sum.bin | cut -c1-64")
        .stdout;
    run.says(hex.trim());
    let mut again = place
        .run(&["acquire", "--no-record", &source, "sum.bin"])
        .exits(0);
    again.stderr.push_str(&again.stdout);
    assert!(
        !again.stderr.contains("no digest is published"),
        "{again:?}"
    );
    place.workspace.write("sum.bin", "wEights");
    place
        .run(&["acquire", "--no-record", &source, "sum.bin"])
        .exits(1)
        .says("is published");
}

#[test]
fn on_ceph() {
    let Some(server) = servers::ceph() else {
        return;
    };
    let place = place(server.port, None);
    of_any_store(&place, "acquired");
    // More than a page of them.
    let script = "mkdir many; for n in $(seq 1005); do echo $n > many/$n; done";
    place.workspace.shell(script).exits(0);
    place.client(BUCKET, &[&["tree", "many/", "many"]]);
    let source = format!("s3://{BUCKET}/many/");
    let run = place
        .run(&["acquire", "--stream", "--json", "--no-record", &source])
        .exits(0);
    assert_eq!(run.json()["files"], 1005);
    let same = place
        .workspace
        .shell("weighbridge hash many | sha256sum | cut -c1-64");
    let artifact = format!("dirHash1:{}", same.exits(0).stdout.trim());
    assert_eq!(run.json()["artifact"], artifact.as_str());
}

/// A version that is named stays what it is, whatever is put over it.
#[test]
fn versions() {
    let Some(server) = servers::ministack() else {
        return;
    };
    let place = place(server.port, None);
    let bucket = "versioned";
    place.workspace.write("f", "first");
    let put = ["put", "m.bin", "f"];
    place.client(bucket, &[&["create"], &["version"], &put]);
    let source = format!("s3://{bucket}/m.bin");
    let run = place
        .run(&["acquire", "--json", &source, "m.bin"])
        .exits(0)
        .json();
    let version = run["revision"].as_str().unwrap().to_owned();
    place.workspace.write("f", "other");
    place.client(bucket, &[&put]);
    place
        .run(&["acquire", "--no-record", &source, "m.bin"])
        .exits(1);
    let pinned = format!("{source}?versionId={version}");
    place
        .run(&["acquire", "--no-record", &pinned, "m.bin"])
        .exits(0);
    // The record names the version.
    place.run(&["verify", "--source", "m.bin"]).exits(0);
}
