//! `hash --direct`: the same digests, and nothing in the page cache.

use crate::support::{Workspace, tool};

const LARGE: usize = 4 << 20;

fn filled() -> Workspace {
    let workspace = Workspace::on_disk();
    for (number, size) in [
        0,
        1,
        LARGE - 1,
        LARGE,
        LARGE + 1,
        LARGE + 63,
        LARGE + 64,
        LARGE + 4096,
        9_000_001,
        12 << 20,
    ]
    .into_iter()
    .enumerate()
    {
        let bytes: Vec<u8> = (0..size)
            .map(|n: usize| u8::try_from((n ^ (n >> 9)) % 251).unwrap())
            .collect();
        workspace.write(&format!("model/{number}.bin"), bytes);
    }
    workspace
        .shell("printf 'GGUF\\003\\000\\000\\000' | cat - model/9.bin > model/x.gguf; sync")
        .exits(0);
    workspace
}

#[test]
fn the_same_digests() {
    let workspace = filled();
    let sums = workspace
        .shell("cd model && sha256sum $(ls | LC_ALL=C sort)")
        .exits(0)
        .stdout;
    for jobs in ["1", "3"] {
        for engine in ["auto", "portable", "sha-ni"] {
            let run = workspace.run([
                "hash", "--direct", "--jobs", jobs, "--engine", engine, "model",
            ]);
            if engine == "sha-ni" && run.code == 2 {
                continue;
            }
            assert_eq!(run.exits(0).stdout, sums);
        }
    }
    for algorithms in ["blake3", "sha256,blake3,md5"] {
        let hash = |more: &[&str]| {
            let command = [&["hash", "--json", "-a", algorithms, "model"], more].concat();
            workspace.run(command).exits(0).stdout
        };
        assert_eq!(hash(&["--direct"]), hash(&[]));
    }
}

#[test]
fn the_page_cache_is_left_alone() {
    if !tool("fincore") {
        return;
    }
    let workspace = filled();
    let cached = |name: &str| -> u64 {
        let shown = workspace
            .shell(&format!(
                "fincore --bytes --noheadings --output RES model/{name}"
            ))
            .exits(0)
            .stdout;
        shown.trim().parse().unwrap()
    };
    let forget = "for f in model/*; do dd if=$f iflag=nocache count=0 status=none; done";
    workspace.shell(forget).exits(0);
    if cached("9.bin") > 0 {
        // A file system that keeps everything in memory.
        return;
    }
    workspace.run(["hash", "--direct", "model"]).exits(0);
    assert_eq!(cached("9.bin"), 0);
    workspace.run(["hash", "model"]).exits(0);
    assert_eq!(cached("9.bin"), 12 << 20);
}
