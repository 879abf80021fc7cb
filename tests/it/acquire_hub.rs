//! Acquiring from a hub: what comes is what the commit says, or is refused.

use std::path::Path;

use crate::hub::{LARGE, LARGE_SHA256, place};
use crate::support::{Run, Workspace};

#[test]
fn what_the_hub_publishes() {
    let Some(place) = place() else { return };
    let run = place.acquire(&["hf:acme/tiny@v1.0"]).exits(0);
    assert_eq!(run.json()["revision"], place.hub.commit.as_str());
    assert_eq!(run.json()["fetched_files"], 6);
    // As git itself has it.
    let repository = place.hub.root.join("models/acme/tiny.git");
    let config = place.workspace.shell(&format!(
        "git --git-dir {} show {}:config.json",
        repository.display(),
        place.hub.commit
    ));
    assert_eq!(
        config.stdout.as_bytes(),
        place.workspace.read("tiny/config.json")
    );
    let record = place.workspace.run(["ledger", "show", "0"]).json();
    let record = &record["predicate"];
    assert_eq!(record["revision"], place.hub.commit.as_str());
    assert_eq!(record["requested_revision"], "v1.0");
    // Nobody proved to be the hub: there is no TLS here.
    assert_eq!(record["authentication"]["result"], "not-checked");
    assert!(!place.workspace.path("tiny.partial").exists());
    // What is there is not fetched again, and is verified all the same.
    let before = place.hub.log();
    assert_eq!(place.fetched(&["hf:acme/tiny"]), 0);
    assert!(!place.hub.log()[before.len()..].contains("/resolve/"));
    // Every page of the list, though the hub gives two files at a time.
    let paged = place.hub.with("page", 2.into(), || {
        place.fetched(&["hf:acme/tiny", "paged"])
    });
    assert_eq!(paged, 6);
    assert_eq!(place.fetched(&["hf:datasets/acme/data", "data"]), 6);
    place
        .workspace
        .run(["ledger", "fsck"])
        .exits(0)
        .says("is sound");
    // A release that is signed and recorded passes the gate with the acquisition on record.
    place.workspace.run(["sign", "--record", "tiny"]).exits(0);
    place.workspace.run(["gate", "tiny"]).exits(0);
}

/// What the scanners of the hub say is said, and recorded as their word; when, by the hub's clock.
#[test]
fn what_the_scanners_of_the_hub_say() {
    let Some(place) = place() else { return };
    let repositories = serde_json::json!({
        "models/acme/tiny": { "security": { "config.json": "suspicious\u{1b}[2J", "README.md": "safe" } },
    });
    place.hub.with("repos", repositories, || {
        place
            .acquire(&["hf:acme/tiny"])
            .exits(0)
            .says("config.json: the hub's own scanners call it suspicious")
    });
    let record = place.workspace.run(["ledger", "show", "0"]).json();
    let record = &record["predicate"];
    assert_eq!(record["authentication"]["http"]["status"], 200);
    assert!(record["authentication"]["http"]["date"].as_str().is_some());
    // What holds what no text may hold is said, and is not put on record.
    let claims = serde_json::json!([{ "named_in": "hub: security scans", "value": "done" }]);
    assert_eq!(record["claims"], claims);
    let repositories =
        serde_json::json!({ "models/acme/tiny": { "security": { "config.json": "unsafe" } } });
    place.hub.with("repos", repositories, || {
        place.acquire(&["hf:acme/tiny"]).exits(0)
    });
    let record = place.workspace.run(["ledger", "show", "1"]).json();
    let claim = serde_json::json!({ "named_in": "hub: config.json", "value": "unsafe" });
    assert_eq!(record["predicate"]["claims"][1], claim);
}

/// What kinds of files came is said, and aloud where code could be run by them, whatever they are called.
#[test]
fn what_kinds_of_files_came() {
    let Some(place) = place() else { return };
    place.hub.repository(
        "kinds",
        "printf '\\200\\004cos\\nsystem' > model.safetensors; echo 'import os' > modeling.py; echo '{}' > config.json",
    );
    let run = place
        .acquire(&["hf:acme/kinds"])
        .exits(0)
        .says("1 file of the format pickle, by which code can be run when it is loaded: model.safetensors")
        .says("1 file of the format python");
    let formats = serde_json::json!({ "json": 1, "pickle": 1, "python": 1 });
    assert_eq!(run.json()["formats"], formats);
}

#[test]
fn later_without_the_hub() {
    let Some(place) = place() else { return };
    place.acquire(&["hf:acme/tiny"]).exits(0);
    let before = place.hub.log();
    let verify = |more: &[&str]| {
        let mut args = vec!["verify"];
        args.extend(more);
        args.push("tiny");
        place.run(&args)
    };
    verify(&["--source", "--offline"])
        .exits(0)
        .says("6 files: all are those of commit");
    verify(&["--source=hf:acme/tiny", "--offline"]).exits(0);
    assert_eq!(place.hub.log(), before, "nobody was asked");
    verify(&["--source"]).exits(0).says("asked just now");
    verify(&["--source=hf:acme/tiny@v1.0"]).exits(0);
    verify(&["--source=hf:acme/other", "--offline"])
        .exits(2)
        .says("no acquire record");
    // A changed file is told with both digests, without the hub too.
    let good = place.workspace.read(&format!("tiny/{LARGE}"));
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    place.workspace.write(&format!("tiny/{LARGE}"), &bad);
    let run = verify(&["--source=hf:acme/tiny", "--offline"]).exits(1);
    run.says("artifact.changed").says("is published");
    verify(&["--source=hf:acme/tiny"]).exits(1);
    // These are not the files of any record.
    verify(&["--source", "--offline"])
        .exits(2)
        .says("name the source");
    place.workspace.write(&format!("tiny/{LARGE}"), &good);
    // The pointer in place of the file, and a small file changed.
    place.workspace.write("tiny/config.json", "{}");
    verify(&["--source=hf:acme/tiny", "--offline"])
        .exits(1)
        .says("has git blob");
    // Evidence that was tampered with proves nothing.
    let blobs = place
        .workspace
        .shell("grep -rl git-snapshot/v1 ledger/blob")
        .stdout;
    let blob = blobs.trim();
    let text = String::from_utf8(place.workspace.read(blob)).unwrap();
    place.workspace.shell(&format!("chmod u+w {blob}")).exits(0);
    place
        .workspace
        .write(blob, text.replacen("\"commit\":\"d", "\"commit\":\"e", 1));
    verify(&["--source=hf:acme/tiny", "--offline"]).exits(2);
}

#[test]
fn tokens_go_to_the_hub_alone() {
    let Some(place) = place() else { return };
    place
        .acquire(&["hf:acme/gated"])
        .exits(2)
        .says("GatedRepo")
        .says("HF_TOKEN");
    place
        .acquire(&["hf:acme/nothing"])
        .exits(2)
        .says("RepoNotFound");
    let before = place.hub.log().len();
    let mut command = place.command(&["acquire", "hf:acme/gated"]);
    Run::from(command.env("HF_TOKEN", "hf_x").output().unwrap()).exits(0);
    let log = place.hub.log()[before..].to_owned();
    let network = log.lines().filter(|line| line.contains("/lfs-cdn/"));
    assert_eq!(network.clone().count(), 2);
    assert!(network.clone().all(|line| line.contains("auth=none")));
    let rest = log.lines().filter(|line| !line.contains("/lfs-cdn/"));
    assert!(
        rest.clone().all(|line| line.contains("auth=fixture")),
        "{log}"
    );
    // Nor into the ledger.
    let found = place.workspace.shell("grep -rl hf_x . || true").stdout;
    assert_eq!(found, "");
    let record = place.workspace.run(["ledger", "show", "0"]).json();
    assert_eq!(record["predicate"]["public"], false);
    let mut command = place.command(&["acquire", "hf:acme/gated"]);
    let odd = command.env("HF_TOKEN", "hf_x\nX-Evil: 1").output().unwrap();
    Run::from(odd).exits(2).says("characters that no token has");
    // Who is offline asks nobody.
    let mut command = place.command(&["acquire", "hf:acme/tiny"]);
    Run::from(command.env("HF_HUB_OFFLINE", "1").output().unwrap())
        .exits(2)
        .says("HF_HUB_OFFLINE");
}

#[test]
fn what_comes_otherwise_is_kept_aside() {
    let Some(place) = place() else { return };
    let flip = serde_json::json!({ LARGE_SHA256: "flip" });
    let run = place
        .hub
        .with("tamper", flip, || place.acquire(&["hf:acme/tiny"]));
    run.exits(1)
        .says(LARGE_SHA256)
        .says("is kept as")
        .says("is published");
    let kept = place.workspace.shell("ls tiny.partial").stdout;
    assert!(kept.contains("rejected-"), "{kept}");
    // What was good is there, and nothing is on record.
    assert!(place.workspace.path("tiny/config.json").exists());
    assert!(!place.workspace.path(&format!("tiny/{LARGE}")).exists());
    place
        .workspace
        .run(["ledger", "log"])
        .exits(0)
        .says("0 entries");
    // Later it comes right, and only what was missing is fetched.
    assert_eq!(place.fetched(&["hf:acme/tiny"]), 1);

    // A small file, by its git blob.
    let blob = place.workspace.shell(&format!(
        "git --git-dir {} rev-parse {}:config.json",
        place.hub.root.join("models/acme/tiny.git").display(),
        place.hub.commit
    ));
    let flip = serde_json::json!({ blob.stdout.trim(): "flip" });
    place
        .hub
        .with("tamper", flip, || {
            place.acquire(&["hf:acme/tiny", "second"])
        })
        .exits(1)
        .says("config.json has git blob");
    // What is there and is not of the source is not touched.
    place.workspace.write("tiny/extra.py", "import os");
    place
        .acquire(&["hf:acme/tiny"])
        .exits(1)
        .says("extra.py was added")
        .says("nothing was changed");
    place.workspace.shell("rm tiny/extra.py").exits(0);
    place.workspace.write("tiny/config.json", "{}");
    place
        .acquire(&["hf:acme/tiny"])
        .exits(1)
        .says("config.json has git blob");
    assert_eq!(place.workspace.read("tiny/config.json"), b"{}");
}

#[test]
fn an_interrupted_download_is_taken_up() {
    let Some(place) = place() else { return };
    place.acquire(&["hf:acme/tiny"]).exits(0);
    let good = place.workspace.read(&format!("tiny/{LARGE}"));
    let name = weighbridge::digest::Sha256::of(LARGE.as_bytes());
    let half = format!("tiny.partial/{name}");
    place.workspace.shell(&format!("rm tiny/{LARGE}")).exits(0);
    let kept = || {
        place
            .workspace
            .shell("mkdir -m 700 -p tiny.partial; touch tiny.partial/weighbridge-partial")
            .exits(0);
    };
    kept();
    place.workspace.write(&half, &good[..100_000]);
    let before = place.hub.log().len();
    assert_eq!(place.fetched(&["hf:acme/tiny"]), 1);
    assert_eq!(place.workspace.read(&format!("tiny/{LARGE}")), good);
    assert!(place.hub.log()[before..].contains("range=bytes=100000-"));
    // The half of something else, or more than there should be: from the beginning again.
    for wrong in [vec![7; 100_000], vec![7; 400_000]] {
        place.workspace.shell(&format!("rm tiny/{LARGE}")).exits(0);
        kept();
        place.workspace.write(&half, &wrong);
        assert_eq!(place.fetched(&["hf:acme/tiny"]), 1);
        assert_eq!(place.workspace.read(&format!("tiny/{LARGE}")), good);
    }
}

/// A connection that ends in the middle, and a server that is busy: the rest is asked for, and asked again.
#[test]
fn a_bad_connection() {
    let Some(place) = place() else { return };
    let before = place.hub.log().len();
    let cut = serde_json::json!({ LARGE_SHA256: 123_456 });
    let fetched = place
        .hub
        .with("cut", cut, || place.fetched(&["hf:acme/tiny"]));
    assert_eq!(fetched, 6);
    let log = place.hub.log()[before..].to_owned();
    assert!(log.contains("-> cut"), "{log}");
    assert!(log.contains("range=bytes=123456-"), "{log}");
    let fetched = place.hub.with("busy", 2.into(), || {
        place.fetched(&["hf:acme/tiny", "busy"])
    });
    assert_eq!(fetched, 6);
    assert!(place.hub.log()[before..].contains("-> 503"));
    // A list that holds more than the commit has names for.
    place
        .hub
        .with("extra", 5000.into(), || {
            place.acquire(&["hf:acme/tiny", "long"])
        })
        .exits(1)
        .says("more items");
    // For ever busy is an error, which says what to do, and what came is kept.
    let run = place.hub.with("busy", 1000.into(), || {
        place.acquire(&["hf:acme/tiny", "never"])
    });
    run.exits(2).says("503").says("run the same command again");
    place
        .workspace
        .run(["ledger", "log"])
        .exits(0)
        .says("2 entries");
    assert_eq!(place.fetched(&["hf:acme/tiny", "never"]), 6);
}

/// What a repository may hold that an artifact may not, or not quite.
#[test]
fn odd_repositories() {
    let Some(place) = place() else { return };
    let hub = place.hub;
    // A signature that came along is verified, and is no part of the artifact: to no verb.
    hub.repository("signed", "echo a > a.txt; echo s > model.sig");
    let run = place.acquire(&["hf:acme/signed"]).exits(0);
    run.says("model.sig is not part of the artifact");
    place.run(&["record", "release", "signed"]).exits(0);
    let subject = |index: &str| {
        let record = place.workspace.run(["ledger", "show", index]).json();
        record["subject"][0]["digest"].clone()
    };
    assert_eq!(subject("0"), subject("1"));
    place
        .run(&["verify", "--source", "--offline", "signed"])
        .exits(0);
    place.workspace.write("signed/model.sig", "t");
    place
        .run(&["verify", "--source=hf:acme/signed", "signed"])
        .exits(1)
        .says("model.sig");

    hub.repository("linked", "echo a > a; ln -s /etc/passwd l");
    place
        .acquire(&["hf:acme/linked"])
        .exits(1)
        .says("l is a link");
    hub.repository(
        "hidden",
        "mkdir -p .cache/huggingface; echo x > .cache/huggingface/x.py",
    );
    place
        .acquire(&["hf:acme/hidden"])
        .exits(1)
        .says("in the directory of the hub's client");
    // What only others can read is not known, and said so.
    hub.repository(
        "nan",
        "echo '{\"x\": NaN, \"auto_map\": {\"A\": \"evil/r--m.C\"}}' > config.json",
    );
    let run = place.acquire(&["hf:acme/nan"]).exits(0);
    assert_eq!(run.json()["dependencies"][0]["source"], "unknown");
    hub.repository(
        "mapped",
        "echo '{\"auto_map\": {\"A\": \"evil/r--m.C\"}}' > config.json",
    );
    let run = place.acquire(&["hf:acme/mapped"]).exits(0);
    run.says("runs code of hf:evil/r");
}

/// The directory beside the artifact is this program's, or is left alone.
#[test]
fn what_lies_beside_it() {
    let Some(place) = place() else { return };
    place.workspace.write("a.partial/mine.txt", "mine");
    place
        .acquire(&["hf:acme/tiny", "a"])
        .exits(2)
        .says("not what an earlier run of yours left");
    assert_eq!(place.workspace.read("a.partial/mine.txt"), b"mine");
    place
        .workspace
        .shell("mkdir b.real; ln -s b.real b.partial")
        .exits(0);
    place.acquire(&["hf:acme/tiny", "b"]).exits(2);
    for dest in ["c/", "./d/.", "e/../f"] {
        place.workspace.shell("mkdir -p d e").exits(0);
        assert_eq!(place.fetched(&["hf:acme/tiny", dest]), 6, "{dest}");
    }
    let left = place
        .workspace
        .shell("find . -name '*.partial*' -newer weighbridge.toml");
    assert!(!left.stdout.contains("c/"), "{left:?}");
    // A run that was killed before it had said what the directory is.
    place
        .workspace
        .shell("mkdir -m 700 killed.partial")
        .exits(0);
    assert_eq!(place.fetched(&["hf:acme/tiny", "killed"]), 6);
    // A file is no place, even if the commit has one of that name.
    place.workspace.write("config.json", "x");
    place
        .acquire(&["hf:acme/tiny", "config.json"])
        .exits(2)
        .says("is a file");
    // Where it may not be, it is not; and what fails makes nothing.
    for dest in ["ledger/model", "keys/model"] {
        let run = place.acquire(&["hf:acme/tiny", dest]);
        assert!(run.code == 2 || dest.starts_with("keys"), "{run:?}");
    }
    assert!(!place.workspace.path("ledger/model").exists());
    place.acquire(&["hf:acme/none", "deep/er/model"]).exits(2);
    assert!(!place.workspace.path("deep").exists());
    assert_eq!(place.fetched(&["hf:acme/tiny", "deep/er/model"]), 6);
    place
        .acquire(&["--receipt", "in/side", "hf:acme/tiny", "in"])
        .exits(2)
        .says("lies inside the artifact");
    // A role that may not say so is refused before anything is fetched.
    let text = String::from_utf8(place.workspace.read("weighbridge.toml")).unwrap();
    let tester = text.replace(
        "name = \"release\"\nroles = [\"developer\"]",
        "name = \"release\"\nroles = [\"developer\", \"tester\"]",
    );
    assert_ne!(text, tester);
    place.workspace.write("weighbridge.toml", tester);
    place
        .acquire(&["--role", "tester", "hf:acme/tiny", "untouched"])
        .exits(2)
        .says("may not sign acquire");
    assert!(!place.workspace.path("untouched").exists());
    // Two at once: one of them waits for nobody, and what lies there in the end is whole.
    let spawn = || place.command(&["acquire", "hf:acme/tiny", "two"]).output();
    let codes = std::thread::scope(|scope| {
        let both = [scope.spawn(spawn), scope.spawn(spawn)];
        both.map(|one| one.join().unwrap().unwrap().status.code())
    });
    assert!(codes.contains(&Some(0)), "{codes:?}");
    place
        .run(&["verify", "--source=hf:acme/tiny", "two"])
        .exits(0);
}

/// Sources that are none, and a place to record that is missing.
#[test]
fn what_is_asked_wrongly() {
    let Some(place) = place() else { return };

    for source in ["acme/tiny", "hf:../x", "hf:a/b@", "ftp://x"] {
        place.acquire(&[source]).exits(2).says("hf:ORG/NAME");
    }
    place.acquire(&["--adopt", "hf:acme/tiny"]).exits(2);
    place
        .acquire(&["--adopt", "hf:acme/tiny", "nowhere"])
        .exits(2)
        .says("nowhere is not there");
    place
        .acquire(&["hf:acme/tiny@no-such-branch"])
        .exits(2)
        .says("RevisionNotFound");
    // It takes no policy to verify only.
    let empty = Workspace::new();
    let run = |args: &[&str]| -> Run {
        let mut command = empty.command(args);
        command.env(
            "HF_ENDPOINT",
            format!("http://127.0.0.1:{}", place.hub.server.port),
        );
        command.output().unwrap().into()
    };
    run(&["acquire", "hf:acme/tiny"])
        .exits(2)
        .says("weighbridge.toml");
    assert!(!Path::new(&empty.path("tiny")).exists());
    run(&["acquire", "--no-record", "hf:acme/tiny"])
        .exits(0)
        .says("dirHash1:");
    run(&["verify", "--source=hf:acme/tiny", "tiny"]).exits(0);
}
