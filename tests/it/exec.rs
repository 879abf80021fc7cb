//! `exec`: what was verified is what the command gets, or it does not start.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Run, Workspace, tool};

fn exec(workspace: &Workspace, more: &[&str], command: &[&str]) -> Run {
    let args = [&["exec", "--no-argument"], more, &["model", "--"], command].concat();
    let mut run = workspace.command(args);
    // Where the copies are put, to see that none is left.
    std::fs::create_dir_all(workspace.path("tmp")).unwrap();
    run.env("TMPDIR", workspace.path("tmp"));
    run.output().unwrap().into()
}

fn left(workspace: &Workspace) -> usize {
    std::fs::read_dir(workspace.path("tmp")).unwrap().count()
}

#[test]
fn the_command_gets_what_was_verified() {
    let workspace = Workspace::released();
    let run = exec(&workspace, &[], &["cat", "model/config.json"]).exits(0);
    assert_eq!(run.stdout, "{}");
    let run = exec(
        &workspace,
        &[],
        &[
            "sh",
            "-c",
            "ls -A {} | wc -l; echo $HF_HUB_OFFLINE; ls -d $WEIGHBRIDGE_ARTIFACT",
        ],
    );
    let lines: Vec<&str> = run.stdout.lines().collect();
    // Everything but the signature, in a place of its own.
    assert_eq!((lines[0].trim(), lines[1]), ("6", "1"), "{run:?}");
    assert!(
        lines[2].starts_with(workspace.path("tmp").to_str().unwrap()),
        "{run:?}"
    );
    assert_eq!(left(&workspace), 0);
    exec(&workspace, &[], &["sh", "-c", "exit 41"]).exits(41);
    exec(&workspace, &[], &["no-such-program"])
        .exits(127)
        .says("cannot start no-such-program");
    // Changed where it lies while the command runs: the command does not see it.
    workspace.write(
        "change.sh",
        "echo changed > model/config.json; echo x > model/added",
    );
    let script = "sh change.sh; cat {}/config.json; ls {}";
    let run = exec(&workspace, &[], &["sh", "-c", script]).exits(0);
    assert!(
        run.stdout.starts_with("{}") && !run.stdout.contains("added"),
        "{run:?}"
    );
    assert_eq!(left(&workspace), 0);
}

#[test]
fn what_is_denied_does_not_start() {
    for tamper in [
        "echo x > model/config.json",
        "echo x > model/added.py",
        "rm model/empty",
        "rm model/empty; ln -s /etc/passwd model/empty",
        "rm model/model.sig",
    ] {
        let workspace = Workspace::released();
        workspace.shell(tamper).exits(0);
        exec(&workspace, &[], &["touch", "started"]).exits(1);
        assert!(!workspace.path("started").exists(), "{tamper}");
        assert_eq!(left(&workspace), 0);
    }
    let workspace = Workspace::released();
    workspace.shell("rm -r ledger").exits(0);
    exec(&workspace, &[], &["touch", "started"])
        .exits(2)
        .says("touch was not started");
    assert!(!workspace.path("started").exists());
    exec(&workspace, &["--profile", "none"], &["touch", "started"]).exits(2);
    assert!(!workspace.path("started").exists());
}

/// Signals that are sent to us alone reach the command, whose answer is ours.
#[test]
fn signals_are_passed_on() {
    if !tool("kill") {
        return;
    }
    let workspace = Workspace::released();
    let script = "trap 'echo got; exit 7' TERM; touch ready; while :; do sleep 0.05; done";
    let mut child = workspace
        .command(["exec", "--no-argument", "model", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !workspace.path("ready").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    workspace.shell(&format!("kill -TERM {id}")).exits(0);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    exec(&workspace, &[], &["sh", "-c", "kill -9 $$"]).exits(137);
}

/// Hard links save the copy, and are said to be what they are.
#[test]
fn by_hard_links() {
    let workspace = Workspace::released();
    workspace.shell("mkdir place").exits(0);
    let run = exec(
        &workspace,
        &["--hard-links", "--directory", "place"],
        &["sh", "-c", "stat -c %h {}/config.json"],
    );
    assert_eq!(run.stdout.trim(), "2", "{run:?}");
    run.says("hard links");
    let nothing = std::fs::read_dir(workspace.path("place")).unwrap().count();
    assert_eq!(nothing, 0);
}

/// A command that would read something else than what was verified does not start, and our secrets are not its.
#[test]
fn words_that_lead_past_what_was_verified() {
    let workspace = Workspace::released();
    let whole = workspace.path("model/config.json").display().to_string();
    let run = |command: &[&str]| -> Run {
        let args = [&["exec", "./model", "--"], command].concat();
        let mut run = workspace.command(args);
        run.env("WEIGHBRIDGE_PASSPHRASE", "secret-of-a-test");
        run.output().unwrap().into()
    };
    // However it is spelled, it is the copy that is read.
    for word in [
        "model/config.json",
        "./model/config.json",
        "././model/../model/config.json",
        whole.as_str(),
    ] {
        let run = run(&["realpath", word]).exits(0);
        assert!(run.stdout.contains("weighbridge-"), "{word}: {run:?}");
    }
    for command in [
        &["true"][..],
        &["sh", "-c", "cat ./model/config.json"],
        &["sh", "-c", "cat {} ./model/x"],
    ] {
        run(command).exits(2);
    }
    let run = run(&["env", "X={}"]).exits(0);
    assert!(
        !run.stdout.contains("secret-of-a-test") && run.stdout.contains("X=/"),
        "{run:?}"
    );
}
