//! Datasets that are lists, what they were made into, and who asks where data came from.

use serde_json::Value;

use crate::acquire_https::{Site, site};
use crate::support::Workspace;

fn record(workspace: &Workspace, index: u64) -> Value {
    let run = workspace.run(["ledger", "show", &index.to_string()]);
    run.exits(0).json()["predicate"].clone()
}

fn items(workspace: &Workspace, record: &Value) -> Vec<Value> {
    let attached = &record["attachments"][0];
    assert_eq!(attached["name"], "dataset-items");
    let digest = attached["sha256"].as_str().unwrap();
    let text = workspace
        .shell(&format!("cat $(find ledger -name '{digest}*')"))
        .exits(0)
        .stdout;
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn list(site: &Site, more: &str) -> String {
    format!(
        "url,path,sha256\n{},a.txt,\n{},b/b.txt,{}\n{more}",
        site.url("files/a.txt"),
        site.url("files/b.txt"),
        "3263bef72cbf7c4f1a0e7fa4bc7a5d6ff76f3e5f5c3fb1eb2ce2a3b1b6a9d6e0"
    )
}

#[test]
fn a_list_is_fetched() {
    let Some(site) = site() else { return };
    let workspace = &site.workspace;
    workspace.write("www/files/a.txt", "a");
    workspace.write("www/files/b.txt", "b");
    workspace.write("urls.csv", list(&site, ""));
    let acquire = |more: &[&str]| {
        let mut args = vec![
            "acquire",
            "--json",
            "--from-csv",
            "urls.csv",
            "--allow-private",
        ];
        args.extend(more);
        args.push("data");
        site.run(&args)
    };
    // Not what the list says.
    let right = workspace.shell("printf b | sha256sum | cut -c1-64").stdout;
    acquire(&[]).exits(1).says(right.trim()).says("is kept as");
    let text = String::from_utf8(workspace.read("urls.csv")).unwrap();
    let wrong = "3263bef72cbf7c4f1a0e7fa4bc7a5d6ff76f3e5f5c3fb1eb2ce2a3b1b6a9d6e0";
    workspace.write("urls.csv", text.replace(wrong, right.trim()));
    let run = acquire(&[
        "--method",
        "crawl",
        "--licence",
        "CC-BY-4.0",
        "--collector",
        "the crawler team",
        "--public",
        "true",
        "--terms",
        "https://example.org/robots.txt",
    ]);
    assert_eq!(run.exits(0).json()["files"], 2);
    let predicate = record(workspace, 0);
    for (field, value) in [
        ("asset", "dataset"),
        ("method", "crawl"),
        ("licence", "CC-BY-4.0"),
        ("collector", "the crawler team"),
    ] {
        assert_eq!(predicate[field], value);
    }
    assert_eq!(predicate["public"], true);
    // One was there from the first run, which its server was asked about for this one: not for the other.
    let all = items(workspace, &predicate);
    assert_eq!(all.len(), 2);
    for item in &all {
        assert_eq!(item["status"], 200, "{item}");
        assert!(item["retrieved_at"].is_string() && item["etag"].is_string());
    }
    assert_eq!(all[1]["path"], "b/b.txt");
    assert_eq!(all[1]["sha256"], right.trim());
    site.run(&["verify", "--source", "--offline", "data"])
        .exits(0);
    // What has a digest and is there is not asked for.
    let before = site.requests().len();
    acquire(&[]).exits(0);
    assert!(!site.requests()[before..].contains("/files/b.txt"));
    // Lists lead nowhere inside, unless that is said.
    site.run(&["acquire", "--no-record", "--from-csv", "urls.csv", "other"])
        .exits(2)
        .says("private network");
    for (text, says) in [
        ("path\nx\n", "no column `url`"),
        ("url\nhttps://h/a\nhttps://g/a\n", "a path of its own"),
        ("url,path\nhttps://h/a,../../x\n", "line 2"),
        ("url\nhttps://h/a?access_token=x\n", "line 2"),
    ] {
        workspace.write("odd.csv", text);
        site.run(&["acquire", "--no-record", "--from-csv", "odd.csv", "odd"])
            .exits(2)
            .says(says);
    }
}

#[test]
fn descriptions_in_croissant() {
    let Some(site) = site() else { return };
    let workspace = &site.workspace;
    workspace.write("www/files/a.csv", "a");
    let digest = workspace.shell("printf a | sha256sum | cut -c1-64").stdout;
    let describe = |digest: &str| {
        let text = serde_json::json!({
            "@context": { "@vocab": "https://schema.org/", "cr": "http://mlcommons.org/croissant/" },
            "@type": "Dataset",
            "name": "d",
            "url": "https://example.org/d",
            "license": "https://creativecommons.org/publicdomain/zero/1.0/",
            "distribution": [
                { "@type": "cr:FileObject", "@id": "a.csv", "contentUrl": site.url("files/a.csv"), "sha256": digest },
                { "@type": "cr:FileSet", "@id": "set", "includes": "*.csv" },
            ],
        });
        workspace.write("croissant.json", text.to_string());
    };
    let acquire = || {
        _ = std::fs::remove_dir_all(workspace.path("data"));
        site.run(&[
            "acquire",
            "--json",
            "--allow-private",
            "--from-croissant",
            "croissant.json",
            "data",
        ])
    };
    describe(digest.trim());
    let run = acquire().exits(0).says("set (a set of files)");
    assert_eq!(run.json()["authentication"]["method"], "tls");
    let predicate = record(workspace, 0);
    assert_eq!(predicate["source_uri"], "https://example.org/d");
    assert_eq!(
        predicate["licence"],
        "https://creativecommons.org/publicdomain/zero/1.0/"
    );
    let attached = predicate["attachments"].as_array().unwrap();
    let description = attached.iter().find(|one| one["name"] == "croissant");
    let sha256 = workspace.shell("sha256sum croissant.json | cut -c1-64");
    assert_eq!(description.unwrap()["sha256"], sha256.stdout.trim());
    describe(&digest.trim().replace(|c: char| c.is_ascii_digit(), "0"));
    acquire().exits(1).says("is published");
    // The placeholder of generators is no digest.
    describe("https://github.com/mlcommons/croissant/issues/80");
    assert_eq!(acquire().exits(0).json()["authentication"]["method"], "tls");
}

/// Two datasets, and models that were made from them; the digest of one model.
fn story() -> (Workspace, String) {
    let workspace = Workspace::initialised();
    let run = |args: &[&str]| workspace.run(args);
    workspace.shell("mkdir -p crawl other model tuned apart && echo 1 > crawl/1 && echo 2 > crawl/2 && echo 3 > crawl/3; \
        echo o > other/o; for m in model tuned apart; do echo $m > $m/w; done").exits(0);
    workspace.write(
        "crawl.csv",
        "url,path,retrieved_at\n\
         https://forum.example.com/1,1,2026-01-10T00:00:00Z\n\
         https://example.com/2,2,2026-03-10T00:00:00Z\n\
         https://elsewhere.org/3,3,\n",
    );
    let adopt = run(&[
        "acquire",
        "--json",
        "--adopt",
        "--from-csv",
        "crawl.csv",
        "crawl",
    ])
    .exits(0)
    .json();
    // Nobody was asked, and nothing is claimed.
    assert_eq!(adopt["authentication"]["result"], "not-checked");
    run(&[
        "record",
        "acquire",
        "--source",
        "https://other.org/d",
        "--asset",
        "dataset",
        "other",
    ])
    .exits(0);
    run(&[
        "record",
        "derive",
        "--relation",
        "trained-on",
        "--input",
        "training-data=./crawl",
        "--input",
        "./other",
        "model",
    ])
    .exits(0);
    let model = workspace
        .shell("weighbridge hash model | sha256sum | cut -c1-64")
        .stdout;
    let model = format!("dirHash1:{}", model.trim());
    run(&[
        "record",
        "derive",
        "--relation",
        "fine-tuned",
        "--input",
        &format!("base-model={model}"),
        "tuned",
    ])
    .exits(0);
    // A circle ends.
    run(&[
        "record",
        "derive",
        "--relation",
        "merged",
        "--input",
        "tuned",
        "model",
    ])
    .exits(0);
    run(&[
        "record",
        "derive",
        "--relation",
        "trained-on",
        "--input",
        "other",
        "apart",
    ])
    .exits(0);
    (workspace, model)
}

/// From where data came to the models that hold it; by the records alone.
#[test]
fn where_data_went() {
    let (workspace, model) = story();
    let run = |args: &[&str]| workspace.run(args);
    let trace = |args: &[&str]| {
        let mut all = vec!["trace", "--json"];
        all.extend(args);
        run(&all).exits(0).json()
    };
    let names = |answer: &Value, field: &str| -> Vec<String> {
        let all = answer[field].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let answer = trace(&["--source", "example.com"]);
    assert_eq!(names(&answer, "datasets"), ["crawl"]);
    assert_eq!(answer["datasets"][0]["items"], 2);
    assert_eq!(answer["datasets"][0]["items_in_all"], 3);
    assert_eq!(names(&answer, "derived"), ["model", "tuned", "model"]);
    assert_eq!(answer["derived"][1]["from"], model.as_str());
    let answer = trace(&[
        "--source",
        "example.com",
        "--between",
        "2026-02-01",
        "2026-03-31",
    ]);
    assert_eq!(answer["datasets"][0]["items"], 1);
    let answer = trace(&[
        "--source",
        "example.com",
        "--between",
        "2026-04-01",
        "2026-04-30",
    ]);
    assert_eq!(
        (
            names(&answer, "datasets").len(),
            names(&answer, "derived").len()
        ),
        (0, 0)
    );
    // What has no time is not passed over.
    let answer = trace(&[
        "--source",
        "elsewhere.org",
        "--between",
        "2026-04-01",
        "2026-04-30",
    ]);
    assert_eq!(answer["datasets"][0]["without_time"], 1);
    assert_eq!(
        names(&trace(&["--source", "https://other.org/"]), "derived"),
        ["model", "apart", "tuned", "model"]
    );
    assert_eq!(
        names(&trace(&["--source", "ample.com"]), "datasets").len(),
        0
    );
    let digest = workspace.shell("sha256sum crawl/2 | cut -c1-64").stdout;
    let answer = trace(&["--digest", &format!("sha256:{}", digest.trim())]);
    assert_eq!(names(&answer, "datasets"), ["crawl"]);
    assert_eq!(
        names(&trace(&["--digest", &model]), "derived"),
        ["tuned", "model"]
    );
    run(&["trace", "--source", "example.com"])
        .exits(0)
        .says("2 of 3 items")
        .says("trained-on");
}

#[test]
fn what_cannot_be_answered() {
    let (workspace, _) = story();
    let run = |args: &[&str]| workspace.run(args);
    // A file that the list does not have, or not any more.
    workspace.shell("echo x > crawl/4").exits(0);
    run(&[
        "acquire",
        "--no-record",
        "--adopt",
        "--from-csv",
        "crawl.csv",
        "crawl",
    ])
    .exits(1)
    .says("artifact.added");
    workspace.shell("rm crawl/4 crawl/3").exits(0);
    run(&[
        "acquire",
        "--no-record",
        "--adopt",
        "--from-csv",
        "crawl.csv",
        "crawl",
    ])
    .exits(1)
    .says("artifact.missing");
    // Without its items a ledger cannot answer.
    workspace
        .shell("rm -f $(grep -rl forum.example.com ledger/blob)")
        .exits(0);
    run(&["trace", "--source", "example.com"])
        .exits(2)
        .says("items cannot be read");
    run(&["trace", "--source", "a b"])
        .exits(2)
        .says("a domain such as example.com");
    run(&[
        "trace",
        "--source",
        "a.org",
        "--between",
        "2026-02-01",
        "2026-01-01",
    ])
    .exits(2);
}

/// Files of a dataset by themselves, and addresses as they are fetched and not as they are written.
#[test]
fn nothing_is_missed() {
    let workspace = Workspace::initialised();
    let run = |args: &[&str]| workspace.run(args);
    workspace
        .shell("mkdir d part model && echo a > d/a && echo b > d/b && echo c > d/c && echo m > model/w && echo p > part/w")
        .exits(0);
    workspace.write(
        "d.csv",
        "url,path\nhttps://UP.Example:443/a,a\nhttps://ex%61mple.com/b,b\nhttps://dot.example./c,c\n",
    );
    run(&["acquire", "--adopt", "--from-csv", "d.csv", "d"])
        .exits(0)
        .says("3 of 3 files taken as they are");
    run(&[
        "record",
        "derive",
        "--relation",
        "trained-on",
        "--input",
        "training-data=./d/a",
        "part",
    ])
    .exits(0);
    let trace = |args: &[&str]| {
        let mut all = vec!["trace", "--json"];
        all.extend(args);
        run(&all).exits(0).json()
    };
    let found = |source: &str| {
        let answer = trace(&["--source", source]);
        (
            answer["datasets"].as_array().unwrap().len(),
            answer["derived"].as_array().unwrap().len(),
        )
    };
    // From one file of it a model was made.
    assert_eq!(found("up.example"), (1, 1));
    assert_eq!(found("https://up.example/"), (1, 1));
    assert_eq!(found("example.com"), (1, 0));
    assert_eq!(found("dot.example"), (1, 0));
    run(&["trace", "--source", "up.example:443"]).exits(2);
    // A file of a model is in what was made from the model.
    run(&[
        "record",
        "derive",
        "--relation",
        "fine-tuned",
        "--input",
        "base-model=./part",
        "model",
    ])
    .exits(0);
    let digest = workspace.shell("sha256sum part/w | cut -c1-64").stdout;
    let answer = trace(&["--digest", &format!("sha256:{}", digest.trim())]);
    assert_eq!(answer["derived"].as_array().unwrap().len(), 1);
    // A name that is a file and could be a role is asked about.
    workspace
        .shell("mkdir x=part && echo y > x=part/y")
        .exits(0);
    run(&[
        "record",
        "derive",
        "--relation",
        "merged",
        "--input",
        "x=part",
        "model",
    ])
    .exits(2)
    .says("write ./x=part");
    // Passwords are not shown, and a signature's name is no file's.
    workspace.write(
        "secret.csv",
        "url,path\nhttps://alice:hunter2@example.org/a,a\n",
    );
    let shown = run(&[
        "acquire",
        "--no-record",
        "--adopt",
        "--from-csv",
        "secret.csv",
        "d",
    ])
    .exits(2);
    assert!(!shown.stderr.contains("hunter2"), "{shown:?}");
    workspace.write("sig.csv", "url,path\nhttps://example.org/a,model.sig\n");
    run(&[
        "acquire",
        "--no-record",
        "--adopt",
        "--from-csv",
        "sig.csv",
        "d",
    ])
    .exits(2)
    .says("what a signature is called");
}

/// Of one server alone, which is on record too: its items know when they were retrieved.
#[test]
fn when_items_are_from() {
    let workspace = Workspace::initialised();
    let run = |args: &[&str]| workspace.run(args);
    workspace.shell("mkdir one && echo a > one/a").exits(0);
    workspace.write(
        "one.csv",
        "url,retrieved_at\nhttps://one.example/a,2026-02-01T00:00:00Z\n",
    );
    run(&["acquire", "--adopt", "--from-csv", "one.csv", "one"]).exits(0);
    let between = |to: &str| {
        let args = [
            "trace",
            "--json",
            "--source",
            "one.example",
            "--between",
            "2026-01-01",
            to,
        ];
        run(&args).exits(0).json()["datasets"].clone()
    };
    assert_eq!(between("2026-01-31"), serde_json::json!([]));
    assert_eq!(between("2026-02-28")[0]["without_time"], 0);
}
