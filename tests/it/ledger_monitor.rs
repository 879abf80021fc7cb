//! The monitor: goes on where it stopped, raises each alert, and says by its exit code what it found.

use crate::support::{Run, Workspace, copy_tree};

fn monitor(workspace: &Workspace, more: &[&str]) -> Run {
    let args = ["ledger", "monitor", "--state", "watch.json"];
    workspace.run([&args, more].concat())
}

fn rules(run: &Run) -> Vec<(String, Option<u64>)> {
    let alert = |line: &str| {
        let alert: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            alert["log"]
                .as_str()
                .unwrap()
                .starts_with("weighbridge.local")
        );
        (
            alert["rule"].as_str().unwrap().to_owned(),
            alert["index"].as_u64(),
        )
    };
    run.stdout.lines().map(alert).collect()
}

#[test]
fn it_goes_on_where_it_stopped() {
    let workspace = Workspace::released();
    assert!(monitor(&workspace, &[]).exits(0).stdout.is_empty());
    workspace.write("junk", "junk");
    workspace
        .run(["ledger", "append", "--opaque", "junk"])
        .exits(0);
    let run = monitor(&workspace, &[]).exits(1);
    assert_eq!(rules(&run), [("entry.unknown".to_owned(), Some(1))]);
    monitor(&workspace, &[])
        .exits(0)
        .says("entries 2 to 2: 0 alerts");

    let lines: Vec<String> = (0..600).map(|n| format!("line {n}\n")).collect();
    workspace.write("lines", lines.concat());
    workspace
        .run(["ledger", "append", "--opaque", "--lines", "lines"])
        .exits(0);
    assert_eq!(rules(&monitor(&workspace, &[]).exits(1)).len(), 600);
    monitor(&workspace, &[]).exits(0);
    // Damage is no alert: nothing is known then, and it is looked at again.
    workspace.run(["ledger", "append", "--opaque", "rules.toml"]);
    workspace.write("more", "more");
    workspace
        .run(["ledger", "append", "--opaque", "more"])
        .exits(0);
    let bundle = workspace.path("ledger/tile/entries/002.p/91");
    let good = std::fs::read(&bundle).unwrap();
    std::fs::write(
        &bundle,
        good.iter().map(|byte| byte ^ 1).collect::<Vec<_>>(),
    )
    .unwrap();
    monitor(&workspace, &[]).exits(2);
    std::fs::write(&bundle, good).unwrap();
    assert_eq!(
        rules(&monitor(&workspace, &[]).exits(1)),
        [("entry.unknown".to_owned(), Some(602))]
    );
    workspace.write("watch.json", "{");
    monitor(&workspace, &[]).exits(2).says("watch.json");
}

#[test]
fn forks_and_rollbacks_are_alerts_with_both_notes() {
    let workspace = Workspace::released();
    copy_tree(&workspace.path("ledger"), &workspace.path("older"));
    for file in ["one", "two"] {
        workspace.write(file, file);
    }
    workspace
        .run(["ledger", "append", "--opaque", "one"])
        .exits(0);
    monitor(&workspace, &[]).exits(1);
    std::fs::rename(workspace.path("ledger"), workspace.path("newer")).unwrap();
    copy_tree(&workspace.path("older"), &workspace.path("ledger"));
    let run = monitor(&workspace, &[]).exits(1);
    assert_eq!(rules(&run), [("log.rollback".to_owned(), None)]);
    workspace
        .run(["ledger", "append", "--opaque", "two"])
        .exits(0);
    let run = monitor(&workspace, &[]).exits(1);
    assert_eq!(rules(&run), [("log.fork".to_owned(), None)]);
    assert!(run.stdout.contains("shown now") && run.stdout.contains("seen before"));
    // It stays where it was: the honest log goes on.
    std::fs::remove_dir_all(workspace.path("ledger")).unwrap();
    std::fs::rename(workspace.path("newer"), workspace.path("ledger")).unwrap();
    monitor(&workspace, &[]).exits(0);
}

#[test]
fn rules_are_strict_and_programs_get_each_alert() {
    let workspace = Workspace::released();
    workspace.write(
        "rules.toml",
        "version = 1\nkinds = [\"acquire\"]\nroles = [\"auditor\"]\n",
    );
    workspace
        .shell("printf '#!/bin/sh\ncat >> alerts\nexit 3\n' > alert.sh; chmod +x alert.sh")
        .exits(0);
    let run = monitor(
        &workspace,
        &["--rules", "rules.toml", "--exec", "./alert.sh"],
    )
    .exits(1);
    let expected = [
        ("record.kind".to_owned(), Some(0)),
        ("record.role".to_owned(), Some(0)),
    ];
    assert_eq!(rules(&run), expected);
    assert_eq!(workspace.read("alerts"), run.stdout.as_bytes());
    run.says("ended with exit status: 3");
    workspace.write("rules.toml", "version = 1\nkind = [\"acquire\"]\n");
    monitor(&workspace, &["--rules", "rules.toml"])
        .exits(2)
        .says("rules.toml")
        .says("unknown field");
}
