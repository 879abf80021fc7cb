//! Witnesses over HTTP: ours and others', each asked by ours and others' clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use weighbridge::checkpoint::Checkpoint;
use weighbridge::client::witness::{Answer, WitnessError, add_checkpoint, gather};
use weighbridge::cosignature::{LogSigner, WitnessSigner};
use weighbridge::key::PrivateKey;
use weighbridge::ledger::{DirectoryStore, Log};
use weighbridge::merkle::{Hash, RootBuilder, leaf_hash, verify_consistency};
use weighbridge::note::{NoteKey, SignatureType};
use weighbridge::time::Timestamp;
use weighbridge::tlog_policy::TlogPolicy;
use weighbridge::witness::AddCheckpoint;

use crate::cosigners::{Running, key_file, log_of, trust_from_file};
use crate::support::{Workspace, peer};

#[test]
fn a_quorum_is_gathered_demanded_and_shown() {
    let workspace = Workspace::released();
    let log = log_of(&workspace);
    key_file(&workspace, "witness.pem", 50);
    workspace.write("logs.policy", format!("log {log}\nquorum none\n"));
    let witness = Running::start(&workspace);
    workspace.write("trust.policy", witness.policy(&log));
    trust_from_file(&workspace, "");

    // Not cosigned yet: whatever relies on the log refuses it.
    workspace
        .gate()
        .says("too few cosignatures: needed 2 of w-ed25519, w-ml-dsa");
    assert_ne!(workspace.gate().code, 0);
    workspace
        .run(["ledger", "log"])
        .exits(2)
        .says("missing: w-ed25519, w-ml-dsa");

    workspace
        .run(["ledger", "cosign"])
        .exits(0)
        .says("cosigned by w-ed25519, w-ml-dsa");
    workspace.gate().exits(0);
    let shown = workspace
        .run(["ledger", "checkpoint", "--json"])
        .exits(0)
        .json();
    let signatures = shown["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 3, "{shown}");
    assert!(shown["vouched"].is_string());
    workspace
        .run(["ledger", "checkpoint"])
        .exits(0)
        .says("cosigned by w-ml-dsa, ml-dsa-44, 20");
    // The receipt carries the cosignatures.
    workspace
        .run(["ledger", "prove", "0", "--out", "m.tlog-proof"])
        .exits(0);
    workspace
        .run(["gate", "model", "--receipt", "m.tlog-proof"])
        .exits(0);

    // Cosigning again refreshes; the witness is then gone, and what it signed stays.
    workspace.run(["ledger", "cosign"]).exits(0);
    let before = workspace.read("ledger/checkpoint");
    drop(witness);
    workspace
        .run(["ledger", "cosign", "--timeout", "2"])
        .exits(0)
        .says("did not cosign");
    assert_eq!(workspace.read("ledger/checkpoint"), before);

    // A trust file that lists another log, is wrong or missing, is no policy at all.
    let other = LogSigner::new("other", SigningKey::from_bytes(&[1; 32])).unwrap();
    workspace.write(
        "trust.policy",
        format!("log {}\nquorum none\n", other.keys()[0]),
    );
    workspace.gate().exits(2).says("checkpoint is of log");
    workspace.write("trust.policy", "quorum none\n");
    workspace.gate().exits(2).says("line 1: there is no log");
    std::fs::remove_file(workspace.path("trust.policy")).unwrap();
    workspace.gate().exits(2).says("cannot open");
}

/// Appends gather cosignatures before they publish, beside the log's own second signature; without the
/// quorum nothing is published, and what readers accept stays.
#[test]
fn appends_are_witnessed_before_they_are_published() {
    let workspace = Workspace::released();
    let log = log_of(&workspace);
    let own = workspace.run(["ledger", "policy"]).exits(0).stdout;
    let own = own
        .lines()
        .find(|line| line.starts_with("witness "))
        .unwrap();
    key_file(&workspace, "witness.pem", 51);
    workspace.write("logs.policy", format!("log {log}\nquorum none\n"));
    let witness = Running::start(&workspace);
    let policy = witness.policy(&log).replace(
        "group both all",
        &format!("{own}\ngroup both all log-ml-dsa-44"),
    );
    workspace.write("trust.policy", policy);
    trust_from_file(&workspace, "");
    workspace.gate().exits(2);
    for name in ["a", "b", "c"] {
        workspace.write(name, name);
    }
    let append = ["ledger", "append", "--opaque", "--ack", "witnessed"];
    let run = workspace.run([&append[..], &["a"]].concat()).exits(0);
    assert_eq!(run.stdout, "1\n");
    workspace.gate().exits(0);
    workspace.run(["ledger", "cosign"]).exits(0);
    workspace.gate().exits(0);

    let accepted = workspace.read("ledger/checkpoint");
    drop(witness);
    workspace
        .run([&append[..], &["b"]].concat())
        .exits(2)
        .says("committed as entry 2 and not published");
    workspace
        .run(["ledger", "cosign", "--timeout", "2"])
        .exits(0)
        .says("did not cosign");
    assert_eq!(workspace.read("ledger/checkpoint"), accepted);
    workspace.gate().exits(0);
    let append = ["ledger", "append", "--opaque", "--ack", "committed", "c"];
    assert_eq!(workspace.run(append).exits(0).stdout, "3\n");
    workspace
        .run(["ledger", "fsck"])
        .exits(0)
        .says("committed and not published yet");
}

/// A log that exists only as far as witnesses need to see it.
struct Growing {
    signer: LogSigner,
    leaves: u64,
}

impl Growing {
    fn new(seed: u8) -> Growing {
        Growing {
            signer: LogSigner::new("grow.example", SigningKey::from_bytes(&[seed; 32])).unwrap(),
            leaves: 400,
        }
    }

    /// The root at `size` of the tree of this kind: two kinds are two views.
    fn root(kind: u64, size: u64) -> Hash {
        let mut builder = RootBuilder::default();
        for index in 0..size {
            builder.push(leaf_hash(&[kind, index].map(u64::to_be_bytes).concat()));
        }
        builder.root()
    }

    fn note(&self, kind: u64, size: u64) -> Vec<u8> {
        let checkpoint = Checkpoint {
            origin: "grow.example".into(),
            size,
            root: Growing::root(kind, size),
        };
        let now = Timestamp::from_seconds(1_700_000_000).unwrap();
        self.signer.sign(&checkpoint, now).unwrap().into()
    }

    /// RFC 6962 section 2.1.2, as it is written there.
    fn proof(kind: u64, old: u64, new: u64) -> Vec<Hash> {
        fn mth(kind: u64, begin: u64, end: u64) -> Hash {
            let mut builder = RootBuilder::default();
            for index in begin..end {
                builder.push(leaf_hash(&[kind, index].map(u64::to_be_bytes).concat()));
            }
            builder.root()
        }
        fn subproof(kind: u64, m: u64, begin: u64, end: u64, whole: bool) -> Vec<Hash> {
            let n = end - begin;
            if m == n {
                return if whole {
                    vec![]
                } else {
                    vec![mth(kind, begin, end)]
                };
            }
            let k = n.next_power_of_two() / 2;
            if m <= k {
                let mut proof = subproof(kind, m, begin, begin + k, whole);
                proof.push(mth(kind, begin + k, end));
                proof
            } else {
                let mut proof = subproof(kind, m - k, begin + k, end, false);
                proof.push(mth(kind, begin, begin + k));
                proof
            }
        }
        if old == 0 || old == new {
            return vec![];
        }
        let proof = subproof(kind, old, 0, new, true);
        let (from, to) = (Growing::root(kind, old), Growing::root(kind, new));
        verify_consistency(&proof, old, from, new, to).unwrap();
        proof
    }
}

const SECONDS: Duration = Duration::from_secs(20);

fn ask(url: &str, old: u64, proof: Vec<Hash>, checkpoint: Vec<u8>) -> Result<Answer, WitnessError> {
    let request = AddCheckpoint {
        old,
        proof,
        checkpoint,
    };
    add_checkpoint(url, &request, SECONDS)
}

/// Killed at random moments while two views of one log race for its signature, it has signed only
/// one of them at the end.
#[test]
fn a_killed_witness_never_signs_two_trees() {
    let workspace = Workspace::new();
    key_file(&workspace, "witness.pem", 51);
    let log = Growing::new(9);
    let [ed25519, _] = log.signer.keys();
    workspace.write("logs.policy", format!("log {ed25519}\nquorum none\n"));
    let mut signed: Vec<(u64, u64)> = Vec::new();
    let mut seed = u64::from(std::process::id()) | 1;
    for round in 0..10u64 {
        let mut witness = Running::start(&workspace);
        // Xorshift: where in its work the witness dies differs from round to round.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let url = witness.url.clone();
        let start = Instant::now();
        let life = Duration::from_millis(100 + seed % 900);
        let views = std::thread::scope(|scope| {
            let threads: Vec<_> = [0u64, 1, 0, 1]
                .map(|kind| {
                    let (url, log) = (&url, &log);
                    scope.spawn(move || {
                        let (mut mine, mut known) = (Vec::new(), 0);
                        for step in 0..1000u64 {
                            let size = (known + 1 + (step + kind) % 3).min(log.leaves);
                            let proof = Growing::proof(kind, known.min(size), size);
                            match ask(url, known, proof, log.note(kind, size)) {
                                Ok(Answer::Cosignatures(_)) => {
                                    mine.push((kind, size));
                                    known = size;
                                }
                                Ok(Answer::Conflict(size)) => known = size,
                                Err(WitnessError::Status { status: 422, .. }) => {}
                                // It is dead.
                                Err(_) => break,
                            }
                        }
                        mine
                    })
                })
                .into_iter()
                .collect();
            std::thread::sleep(life.saturating_sub(start.elapsed()));
            witness.child.kill().unwrap();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        signed.extend(views);
        // What it remembers is what it signed last, or newer.
        let newest = signed.iter().map(|(_, size)| *size).max();
        let _ = witness.child.wait();
        drop(witness);
        let again = Running::start(&workspace);
        let known = match ask(&again.url, 399, vec![], log.note(0, 400)) {
            Ok(Answer::Conflict(known)) => known,
            other => panic!("round {round}: {other:?}"),
        };
        assert!(
            newest.is_none_or(|newest| known >= newest),
            "{known} {newest:?}"
        );
    }
    assert!(signed.len() > 20, "only {} were signed", signed.len());
    let first = signed[0].0;
    assert!(
        signed.iter().all(|(kind, _)| *kind == first),
        "two views were signed: {signed:?}"
    );
}

#[test]
fn answers_over_http() {
    let workspace = Workspace::new();
    key_file(&workspace, "witness.pem", 52);
    let log = Growing::new(9);
    let keys = log.signer.keys();
    workspace.write("logs.policy", format!("log {}\nquorum none\n", keys[1]));
    let mut witness = Running::start(&workspace);
    let url = &witness.url;
    let status = |result: Result<Answer, WitnessError>| match result {
        Err(WitnessError::Status { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    // Nothing was cosigned: monitors find nothing.
    let hash = weighbridge::digest::Sha256::of(b"grow.example");
    let read = |path: &str| {
        raw(
            witness.address(),
            &format!("GET {path} HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n"),
        )
    };
    assert!(read(&format!("/{hash}/checkpoint")).starts_with("HTTP/1.1 404"));
    assert!(matches!(
        ask(url, 0, vec![], log.note(0, 5)),
        Ok(Answer::Cosignatures(_))
    ));
    assert!(matches!(
        ask(url, 0, vec![], log.note(0, 6)),
        Ok(Answer::Conflict(5))
    ));
    assert_eq!(status(ask(url, 5, vec![], log.note(1, 5))), 422);
    assert_eq!(status(ask(url, 7, vec![], log.note(0, 5))), 400);
    assert_eq!(status(ask(url, 5, vec![], Growing::new(8).note(0, 5))), 403);
    // Monitors see what was cosigned, with both signatures of the witness and the log's.
    let monitored = read(&format!("/{hash}/checkpoint"));
    let (head, note) = monitored.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("text/plain"), "{head}");
    let trust = TlogPolicy::parse(witness.policy(&keys[1].to_string()).as_bytes()).unwrap();
    assert_eq!(trust.open(note.as_bytes()).unwrap().size, 5);
    assert!(read("/../../logs.policy/checkpoint").starts_with("HTTP/1.1 404"));
    // What is too large, or not as long as it says, is answered or cut; the witness lives.
    let large = format!(
        "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 9999999\r\nconnection: close\r\n\r\n{}",
        "a".repeat(300_000)
    );
    assert!(
        raw(witness.address(), &large).starts_with("HTTP/1.1 413")
            || raw(witness.address(), &large).is_empty()
    );
    assert!(raw(witness.address(), "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    // A rollback is not asked for twice.
    workspace.write("old/checkpoint", log.note(0, 3));
    let old = DirectoryStore::new(&workspace.path("old"));
    let old = Log::open(&old, &trust.without_quorum()).unwrap();
    let gathered = gather(&trust, &old, 3, &[], SECONDS).unwrap();
    assert!(gathered.signed.is_empty());
    assert!(matches!(
        gathered.missing[0].1,
        WitnessError::Ahead { known: 5, size: 3 }
    ));
    // SIGTERM ends it, with success.
    let pid = witness.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(witness.child.wait().unwrap().code(), Some(0));
    // What it remembers being damaged is not the same as remembering nothing.
    let state = format!("witness/{hash}/checkpoint");
    workspace.write(&state, "nothing\n");
    let run = workspace.run([
        "ledger",
        "witness",
        "--listen",
        "127.0.0.1:0",
        "--key",
        "witness.pem",
        "--name",
        "w.example",
        "--state",
        "witness",
        "--trust",
        "logs.policy",
    ]);
    run.exits(2)
        .says("is not a checkpoint that this witness cosigned");
}

/// Sends `request` as it is; what comes back.
fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SECONDS)).unwrap();
    _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The witness of transparency-dev cosigns our log, in Ed25519; our client asks it.
#[test]
fn omniwitness_cosigns_our_log() {
    let Some(program) = peer("omniwitness", "omniwitness") else {
        return;
    };
    let workspace = Workspace::initialised();
    let log = log_of(&workspace);
    workspace.model("model");
    workspace.run(["sign", "--record", "model"]).exits(0);
    let seed = SigningKey::from_bytes(&[60; 32]);
    let plain = NoteKey::new("omni.example", seed.verifying_key())
        .unwrap()
        .to_string();
    let id = plain.split('+').nth(1).unwrap().to_owned();
    let private = [&[1], seed.as_bytes().as_slice()].concat();
    let private = data_encoding::BASE64.encode(&private);
    workspace.write(
        "omni.key",
        format!("PRIVATE+KEY+omni.example+{id}+{private}"),
    );
    let origin = log.split('+').next().unwrap();
    workspace.write(
        "logs.yaml",
        format!("Logs:\n- Origin: {origin}\n  URL: http://127.0.0.1:1/\n  PublicKey: {log}\n"),
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let child = Command::new(program)
        .args([
            "--private_key_path",
            "omni.key",
            "--additional_logs",
            "logs.yaml",
        ])
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--metrics_listen",
            "",
        ])
        .args(["--db_file", "omni.db"])
        .current_dir(workspace.root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let vkey = NoteKey::with_type(
        "omni.example",
        SignatureType::CosignatureV1,
        seed.verifying_key().as_bytes(),
    );
    let witness = Running {
        child,
        keys: vec![vkey.unwrap().to_string()],
        url: format!("http://127.0.0.1:{port}"),
    };
    wait_for(port);
    let trust = format!(
        "log {log}\nwitness omni {} {}\nquorum omni\n",
        witness.keys[0], witness.url
    );
    workspace.write("trust.policy", trust);
    let cosign = ["ledger", "--trust", "trust.policy", "cosign"];
    workspace.run(cosign).exits(0).says("1 entries");
    // It knows size 1 now, and is shown that the larger log continues it.
    workspace.write("model/more.bin", "more");
    workspace.run(["sign", "--record", "model"]).exits(0);
    workspace.run(cosign).exits(0).says("2 entries");
    workspace
        .run(["ledger", "--trust", "trust.policy", "log"])
        .exits(0);
}

fn wait_for(port: u16) {
    let until = Instant::now() + SECONDS;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nothing listens on {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The client of transparency-dev's witness asks ours, and verifies what it answers.
#[test]
fn the_client_of_others_is_answered() {
    let Some(program) = peer("witness-client", "witness-client") else {
        return;
    };
    let workspace = Workspace::new();
    key_file(&workspace, "witness.pem", 53);
    let log = Growing::new(9);
    workspace.write(
        "logs.policy",
        format!("log {}\nquorum none\n", log.signer.keys()[0]),
    );
    let witness = Running::start(&workspace);
    workspace.write("note.5", log.note(0, 5));
    workspace.write("note.9", log.note(0, 9));
    workspace.write("fork.9", log.note(1, 9));
    let lines = |proof: Vec<Hash>| {
        let line = |hash: &Hash| data_encoding::BASE64.encode(&hash.0);
        proof.iter().map(line).collect::<Vec<_>>().join(",")
    };
    let feed = |old: &str, proof: &str, note: &str, key: &str| {
        let output = Command::new(&program)
            .args([&witness.url, old, proof, note, key])
            .current_dir(workspace.root())
            .output();
        crate::support::Run::from(output.unwrap())
    };
    let proof = lines(Growing::proof(0, 5, 9));
    for key in &witness.keys {
        feed("0", "", "note.5", key);
    }
    feed("5", "", "note.5", &witness.keys[0])
        .exits(0)
        .says("verified");
    feed("5", "", "note.5", &witness.keys[1])
        .exits(0)
        .says("verified");
    feed("0", "", "note.9", &witness.keys[0])
        .exits(1)
        .says("size 5");
    feed("5", &proof, "fork.9", &witness.keys[0]).exits(1);
    feed("5", &proof, "note.9", &witness.keys[0])
        .exits(0)
        .says("verified");
}

/// Go's crypto/mldsa verifies what the ML-DSA-44 keys of our log and our witness sign.
#[test]
fn tlogcheck_verifies_our_signatures() {
    let Some(program) = peer("tlogcheck-mldsa", "tlogcheck-mldsa") else {
        return;
    };
    let workspace = Workspace::released();
    let seed = SigningKey::from_bytes(&[54; 32]);
    let witness = WitnessSigner::new("w.example", seed).unwrap();
    let text = String::from_utf8(workspace.read("ledger/checkpoint")).unwrap();
    let (body, _) = text.split_once("\n\n").unwrap();
    let lines = witness.cosign(&format!("{body}\n"), 1_767_225_600).unwrap();
    workspace.write("ledger/checkpoint", format!("{text}{lines}"));
    let pem = String::from_utf8(workspace.read("keys/log.key.pem")).unwrap();
    let PrivateKey::Ed25519(key) = weighbridge::key::private_key_from_pem(&pem, None).unwrap()
    else {
        panic!("a log signs with Ed25519");
    };
    let log = LogSigner::new(body.lines().next().unwrap(), *key).unwrap();
    let check = |log: &NoteKey, quorum: &str, directory: &Path| {
        let [ed25519, ml_dsa] = witness.keys().map(ToString::to_string);
        let output = Command::new(&program)
            .args(["-vkey", &log.to_string(), "-quorum", quorum, "-fsck"])
            .args(["-witness", &ed25519, "-witness", &ml_dsa, "-dir"])
            .arg(directory)
            .output();
        crate::support::Run::from(output.unwrap())
    };
    for key in log.keys() {
        check(key, "2", &workspace.path("ledger")).exits(0);
    }
    // A check that could not fail would show nothing.
    workspace.write("ledger/checkpoint", &text);
    check(log.keys()[1], "1", &workspace.path("ledger")).exits(1);
}
