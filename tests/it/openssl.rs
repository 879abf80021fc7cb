//! Keys to and from OpenSSL, and our signatures in its eyes.

use crate::support::{PASSPHRASE, Run, Workspace, tool};

#[test]
fn openssl_reads_the_keys_we_write() {
    if !tool("openssl") {
        return;
    }
    for algorithm in ["p256", "p384", "p521", "ed25519"] {
        let workspace = Workspace::new();
        let mut init = workspace.command(["init", "--algorithm", algorithm]);
        Run::from(
            init.env("WEIGHBRIDGE_PASSPHRASE", PASSPHRASE)
                .output()
                .unwrap(),
        )
        .exits(0);
        for (key, public) in [("signing", "keys/signing.pub.pem"), ("log", "/dev/null")] {
            let out = workspace.shell(&format!(
                "openssl pkey -in keys/{key}.key.pem -passin 'pass:{PASSPHRASE}' -pubout"
            ));
            let out = out.exits(0).stdout;
            if public != "/dev/null" {
                assert_eq!(out.as_bytes(), workspace.read(public), "{algorithm}");
            }
        }
        let wrong =
            workspace.shell("openssl pkey -in keys/signing.key.pem -passin pass:wrong -noout");
        assert_ne!(wrong.code, 0);
    }
}

#[test]
fn we_read_the_keys_that_openssl_writes() {
    if !tool("openssl") {
        return;
    }
    let workspace = Workspace::new();
    workspace.write("f", "x");
    for make in [
        "openssl genpkey -algorithm ED25519 -out k",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out k",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -aes256 -pass pass:x -out k",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -aes128 -pass pass:x -out k",
        "openssl genpkey -algorithm ED25519 -aes256 -pass pass:x -out k",
        "openssl ecparam -name prime256v1 -genkey -out k",
        "openssl ecparam -name secp384r1 -genkey -noout -out k",
        "openssl genpkey -algorithm ED25519 -out p; openssl pkcs8 -topk8 -in p -scrypt -passout pass:x -out k",
    ] {
        workspace
            .shell(&format!(
                "{make}; openssl pkey -in k -passin pass:x -pubout -out pub"
            ))
            .exits(0);
        let mut sign = workspace.command(["sign", "--key", "k", "f"]);
        Run::from(sign.env("WEIGHBRIDGE_PASSPHRASE", "x").output().unwrap()).exits(0);
        workspace.run(["verify", "--key", "pub", "f"]).exits(0);
    }
    for make in [
        "openssl genpkey -algorithm RSA -out k 2>/dev/null",
        "openssl ecparam -name secp256k1 -genkey -noout -out k",
        "openssl ecparam -name secp224r1 -genkey -noout -out k",
        "openssl genpkey -algorithm X25519 -out k",
    ] {
        workspace.shell(make).exits(0);
        workspace
            .run(["sign", "--key", "k", "f"])
            .exits(2)
            .says("supported are Ed25519");
    }
}

/// The signature in a bundle is over DSSE's encoding of the payload, nothing of ours.
#[test]
fn openssl_verifies_the_signature_in_a_bundle() {
    if !tool("openssl") {
        return;
    }
    let workspace = Workspace::released();
    let script = r#"
import base64, json
bundle = json.load(open("model/model.sig"))
envelope = bundle["dsseEnvelope"]
payload = base64.b64decode(envelope["payload"], validate=True)
kind = envelope["payloadType"].encode()
open("signed", "wb").write(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
open("sig", "wb").write(base64.b64decode(envelope["signatures"][0]["sig"], validate=True))
statement = json.loads(payload)
import hashlib
digests = b"".join(bytes.fromhex(r["digest"]) for r in statement["predicate"]["resources"])
assert statement["subject"][0]["digest"]["sha256"] == hashlib.sha256(digests).hexdigest()
names = [r["name"] for r in statement["predicate"]["resources"]]
assert names == sorted(names, key=lambda name: name.encode())
hint = bundle["verificationMaterial"]["publicKey"]["hint"]
assert hint == hashlib.sha256(open("keys/signing.pub.pem", "rb").read()).hexdigest()
assert envelope["signatures"][0]["keyid"] == "" and bundle["verificationMaterial"]["tlogEntries"] == []
"#;
    workspace.write("check.py", script);
    workspace.shell("python3 check.py; openssl dgst -sha256 -verify keys/signing.pub.pem -signature sig signed").exits(0).says("Verified OK");
}
