//! Directories that are here: checkouts of git and git-lfs as git itself makes them, and what else carries its own word.

use serde_json::Value;

use crate::support::{Workspace, tool};

const GIT: &str = "export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@e \
                   GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@e HOME=$PWD; ";

fn git(workspace: &Workspace, script: &str) -> String {
    workspace
        .shell(&format!("set -e; {GIT} {script}"))
        .exits(0)
        .stdout
}

fn record(workspace: &Workspace, index: u64) -> Value {
    let run = workspace.run(["ledger", "show", &index.to_string()]);
    run.exits(0).json()["predicate"].clone()
}

/// A checkout with history, of which git has packed some and left some loose.
fn checkout() -> Option<Workspace> {
    if !tool("git") {
        return None;
    }
    let workspace = Workspace::initialised();
    git(
        &workspace,
        "git init -q -b main w; cd w; mkdir -p d/e; for n in $(seq 200); do echo line $n >> d/long.txt; done; \
         echo '{}' > config.json; git add -A; git commit -q -m one; \
         for n in $(seq 40); do echo more $n >> d/long.txt; echo $n > d/e/$n; git add -A; git commit -q -m $n; done; \
         git repack -q -a -d -f --depth=50; echo loose > loose.txt; git add -A; git commit -q -m last; \
         git remote add origin https://me:secret@example.org/team/model.git",
    );
    Some(workspace)
}

#[test]
fn a_checkout_of_git() {
    let Some(workspace) = checkout() else { return };
    let commit = git(&workspace, "git -C w rev-parse HEAD");
    let acquire = |more: &[&str]| {
        let mut args = vec!["acquire", "--json"];
        args.extend(more);
        args.push("w");
        workspace.run(args)
    };
    let run = acquire(&[]).exits(0).json();
    assert_eq!(run["revision"], commit.trim());
    let predicate = record(&workspace, 0);
    assert_eq!(
        predicate["source_uri"],
        "git+https://example.org/team/model.git"
    );
    assert_eq!(predicate["requested_revision"], "main");
    assert!(predicate["commit_signature"].is_null());
    assert_eq!(predicate["authentication"]["result"], "not-checked");
    workspace
        .run(["verify", "--source", "--offline", "w"])
        .exits(0)
        .says(commit.trim());
    workspace
        .run(["verify", "--source", "w"])
        .exits(2)
        .says("--offline");
    // It takes no network.
    acquire(&["--no-record", "--offline"]).exits(0);
    // As a branch in a packed ref, and without one; a further checkout, whose .git is a file.
    git(&workspace, "git -C w pack-refs --all");
    acquire(&["--no-record"]).exits(0);
    git(
        &workspace,
        "git -C w checkout -q --detach; git -C w worktree add -q ../other HEAD",
    );
    acquire(&["--no-record"]).exits(0);
    workspace.run(["acquire", "--no-record", "other"]).exits(0);
    // Changed, added, missing.
    for (script, says) in [
        ("echo x >> w/d/long.txt", "d/long.txt has git blob"),
        ("echo x > w/evil.py", "evil.py was added"),
        ("rm w/d/e/7", "d/e/7 is missing"),
    ] {
        workspace.shell(script).exits(0);
        acquire(&[]).exits(1).says(says);
        git(&workspace, "cd w; git clean -q -f -d; git checkout -q -- .");
    }
    acquire(&["--no-record"]).exits(0);
    // Somebody who may write to the repository cannot make it say something else.
    workspace
        .shell("cd w; f=$(find .git/objects -path '*/??/*' -type f | head -1); chmod u+w $f; printf x | dd of=$f bs=1 seek=9 conv=notrunc 2>/dev/null")
        .exits(0);
    let run = acquire(&["--no-record"]);
    assert_ne!(run.code, 0, "{run:?}");
    // Not a word of the password.
    let found = workspace
        .shell("grep -rl 'me:secret' ledger || true")
        .stdout;
    assert_eq!(found, "");
    git(&workspace, "git init -q -b main empty");
    workspace
        .run(["acquire", "--no-record", "empty"])
        .exits(2)
        .says("no commit yet");
    git(
        &workspace,
        "git init -q -b main links; cd links; ln -s /etc/passwd x; git add -A; git commit -q -m x",
    );
    workspace
        .run(["acquire", "--no-record", "links"])
        .exits(1)
        .says("is a link");
}

#[test]
fn large_files() {
    if !tool("git") || !tool("git-lfs") {
        return;
    }
    let workspace = Workspace::initialised();
    git(
        &workspace,
        "git init -q -b main w; cd w; git lfs install --local >/dev/null; git lfs track '*.bin' >/dev/null; \
         head -c 300000 /dev/urandom > m.bin; echo '{}' > config.json; git add -A; git commit -q -m x",
    );
    let acquire = || workspace.run(["acquire", "--no-record", "w"]);
    acquire().exits(0);
    let digest = workspace.shell("sha256sum < w/m.bin | cut -c1-64").stdout;
    workspace
        .shell("cp w/m.bin good; printf x | dd of=w/m.bin conv=notrunc 2>/dev/null")
        .exits(0);
    acquire().exits(1).says(digest.trim());
    // What was never fetched is a pointer.
    git(&workspace, "cd w; git cat-file -p HEAD:m.bin > m.bin");
    acquire().exits(1).says("is the pointer of git-lfs");
    workspace.shell("cp good w/m.bin").exits(0);
    acquire().exits(0);
}

#[test]
fn signed_commits() {
    let Some(workspace) = checkout() else { return };
    if !tool("gpg") {
        return;
    }
    let gpg = "gpg --homedir gnupg --batch --quiet --no-tty --passphrase ''";
    workspace
        .shell(&format!(
            "mkdir -m 700 gnupg; for n in a b; do {gpg} --quick-gen-key $n@example.org ed25519 sign never; done 2>/dev/null; {gpg} --export > keyring.gpg"
        ))
        .exits(0);
    let fingerprint = |name: &str| {
        let script = format!(
            "{gpg} --list-keys --with-colons {name}@example.org | grep ^fpr | head -1 | cut -d: -f10"
        );
        workspace.shell(&script).stdout.trim().to_owned()
    };
    let (a, b) = (fingerprint("a"), fingerprint("b"));
    let by = |key: &str| {
        workspace.run([
            "acquire",
            "--openpgp-key",
            key,
            "--keyring",
            "keyring.gpg",
            "w",
        ])
    };
    by(&a).exits(1).says("it has none");
    git(
        &workspace,
        &format!(
            "export GNUPGHOME=$PWD/gnupg; cd w; echo s > s; git add -A; git -c user.signingkey={a} commit -q -S -m signed"
        ),
    );
    by(&a).exits(0);
    assert_eq!(
        record(&workspace, 0)["commit_signature"]["result"],
        "verified"
    );
    by(&b).exits(1).says(&a);
    workspace.run(["acquire", "w"]).exits(0);
    let signature = record(&workspace, 1)["commit_signature"].clone();
    assert_eq!(
        (signature["format"].as_str(), signature["result"].as_str()),
        (Some("openpgp"), Some("not-checked"))
    );
    workspace
        .shell("gpgconf --homedir gnupg --kill all")
        .exits(0);
}

#[test]
fn what_directories_carry() {
    let workspace = Workspace::initialised();
    workspace.model("m");
    let acquire = |more: &[&str]| {
        let mut args = vec!["acquire", "--json"];
        args.extend(more);
        args.push("m");
        workspace.run(args)
    };
    let from = ["--source-uri", "https://example.org/m"];
    // It says nothing, and nobody says where it is from.
    acquire(&[]).exits(2).says("--source-uri");
    acquire(&from).exits(0).says("0 of 7 files compared");
    // A list of digests.
    workspace
        .shell("cd m && sha256sum config.json empty > SHA256SUMS")
        .exits(0);
    acquire(&from).exits(0);
    workspace.write("m/config.json", "changed");
    acquire(&from).exits(1).says("config.json has SHA-256");
    workspace.write("m/config.json", "{}");
    // DVC's MD5 is compared, and is no evidence.
    let md5 = workspace
        .shell("md5sum < m/weights.bin | cut -c1-32")
        .stdout;
    let dvc = |md5: &str| {
        let text = format!("outs:\n- md5: {md5}\n  size: 20\n  hash: md5\n  path: weights.bin\n");
        workspace.write("m/weights.bin.dvc", text);
    };
    dvc(md5.trim());
    acquire(&from).exits(0);
    let last = workspace
        .run(["ledger", "find", "--kind", "acquire", "--json"])
        .exits(0);
    assert!(last.stdout.contains("example.org"));
    let predicate = record(&workspace, 2);
    let upstream = predicate["upstream_digests"].as_array().unwrap();
    assert!(
        upstream
            .iter()
            .any(|one| one["algorithm"] == "md5" && one["matched"] == true)
    );
    assert_eq!(predicate["authentication"]["result"], "not-checked");
    dvc(&"0".repeat(32));
    acquire(&from).exits(1).says("MD5");
    workspace.shell("rm m/weights.bin.dvc").exits(0);
    // What MLflow says is said.
    workspace.write("m/MLmodel", "artifact_path: model\nrun_id: abc123\nflavors:\n  python_function:\n    loader_module: x\n");
    acquire(&from).exits(0);
    let claims = record(&workspace, 3)["claims"].clone();
    assert_eq!(claims[0]["named_in"], "MLmodel: run_id");
    assert_eq!(claims[0]["value"], "abc123");
    workspace.write("m/MLmodel", "a: [");
    acquire(&from).exits(2).says("no metadata of MLflow");
    workspace.shell("rm m/MLmodel").exits(0);
    // A bundle where Kaggle puts it, by somebody who is trusted.
    workspace
        .run(["sign", "--signature", "m/.kaggle/signing.json", "m"])
        .exits(2);
    workspace.shell("mkdir m/.kaggle").exits(0);
    workspace
        .run(["sign", "--signature", "m/.kaggle/signing.json", "m"])
        .exits(0);
    let run = acquire(&from).exits(0).json();
    assert_eq!(run["authentication"]["method"], "oms");
    assert_eq!(run["authentication"]["publisher"], "release");
    workspace.write("m/added", "x");
    acquire(&from).exits(1).says("added");
    workspace.shell("rm m/added").exits(0);
    // By nobody who is trusted it is told, and proves nothing.
    workspace.new_key("other.pem");
    workspace
        .shell("rm m/.kaggle/signing.json; weighbridge sign --key other.pem --signature m/.kaggle/signing.json m")
        .exits(0);
    let run = acquire(&from)
        .exits(0)
        .says("by nobody whom the policy trusts");
    assert_eq!(run.json()["authentication"]["result"], "not-checked");
}

/// What a checkout says of itself is not what a hub has answered; and a key that is named must have signed something.
#[test]
fn what_a_checkout_cannot_claim() {
    let Some(workspace) = checkout() else { return };
    git(
        &workspace,
        "git -C w remote set-url origin https://huggingface.co/acme/model",
    );
    workspace.run(["acquire", "w"]).exits(0);
    let source = "--source=hf:acme/model";
    workspace
        .run(["verify", source, "--offline", "w"])
        .exits(2)
        .says("no acquire record");
    // Nor does the path of this machine get on record.
    git(
        &workspace,
        "git -C w remote set-url origin file:///home/alice/model",
    );
    workspace
        .run(["acquire", "w"])
        .exits(2)
        .says("--source-uri");
    let key = "AAAABBBBCCCCDDDDEEEEFFFF0000111122223333";
    workspace.shell("mkdir plain && echo x > plain/x").exits(0);
    let uri = ["--source-uri", "https://example.org/m"];
    workspace
        .run(["acquire", "--openpgp-key", key, uri[0], uri[1], "plain"])
        .exits(1)
        .says("no checkout of git");
    // What never answers is not waited for.
    workspace.shell("mkfifo w/.git/objects/pack/a.idx").exits(0);
    workspace.run(["acquire", "--no-record", "w"]).exits(2);
}

/// What is carried is compared in full, or nothing is said.
#[test]
fn lists_and_bundles_in_full() {
    let workspace = Workspace::initialised();
    workspace.model("m");
    let uri = ["--source-uri", "https://example.org/m"];
    let acquire = |more: &[&str]| {
        let mut args = vec!["acquire", "--json", uri[0], uri[1]];
        args.extend(more);
        args.push("m");
        workspace.run(args)
    };
    let first = acquire(&[]).exits(0).json()["artifact"].clone();
    workspace
        .shell("cd m && sha256sum config.json > SHA256SUMS && printf '\\\\0  x\\n' >> SHA256SUMS")
        .exits(0);
    acquire(&[]).exits(2).says("not understood");
    workspace
        .shell("cd m && sha256sum config.json > SHA256SUMS && sha512sum config.json | tr 0-9 0 > SHA512SUMS")
        .exits(0);
    acquire(&[]).exits(1).says("SHA-512");
    workspace.shell("rm m/SHA512SUMS").exits(0);
    acquire(&[]).exits(0);
    // The newest record counts, not one that has more to show.
    workspace
        .shell("rm m/SHA256SUMS && echo new > m/new")
        .exits(0);
    let last = acquire(&[]).exits(0).json()["artifact"].clone();
    assert_ne!(first, last);
    let verify = || {
        let source = "--source=https://example.org/m";
        workspace.run(["verify", source, "--offline", "m"])
    };
    verify().exits(0);
    workspace
        .shell("mv m/new new && cd m && sha256sum config.json > SHA256SUMS")
        .exits(0);
    verify().exits(1);
    workspace.shell("mv new m/new && rm m/SHA256SUMS").exits(0);
    // Whoever only verifies, verifies signatures too.
    workspace.run(["sign", "m"]).exits(0);
    let run = acquire(&["--no-record"]).exits(0).json();
    assert_eq!(run["authentication"]["method"], "oms");
    workspace.write("m/evil.py", "x");
    acquire(&["--no-record"]).exits(1).says("evil.py");
    // A signature that leaves files out does not vouch for them.
    workspace
        .shell("mkdir m/sub && mv m/evil.py m/sub")
        .exits(0);
    workspace
        .run([
            "oms",
            "sign",
            "key",
            "--private_key",
            "keys/signing.key.pem",
            "--signature",
            "m/model.sig",
            "--ignore-paths",
            "m/sub",
            "m",
        ])
        .exits(0);
    let run = acquire(&[]).exits(0).says("does not cover");
    assert_eq!(run.json()["authentication"]["result"], "not-checked");
}
