//! `hash` against `sha256sum`, `b3sum`-shaped lists, and its own `--check`.

use crate::support::{Run, Workspace, fixture};

fn by_coreutils(workspace: &Workspace) -> Run {
    workspace.shell("cd model; find . -type f | cut -c3- | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 sha256sum").exits(0)
}

#[test]
fn equals_sha256sum() {
    let workspace = Workspace::new();
    workspace.model("model");
    for n in 0..300 {
        workspace.write(&format!("model/many/{}/{n}", n % 7), format!("{n}"));
    }
    // Sorts as bytes, not as a tree: `a b`, `a-b`, `a.b`, `a/b`.
    for name in ["a b", "a-b", "a.b", "a/b", "A/b", "aB"] {
        workspace.write(&format!("model/{name}"), name);
    }
    workspace.write("model/large", vec![7; 5_000_000]);
    workspace
        .shell("mkdir -p model/.git; echo x > model/.git/config; touch model/model.sig")
        .exits(0);
    let theirs = by_coreutils(&workspace);
    for jobs in ["1", "2", "9"] {
        let ours = workspace.run(["hash", "--jobs", jobs, "model"]).exits(0);
        assert_eq!(ours.stdout, theirs.stdout);
    }
    // The artifact digest is SHA-256 over that text (in-toto dirHash1).
    let digest = workspace.shell("cd model; find . -type f | cut -c3- | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 sha256sum | sha256sum | cut -c1-64");
    workspace
        .run(["hash", "model"])
        .says(&format!("dirHash1:{}", digest.stdout.trim()));
    // Nothing is left out, unless asked.
    assert!(theirs.stdout.contains("  .git/config\n"));
    let covered = workspace
        .run(["hash", "--covered", "model"])
        .exits(0)
        .stdout;
    assert!(!covered.contains(".git/config") && !covered.contains("model.sig"));
}

#[test]
fn a_single_file_is_printed_as_sha256sum_prints_it() {
    let workspace = Workspace::new();
    workspace.model("model");
    let theirs = workspace.shell("sha256sum model/config.json").exits(0);
    let ours = workspace.run(["hash", "model/config.json"]).exits(0);
    assert_eq!(ours.stdout, theirs.stdout);
}

#[test]
fn all_digests_from_one_pass_equal_those_of_the_usual_tools() {
    let workspace = Workspace::new();
    let source = fixture("models/silero-vad/data/silero_vad_16k_op15.onnx");
    std::fs::copy(source, workspace.path("f")).unwrap();
    let document = workspace
        .run([
            "hash",
            "--json",
            "-a",
            "sha256,blake3,sha512,git-sha1,md5",
            "f",
        ])
        .exits(0)
        .json();
    let ours = |name: &str| {
        document["files"][0]["digests"][name]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let theirs = |command: &str| {
        let out = workspace.shell(command).exits(0).stdout;
        out.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(ours("sha256"), theirs("sha256sum f"));
    assert_eq!(ours("sha512"), theirs("sha512sum f"));
    assert_eq!(ours("md5"), theirs("md5sum f"));
    assert_eq!(ours("git-sha1"), theirs("git hash-object f"));
    if crate::support::tool("b3sum") {
        assert_eq!(ours("blake3"), theirs("b3sum f"));
    }
    assert_eq!(document["digest"], format!("sha256:{}", ours("sha256")));
}

#[test]
fn check_reads_what_sha256sum_wrote_and_closes_the_world() {
    let workspace = Workspace::new();
    workspace.model("model");
    workspace
        .shell("cd model; find . -type f | xargs -d '\\n' sha256sum > ../SHA256SUMS")
        .exits(0);
    let check = || workspace.run(["hash", "--check", "SHA256SUMS", "model"]);
    check().exits(0);
    workspace.write("model/added", "x");
    check().exits(1).says("added: ADDED");
    workspace
        .shell("rm model/added model/empty; echo x >> model/config.json")
        .exits(0);
    let run = check()
        .exits(1)
        .says("empty: MISSING")
        .says("config.json: CHANGED");
    assert_eq!(run.stdout.lines().count(), 2);
    let json = ["hash", "--json", "--check", "SHA256SUMS", "model"];
    let document = workspace.run(json).exits(1).json();
    assert_eq!(document["differences"].as_array().unwrap().len(), 2);
    // What we print, `sha256sum -c` checks.
    workspace
        .shell("weighbridge hash model > list; cd model; sha256sum --quiet -c ../list")
        .exits(0);
    // A list that lies in the directory is not part of it.
    workspace
        .shell("cd model; weighbridge hash . > ../l; mv ../l LIST; weighbridge hash --check LIST .")
        .exits(0);
    for bad in ["", "x\n", "abc  f\n", "../f\n"] {
        workspace.write("bad", bad);
        workspace.run(["hash", "--check", "bad", "model"]).exits(2);
    }
    // One file against a list of one, whatever the path is called there.
    workspace
        .shell("sha256sum model/config.json > one; weighbridge hash --check one model/config.json")
        .exits(0);
}

#[test]
fn a_list_of_another_digest_is_checked_with_that_digest() {
    let workspace = Workspace::new();
    workspace.model("model");
    workspace
        .shell("cd model; find . -type f | xargs -d '\\n' sha512sum > ../SHA512SUMS")
        .exits(0);
    workspace
        .run(["hash", "-a", "sha512", "--check", "SHA512SUMS", "model"])
        .exits(0);
    workspace
        .run(["hash", "--check", "SHA512SUMS", "model"])
        .exits(2);
}
