//! The C2SP tlog-policy: read strictly, printed back, and held against notes that others signed.

use weighbridge::checkpoint::CheckpointError;
use weighbridge::note::NoteKey;
use weighbridge::tlog_policy::{TlogPolicy, TlogPolicyProblem as P};

use crate::support::fixture;

fn vkey(name: &str) -> String {
    let keys = std::fs::read_to_string(fixture("vectors/tlog/vkeys.txt")).unwrap();
    let line = keys.lines().find_map(|line| {
        let (found, key) = line.split_once(' ')?;
        (found == name).then(|| key.trim().to_owned())
    });
    line.unwrap_or_else(|| panic!("no {name} in vkeys.txt: {keys:.80}"))
}

fn note(path: &str) -> Vec<u8> {
    std::fs::read(fixture("vectors/tlog").join(path)).unwrap()
}

/// The log in Ed25519, the witnesses w1, w2 (Ed25519) and w3 (ML-DSA-44), and these further lines.
fn policy(lines: &str) -> TlogPolicy {
    let (w1, w2, w3) = (vkey("w1-ed25519"), vkey("w2-ed25519"), vkey("w3-mldsa44"));
    let log = vkey("log-ed25519");
    let text = format!("log {log}\nwitness w1 {w1}\nwitness w2 {w2}\nwitness w3 {w3}\n{lines}");
    TlogPolicy::parse(text.as_bytes()).unwrap()
}

#[test]
fn keys_of_three_types_have_one_spelling() {
    for name in [
        "log-ed25519",
        "log-mldsa44",
        "w1-ed25519",
        "w2-ed25519",
        "w3-mldsa44",
    ] {
        let text = vkey(name);
        assert_eq!(NoteKey::parse(&text).unwrap().to_string(), text);
        let (start, rest) = text.split_at(text.len() / 2);
        let changed = if rest.starts_with('A') { "B" } else { "A" };
        let changed = format!("{start}{changed}{}", &rest[1..]);
        assert!(NoteKey::parse(&changed).is_err(), "{name}");
    }
}

#[test]
fn the_policy_of_the_vectors_accepts_the_good_and_refuses_the_bad() {
    let bytes = note("policy");
    let policy = TlogPolicy::parse(&bytes).unwrap();
    let again = TlogPolicy::parse(&policy.encode()).unwrap();
    assert_eq!(again, policy);
    let opened = policy.examine(&note("good/checkpoint")).unwrap();
    assert_eq!(opened.checkpoint.size, 300);
    assert_eq!(opened.witnesses.len(), 3);
    // 2026-01-01T00:00:00Z, which the README of the vectors states.
    assert_eq!(opened.vouched, Some(1_767_225_600));
    match policy.open(&note("bad/checkpoint-no-witness/checkpoint")) {
        Err(CheckpointError::Quorum {
            signed, missing, ..
        }) => assert_eq!((signed.len(), missing.len()), (0, 3)),
        other => panic!("{other:?}"),
    }
    let said = |name: &str| {
        let note = note(&format!("bad/{name}/checkpoint"));
        policy.open(&note).unwrap_err().to_string()
    };
    assert!(said("checkpoint-bad-cosignature").contains("wrong signature"));
    assert!(said("checkpoint-bad-signature").contains("wrong signature"));
    assert!(said("checkpoint-other-key").contains("no signature"));
    assert!(said("checkpoint-wrong-origin").contains("is of log"));
    let unwitnessed = policy.without_quorum();
    assert!(
        unwitnessed
            .open(&note("bad/checkpoint-no-witness/checkpoint"))
            .is_ok()
    );
    // Receipts are held to the quorum as well.
    let proof = weighbridge::ledger::TlogProof::parse(&note("proofs/7.tlog-proof")).unwrap();
    assert!(proof.verify(&note("proofs/7.entry"), &policy).is_ok());
}

#[test]
fn ml_dsa_signatures_of_another_program_are_verified() {
    let text = format!("log {}\nquorum none\n", vkey("log-mldsa44"));
    let log = TlogPolicy::parse(text.as_bytes()).unwrap();
    assert_eq!(log.open(&note("good/checkpoint")).unwrap().size, 300);
    // The damaged logs are signed by the Ed25519 keys alone.
    let error = log.open(&note("bad/checkpoint-no-witness/checkpoint"));
    assert!(error.unwrap_err().to_string().contains("no signature"));
    let good = String::from_utf8(note("good/checkpoint")).unwrap();
    for (from, to) in [("\n300\n", "\n301\n"), ("\n300\n", "\n299\n")] {
        let changed = good.replacen(from, to, 1);
        let error = log.open(changed.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("wrong signature"), "{error}");
    }
    assert!(policy("quorum w3\n").open(&note("good/checkpoint")).is_ok());
    let damaged = note("bad/tile-missing/checkpoint");
    assert!(policy("quorum w2\n").open(&damaged).is_ok());
    assert!(policy("quorum w3\n").open(&damaged).is_err());
}

#[test]
fn groups_count() {
    // Signed by w1 and w2, not by w3.
    let two = note("bad/tile-missing/checkpoint");
    for (lines, good) in [
        ("group g all w1 w2\nquorum g\n", true),
        ("group g all w1 w3\nquorum g\n", false),
        ("group g any w3 w2\nquorum g\n", true),
        ("group g any w3\nquorum g\n", false),
        ("group g 2 w1 w2 w3\nquorum g\n", true),
        ("group g 3 w1 w2 w3\nquorum g\n", false),
        ("group a any w1 w3\ngroup b all a w2\nquorum b\n", true),
        ("group a all w1 w3\ngroup b all a w2\nquorum b\n", false),
        ("group a all w1 w3\ngroup b any a w2\nquorum b\n", true),
        (" # a remark\n\t\n  quorum\t none \n", true),
    ] {
        let policy = policy(lines);
        assert_eq!(policy.open(&two).is_ok(), good, "{lines}");
        assert_eq!(TlogPolicy::parse(&policy.encode()).unwrap(), policy);
    }
    let error = policy("group g 3 w1 w2 w3\nquorum g\n").open(&two);
    assert_eq!(
        error.unwrap_err().to_string(),
        "checkpoint has too few cosignatures: needed 3 of w1, w2, w3; signed: w1, w2; missing: w3"
    );
}

type Check = fn(&P) -> bool;

#[test]
fn wrong_policies_are_refused_with_their_line() {
    let (log, w1) = (vkey("log-ed25519"), vkey("w1-ed25519"));
    let (w2, other) = (vkey("w2-ed25519"), vkey("log-mldsa44"));
    let head = format!("log {log}\nwitness w1 {w1}\nwitness w2 {w2}\n");
    let cases: Vec<(String, usize, Check)> = vec![
        (head.clone(), 3, |p| matches!(p, P::NoQuorum)),
        ("quorum none\n".into(), 1, |p| matches!(p, P::NoLog)),
        (format!("{head}quorum none"), 4, |p| {
            matches!(p, P::NoLineBreak)
        }),
        (format!("{head}quorum none\r\n"), 4, |p| {
            matches!(p, P::Control)
        }),
        (format!("{head}quorum none\nquorum w1\n"), 5, |p| {
            matches!(p, P::QuorumTwice)
        }),
        (format!("{head}quorum w3\n"), 4, |p| {
            matches!(p, P::Undefined(_))
        }),
        (format!("{head}quorum g\ngroup g any w1\n"), 4, |p| {
            matches!(p, P::Undefined(_))
        }),
        (format!("{head}quorum\n"), 4, |p| matches!(p, P::Form(_))),
        (format!("{head}quorum w1 w2\n"), 4, |p| {
            matches!(p, P::Form(_))
        }),
        (format!("{head}group g 0 w1\n"), 4, |p| {
            matches!(p, P::Threshold)
        }),
        (format!("{head}group g 3 w1 w2\n"), 4, |p| {
            matches!(p, P::Threshold)
        }),
        (format!("{head}group g 01 w1 w2\n"), 4, |p| {
            matches!(p, P::Threshold)
        }),
        (format!("{head}group g most w1\n"), 4, |p| {
            matches!(p, P::Threshold)
        }),
        (format!("{head}group g all\n"), 4, |p| {
            matches!(p, P::Threshold)
        }),
        (format!("{head}group g any w1 w1\n"), 4, |p| {
            matches!(p, P::MemberTwice(_))
        }),
        (format!("{head}group g any w1\ngroup h any w1\n"), 5, |p| {
            matches!(p, P::MemberTwice(_))
        }),
        (format!("{head}group g any none\n"), 4, |p| {
            matches!(p, P::Undefined(_))
        }),
        (format!("{head}group g any g\n"), 4, |p| {
            matches!(p, P::Undefined(_))
        }),
        (format!("{head}group w1 any w2\n"), 4, |p| {
            matches!(p, P::NameTaken(_))
        }),
        (format!("{head}group none any w2\n"), 4, |p| {
            matches!(p, P::NameTaken(_))
        }),
        (format!("{head}witness w3 {w1}\n"), 4, |p| {
            matches!(p, P::DuplicateKey(_))
        }),
        (format!("{head}witness w3 {log}\n"), 4, |p| {
            matches!(p, P::KeyType(_))
        }),
        (format!("{head}log {w1}\n"), 4, |p| {
            matches!(p, P::KeyType(_))
        }),
        (format!("{head}log {log}\n"), 4, |p| {
            matches!(p, P::DuplicateKey(_))
        }),
        (format!("{head}log {other} u v\n"), 4, |p| {
            matches!(p, P::Form(_))
        }),
        (format!("{head}log x\n"), 4, |p| matches!(p, P::Key(_))),
        (format!("{head}wetness\n"), 4, |p| matches!(p, P::Keyword)),
    ];
    for (text, line, check) in cases {
        let error = TlogPolicy::parse(text.as_bytes()).unwrap_err();
        assert!(
            error.line == line && check(&error.problem),
            "{text}: {error}"
        );
    }
    // Names, addresses and remarks are opaque bytes.
    let opaque = [
        b"# \xff\n".as_slice(),
        head.as_bytes(),
        b"group \xfe all w1 w2\nquorum \xfe\n",
    ];
    let policy = TlogPolicy::parse(&opaque.concat()).unwrap();
    assert_eq!(TlogPolicy::parse(&policy.encode()).unwrap(), policy);
}
