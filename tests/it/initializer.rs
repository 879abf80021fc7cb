//! `initializer`: called as `KServe` calls a storage initializer, what a model server finds has passed the gate, or nothing is there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::acquire_https;
use crate::acquire_s3;
use crate::hub::{Place, place};
use crate::servers::BUCKET;
use crate::support::{Run, Workspace};

/// A hub with the released model, its signature in it; and its policy here.
fn published() -> Option<Place> {
    let place = place()?;
    let workspace = &place.workspace;
    workspace.model("model");
    workspace.run(["sign", "--record", "model"]).exits(0);
    let fill = format!("cp -R {}/. .", workspace.path("model").display());
    place.hub.repository("released", &fill);
    place
        .hub
        .repository("tampered", &format!("{fill}; echo evil > config.json"));
    place
        .hub
        .repository("added", &format!("{fill}; echo evil > modeling.py"));
    Some(place)
}

/// What a server would see at `dest`.
fn seen(dest: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dest).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".weighbridge-initializer")
        .collect();
    names.sort();
    names
}

#[test]
fn from_a_hub() {
    let Some(place) = published() else { return };
    let dest = place.workspace.path("mnt/models");
    std::fs::create_dir_all(&dest).unwrap();
    let to = dest.to_str().unwrap();
    place
        .run(&["initializer", "hf://acme/released:main", to])
        .exits(0)
        .says("allow");
    let all = seen(&place.workspace.path("model"));
    assert_eq!(seen(&dest), all);
    assert!(!dest.join(".weighbridge-initializer").exists());
    // The server may run as somebody else.
    let mode = |path: &str| dest.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("config.json"), mode("")), (0o444, 0o755));
    // After a restart the volume is as it was: verified again, and not fetched again.
    let before = place.hub.log();
    place
        .run(&["initializer", "verified+hf://acme/released", to])
        .exits(0);
    assert!(!place.hub.log()[before.len()..].contains("/resolve/"));
    assert_eq!(seen(&dest), all);
    // What was changed there meanwhile is refused, and is no longer where the server looks.
    std::fs::write(dest.join("extra.py"), "import os").unwrap();
    let run = place.run(&["initializer", "hf://acme/released", to]);
    assert!(run.code == 1 && seen(&dest).is_empty(), "{run:?}");
    // The next start fetches it anew, and so it does when the revision has moved on.
    place
        .run(&["initializer", "hf://acme/released", to])
        .exits(0);
    assert_eq!(seen(&dest), all);
    place
        .run(&["initializer", "hf://acme/tampered", to])
        .exits(1);
    assert!(seen(&dest).is_empty());
    place
        .run(&["initializer", "hf://acme/released", to])
        .exits(0);
    assert_eq!(seen(&dest), all);
    // What the gate leaves out is not handed over.
    place.workspace.write("mnt/models/.git/hooks/x", "sh");
    let run = place.run(&["initializer", "hf://acme/released", to]);
    assert_eq!(seen(&dest), all, "{run:?}");
    run.exits(0);
    let recorded = place.workspace.run(["ledger", "show", "1"]);
    assert_ne!(recorded.code, 0, "nothing is recorded: {recorded:?}");
}

#[test]
fn what_the_gate_denies_is_not_handed_over() {
    let Some(place) = published() else { return };
    for (source, rule) in [
        ("hf://acme/tampered", "artifact.changed"),
        ("hf://acme/added", "artifact.added"),
        ("hf://acme/tiny", "signature.missing"),
    ] {
        let dest = place.workspace.path(source.rsplit('/').next().unwrap());
        let to = dest.to_str().unwrap();
        let run = place.run(&["initializer", source, to]).exits(1).says(rule);
        assert!(seen(&dest).is_empty(), "{source} {run:?}");
        let json = place.run(&["initializer", "--json", source, to]).exits(1);
        assert_eq!(json.json()["exit_code"], 1);
        assert_eq!(json.json()["verdicts"][0]["verdict"], "fail");
    }
    // Of two, both must pass; the first that does not ends it.
    let (one, two) = (place.workspace.path("one"), place.workspace.path("two"));
    let pairs = [
        "hf://acme/released",
        one.to_str().unwrap(),
        "hf://acme/added",
        two.to_str().unwrap(),
    ];
    place.run(&[&["initializer"], &pairs[..]].concat()).exits(1);
    assert!(!seen(&one).is_empty() && seen(&two).is_empty());
    // What does not exist, and who does not answer, is no pass either.
    place
        .run(&["initializer", "hf://acme/none", two.to_str().unwrap()])
        .exits(2);
}

/// The digest that `KServe` asks for holds as well.
#[test]
fn the_digest_of_the_environment() {
    let Some(place) = published() else { return };
    let gate = place.workspace.run(["gate", "--json", "model"]).json();
    let digest = gate["artifact"]["digest"].as_str().unwrap();
    let other = "0".repeat(64);
    for (wanted, code) in [
        (digest.to_owned(), 0),
        (format!("dirHash1:{other}"), 1),
        (digest.replace("dirHash1", "sha256"), 1),
        (String::new(), 0),
        ("sha256:abc".to_owned(), 2),
        (digest.replace("dirHash1", "md5"), 2),
    ] {
        let dest = place.workspace.path(&format!("to-{code}"));
        _ = std::fs::remove_dir_all(&dest);
        let to = dest.to_str().unwrap();
        let mut command = place.command(&["initializer", "hf://acme/released", to]);
        let run: Run = command
            .env("VERIFICATION_DIGEST", &wanted)
            .env("WEIGHBRIDGE_PROFILE", "")
            .output()
            .unwrap()
            .into();
        let run = run.exits(code);
        assert_eq!(
            dest.exists() && !seen(&dest).is_empty(),
            code == 0,
            "{run:?}"
        );
    }
}

#[test]
fn what_is_on_a_volume() {
    let workspace = Workspace::released();
    let initialise = |pairs: &[&str]| workspace.run([&["initializer"], pairs].concat());
    let source = workspace.path("model").display().to_string();
    initialise(&[&source, "dest"]).exits(0);
    assert_eq!(
        seen(&workspace.path("dest")),
        seen(&workspace.path("model"))
    );
    // Again, and with what somebody else left there.
    workspace.write("dest/left.py", "import os");
    initialise(&[&format!("file://{source}"), "dest"]).exits(0);
    assert_eq!(
        seen(&workspace.path("dest")),
        seen(&workspace.path("model"))
    );
    // It is a copy: what is changed where it came from changes nothing.
    workspace.write("model/config.json", "changed");
    assert_eq!(workspace.read("dest/config.json"), b"{}");
    initialise(&[&source, "dest"]).exits(1).says("config.json");
    assert!(seen(&workspace.path("dest")).is_empty());
    // A file by itself, with its signature.
    workspace.write("one.bin", "weights");
    workspace.run(["sign", "--record", "one.bin"]).exits(0);
    let one = workspace.path("one.bin").display().to_string();
    initialise(&[&one, "single"]).exits(0);
    assert_eq!(seen(&workspace.path("single")), ["one.bin", "one.bin.sig"]);
    // Calls that are none.
    for (pairs, why) in [
        (&["model"][..], "2 values"),
        (&[&source, "a", &source], "no pairs"),
        (&[&source, "b", &one, "b/inner"], "another SRC"),
        (&[&source, "b", &one, "b"], "another SRC"),
        (&[&source, "model/inner"], "SRC"),
        (&["gs://bucket/model", "c"], "is no source"),
        (&["hdfs://name/model", "c"], "is no source"),
        (&["http://host/model", "c"], "https"),
        (&["/no/such/place", "c"], "/no/such/place"),
    ] {
        initialise(pairs).exits(2).says(why);
    }
    // What is refused as a call makes nothing, in SRC least of all.
    assert!(!workspace.path("model/inner").exists() && !workspace.path("a").exists());
    // A stage that somebody else made, and one that another run has.
    std::fs::create_dir_all(workspace.path("foreign")).unwrap();
    std::os::unix::fs::symlink(
        "../model",
        workspace.path("foreign/.weighbridge-initializer"),
    )
    .unwrap();
    initialise(&[&source, "foreign"])
        .exits(2)
        .says("not what an earlier run");
    assert!(workspace.path("model/config.json").exists());
    std::fs::create_dir_all(workspace.path("busy")).unwrap();
    workspace
        .shell(&format!(
            "mkdir -m 700 busy/.weighbridge-initializer; cd busy/.weighbridge-initializer; touch lock; \
             flock lock weighbridge initializer --config ../../weighbridge.toml {source} .. 2>&1 | grep 'another run'"
        ))
        .exits(0);
    // Without a policy nothing can pass, and nothing is fetched.
    let run = workspace.run(["initializer", "--config", "none.toml", &source, "d"]);
    run.exits(2).says("no policy file");
}

/// A file of a server, whose signature lies beside it.
#[test]
fn from_a_server() {
    let Some(site) = acquire_https::site() else {
        return;
    };
    let workspace = &site.workspace;
    let file = workspace.path("www/files/model.bin");
    let url = site.url("files/model.bin");
    let run = site.run(&["initializer", &url, "dest"]);
    run.exits(1).says("signature.missing");
    workspace
        .run(["sign", "--record", file.to_str().unwrap()])
        .exits(0);
    site.run(&["initializer", &url, "dest"]).exits(0);
    assert_eq!(
        seen(&workspace.path("dest")),
        ["model.bin", "model.bin.sig"]
    );
    // What else lies on the volume was not judged, and is not handed over; nor what was refused before.
    workspace.write("dest/evil.py", "import os");
    site.run(&["initializer", &url, "dest"]).exits(0);
    assert_eq!(
        seen(&workspace.path("dest")),
        ["model.bin", "model.bin.sig"]
    );
    workspace.write("www/files/other.bin", vec![9; 10]);
    let other = site.url("files/other.bin");
    site.run(&["initializer", &other, "two"]).exits(1);
    site.run(&["initializer", &url, "two"]).exits(0);
    assert_eq!(seen(&workspace.path("two")), ["model.bin", "model.bin.sig"]);
    workspace.write("www/files/model.bin", vec![8; 300_000]);
    site.run(&["initializer", &url, "again"]).exits(1);
    assert!(seen(&workspace.path("again")).is_empty());
}

/// What lies beneath a key, by the words of `KServe`: without a slash at the end.
#[test]
fn from_a_bucket() {
    let Some(place) = acquire_s3::s3s() else {
        return;
    };
    let workspace = &place.workspace;
    workspace.write("small/config.json", "{}");
    workspace.write("small/sub/weights.bin", "weights");
    workspace.run(["sign", "--record", "small"]).exits(0);
    let put = |prefix: &str| {
        let names = ["config.json", "sub/weights.bin", "model.sig"];
        let keys = names.map(|name| (format!("{prefix}/{name}"), format!("small/{name}")));
        let commands: Vec<[&str; 3]> = keys.iter().map(|(key, file)| ["put", key, file]).collect();
        let commands: Vec<&[&str]> = commands.iter().map(|words| &words[..]).collect();
        place.client(BUCKET, &commands);
    };
    put("base");
    let from = |prefix: &str| format!("s3://{BUCKET}/{prefix}");
    place.run(&["initializer", &from("base"), "dest"]).exits(0);
    assert_eq!(
        seen(&workspace.path("dest")),
        ["config.json", "model.sig", "sub"]
    );
    workspace.write("small/config.json", "evil");
    put("tampered");
    place
        .run(&["initializer", &from("tampered"), "bad"])
        .exits(1)
        .says("artifact.changed");
    assert!(seen(&workspace.path("bad")).is_empty());
    place.run(&["initializer", &from("none"), "none"]).exits(2);
}
