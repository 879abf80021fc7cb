//! What pipelines are given: each kit runs in what runs it, or its stand-in for one machine, and is read by its linters.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::hub;
use crate::servers;
use crate::support::{PROGRAM, Run, Workspace, copy_tree, peer, repository, tool};

fn run(command: &mut Command) -> Run {
    command.output().unwrap().into()
}

/// A released model in a repository, with nothing that identifies this machine.
fn checkout() -> Workspace {
    let workspace = Workspace::released();
    commit(&workspace);
    workspace
}

fn commit(workspace: &Workspace) {
    workspace
        .shell(
            "test -d .git || git init -q -b main .; git add -A -f; \
             git -c user.name=t -c user.email=t@example.org commit -q --allow-empty -m x",
        )
        .exits(0);
}

/// PATH with our program in front.
fn path() -> String {
    let own = Path::new(PROGRAM).parent().unwrap().display().to_string();
    format!("{own}:{}", std::env::var("PATH").unwrap())
}

const OURS: &str = ".github/actions/weighbridge";

/// A repository with a workflow that uses the action, whose program comes from a server.
struct GitHub {
    workspace: Workspace,
    /// What is not of the repository.
    outside: Workspace,
    server: servers::Server,
    act: PathBuf,
    sha256: String,
}

fn github() -> Option<GitHub> {
    let act = peer("act", "act")?;
    if !tool("git") || !tool("sha256sum") {
        return None;
    }
    let workspace = Workspace::released();
    let outside = Workspace::new();
    std::os::unix::fs::symlink(PROGRAM, outside.path("weighbridge")).unwrap();
    let server = servers::files_over_tls(outside.root())?;
    let sha256 = workspace.shell(&format!("sha256sum {PROGRAM}")).stdout;
    let sha256 = sha256.split_whitespace().next().unwrap().to_owned();
    let action = workspace.path(OURS);
    std::fs::create_dir_all(&action).unwrap();
    std::fs::copy(repository().join("action.yml"), action.join("action.yml")).unwrap();
    std::fs::create_dir(action.join("kits")).unwrap();
    copy_tree(
        &repository().join("kits/github"),
        &action.join("kits/github"),
    );
    Some(GitHub {
        workspace,
        outside,
        server,
        act,
        sha256,
    })
}

impl GitHub {
    /// The example, with what is said of the action in it replaced.
    fn runs(&self, path: &str, sha256: &str) -> Run {
        let example = std::fs::read_to_string(repository().join("kits/github/workflow.yml"));
        let example = example.unwrap();
        let uses = "OWNER/weighbridge@0000000000000000000000000000000000000000";
        assert!(example.contains(uses) && example.contains("path: model\n"));
        let port = self.server.port;
        let upload = example.find("      - uses: github/codeql-action").unwrap();
        let deploy = example.find("  deploy:").unwrap();
        // Of what is here, all but the upload to GitHub can run.
        let outputs = "      - if: always()\n        run: echo \"outputs ${{ steps.gate.outputs.verdict }}/${{ steps.gate.outputs.exit-code }}\"\n";
        let workflow = format!("{}{outputs}{}", &example[..upload], &example[deploy..])
            .replace(uses, &format!("./{OURS}\n        id: gate"))
            .replace("          profile: production\n", "")
            .replace(
                "path: model\n",
                &format!(
                    "path: {path:?}\n          binary-url: https://localhost:{port}/weighbridge\n          \
                     binary-sha256: {sha256:?}\n"
                ),
            );
        self.workspace
            .write(".github/workflows/deploy.yml", workflow);
        commit(&self.workspace);
        let root = self.server.directory.join("root.crt");
        let mut command = Command::new(&self.act);
        command
            .args(["push", "--rm", "-P", "ubuntu-latest=-self-hosted"])
            .args(["--env", &format!("CURL_CA_BUNDLE={}", root.display())])
            .current_dir(self.workspace.root())
            .env("HOME", self.outside.path("home"))
            .env("XDG_CACHE_HOME", self.outside.path("cache"));
        run(&mut command)
    }
}

#[test]
fn a_workflow_of_github_deploys_what_passed() {
    let Some(github) = github() else { return };
    let sha256 = &github.sha256;
    let deployed = "what runs here runs only for a model that passed";
    github
        .runs("model", sha256)
        .exits(0)
        .says("outputs pass/0")
        .says("Weighbridge: allow `model`")
        .says(deployed);
    // Words of a shell are a name like any other.
    let run = github.runs(
        "model; touch \"$GITHUB_WORKSPACE\"/../ran $(touch ran)",
        sha256,
    );
    assert!(run.code != 0 && !run.stdout.contains(deployed), "{run:?}");
    let ran = github.workspace.shell("find . -name ran");
    assert_eq!(ran.stdout, "", "{run:?}");
    github.workspace.write("model/modeling.py", "import os");
    let run = github.runs("model", sha256).says("outputs fail/1");
    assert!(run.code != 0 && !run.stdout.contains(deployed), "{run:?}");
    run.says("modeling.py was added");
    // A program that is not the one that was pinned never runs.
    let run = github.runs("model", &"0".repeat(64));
    assert!(
        run.code != 0 && !run.stdout.contains("modeling.py was"),
        "{run:?}"
    );
    run.says("has not the SHA-256");
    let run = github.runs("model", "");
    assert!(run.code != 0);
    run.says("binary-url needs binary-sha256");
}

#[test]
fn what_githubs_linters_say() {
    let of = |file: &str| repository().join(file);
    let files = [of("action.yml"), of("kits/github/workflow.yml")];
    if let Some(actionlint) = peer("actionlint", "actionlint") {
        run(Command::new(&actionlint).arg(&files[1])).exits(0);
    }
    if let Some(zizmor) = peer("zizmor", "kits/bin/zizmor") {
        let all = ["--offline", "--quiet", "--persona=auditor"];
        run(Command::new(&zizmor).args(all).args(&files)).exits(0);
        // That it would say something.
        let workspace = Workspace::new();
        let text = std::fs::read_to_string(&files[0]).unwrap();
        let text = text.replace("run: bash \"$SOURCE", "run: bash \"${{ inputs.path }}");
        workspace.write("action.yml", text);
        let run = run(Command::new(&zizmor)
            .args(all)
            .arg(workspace.path("action.yml")));
        assert_ne!(run.code, 0, "{run:?}");
    }
    let Some(schema) = peer("check-jsonschema", "kits/bin/check-jsonschema") else {
        return;
    };
    for (name, file) in ["vendor.github-actions", "vendor.github-workflows"]
        .iter()
        .zip(&files)
    {
        run(Command::new(&schema)
            .args(["--builtin-schema", name])
            .arg(file))
        .exits(0);
    }
}

#[test]
fn a_pipeline_of_gitlab_ends_where_a_model_is_denied() {
    let Some(runner) = peer("gitlab-ci-local", "npm/node_modules/.bin/gitlab-ci-local") else {
        return;
    };
    let workspace = checkout();
    std::fs::create_dir(workspace.path("templates")).unwrap();
    std::fs::copy(
        repository().join("templates/gate.yml"),
        workspace.path("templates/gate.yml"),
    )
    .unwrap();
    let pipeline = |path: &str| {
        let text = format!(
            "include:\n  - local: templates/gate.yml\n    inputs:\n      path: {path:?}\n      stage: build\n      \
             image: registry.example/weighbridge@sha256:0\ndeploy:\n  stage: deploy\n  script: [echo deployed]\n"
        );
        workspace.write(".gitlab-ci.yml", text);
        workspace
            .shell("git remote get-url origin || git remote add origin git@gitlab.example:team/model.git")
            .exits(0);
        commit(&workspace);
    };
    let ask = |more: &[&str]| {
        let mut command = Command::new(&runner);
        command
            .args(["--force-shell-executor", "--home"])
            .arg(workspace.path("home"))
            .args(more)
            .current_dir(workspace.root())
            .env("PATH", path());
        run(&mut command)
    };
    pipeline("model");
    let run = ask(&[]).exits(0).says("allow model").says("deployed");
    assert!(run.stdout.contains("weighbridge-gate"), "{run:?}");
    let report = workspace.shell("cat $(find . -name gl-code-quality-report.json | head -1)");
    assert!(report.exits(0).json().is_array());
    // The pipeline that it becomes is one by GitLab's own schema.
    if let Some(schema) = peer("check-jsonschema", "kits/bin/check-jsonschema") {
        let preview = ask(&["--preview"]).exits(0).stdout;
        let (_, preview) = preview.split_once("---\n").unwrap();
        workspace.write("preview.yml", preview);
        let file = workspace.path("preview.yml");
        let mut command = Command::new(schema);
        command
            .args(["--builtin-schema", "vendor.gitlab-ci"])
            .arg(file);
        crate::kits::run(&mut command).exits(0);
    }
    pipeline("model; touch ran $(touch ran)");
    let run = ask(&[]);
    assert!(run.code != 0 && !run.stdout.contains("deployed"), "{run:?}");
    assert_eq!(workspace.shell("find . -name ran").stdout, "");
    // (That no input has an apostrophe is for GitLab to see to: this runner does not look.)
    // Whoever starts a pipeline chooses neither the policy nor the model.
    pipeline("model");
    let variables = [
        "--variable",
        "WEIGHBRIDGE_CONFIG=other.toml",
        "--variable",
        "profile=none",
    ];
    ask(&variables).exits(0).says("allow model");
    pipeline("model");
    workspace.write("model/config.json", "tampered");
    let run = ask(&[]).says("config.json was changed");
    assert!(
        run.code != 0 && !run.stdout.contains("> deployed"),
        "{run:?}"
    );
}

#[test]
fn a_commit_of_what_is_denied_is_refused() {
    let Some(pre_commit) = peer("pre-commit", "kits/bin/pre-commit") else {
        return;
    };
    let workspace = checkout();
    // As it is published: a repository with the hooks in it.
    std::fs::create_dir(workspace.path("hooks")).unwrap();
    let hooks = repository().join(".pre-commit-hooks.yaml");
    std::fs::copy(hooks, workspace.path("hooks/.pre-commit-hooks.yaml")).unwrap();
    let revision = workspace
        .shell(
            "cd hooks; git init -q -b main .; git add -A; git -c user.name=t -c user.email=t@example.org commit -q -m x; \
             git rev-parse HEAD",
        )
        .stdout;
    let config = format!(
        "repos:\n  - repo: {}\n    rev: {}\n    hooks:\n      - id: weighbridge-gate-system\n        args: [model]\n",
        workspace.path("hooks").display(),
        revision.trim(),
    );
    workspace.write(".pre-commit-config.yaml", config);
    workspace.write(".gitignore", "hooks\ncache\n");
    let ask = |words: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(words)
            .current_dir(workspace.root())
            .env("PRE_COMMIT_HOME", workspace.path("cache"))
            .env("PATH", path());
        run(&mut command)
    };
    let mut install = Command::new(&pre_commit);
    install.arg("install").current_dir(workspace.root());
    run(install.env("PRE_COMMIT_HOME", workspace.path("cache"))).exits(0);
    let mut validate = Command::new(&pre_commit);
    validate.arg("validate-manifest");
    run(validate.arg(repository().join(".pre-commit-hooks.yaml"))).exits(0);
    // A model that is as it was signed.
    workspace.write("notes.bin", "x");
    ask(&["add", "-A"]).exits(0);
    ask(&["commit", "-m", "good"]).exits(0).says("Passed");
    // What is no file of weights matters as well, and what is gone.
    workspace.write("model/modeling.py", "import os");
    ask(&["add", "-A"]).exits(0);
    ask(&["commit", "-m", "code"])
        .exits(1)
        .says("modeling.py was added");
    ask(&["rm", "-q", "-f", "model/modeling.py"]).exits(0);
    ask(&["rm", "-q", "model/model.sig"]).exits(0);
    ask(&["commit", "-m", "unsigned"])
        .exits(1)
        .says("signature.missing");
    ask(&["reset", "-q", "--hard"]).exits(0);
    workspace.write("model/weights.bin", "tampered");
    ask(&["add", "-A"]).exits(0);
    ask(&["commit", "-m", "bad"])
        .exits(1)
        .says("weights.bin was changed");
}

#[test]
fn a_pipeline_of_jenkins_deploys_what_passed() {
    let Some(groovy) = peer("groovy", "groovy/groovy-all-2.4.21.jar") else {
        return;
    };
    if !tool("java") {
        return;
    }
    let workspace = Workspace::released();
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    workspace.write(
        "weighbridge.toml",
        policy + "\n[profile.production.gate]\nsize = { max_files = 100 }\n",
    );
    let ask = |model: &str| {
        let mut command = Command::new("java");
        command
            .arg("-cp")
            .arg(&groovy)
            .arg("groovy.ui.GroovyMain")
            .arg(repository().join("tests/peers/jenkins.groovy"))
            .arg(repository().join("kits/jenkins/Jenkinsfile"))
            .current_dir(workspace.root())
            .env("MODEL", model)
            .env("PATH", path());
        run(&mut command)
    };
    let deployed = "what runs here runs only for a model that passed";
    let passed = ask("model")
        .exits(0)
        .says("allow model")
        .says("collected weighbridge.xml");
    assert!(passed.stdout.contains(deployed), "{passed:?}");
    let run = ask("model\"; touch ran; $(touch ran)").exits(1);
    assert!(
        !run.stdout.contains(deployed) && !workspace.path("ran").exists(),
        "{run:?}"
    );
    workspace.write("model/modeling.py", "import os");
    // What it says is collected as well when it denies.
    let run = ask("model")
        .exits(1)
        .says("modeling.py was added")
        .says("collected weighbridge.xml");
    assert!(!run.stdout.contains(deployed), "{run:?}");
}

#[test]
fn manifests_of_kubernetes_are_what_its_schemas_say() {
    let Some(validate) = peer("kubernetes-validate", "kits/bin/kubernetes-validate") else {
        return;
    };
    let kits = repository().join("kits/kubernetes");
    let manifest = kits.join("init-container.yaml");
    let check = |file: &Path| {
        run(Command::new(&validate)
            .args(["--kubernetes-version", "1.36", "--strict"])
            .arg(file))
    };
    check(&manifest).exits(0);
    check(&kits.join("hash-job.yaml")).exits(0);
    check(&kits.join("hash-merge-job.yaml")).exits(0);
    let workspace = Workspace::new();
    let text = std::fs::read_to_string(&manifest).unwrap();
    workspace.write(
        "wrong.yaml",
        text.replace("initContainers", "initContainer"),
    );
    assert_ne!(check(&workspace.path("wrong.yaml")).code, 0);
}

/// As `KServe` merges the container with the arguments that it adds, and starts it.
#[test]
fn kserve_starts_what_passed() {
    let Some(python) = peer("kubernetes-validate", "kits/bin/python") else {
        return;
    };
    let Some(place) = hub::place() else { return };
    let workspace = &place.workspace;
    let check = |manifest: &Path| {
        run(Command::new(&python)
            .arg(repository().join("tests/peers/crd.py"))
            .arg(repository().join("fixtures/kserve/clusterstoragecontainers.yaml"))
            .arg(manifest))
    };
    let manifest = repository().join("kits/kubernetes/kserve-storage-container.yaml");
    let container = check(&manifest).exits(0).json();
    let text = std::fs::read_to_string(&manifest).unwrap();
    workspace.write(
        "wrong.yaml",
        text.replace("supportedUriFormats", "uriFormats"),
    );
    assert_ne!(check(&workspace.path("wrong.yaml")).code, 0);
    let prefixes = container["spec"]["supportedUriFormats"].as_array().unwrap();
    assert!(prefixes.iter().any(|one| one["prefix"] == "verified+hf://"));

    workspace.model("model");
    workspace.run(["sign", "--record", "model"]).exits(0);
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    workspace.write(
        "weighbridge.toml",
        policy + "\n[profile.production.gate]\nsize = { max_files = 100 }\n",
    );
    let fill = format!("cp -R {}/. .", workspace.path("model").display());
    place.hub.repository("kserve", &fill);
    place
        .hub
        .repository("kserve-bad", &format!("{fill}; echo x > added.py"));
    let container = &container["spec"]["container"];
    let words = container["command"].as_array().unwrap();
    let words: Vec<&str> = words.iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words[0], "weighbridge");
    let dest = workspace.path("mnt/models");
    for (source, code) in [
        ("verified+hf://acme/kserve:main", 0),
        ("verified+hf://acme/kserve-bad:main", 1),
    ] {
        _ = std::fs::remove_dir_all(&dest);
        let args = [&words[1..], &[source, dest.to_str().unwrap()]].concat();
        let mut command = place.command(&args);
        for one in container["env"].as_array().unwrap() {
            let value = one["value"].as_str().unwrap();
            let value = match one["name"].as_str().unwrap() {
                "WEIGHBRIDGE_CONFIG" => workspace.path("weighbridge.toml").display().to_string(),
                "WEIGHBRIDGE_STATE_DIR" => workspace.path("state").display().to_string(),
                _ => value.to_owned(),
            };
            command.env(one["name"].as_str().unwrap(), value);
        }
        let run: Run = command.output().unwrap().into();
        let run = run.exits(code);
        assert_eq!(dest.join("config.json").exists(), code == 0, "{run:?}");
    }
}
