//! Where the cases of the gate begin: who may speak, what lies there, and short words for what is recorded.

use std::sync::OnceLock;

use serde_json::{Value, json};
use weighbridge::envelope::{Envelope, IN_TOTO};
use weighbridge::key::{PrivateKey, private_key_from_pem};
use weighbridge::statement::Kind;

use crate::support::{Workspace, copy_tree};

/// What everybody starts from: five who may speak, and a model that is signed, acquired and released.
fn stage() -> &'static Workspace {
    static STAGE: OnceLock<Workspace> = OnceLock::new();
    STAGE.get_or_init(|| {
        let workspace = Workspace::initialised();
        let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
        let mut identities = String::new();
        for (name, roles) in [
            ("op", "\"operator\""),
            ("op2", "\"operator\""),
            ("cust", "\"custodian\""),
            ("test", "\"tester\""),
            ("left", "\"operator\""),
        ] {
            workspace.new_key(&format!("{name}.pem"));
            let public = String::from_utf8(workspace.read(&format!("{name}.pem.pub"))).unwrap();
            let identity = format!(
                "[[identity]]\nname = \"{name}\"\nroles = [{roles}]\npublic_key = \"\"\"\n{public}\"\"\"\n# {name} expires\n\n"
            );
            identities.push_str(&identity);
        }
        workspace.new_key("stranger.pem");
        let policy = policy.replace("[gate]\n", &format!("{identities}[gate]\n"));
        workspace.write("weighbridge.toml", policy);
        let header = 2_u64.to_le_bytes();
        workspace.write("model/model.safetensors", [&header[..], b"{}weights"].concat());
        workspace.write("model/config.json", "{}");
        workspace
            .shell(
                "weighbridge record acquire --source https://hub.example/acme/model --auth-method tls --auth-result verified \
                 --licence MIT model 2>/dev/null; weighbridge sign --record model 2>/dev/null; \
                 mkdir base data; echo base > base/w; printf forum > data/1",
            )
            .exits(0);
        workspace
    })
}

/// A workspace of one's own, with this gate.
pub(crate) fn with_gate(gate: &str) -> Workspace {
    let workspace = Workspace::new();
    copy_tree(&stage().path("."), workspace.root());
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let (before, rest) = policy.split_once("[gate]\n").unwrap();
    let (_, signing) = rest.split_once("[signing]\n").unwrap();
    let (own, profiles) = gate
        .split_once("[profile")
        .map_or((gate, String::new()), |(own, rest)| {
            (own, format!("[profile{rest}\n"))
        });
    let of = |name: &str, default: &str| {
        let said = own.lines().any(|line| line.starts_with(name));
        if said {
            String::new()
        } else {
            format!("{default}\n")
        }
    };
    let base = [
        of("signature", "signature = { roles = [\"developer\"] }"),
        of("records", RELEASE),
        "closed_world = true\n".into(),
    ]
    .concat();
    workspace.write(
        "weighbridge.toml",
        format!("{before}[gate]\n{base}{own}\n{profiles}\n[signing]\n{signing}"),
    );
    workspace
}

pub(crate) const RELEASE: &str = "records = [{ kind = \"release\", roles = [\"developer\"] }]";

/// Short words for the scripts.
pub(crate) const WORDS: &str = "exec 2>>script.log; \
    r() { kind=$1; key=$2; shift 2; weighbridge record $kind --key $key \"$@\"; }; \
    dev=keys/signing.key.pem; model=$(weighbridge verify --json model | grep -o 'dirHash1:[0-9a-f]*' | head -1); \
    derive() { r derive $dev --relation trained-on \"$@\"; }; \
    tested() { r test-result \"$1\" --result \"$2\" --suite s --purpose release --from conf.json ${3:-} model; }; \
    approve() { r deploy-approve \"$1\" --environment \"$2\" --system s --expires 9d model; }; \
    excuse() { r justify op.pem --gap other --rule \"$1\" --reason other --explanation e --accountable a --end-user-summary s \
        --expires \"$2\" model; }; \
    again() { weighbridge ledger show $1 --raw | sed 's/\"signatures\":\\[/&{\"keyid\":\"x\",\"sig\":\"AAAA\"},/' > again.dsse; \
        weighbridge ledger append again.dsse; }; \
    echo '{\"configuration\":[]}' > conf.json; ";

/// A record as it is, by whoever has the key: what this program would not write.
pub(crate) fn raw(workspace: &Workspace, keys: &[&str], kind: Kind, change: &dyn Fn(&mut Value)) {
    let pem = |name: &str| std::fs::read_to_string(workspace.path(name)).unwrap();
    let key = |name: &str| private_key_from_pem(&pem(name), None).unwrap();
    let policy = weighbridge::policy::Policy::parse(&pem("weighbridge.toml")).unwrap();
    let origin = policy.log.trust.log().name();
    let signers: Vec<PrivateKey> = keys.iter().map(|name| key(name)).collect();
    let mut body: Value = serde_json::from_str(kind.example()).unwrap();
    let now = seconds_now();
    for (name, value) in [
        ("time", json!(now)),
        ("time_source", json!("local")),
        ("log", json!(origin)),
        (
            "actor",
            json!({ "key_id": signers[0].public().key_id().to_string(), "role": kind.permitted()[0] }),
        ),
    ] {
        body[name] = value;
    }
    let report = workspace.run(["verify", "--json", "model"]).json();
    let digest = report["artifact"]["digest"].clone();
    let digest = digest
        .as_str()
        .unwrap()
        .split_once(':')
        .unwrap()
        .1
        .to_owned();
    let mut statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "model", "digest": { "dirHash1": digest } }],
        "predicateType": kind.predicate_type(),
        "predicate": body,
    });
    change(&mut statement);
    let payload = statement.to_string().into_bytes();
    let mut envelope = Envelope::sign(payload, IN_TOTO, &signers[0], "").unwrap();
    for more in &signers[1..] {
        envelope.add(more, "").unwrap();
    }
    let PrivateKey::Ed25519(log) = key("keys/log.key.pem") else {
        panic!("not Ed25519")
    };
    let store = weighbridge::ledger::DirectoryStore::new(&workspace.path("ledger"));
    let signer = weighbridge::cosignature::LogSigner::new(origin, *log).unwrap();
    let entry = envelope.to_json().unwrap();
    let time = now.parse().unwrap();
    weighbridge::ledger::append(&store, &signer, &[entry], time).unwrap();
}

pub(crate) fn seconds_now() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    weighbridge::time::Timestamp::from_seconds(seconds)
        .unwrap()
        .to_string()
}

pub(crate) const EXCUSED: &str = "formats = { deny = [\"pickle\"] }\nexceptions = { rules = [\"format.denied\"], roles = [\"operator\"] }";
pub(crate) const LINEAGE: &str = "derive --input base model; r derive $dev --relation fine-tuned --input data base; \
    r acquire $dev --source https://forum.example.com/x data; ";
