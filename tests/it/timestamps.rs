//! Timestamps of a real authority, `openssl ts`, and what they change.

use crate::support::{Run, Workspace, tool};

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
conf() { printf "[tsa]\ndefault_tsa=t\n[t]\nserial=serial\ncrypto_device=builtin\nsigner_cert=$1.pem\nsigner_key=$1.key\ncerts=$1.pem\nsigner_digest=$2\ndefault_policy=1.2.3.4\ndigests=sha1,sha256,sha384,sha512\naccuracy=secs:1,millisecs:500,microsecs:100\nordering=yes\ntsa_name=yes\ness_cert_id_chain=no\ness_cert_id_alg=${3:-sha256}\n" > ts.cnf; echo 01 > serial; }
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
    let Some(workspace) = authority(
        "root tsa-root p256; under tsa tsa-root p256 \"$TSA\"
         under loose tsa-root p256 'extendedKeyUsage=timeStamping'
         under both tsa-root p256 'extendedKeyUsage=critical,timeStamping,codeSigning'
         under code tsa-root p256 'extendedKeyUsage=critical,codeSigning'",
    ) else {
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
    // OpenSSL refuses to sign with a certificate that is not for it, so the certificate is swapped behind
    // its back: the same key, another certificate.
    for name in ["loose", "both", "code"] {
        let run = reply(&format!(
            "cp tsa.key {name}.key; openssl req -new -key {name}.key -subj /CN={name} -out {name}.csr
             openssl x509 -req -in {name}.csr -CA tsa-root.pem -CAkey tsa-root.key -CAcreateserial -days 300 -extfile {name}.ext -out {name}.pem 2>/dev/null
             reply q r; openssl ts -reply -in r -token_out -out token 2>/dev/null"
        ));
        run.exits(0);
        let only = format!("{name}.pem");
        let run = workspace.run([
            "verify",
            "--key",
            "keys/signing.pub.pem",
            "--timestamp-authorities",
            &only,
            "--signature",
            "s",
            "model",
        ]);
        run.exits(0).says("a timestamp does not count");
        workspace
            .run(["sign", "--signature", "s", "model"])
            .exits(0);
        _ = std::fs::remove_file(workspace.path("q"));
        ask(&workspace);
    }
    // Each bit of a good answer is signed, or it is refused, or it is outside of what is signed.
    reply("reply q r").exits(0);
    let bundle: serde_json::Value = serde_json::from_slice(&workspace.read("s")).unwrap();
    let stamps = &bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
    assert_eq!(stamps.as_array().unwrap().len(), 1);
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
