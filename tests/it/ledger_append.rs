//! Many processes that append to one ledger in a directory, and writers without the log key.

use std::collections::HashSet;

use crate::support::Workspace;

#[test]
fn processes_share_batches_and_lose_nothing() {
    let workspace = Workspace::released();
    let (processes, each) = (8, 25);
    let children: Vec<_> = (0..processes)
        .map(|process| {
            let lines: Vec<String> = (0..each).map(|n| format!("{process} {n}\n")).collect();
            let name = format!("lines-{process}");
            workspace.write(&name, lines.concat());
            let args = [
                "ledger", "append", "--opaque", "--batch", "1", "--lines", &name,
            ];
            let mut command = workspace.command(args);
            command
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut indices = HashSet::new();
    for (process, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for (n, line) in String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .enumerate()
        {
            let index: u64 = line.parse().unwrap();
            assert!(indices.insert(index), "index {index} was given twice");
            let entry = workspace
                .run(["ledger", "show", line, "--raw"])
                .exits(0)
                .stdout;
            assert_eq!(entry, format!("{process} {n}"));
        }
    }
    assert_eq!(indices.len(), processes * each);
    // What waited while another wrote was committed together.
    let slots = std::fs::read_dir(workspace.path("ledger/_commit"))
        .unwrap()
        .count();
    assert!(slots < processes * each, "{slots} slots");
    assert_eq!(
        std::fs::read_dir(workspace.path("ledger/_inbox")).map_or(0, Iterator::count),
        0
    );
    workspace.run(["ledger", "fsck"]).exits(0);

    // Once more: every entry has its index already.
    let again = workspace
        .run(["ledger", "append", "--opaque", "--lines", "lines-3"])
        .exits(0);
    let again: Vec<u64> = again
        .stdout
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(again.len(), each);
    assert!(again.iter().all(|index| indices.contains(index)));
    workspace
        .run(["ledger", "fsck"])
        .exits(0)
        .says("201 entries");
}

#[test]
fn whoever_has_no_log_key_commits_and_a_publisher_follows() {
    let workspace = Workspace::released();
    workspace
        .shell("mv keys/log.key.pem away.pem; sed -i '/^log_key/d' weighbridge.toml")
        .exits(0);
    workspace.write("other", "x");
    let run = workspace.shell("weighbridge sign --record model").exits(0);
    let run = run.says("readers see it once `weighbridge ledger publish` has run");
    assert_eq!(run.stdout, "1\n");
    workspace
        .run(["ledger", "append", "--opaque", "other"])
        .exits(0);
    workspace
        .run([
            "ledger",
            "append",
            "--ack",
            "published",
            "--opaque",
            "other",
        ])
        .exits(2)
        .says("takes the log key");
    workspace
        .run(["sign", "--record", "--receipt", "r", "model"])
        .exits(2)
        .says("a receipt takes a published checkpoint");
    workspace
        .run(["ledger", "publish"])
        .exits(2)
        .says("names none");
    workspace.run(["ledger", "log"]).exits(0).says("1 entries");
    workspace
        .run(["ledger", "fsck"])
        .exits(0)
        .says("committed and not published yet");
    // An entry that is committed already has its index, though nobody sees it yet.
    assert_eq!(
        workspace
            .run(["ledger", "append", "--opaque", "other"])
            .exits(0)
            .stdout,
        "2\n"
    );

    workspace
        .shell("mv away.pem keys/log.key.pem; printf 'log_key = \"keys/log.key.pem\"\\n' >> weighbridge.toml")
        .exits(0);
    let publish = workspace.run(["ledger", "publish"]).exits(0);
    assert!(
        publish.stdout.contains(" 3 ") && publish.stdout.contains("(+2)"),
        "{publish:?}"
    );
    workspace.gate().exits(0);
    workspace.run(["ledger", "publish"]).exits(0).says("(+0)");
}

#[test]
fn only_what_a_gate_would_count_is_appended_unless_asked() {
    let workspace = Workspace::released();
    let stranger = Workspace::released();
    workspace
        .shell("weighbridge ledger show 0 --raw > own.dsse")
        .exits(0);
    assert_eq!(
        workspace
            .run(["ledger", "append", "own.dsse"])
            .exits(0)
            .stdout,
        "0\n"
    );
    let entry = stranger.run(["ledger", "show", "0", "--raw"]).stdout;
    workspace.write("strange.dsse", entry);
    workspace
        .run(["ledger", "append", "strange.dsse"])
        .exits(1)
        .says("not by a trusted key");
    workspace.write("junk", "junk");
    workspace
        .run(["ledger", "append", "own.dsse", "junk"])
        .exits(1)
        .says("not a signed envelope");
    // What stood before the refused entry is in the log, and is told.
    let refused = workspace.run(["--json", "ledger", "append", "own.dsse", "junk"]);
    let json = refused.exits(1).json();
    assert_eq!(json["error"]["kind"], "refused");
    assert_eq!(json["done"]["indices"], serde_json::json!([0]));
    // A record is nothing without its manifest.
    workspace
        .shell("weighbridge ledger show 0 --manifest > manifest; rm -r ledger/blob")
        .exits(0);
    workspace
        .run(["ledger", "append", "own.dsse"])
        .exits(1)
        .says("is not in the ledger");
    workspace
        .run(["ledger", "append", "--blob", "manifest", "own.dsse"])
        .exits(0);
    workspace.write("empty", "");
    workspace
        .run(["ledger", "append", "--opaque", "empty"])
        .exits(2)
        .says("outside the limits");
    workspace.write("large", vec![b'x'; 65_536]);
    workspace
        .run(["ledger", "append", "--opaque", "large"])
        .exits(2)
        .says("65535");
    workspace
        .run(["ledger", "--ledger", "ledger", "append", "own.dsse"])
        .exits(2)
        .says("do not apply");
    let json = workspace
        .run(["--json", "ledger", "append", "own.dsse"])
        .exits(0)
        .stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["indices"], serde_json::json!([0]));
    workspace.run(["ledger", "fsck"]).exits(0).says("1 entries");
}

#[test]
fn the_ledger_of_another_log_is_not_taken_for_ones_own() {
    let (workspace, stranger) = (Workspace::released(), Workspace::released());
    workspace.run(["ledger", "init"]).exits(0).says("is there");
    crate::support::copy_tree(&stranger.path("ledger"), &workspace.path("theirs"));
    workspace.shell("rm -r ledger; mv theirs ledger").exits(0);
    workspace
        .run(["ledger", "init", "--no-memory"])
        .exits(2)
        .says("not this log's");
}

/// Full, read-only: the writer says so, what was acknowledged is there, and the next one goes on.
#[test]
fn a_full_or_read_only_file_system_is_said_and_survived() {
    let workspace = Workspace::released();
    let mounted = workspace.shell(
        "mkdir small; mount -t tmpfs -o size=300k tmpfs small 2>/dev/null && echo yes || echo no",
    );
    if mounted.stdout.trim() != "yes" {
        eprintln!("skipped: a file system cannot be mounted here");
        return;
    }
    let unmount = || workspace.shell("umount small 2>/dev/null || umount -l small");
    let outcome = std::panic::catch_unwind(|| {
        workspace
            .shell("cp -r ledger small/ledger; rm -r ledger; ln -s small/ledger ledger")
            .exits(0);
        let lines: Vec<String> = (0..400)
            .map(|n| format!("{n} {}\n", "x".repeat(1000)))
            .collect();
        workspace.write("lines", lines.concat());
        let run = workspace.run([
            "ledger", "append", "--opaque", "--batch", "5", "--lines", "lines",
        ]);
        let run = run.exits(2).says("No space left on device");
        let acknowledged = run.stdout.lines().count();
        assert!(acknowledged > 0, "{run:?}");
        workspace.shell("mount -o remount,size=4m small").exits(0);
        for line in run.stdout.lines() {
            workspace.run(["ledger", "show", line, "--raw"]).exits(0);
        }
        workspace
            .run(["ledger", "append", "--opaque", "--lines", "lines"])
            .exits(0);
        workspace
            .run(["ledger", "fsck"])
            .exits(0)
            .says("401 entries");
        workspace.shell("mount -o remount,ro small").exits(0);
        workspace
            .run(["ledger", "append", "--opaque", "weighbridge.toml"])
            .exits(2)
            .says("Read-only file system");
        workspace.gate().exits(0);
        workspace.run(["ledger", "fsck"]).exits(0);
    });
    unmount();
    outcome.unwrap();
}

/// A slot larger than any slot can be is void: it wedges nobody.
#[test]
fn an_oversized_slot_is_void() {
    let workspace = Workspace::released();
    workspace
        .shell("truncate -s 68000000 ledger/_commit/00000000000000000001")
        .exits(0);
    workspace.write("a", "a");
    let append = ["ledger", "append", "--opaque"];
    assert_eq!(
        workspace
            .run([&append[..], &["a"]].concat())
            .exits(0)
            .stdout,
        "1\n"
    );
    workspace.run(["ledger", "publish"]).exits(0);
    workspace.run(["ledger", "fsck"]).exits(0).says("is void");
}

/// What an index says is believed only if the log says so too.
#[test]
fn an_index_that_lies_makes_no_entry_vanish() {
    let workspace = Workspace::released();
    workspace.run(["ledger", "index"]).exits(0);
    for place in [0, 987_654] {
        let entry = format!("new {place}");
        workspace.write("entry", &entry);
        workspace
            .shell(&format!(
                "python3 -c 'import sqlite3, hashlib; c = sqlite3.connect(\"ledger/index.sqlite\"); \
                 c.execute(\"insert into leaf values (?, ?)\", (hashlib.sha256(b\"\\0{entry}\").digest(), {place})); \
                 c.commit()'"
            ))
            .exits(0);
        let run = workspace
            .run(["ledger", "append", "--opaque", "entry"])
            .exits(0);
        let index = run.stdout.trim();
        assert_eq!(
            workspace
                .run(["ledger", "show", index, "--raw"])
                .exits(0)
                .stdout,
            entry
        );
    }
    workspace.run(["ledger", "fsck"]).exits(0).says("3 entries");
}

/// A request that cannot be read, and answers that nobody fetched, stop nobody.
#[test]
fn junk_in_the_inbox_stops_nobody() {
    let workspace = Workspace::released();
    workspace
        .shell("mkdir ledger/_inbox; ln -s nowhere ledger/_inbox/a; printf x > ledger/_inbox/b; for n in $(seq 1100); do : > ledger/_inbox/$n.done; done")
        .exits(0);
    workspace.write("entry", "entry");
    assert_eq!(
        workspace
            .run(["ledger", "append", "--opaque", "entry"])
            .exits(0)
            .stdout,
        "1\n"
    );
    assert_eq!(workspace.shell("ls ledger/_inbox").stdout, "a\n");
    workspace
        .run(["ledger", "fsck"])
        .exits(0)
        .says("waits to be appended");
}

/// A publisher that goes on while its ledger is put back to an older state does not sign a fork.
#[test]
fn a_running_publisher_does_not_follow_a_ledger_that_was_put_back() {
    let workspace = Workspace::released();
    crate::support::copy_tree(&workspace.path("ledger"), &workspace.path("backup"));
    for name in ["a", "b", "c", "d"] {
        workspace.write(name, name);
    }
    workspace
        .run(["ledger", "append", "--opaque", "a", "b"])
        .exits(0);
    let mut command = workspace.command(["ledger", "publish", "--every", "200ms"]);
    command.stderr(std::process::Stdio::piped());
    let publisher = command.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    workspace.shell("rm -r ledger; mv backup ledger").exits(0);
    workspace
        .run([
            "ledger",
            "append",
            "--ack",
            "committed",
            "--opaque",
            "c",
            "d",
        ])
        .exits(0);
    let output = publisher.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the ledger was replaced"), "{said}");
    assert_eq!(output.status.code(), Some(2));
    workspace.run(["ledger", "log"]).exits(0).says("1 entries");
}
