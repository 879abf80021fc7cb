//! What the ledger says of keys, and what a gate makes of it.

use weighbridge::envelope::{Envelope, IN_TOTO};
use weighbridge::key::{KeyAlgorithm, PrivateKey};

use crate::support::{Run, Workspace, tool};

/// A released model, and an admin in the policy whose key is `admin`.
fn administered() -> Workspace {
    let workspace = Workspace::released();
    workspace.new_key("admin");
    add_identity(&workspace, "security", "admin", "admin.pub");
    workspace
}

pub(crate) fn add_identity(workspace: &Workspace, name: &str, role: &str, public: &str) {
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let key = String::from_utf8(workspace.read(public)).unwrap();
    let identity = format!(
        "[[identity]]\nname = \"{name}\"\nroles = [\"{role}\"]\npublic_key = \"\"\"\n{key}\"\"\"\n\n[gate]"
    );
    workspace.write("weighbridge.toml", policy.replace("[gate]", &identity));
}

pub(crate) fn key(workspace: &Workspace, args: &[&str]) -> Run {
    let mut all = vec!["key"];
    all.extend(args);
    workspace.run(all)
}

pub(crate) fn id(workspace: &Workspace, public: &str) -> String {
    let shown = key(workspace, &["show", "--json", public]).json();
    shown["key_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_registered_key_signs_and_records() {
    let workspace = administered();
    workspace.new_key("trainer");
    let sign = || {
        workspace.run([
            "sign",
            "--record",
            "--key",
            "trainer",
            "--signature",
            "s",
            "model",
        ])
    };
    let gate = || workspace.run(["gate", "--signature", "s", "model"]);
    sign().exits(2).says("belongs to no identity");
    let register = |by: &str, more: &[&str]| {
        let mut args = vec!["register", "--key", by, "--name", "Training team"];
        args.extend(more);
        args.push("trainer.pub");
        key(&workspace, &args)
    };
    // Nobody but an admin, and nobody becomes one.
    register("keys/signing.key.pem", &["--role", "developer"])
        .exits(2)
        .says("does not speak as admin");
    register("trainer", &["--role", "developer"])
        .exits(2)
        .says("belongs to no identity");
    register("admin", &["--role", "admin"])
        .exits(2)
        .says("possible values: developer");
    register("admin", &["--role", "operator"]).exits(0);
    sign().exits(2).says("role operator may not sign release");
    assert!(!workspace.path("s").exists());
    register("admin", &["--role", "developer"]).exits(0);
    sign().exits(0);
    gate().exits(0).says("Training team may sign as developer");
    let listed = key(&workspace, &["list", "--json"]).json();
    let trainer = id(&workspace, "trainer.pub");
    if tool("openssl") {
        let subject = workspace.run(["ledger", "show", "2"]).json();
        let digest = subject["subject"][0]["digest"]["sha256"].clone();
        assert_eq!(digest, trainer.as_str());
        workspace
            .shell("openssl pkey -pubin -in trainer.pub -outform DER | sha256sum")
            .exits(0)
            .says(&trainer);
    }

    let line = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["key_id"] == trainer.as_str());
    assert_eq!(line.unwrap()["record"], 2);
    assert_eq!(line.unwrap()["roles"], serde_json::json!(["developer"]));
    key(&workspace, &["list"]).exits(0).says("record 2");
    // Without the ledger nobody knows him.
    workspace
        .run(["verify", "--signature", "s", "model"])
        .exits(1);

    // It is over when its time is.
    let until = std::time::SystemTime::now() + std::time::Duration::from_millis(1500);
    let until = until
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let until = i64::try_from(until).unwrap();
    let until = weighbridge::time::Timestamp::from_millis(until).unwrap();
    register(
        "admin",
        &["--role", "developer", "--valid-until", &until.to_string()],
    )
    .exits(0);
    std::thread::sleep(std::time::Duration::from_secs(2));
    gate().exits(1).says("expired");
    register("admin", &["--role", "developer"]).exits(0);
    gate().exits(0);
    // He gives up his key himself. What he signed has no trusted time.
    key(
        &workspace,
        &[
            "revoke",
            "--key",
            "trainer",
            "--reason",
            "lost",
            "trainer.pub",
        ],
    )
    .exits(0);
    gate().exits(1).says("signature.revoked").says("by record");
    register("admin", &["--role", "developer"])
        .exits(2)
        .says("was revoked");
    sign().exits(2).says("was revoked by record");
    // The first key is as good as ever.
    workspace.gate().exits(0);
}

/// The release is recorded by `init`'s key, and the files are signed by `second`.
pub(crate) fn recorded_by_the_first() -> Workspace {
    let workspace = Workspace::initialised();
    workspace.model("model");
    workspace.new_key("admin");
    add_identity(&workspace, "security", "admin", "admin.pub");
    workspace.new_key("second");
    add_identity(&workspace, "second", "developer", "second.pub");
    workspace.run(["record", "release", "model"]).exits(0);
    workspace.run(["sign", "--key", "second", "model"]).exits(0);
    workspace.gate().exits(0);
    workspace
}

pub(crate) fn revoke(workspace: &Workspace, more: &[&str]) -> Run {
    let mut args = vec!["revoke", "--key", "admin", "--reason", "compromised"];
    args.extend(more);
    key(workspace, &args)
}

#[test]
fn records_of_a_revoked_key_count_by_their_place() {
    let workspace = recorded_by_the_first();
    let signing = "keys/signing.pub.pem";
    revoke(&workspace, &[signing]).exits(0);
    workspace
        .gate()
        .exits(0)
        .says("1 record in the ledger changed");
    // What comes behind the revocation does not count, whoever appends it.
    workspace
        .run(["record", "release", "model"])
        .exits(2)
        .says("was revoked by record 1");
    let late = ["ledger", "append", "late.dsse"];
    let raw = workspace.run(["ledger", "show", "--raw", "0"]).exits(0);
    let first = Envelope::parse(raw.stdout.as_bytes(), 1 << 16).unwrap();
    let pem = String::from_utf8(workspace.read("keys/signing.key.pem")).unwrap();
    let stolen = weighbridge::key::private_key_from_pem(&pem, None).unwrap();
    let again = Envelope::sign(first.payload, IN_TOTO, &stolen, "again").unwrap();
    workspace.write("late.dsse", again.to_json().unwrap());
    workspace.run(late).exits(0);
    let run = workspace.gate().exits(0);
    assert!(!run.stdout.contains("record 2"), "{}", run.stdout);
    // The thief may have recorded the first one, too.
    revoke(&workspace, &["--since", "2020-01-01T00:00:00Z", signing]).exits(0);
    workspace.gate().exits(1);
    assert_eq!(workspace.failing_rules(), ["record.missing"]);
    revoke(&workspace, &["--since", "2999-01-01T00:00:00Z", signing])
        .exits(2)
        .says("ahead of time");
}

#[test]
fn a_rotated_key() {
    let workspace = recorded_by_the_first();
    workspace.new_key("new");
    let rotate = |by: &str, previous: &str, more: &[&str]| {
        let mut args = vec!["rotate", "--key", by, "--previous", previous];
        args.extend(more);
        args.push("new.pub");
        key(&workspace, &args)
    };
    rotate("second", "second.pub", &[])
        .exits(2)
        .says("does not speak as admin");
    rotate("admin", "admin.pub", &[])
        .exits(2)
        .says("an admin, whose key stands in the policy");
    rotate("admin", &id(&workspace, "new.pub"), &[])
        .exits(2)
        .says("replaces a key by itself");
    rotate("admin", &"0".repeat(64), &[])
        .exits(2)
        .says("nobody's");
    // For a while both count, and whoever has two keys is one person.
    rotate(
        "admin",
        "second.pub",
        &["--previous-until", "2999-01-01T00:00:00Z"],
    )
    .exits(0);
    workspace.gate().exits(0);
    std::fs::remove_file(workspace.path("model/model.sig")).unwrap();
    workspace
        .run(["sign", "--key", "new", "--signature", "s", "model"])
        .exits(0);
    let text = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let two = text.replace(
        "signature = { roles = [\"developer\"] }",
        "signature = { roles = [\"developer\"], threshold = 2 }",
    );
    assert_ne!(text, two);
    workspace.write("weighbridge.toml", &two);
    let gate = || workspace.run(["gate", "--signature", "s", "model"]);
    let add = |key: &str| {
        let args = ["sign", "--add", "--key", key, "--signature", "s", "model"];
        workspace.run(args).exits(0);
    };
    add("second");
    gate().exits(1).says("1 in the roles developer");
    add("keys/signing.key.pem");
    gate().exits(0).says("2 have signed");
    workspace.write("weighbridge.toml", &text);
    workspace.run(["sign", "--key", "second", "model"]).exits(0);
    // Then the old one retires.
    rotate("admin", "second.pub", &[]).exits(0);
    workspace.gate().exits(1).says("signature.revoked");
    workspace.run(["sign", "--key", "new", "model"]).exits(0);
    workspace.gate().exits(0).says("second may sign");
    let lines = key(&workspace, &["list"]).exits(0);
    lines.says("revoked as of").says("record 2");
}

/// A stolen admin key is revoked as of the theft: whom it let in is out.
#[test]
fn whom_a_stolen_key_let_in() {
    let workspace = recorded_by_the_first();
    workspace.new_key("thief");
    let admin = "admin.pub";
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
            "thief.pub",
        ],
    )
    .exits(0);
    workspace.run(["sign", "--key", "thief", "model"]).exits(0);
    workspace.gate().exits(0);
    revoke(&workspace, &["--since", "2020-01-01T00:00:00Z", admin]).exits(0);
    workspace.gate().exits(1).says("signature.key");
    workspace
        .run(["ledger", "log"])
        .exits(0)
        .says("security  revoke");
    // Nor does he get in again.
    revoke(&workspace, &["second.pub"])
        .exits(2)
        .says("was revoked");
}

/// Records about keys that are not to be believed, or not to be understood.
#[test]
fn what_strangers_and_later_versions_say() {
    let workspace = recorded_by_the_first();
    let signing = "keys/signing.pub.pem";
    revoke(&workspace, &[signing]).exits(0);
    let raw = workspace.run(["ledger", "show", "--raw", "1"]).exits(0);
    let good = Envelope::parse(raw.stdout.as_bytes(), 1 << 16).unwrap();
    let payload = String::from_utf8(good.payload).unwrap();
    let second = id(&workspace, "second.pub");
    let other = payload.replace(&id(&workspace, signing), &second);
    assert_ne!(payload, other);
    let read = |name: &str| {
        let pem = String::from_utf8(workspace.read(name)).unwrap();
        weighbridge::key::private_key_from_pem(&pem, None).unwrap()
    };
    let store = |payload: &str, key: &PrivateKey| {
        let envelope = Envelope::sign(payload.as_bytes().to_vec(), IN_TOTO, key, "k").unwrap();
        workspace.write("entry", envelope.to_json().unwrap());
        workspace.run(["ledger", "append", "--opaque", "entry"])
    };
    let stranger = PrivateKey::generate(KeyAlgorithm::P256).unwrap();
    store(&other, &stranger).exits(0);
    workspace.gate().exits(0);
    // An admin's name is not his signature, and another log is not this one.
    store(&other, &read("second")).exits(0);
    workspace.gate().exits(0);
    let elsewhere = other.replace("\"log\":\"", "\"log\":\"x");
    assert_ne!(elsewhere, other);
    store(&elsewhere, &read("admin")).exits(0);
    workspace.gate().exits(0).says("was made for the log");
    // A later version of the kind, however it is spelt, may forbid anything.
    let escaped = other.replace("/key/v1", "\\/\\u006bey\\/v9");
    for later in [other.replace("/key/v1", "/key/v2"), escaped] {
        let workspace_before = workspace.read("ledger/checkpoint");
        store(&later, &read("second")).exits(0);
        workspace.gate().exits(0).says("is not known");
        assert_ne!(workspace.read("ledger/checkpoint"), workspace_before);
    }
    store(&other.replace("/key/v1", "/key/v2"), &read("admin")).exits(0);
    workspace.gate().exits(2).says("ledger.keys");
}
