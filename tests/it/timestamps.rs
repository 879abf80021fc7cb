//! Timestamps of a real authority, `openssl ts`, and what they change.

use weighbridge::timestamp::{Authorities, Stamp, TimestampError, verify};
use weighbridge::x509::{Certificate, Withdrawn, WithdrawnBy};

use crate::support::{Run, Workspace, fixture, tool};

/// An authority `tsa` with a key of the given type under `tsa-root`, and a signer's certificate that
/// expires in a moment.
const SET_UP: &str = r#"
new_key() { case $2 in
  rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $1 2>/dev/null;;
  *) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-${2#p} -out $1;; esac; }
root() { new_key $1.key $2; openssl req -x509 -new -key $1.key -days 3650 -subj "/CN=$1" -out $1.pem \
  -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign'; }
under() { new_key $1.key $3; openssl req -new -key $1.key -subj "/CN=$1" -out $1.csr
  printf '%b\n' "$4" > $1.ext
  openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days 3000 -extfile $1.ext -out $1.pem 2>/dev/null; }
TSA='basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping'
# reply QUERY NAME DIGEST
conf() { printf "[tsa]\ndefault_tsa=t\n[t]\nserial=serial\ncrypto_device=builtin\nsigner_cert=$1.pem\nsigner_key=$1.key\nsigner_digest=$2\ndefault_policy=1.2.3.4\ndigests=sha1,sha256,sha384,sha512\naccuracy=secs:1,millisecs:500,microsecs:100\nordering=yes\ntsa_name=yes\ness_cert_id_chain=no\ness_cert_id_alg=${3:-sha256}\n" > ts.cnf; echo 01 > serial; }
reply() { openssl ts -reply -config ts.cnf -queryfile $1 -out $2 2>/dev/null; }
"#;

fn authority(script: &str) -> Option<Workspace> {
    if !tool("openssl") {
        return None;
    }
    let workspace = Workspace::new();
    workspace.model("model");
    workspace.shell(&format!("{SET_UP}\n{script}")).exits(0);
    workspace.run(["init", "--no-passphrase"]).exits(0);
    workspace
        .run(["sign", "--signature", "s", "model"])
        .exits(0);
    Some(workspace)
}

fn ask(workspace: &Workspace) {
    _ = std::fs::remove_file(workspace.path("q"));
    workspace.run(["timestamp", "--query", "q", "s"]).exits(0);
}

fn attach(workspace: &Workspace, root: &str) -> Run {
    workspace.run([
        "timestamp",
        "--query",
        "q",
        "--reply",
        "r",
        "--authorities",
        root,
        "s",
    ])
}

#[test]
fn authorities_of_every_kind_of_key() {
    for (root, key, digest, names) in [
        ("p256", "p256", "sha256", "sha256"),
        ("p384", "p384", "sha384", "sha1"),
        ("p521", "p521", "sha512", "sha512"),
        ("rsa", "rsa", "sha256", "sha256"),
        ("rsa", "p256", "sha512", "sha384"),
        ("p256", "rsa", "sha512", "sha1"),
    ] {
        let Some(workspace) = authority(&format!(
            "root tsa-root {root}; under tsa tsa-root {key} \"$TSA\"; root other p256"
        )) else {
            return;
        };
        ask(&workspace);
        // The authority itself finds the request to be one.
        workspace
            .shell(&format!(
                "{SET_UP}\nopenssl ts -query -in q -text | grep -q 'Hash Algorithm: sha256'
                 conf tsa {digest} {names}; reply q r"
            ))
            .exits(0);
        attach(&workspace, "other.pem").exits(1);
        attach(&workspace, "tsa-root.pem").exits(0);
        let verify = |root: &str| {
            workspace.run([
                "verify",
                "--key",
                "keys/signing.pub.pem",
                "--timestamp-authorities",
                root,
                "--signature",
                "s",
                "model",
            ])
        };
        verify("tsa-root.pem").exits(0).says("signed before 20");
        // A token alone, as other tools embed it, and an authority that nobody trusts.
        verify("other.pem")
            .exits(0)
            .says("a timestamp does not count");
    }
}

#[test]
fn replies_that_do_not_count() {
    let Some(workspace) = authority("root tsa-root p256; under tsa tsa-root p256 \"$TSA\"") else {
        return;
    };
    let reply = |script: &str| {
        workspace
            .shell(&format!("{SET_UP}\nconf tsa sha256; {script}"))
            .exits(0);
        attach(&workspace, "tsa-root.pem")
    };
    ask(&workspace);
    // Over something else, or an answer to another request, or without its nonce.
    reply("openssl ts -query -data model/config.json -sha256 -cert -out other.q 2>/dev/null; reply other.q r")
        .exits(1);
    reply("cp q kept; reply q r; weighbridge timestamp --query q2 s; cp q2 q")
        .exits(1)
        .says("answers another request");
    reply("reply q r; head -c 400 r > r2; mv r2 r")
        .exits(1)
        .says("malformed");
    reply("printf '\\060\\005\\060\\003\\002\\001\\002' > r")
        .exits(1)
        .says("the authority refused: status 2");
    reply("printf x > r").exits(1);
    // A good one, and the same again with each byte of it changed: nothing but what is not signed may be.
    reply("reply q r; openssl ts -reply -in r -token_out -out token").exits(0);
    let bundle: serde_json::Value = serde_json::from_slice(&workspace.read("s")).unwrap();
    let stamps = &bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
    assert_eq!(stamps.as_array().unwrap().len(), 1);
}

fn certificates(workspace: &Workspace, name: &str) -> Vec<Certificate> {
    Certificate::from_pem(&String::from_utf8(workspace.read(name)).unwrap()).unwrap()
}

fn judge(
    workspace: &Workspace,
    token: &[u8],
    message: &[u8],
    root: &str,
    now: &str,
) -> Result<Stamp, TimestampError> {
    let anchors = certificates(workspace, root);
    let authorities = Authorities {
        anchors: &anchors,
        withdrawn: &[],
    };
    verify(token, message, authorities, now.parse().unwrap())
}

/// Tokens that OpenSSL signs as any content: each with one thing that is wrong.
#[test]
fn tokens_with_one_thing_wrong() {
    let Some(workspace) = authority(
        "root tsa-root p256; under tsa tsa-root p256 \"$TSA\"; root other p256
         under loose tsa-root p256 'extendedKeyUsage=timeStamping'
         under both tsa-root p256 'extendedKeyUsage=critical,timeStamping,codeSigning'
         under code tsa-root p256 'extendedKeyUsage=critical,codeSigning'
         under agree tsa-root p256 'keyUsage=keyAgreement\\nextendedKeyUsage=critical,timeStamping'
         under stranger other p256 \"$TSA\"
         conf tsa sha256; printf message > m
         openssl ts -query -data m -sha256 -cert -out q 2>/dev/null; reply q r
         openssl ts -reply -in r -token_out -out token
         openssl cms -verify -noverify -inform DER -in token -out tst 2>/dev/null
         as() { openssl cms -sign -binary -nodetach -outform DER -econtent_type ${TYPE:-1.2.840.113549.1.9.16.1.4} -in ${IN:-tst} \"$@\" -out $NAME.tok; }
         NAME=good as -cades -md sha256 -signer tsa.pem -inkey tsa.key
         NAME=sha1 as -cades -md sha1 -signer tsa.pem -inkey tsa.key
         NAME=unnamed as -md sha256 -signer tsa.pem -inkey tsa.key
         NAME=two as -cades -md sha256 -signer tsa.pem -inkey tsa.key -signer loose.pem -inkey loose.key
         TYPE=1.2.840.113549.1.7.1 NAME=data as -cades -md sha256 -signer tsa.pem -inkey tsa.key
         NAME=noattr as -noattr -md sha256 -signer tsa.pem -inkey tsa.key
         NAME=keyid as -keyid -cades -md sha256 -signer tsa.pem -inkey tsa.key
         NAME=nocerts as -nocerts -cades -md sha256 -signer tsa.pem -inkey tsa.key
         for n in loose both code agree stranger; do NAME=$n as -cades -md sha256 -signer $n.pem -inkey $n.key; done
         cat tsa-root.pem tsa.pem > with-signer.pem",
    ) else {
        return;
    };
    let now = "2090-01-01T00:00:00Z";
    let judge_file =
        |name: &str, root: &str| judge(&workspace, &workspace.read(name), b"message", root, now);
    for good in ["token", "r", "good.tok", "keyid.tok"] {
        let stamp = judge_file(good, "tsa-root.pem").unwrap();
        // One and a half seconds, and the microseconds rounded up.
        assert_eq!(stamp.accuracy_millis, 1501, "{good}");
        assert_eq!(stamp.latest().millis() - stamp.time.millis(), 1501);
    }
    let refused = |name: &str, says: &str| {
        let error = judge_file(name, "tsa-root.pem").unwrap_err();
        assert!(error.to_string().contains(says), "{name}: {error}");
    };
    refused("sha1.tok", "digest 1.3.14.3.2.26");
    refused("unnamed.tok", "does not name its certificate");
    refused("two.tok", "more or fewer parts");
    refused("data.tok", "no timestamp");
    refused("noattr.tok", "no signed attributes");
    refused("loose.tok", "must be critical");
    refused("both.tok", "this one alone");
    refused("code.tok", "this one alone");
    refused("agree.tok", "digital signatures");
    refused("stranger.tok", "neither trusted nor in the bundle");
    refused("nocerts.tok", "neither in it nor trusted");
    judge_file("nocerts.tok", "with-signer.pem").unwrap();
    refused("q", "malformed");
    // Before it was made.
    let early = judge(
        &workspace,
        &workspace.read("token"),
        b"message",
        "tsa-root.pem",
        "2020-01-01T00:00:00Z",
    );
    assert!(matches!(early, Err(TimestampError::Future(_))));
    let other = judge(
        &workspace,
        &workspace.read("token"),
        b"massage",
        "tsa-root.pem",
        now,
    );
    assert!(matches!(other, Err(TimestampError::Imprint)));
    // A policy that revokes the authority, or the root above it, takes its word no longer.
    let anchors = certificates(&workspace, "tsa-root.pem");
    for name in ["tsa.pem", "tsa-root.pem"] {
        let withdrawn = [Withdrawn {
            digest: certificates(&workspace, name)[0].fingerprint(),
            since: Some("2099-01-01T00:00:00Z".parse().unwrap()),
            by: WithdrawnBy::Policy,
        }];
        let authorities = Authorities {
            anchors: &anchors,
            withdrawn: &withdrawn,
        };
        let result = verify(
            &workspace.read("token"),
            b"message",
            authorities,
            now.parse().unwrap(),
        );
        assert!(matches!(result, Err(TimestampError::Revoked(_))), "{name}");
    }
    // Every byte changed: refused, or the same statement by the same authority.
    let token = workspace.read("token");
    let good = judge(&workspace, &token, b"message", "tsa-root.pem", now).unwrap();
    let mut unnoticed = 0;
    for at in 0..token.len() {
        let mut changed = token.clone();
        changed[at] ^= 1;
        if let Ok(stamp) = judge(&workspace, &changed, b"message", "tsa-root.pem", now) {
            assert_eq!(stamp, good, "byte {at}");
            unnoticed += 1;
        }
    }
    // The list of digest algorithms and the versions are outside of what is signed.
    assert!(unnoticed < 20, "{unnoticed}");
}

/// A bundle that a log has vouched for is left as it is.
#[test]
fn keyless_bundles_are_left_alone() {
    let Some(workspace) = authority("root tsa-root p256; under tsa tsa-root p256 \"$TSA\"") else {
        return;
    };
    let bundle =
        fixture("vectors/oms/cases/upstream-python-scripts-tests/v1.1.0-sigstore/model.sig");
    std::fs::copy(bundle, workspace.path("keyless")).unwrap();
    let before = workspace.read("keyless");
    workspace
        .run(["timestamp", "--query", "q", "keyless"])
        .exits(2)
        .says("was signed keyless");
    workspace
        .run(["sign", "--add", "--signature", "keyless", "model"])
        .exits(2)
        .says("keyless");
    assert_eq!(workspace.read("keyless"), before);
    // What is not understood stays: bundles of model_signing 0.3 say more of their key.
    let old =
        fixture("vectors/oms/cases/upstream-python-scripts-tests/v0.3.1-elliptic-key/model.sig");
    std::fs::copy(old, workspace.path("s")).unwrap();
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&workspace.read(name)).unwrap()
    };
    let before = read("s");
    _ = std::fs::remove_file(workspace.path("q"));
    ask(&workspace);
    workspace
        .shell(&format!("{SET_UP}\nconf tsa sha256; reply q r"))
        .exits(0);
    attach(&workspace, "tsa-root.pem").exits(0);
    let mut after = read("s");
    let material = after["verificationMaterial"].as_object_mut().unwrap();
    assert!(material.remove("timestampVerificationData").is_some());
    assert_eq!(after, before);
}

/// What a timestamp is for: a certificate that expired since.
#[test]
fn a_certificate_that_expired_since() {
    let Some(workspace) = authority(
        "root tsa-root p256; under tsa tsa-root p256 \"$TSA\"; root ca p384
         new_key leaf.key p256; openssl req -new -key leaf.key -subj /CN=leaf -out leaf.csr
         printf 'keyUsage=critical,digitalSignature\\n' > leaf.ext
         mkdir db; : > db/index.txt; echo 01 > db/serial
         printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=db/index.txt\\nserial=db/serial\\nnew_certs_dir=db\\npolicy=p\\n[p]\\nCN=supplied\\n' > ca.cnf
         openssl ca -batch -config ca.cnf -notext -md sha256 -keyfile ca.key -cert ca.pem \\
           -startdate 20200101000000Z -enddate $(date -u -d '+6 seconds' +%Y%m%d%H%M%SZ) -extfile leaf.ext -in leaf.csr -out leaf.pem 2>/dev/null",
    ) else {
        return;
    };
    workspace
        .run([
            "sign",
            "--key",
            "leaf.key",
            "--certificate",
            "leaf.pem",
            "--signature",
            "s",
            "model",
        ])
        .exits(0);
    workspace.shell("cp s plain").exits(0);
    ask(&workspace);
    workspace
        .shell(&format!("{SET_UP}\nconf tsa sha256; reply q r"))
        .exits(0);
    attach(&workspace, "tsa-root.pem").exits(0);
    let verify = |signature: &str, more: &[&str]| {
        let mut args = vec![
            "verify",
            "--certificate-chain",
            "ca.pem",
            "--signature",
            signature,
        ];
        args.extend(more);
        args.push("model");
        workspace.run(args)
    };
    std::thread::sleep(std::time::Duration::from_secs(7));
    let trusting = ["--timestamp-authorities", "tsa-root.pem"];
    verify("s", &trusting).exits(0).says("signature.time");
    // A time that nobody trusted vouches for widens nothing.
    verify("s", &[]).exits(1).says("expired at");
    verify("plain", &trusting).exits(1).says("expired at");
    verify("s", &["--timestamp-authorities", "ca.pem"])
        .exits(1)
        .says("expired at");
    // A stamp over another signature.
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&workspace.read(name)).unwrap()
    };
    let mut moved = read("plain");
    workspace
        .run(["sign", "--signature", "other", "model"])
        .exits(0);
    workspace.shell("cp s kept; cp other s").exits(0);
    ask(&workspace);
    workspace
        .shell(&format!("{SET_UP}\nconf tsa sha256; reply q r"))
        .exits(0);
    attach(&workspace, "tsa-root.pem").exits(0);
    moved["verificationMaterial"]["timestampVerificationData"] =
        read("s")["verificationMaterial"]["timestampVerificationData"].clone();
    workspace.write("moved", moved.to_string());
    verify("moved", &trusting)
        .exits(1)
        .says("it is about something else")
        .says("expired at");
}

/// The ledger says that a key no longer counts: what an authority places before still does.
#[test]
fn a_key_that_is_revoked_later() {
    let Some(workspace) =
        authority("root tsa-root p256; under tsa tsa-root p256 \"$TSA\"; conf tsa sha256")
    else {
        return;
    };
    ask(&workspace);
    workspace
        .shell(&format!("{SET_UP}\nconf tsa sha256; reply q r"))
        .exits(0);
    attach(&workspace, "tsa-root.pem").exits(0);
    workspace.run(["record", "release", "model"]).exits(0);
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let trusting = format!("{policy}\n[timestamps]\nauthorities_file = \"tsa-root.pem\"\n");
    let gate = || workspace.run(["gate", "--signature", "s", "model"]);
    // The authority counts in seconds, and says how exact it is: about two of them.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let revoke = |more: &[&str]| {
        let mut args = vec!["key", "revoke", "--key", "keys/signing.key.pem"];
        args.extend(more);
        args.push("keys/signing.pub.pem");
        workspace.run(args)
    };
    revoke(&["--reason", "lost"]).exits(0);
    gate()
        .exits(1)
        .says("no trusted timestamp places the signature before");
    workspace.write("weighbridge.toml", &trusting);
    gate().exits(0).says("1 record in the ledger changed");
    // Revoked is revoked: its owner says nothing more with it, not even that it was earlier.
    revoke(&["--since", "2020-01-01T00:00:00Z"])
        .exits(2)
        .says("was revoked by record 1");
    workspace.new_key("admin");
    let admin = String::from_utf8(workspace.read("admin.pub")).unwrap();
    workspace.write("weighbridge.toml", format!("{trusting}\n[[identity]]\nname = \"a\"\nroles = [\"admin\"]\npublic_key = \"\"\"\n{admin}\"\"\"\n"));
    workspace
        .run([
            "key",
            "revoke",
            "--key",
            "admin",
            "--since",
            "2020-01-01T00:00:00Z",
            "keys/signing.pub.pem",
        ])
        .exits(0);
    gate()
        .exits(1)
        .says("signature.revoked")
        .says("record.missing");
}
