//! A ledger that was damaged or altered is never taken for a sound one.

use std::path::{Path, PathBuf};

use crate::support::{Workspace, copy_tree};

/// A ledger with two full tiles and a partial one would take minutes to damage bit by bit; this one
/// has every kind of file.
fn workspace() -> Workspace {
    let workspace = Workspace::released();
    for version in ["1", "2"] {
        workspace
            .run(["record", "release", "--version", version, "model"])
            .exits(0);
    }
    workspace
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn fsck(workspace: &Workspace) -> crate::support::Run {
    workspace.run(["ledger", "fsck"])
}

/// One bit flipped, anywhere in any file: `fsck` names the file; the gate never passes by a record
/// it cannot prove.
#[test]
fn a_flipped_bit_anywhere_is_found_and_named() {
    let workspace = workspace();
    fsck(&workspace).exits(0);
    let mut flipped = 0;
    for path in files(&workspace.path("ledger")) {
        let original = std::fs::read(&path).unwrap();
        let name = path
            .strip_prefix(workspace.path("ledger"))
            .unwrap()
            .display()
            .to_string();
        // The index is no part of the log; it is held against the log wherever it is used.
        if name.starts_with("index.sqlite") {
            continue;
        }
        // Every byte of small files, every 97th of larger ones, and the last.
        let step = if original.len() < 300 { 7 } else { 97 };
        let positions = (0..original.len())
            .step_by(step)
            .chain(original.len().checked_sub(1));
        for position in positions {
            let mut damaged = original.clone();
            damaged[position] ^= 1 << (position % 8);
            std::fs::write(&path, &damaged).unwrap();
            let run = fsck(&workspace);
            assert_ne!(run.code, 0, "{name} byte {position}");
            let expected = if name == "checkpoint" {
                "checkpoint"
            } else {
                &name
            };
            assert!(
                run.stderr.contains(expected),
                "{name} byte {position}: {run:?}"
            );
            flipped += 1;
        }
        std::fs::write(&path, &original).unwrap();
    }
    assert!(flipped > 150, "{flipped}");
    fsck(&workspace).exits(0);
}

/// What the gate reads, damaged: inconclusive, never a pass.
#[test]
fn the_gate_does_not_pass_by_a_damaged_ledger() {
    let workspace = workspace();
    for name in ["checkpoint", "tile/entries/000.p/3", "tile/0/000.p/3"] {
        let path = workspace.path("ledger").join(name);
        let original = std::fs::read(&path).unwrap();
        for position in (0..original.len()).step_by(61) {
            let mut damaged = original.clone();
            damaged[position] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            workspace.gate().exits(2).says("unknown");
        }
        // Truncated, empty, longer, missing.
        for damaged in [
            &original[..original.len() - 1],
            &[],
            &[original.as_slice(), b"x"].concat(),
        ] {
            std::fs::write(&path, damaged).unwrap();
            workspace.gate().exits(2);
            assert_ne!(fsck(&workspace).code, 0, "{name}");
        }
        std::fs::remove_file(&path).unwrap();
        workspace.gate().exits(2);
        assert_ne!(fsck(&workspace).code, 0, "{name}");
        std::fs::write(&path, &original).unwrap();
    }
    workspace.gate().exits(0);
}

#[test]
fn a_truncated_tile_stops_the_next_append_and_loses_nothing() {
    let workspace = workspace();
    let tile = workspace.path("ledger/tile/0/000.p/3");
    let original = std::fs::read(&tile).unwrap();
    std::fs::write(&tile, &original[..40]).unwrap();
    workspace
        .run(["record", "release", "model"])
        .exits(2)
        .says("tile/0/000.p/3");
    fsck(&workspace)
        .exits(1)
        .says("tile/0/000.p/3: has 40 bytes, not 96");
    std::fs::write(&tile, &original).unwrap();
    assert_eq!(
        workspace
            .run(["record", "release", "model"])
            .exits(0)
            .stdout,
        "3\n"
    );
    fsck(&workspace).exits(0);
}

#[test]
fn what_does_not_belong_there_is_named() {
    let workspace = workspace();
    for (path, says) in [
        ("stranger", "stranger: does not belong"),
        ("tile/0/0001", "is not the name of a tile"),
        ("tile/9/000", "ahead of everything that was committed"),
        ("blob/sha256/ab/cdef", "its content has digest"),
    ] {
        workspace.write(&format!("ledger/{path}"), "x");
        let run = fsck(&workspace).says(says);
        assert_eq!(run.code, 1, "{path}");
        std::fs::remove_file(workspace.path("ledger").join(path)).unwrap();
    }
    // A slot that somebody wrote ahead has no place yet, and stops nobody.
    workspace.write("ledger/_commit/00000000000000000007", "x");
    fsck(&workspace)
        .exits(0)
        .says("expected _commit/00000000000000000003");
    // A symbolic link to the very bytes is followed by nobody who reads the ledger over HTTP.
    workspace.shell("cd ledger; rm -r _commit").exits(0);
    fsck(&workspace)
        .exits(1)
        .says("_commit: the slots from here on do not hold entries 0 to 3");
    workspace.run(["ledger", "fsck", "--copy"]).exits(0);
}

/// A manifest that a record names is part of the evidence: gone or damaged, it is missed, and no new
/// record names it.
#[test]
fn manifests_are_missed_and_not_named_when_damaged() {
    let workspace = workspace();
    let blobs = files(&workspace.path("ledger/blob"));
    let original = std::fs::read(&blobs[0]).unwrap();
    std::fs::write(&blobs[0], "damaged").unwrap();
    workspace
        .run(["record", "release", "model"])
        .exits(2)
        .says("has another digest");
    std::fs::remove_file(&blobs[0]).unwrap();
    fsck(&workspace)
        .exits(1)
        .says("is missing: record 0 names it");
    let report = workspace.run(["ledger", "fsck", "--json"]).exits(1).json();
    assert_eq!(report["problems"].as_array().unwrap().len(), 3);
    std::fs::write(&blobs[0], original).unwrap();
    fsck(&workspace).exits(0);
    // A link to the very bytes is not the file.
    workspace
        .shell("cd ledger/tile/0/000.p; mv 3 ../../../../3; ln -s ../../../../3 3")
        .exits(0);
    fsck(&workspace).exits(1).says("tile/0/000.p/3");
}

/// Rewriting the past and signing it again with the log's own key is seen by whoever kept a
/// checkpoint: the consistency proof fails.
#[test]
fn a_rewritten_log_is_not_consistent_with_its_past() {
    let workspace = workspace();
    let before = workspace
        .run(["ledger", "prove", "--consistency", "2"])
        .exits(0)
        .json();
    let forked = Workspace::new();
    for part in ["model", "keys", "weighbridge.toml"] {
        copy_tree(&workspace.path(part), &forked.path(part));
    }
    forked.run(["ledger", "init"]).exits(0);
    for version in ["x", "y", "z"] {
        forked
            .run(["record", "release", "--version", version, "model"])
            .exits(0);
    }
    let after = forked
        .run(["ledger", "prove", "--consistency", "2"])
        .exits(0)
        .json();
    assert_eq!(before["new"]["size"], after["new"]["size"]);
    assert_ne!(before["old"]["root"], after["old"]["root"]);
}
