//! Trust policies (C2SP tlog-policy) on checkpoints that another program signed and cosigned.

use weighbridge::cosignature::LogSigner;
use weighbridge::ledger::TlogProof;
use weighbridge::tlog_policy::TlogPolicy;

use crate::support::{Run, Workspace, fixture, now, peer};

fn read(path: &str) -> Vec<u8> {
    std::fs::read(fixture("vectors/tlog").join(path)).unwrap()
}

fn vkey(name: &str) -> String {
    let keys = String::from_utf8(read("vkeys.txt")).unwrap();
    let line = keys.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().to_owned()
}

fn policy(quorum: &str) -> TlogPolicy {
    let text = String::from_utf8(read("policy")).unwrap();
    TlogPolicy::parse(text.replace("quorum two", quorum).as_bytes()).unwrap()
}

#[test]
fn log_and_witness_signatures_of_both_kinds_are_verified() {
    let text = String::from_utf8(read("policy")).unwrap();
    let both = text.replace(
        "group two 2",
        &format!("log {}\ngroup two all", vkey("log-mldsa44")),
    );
    let both = TlogPolicy::parse(both.as_bytes()).unwrap();
    for size in [0, 1, 255, 256, 257, 300] {
        let note = read(&format!("good/checkpoint.{size}"));
        let accepted = both.accept(&note).unwrap();
        assert_eq!(accepted.checkpoint.size, size);
        assert_eq!(accepted.log.len(), 2, "Ed25519 and ML-DSA-44");
        assert_eq!(accepted.witnesses.len(), 3);
        // 2026-01-01T00:00:00Z, as the README of the vectors says.
        assert_eq!(both.fresh_at(&accepted), Some(1_767_225_600));
        let unasked = policy("quorum none");
        assert_eq!(unasked.fresh_at(&unasked.accept(&note).unwrap()), None);
    }
    // One bit of any signature, and the note is refused.
    let note = read("good/checkpoint");
    let signatures = note.windows(2).rposition(|pair| pair == b"\n\n").unwrap() + 2;
    let mut refused = 0;
    for at in (signatures..note.len()).step_by(41) {
        let mut changed = note.clone();
        changed[at] ^= 1;
        refused += u32::from(both.open(&changed).is_err());
    }
    let tried = (note.len() - signatures).div_ceil(41);
    assert_eq!(usize::try_from(refused).unwrap(), tried);
}

#[test]
fn a_quorum_that_is_not_met_is_refused_by_name() {
    let lacking = read("bad/checkpoint-no-witness/checkpoint");
    let error = policy("quorum two").open(&lacking).unwrap_err().to_string();
    assert!(
        error.contains("\"two\"") && error.contains("by nobody, not by w1, w2, w3"),
        "{error}"
    );
    policy("quorum none").open(&lacking).unwrap();
    let wrong = read("bad/checkpoint-bad-cosignature/checkpoint");
    for quorum in ["quorum two", "quorum none"] {
        let error = policy(quorum).open(&wrong).unwrap_err().to_string();
        assert!(
            error.contains("wrong signature by witness.example/w1"),
            "{error}"
        );
    }
    // The bad logs carry w1 and w2 only: two of three will do, all three will not.
    let two = read("bad/tile-missing/checkpoint");
    policy("quorum two").open(&two).unwrap();
    policy("quorum w2").open(&two).unwrap();
    let error = policy("quorum w3").open(&two).unwrap_err().to_string();
    assert!(error.contains("signed by w1, w2, not by w3"), "{error}");
    // Receipts are held to the quorum too.
    let receipt = TlogProof::parse(&read("proofs/7.tlog-proof")).unwrap();
    receipt
        .verify(&read("proofs/7.entry"), &policy("quorum two"))
        .unwrap();
}

#[test]
fn policies_are_printed_as_they_are_read() {
    let text = String::from_utf8(read("policy")).unwrap();
    let policy = policy("quorum two");
    assert_eq!(policy.to_string(), text);
    let (log, w1, w2) = (vkey("log-ed25519"), vkey("w1-ed25519"), vkey("w2-ed25519"));
    let head = format!(
        "# a comment\n\n log\t{log}  https://log.example \nwitness a {w1}\nwitness b {w2} https://w.example\n"
    );
    let groups =
        TlogPolicy::parse(format!("{head}group x any a\ngroup y all x b\nquorum y\n").as_bytes())
            .unwrap();
    assert_eq!(groups.logs()[0].url.as_deref(), Some("https://log.example"));
    assert_eq!(
        TlogPolicy::parse(groups.to_string().as_bytes()).unwrap(),
        groups
    );
    for (tail, line, what) in [
        ("", 0, "no quorum line"),
        (
            "quorum c\n",
            6,
            "no witness or group that was defined before",
        ),
        ("quorum none\nquorum a\n", 7, "a quorum line already"),
        ("quorum none", 0, "does not end in a line break"),
        ("group g 3 a b\nquorum g\n", 6, "a number from 1 to 2"),
        ("group g 0 a b\nquorum g\n", 6, "a number from 1 to 2"),
        ("group g 01 a b\nquorum g\n", 6, "a number from 1 to 2"),
        ("group g any\nquorum g\n", 6, "from 1 to 0"),
        ("group g any a a\nquorum g\n", 6, "is a member already"),
        (
            "group g any a\ngroup h any a\nquorum h\n",
            7,
            "is a member already",
        ),
        ("group a any b\nquorum a\n", 6, "is defined already"),
        ("group g any none\nquorum g\n", 6, "no witness or group"),
        ("group none any a\nquorum a\n", 6, "cannot be a name"),
        ("monitor m\nquorum none\n", 6, "begins with \"monitor\""),
        ("quorum\u{1}none\n", 6, "control character"),
        (
            &format!("witness c {w1}\nquorum none\n"),
            6,
            "two witnesses have this key",
        ),
        (
            &format!("log {log}\nquorum none\n"),
            6,
            "two logs have this key",
        ),
        (&format!("log {w1}\nquorum none\n"), 6, "a witness's (0x04)"),
        (
            &format!("witness c {log}\nquorum none\n"),
            6,
            "a witness cosigns",
        ),
        ("log x+00000000+AQ==\nquorum none\n", 6, "the log's key"),
    ] {
        let error = TlogPolicy::parse(format!("{head}{tail}").as_bytes()).unwrap_err();
        assert_eq!(error.line, line, "{tail:?}: {error}");
        assert!(error.what.contains(what), "{tail:?}: {error}");
    }
    assert!(TlogPolicy::parse(b"quorum none\n").is_err(), "no log");
}

/// Go's ML-DSA-44 verifies ours, on our own checkpoint.
#[test]
fn another_implementation_verifies_our_post_quantum_signature() {
    let Some(program) = peer("tlogcheck", "tlogcheck") else {
        return;
    };
    let workspace = Workspace::released();
    let store = weighbridge::ledger::DirectoryStore::new(&workspace.path("log"));
    let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
    let signer = LogSigner::new("log.example", key).unwrap();
    weighbridge::ledger::create(&store, &signer, now()).unwrap();
    let entries: Vec<Vec<u8>> = (0..300).map(|n: u32| n.to_be_bytes().into()).collect();
    weighbridge::ledger::append(&store, &signer, &entries, now()).unwrap();
    let check = |vkey: &str, witness: &str| {
        let mut command = std::process::Command::new(&program);
        command
            .arg("-dir")
            .arg(workspace.path("log"))
            .args(["-vkey", vkey, "-fsck"]);
        command.args(["-witness", witness, "-quorum", "1"]);
        Run::from(command.output().unwrap())
    };
    let (ed25519, ml_dsa) = (
        signer.verifier().to_string(),
        signer.ml_dsa_verifier().to_string(),
    );
    check(&ed25519, &ml_dsa).exits(0);
    let other = ed25519_dalek::SigningKey::from_bytes(&[6; 32]);
    let other = LogSigner::new("log.example", other).unwrap();
    check(&ed25519, &other.ml_dsa_verifier().to_string()).exits(1);
}
