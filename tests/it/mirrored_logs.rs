//! Our logs, and the mirrors that run and are filled by them.

use std::process::Command;

use ed25519_dalek::SigningKey;
use weighbridge::cosignature::WitnessSigner;

use crate::cosigners::{Running, key_file, log_of, trust_from_file};
use crate::support::{Run, Workspace, peer};

/// A log that demands a mirror uploads whenever it publishes; the copy is read by whoever trusts the log.
#[test]
fn a_log_fills_its_mirror() {
    let workspace = Workspace::released();
    let log = log_of(&workspace);
    workspace
        .shell("seq 1 9000 > lines; weighbridge ledger append --opaque --lines lines > /dev/null")
        .exits(0);
    key_file(&workspace, "witness.pem", 50);
    // What `init` made readers ask for: the log's second signature, which the copy has to carry too.
    let own = workspace.run(["ledger", "policy"]).exits(0).stdout;
    workspace.write("logs.policy", &own);
    let second = own
        .lines()
        .find(|line| line.starts_with("witness "))
        .unwrap();
    let mirror = Running::serve(&workspace, "serve-mirror", "127.0.0.1:0");
    let policy = mirror.policy(&log).replace(
        "group both all",
        &format!("{second}\ngroup both all log-ml-dsa-44"),
    );
    workspace.write("trust.policy", policy);
    trust_from_file(&workspace, "");
    // Nobody is sent the entries who is not listed as a mirror.
    workspace
        .run(["ledger", "cosign"])
        .exits(2)
        .says("no cosignature by its key");
    trust_from_file(&workspace, "mirrors = [\"http://127.0.0.1:9\"]\n");
    workspace
        .run(["ledger", "cosign"])
        .exits(2)
        .says("no witness in its trust has that address");
    let toml = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let toml = toml.replace("http://127.0.0.1:9\"", &format!("{}/\"", mirror.url));
    workspace.write("weighbridge.toml", toml);
    // 9,001 entries are two requests.
    workspace
        .run(["ledger", "cosign"])
        .exits(0)
        .says("9001 entries")
        .says("cosigned by w-ed25519, w-ml-dsa");
    workspace.gate().exits(0);
    // One more is one, and the checkpoint is not published without the mirror.
    workspace
        .shell("echo more | weighbridge ledger append --opaque --ack witnessed --lines -")
        .exits(0)
        .says("9001");
    let hash = weighbridge::digest::Sha256::of(log.split('+').next().unwrap().as_bytes());
    let copy = format!("{}/{hash}", mirror.url);
    let read = |ledger: &str, verb: &[&str]| {
        let fixed = ["ledger", "--ledger", ledger, "--trust", "trust.policy"];
        workspace.run([&fixed, verb].concat())
    };
    read(&copy, &["show", "9001", "--raw"])
        .exits(0)
        .says("more");
    read(&copy, &["prove", "4", "--out", "p"]).exits(0);
    let directory = format!("witness/{hash}");
    read(&directory, &["fsck", "--copy", "--no-blobs"])
        .exits(0)
        .says("9002 entries");
    if let Some(program) = peer("tlogcheck", "tlogcheck") {
        let mut command = Command::new(program);
        command.arg("-dir").arg(workspace.path(&directory));
        command.args(["-vkey", &log, "-fsck"]);
        Run::from(command.output().unwrap()).exits(0);
    }
    let before = workspace.read("ledger/checkpoint");
    let address = mirror.address().to_string();
    drop(mirror);
    let append = "echo again | weighbridge ledger append --opaque --ack witnessed --lines -";
    assert_ne!(workspace.shell(append).code, 0);
    assert_eq!(workspace.read("ledger/checkpoint"), before);
    // It comes back, and gets what it missed.
    let mirror = Running::serve(&workspace, "serve-mirror", &address);
    workspace.run(["ledger", "publish"]).exits(0);
    read(&copy, &["show", "9002", "--raw"])
        .exits(0)
        .says("again");
    drop(mirror);
}

/// What was read over the network is kept, unless it is not the log's.
#[test]
fn tiles_from_afar_are_kept_on_this_machine() {
    let workspace = Workspace::released();
    let log = log_of(&workspace);
    workspace
        .shell("seq 1 600 > lines; weighbridge ledger append --opaque --lines lines > /dev/null")
        .exits(0);
    key_file(&workspace, "witness.pem", 50);
    workspace.write("logs.policy", format!("log {log}\nquorum none\n"));
    let mirror = Running::serve(&workspace, "serve-mirror", "127.0.0.1:0");
    workspace.write("trust.policy", mirror.policy(&log));
    workspace
        .run([
            "ledger",
            "--ledger",
            "ledger",
            "--trust",
            "trust.policy",
            "cosign",
            "--mirror",
            &mirror.url,
        ])
        .exits(0);
    let origin = log.split('+').next().unwrap();
    let hash = weighbridge::digest::Sha256::of(origin.as_bytes());
    let copy = format!("{}/{hash}", mirror.url);
    let with_cache = |args: &[&str]| -> Run {
        let mut command = workspace.command(args);
        command.env("XDG_CACHE_HOME", workspace.path("cache"));
        command.output().unwrap().into()
    };
    let show = |index: &str| {
        let fixed = ["ledger", "--ledger", &copy, "--trust", "trust.policy"];
        with_cache(&[&fixed[..], &["show", index, "--raw"]].concat())
    };
    show("1").exits(0).says("1");
    // Read again without the server having it.
    let bundle = workspace.path(&format!("witness/{hash}/tile/entries/000"));
    let bytes = std::fs::read(&bundle).unwrap();
    std::fs::remove_file(&bundle).unwrap();
    show("2").exits(0).says("2");
    // A damaged file of the cache is not used.
    let found = workspace
        .shell("find . -path '*tiles/tile/entries/000'")
        .exits(0)
        .stdout;
    let kept = workspace.path(found.trim());
    let good = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, &good[..good.len() - 1]).unwrap();
    show("3").exits(2).says("is missing");
    assert!(!kept.exists());
    std::fs::write(&bundle, &bytes).unwrap();
    show("4").exits(0).says("4");
    assert_eq!(std::fs::read(&kept).unwrap(), good);
    // What does not lead to the signed root is dropped: the next reader asks the server.
    let mut wrong = bytes;
    *wrong.last_mut().unwrap() ^= 1;
    let digest = weighbridge::digest::Sha256::of(&wrong);
    std::fs::write(&kept, [&digest.0, wrong.as_slice()].concat()).unwrap();
    show("255").exits(2).says("do not lead to the signed root");
    show("255").exits(0).says("255");
    // In a directory nothing is kept: it is the same disk.
    workspace.shell("rm -r cache").exits(0);
    with_cache(&["ledger", "log"]).exits(0);
    assert_eq!(workspace.shell("find . -path '*tiles*'").stdout, "");
}

/// Its cosignature says that entries are stored: no key and no memory of a witness can stand for it.
#[test]
fn a_witness_is_no_mirror() {
    let key = || SigningKey::from_bytes(&[5; 32]);
    let mirror = WitnessSigner::mirror("m", &key()).unwrap();
    let witness = WitnessSigner::new("m", key()).unwrap();
    for (of_mirror, of_witness) in mirror.keys().into_iter().zip(witness.keys()) {
        assert_ne!(of_mirror.public(), of_witness.public());
    }
    let workspace = Workspace::released();
    let log = log_of(&workspace);
    key_file(&workspace, "witness.pem", 50);
    workspace.write("logs.policy", format!("log {log}\nquorum none\n"));
    drop(Running::start(&workspace));
    workspace
        .shell(
            "weighbridge ledger serve-mirror --listen 127.0.0.1:0 --key witness.pem --name m \
             --state witness --trust logs.policy",
        )
        .exits(2)
        .says("is the state of a witness, not of a mirror");
}

/// Several upload at once, and the mirror is killed again and again: it ends with the whole log.
#[test]
fn a_killed_mirror_goes_on() {
    let workspace = Workspace::released();
    let log = log_of(&workspace);
    key_file(&workspace, "witness.pem", 50);
    workspace.write("logs.policy", format!("log {log}\nquorum none\n"));
    workspace
        .shell("seq 1 3000 > lines; weighbridge ledger append --opaque --lines lines > /dev/null")
        .exits(0);
    let mut mirror = Running::serve(&workspace, "serve-mirror", "127.0.0.1:0");
    let address = mirror.address().to_string();
    workspace.write("trust.policy", mirror.policy(&log));
    let cosign = || {
        let fixed = [
            "ledger",
            "--ledger",
            "ledger",
            "--trust",
            "trust.policy",
            "cosign",
        ];
        workspace.run(
            [
                &fixed[..],
                &["--mirror", &mirror_url(&address), "--timeout", "10"],
            ]
            .concat(),
        )
    };
    for round in 0..8_u64 {
        std::thread::scope(|scope| {
            let uploads: Vec<_> = (0..3).map(|_| scope.spawn(cosign)).collect();
            std::thread::sleep(std::time::Duration::from_millis(10 + 25 * round));
            mirror.child.kill().unwrap();
            mirror.child.wait().unwrap();
            for upload in uploads {
                let code = upload.join().unwrap().code;
                assert!(matches!(code, 0 | 2), "{code}");
            }
        });
        mirror = Running::serve(&workspace, "serve-mirror", &address);
    }
    cosign().exits(0).says("cosigned by w-ed25519, w-ml-dsa");
    let hash = weighbridge::digest::Sha256::of(log.split('+').next().unwrap().as_bytes());
    workspace
        .shell(&format!(
            "weighbridge ledger --ledger witness/{hash} --trust trust.policy fsck --copy --no-blobs"
        ))
        .exits(0)
        .says("3001 entries");
}

fn mirror_url(address: &str) -> String {
    format!("http://{address}")
}
