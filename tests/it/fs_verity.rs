//! The digests of fs-verity, as the tools of the kernel's developers compute them.

use std::process::Command;

use crate::support::{Run, Workspace, tool};

// Around a block, a block of digests, and two levels of them.
const BLOCK: usize = 4096;
const SIZES: [usize; 12] = [
    0,
    1,
    BLOCK - 1,
    BLOCK,
    BLOCK + 1,
    BLOCK * 2,
    BLOCK * 127 + 3,
    BLOCK * 128,
    BLOCK * 128 + 1,
    BLOCK * 129,
    BLOCK * 128 * 3 + 7,
    BLOCK * 128 * 128 + 1,
];

#[test]
fn as_the_kernels_tool_computes_it() {
    if !tool("fsverity") {
        return;
    }
    let workspace = Workspace::new();
    for (number, size) in SIZES.into_iter().enumerate() {
        let bytes: Vec<u8> = (0..size)
            .map(|n| u8::try_from(n * 31 % 251).unwrap())
            .collect();
        workspace.write(&format!("files/{number:02}"), bytes);
    }
    let ours = workspace
        .run(["hash", "-a", "fs-verity", "files"])
        .exits(0)
        .stdout;
    let both = workspace
        .run(["hash", "-a", "sha256,fs-verity", "--json", "files"])
        .exits(0)
        .json();
    for (number, line) in ours.lines().enumerate() {
        let name = format!("{number:02}");
        let theirs = Command::new("fsverity")
            .args(["digest", "--compact"])
            .arg(workspace.path(&format!("files/{name}")))
            .output();
        let theirs = Run::from(theirs.unwrap()).exits(0).stdout;
        assert_eq!(line, format!("{}  {name}", theirs.trim()));
        assert_eq!(both["files"][number]["digests"]["fs-verity"], theirs.trim());
    }
    assert_eq!(ours.lines().count(), SIZES.len());
}
