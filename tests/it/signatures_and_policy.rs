//! Several signatures in one bundle, and what policies ask of those who made them.

use crate::support::{Workspace, tool};

fn policy(workspace: &Workspace, signature: &str) -> String {
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let mut identities = Vec::new();
    for (name, role) in [("second", "developer"), ("keeper", "custodian")] {
        let key = String::from_utf8(workspace.read(&format!("{name}.pub"))).unwrap();
        identities.push(format!(
            "[[identity]]\nname = \"{name}\"\nroles = [\"{role}\"]\npublic_key = \"\"\"\n{key}\"\"\"\n\n"
        ));
    }
    policy
        .replace("[gate]", &format!("{}[gate]", identities.concat()))
        .replace("signature = { roles = [\"developer\"] }", signature)
}

#[test]
fn several_sign_and_the_policy_counts_them() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    for name in ["second", "keeper", "stranger"] {
        workspace
            .run(["key", "new", "--no-passphrase", name])
            .exits(0);
    }
    workspace.run(["record", "release", "model"]).exits(0);
    let two = "signature = { roles = [\"developer\"], threshold = 2, countersigned_by = [\"custodian\"] }";
    let text = policy(&workspace, two);
    workspace.write("weighbridge.toml", &text);
    let gate = || workspace.run(["gate", "--signature", "s", "model"]);
    let add =
        |key: &str| workspace.run(["sign", "--add", "--key", key, "--signature", "s", "model"]);
    workspace
        .run(["sign", "--signature", "s", "model"])
        .exits(0);
    gate()
        .exits(1)
        .says("1 in the roles developer have signed, 2 must")
        .says("lacks the countersignature of a custodian");
    add("keeper").exits(0).says("2 signatures");
    gate().exits(1).says("1 in the roles developer");
    // The same key again is nobody else.
    add("keys/signing.key.pem").exits(2).says("already");
    add("second").exits(0);
    let run = gate().exits(0);
    run.says("2 have signed, 2 must")
        .says("is countersigned by a custodian");
    add("stranger").exits(0);
    gate().exits(0).says("signature.others");
    // Readers of the format look at the first signature; ours for the format wants one.
    workspace
        .run([
            "oms",
            "verify",
            "key",
            "--public_key",
            "keys/signing.pub.pem",
            "--signature",
            "s",
            "model",
        ])
        .exits(1)
        .says("signature.others");
    // Nothing is added to what is no longer there.
    workspace.write("model/config.json", "{ }");
    add("stranger").exits(2).says("already");
    workspace
        .run(["key", "new", "--no-passphrase", "late"])
        .exits(0);
    add("late").exits(1).says("config.json was changed");
    gate().exits(1).says("artifact.changed");
    workspace.write("model/config.json", "{}");

    // A signature repeated, or one person under two names, is one.
    let mut bundle: serde_json::Value = serde_json::from_slice(&workspace.read("s")).unwrap();
    let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
    signatures.truncate(2);
    let first = signatures[0].clone();
    signatures.push(first);
    workspace.write("s", bundle.to_string());
    gate().exits(1).says("1 in the roles developer");

    for (signature, says) in [
        (two.replace("= 2", "= 3"), "could never be met"),
        (two.replace("= 2", "= 0"), "could never be met"),
        (two.replace("custodian", "auditor"), "no identity has"),
    ] {
        workspace.write("weighbridge.toml", text.replace(two, &signature));
        gate().exits(2).says(says);
    }
}

/// A key that was revoked counts for what a trusted authority places before.
#[test]
fn revoked_keys() {
    if !tool("openssl") {
        return;
    }
    let workspace = Workspace::released();
    let id = workspace
        .run(["key", "show", "--json", "keys/signing.pub.pem"])
        .json();
    let id = id["key_id"].as_str().unwrap().to_owned();
    let text = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    workspace.gate().exits(0);
    let revoke = |more: &str| {
        workspace.write(
            "weighbridge.toml",
            format!("{text}\n[[revoked]]\nsha256 = \"{id}\"\nreason = \"lost\"\n{more}\n"),
        );
        workspace.gate()
    };
    revoke("").exits(1).says("signature.revoked");
    revoke("since = \"2020-01-01T00:00:00Z\"").exits(1);
    // That it will be revoked tomorrow does not help without somebody who says that it is not tomorrow.
    revoke("since = \"2099-01-01T00:00:00Z\"")
        .exits(1)
        .says("no trusted timestamp");
    workspace
        .run(["verify", "model"])
        .exits(1)
        .says("signature.revoked");
}

/// Which kinds of signature count, and until when.
#[test]
fn algorithms_that_the_policy_allows() {
    let workspace = Workspace::released();
    let text = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let gate = |algorithms: &str| {
        workspace.write(
            "weighbridge.toml",
            format!("{text}\n[algorithms]\n{algorithms}\n"),
        );
        workspace.gate()
    };
    gate("allow = [\"p256\", \"ed25519\"]").exits(0);
    let run = gate("allow = [\"ml-dsa-65\", \"hybrid\"]").exits(1);
    run.says("signature.algorithm")
        .says("only ml-dsa-65, hybrid");
    gate("until = { p256 = \"2099-01-01T00:00:00Z\" }").exits(0);
    gate("until = { p256 = \"2020-01-01T00:00:00Z\" }")
        .exits(1)
        .says("until 2020-01-01T00:00:00.000Z only")
        .says("record.ignored");
    workspace
        .run(["verify", "model"])
        .exits(1)
        .says("signature.algorithm");
    for (wrong, says) in [
        ("allow = []", "allows nothing"),
        ("allow = [\"rot13\"]", "no kind of key"),
        (
            "allow = [\"p384\"]\nuntil = { p256 = \"2099-01-01T00:00:00Z\" }",
            "does not allow",
        ),
        ("alow = [\"p256\"]", "unknown field"),
    ] {
        gate(wrong).exits(2).says(says);
    }
}

/// Whoever adds a signature signs what lies there: it must be about all of the files, and by somebody.
#[test]
fn no_signature_is_added_to_what_an_outsider_wrote() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    workspace.new_key("outsider");
    let sign = |ignore: &[&str]| {
        let mut args = vec!["oms", "sign", "key", "--private_key", "outsider"];
        args.extend(["--signature", "s", "model"]);
        args.extend(ignore);
        workspace.run(args).exits(0);
    };
    let add = |more: &[&str]| {
        let mut args = vec!["sign", "--add", "--signature", "s", "model"];
        args.extend(more);
        workspace.run(args)
    };
    // By nobody whom the policy names.
    sign(&[]);
    add(&[]).exits(1).says("by anybody whom the policy trusts");
    // Without a policy, that nobody looked is said.
    workspace.shell("mv weighbridge.toml away").exits(0);
    let own = ["--key", "keys/signing.key.pem"];
    add(&own).exits(0).says("nobody checked by whom");
    // What is left out would be signed by silence.
    let file = workspace.shell("cd model && ls | grep -v sig | head -1");
    let file = format!("model/{}", file.stdout.trim());
    sign(&["--ignore_paths", &file]);
    add(&own).exits(1).says("is outside the signature");
    let before = workspace.read("s");
    workspace.shell("mv away weighbridge.toml").exits(0);
    add(&[]).exits(1);
    assert_eq!(workspace.read("s"), before);
}

/// Each of those who sign at the same time finds his signature there.
#[test]
fn many_sign_at_once() {
    let workspace = Workspace::new();
    workspace.model("model");
    let names: Vec<String> = (0..8).map(|number| format!("k{number}")).collect();
    for name in &names {
        workspace.new_key(name);
    }
    let sign = |more: &[&str]| {
        let mut args = vec!["sign", "--signature", "s", "model", "--key"];
        args.extend(more);
        workspace.run(args).exits(0);
    };
    sign(&["k0"]);
    std::thread::scope(|scope| {
        for name in &names[1..] {
            scope.spawn(move || sign(&[name, "--add"]));
        }
    });
    for name in &names {
        let key = format!("{name}.pub");
        workspace
            .run(["verify", "--key", &key, "--signature", "s", "model"])
            .exits(0);
    }
}

/// Beside a certificate's signature, that of a key counts as well.
#[test]
fn a_key_beside_a_certificate() {
    if !tool("openssl") {
        return;
    }
    let workspace = Workspace::new();
    workspace.model("model");
    for name in ["certified", "bob"] {
        workspace.new_key(name);
    }
    certified(&workspace);
    let sign = |more: &[&str]| {
        let mut args = vec!["sign", "--signature", "s", "model", "--key"];
        args.extend(more);
        workspace.run(args).exits(0);
    };
    sign(&["certified", "--certificate", "certificate.pem"]);
    let verify =
        |how: &str, file: &str| workspace.run(["verify", how, file, "--signature", "s", "model"]);
    verify("--key", "bob.pub").exits(1);
    sign(&["bob", "--add"]);
    verify("--key", "bob.pub").exits(0);
    verify("--certificate-chain", "certificate.pem").exits(0);
    // His certificate may have been revoked; his bare key does not get around that.
    verify("--key", "certified.pub").exits(1);
}

fn certified(workspace: &Workspace) {
    workspace
        .shell(
            "openssl req -x509 -new -key certified -subj /CN=certified -days 30 -out certificate.pem \
             -addext keyUsage=digitalSignature -addext extendedKeyUsage=codeSigning",
        )
        .exits(0);
}

/// Somebody who is trusted under two names is wanted under either.
#[test]
fn under_the_name_that_is_wanted() {
    if !tool("openssl") {
        return;
    }
    let workspace = Workspace::initialised();
    workspace.model("model");
    workspace.new_key("certified");
    certified(&workspace);
    workspace.run(["record", "release", "model"]).exits(0);
    let text = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let identity = |name: &str, role: &str, pin: &str| {
        format!(
            "[[identity]]\nname = \"{name}\"\nroles = [\"{role}\"]\n\
             certificate = {{ anchors_file = \"certificate.pem\", {pin} }}\n\n"
        )
    };
    let staff = identity("staff", "developer", "any_subject = true");
    let keeper = identity("keeper", "custodian", "subject = \"CN=certified\"");
    let rule = "signature = { roles = [\"developer\"], countersigned_by = [\"custodian\"] }";
    let sign = |more: &[&str]| {
        let mut args = vec!["sign", "--signature", "s", "model"];
        args.extend(more);
        workspace.run(args).exits(0);
    };
    for identities in [format!("{staff}{keeper}"), format!("{keeper}{staff}")] {
        let text = text
            .replace("[gate]", &format!("{identities}[gate]"))
            .replace("signature = { roles = [\"developer\"] }", rule);
        workspace.write("weighbridge.toml", text);
        sign(&["--key", "certified", "--certificate", "certificate.pem"]);
        let gate = || workspace.run(["gate", "--signature", "s", "model"]);
        // He alone is one, whoever he is.
        gate()
            .exits(1)
            .says("lacks the countersignature of a custodian");
        sign(&["--add"]);
        gate().exits(0).says("is countersigned by a custodian");
    }
}

/// One person is one place, whatever roles he has.
#[test]
fn who_signs_does_not_countersign() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    for name in ["second", "keeper"] {
        workspace.new_key(name);
    }
    workspace.run(["record", "release", "model"]).exits(0);
    let rule = "signature = { roles = [\"developer\"], countersigned_by = [\"custodian\"] }";
    let text = policy(&workspace, rule);
    let both = text.replacen(
        "roles = [\"developer\"",
        "roles = [\"custodian\", \"developer\"",
        1,
    );
    assert_ne!(both, text);
    workspace.write("weighbridge.toml", &both);
    let gate = || workspace.run(["gate", "--signature", "s", "model"]);
    workspace
        .run(["sign", "--signature", "s", "model"])
        .exits(0);
    gate()
        .exits(1)
        .says("may sign as developer")
        .says("lacks the countersignature of a custodian");
    workspace
        .run([
            "sign",
            "--add",
            "--key",
            "keeper",
            "--signature",
            "s",
            "model",
        ])
        .exits(0);
    gate().exits(0).says("is countersigned by a custodian");

    // Where nobody else could, the policy is wrong.
    let alone = both.replace(
        "roles = [\"custodian\"]\npublic_key",
        "roles = [\"auditor\"]\npublic_key",
    );
    let alone = alone.replace(
        "name = \"second\"\nroles = [\"developer\"]",
        "name = \"second\"\nroles = [\"auditor\"]",
    );
    assert_ne!(alone, both);
    workspace.write("weighbridge.toml", alone);
    gate().exits(2).says("nobody counts twice");
}

/// A hybrid key goes with either half.
#[test]
fn half_of_a_hybrid_key_is_revoked() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    workspace
        .run([
            "key",
            "new",
            "--no-passphrase",
            "--algorithm",
            "hybrid",
            "second",
        ])
        .exits(0);
    workspace.new_key("keeper");
    workspace
        .run(["sign", "--key", "second", "--signature", "s", "model"])
        .exits(0);
    let text = policy(&workspace, "signature = { roles = [\"developer\"] }");
    workspace.write("weighbridge.toml", &text);
    let verify = || workspace.run(["verify", "--signature", "s", "model"]);
    verify().exits(0);
    let pem = String::from_utf8(workspace.read("second.pub")).unwrap();
    for half in pem.split_inclusive("-----END PUBLIC KEY-----\n") {
        workspace.write("half.pub", half);
        let id = workspace.run(["key", "show", "--json", "half.pub"]).json();
        let id = id["key_id"].as_str().unwrap();
        let revoked = format!("{text}\n[[revoked]]\nsha256 = \"{id}\"\nreason = \"lost\"\n");
        workspace.write("weighbridge.toml", revoked);
        verify().exits(1).says("signature.revoked");
    }
}

/// A policy is for everybody to read, and names no code.
#[test]
fn what_a_policy_may_say_of_the_key() {
    let workspace = Workspace::released();
    let text = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let with = |key: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with("key = \"keys"))
            .unwrap();
        workspace.write(
            "weighbridge.toml",
            text.replace(line, &format!("key = \"{key}\"")),
        );
    };
    for attribute in ["pin-value=1234", "module-path=/tmp/evil.so"] {
        with(&format!("pkcs11:object=a?{attribute}"));
        let run = workspace.gate();
        assert!(!run.stderr.contains("1234"), "{run:?}");
        run.exits(2).says("a policy holds no secret");
    }
    // The name of a key elsewhere is no file in the artifact that is the working directory.
    for key in ["pkcs11:object=a?module-name=x", "ssh-agent:me"] {
        with(key);
        workspace
            .shell("cd model && weighbridge gate --config ../weighbridge.toml .")
            .exits(0);
    }
}
