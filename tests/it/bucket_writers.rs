//! Several processes that append to one bucket at once, some without the log key, some killed at
//! random: on real servers, by the real program.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use crate::servers::{self, BUCKET, Options};
use crate::support::{Run, Workspace};

const WRITERS: usize = 4;
const LINES: usize = 24;

#[test]
fn many_writers_on_ceph() {
    if let Some(server) = servers::ceph() {
        many_writers(&format!("s3://{BUCKET}/writers"), &servers::s3(server.port));
    }
}

#[test]
fn many_writers_on_ministack() {
    if let Some(server) = servers::ministack() {
        many_writers(&format!("s3://{BUCKET}/writers"), &servers::s3(server.port));
    }
}

#[test]
fn many_writers_on_azurite() {
    if let Some(server) = servers::azurite() {
        many_writers(
            &format!("az://{BUCKET}/writers"),
            &servers::azure(server.port),
        );
    }
}

/// A workspace whose policy keeps the ledger at `place`.
fn workspace_at(place: &str) -> Workspace {
    let workspace = Workspace::initialised();
    workspace.model("model");
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let policy = policy.replace("path = \"ledger\"", &format!("path = \"{place}\""));
    workspace.write("weighbridge.toml", &policy);
    // A machine without the log key.
    let keyless: Vec<&str> = policy
        .lines()
        .filter(|line| !line.starts_with("log_key"))
        .collect();
    workspace.write("keyless.toml", keyless.join("\n"));
    workspace
}

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn many_writers(place: &str, options: &Options) {
    let workspace = workspace_at(place);
    let command = |args: &[&str]| {
        let mut command = workspace.command(args);
        command.envs(options.iter().cloned());
        command
    };
    let run = |args: &[&str]| -> Run { command(args).output().unwrap().into() };
    run(&["ledger", "init"]).exits(0).says("made");
    run(&["ledger", "init"]).exits(0).says("is there already");
    run(&["sign", "--record", "--receipt", "r.tlog-proof", "model"]).exits(0);
    run(&["gate", "model"]).exits(0);

    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    let mut killed = 0;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (command, workspace) = (&command, &workspace);
                scope.spawn(move || {
                    let lines: Vec<String> = (0..LINES)
                        .map(|number| format!("{writer} {number}"))
                        .collect();
                    let name = format!("lines-{writer}");
                    workspace.write(&name, lines.join("\n"));
                    let config = if writer % 2 == 0 {
                        "weighbridge.toml"
                    } else {
                        "keyless.toml"
                    };
                    let append = [
                        "--config", config, "ledger", "append", "--opaque", "--batch", "3",
                        "--lines", &name,
                    ];
                    let mut done = Vec::new();
                    // The first two are killed on the way, and a new process begins again.
                    for kill in [writer < 2, false] {
                        let mut child = command(&append)
                            .stdout(Stdio::piped())
                            .stderr(Stdio::piped())
                            .spawn()
                            .unwrap();
                        if kill {
                            std::thread::sleep(Duration::from_millis(700 + 250 * writer as u64));
                            _ = child.kill();
                        }
                        let output = child.wait_with_output().unwrap();
                        let run = Run::from(output);
                        for (number, line) in run.stdout.lines().enumerate() {
                            // A line that was cut off acknowledges nothing.
                            if run.code == 0 || number + 1 < run.stdout.lines().count() {
                                done.push((line.parse().unwrap(), lines[number].clone()));
                            }
                        }
                        if run.code == 0 {
                            return (kill, done);
                        }
                        assert!(kill, "{run:?}");
                    }
                    (true, done)
                })
            })
            .collect();
        for writer in writers {
            let (was_killed, done) = writer.join().unwrap();
            killed += u32::from(was_killed);
            for (index, line) in done {
                let before = acknowledged.insert(index, line.clone());
                assert!(
                    before.is_none_or(|before| before == line),
                    "{index} was given twice"
                );
            }
        }
    });
    eprintln!("{place}: {killed} writers were killed");
    run(&["ledger", "publish"]).exits(0);
    run(&["ledger", "fsck"]).exits(0).says("is sound");
    run(&["ledger", "mirror", "copy"]).exits(0);
    let policy = run(&["ledger", "policy"]).exits(0).stdout;
    workspace.write("log.policy", policy);
    let show = |index: u64| {
        let index = index.to_string();
        let args = [
            "ledger",
            "--ledger",
            "copy",
            "--trust",
            "log.policy",
            "show",
            &index,
            "--raw",
        ];
        workspace.run(args).exits(0).stdout
    };
    for (index, line) in &acknowledged {
        assert_eq!(show(*index), *line, "entry {index}");
    }
    let lines: std::collections::HashSet<_> = acknowledged.values().collect();
    assert_eq!(
        lines.len(),
        WRITERS * LINES,
        "every line was acknowledged in the end"
    );
    run(&["gate", "model"]).exits(0);
}

/// A bucket whose conditional write is a lie is refused before anything is written to it.
#[test]
fn a_store_that_lies_gets_no_ledger() {
    let Some(server) = servers::s3rver() else {
        return;
    };
    let workspace = workspace_at(&format!("s3://{BUCKET}/lies"));
    let mut init = workspace.command(["ledger", "init"]);
    init.envs(servers::s3rver_options(server.port));
    Run::from(init.output().unwrap())
        .exits(2)
        .says("is no place for a ledger");
}
