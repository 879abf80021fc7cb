//! Certificates that OpenSSL issues: what counts, what does not, and what is said about it.

use crate::support::{Workspace, tool};

/// `ca NAME SUBJECT ISSUER EXTENSIONS [KEYTYPE]`, and `issue` with times.
const ISSUE: &str = r#"
new_key() { case ${2:-p256} in
  rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:${3:-2048} -out $1.key 2>/dev/null;;
  ed25519) openssl genpkey -algorithm ED25519 -out $1.key;;
  *) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-${2#p} -out $1.key;; esac; }
# issue NAME ISSUER START END "extensions, one a line" [key type] [digest]
issue() {
  [ -f $1.key ] || new_key $1 ${6:-p256}
  printf '%b\n' "subjectKeyIdentifier=hash\n$5" > $1.ext
  openssl req -new -key $1.key -subj "/O=Test/CN=$1" -out $1.csr
  mkdir -p db; : > db/index.txt; rm -f db/index.txt.attr; echo "$(od -An -N8 -tx8 /dev/urandom | tr -d ' ' | sed 's/^./1/')" > db/serial
  printf '[ca]\ndefault_ca=d\n[d]\ndatabase=db/index.txt\nserial=db/serial\nnew_certs_dir=db\npolicy=p\nunique_subject=no\ncopy_extensions=none\n[p]\nO=optional\nCN=supplied\n' > ca.cnf
  self=""; [ $2 = $1 ] && self="-selfsign" || cert="-cert $2.pem"
  openssl ca -batch -config ca.cnf -notext -md ${7:-sha256} -keyfile $2.key ${self:-$cert} -startdate $3 -enddate $4 -extfile $1.ext -in $1.csr -out $1.pem 2>ca.log || { cat ca.log >&2; exit 1; }
}
CA='basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign'
LEAF='basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature'
PAST=20200101000000Z; SOON=20600101000000Z
"#;

fn with_certificates(script: &str) -> Option<Workspace> {
    if !tool("openssl") {
        return None;
    }
    let workspace = Workspace::new();
    workspace.model("model");
    workspace.shell(&format!("{ISSUE}\n{script}")).exits(0);
    Some(workspace)
}

fn sign(workspace: &Workspace, name: &str, chain: &[&str]) {
    let mut pem = workspace.read(&format!("{name}.pem"));
    for one in chain {
        pem.extend(workspace.read(&format!("{one}.pem")));
    }
    workspace.write("chain.pem", pem);
    let key = format!("{name}.key");
    workspace
        .run([
            "sign",
            "--key",
            &key,
            "--certificate",
            "chain.pem",
            "--signature",
            "s",
            "model",
        ])
        .exits(0);
}

fn verify(workspace: &Workspace, root: &str, more: &[&str]) -> crate::support::Run {
    let mut args = vec!["verify", "--signature", "s", "--certificate-chain", root];
    args.extend(more);
    args.push("model");
    workspace.run(args)
}

#[test]
fn chains_of_every_kind_of_key() {
    for (root, leaf, digest) in [
        ("p256", "p256", "sha256"),
        ("p384", "p384", "sha384"),
        ("p521", "p521", "sha512"),
        ("rsa", "p256", "sha384"),
        ("ed25519", "p384", "null"),
        ("p384", "ed25519", "sha256"),
        ("p521", "p256", "sha256"),
    ] {
        let script = format!(
            "issue root root $PAST $SOON \"$CA\" {root} {digest}
             issue int root $PAST $SOON \"$CA\" {root} {digest}
             issue leaf int $PAST $SOON \"$LEAF\" {leaf} {digest}"
        );
        let Some(workspace) = with_certificates(&script) else {
            return;
        };
        sign(&workspace, "leaf", &["int"]);
        verify(&workspace, "root.pem", &[])
            .exits(0)
            .says("signature.certificate");
        // An intermediate or the leaf itself can be trusted as well.
        verify(&workspace, "int.pem", &[]).exits(0);
        verify(&workspace, "leaf.pem", &[]).exits(0);
        sign(&workspace, "leaf", &[]);
        verify(&workspace, "root.pem", &[])
            .exits(1)
            .says("neither trusted nor in the bundle");
        let other = workspace.read("leaf.pem");
        workspace.write("not.pem", &other[..other.len() / 2]);
        verify(&workspace, "not.pem", &[]).exits(2);
    }
}

/// Each line is one thing that is wrong.
#[test]
fn what_does_not_count() {
    for (script, says) in [
        (
            "issue leaf root $PAST 20210101000000Z \"$LEAF\"",
            "expired at 2021-01-01",
        ),
        (
            "issue leaf root 20550101000000Z $SOON \"$LEAF\"",
            "is valid from 2055-01-01",
        ),
        (
            "issue leaf root $PAST $SOON \"$LEAF\\nextendedKeyUsage=serverAuth\"",
            "for something else",
        ),
        (
            "issue leaf root $PAST $SOON 'basicConstraints=CA:FALSE'",
            "neither key usage nor",
        ),
        (
            "issue leaf root $PAST $SOON 'keyUsage=critical,keyAgreement'",
            "does not include digital signatures",
        ),
        (
            "issue leaf root $PAST $SOON \"$LEAF\\n1.2.3.4=critical,ASN1:UTF8String:x\"",
            "critical extension 1.2.3.4",
        ),
        (
            "issue int root $PAST 20210101000000Z \"$CA\"; issue leaf int $PAST $SOON \"$LEAF\"",
            "expired at 2021-01-01",
        ),
        (
            "issue int root $PAST $SOON \"$LEAF\"; issue leaf int $PAST $SOON \"$LEAF\"",
            "may not issue certificates",
        ),
        (
            "issue int root $PAST $SOON 'keyUsage=keyCertSign'; issue leaf int $PAST $SOON \"$LEAF\"",
            "it has no basic constraints",
        ),
        (
            "issue int root $PAST $SOON 'basicConstraints=CA:TRUE\\nkeyUsage=digitalSignature'; issue leaf int $PAST $SOON \"$LEAF\"",
            "does not include signing certificates",
        ),
        (
            "issue int root $PAST $SOON \"$CA\\nextendedKeyUsage=serverAuth\"; issue leaf int $PAST $SOON \"$LEAF\"",
            "does not include the purpose",
        ),
        (
            "issue int root $PAST $SOON \"$CA\\nnameConstraints=critical,permitted;email:example.com\"; issue leaf int $PAST $SOON \"$LEAF\\nsubjectAltName=email:a@example.org\"",
            "email:a@example.org is not permitted",
        ),
        (
            "issue int root $PAST $SOON \"$CA\\nnameConstraints=critical,excluded;URI:example.com\"; issue leaf int $PAST $SOON \"$LEAF\\nsubjectAltName=URI:https://example.com/x\"",
            "URI:https://example.com/x is excluded",
        ),
        (
            "issue int root $PAST $SOON \"$CA\\npolicyConstraints=critical,requireExplicitPolicy:0\"; issue leaf int $PAST $SOON \"$LEAF\"",
            "critical extension 2.5.29.36",
        ),
        (
            "issue int root $PAST $SOON 'basicConstraints=critical,CA:TRUE,pathlen:0\\nkeyUsage=keyCertSign'; issue sub int $PAST $SOON \"$CA\"; issue leaf sub $PAST $SOON \"$LEAF\"; cat sub.pem >> int.pem",
            "longer than it allows",
        ),
    ] {
        let script = format!("issue root root $PAST $SOON \"$CA\"\n{script}");
        let Some(workspace) = with_certificates(&script) else {
            return;
        };
        let chain: &[&str] = if workspace.path("int.pem").exists() {
            &["int"]
        } else {
            &[]
        };
        sign(&workspace, "leaf", chain);
        let run = verify(&workspace, "root.pem", &[]);
        assert_eq!(run.code, 1, "{script}: {run:?}");
        run.says(says).says("signature.certificate");
    }
}

#[test]
fn pins_and_revocation_lists() {
    let Some(workspace) = with_certificates(
        "issue root root $PAST $SOON \"$CA\"
         issue other other $PAST $SOON \"$CA\"
         issue leaf root $PAST $SOON \"$LEAF\\nsubjectAltName=email:release@example.com,URI:spiffe://example.com/ci\"
         openssl x509 -in leaf.pem -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr A-F a-f | tr -d '\\n' > fingerprint
         crl() { openssl ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crldays $1 -out $2; }
         : > db/index.txt; echo 01 > db/crlnumber
         crl 30 good.crl
         openssl crl -in good.crl -outform DER -out good.der
         openssl ca -config ca.cnf -revoke leaf.pem -crl_reason keyCompromise -md sha256 -keyfile root.key -cert root.pem 2>/dev/null
         crl 30 bad.crl
         openssl ca -config ca.cnf -gencrl -keyfile other.key -cert other.pem -md sha256 -crldays 30 -out other.crl
         openssl ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crl_lastupdate 20200101000000Z -crl_nextupdate 20210101000000Z -out stale.crl",
    ) else {
        return;
    };
    sign(&workspace, "leaf", &[]);
    let verify = |more: &[&str]| verify(&workspace, "root.pem", more);
    let fingerprint = String::from_utf8(workspace.read("fingerprint")).unwrap();
    for pins in [
        &["--certificate-name", "release@example.com"][..],
        &["--certificate-name", "spiffe://example.com/ci"],
        &["--certificate-subject", "CN=leaf,O=Test"],
        &["--certificate-fingerprint", &fingerprint],
    ] {
        verify(pins).exits(0);
    }
    for pins in [
        &["--certificate-name", "release@example.co"][..],
        &["--certificate-name", "email:release@example.com"],
        &["--certificate-subject", "CN=leaf"],
        &["--certificate-fingerprint", &"0".repeat(64)],
    ] {
        verify(pins).exits(1).says("signature.identity");
    }
    verify(&[]).exits(0).says("was not asked");
    verify(&["--crl", "good.crl"]).exits(0);
    verify(&["--crl", "good.der"]).exits(0);
    verify(&["--crl", "bad.crl"])
        .exits(1)
        .says("signature.revoked")
        .says("KeyCompromise");
    // One that is out of date is no word that a certificate is good; but it is one that it is bad.
    verify(&["--crl", "stale.crl"])
        .exits(2)
        .says("was due for renewal");
    verify(&["--crl", "other.crl"])
        .exits(2)
        .says("there is no revocation list of");
    verify(&["--crl", "other.crl", "--crl", "good.crl"]).exits(0);
    verify(&["--crl", "model/config.json"]).exits(2);
}

/// A policy that trusts an authority: the gate takes what it certifies, and only that.
#[test]
fn the_gate_takes_certificates() {
    let Some(workspace) = with_certificates(
        "issue root root $PAST $SOON \"$CA\"
         issue leaf root $PAST $SOON \"$LEAF\\nsubjectAltName=email:release@example.com\"
         issue mallory root $PAST $SOON \"$LEAF\\nsubjectAltName=email:mallory@example.com\"",
    ) else {
        return;
    };
    workspace.run(["init", "--no-passphrase"]).exits(0);
    workspace.run(["record", "release", "model"]).exits(0);
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let vendor = "[[identity]]\nname = \"vendor\"\nroles = [\"tester\"]\n\
                  certificate = { anchors_file = \"root.pem\", name = \"release@example.com\" }\n\n[gate]";
    let policy = policy.replace("[gate]", vendor).replace(
        "signature = { roles = [\"developer\"] }",
        "signature = { roles = [\"tester\"] }",
    );
    workspace.write("weighbridge.toml", &policy);
    let gate = || workspace.run(["gate", "--signature", "s", "model"]);
    sign(&workspace, "leaf", &[]);
    gate().exits(0).says("vendor may sign as tester");
    sign(&workspace, "mallory", &[]);
    gate().exits(1).says("signature.identity");
    sign(&workspace, "leaf", &[]);
    let leaf = workspace.shell("openssl x509 -in leaf.pem -outform DER | sha256sum | cut -c-64");
    let revoked = format!(
        "{policy}\n[[revoked]]\nsha256 = \"{}\"\n",
        leaf.stdout.trim()
    );
    workspace.write("weighbridge.toml", revoked);
    gate().exits(1).says("signature.revoked");
    for (from, to, says) in [
        (
            "name = \"release@example.com\" }",
            "any_subject = false }",
            "any_subject = true",
        ),
        (
            "anchors_file = \"root.pem\", ",
            "",
            "exactly one of anchors",
        ),
        ("root.pem", "missing.pem", "missing.pem"),
        ("certificate = {", "nothing = {", "unknown field"),
    ] {
        workspace.write("weighbridge.toml", policy.replace(from, to));
        gate().exits(2).says(says);
    }
}
