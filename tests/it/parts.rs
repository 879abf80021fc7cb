//! One artifact hashed in parts and joined: `hash --part`, `manifest merge`, the kits for clusters, and `hash --resume`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Run, Workspace, repository};

fn part(workspace: &Workspace, number: u32, of: u32, more: &[&str]) -> Run {
    let (which, out) = (format!("{number}/{of}"), format!("part{number}.json"));
    let args = [&["hash", "--part", &which, "--out", &out], more, &["model"]].concat();
    workspace.run(args)
}

/// With all `of` parts of `model` in it.
fn parts(workspace: &Workspace, of: u32, more: &[&str]) -> Vec<String> {
    let hash = |number| {
        part(workspace, number, of, more).exits(0);
        format!("part{number}.json")
    };
    (1..=of).map(hash).collect()
}

fn merge(workspace: &Workspace, more: &[&str], parts: &[String]) -> Run {
    let parts = parts.iter().map(String::as_str);
    let args: Vec<&str> = ["manifest", "merge"]
        .into_iter()
        .chain(more.iter().copied())
        .chain(parts)
        .collect();
    workspace.run(args)
}

#[test]
fn what_is_merged_is_what_one_machine_prints() {
    let workspace = Workspace::new();
    workspace.model("model");
    for of in [1, 2, 3, 7, 20] {
        for more in [
            &[][..],
            &["-a", "blake3"],
            &["-a", "fs-verity,sha256"],
            &["--covered"],
        ] {
            let all = parts(&workspace, of, more);
            let mut reversed = all.clone();
            reversed.reverse();
            for json in [&[][..], &["--json"]] {
                let whole = workspace
                    .run([&["hash"], more, json, &["model"]].concat())
                    .exits(0);
                assert_eq!(merge(&workspace, json, &all).exits(0).stdout, whole.stdout);
                assert_eq!(
                    merge(&workspace, json, &reversed).exits(0).stdout,
                    whole.stdout
                );
            }
        }
    }
    // A single file cannot be cut: one part has it.
    for of in [1, 3] {
        let all: Vec<String> = (1..=of).map(|number| format!("f{number}.json")).collect();
        for (number, out) in (1..).zip(&all) {
            let which = format!("{number}/{of}");
            workspace
                .run(["hash", "--part", &which, "--out", out, "model/weights.bin"])
                .exits(0);
        }
        for json in [&[][..], &["--json"]] {
            let whole = workspace.run([&["hash"], json, &["model/weights.bin"]].concat());
            assert_eq!(merge(&workspace, json, &all).exits(0).stdout, whole.stdout);
        }
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let workspace = Workspace::new();
    workspace.model("model");
    let all = parts(&workspace, 3, &[]);
    let one = |index: usize| all[index..=index].to_vec();
    merge(&workspace, &[], &[one(0), one(2)].concat())
        .exits(2)
        .says("2/3");
    merge(&workspace, &[], &[one(0), one(0), one(1), one(2)].concat())
        .exits(2)
        .says("part 1 is there twice");
    merge(&workspace, &[], &[]).exits(2);
    merge(&workspace, &[], &["nothing.json".into()])
        .exits(2)
        .says("nothing.json");

    // By another algorithm, into another number of parts, of another state of the tree.
    part(&workspace, 2, 3, &["-a", "blake3"]).exits(0);
    merge(&workspace, &[], &all)
        .exits(1)
        .says("algorithms differ");
    part(&workspace, 2, 4, &[]).exits(0);
    merge(&workspace, &[], &all)
        .exits(1)
        .says("numbers of parts differ");
    workspace.write("model/new", "n");
    part(&workspace, 2, 3, &[]).exits(0);
    merge(&workspace, &[], &all)
        .exits(1)
        .says("numbers of files differ");
    fs::remove_file(workspace.path("model/new")).unwrap();
    workspace.write("model/config.json", "{ }");
    part(&workspace, 2, 3, &[]).exits(0);
    merge(&workspace, &[], &all)
        .exits(1)
        .says("paths or sizes differ");
    workspace.write("model/config.json", "{}");
    part(&workspace, 2, 3, &[]).exits(0);
    merge(&workspace, &[], &all).exits(0);

    // Somebody changes what a part says.
    let kept = String::from_utf8(workspace.read("part2.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&kept).unwrap();
    let file = document["files"][0].clone();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = document.clone();
        change(&mut changed);
        workspace.write("part2.json", changed.to_string());
        merge(&workspace, &[], &all)
    };
    with(&|part| part["files"] = serde_json::json!([]))
        .exits(1)
        .says("every part lists");
    with(&|part| part["files"].as_array_mut().unwrap().push(file.clone())).exits(1);
    with(&|part| part["files"][0]["size"] = 1_000.into()).exits(1);
    with(&|part| part["files"][0]["path"] = "../x".into())
        .exits(2)
        .says("../x");
    with(&|part| part["files"][0]["digests"] = serde_json::json!([])).exits(2);
    with(&|part| part["files"][0]["digests"][0] = "00".into()).exits(2);
    with(&|part| part["part"] = 0.into()).exits(2);
    with(&|part| part["parts"] = 4_000_000_000_u32.into()).exits(2);
    with(&|part| part["schema"] = "other".into())
        .exits(2)
        .says("other");
    with(&|part| part["path"] = "a\nb".into())
        .exits(2)
        .says("control character");
    with(&|part| part["algorithms"] = serde_json::json!(["sha256", "sha256"])).exits(2);
    with(&|part| part["more"] = 1.into())
        .exits(2)
        .says("part2.json");
    workspace.write("part2.json", "{");
    merge(&workspace, &[], &all).exits(2).says("part2.json");
    workspace.write("part2.json", &kept);
    merge(&workspace, &[], &all).exits(0);
}

/// Parts that fit together, and say nothing or too much.
#[test]
fn nothing_is_printed_of_parts_that_say_nothing() {
    let workspace = Workspace::new();
    workspace.model("model");
    let all = parts(&workspace, 1, &[]);
    let kept = workspace.read("part1.json");
    let document: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = document.clone();
        change(&mut changed);
        workspace.write("part1.json", changed.to_string());
        let run = merge(&workspace, &[], &all);
        assert_eq!(run.stdout, "");
        run
    };
    let listing = |part: &mut serde_json::Value, files: &[serde_json::Value]| {
        let all = files.iter();
        let all = all.map(|file| {
            (
                file["path"].as_str().unwrap(),
                file["size"].as_u64().unwrap(),
            )
        });
        part["listing"] = weighbridge::artifact::parts::listing(all)
            .to_string()
            .into();
        part["all_files"] = files.len().into();
        part["files"] = files.into();
    };
    with(&|part| listing(part, &[]))
        .exits(1)
        .says("holds no file");
    let file = document["files"][0].clone();
    with(&|part| listing(part, &[file.clone(), file.clone()]))
        .exits(1)
        .says("twice");
    with(&|part| part["is_single_file"] = true.into()).exits(1);
    with(&|part| {
        part["algorithms"] = serde_json::json!([]);
        for file in part["files"].as_array_mut().unwrap() {
            file["digests"] = serde_json::json!([]);
        }
    })
    .exits(2)
    .says("no algorithm");
    with(&|part| part["parts"] = 10_000.into())
        .exits(2)
        .says("9999 of 10000 parts missing, the first is 2/10000");
}

#[test]
fn a_part_is_asked_for_rightly_or_not_at_all() {
    let workspace = Workspace::new();
    workspace.model("model");
    for wrong in ["0/3", "4/3", "3", "1/20000", "x/3"] {
        workspace
            .run(["hash", "--part", wrong, "--out", "p", "model"])
            .exits(2)
            .says(wrong);
    }
    workspace
        .run(["hash", "--part", "1/2", "model"])
        .exits(2)
        .says("--out");
    workspace
        .run(["hash", "--out", "p", "model"])
        .exits(2)
        .says("--part");
    workspace
        .run(["hash", "--part", "1/2", "--out", "model/p", "model"])
        .exits(2)
        .says("the other parts would find");
    // Nor is a single file replaced by what is said of it, by whatever name.
    std::os::unix::fs::symlink("model/weights.bin", workspace.path("w")).unwrap();
    for out in ["model/weights.bin", "./model/../model/weights.bin", "w"] {
        workspace
            .run(["hash", "--part", "1/1", "--out", out, "model/weights.bin"])
            .exits(2)
            .says("written into the artifact");
    }
    assert_eq!(workspace.read("model/weights.bin"), b"not in the directory");
    fs::create_dir(workspace.path("none")).unwrap();
    workspace
        .run(["hash", "--part", "1/2", "--out", "p", "none"])
        .exits(1);
    std::os::unix::fs::symlink("x", workspace.path("model/link")).unwrap();
    workspace
        .run(["hash", "--part", "1/2", "--out", "p", "model"])
        .exits(1)
        .says("link");
    assert!(!workspace.path("p").exists());
}

/// With the program that is tested first on the path.
fn shell(workspace: &Workspace, script: &str, envs: &[(&str, &str)]) -> Run {
    let program = Path::new(env!("CARGO_BIN_EXE_weighbridge"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(workspace.root());
    command.env("PATH", path).envs(envs.iter().copied());
    command.output().unwrap().into()
}

/// What Kubernetes would start, for every index.
#[test]
fn the_indexed_job_hashes_what_one_machine_does() {
    let workspace = Workspace::new();
    workspace.model("model");
    fs::create_dir(workspace.path("parts")).unwrap();
    let script = |name: &str| {
        let manifest = repository().join("kits/kubernetes").join(name);
        let job: serde_json::Value =
            serde_saphyr::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["command"], serde_json::json!(["sh", "-c"]));
        let script = container["args"][0].as_str().unwrap();
        let script = script
            .replace("/parts/", "parts/")
            .replace(" /model", " model");
        (script, job["spec"]["completions"].as_u64())
    };
    let (hash, completions) = script("hash-job.yaml");
    for index in 0..completions.unwrap() {
        let index = [("JOB_COMPLETION_INDEX", &*index.to_string())];
        shell(&workspace, &hash, &index).exits(0);
    }
    let merged = shell(&workspace, &script("hash-merge-job.yaml").0, &[]).exits(0);
    assert_eq!(merged.stdout, workspace.run(["hash", "model"]).stdout);
    assert_eq!(merged.stderr, "");
}

/// What Slurm would start, for every task.
#[test]
fn the_array_of_slurm_hashes_what_one_machine_does() {
    let workspace = Workspace::new();
    workspace.model("model");
    fs::create_dir(workspace.path("parts")).unwrap();
    let script = |name: &str| {
        repository()
            .join("kits/slurm")
            .join(name)
            .display()
            .to_string()
    };
    let hash = format!("{} model parts", script("hash-array.sh"));
    for task in ["1", "2", "3", "4", "5"] {
        let own = [
            ("SLURM_ARRAY_TASK_ID", task),
            ("SLURM_ARRAY_TASK_COUNT", "5"),
        ];
        shell(&workspace, &hash, &own).exits(0);
    }
    let merge = format!("{} parts", script("merge.sh"));
    let whole = workspace.run(["hash", "model"]).stdout;
    assert_eq!(shell(&workspace, &merge, &[]).exits(0).stdout, whole);
    // One is run again alone.
    fs::remove_file(workspace.path("parts/part3.json")).unwrap();
    shell(&workspace, &merge, &[]).exits(2).says("3/5");
    let again = [
        ("SLURM_ARRAY_TASK_ID", "3"),
        ("SLURM_ARRAY_TASK_COUNT", "1"),
        ("PARTS", "5"),
    ];
    shell(&workspace, &hash, &again).exits(0);
    assert_eq!(shell(&workspace, &merge, &[]).exits(0).stdout, whole);
}

#[test]
fn an_interrupted_run_goes_on_where_it_was() {
    let workspace = Workspace::on_disk();
    fs::create_dir(workspace.path("model")).unwrap();
    // Holes: they cost the disk nothing, and the processor as much as any bytes.
    for number in 0_u32..40 {
        let path = workspace.path(&format!("model/{number}"));
        let file = File::create(path).unwrap();
        file.set_len(64 << 20).unwrap();
    }
    std::thread::sleep(Duration::from_secs(4));
    let resume = |engine: &str| {
        let args = [
            "hash", "--engine", engine, "--jobs", "1", "--resume", "model",
        ];
        let mut command = workspace.command(args);
        command
            .env("XDG_CACHE_HOME", workspace.path("cache"))
            .env("XDG_STATE_HOME", workspace.path("state"));
        command
    };
    // Whoever starts it with `nohup` means that.
    let portable = resume("portable");
    let mut first = Command::new("sh");
    first.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    first.arg(portable.get_program()).args(portable.get_args());
    let envs = portable.get_envs();
    first.envs(envs.filter_map(|(name, value)| Some((name, value?))));
    first.current_dir(workspace.root());
    first.stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = first.spawn().unwrap();
    // The kernel counts what it has read: some of the files are done, and more are not.
    let count = format!("/proc/{}/io", first.id());
    let read = || -> u64 {
        let text = fs::read_to_string(&count).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.unwrap().parse().unwrap()
    };
    while read() < 300 << 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        first.try_wait().unwrap().is_none(),
        "it must be interrupted before it ends"
    );
    let id = first.id().to_string();
    let signal = |name: &str| {
        Command::new("kill").args([name, &id]).status().unwrap();
    };
    signal("-HUP");
    std::thread::sleep(Duration::from_millis(250));
    assert!(
        first.try_wait().unwrap().is_none(),
        "it was told to ignore that"
    );
    signal("-TERM");
    let status = first.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(15)
    );

    let second = Run::from(resume("auto").output().unwrap()).exits(0);
    let line = second
        .stderr
        .lines()
        .find(|line| line.contains("not read again"));
    let line = line.unwrap_or_else(|| panic!("{second:?}"));
    let unread: u32 = line.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((1..40).contains(&unread), "{line}");
    assert_eq!(
        second.stdout,
        workspace.run(["hash", "model"]).exits(0).stdout
    );
    // It came to its end: the next one begins anew.
    let third = Run::from(resume("auto").output().unwrap()).exits(0);
    assert!(!third.stderr.contains("not read again"), "{third:?}");
    assert_eq!(second.stdout, third.stdout);
}
