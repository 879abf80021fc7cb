//! Whatever SHA-256 is computed with, the digests are those of `sha256sum`.

use crate::support::{Run, Workspace, tool};

const ENGINES: [&str; 5] = ["auto", "avx512", "avx2", "sha-ni", "portable"];

/// Files of every length around where blocks, paddings and buffers end, and of none.
fn tree(workspace: &Workspace) {
    let mut lengths = vec![
        0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 300_000,
    ];
    lengths.extend([
        65_535,
        65_536,
        65_537,
        65_536 + 55,
        65_536 + 64,
        131_072,
        131_073,
    ]);
    lengths.extend((0..40).map(|at| at * 97));
    for (at, length) in lengths.into_iter().enumerate() {
        let byte = |position: usize| {
            u8::try_from((position * 7 + at * 31 + position / 251) % 256).unwrap()
        };
        let content: Vec<u8> = (0..length).map(byte).collect();
        workspace.write(&format!("tree/{at:03}"), content);
    }
}

#[test]
fn as_sha256sum_says() {
    if !tool("sha256sum") {
        return;
    }
    let workspace = Workspace::new();
    tree(&workspace);
    let expected = workspace
        .shell("cd tree; find . -type f | LC_ALL=C sort | sed 's,^./,,' | xargs sha256sum")
        .exits(0)
        .stdout;
    let mut ran = 0;
    for engine in ENGINES {
        for jobs in ["1", "2", "7"] {
            let run = workspace.run(["hash", "--engine", engine, "-j", jobs, "tree"]);
            if run.code == 2 && run.stderr.contains("does not have the instructions") {
                continue;
            }
            assert_eq!(run.exits(0).stdout, expected, "{engine} {jobs}");
            ran += 1;
        }
        let mut command = workspace.command(["hash", "tree"]);
        let run: Run = command
            .env("WEIGHBRIDGE_ENGINE", engine)
            .output()
            .unwrap()
            .into();
        assert!(run.code == 2 || run.stdout == expected, "{engine}");
    }
    assert!(ran >= 6, "at least what is portable, and what is chosen");
}

/// In the order in which they are asked for, from one read.
#[test]
fn beside_other_digests() {
    let workspace = Workspace::new();
    tree(&workspace);
    let all = |engine: &str, algorithms: &str| {
        let run = workspace.run([
            "hash", "--json", "--engine", engine, "-a", algorithms, "tree",
        ]);
        run.exits(0).json()["files"].clone()
    };
    let one = all("portable", "blake3,sha256,git-sha1,md5");
    assert_eq!(all("auto", "blake3,sha256,git-sha1,md5"), one);
    let other = all("auto", "md5,git-sha1,sha256,blake3");
    let (one, other) = (one.as_array().unwrap(), other.as_array().unwrap());
    for (one, other) in one.iter().zip(other) {
        for name in ["sha256", "blake3", "git-sha1", "md5"] {
            assert_eq!(one["digests"][name], other["digests"][name], "{one}");
            assert!(one["digests"][name].is_string(), "{one}");
        }
    }
    // Without SHA-256, and a file alone.
    let files = all("auto", "blake3");
    assert_eq!(files[5]["digests"]["blake3"], one[5]["digests"]["blake3"]);
}

#[test]
fn what_is_chosen_is_said() {
    let workspace = Workspace::new();
    workspace
        .run(["debug", "engine"])
        .exits(0)
        .says("portable")
        .says("for so many files at once");
    let json = workspace.run(["debug", "engine", "--json"]).exits(0).json();
    assert_eq!(json["plan"].as_array().unwrap().len(), 16);
    workspace.write("f", "x");
    workspace
        .run(["hash", "--engine", "quantum", "f"])
        .exits(2)
        .says("auto, avx512, avx2, sha-ni, portable");
    let mut command = workspace.command(["hash", "f"]);
    let run: Run = command
        .env("WEIGHBRIDGE_ENGINE", "quantum")
        .output()
        .unwrap()
        .into();
    run.exits(2).says("WEIGHBRIDGE_ENGINE");
}
