//! `--rehash`: what is not read again, how the report says so, and that nobody gets a changed file past it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Run, Workspace, tool};

fn run(workspace: &Workspace, args: &[&str]) -> Run {
    let mut command = workspace.command(args);
    let command = command
        .env("XDG_CACHE_HOME", workspace.path("cache"))
        .env("XDG_STATE_HOME", workspace.path("state"));
    command.output().unwrap().into()
}

fn gate(workspace: &Workspace, more: &[&str]) -> Run {
    let args = [&["gate", "--json"], more, &["model"]].concat();
    run(workspace, &args)
}

const IF_CHANGED: &[&str] = &["--rehash", "if-changed"];

/// How many files were read, and how many were not.
fn read_and_not(run: &Run) -> (u64, u64) {
    let document = run.json();
    let checked = document["artifact"].get("checked");
    let checked = checked.or(document.get("checked")).unwrap();
    let of = |how: &str| {
        let all = checked.as_array().unwrap().iter();
        let mut same = all.filter(|same| same["how"] == how);
        same.next()
            .map_or(0, |same| same["files"].as_u64().unwrap())
    };
    (of("full"), of("receipt"))
}

/// A released model whose files have been at rest for long enough.
fn released() -> Workspace {
    let workspace = Workspace::on_disk();
    workspace.model("model");
    workspace.run(["sign", "--record", "model"]).exits(0);
    std::thread::sleep(Duration::from_secs(4));
    workspace
}

/// Released, and every file of it has a receipt.
fn known() -> Workspace {
    let workspace = released();
    let first = gate(&workspace, IF_CHANGED).exits(0);
    assert_eq!(read_and_not(&first), (7, 0));
    let second = gate(&workspace, IF_CHANGED).exits(0);
    assert_eq!(read_and_not(&second), (0, 7));
    workspace
}

#[test]
fn the_report_says_how_each_file_was_checked() {
    let workspace = known();
    // Unless asked, everything is read.
    let whole = gate(&workspace, &[]).exits(0);
    assert_eq!(read_and_not(&whole), (7, 0));
    assert!(
        whole.json()["artifact"]["checked"][0]
            .get("paths")
            .is_none()
    );
    let note = run(&workspace, &["gate", "--rehash", "if-changed", "model"]).exits(0);
    note.says("7 of 7 files were not read");
    // One is touched, and read: the others are not.
    let config = workspace.path("model/config.json");
    File::options()
        .write(true)
        .open(config)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    let mixed = gate(&workspace, IF_CHANGED).exits(0);
    assert_eq!(read_and_not(&mixed), (1, 6));
    let checked = &mixed.json()["artifact"]["checked"];
    assert_eq!(checked[0]["how"], "full");
    assert_eq!(checked[0]["paths"], serde_json::json!(["config.json"]));
    assert_eq!(checked[1]["paths"].as_array().unwrap().len(), 6);
    assert_eq!(
        mixed.json()["artifact"]["digest"],
        whole.json()["artifact"]["digest"]
    );
    for age in ["max-age=30m", "max-age=90d"] {
        let aged = gate(&workspace, &["--rehash", age]).exits(0);
        assert_eq!(read_and_not(&aged), (1, 6), "it has just changed");
    }
    for wrong in ["never", "max-age=0d", "max-age=1y", ""] {
        gate(&workspace, &["--rehash", wrong])
            .exits(2)
            .says("--rehash");
    }
    let nowhere = gate(&workspace, &["--rehash", "if-changed", "--no-memory"]).exits(0);
    assert_eq!(read_and_not(&nowhere), (7, 0));
    nowhere.says("--no-memory was given");
}

#[test]
fn other_verbs_use_the_same_receipts() {
    let workspace = known();
    let by = &["verify", "--json", "--rehash", "if-changed", "model"];
    assert_eq!(read_and_not(&run(&workspace, by).exits(0)), (0, 7));
    let catalogue = &[
        "verify",
        "--json",
        "--rehash",
        "if-changed",
        "--catalogue",
        ".",
    ];
    let reports = run(&workspace, catalogue).json()["reports"].clone();
    let mut reports = reports.as_array().unwrap().iter();
    let own = reports.find(|one| one["artifact"]["path"] == "./model");
    assert_eq!(own.unwrap()["artifact"]["checked"][0]["how"], "receipt");
    let adopt = &[
        "acquire",
        "--json",
        "--no-record",
        "--rehash",
        "if-changed",
        "model",
    ];
    assert_eq!(read_and_not(&run(&workspace, adopt).exits(0)), (0, 7));
}

#[test]
fn a_policy_allows_less_or_nothing() {
    let workspace = known();
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let with = |rule: &str, more: &[&str]| {
        let text = policy.replace("[gate]\n", &format!("[gate]\n{rule}\n"));
        assert_ne!(text, policy);
        workspace.write("weighbridge.toml", &text);
        gate(&workspace, &[IF_CHANGED, more].concat())
    };
    let forbidden = with(r#"rehash = "always""#, &[]).exits(0);
    assert_eq!(read_and_not(&forbidden), (7, 0));
    forbidden.says(r#"the policy says rehash = "always""#);
    let younger = with(r#"rehash = "max-age=1d""#, &[]).exits(0);
    assert_eq!(read_and_not(&younger), (0, 7));
    younger.says(r#"the policy says rehash = "max-age=1d""#);
    with(r#"rehash = "sometimes""#, &[])
        .exits(2)
        .says("sometimes");
    let text = format!("{policy}\n[profile.production.gate]\nrehash = \"always\"\n");
    workspace.write("weighbridge.toml", &text);
    assert_eq!(read_and_not(&gate(&workspace, IF_CHANGED).exits(0)), (0, 7));
    let strict = gate(
        &workspace,
        &[IF_CHANGED, &["--profile", "production"]].concat(),
    );
    assert_eq!(read_and_not(&strict.exits(0)), (7, 0));
}

#[test]
fn a_changed_file_is_read_whatever_its_times_say() {
    let workspace = known();
    let weights = workspace.path("model/weights/part-1.bin");
    let old = fs::metadata(&weights).unwrap().modified().unwrap();
    let restore = |path: &std::path::Path| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    };
    // The same size, and the old time again.
    fs::write(&weights, "WEIGHTS").unwrap();
    restore(&weights);
    gate(&workspace, IF_CHANGED)
        .exits(1)
        .says("weights/part-1.bin");
    fs::write(&weights, "weights").unwrap();
    std::thread::sleep(Duration::from_secs(4));
    gate(&workspace, IF_CHANGED).exits(0);
    // Another file in its place, prepared long before, with the same size and time.
    let other = workspace.path("model/weights/other");
    fs::write(&other, "WEIGHTS").unwrap();
    restore(&other);
    std::thread::sleep(Duration::from_secs(4));
    fs::rename(&other, &weights).unwrap();
    gate(&workspace, IF_CHANGED)
        .exits(1)
        .says("weights/part-1.bin");
}

/// Directories that did not change are not listed again: what is put there, taken away or renamed is seen all the same.
#[test]
fn what_a_directory_holds_is_seen_whatever_its_times_say() {
    let workspace = known();
    let weights = workspace.path("model/weights");
    let old = fs::metadata(&weights).unwrap().modified().unwrap();
    let restore = |path: &std::path::Path| File::open(path).unwrap().set_modified(old).unwrap();
    let again = || {
        restore(&weights);
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(read_and_not(&gate(&workspace, IF_CHANGED).exits(0)), (0, 7));
    };
    let refused = |path: &str| {
        restore(&weights);
        gate(&workspace, IF_CHANGED).exits(1).says(path);
        // What was listed now is too recent to be kept.
        gate(&workspace, IF_CHANGED).exits(1).says(path);
    };
    fs::write(weights.join("added.bin"), "x").unwrap();
    refused("weights/added.bin");
    fs::remove_file(weights.join("added.bin")).unwrap();
    again();
    fs::create_dir(weights.join("more")).unwrap();
    fs::write(weights.join("more/added.bin"), "x").unwrap();
    refused("weights/more/added.bin");
    fs::remove_dir_all(weights.join("more")).unwrap();
    again();
    // Away and back again, so that no file has changed but by its name.
    fs::rename(weights.join("part-1.bin"), weights.join("part-9.bin")).unwrap();
    refused("weights/part-9.bin");
    fs::rename(weights.join("part-9.bin"), weights.join("part-1.bin")).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    gate(&workspace, IF_CHANGED).exits(0);
    again();
    // Another directory in its place, prepared long before.
    let other = workspace.path("other");
    fs::create_dir(&other).unwrap();
    for entry in fs::read_dir(&weights).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
    }
    fs::write(other.join("added.bin"), "x").unwrap();
    std::thread::sleep(Duration::from_secs(4));
    fs::rename(&weights, workspace.path("away")).unwrap();
    fs::rename(&other, &weights).unwrap();
    refused("weights/added.bin");
}

#[test]
fn receipts_of_others_and_changed_ones_are_none() {
    let workspace = known();
    let directory = workspace.path("cache/weighbridge/receipts");
    let all = fs::read_dir(&directory).unwrap();
    let files: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
    let key = workspace.path("state/weighbridge/host.key");
    let secret = fs::read(&key).unwrap();
    let kept: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let put = |change: &dyn Fn(&mut Vec<u8>)| {
        for (path, bytes) in files.iter().zip(&kept) {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
    };
    let whole = || read_and_not(&gate(&workspace, IF_CHANGED).exits(0)) == (7, 0);
    // Of another host: its key is another.
    put(&|_| {});
    fs::write(&key, [1; 32]).unwrap();
    assert!(whole());
    fs::write(&key, &secret).unwrap();
    // A digest is changed, as one would who has changed the file; or it is cut, or longer.
    for part in 1..8 {
        put(&|bytes| {
            let at = bytes.len() * part / 8;
            bytes[at] ^= 1;
        });
        assert!(whole());
    }
    put(&|bytes| bytes.truncate(bytes.len() / 2));
    assert!(whole());
    put(&|bytes| bytes.extend([0; 105]));
    assert!(whole());
    put(&|_| {});
    assert!(!whole());
}

/// By a clock that was set back, the receipts are of a time that is to come.
#[test]
fn receipts_are_none_when_the_clock_was_set_back() {
    if !tool("faketime") {
        return;
    }
    let workspace = known();
    let program = workspace.command(["gate", "--json", "--rehash", "if-changed", "model"]);
    let at = |offset: &str| {
        let mut command = Command::new("faketime");
        command.args(["-f", offset]).arg(program.get_program());
        command.args(program.get_args());
        command.current_dir(workspace.root());
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
            .env("XDG_CACHE_HOME", workspace.path("cache"))
            .env("XDG_STATE_HOME", workspace.path("state"));
        Run::from(command.output().unwrap())
    };
    assert_eq!(read_and_not(&at("+1d")), (0, 7));
    // What was kept a day ahead is not used today, nor is anything of today an hour before.
    assert_eq!(read_and_not(&at("+1s")), (0, 7));
    assert_eq!(read_and_not(&at("-1h")), (7, 0));
}

/// A program that has a file mapped and writes to it on command.
struct Writer(Child, BufReader<std::process::ChildStdout>);

impl Writer {
    fn of(path: &std::path::Path) -> Writer {
        let script = "\
import mmap, sys
with open(sys.argv[1], 'r+b') as file:
    view = mmap.mmap(file.fileno(), 0)
    for line in sys.stdin:
        view[0:1] = line[0:1].encode()
        print('done', flush=True)
";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Writer(child, out)
    }

    fn write(&mut self, byte: char) {
        let input = self.0.stdin.as_mut().unwrap();
        writeln!(input, "{byte}").unwrap();
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Once a page is written to, the kernel hears of no further write until the page went to the disk.
#[test]
fn who_keeps_a_file_mapped_and_writes_is_seen() {
    let workspace = released();
    let mut writer = Writer::of(&workspace.path("model/weights/part-1.bin"));
    writer.write('w');
    std::thread::sleep(Duration::from_secs(4));
    gate(&workspace, IF_CHANGED).exits(0);
    writer.write('W');
    gate(&workspace, IF_CHANGED).exits(1);
    writer.write('w');
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(read_and_not(&gate(&workspace, IF_CHANGED).exits(0)), (1, 6));
}

/// A write that has begun takes its bytes when it likes: of a file that somebody has open for writing there is no receipt.
#[test]
fn who_could_be_writing_leaves_no_receipt() {
    let workspace = released();
    let path = workspace.path("model/weights/part-1.bin");
    let writer = File::options().write(true).open(&path).unwrap();
    gate(&workspace, IF_CHANGED).exits(0);
    assert_eq!(read_and_not(&gate(&workspace, IF_CHANGED).exits(0)), (1, 6));
    drop(writer);
    assert_eq!(read_and_not(&gate(&workspace, IF_CHANGED).exits(0)), (1, 6));
    assert_eq!(read_and_not(&gate(&workspace, IF_CHANGED).exits(0)), (0, 7));
}

/// Whatever a program does that writes to a file all the time, no verdict says that the file is what was signed.
#[test]
fn who_writes_meanwhile_gets_nothing_past() {
    let workspace = known();
    let path = workspace.path("model/weights/part-1.bin");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                fs::write(&path, "WEIGHTS").unwrap();
            }
        });
        for _ in 0..20 {
            let code = gate(&workspace, IF_CHANGED).code;
            assert!(code == 1 || code == 2, "{code}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    gate(&workspace, IF_CHANGED).exits(1);
}
