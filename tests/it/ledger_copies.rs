//! Copies of a ledger, what clients remember of it, and look-ups in it.

use crate::support::{Run, Workspace, copy_tree};

/// A ledger with one release, and `more` entries that are nothing but bytes.
fn grown(more: usize) -> Workspace {
    let workspace = Workspace::released();
    append(&workspace, 0..more);
    workspace
}

fn append(workspace: &Workspace, numbers: std::ops::Range<usize>) {
    let lines: Vec<String> = numbers.map(|number| format!("line {number}")).collect();
    workspace.write("lines", lines.join("\n"));
    workspace
        .run(["ledger", "append", "--opaque", "--lines", "lines"])
        .exits(0);
}

fn with_memory(workspace: &Workspace, args: &[&str]) -> Run {
    let state = workspace.path("state");
    let mut command = workspace.command(args);
    command.env("XDG_STATE_HOME", state);
    command.output().unwrap().into()
}

#[test]
fn a_rolled_back_ledger_is_refused_by_whoever_saw_more() {
    let workspace = grown(3);
    copy_tree(&workspace.path("ledger"), &workspace.path("older"));
    append(&workspace, 3..5);
    let gate = ["gate", "model"];
    with_memory(&workspace, &gate)
        .exits(0)
        .says("nothing is remembered of it");
    assert!(
        !with_memory(&workspace, &gate)
            .exits(0)
            .stdout
            .contains("nothing is remembered")
    );
    std::fs::rename(workspace.path("ledger"), workspace.path("newer")).unwrap();
    copy_tree(&workspace.path("older"), &workspace.path("ledger"));
    with_memory(&workspace, &gate)
        .exits(1)
        .says("ledger.remembered")
        .says("rolled back: it has 4 entries, and a checkpoint of 6 was seen before");
    for verb in [
        ["ledger", "log"].as_slice(),
        &["ledger", "prove", "0"],
        &["ledger", "fsck"],
        &["ledger", "mirror", "copy"],
        // What would be signed now would be a fork.
        &["ledger", "append", "--opaque", "lines"],
        &["record", "release", "model"],
    ] {
        with_memory(&workspace, verb).exits(1).says("rolled back");
    }
    assert!(!workspace.path("copy").exists());
    // Whoever saw nothing, or wants to look on purpose, is not hindered.
    workspace.gate().exits(0);
    with_memory(&workspace, &["--no-memory", "gate", "model"]).exits(0);
    // What cannot be kept is a warning.
    workspace.write("file", "x");
    workspace
        .run(["--state-dir", "file", "gate", "model"])
        .exits(0)
        .says("is not remembered");
}

#[test]
fn a_forked_ledger_is_refused_and_both_notes_are_kept() {
    let one = grown(2);
    let gate = ["gate", "model"];
    with_memory(&one, &gate).exits(0);
    // The same keys sign another history from the second entry on.
    copy_tree(&one.path("ledger"), &one.path("base"));
    append(&one, 10..12);
    with_memory(&one, &gate).exits(0);
    std::fs::rename(one.path("ledger"), one.path("one")).unwrap();
    copy_tree(&one.path("base"), &one.path("ledger"));
    for (numbers, size) in [(20..22, 5), (22..25, 8)] {
        append(&one, numbers);
        with_memory(&one, &gate)
            .exits(1)
            .says("ledger.remembered")
            .says("was forked: it has");
        let log = with_memory(&one, &["ledger", "log"]).exits(1);
        let log = log.says("shown now").says("seen before");
        assert!(log.stderr.contains(&format!("\n  {size}\n")), "{log:?}");
    }
    let kept = one
        .shell("cat state/weighbridge/checkpoints/*/fork-* | grep -c '^# '")
        .stdout;
    assert_eq!(kept.trim(), "4");
    let json = with_memory(&one, &["gate", "--json", "model"]).exits(1);
    assert!(json.stdout.contains("\"ledger.remembered\""), "{json:?}");
}

#[test]
fn a_pin_holds_without_any_memory() {
    let workspace = grown(1);
    copy_tree(&workspace.path("ledger"), &workspace.path("older"));
    append(&workspace, 1..3);
    workspace
        .run(["ledger", "pin"])
        .exits(0)
        .says("at 4 entries");
    workspace.gate().exits(0);
    append(&workspace, 3..4);
    workspace.gate().exits(0);
    std::fs::rename(workspace.path("ledger"), workspace.path("newer")).unwrap();
    copy_tree(&workspace.path("older"), &workspace.path("ledger"));
    workspace.gate().exits(1).says("rolled back");
    workspace
        .run(["ledger", "pin"])
        .exits(1)
        .says("rolled back");
    append_fails(&workspace);
    std::fs::remove_dir_all(workspace.path("ledger")).unwrap();
    std::fs::rename(workspace.path("newer"), workspace.path("ledger")).unwrap();
    workspace
        .run(["ledger", "pin"])
        .exits(0)
        .says("at 5 entries");
    // A pin that is damaged is no pin to do without.
    workspace.write("ledger.lock", "x");
    workspace.gate().exits(2).says("ledger.lock");
}

fn append_fails(workspace: &Workspace) {
    workspace
        .run(["ledger", "append", "--opaque", "lines"])
        .exits(1)
        .says("rolled back");
}

#[test]
fn a_log_goes_into_one_file_and_out_of_it() {
    let workspace = grown(600);
    workspace
        .shell("weighbridge ledger policy > log.policy")
        .exits(0);
    workspace
        .run(["ledger", "export", "log.tar"])
        .exits(0)
        .says("at 601 entries");
    workspace.run(["ledger", "export", "again.tar"]).exits(0);
    workspace.shell("cmp log.tar again.tar").exits(0);
    // A tile that the entries do not imply is not carried on.
    let tile = workspace.path("ledger/tile/0/000");
    let good = std::fs::read(&tile).unwrap();
    let mut bad = good.clone();
    bad[40] ^= 1;
    std::fs::write(&tile, bad).unwrap();
    workspace
        .run(["ledger", "export", "bad.tar"])
        .exits(2)
        .says("tile/0/000: is not what the entries imply");
    assert!(!workspace.path("bad.tar").exists());
    std::fs::write(&tile, good).unwrap();
    // Other programs read it, and what they extract is a log.
    workspace
        .shell("mkdir x; tar -xf log.tar -C x; weighbridge ledger --ledger x --trust log.policy fsck --copy")
        .exits(0)
        .says("601 entries");
    let import = |file: &str, target: &str| {
        workspace.run([
            "ledger",
            "--ledger",
            "x",
            "--trust",
            "log.policy",
            "import",
            file,
            target,
        ])
    };
    import("log.tar", "copy").exits(0).says("0 -> 601");
    workspace
        .shell("weighbridge ledger --ledger copy --trust log.policy fsck --copy; diff -r x copy")
        .exits(0);
    import("log.tar", "copy").exits(0).says("601 -> 601");
    append(&workspace, 600..700);
    workspace.run(["ledger", "export", "newer.tar"]).exits(0);
    import("newer.tar", "copy").exits(0).says("601 -> 701");
    import("log.tar", "copy").exits(1).says("rolled back");

    let good = workspace.read("log.tar");
    for at in (0..good.len()).step_by(good.len() / 61) {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        workspace.write("bad.tar", bad);
        let run = import("bad.tar", "never");
        assert!(run.code == 1 || run.code == 2, "byte {at}: {run:?}");
        assert!(!workspace.path("never").exists(), "byte {at}");
    }
    for (bad, says) in [
        (good[..good.len() - 1].to_vec(), "cut off"),
        (good[..512].to_vec(), "ends in the middle"),
        ([good.as_slice(), b"x"].concat(), "goes on after its end"),
        (Vec::new(), "cut off"),
    ] {
        workspace.write("bad.tar", bad);
        import("bad.tar", "never").exits(1).says(says);
    }
    workspace
        .shell("mkdir y; echo > y/checkpoint; tar -cf evil.tar -P ../../../etc/hostname y/checkpoint 2>/dev/null || tar -cf evil.tar y/checkpoint")
        .exits(0);
    import("evil.tar", "never")
        .exits(1)
        .says("is not the archive of a log");
    let left = workspace.shell("ls -a | grep -c importing || true").stdout;
    assert_eq!(left.trim(), "0");
}

#[test]
fn a_mirror_follows_and_takes_nothing_that_does_not_go_on() {
    let workspace = grown(300);
    let mirror = || workspace.run(["ledger", "mirror", "copy"]);
    mirror().exits(0).says("0 -> 301 entries, verified");
    mirror().exits(0).says("301 -> 301");
    append(&workspace, 300..900);
    mirror().exits(0).says("301 -> 901");
    workspace
        .shell("weighbridge ledger policy > log.policy; weighbridge ledger --ledger copy --trust log.policy fsck --copy")
        .exits(0)
        .says("901 entries");
    workspace
        .shell("weighbridge ledger --ledger copy --trust log.policy show 0 --manifest")
        .exits(0);
    // Damaged entries never reach the copy.
    append(&workspace, 900..1000);
    let bundle = workspace.path("ledger/tile/entries/003.p/233");
    let good = std::fs::read(&bundle).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&bundle, bad).unwrap();
    let before = workspace.read("copy/checkpoint");
    mirror().exits(2).says("do not lead to the signed root");
    assert_eq!(workspace.read("copy/checkpoint"), before);
    std::fs::write(&bundle, good).unwrap();
    mirror().exits(0).says("901 -> 1001");
    workspace
        .shell("weighbridge ledger --ledger copy --trust log.policy fsck --copy")
        .exits(0);
}

#[test]
fn the_index_finds_what_the_log_holds_and_repairs_itself() {
    let workspace = grown(5);
    let hash = workspace.run(["hash", "--json", "model"]);
    let show = workspace.run(["ledger", "show", "0"]).exits(0).stdout;
    let statement: serde_json::Value = serde_json::from_str(&show).unwrap();
    let digest = statement["subject"][0]["digest"]["dirHash1"]
        .as_str()
        .unwrap();
    let key = statement["predicate"]["actor"]["keyId"].as_str();
    let key = key
        .or(statement["predicate"]["actor"]["key_id"].as_str())
        .unwrap();
    assert_eq!(hash.code, 0);
    let find = |args: &[&str]| workspace.run([&["ledger", "find"], args].concat());
    for args in [
        ["--digest", digest].as_slice(),
        &["--digest", &format!("dirHash1:{digest}")],
        &["--lineage", digest],
        &["--key", key],
        &["--kind", "release", "--role", "developer"],
        &[
            "--since",
            "2020-01-01T00:00:00Z",
            "--until",
            "2100-01-01T00:00:00Z",
        ],
    ] {
        let run = find(args).exits(0).says("1 record of 6 entries");
        assert!(run.stdout.starts_with("0  "), "{args:?}: {run:?}");
    }
    let none = "0".repeat(64);
    for args in [
        ["--digest", none.as_str()].as_slice(),
        &["--kind", "acquire"],
        &["--until", "2020-01-01T00:00:00Z"],
        &["--host", "example.org"],
    ] {
        find(args).exits(1).says("no record of 6 entries");
    }
    assert!(workspace.path("ledger/index.sqlite").exists());
    workspace.run(["ledger", "fsck"]).exits(0);

    // Rows that are gone, another log's index, junk, an index that is ahead.
    let other = grown(2);
    other.run(["ledger", "index"]).exits(0);
    let sqlite = |script: &str| {
        workspace
            .shell(&format!(
                "python3 -c 'import sqlite3; c = sqlite3.connect(\"ledger/index.sqlite\"); c.execute(\"{script}\"); c.commit()'"
            ))
            .exits(0);
    };
    let rebuilt = || {
        workspace
            .run(["ledger", "index"])
            .exits(0)
            .says("built anew: it did not belong to the log");
        find(&["--digest", digest]).exits(0);
    };
    sqlite("delete from mention");
    rebuilt();
    sqlite("delete from record where entry = 0");
    rebuilt();
    sqlite("update state set subtrees = zeroblob(64)");
    rebuilt();
    sqlite("update state set size = 7");
    rebuilt();
    workspace.shell("rm ledger/index.sqlite*").exits(0);
    std::fs::copy(
        other.path("ledger/index.sqlite"),
        workspace.path("ledger/index.sqlite"),
    )
    .unwrap();
    rebuilt();
    for junk in [vec![7; 5000], b"SQLite format 3\0".to_vec()] {
        workspace.shell("rm ledger/index.sqlite*").exits(0);
        workspace.write("ledger/index.sqlite", junk);
        find(&["--digest", digest])
            .exits(0)
            .says("1 record of 6 entries");
    }
    append(&workspace, 5..9);
    workspace
        .run(["ledger", "index"])
        .exits(0)
        .says("10 entries");
    workspace
        .run(["ledger", "index", "--rebuild"])
        .exits(0)
        .says("0 -> 10 entries");
}

#[test]
fn only_what_nobody_names_is_pruned_and_only_if_the_policy_says_so() {
    let workspace = grown(300);
    let orphan = "blob/sha256/2d/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    workspace.shell("mkdir -p ledger/blob/sha256/2d; printf x > ledger/blob/sha256/2d/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881").exits(0);
    workspace
        .run(["ledger", "prune"])
        .exits(2)
        .says("allows nothing");
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let allow = |what: &str| {
        let rule = format!("path = \"ledger\"\nprune = {what}");
        workspace.write(
            "weighbridge.toml",
            policy.replace("path = \"ledger\"", &rule),
        );
    };
    allow("[\"entries\"]");
    workspace
        .run(["ledger", "prune"])
        .exits(2)
        .says("unknown variant");
    allow("[\"blobs\", \"partials\"]");
    // As a publisher on a bucket leaves them.
    workspace
        .shell("mkdir ledger/tile/0/000.p; head -c 32 ledger/tile/0/000 > ledger/tile/0/000.p/1")
        .exits(0);
    let listed = workspace
        .run(["ledger", "prune"])
        .exits(0)
        .says("2 files would go")
        .stdout;
    assert_eq!(listed, format!("{orphan}\ntile/0/000.p/1\n"));
    workspace
        .run(["ledger", "prune", "--yes"])
        .exits(0)
        .says("removed 2 files");
    assert!(!workspace.path("ledger").join(orphan).exists());
    workspace
        .run(["ledger", "prune"])
        .exits(0)
        .says("0 files would go");
    workspace.run(["ledger", "fsck"]).exits(0);
    workspace.gate().exits(0);
    // What cannot be read may name anything.
    let bundle = workspace.path("ledger/tile/entries/000");
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    workspace.run(["ledger", "prune", "--yes"]).exits(2);
    workspace
        .run(["ledger", "show", "0", "--manifest"])
        .exits(2);
}

/// A memory that cannot be written is still a memory.
#[test]
fn a_fork_is_refused_where_nothing_can_be_kept() {
    let workspace = grown(1);
    copy_tree(&workspace.path("ledger"), &workspace.path("base"));
    append(&workspace, 1..2);
    with_memory(&workspace, &["gate", "model"]).exits(0);
    std::fs::rename(workspace.path("ledger"), workspace.path("one")).unwrap();
    copy_tree(&workspace.path("base"), &workspace.path("ledger"));
    append(&workspace, 7..8);
    // Nobody may write here, root neither.
    let spoil = "cd state/weighbridge/checkpoints/*; rm lock; mkdir lock";
    workspace.shell(spoil).exits(0);
    with_memory(&workspace, &["gate", "model"])
        .exits(1)
        .says("was forked");
    with_memory(&workspace, &["ledger", "log"])
        .exits(1)
        .says("was forked");
}

/// Signing anew what somebody has seen would be a fork.
#[test]
fn a_known_log_is_not_begun_again() {
    let workspace = grown(2);
    workspace.run(["ledger", "pin"]).exits(0);
    workspace
        .shell("rm -r ledger; mkdir ledger; echo torn > ledger/checkpoint")
        .exits(0);
    workspace
        .run(["ledger", "publish", "--rebuild"])
        .exits(2)
        .says("do not go on from the 3 that were seen before");
    workspace.shell("rm -r ledger").exits(0);
    workspace
        .run(["ledger", "init"])
        .exits(2)
        .says("was seen with 3 entries");
    // An import leaves the pin alone, and takes nothing that contradicts it.
    let other = grown(0);
    other.run(["ledger", "export", "log.tar"]).exits(0);
    std::fs::copy(other.path("log.tar"), workspace.path("log.tar")).unwrap();
    assert_ne!(
        workspace
            .run(["ledger", "import", "log.tar", "ledger"])
            .code,
        0
    );
    assert!(workspace.path("ledger.lock").exists());
    assert!(!workspace.path("ledger").exists());
}

/// An older checkpoint over the tiles of a newer one is stale, not a crime; the next writer heals it.
#[test]
fn a_stale_checkpoint_is_inconclusive_and_healed() {
    let workspace = grown(2);
    let older = workspace.read("ledger/checkpoint");
    append(&workspace, 2..5);
    with_memory(&workspace, &["gate", "model"]).exits(0);
    workspace.write("ledger/checkpoint", older);
    with_memory(&workspace, &["gate", "model"])
        .exits(2)
        .says("is stale");
    with_memory(&workspace, &["ledger", "log"])
        .exits(2)
        .says("is stale");
    with_memory(&workspace, &["ledger", "publish"])
        .exits(0)
        .says("(+3)");
    with_memory(&workspace, &["gate", "model"]).exits(0);
}
