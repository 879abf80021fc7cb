//! Certificates that OpenSSL issues: what counts, what does not, and what is said about it.

use der::{Decode, Encode};
use weighbridge::x509::path::build;
use weighbridge::x509::{
    Certificate, CertificateTrust, ChainError, Crl, Purpose, Withdrawn, WithdrawnBy,
};

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
  openssl req -new -key $1.key -subj "/O=Test/CN=$1${SUBJECT:-}" -out $1.csr
  mkdir -p db; : > db/index.txt; rm -f db/index.txt.attr; echo "$(od -An -N8 -tx8 /dev/urandom | tr -d ' ' | sed 's/^./1/')" > db/serial
  printf '[ca]\ndefault_ca=d\n[d]\ndatabase=db/index.txt\nserial=db/serial\nnew_certs_dir=db\npolicy=p\nunique_subject=no\ncopy_extensions=none\n[p]\nO=optional\nCN=supplied\nemailAddress=optional\n' > ca.cnf
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

fn read(workspace: &Workspace, name: &str) -> Vec<Certificate> {
    let pem = String::from_utf8(workspace.read(name)).unwrap();
    Certificate::from_pem(&pem).unwrap()
}

/// The same certificate with the other of the two signatures that ECDSA allows.
fn twin(der: &[u8]) -> Vec<u8> {
    let parsed = x509_cert::Certificate::from_der(der).unwrap();
    let signature = parsed.signature().as_bytes().unwrap();
    let signature = p256::ecdsa::Signature::from_der(signature).unwrap();
    let (r, s) = signature.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(*r, -*s).unwrap();
    let bits = der::asn1::BitString::from_bytes(other.to_der().as_bytes()).unwrap();
    let content = [
        parsed.tbs_certificate().to_der().unwrap(),
        parsed.signature_algorithm().to_der().unwrap(),
        bits.to_der().unwrap(),
    ]
    .concat();
    der::AnyRef::new(der::Tag::Sequence, &content)
        .unwrap()
        .to_der()
        .unwrap()
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
         openssl ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crl_lastupdate 20200101000000Z -crl_nextupdate 20210101000000Z -out stale.crl
         : > db/index.txt
         openssl ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crl_lastupdate 20200101000000Z -crl_nextupdate 20210101000000Z -out stale-good.crl
         openssl ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crl_lastupdate 20580101000000Z -crl_nextupdate 20590101000000Z -out early.crl
         cp ca.cnf part.cnf; printf '[e]\\nissuingDistributionPoint=@i\\n[i]\\nonlyCA=TRUE\\n' >> part.cnf
         openssl ca -config part.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crldays 30 -crlexts e -out part.crl
         cp root.pem keep.pem; cp root.key keep.key; rm root.key; issue root root $PAST $SOON \"$CA\"; : > db/index.txt; echo 01 > db/crlnumber
         openssl ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crldays 30 -out false.crl
         cp keep.pem root.pem; cp keep.key root.key",
    ) else {
        return;
    };
    sign(&workspace, "leaf", &[]);
    let verify = |more: &[&str]| verify(&workspace, "root.pem", more);
    let fingerprint = String::from_utf8(workspace.read("fingerprint")).unwrap();
    for pins in [
        &["--certificate-name", "release@example.com"][..],
        &["--certificate-name", "spiffe://example.com/ci"],
        &["--certificate-name", "email:release@example.com"],
        &["--certificate-subject", "CN=leaf,O=Test"],
        &["--certificate-fingerprint", &fingerprint],
    ] {
        verify(pins).exits(0);
    }
    for pins in [
        &["--certificate-name", "release@example.co"][..],
        &["--certificate-name", "dns:release@example.com"],
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
        .exits(1)
        .says("KeyCompromise");
    verify(&["--crl", "stale-good.crl"])
        .exits(2)
        .says("was due for renewal");
    verify(&["--crl", "early.crl"]).exits(2).says("after now");
    verify(&["--crl", "other.crl"])
        .exits(2)
        .says("there is no revocation list of");
    verify(&["--crl", "other.crl", "--crl", "good.crl"]).exits(0);
    // By somebody who calls himself the same.
    verify(&["--crl", "false.crl"])
        .exits(2)
        .says("is not by it");
    verify(&["--crl", "part.crl"]).exits(2).says("2.5.29.28");
    verify(&["--crl", "model/config.json"]).exits(2);
    // Who is trusted by himself has no authority that could be asked.
    let run = crate::certificates::verify(&workspace, "leaf.pem", &["--crl", "bad.crl"]);
    run.exits(0).says("was not asked: it is trusted by itself");
    for empty in ["--certificate-name", "--certificate-subject"] {
        verify(&[empty, ""]).exits(2).says("is empty");
    }
    // Half a thought is none: an identity is not asked of a certificate of another kind.
    verify(&["--certificate-identity", "release@example.com"]).exits(2);
}

/// A list that was made after a certificate expired need not name it.
#[test]
fn what_expired_may_be_left_out_of_lists() {
    let Some(workspace) = with_certificates(
        "issue root root $PAST $SOON \"$CA\"
         issue leaf root $PAST 20210101000000Z \"$LEAF\"
         : > db/index.txt; echo 01 > db/crlnumber
         openssl ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crldays 30 -out good.crl
         openssl ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crl_lastupdate 20200601000000Z -crl_nextupdate 20990101000000Z -out old.crl",
    ) else {
        return;
    };
    let (chain, anchors) = (read(&workspace, "leaf.pem"), read(&workspace, "root.pem"));
    let at = |list: &str, signed: Option<&str>| {
        let trust = CertificateTrust {
            anchors: anchors.clone(),
            lists: Crl::read(&workspace.read(list)).unwrap(),
            ..Default::default()
        };
        let now = "2026-11-28T00:00:00Z".parse().unwrap();
        let signed = signed.map(|time| time.parse().unwrap());
        trust.admit(&chain, signed, now).map(|path| path.len())
    };
    let error = at("good.crl", None).unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    let error = at("good.crl", Some("2020-06-15T00:00:00Z")).unwrap_err();
    assert!(error.to_string().contains("need not name it"), "{error}");
    assert_eq!(at("old.crl", Some("2020-06-15T00:00:00Z")), Ok(2));
}

/// What was revoked later still counts, if somebody trusted says that it was signed before.
#[test]
fn before_it_was_revoked() {
    let Some(workspace) = with_certificates(
        "issue root root $PAST $SOON \"$CA\"
         issue leaf root $PAST $SOON \"$LEAF\"
         : > db/index.txt; echo 01 > db/crlnumber
         openssl ca -config ca.cnf -revoke leaf.pem -crl_reason superseded -md sha256 -keyfile root.key -cert root.pem 2>/dev/null
         openssl ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -md sha256 -crldays 30 -out now.crl
         : > db/index.txt
         openssl ca -config ca.cnf -revoke leaf.pem -crl_compromise 20220101000000Z -md sha256 -keyfile root.key -cert root.pem 2>/dev/null
         printf '\\n[x]\\nauthorityKeyIdentifier=keyid\\n' >> ca.cnf
         openssl ca -config ca.cnf -crlexts x -gencrl -keyfile root.key -cert root.pem -md sha256 -crldays 30 -out since.crl",
    ) else {
        return;
    };
    let (chain, anchors) = (read(&workspace, "leaf.pem"), read(&workspace, "root.pem"));
    let now = "2030-01-01T00:00:00Z".parse().unwrap();
    let admit = |lists: Vec<Crl>, revoked: Vec<Withdrawn>, signed: Option<&str>| {
        let trust = CertificateTrust {
            anchors: anchors.clone(),
            lists,
            revoked,
            ..Default::default()
        };
        let signed = signed.map(|time| time.parse().unwrap());
        trust.admit(&chain, signed, now).is_ok()
    };
    let list = |name: &str| Crl::read(&workspace.read(name)).unwrap();
    let mut current = list("now.crl");
    current.truncate(1);
    // By 2030 the lists are stale; what they say against somebody stays.
    assert!(!admit(list("now.crl"), vec![], None));
    assert!(!admit(
        list("now.crl"),
        vec![],
        Some("2029-01-01T00:00:00Z")
    ));
    // The key was out years before it was revoked: that is the day that counts.
    assert!(!admit(
        list("since.crl"),
        vec![],
        Some("2023-01-01T00:00:00Z")
    ));
    let withdrawn = |since: Option<&str>| {
        vec![Withdrawn {
            digest: chain[0].fingerprint(),
            since: since.map(|time| time.parse().unwrap()),
            by: WithdrawnBy::Policy,
        }]
    };
    let day = Some("2025-01-01T00:00:00Z");
    assert!(!admit(
        vec![],
        withdrawn(None),
        Some("2021-01-01T00:00:00Z")
    ));
    assert!(!admit(vec![], withdrawn(day), None));
    assert!(!admit(vec![], withdrawn(day), day));
    assert!(admit(vec![], withdrawn(day), Some("2024-12-31T23:59:59Z")));
}

/// An authority of the same name with another key, and what else a name alone must not do.
#[test]
fn the_same_name_is_not_the_same_authority() {
    let Some(workspace) = with_certificates(
        "issue root root $PAST $SOON \"$CA\"; cp root.pem true.pem
         rm root.key root.pem; issue root root $PAST $SOON \"$CA\"
         issue leaf root $PAST $SOON \"$LEAF\"
         issue mid root $PAST $SOON 'extendedKeyUsage=codeSigning'
         issue sub mid $PAST $SOON \"$LEAF\"",
    ) else {
        return;
    };
    sign(&workspace, "leaf", &[]);
    verify(&workspace, "root.pem", &[]).exits(0);
    verify(&workspace, "true.pem", &[])
        .exits(1)
        .says("the signature does not verify");
    // Among many of the name, the right one is found.
    workspace.shell("cat true.pem root.pem > both.pem").exits(0);
    verify(&workspace, "both.pem", &[]).exits(0);
    // Somebody who is trusted to sign is not trusted to certify.
    sign(&workspace, "sub", &["mid"]);
    verify(&workspace, "mid.pem", &[])
        .exits(1)
        .says("it has no basic constraints");
}

/// Every kind of name constraint, by what OpenSSL encodes: permitted, excluded, and what cannot be told.
#[test]
fn name_constraints() {
    for (constraint, names, subject, good) in [
        (
            "permitted;email:example.com",
            "email:a@example.com",
            "",
            true,
        ),
        (
            "permitted;email:example.com",
            "email:a@example.com,DNS:other.example",
            "",
            true,
        ),
        (
            "permitted;email:example.com",
            "email:a@sub.example.com",
            "",
            false,
        ),
        (
            "permitted;email:.example.com",
            "email:a@sub.example.com",
            "",
            true,
        ),
        (
            "permitted;email:example.com",
            "",
            "/emailAddress=a@example.org",
            false,
        ),
        ("permitted;DNS:example.com", "DNS:a.example.com", "", true),
        ("permitted;DNS:example.com", "DNS:example.com.", "", false),
        ("permitted;DNS:example.com", "DNS:aexample.com", "", false),
        (
            "permitted;URI:example.com",
            "URI:https://example.com/x",
            "",
            true,
        ),
        (
            "permitted;URI:example.com",
            "URI:urn:example.com",
            "",
            false,
        ),
        (
            "excluded;URI:example.com",
            "URI:https://ex%61mple.com/",
            "",
            false,
        ),
        (
            "excluded;email:example.com",
            "email:a@example.com.",
            "",
            false,
        ),
        (
            "excluded;email:example.com",
            "email:a@example.org",
            "",
            true,
        ),
        ("permitted;IP:10.0.0.0/255.0.0.0", "IP:10.1.2.3", "", true),
        ("permitted;IP:10.0.0.0/255.0.0.0", "IP:11.1.2.3", "", false),
        ("permitted;IP:10.0.0.0/255.0.0.0", "IP:::1", "", false),
        ("permitted;dirName:d", "", "", true),
        ("excluded;dirName:d", "", "", false),
        ("excluded;dirName:e", "", "", true),
        ("permitted;dirName:e", "", "", false),
    ] {
        let names = if names.is_empty() {
            String::new()
        } else {
            format!("\\nsubjectAltName={names}")
        };
        let script = format!(
            "issue root root $PAST $SOON \"$CA\"
             issue int root $PAST $SOON \"$CA\\nnameConstraints=critical,{constraint}\\n[d]\\nO=TEST\\n[e]\\nO=Else\"
             SUBJECT='{subject}'
             issue leaf int $PAST $SOON \"$LEAF{names}\""
        );
        let Some(workspace) = with_certificates(&script) else {
            return;
        };
        let at = "2026-11-28T00:00:00Z".parse().unwrap();
        let (leaf, pool) = (read(&workspace, "leaf.pem"), read(&workspace, "int.pem"));
        let anchors = read(&workspace, "root.pem");
        let path = build(&leaf[0], &pool, &anchors, Purpose::CodeSigning, at);
        assert_eq!(path.is_ok(), good, "{constraint} {names}: {path:?}");
        assert!(
            good || matches!(path, Err(ChainError::Names { .. })),
            "{path:?}"
        );
    }
}

/// A name pin means one kind of name: an authority for hosts cannot name somebody's address.
#[test]
fn a_pin_is_of_one_kind() {
    let Some(workspace) = with_certificates(
        "issue root root $PAST $SOON \"$CA\"
         issue leaf root $PAST $SOON \"$LEAF\\nsubjectAltName=URI:release@example.com,DNS:host.example\"",
    ) else {
        return;
    };
    sign(&workspace, "leaf", &[]);
    for (name, good) in [
        ("release@example.com", false),
        ("uri:release@example.com", true),
        ("host.example", true),
        ("dns:host.example", true),
        ("email:host.example", false),
    ] {
        let run = verify(&workspace, "root.pem", &["--certificate-name", name]);
        assert_eq!(run.code, i32::from(!good), "{name}: {run:?}");
    }
}

/// Many names against many constraints, and many certificates that lead nowhere: refused soon.
#[test]
fn hostile_chains_cost_little() {
    let Some(workspace) = with_certificates(
        "issue root root $PAST $SOON \"$CA\"
         C=''; for i in $(seq 1 400); do C=\"$C,excluded;email:h$i.example\"; done
         N=email:a@x.example; for i in $(seq 1 400); do N=\"$N,email:a@n$i.example\"; done
         issue evil evil $PAST $SOON \"$CA\\nnameConstraints=critical${C}\"
         issue leaf evil $PAST $SOON \"$LEAF\\nsubjectAltName=$N\"
         issue under root $PAST $SOON \"$CA\\nnameConstraints=critical${C}\"
         issue many under $PAST $SOON \"$LEAF\\nsubjectAltName=$N\"",
    ) else {
        return;
    };
    let at = "2026-11-28T00:00:00Z".parse().unwrap();
    let anchors = read(&workspace, "root.pem");
    let (leaf, evil) = (read(&workspace, "leaf.pem"), read(&workspace, "evil.pem"));
    let begun = std::time::Instant::now();
    assert!(build(&leaf[0], &evil, &anchors, Purpose::CodeSigning, at).is_err());
    let (many, under) = (read(&workspace, "many.pem"), read(&workspace, "under.pem"));
    let result = build(&many[0], &under, &anchors, Purpose::CodeSigning, at);
    assert_eq!(result, Err(ChainError::TooLong));
    assert!(begun.elapsed().as_secs() < 5);
    // More certificates than a chain has are no chain.
    let mut chain = workspace.read("leaf.pem");
    chain.extend(workspace.read("evil.pem").repeat(32));
    workspace.write("chain.pem", chain);
    workspace
        .run([
            "sign",
            "--key",
            "leaf.key",
            "--certificate",
            "chain.pem",
            "--signature",
            "s",
            "model",
        ])
        .exits(0);
    verify(&workspace, "root.pem", &[])
        .exits(1)
        .says("more than 32");
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
    let digest = |what: &str| {
        let run = workspace.shell(&format!("{what} | sha256sum | cut -c-64"));
        run.exits(0).stdout.trim().to_owned()
    };
    let certificate = digest("openssl x509 -in leaf.pem -outform DER");
    let key = digest("openssl x509 -in leaf.pem -noout -pubkey | openssl pkey -pubin -outform DER");
    let root = digest("openssl x509 -in root.pem -outform DER");
    let other = digest("echo other");
    for (revoked, code) in [(&certificate, 1), (&key, 1), (&root, 1), (&other, 0)] {
        let text = format!("{policy}\n[[revoked]]\nsha256 = \"{revoked}\"\n");
        workspace.write("weighbridge.toml", text);
        assert_eq!(gate().code, code, "{revoked}");
    }
    // An entry that is yet to come does not cover one that has.
    let text = format!(
        "{policy}\n[[revoked]]\nsha256 = \"{certificate}\"\nsince = \"2099-01-01T00:00:00Z\"\n[[revoked]]\nsha256 = \"{key}\"\n"
    );
    workspace.write("weighbridge.toml", text);
    gate().exits(1).says("signature.revoked");
    // The same certificate with the twin of its authority's signature is the same certificate.
    let one = read(&workspace, "leaf.pem").remove(0);
    workspace.write("leaf.der", twin(one.der()));
    workspace
        .shell("openssl x509 -inform DER -in leaf.der -out leaf.pem; openssl verify -CAfile root.pem leaf.pem")
        .exits(0);
    assert_ne!(
        read(&workspace, "leaf.pem")[0].fingerprint(),
        one.fingerprint()
    );
    sign(&workspace, "leaf", &[]);
    workspace.write("weighbridge.toml", &policy);
    gate().exits(0);
    let text = format!("{policy}\n[[revoked]]\nsha256 = \"{certificate}\"\n");
    workspace.write("weighbridge.toml", text);
    gate().exits(1).says("signature.revoked");
    // Whoever else the same certificate fits, the one who may sign is meant.
    let anyone = policy.replace(
        "[[identity]]\nname = \"vendor\"",
        "[[identity]]\nname = \"anyone\"\nroles = [\"auditor\"]\ncertificate = { anchors_file = \"root.pem\", any_subject = true }\n\n[[identity]]\nname = \"vendor\"",
    );
    assert_ne!(anyone, policy);
    workspace.write("weighbridge.toml", anyone);
    gate().exits(0).says("vendor may sign");
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
