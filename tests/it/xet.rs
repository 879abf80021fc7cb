//! The hashes of Xet: as the hub's own library has them, and as a hub publishes them.

use std::process::Command;

use crate::hub::{LARGE, LARGE_SHA256, place};
use crate::support::{Workspace, peer};

/// Files of every size that matters, where the content makes chunks and where it does not.
#[test]
fn as_the_hubs_library_has_them() {
    let Some(python) = peer("hf", "venv/bin/python") else {
        return;
    };
    let workspace = Workspace::new();
    workspace
        .shell(
            "mkdir m; : > m/empty; printf a > m/one; head -c 8191 /dev/urandom > m/a; head -c 8192 /dev/urandom > m/b; \
             head -c 131072 /dev/zero > m/c; head -c 131073 /dev/zero > m/d; head -c 700000 /dev/urandom > m/e; \
             head -c 30000000 /dev/urandom > m/f; head -c 9000000 /dev/zero > m/g; yes line | head -c 2000000 > m/h",
        )
        .exits(0);
    let script = "import glob, hf_xet\nfor p in sorted(glob.glob('m/*')):\n    print(hf_xet.hash_files([p])[0].hash + '  ' + p[2:])";
    let theirs = Command::new(python)
        .args(["-c", script])
        .current_dir(workspace.root())
        .output()
        .unwrap();
    let theirs = String::from_utf8(theirs.stdout).unwrap();
    let ours = workspace.run(["hash", "-a", "xet", "m"]).exits(0).stdout;
    assert_eq!(ours.lines().count(), 10);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&ours), sorted(&theirs));
}

#[test]
fn as_a_hub_publishes_them() {
    let Some(place) = place() else { return };
    place
        .acquire(&["--no-record", "hf:acme/tiny", "tiny"])
        .exits(0);
    let hash = format!("weighbridge hash -a xet tiny | grep {LARGE} | cut -c1-64");
    let right = place.workspace.shell(&hash).stdout;
    let announced = place.hub.root.join("xet").join(LARGE_SHA256);
    std::fs::create_dir_all(announced.parent().unwrap()).unwrap();
    let with = |hash: &str| {
        std::fs::write(&announced, hash).unwrap();
        let run = place.acquire(&["--xet", "hf:acme/tiny", "tiny"]);
        std::fs::remove_file(&announced).unwrap();
        run
    };
    with(right.trim()).exits(0);
    let record = place.workspace.run(["ledger", "show", "0"]).json();
    let upstream = record["predicate"]["upstream_digests"].as_array().unwrap();
    assert!(
        upstream
            .iter()
            .any(|one| one["algorithm"] == "xet" && one["digest"] == right.trim())
    );
    with(&right.trim().replace(|c: char| c.is_ascii_digit(), "0"))
        .exits(1)
        .says("Xet hash");
}
