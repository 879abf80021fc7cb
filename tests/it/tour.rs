//! The tour, and that what it prints can be typed again.

use crate::support::{Run, Workspace, fixture, repository};

fn tour(workspace: &Workspace, args: &[&str]) -> Run {
    let mut command = workspace.command([&["tour"], args].concat());
    Run::from(
        command
            .env("CARGO_MANIFEST_DIR", repository())
            .output()
            .unwrap(),
    )
}

#[test]
fn the_tour_tells_its_story_and_can_be_typed_again() {
    let workspace = Workspace::new();
    let before = workspace.shell(&format!(
        "find {} -type f | sort | xargs sha256sum",
        fixture("models").display()
    ));
    let run = tour(&workspace, &["--scratch", "scratch"]).exits(0);
    for text in [
        "$ weighbridge init",
        "recorded release",
        "allow model",
        "artifact.changed",
        "artifact.added",
        "artifact.missing",
        "artifact.symlink",
        "went as they should",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", run.stdout);
    }
    assert_eq!(run.stdout.matches("deny model").count(), 4);
    let after = workspace.shell(&format!(
        "find {} -type f | sort | xargs sha256sum",
        fixture("models").display()
    ));
    assert_eq!(before.stdout, after.stdout);

    // Every line after a prompt, in a fresh shell and an empty directory.
    let lines = run
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("$ "));
    let lines: Vec<&str> = lines.filter(|line| !line.starts_with("rm -r ")).collect();
    let script = lines.join("\n");
    workspace.shell("rm -r scratch; mkdir scratch").exits(0);
    let again = workspace.shell(&format!("set +e\n{script}"));
    assert_eq!(again.stdout.matches("deny model").count(), 4, "{again:?}");
    assert_eq!(again.stdout.matches("allow model").count(), 3, "{again:?}");
}

#[test]
fn the_tour_of_your_own_model_changes_nothing_of_it() {
    let workspace = Workspace::new();
    workspace.model("my model's copy");
    workspace
        .shell("cd 'my model'*; ln -s config.json link; chmod -R a-w .; mkdir ../t")
        .exits(0);
    let list = "find \"my model's copy\" | sort | xargs -d '\\n' ls -ld --time-style=full-iso";
    let before = workspace.shell(list).exits(0).stdout;
    tour(&workspace, &["--scratch", "t", "my model's copy"]).exits(0);
    assert_eq!(workspace.shell(list).stdout, before);
    workspace.shell("chmod -R u+w .").exits(0);
    // A single file.
    workspace.write("weights.onnx", "weights");
    tour(&workspace, &["--scratch", "u", "weights.onnx"]).exits(0);
    tour(&workspace, &["--scratch", "t", "weights.onnx"])
        .exits(2)
        .says("is not empty");
    tour(&workspace, &["nowhere"]).exits(2);
}
