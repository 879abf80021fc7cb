//! Several processes on one ledger, killed at random: every index that was printed is there, once.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{Run, Workspace, copy_tree, now, peer, tool};

fn append(workspace: &Workspace, version: &str) -> Child {
    workspace
        .command([
            "record",
            "release",
            "--quiet",
            "--version",
            version,
            "model",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The versions in the ledger by index.
fn versions(workspace: &Workspace) -> Vec<String> {
    let size = workspace
        .run(["ledger", "checkpoint", "--json"])
        .exits(0)
        .json()["size"]
        .as_u64();
    let version = |index: u64| {
        let shown = workspace
            .run(["ledger", "show", &index.to_string()])
            .exits(0)
            .json();
        shown["predicate"]["version"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (0..size.unwrap()).map(version).collect()
}

#[test]
fn two_processes_at_once_both_get_their_record_and_proof() {
    let workspace = Workspace::released();
    for round in 0..5 {
        let names = [format!("{round}-a"), format!("{round}-b")];
        let children: Vec<Child> = names.iter().map(|name| append(&workspace, name)).collect();
        let indices: Vec<String> = children
            .into_iter()
            .map(|child| {
                Run::from(child.wait_with_output().unwrap())
                    .exits(0)
                    .stdout
                    .trim()
                    .into()
            })
            .collect();
        assert_ne!(indices[0], indices[1]);
        for (name, index) in names.iter().zip(&indices) {
            let shown = workspace.run(["ledger", "show", index]).exits(0).json();
            assert_eq!(shown["predicate"]["version"], **name);
            let receipt = format!("{name}.tlog-proof");
            workspace
                .run(["ledger", "prove", index, "--out", &receipt])
                .exits(0);
            workspace.run(["ledger", "verify", &receipt]).exits(0);
        }
    }
    workspace
        .run(["ledger", "fsck"])
        .exits(0)
        .says("11 entries");
}

/// Writers are killed at random moments; readers look on. Acknowledged means there, for good.
#[test]
fn writers_killed_at_random_lose_nothing_that_was_acknowledged() {
    let workspace = Workspace::released();
    let mut seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |now| now.as_secs() | 1);
    if let Some(given) = std::env::var("WEIGHBRIDGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        seed = given;
    }
    eprintln!("WEIGHBRIDGE_SEED={seed}");
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut acknowledged = BTreeMap::new();
    for round in 0..60 {
        let names: Vec<String> = (0..3).map(|writer| format!("{round}-{writer}")).collect();
        let mut children: Vec<Child> = names.iter().map(|name| append(&workspace, name)).collect();
        for child in &mut children {
            if random() % 2 == 0 {
                std::thread::sleep(Duration::from_micros(random() % 12_000));
                // SIGKILL; a child that is done already is left alone.
                child.kill().unwrap();
            }
        }
        let _ = workspace.run(["ledger", "log", "--quiet"]).exits(0);
        for (name, child) in names.into_iter().zip(children) {
            let run = Run::from(child.wait_with_output().unwrap());
            if let Some(index) = run.stdout.strip_suffix('\n') {
                acknowledged.insert(index.parse::<usize>().unwrap(), name);
            }
        }
    }
    // The next writer finishes what was committed; then everything is as it should be.
    workspace
        .run(["record", "release", "--version", "last", "model"])
        .exits(0);
    workspace.run(["ledger", "fsck"]).exits(0);
    let versions = versions(&workspace);
    for (index, name) in &acknowledged {
        assert_eq!(versions.get(*index), Some(name));
    }
    let mut once = versions.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), versions.len(), "a record is there twice");
    assert!(
        !acknowledged.is_empty() && acknowledged.len() < 180,
        "{}",
        acknowledged.len()
    );
    tlogcheck(&workspace);
}

/// The Go checksum database's own code reads our log: checkpoint, every tile, older checkpoints.
#[test]
fn an_independent_verifier_reads_our_log() {
    let workspace = Workspace::released();
    std::fs::copy(workspace.path("ledger/checkpoint"), workspace.path("old")).unwrap();
    let store = weighbridge::ledger::DirectoryStore::new(&workspace.path("big"));
    let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    let signer = weighbridge::cosignature::LogSigner::new("log.example", key).unwrap();
    weighbridge::ledger::create(&store, &signer, now()).unwrap();
    for first in [0, 1, 250, 256, 257, 900] {
        let entries: Vec<Vec<u8>> = (0..120).map(|n| format!("{first} {n}").into()).collect();
        weighbridge::ledger::append(&store, &signer, &entries, now()).unwrap();
    }
    tlogcheck(&workspace);
    let Some(program) = peer("tlogcheck", "tlogcheck") else {
        return;
    };
    let vkey = signer.trust().log().to_string();
    let directory = workspace.path("big");
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command
            .arg("-dir")
            .arg(&directory)
            .args(["-vkey", &vkey, "-fsck"])
            .args(more);
        Run::from(command.output().unwrap())
    };
    run(&[]).exits(0);
    run(&["-index", "300"]).exits(0);
    let trust = signer.trust();
    // Our proofs, and a proof that fits no other entry.
    let log = weighbridge::ledger::Log::open(&store, &trust).unwrap();
    for index in [0, 255, 256, 511, 719] {
        let (entry, proof) = log.entry(index).unwrap();
        std::fs::write(workspace.path("p"), proof.encode()).unwrap();
        std::fs::write(workspace.path("e"), entry).unwrap();
        let check = || {
            let mut command = std::process::Command::new(&program);
            command
                .arg("-proof")
                .arg(workspace.path("p"))
                .arg("-entry")
                .arg(workspace.path("e"));
            Run::from(command.args(["-vkey", &vkey]).output().unwrap())
        };
        check().exits(0);
        std::fs::write(workspace.path("e"), "another").unwrap();
        check().exits(1);
    }
}

fn tlogcheck(workspace: &Workspace) {
    let Some(program) = peer("tlogcheck", "tlogcheck") else {
        return;
    };
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let vkey = policy
        .lines()
        .find_map(|line| line.strip_prefix("log weighbridge.local"));
    let vkey = format!("weighbridge.local{}", vkey.unwrap().trim_end_matches('"'));
    let mut command = std::process::Command::new(program);
    command
        .arg("-dir")
        .arg(workspace.path("ledger"))
        .args(["-vkey", &vkey, "-fsck"]);
    Run::from(command.output().unwrap()).exits(0);
}

/// Killed, or told that the disk is broken or full, at every system call of an append that can
/// leave a trace: the ledger opens, the record is wholly there or wholly absent, and the next
/// writer goes on. The method is Tessera's.
#[test]
fn with_a_fault_at_every_system_call_the_ledger_stays_whole() {
    if !tool("strace") {
        return;
    }
    let released = Workspace::released();
    for fault in ["signal=KILL", "error=EIO", "error=ENOSPC"] {
        let mut faults = 0;
        for call in [
            "openat", "openat2", "linkat", "renameat", "mkdirat", "unlinkat", "fsync", "write",
        ] {
            let count = (1..1000)
                .take_while(|&number| inject(&released, fault, call, number))
                .count();
            faults += count;
        }
        assert!(faults > 40, "{fault}: {faults} faults");
    }
}

/// Files that may not grow beyond some size: the write that would cross it is short, the next one fails.
/// Wherever that is, the ledger stays whole, and the next writer goes on.
#[test]
fn with_short_writes_the_ledger_stays_whole() {
    let released = Workspace::released();
    released
        .shell("for n in 0 1 2 3 4 5 6 7 8 9; do printf '%04000d\\n' $n; done > lines")
        .exits(0);
    let mut failed = 0;
    for blocks in (0..100).step_by(4) {
        let workspace = Workspace::new();
        for part in ["model", "keys", "ledger", "weighbridge.toml", "lines"] {
            copy_tree(&released.path(part), &workspace.path(part));
        }
        // The shell counts in blocks of 512 or of 1,024 bytes; without the trap the signal kills.
        let run = workspace.shell(&format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec weighbridge ledger append --opaque --lines lines"
        ));
        let context = format!("{blocks} blocks: {run:?}");
        assert!(matches!(run.code, 0 | 2), "{context}");
        failed += usize::from(run.code == 2);
        assert_eq!(workspace.run(["ledger", "fsck"]).code, 0, "{context}");
        let next = workspace.run(["ledger", "append", "--opaque", "--lines", "lines"]);
        assert_eq!(next.code, 0, "{context}: {next:?}");
        workspace
            .run(["ledger", "fsck"])
            .exits(0)
            .says("11 entries");
        if run.code == 0 {
            assert_eq!(run.stdout, next.stdout, "{context}");
        }
    }
    assert!((5..25).contains(&failed), "{failed} failed");
}

/// Appends to a copy of the ledger with `fault` at the call of this number, then without. Was there
/// such a call?
fn inject(released: &Workspace, fault: &str, call: &str, number: usize) -> bool {
    let workspace = Workspace::new();
    for part in ["model", "keys", "ledger", "weighbridge.toml"] {
        copy_tree(&released.path(part), &workspace.path(part));
    }
    let run = workspace.shell(&format!(
        "strace -f -qq -o trace -e trace={call} -e inject={call}:{fault}:when={number} \
         weighbridge record release --quiet --version faulty model || code=$?; \
         grep -c INJECTED trace >&2 || true; exit ${{code:-0}}"
    ));
    let context = format!("{fault} {call} {number}: {run:?}");
    assert_eq!(
        workspace.run(["ledger", "fsck", "--quiet"]).code,
        0,
        "{context}"
    );
    let next = workspace.run(["record", "release", "--quiet", "--version", "next", "model"]);
    assert_eq!(next.code, 0, "{context}: {next:?}");
    assert_eq!(
        workspace.run(["ledger", "fsck", "--quiet"]).code,
        0,
        "{context}"
    );
    // Wholly there, once, or wholly absent; and there for good if its index was printed.
    let versions = versions(&workspace);
    let expected = [vec!["", "next"], vec!["", "faulty", "next"]];
    assert!(
        expected.iter().any(|expected| *expected == versions),
        "{context}: {versions:?}"
    );
    if let Some(index) = run.stdout.strip_suffix('\n') {
        assert_eq!(
            versions.get(index.parse::<usize>().unwrap()).unwrap(),
            "faulty",
            "{context}"
        );
    }
    workspace
        .shell("test -z \"$(find . -name '.weighbridge-tmp-*')\"")
        .exits(0);
    // A killed process is not in its own trace.
    run.code != 0 || !run.stderr.trim_end().ends_with('0')
}
