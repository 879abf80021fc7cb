//! Hostile and broken input: a clear error, the right exit code, bounded memory, nothing lost.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Run, Workspace, tool, unprivileged};

#[test]
fn an_empty_directory_is_never_a_success() {
    let workspace = Workspace::initialised();
    workspace.shell("mkdir -p model/only/directories").exits(0);
    workspace
        .run(["hash", "model"])
        .exits(1)
        .says("holds no file");
    workspace
        .run(["sign", "model"])
        .exits(1)
        .says("holds no file");
    workspace
        .run(["record", "release", "model"])
        .exits(1)
        .says("holds no file");
    workspace.gate().exits(1).says("artifact.empty");
    // Only what is left out is as good as empty.
    workspace
        .shell("mkdir model/.git; echo x > model/.git/config")
        .exits(0);
    workspace.run(["sign", "model"]).exits(1);
    // Only what OMS does not sign: there would be nothing under the signature.
    workspace.shell("echo x > model/.gitattributes").exits(0);
    workspace
        .run(["sign", "model"])
        .exits(1)
        .says("holds no file that would be signed");
    assert!(!workspace.path("model/model.sig").exists());
}

#[test]
fn an_unreadable_file_is_inconclusive() {
    let workspace = Workspace::released();
    let Some((mut command, program)) = unprivileged(&workspace) else {
        return;
    };
    let mut run = |args: &[&str]| {
        let mut again = Command::new(command.get_program());
        again
            .args(command.get_args())
            .args(args)
            .current_dir(workspace.root());
        command = Command::new(command.get_program());
        if again.get_program() != program.as_os_str() {
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(&program);
        }
        Run::from(again.output().unwrap())
    };
    run(&["gate", "model"]).exits(0);
    workspace.shell("chmod 000 model/weights.bin").exits(0);
    let refused = run(&["gate", "model"]).exits(2).says("artifact.unreadable");
    assert!(
        refused
            .stdout
            .contains("weights.bin cannot be read: Permission denied")
    );
    run(&["hash", "model"]).exits(2).says("weights.bin");
    workspace
        .shell("chmod 644 model/weights.bin; chmod 000 model/weights")
        .exits(0);
    run(&["gate", "model"]).exits(2).says("artifact.unreadable");
    // Changed and unreadable at once: what is known to be wrong decides.
    workspace.shell("echo x >> model/config.json").exits(0);
    run(&["gate", "model"]).exits(1);
    workspace
        .shell("chmod 755 model/weights; chmod 000 weighbridge.toml")
        .exits(0);
    run(&["gate", "model"]).exits(2).says("weighbridge.toml");
}

/// A writer touches the file every millisecond while half a minute's worth of zeros is hashed.
#[test]
fn a_file_that_changes_while_it_is_hashed_has_no_digest() {
    let workspace = Workspace::initialised();
    workspace
        .shell("mkdir model; truncate -s 2G model/weights")
        .exits(0);
    let child = workspace
        .command(["sign", "model"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let path = workspace.path("model/weights");
    let writer = std::thread::spawn(move || {
        let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let end = Instant::now() + Duration::from_millis(800);
        while Instant::now() < end {
            file.write_all(b"x").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let run = Run::from(child.wait_with_output().unwrap());
    writer.join().unwrap();
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.stderr.contains("changed while it was being hashed"),
        "{run:?}"
    );
    assert!(!workspace.path("model/model.sig").exists());
}

#[test]
fn special_files_do_not_block_and_are_refused() {
    let workspace = Workspace::initialised();
    for (make, what) in [
        ("mkfifo model/x", "a FIFO"),
        (
            "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"model/x\")'",
            "a socket",
        ),
        ("mknod model/x c 1 5", "a device"),
    ] {
        workspace
            .shell("rm -rf model; mkdir model; echo x > model/f")
            .exits(0);
        // Making a device takes a privilege that a container may lack.
        if workspace.shell(make).code != 0 {
            assert!(make.starts_with("mknod"), "{make}");
            eprintln!("skipped: cannot make a device here");
            continue;
        }
        for verb in ["hash", "sign"] {
            workspace
                .run([verb, "model"])
                .exits(1)
                .says(what)
                .says("artifact.special-file");
        }
        workspace.run(["hash", "model/x"]).exits(1);
    }
    workspace.run(["hash", "/dev/zero"]).exits(1);
    workspace.run(["gate", "/dev/zero"]).exits(1);
}

#[test]
fn links_are_refused_wherever_they_lead() {
    let workspace = Workspace::initialised();
    for link in [
        "f",
        ".",
        "..",
        "loop",
        "/etc/passwd",
        "../keys/signing.key.pem",
        "nowhere",
    ] {
        workspace
            .shell("rm -rf model; mkdir model; echo x > model/f")
            .exits(0);
        std::os::unix::fs::symlink(link, workspace.path("model/loop")).unwrap();
        for verb in ["hash", "sign"] {
            workspace
                .run([verb, "model"])
                .exits(1)
                .says("loop")
                .says("artifact.symlink");
        }
    }
    // With the flag, links to files inside are followed, and links out are refused still.
    workspace
        .shell("rm model/loop; ln -s f model/inside; ln -s /etc/passwd model/out")
        .exits(0);
    let sign = [
        "oms",
        "sign",
        "key",
        "--private_key",
        "keys/signing.key.pem",
        "--allow_symlinks",
        "model",
    ];
    workspace.run(sign).exits(1).says("out: is a symbolic link");
    workspace
        .shell("rm model/out; ln -s . model/directory")
        .exits(0);
    workspace.run(sign).exits(0);
}

#[test]
fn names_that_have_no_line_in_a_manifest_are_refused() {
    let workspace = Workspace::initialised();
    for name in [
        "$(printf 'a\\nb')",
        "$(printf 'a\\rb')",
        "$(printf 'a\\377b')",
        "a\\\\b",
    ] {
        workspace
            .shell(&format!(
                "rm -rf model; mkdir model; echo x > model/f; echo x > \"model/{name}\""
            ))
            .exits(0);
        for verb in ["hash", "sign"] {
            let run = workspace
                .run([verb, "model"])
                .exits(1)
                .says("artifact.name");
            assert!(
                run.stderr.is_ascii() && run.stderr.lines().count() <= 3,
                "{run:?}"
            );
        }
    }
}

#[test]
fn deep_directories() {
    let workspace = Workspace::initialised();
    let deep = vec!["d"; 300].join("/");
    workspace.write(&format!("model/{deep}/f"), "x");
    workspace.run(["sign", "--record", "model"]).exits(0);
    workspace.gate().exits(0).says("1 file");
    workspace.write(&format!("model/{deep}/g"), "x");
    workspace.gate().exits(1).says("artifact.added");
    // Deeper than a path can be long: refused, not overflown.
    workspace.shell("cd model; n=0; while [ $n -lt 60 ]; do d=$(printf '%0100d' 0); mkdir $d; cd -P $d; n=$((n+1)); done; echo x > f").exits(0);
    workspace
        .run(["hash", "model"])
        .exits(1)
        .says("longer than 4095");
    workspace.shell("rm -rf model").exits(0);
}

/// Announced with its size and a time that is left; interrupted, it leaves nothing behind.
#[test]
fn a_huge_file_can_be_interrupted() {
    let workspace = Workspace::initialised();
    workspace
        .shell("mkdir model; truncate -s 1T model/weights; find . ! -name before | sort > before")
        .exits(0);
    if !tool("script") {
        return;
    }
    // `script` gives the program a terminal; timeout sends what Ctrl-C sends.
    let run = workspace.shell(
        "TERM=xterm script -qec 'timeout --foreground --signal=INT 2 weighbridge sign --record model' /dev/null || true; \
         find . ! -name before ! -name after | sort > after",
    );
    assert!(run.stdout.contains("1.00 TiB"), "{run:?}");
    assert!(run.stdout.contains("left"), "{run:?}");
    let before = String::from_utf8(workspace.read("before")).unwrap();
    let after = String::from_utf8(workspace.read("after")).unwrap();
    assert_eq!(after, before);
    workspace.run(["ledger", "fsck"]).exits(0).says("0 entries");
}

/// Runs the gate, and then says its exit code and its peak memory.
fn gate_with_peak(workspace: &Workspace) -> Run {
    workspace.shell(
        "python3 - <<'END'\nimport resource, subprocess\n\
         code = subprocess.call(['weighbridge', 'gate', 'model'])\n\
         print('code', code, 'kib', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\nEND",
    )
}

/// The peak memory in KiB that [`gate_with_peak`] said.
fn peak(run: &Run) -> u64 {
    let peak = run
        .stdout
        .lines()
        .find_map(|line| line.split("kib ").nth(1))
        .unwrap();
    peak.trim().parse().unwrap()
}

#[test]
fn a_bundle_of_a_gigabyte_is_refused_unread() {
    let workspace = Workspace::released();
    workspace.shell("truncate -s 1G model/model.sig").exits(0);
    let run = gate_with_peak(&workspace);
    let run = run.exits(0).says("code 1").says("larger than the limit");
    let peak = peak(&run);
    assert!(peak < 64 * 1024, "{peak} KiB");
}

/// What nobody signed must not decide how much memory is spent.
#[test]
fn a_bundle_full_of_trifles_takes_no_memory() {
    let workspace = Workspace::released();
    workspace
        .shell(
            "python3 - <<'END'\nimport re\nbundle = open('model/model.sig').read()\n\
         trifles = '\"tlogEntries\":[' + '{\"\":0},' * 4_000_000 + '{}]'\n\
         open('model/model.sig', 'w').write(bundle.replace('\"tlogEntries\":[]', trifles))\nEND",
        )
        .exits(0);
    let run = gate_with_peak(&workspace);
    let run = run.exits(0).says("code 1");
    let peak = peak(&run);
    assert!(peak < 200 * 1024, "{peak} KiB");
}

#[test]
fn json_with_duplicate_keys_is_refused() {
    let workspace = Workspace::released();
    let bundle = String::from_utf8(workspace.read("model/model.sig")).unwrap();
    let twice = bundle.replacen(
        "\"dsseEnvelope\"",
        "\"mediaType\":\"x\",\"dsseEnvelope\"",
        1,
    );
    workspace.write("model/model.sig", twice);
    workspace
        .gate()
        .exits(1)
        .says("duplicate field `mediaType`");
    workspace.write(
        "model/model.sig",
        format!("{}{bundle}", "[".repeat(100_000)),
    );
    workspace.gate().exits(1).says("signature.format");
    workspace.write("model/model.sig", format!("{bundle} {bundle}"));
    workspace.gate().exits(1).says("signature.format");
}

#[test]
fn the_wrong_key_is_named() {
    let workspace = Workspace::released();
    let other = Workspace::initialised();
    let key = other.path("keys/signing.pub.pem");
    let run = workspace
        .run(["verify", "--key", key.to_str().unwrap(), "model"])
        .exits(1);
    run.says("signature.key").says("signing.pub.pem");
    workspace
        .run(["verify", "--key", "keys/signing.pub.pem", "model"])
        .exits(0);
    for (key, says) in [
        (
            "keys/signing.key.pem",
            "is not a PEM file with a public key",
        ),
        ("nowhere", "nowhere"),
    ] {
        let run = workspace.run(["verify", "--key", key, "model"]);
        run.exits(2).says(says);
    }
    // A log key of another ledger does not open this one.
    let checkpoint = other.path("ledger/checkpoint");
    std::fs::copy(checkpoint, workspace.path("ledger/checkpoint")).unwrap();
    workspace.gate().exits(2).says("ledger.checkpoint");
}

#[test]
fn a_key_file_does_not_decide_how_much_memory_is_spent() {
    let workspace = Workspace::new();
    workspace.write("f", "x");
    if !tool("openssl") {
        return;
    }
    workspace.shell("openssl genpkey -algorithm ED25519 -out k; openssl pkcs8 -topk8 -in k -scrypt -scrypt_N 16384 -passout pass:x -out k.enc").exits(0);
    let sign = |file: &str| {
        let mut command = workspace.command(["sign", "--key", file, "f"]);
        Run::from(command.env("WEIGHBRIDGE_PASSPHRASE", "x").output().unwrap())
    };
    sign("k.enc").exits(0);
    // The same file asking for a terabyte: N is the two-byte integer 0x4000 in the DER.
    workspace.shell("openssl base64 -d -in k.enc -A > /dev/null 2>&1 || true; grep -v -- ----- k.enc | openssl base64 -d > der").exits(0);
    let mut der = workspace.read("der");
    let at = der
        .windows(4)
        .position(|four| four == [0x02, 0x02, 0x40, 0x00])
        .unwrap();
    der.splice(at..at + 4, [0x02, 0x05, 0x01, 0x00, 0x00, 0x00, 0x00]);
    // Every enclosing length grows by three.
    for (tag, offset) in [(0x30, 0)].into_iter().chain(enclosing(&der, at)) {
        assert_eq!(der[offset], tag);
        let length = offset + 1 + usize::from(der[offset + 1] == 0x81);
        der[length] += 3;
    }
    let pem = data_encoding::BASE64.encode(&der);
    let lines: Vec<&str> = pem
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    workspace.write(
        "hostile",
        format!(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{}\n-----END ENCRYPTED PRIVATE KEY-----\n",
            lines.join("\n")
        ),
    );
    let start = Instant::now();
    sign("hostile").exits(2).says("256 MiB of scrypt");
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// The sequences that enclose the byte at `target`, below the outermost.
fn enclosing(der: &[u8], target: usize) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    let mut at = if der[1] == 0x81 { 3 } else { 2 };
    while at < target {
        let long = usize::from(der[at + 1] == 0x81);
        let length = usize::from(der[at + 1 + long]);
        let content = at + 2 + long;
        // The lengths in the file are still the old ones, so the end is three short.
        if der[at] == 0x30 && target < content + length + 3 {
            found.push((0x30, at));
            at = content;
        } else {
            at = content + length;
        }
    }
    found
}

#[test]
fn policies_that_say_too_little_or_too_much_are_errors() {
    let workspace = Workspace::released();
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    for (from, to, says) in [
        (
            "closed_world = true",
            "closed_world = false",
            "closed_world",
        ),
        ("[gate]", "[gate]\nunknown = 1", "unknown field"),
        ("version = 1", "", "missing field `version`"),
        ("path = \"ledger\"", "path = 1", "line 7"),
        (
            "roles = [\"developer\"]",
            "roles = [\"developper\"]",
            "developper",
        ),
    ] {
        workspace.write("weighbridge.toml", policy.replacen(from, to, 1));
        workspace
            .gate()
            .exits(2)
            .says(says)
            .says("weighbridge.toml");
    }
    workspace.write("weighbridge.toml", [0xff, 0xfe]);
    workspace.gate().exits(2).says("weighbridge.toml");
    workspace.shell("truncate -s 2M weighbridge.toml").exits(0);
    workspace.gate().exits(2).says("more than the limit");
}
