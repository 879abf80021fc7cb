//! `sign --update`: what is taken over from an earlier signing, and what is not.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use std::time::Duration;

use crate::support::{Run, Workspace};

/// The program with places of its own to keep receipts in.
fn with_places(workspace: &Workspace, args: &[&str]) -> Command {
    let mut command = workspace.command(args);
    command
        .env("XDG_CACHE_HOME", workspace.path("cache"))
        .env("XDG_STATE_HOME", workspace.path("state"));
    command
}

fn run(workspace: &Workspace, args: &[&str]) -> Run {
    with_places(workspace, args).output().unwrap().into()
}

fn sign(workspace: &Workspace, more: &[&str]) -> Run {
    let mut args = vec!["sign", "--json", "--signature", "s"];
    args.extend(more);
    args.push("model");
    run(workspace, &args)
}

fn unread(run: &Run) -> u64 {
    run.json()["unread_files"].as_u64().unwrap()
}

/// A signed model whose files have been at rest for long enough.
fn signed() -> Workspace {
    let workspace = Workspace::on_disk();
    workspace.model("model");
    std::thread::sleep(Duration::from_secs(4));
    sign(&workspace, &[]).exits(0);
    workspace
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let workspace = signed();
    let again = sign(&workspace, &["--update", "s"]).exits(0);
    assert_eq!(unread(&again), 7);
    workspace
        .run(["verify", "--signature", "s", "model"])
        .exits(0);
    // One changed, one new, one gone.
    workspace.write("model/config.json", "[]");
    workspace.write("model/new", "n");
    std::fs::remove_file(workspace.path("model/empty")).unwrap();
    let again = sign(&workspace, &["--update", "s"]).exits(0);
    assert_eq!(unread(&again), 5);
    workspace
        .run(["verify", "--signature", "s", "model"])
        .exits(0);
    // Without asking nothing is taken over.
    assert_eq!(unread(&sign(&workspace, &[]).exits(0)), 0);
    // What it says is what it would say if all had been read.
    let read = run(&workspace, &["sign", "--json", "--signature", "t", "model"]).exits(0);
    let kept = sign(&workspace, &["--update", "t"]).exits(0);
    assert_eq!(unread(&kept), 5, "two have just changed");
    assert_eq!(read.json()["root"], kept.json()["root"]);
}

#[test]
fn a_release_is_read_in_full_unless_asked() {
    let workspace = signed();
    sign(&workspace, &["--update", "s", "--record"])
        .exits(2)
        .says("--update-release");
    let asked = sign(
        &workspace,
        &["--update", "s", "--record", "--update-release"],
    )
    .exits(0);
    assert_eq!(unread(&asked), 7);
    workspace
        .run(["gate", "--signature", "s", "model"])
        .exits(0);
    sign(&workspace, &["--update-release"]).exits(2);
}

#[test]
fn what_is_not_taken_over() {
    let workspace = signed();
    let update = || sign(&workspace, &["--update", "s"]).exits(0);
    let content = workspace.path("model/weights/part-1.bin");
    // The same size, and the old time again: by the kernel's own time it is another.
    let modified = std::fs::metadata(&content).unwrap().modified().unwrap();
    std::fs::write(&content, "WEIGHTS").unwrap();
    let file = std::fs::File::options().write(true).open(&content).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    assert_eq!(unread(&update()), 6);
    workspace
        .run(["verify", "--signature", "s", "model"])
        .exits(0);

    // Everybody may write to it.
    let hidden = workspace.path("model/.hidden");
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    sign(&workspace, &[]).exits(0);
    assert_eq!(unread(&update()), 6);
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o644)).unwrap();

    // The old signature says something else than the receipts, or is somebody else's.
    workspace.write("other/config.json", "{}");
    workspace.write("other/weights.bin", "something else");
    workspace
        .run(["sign", "--signature", "o", "other"])
        .exits(0);
    let other = sign(&workspace, &["--update", "o"]).exits(0);
    assert_eq!(unread(&other), 1, "only config.json is alike");
    workspace.new_key("stranger");
    workspace
        .run(["sign", "--key", "stranger", "--signature", "o", "model"])
        .exits(0);
    sign(&workspace, &["--update", "o"])
        .exits(2)
        .says("not by the key that signs now");

    // Receipts of another host, or damaged ones.
    let receipts = std::fs::read_dir(workspace.path("cache/weighbridge/receipts")).unwrap();
    let receipts = receipts.map(|entry| entry.unwrap().path()).next().unwrap();
    let key = workspace.path("state/weighbridge/host.key");
    let kept = std::fs::read(&receipts).unwrap();
    let secret = std::fs::read(&key).unwrap();
    let mut damaged = kept.clone();
    let last = damaged.len() - 40;
    damaged[last] ^= 1;
    std::fs::write(&receipts, &damaged).unwrap();
    let run = update();
    assert_eq!(unread(&run), 0);
    run.says("no receipts");
    std::fs::write(&receipts, &kept).unwrap();
    std::fs::write(&key, [1; 32]).unwrap();
    assert_eq!(unread(&update()), 0);
    std::fs::write(&receipts, &kept).unwrap();
    std::fs::write(&key, secret).unwrap();
    assert_eq!(unread(&update()), 6, "one of them has just changed");

    // What is no receipt is not thrown away with the old ones.
    let directory = receipts.parent().unwrap();
    for number in 0..300 {
        std::fs::write(directory.join(format!("letter-{number}")), "x").unwrap();
    }
    sign(&workspace, &[]).exits(0);
    let there = std::fs::read_dir(directory).unwrap().count();
    assert!(there > 300, "{there}");

    // A key that others can read is none.

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = sign(&workspace, &["--update", "s"]).exits(0);
    assert_eq!(unread(&run), 0);
    run.says("only you can read");
    std::fs::remove_file(&key).unwrap();

    // Nowhere to keep any.
    let run = sign(&workspace, &["--update", "s", "--no-memory"]).exits(0);
    assert_eq!(unread(&run), 0);
    run.says("--no-memory was given");
    for (old, says) in [
        ("nothing", "nothing"),
        ("weighbridge.toml", "not a Sigstore bundle"),
    ] {
        sign(&workspace, &["--update", old]).exits(2).says(says);
    }
    sign(&workspace, &["--update", "s", "--algorithm", "blake3"])
        .exits(2)
        .says("lists sha256 digests");
}
