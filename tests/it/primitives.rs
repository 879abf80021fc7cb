//! Every primitive against vectors that others made, through the hidden plumbing verb: Wycheproof, and the
//! edge cases of Ed25519 that CCTV collects.

use std::io::Write;
use std::process::Stdio;

use data_encoding::HEXLOWER;
use wycheproof::TestResult;

use crate::support::{Workspace, fixture};

/// A vector, and whether it must be valid; `None` where implementations may differ.
struct Case {
    line: String,
    valid: Option<bool>,
    name: String,
}

fn case(algorithm: &str, key: &[u8], message: &[u8], signature: &[u8]) -> String {
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    serde_json::json!({
        "algorithm": algorithm,
        "key": hex(key),
        "message": hex(message),
        "signature": hex(signature),
    })
    .to_string()
}

const fn expected(result: TestResult) -> Option<bool> {
    match result {
        TestResult::Valid => Some(true),
        TestResult::Invalid => Some(false),
        TestResult::Acceptable => None,
    }
}

fn verdicts(cases: &[Case]) -> Vec<String> {
    let workspace = Workspace::new();
    let mut command = workspace.command(["debug", "verify-raw"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<&str> = cases.iter().map(|case| case.line.as_str()).collect();
    let lines = lines.join("\n");
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let all: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(
        all.len(),
        cases.len(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    all
}

fn agree(cases: &[Case]) {
    for (case, verdict) in cases.iter().zip(verdicts(cases)) {
        if let Some(valid) = case.valid {
            assert_eq!(verdict == "valid", valid, "{}: {verdict}", case.name);
        }
    }
}

#[test]
fn ecdsa() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let mut cases = Vec::new();
    for (name, algorithm) in [
        (TestName::EcdsaSecp256r1Sha256, "ecdsa-p256-sha256"),
        (TestName::EcdsaSecp256r1Sha512, "ecdsa-p256-sha512"),
        (TestName::EcdsaSecp384r1Sha256, "ecdsa-p384-sha256"),
        (TestName::EcdsaSecp384r1Sha384, "ecdsa-p384-sha384"),
        (TestName::EcdsaSecp384r1Sha512, "ecdsa-p384-sha512"),
        (TestName::EcdsaSecp521r1Sha512, "ecdsa-p521-sha512"),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                cases.push(Case {
                    line: case(algorithm, &group.der, &test.msg, &test.sig),
                    valid: expected(test.result),
                    name: format!("{algorithm} {}: {}", test.tc_id, test.comment),
                });
            }
        }
    }
    assert!(cases.len() > 2500, "{}", cases.len());
    agree(&cases);
}

#[test]
fn ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut cases = Vec::new();
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        for test in group.tests {
            cases.push(Case {
                line: case("ed25519", &group.der, &test.msg, &test.sig),
                valid: expected(test.result),
                name: format!("ed25519 {}: {}", test.tc_id, test.comment),
            });
        }
    }
    assert!(cases.len() > 140, "{}", cases.len());
    agree(&cases);
}

#[test]
fn ml_dsa() {
    use wycheproof::mldsa_verify::{TestName, TestSet};
    let mut cases = Vec::new();
    for group in TestSet::load(TestName::MlDsa65Verify).unwrap().test_groups {
        for test in group.tests {
            // We sign with an empty context, and offer no other.
            if test.ctx.as_ref().is_some_and(|context| !context.is_empty()) {
                continue;
            }
            cases.push(Case {
                line: case("ml-dsa-65", &group.pubkey, &test.msg, &test.sig),
                valid: expected(test.result),
                name: format!("ml-dsa-65 {}: {}", test.tc_id, test.comment),
            });
        }
    }
    assert!(cases.len() > 150, "{}", cases.len());
    agree(&cases);
}

#[test]
fn rsa() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    let mut cases = Vec::new();
    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, "rsa-pkcs1-sha256"),
        (TestName::Rsa2048Sha384, "rsa-pkcs1-sha384"),
        (TestName::Rsa2048Sha512, "rsa-pkcs1-sha512"),
        (TestName::Rsa3072Sha256, "rsa-pkcs1-sha256"),
        (TestName::Rsa3072Sha384, "rsa-pkcs1-sha384"),
        (TestName::Rsa3072Sha512, "rsa-pkcs1-sha512"),
        (TestName::Rsa4096Sha256, "rsa-pkcs1-sha256"),
        (TestName::Rsa4096Sha384, "rsa-pkcs1-sha384"),
        (TestName::Rsa4096Sha512, "rsa-pkcs1-sha512"),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                cases.push(Case {
                    line: case(algorithm, &group.der, &test.msg, &test.sig),
                    valid: expected(test.result),
                    name: format!("{algorithm} {}: {}", test.tc_id, test.comment),
                });
            }
        }
    }
    assert!(cases.len() > 2000, "{}", cases.len());
    agree(&cases);
}

/// One rule for Ed25519: RFC 8032 without the cofactor, canonical points, no weak key. Of the 208 signatures
/// that the first implementation accepts, these are all.
#[test]
fn the_rule_for_ed25519() {
    let text = std::fs::read_to_string(fixture("vectors/cctv/ed25519vectors.json")).unwrap();
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let bytes = |value: &serde_json::Value| HEXLOWER.decode(value.as_str().unwrap().as_bytes());
    let weak = [
        "low_order_A",
        "low_order_R",
        "non_canonical_A",
        "non_canonical_R",
        "low_order_residue",
    ];
    let cases: Vec<Case> = vectors
        .iter()
        .map(|vector| {
            let key = bytes(&vector["key"]).unwrap();
            let signature = bytes(&vector["sig"]).unwrap();
            let message = vector["msg"].as_str().unwrap().as_bytes();
            let flags: Vec<&str> = vector["flags"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|flag| flag.as_str().unwrap())
                .collect();
            let doubtful = flags.iter().any(|flag| weak.contains(flag));
            Case {
                line: case("ed25519", &key, message, &signature),
                valid: doubtful.then_some(false),
                name: format!("{} {flags:?}", vector["number"]),
            }
        })
        .collect();
    assert_eq!(cases.len(), 914);
    agree(&cases);
    let accepted = verdicts(&cases)
        .iter()
        .filter(|word| *word == "valid")
        .count();
    assert_eq!(accepted, 43);
}

#[test]
fn bad_lines_are_named() {
    let workspace = Workspace::new();
    for (line, says) in [
        ("{}", "line 1"),
        ("x", "line 1"),
        (
            r#"{"algorithm":"md5","key":"","message":"","signature":""}"#,
            "no algorithm",
        ),
        (
            r#"{"algorithm":"ed25519","key":"AA","message":"","signature":""}"#,
            "line 1",
        ),
    ] {
        workspace.write("in", line);
        let mut command = workspace.command(["debug", "verify-raw"]);
        command.stdin(std::fs::File::open(workspace.path("in")).unwrap());
        crate::support::Run::from(command.output().unwrap())
            .exits(2)
            .says(says);
    }
}

/// No vector is no success, and a line has an end.
#[test]
fn vectors_must_be_there() {
    let workspace = Workspace::new();
    let endless = "head -c 17000000 /dev/zero | tr '\\0' ' '";
    for (input, says) in [
        ("printf ''", "holds no vector"),
        (endless, "line 1 is longer"),
    ] {
        workspace
            .shell(&format!("{input} | weighbridge debug verify-raw"))
            .exits(2)
            .says(says);
    }
}
