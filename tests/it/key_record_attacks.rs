//! What hostile hands and bad luck can make of records about keys: nothing that widens what passes.

use weighbridge::envelope::{Envelope, IN_TOTO, Signature};
use weighbridge::key::PrivateKey;

use crate::key_records::{add_identity, id, key, recorded_by_the_first, revoke};
use crate::support::{Run, Workspace};

fn policy(workspace: &Workspace) -> String {
    String::from_utf8(workspace.read("weighbridge.toml")).unwrap()
}

/// The policy in which the admin's time is over.
fn without_office(policy: &str) -> String {
    let name = "name = \"security\"\n";
    let expired = policy.replace(name, &format!("{name}expires = \"2020-01-01T00:00:00Z\"\n"));
    assert_ne!(expired, policy);
    expired
}

fn private(workspace: &Workspace, name: &str) -> PrivateKey {
    let pem = String::from_utf8(workspace.read(name)).unwrap();
    weighbridge::key::private_key_from_pem(&pem, None).unwrap()
}

fn entry(workspace: &Workspace, index: u64) -> Envelope {
    let raw = workspace.run(["ledger", "show", "--raw", &index.to_string()]);
    Envelope::parse(raw.exits(0).stdout.as_bytes(), 1 << 16).unwrap()
}

fn append(workspace: &Workspace, envelope: &Envelope) -> Run {
    workspace.write("entry", envelope.to_json().unwrap());
    workspace.run(["ledger", "append", "--opaque", "entry"])
}

fn register(workspace: &Workspace, more: &[&str]) -> Run {
    let mut args = vec!["register", "--key", "admin", "--name", "Team"];
    args.extend(more);
    args.push("team.pub");
    key(workspace, &args)
}

/// `team` was let in as developer, and has signed the model.
fn signed_by_the_registered() -> Workspace {
    let workspace = recorded_by_the_first();
    workspace.new_key("team");
    register(&workspace, &["--role", "developer"]).exits(0);
    workspace.run(["sign", "--key", "team", "model"]).exits(0);
    workspace.gate().exits(0);
    workspace
}

/// A statement is said once, however often it is appended, with whatever signatures beside its own.
#[test]
fn an_old_registration_is_not_replayed() {
    let workspace = signed_by_the_registered();
    register(&workspace, &["--role", "tester"]).exits(0);
    workspace.gate().exits(1);
    let mut replay = entry(&workspace, 1);
    replay.signatures.push(Signature {
        sig: vec![1, 2, 3],
        keyid: "junk".into(),
    });
    workspace.write("replay", replay.to_json().unwrap());
    workspace
        .run(["ledger", "append", "replay"])
        .exits(1)
        .says("is in the ledger");
    append(&workspace, &replay).exits(0);
    workspace.gate().exits(1);
    key(&workspace, &["list"]).exits(0).says("tester  record 2");
}

/// What was revoked stays so, whatever becomes of him who said it.
#[test]
fn a_revocation_outlives_its_author() {
    let workspace = signed_by_the_registered();
    revoke(&workspace, &["team.pub"]).exits(0);
    workspace.gate().exits(1).says("signature.revoked");
    let text = policy(&workspace);
    let admin = id(&workspace, "admin.pub");
    for changed in [
        without_office(&text),
        format!("{text}\n[[revoked]]\nsha256 = \"{admin}\"\n"),
        format!("{text}\n[[revoked]]\nsha256 = \"{admin}\"\nsince = \"2999-01-01T00:00:00Z\"\n"),
        format!("{text}\n[algorithms]\nallow = [\"ed25519\"]\n"),
    ] {
        assert_ne!(changed, text);
        workspace.write("weighbridge.toml", changed);
        workspace.gate().exits(1);
    }
    workspace.write("weighbridge.toml", &text);

    // His own key, given up; then his role is another.
    key(&workspace, &["revoke", "--key", "second", "second.pub"]).exits(0);
    workspace
        .run(["sign", "--key", "keys/signing.key.pem", "model"])
        .exits(0);
    let changed = text.replace(
        "name = \"second\"\nroles = [\"developer\"]",
        "name = \"second\"\nroles = [\"tester\"]",
    );
    assert_ne!(changed, text);
    workspace.write("weighbridge.toml", changed);
    let second = id(&workspace, "second.pub");
    let listed = key(&workspace, &["list", "--json"]).json();
    let line = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["key_id"] == second.as_str());
    assert_eq!(line.unwrap()["state"], "revoked");
}

/// A clock that ran ahead does not undo it.
#[test]
fn a_revocation_that_is_dated_ahead() {
    let workspace = signed_by_the_registered();
    revoke(&workspace, &["team.pub"]).exits(0);
    let good = entry(&workspace, 2);
    let payload = String::from_utf8(good.payload).unwrap();
    let at = payload.find("\"time\":\"").unwrap() + 8;
    let ahead = format!("{}2999{}", &payload[..at], &payload[at + 4..]);
    // In a ledger that has only this one.
    let other = signed_by_the_registered();
    let log = policy(&other);
    let ahead = Envelope::sign(
        ahead
            .replace(&id(&workspace, "team.pub"), &id(&other, "team.pub"))
            .replace(&id(&workspace, "admin.pub"), &id(&other, "admin.pub"))
            .replace(&log_of(&policy(&workspace)), &log_of(&log))
            .into_bytes(),
        IN_TOTO,
        &private(&other, "admin"),
        "k",
    );
    append(&other, &ahead.unwrap()).exits(0);
    other.gate().exits(1).says("signature.revoked");
}

fn log_of(policy: &str) -> String {
    let at = policy.find("\nlog ").unwrap() + 5;
    policy[at..].split('+').next().unwrap().to_owned()
}

/// The old key retires, even if the new one is known, stolen or unfit.
#[test]
fn a_retired_key_stays_retired() {
    let workspace = signed_by_the_registered();
    workspace.new_key("new");
    let rotate = [
        "rotate",
        "--key",
        "admin",
        "--previous",
        "team.pub",
        "new.pub",
    ];
    key(&workspace, &rotate).exits(0);
    workspace.gate().exits(1).says("signature.revoked");
    let text = policy(&workspace);
    let new = id(&workspace, "new.pub");
    workspace.write(
        "weighbridge.toml",
        format!("{text}\n[[revoked]]\nsha256 = \"{new}\"\n"),
    );
    workspace.gate().exits(1).says("signature.revoked");
    workspace.write("weighbridge.toml", &text);
    add_identity(&workspace, "Team", "developer", "new.pub");
    workspace.gate().exits(1).says("signature.revoked");
}

/// Nor does it come back when the admin's own time is over, who had it replaced.
#[test]
fn a_rotation_outlives_its_author() {
    let workspace = signed_by_the_registered();
    workspace.new_key("new");
    let rotate = [
        "rotate",
        "--key",
        "admin",
        "--previous",
        "team.pub",
        "new.pub",
    ];
    key(&workspace, &rotate).exits(0);
    let text = policy(&workspace);
    let expired = without_office(&text);
    workspace.write("weighbridge.toml", expired);
    // Whom he let in is out with him; whom he retired stays retired.
    workspace.gate().exits(1).says("signature");
    let admin = id(&workspace, "admin.pub");
    workspace.write(
        "weighbridge.toml",
        format!("{text}\n[[revoked]]\nsha256 = \"{admin}\"\n"),
    );
    workspace.gate().exits(1).says("signature");
    // The same for a key of the policy.
    workspace.write("weighbridge.toml", &text);
    workspace.run(["sign", "--key", "second", "model"]).exits(0);
    workspace.gate().exits(0);
    workspace.new_key("third");
    let rotate = [
        "rotate",
        "--key",
        "admin",
        "--previous",
        "second.pub",
        "third.pub",
    ];
    key(&workspace, &rotate).exits(0);
    let expired = without_office(&text);
    workspace.write("weighbridge.toml", expired);
    workspace
        .gate()
        .exits(1)
        .says("signature.revoked")
        .says("the one in its place does not count");
}

/// A key that gave itself up is out, whoever had let it in, and whoever lets it in again.
#[test]
fn a_key_that_gave_itself_up() {
    let workspace = signed_by_the_registered();
    key(&workspace, &["revoke", "--key", "team", "team.pub"]).exits(0);
    workspace.new_key("other");
    add_identity(&workspace, "other admin", "admin", "other.pub");
    let text = policy(&workspace);
    let expired = without_office(&text);
    workspace.write("weighbridge.toml", expired);
    let again = [
        "register",
        "--key",
        "other",
        "--name",
        "Team",
        "--role",
        "developer",
        "team.pub",
    ];
    key(&workspace, &again).exits(2).says("was revoked");
    workspace.gate().exits(1);
}

/// Whoever finds a retired key does not undo what was done with it in its time.
#[test]
fn a_retired_key_does_not_rewrite_its_history() {
    let workspace = recorded_by_the_first();
    workspace.new_key("new");
    let rotate = [
        "rotate",
        "--key",
        "admin",
        "--previous",
        "keys/signing.pub.pem",
        "new.pub",
    ];
    key(&workspace, &rotate).exits(0);
    workspace.gate().exits(0);
    // By hand, since the program does not write it.
    let other = recorded_by_the_first();
    let since = ["--since", "2020-01-01T00:00:00Z", "keys/signing.pub.pem"];
    let mut args = vec!["revoke", "--key", "keys/signing.key.pem"];
    args.extend(since);
    key(&other, &args).exits(0);
    let payload = String::from_utf8(entry(&other, 1).payload).unwrap();
    let payload = payload
        .replace(
            &id(&other, "keys/signing.pub.pem"),
            &id(&workspace, "keys/signing.pub.pem"),
        )
        .replace(&log_of(&policy(&other)), &log_of(&policy(&workspace)));
    let by = private(&workspace, "keys/signing.key.pem");
    let envelope = Envelope::sign(payload.into_bytes(), IN_TOTO, &by, "k").unwrap();
    append(&workspace, &envelope).exits(0);
    workspace.gate().exits(0);
}

/// A hybrid key goes with its halves, and does not replace one of them.
#[test]
fn halves_of_a_hybrid_key() {
    let workspace = recorded_by_the_first();
    for (name, algorithm) in [("team", "ed25519"), ("whole", "hybrid")] {
        let new = ["new", "--no-passphrase", "--algorithm", algorithm, name];
        key(&workspace, &new).exits(0);
    }
    register(&workspace, &["--role", "developer"]).exits(0);
    // The hybrid key of this very half.
    let (half, whole) = (workspace.read("team.pub"), workspace.read("whole.pub"));
    let whole_text = String::from_utf8(whole).unwrap();
    let second = whole_text.rfind("-----BEGIN").unwrap();
    let mixed = format!(
        "{}{}",
        String::from_utf8(half).unwrap(),
        &whole_text[second..]
    );
    workspace.write("mixed.pub", mixed);
    let rotate = |to: &str| {
        key(
            &workspace,
            &["rotate", "--key", "admin", "--previous", "team.pub", to],
        )
    };
    rotate("mixed.pub").exits(2).says("shares a half");
    rotate("whole.pub").exits(0);
    revoke(&workspace, &["whole.pub"]).exits(0);
    let first = whole_text
        .split_inclusive("-----END PUBLIC KEY-----\n")
        .next()
        .unwrap();
    workspace.write("half.pub", first);
    key(
        &workspace,
        &[
            "register",
            "--key",
            "admin",
            "--name",
            "x",
            "--role",
            "developer",
            "half.pub",
        ],
    )
    .exits(2)
    .says("was revoked");
}

/// Whose word no longer counts does not stop the gates either; nor do strangers, nor names of files.
#[test]
fn who_can_stop_a_gate() {
    let workspace = recorded_by_the_first();
    workspace.new_key("former");
    add_identity(&workspace, "former", "admin", "former.pub");
    revoke(
        &workspace,
        &["--since", "2020-01-01T00:00:00Z", "former.pub"],
    )
    .exits(0);
    workspace.gate().exits(0);
    let words = |text: &str, by: &PrivateKey| {
        Envelope::sign(text.as_bytes().to_vec(), IN_TOTO, by, "k").unwrap()
    };
    let (former, admin) = (private(&workspace, "former"), private(&workspace, "admin"));
    append(&workspace, &words("\"weighbridge.dev/key/\"", &former)).exits(0);
    workspace.gate().exits(0);
    // Of another log, by an admin in office.
    let elsewhere =
        r#"{"predicateType":"https://weighbridge.dev/key/v9","predicate":{"log":"elsewhere"}}"#;
    append(&workspace, &words(elsewhere, &admin)).exits(0);
    workspace.gate().exits(0).says("made for another log");
    // A statement of another kind that holds the word.
    let oms = r#"{"predicateType":"https://model_signing/signature/v1.0","predicate":{"resources":[{"name":"weighbridge.dev/key/x"}]}}"#;
    append(&workspace, &words(oms, &admin)).exits(0);
    workspace.gate().exits(0);
    // More signatures than anybody has.
    let mut many = words(elsewhere, &admin);
    let one = many.signatures[0].clone();
    many.signatures.extend(std::iter::repeat_n(one, 16));
    append(&workspace, &many).exits(0);
    workspace.gate().exits(0);
    // An admin whose time is over.
    let text = policy(&workspace);
    let expired = without_office(&text);
    append(&workspace, &words("\"weighbridge.dev/key/\", too", &admin)).exits(0);
    workspace.write("weighbridge.toml", expired);
    workspace.gate().exits(0);
    workspace.write("weighbridge.toml", &text);
    // He who may, does.
    append(&workspace, &words("\"weighbridge.dev/key/\"", &admin)).exits(0);
    workspace.gate().exits(2).says("ledger.keys");
    key(&workspace, &["list"])
        .exits(2)
        .says("cannot be understood");
}

/// What would be recorded in vain is not.
#[test]
fn what_is_not_written() {
    let workspace = signed_by_the_registered();
    let zeros = "0".repeat(64);
    revoke(&workspace, &[&zeros])
        .exits(2)
        .says("nobody has the key");
    revoke(&workspace, &["--unknown", &zeros]).exits(0);
    register(
        &workspace,
        &[
            "--role",
            "developer",
            "--valid-until",
            "2020-01-01T00:00:00Z",
        ],
    )
    .exits(2)
    .says("would never count");
    // By its id in capitals.
    let upper = id(&workspace, "team.pub").to_uppercase();
    revoke(&workspace, &[&upper]).exits(0);
    // A developer's word on keys is no entry that a gate would count.
    let payload = String::from_utf8(entry(&workspace, 1).payload).unwrap();
    let payload = payload
        .replace(&id(&workspace, "admin.pub"), &id(&workspace, "second.pub"))
        .replace("\"role\":\"admin\"", "\"role\":\"developer\"");
    let by = private(&workspace, "second");
    let envelope = Envelope::sign(payload.into_bytes(), IN_TOTO, &by, "k").unwrap();
    workspace.write("entry", envelope.to_json().unwrap());
    workspace
        .run(["ledger", "append", "entry"])
        .exits(1)
        .says("does not speak as admin");
}
