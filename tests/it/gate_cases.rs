//! The gate, case by case: what lies there, what the ledger says and what the policy asks for; the verdict that follows, and
//! the rule that says so.

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
fn with_gate(gate: &str) -> Workspace {
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

const RELEASE: &str = "records = [{ kind = \"release\", roles = [\"developer\"] }]";

/// Short words for the scripts.
const WORDS: &str = "exec 2>>script.log; \
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
fn raw(workspace: &Workspace, keys: &[&str], kind: Kind, change: &dyn Fn(&mut Value)) {
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

fn seconds_now() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    weighbridge::time::Timestamp::from_seconds(seconds)
        .unwrap()
        .to_string()
}

struct Case {
    name: &'static str,
    gate: &'static str,
    script: &'static str,
    code: i32,
    /// The rule that decides, or that is to be told.
    rule: &'static str,
}

const fn case(
    name: &'static str,
    gate: &'static str,
    script: &'static str,
    code: i32,
    rule: &'static str,
) -> Case {
    Case {
        name,
        gate,
        script,
        code,
        rule,
    }
}

const TESTED: &str = "records = [{ kind = \"test-result\", roles = [\"tester\"] }]";
const SCORED: &str = "records = [{ kind = \"test-result\", roles = [\"tester\"], where = [\"metrics.score >= 0.9\", \"result = PASSED\"] }]";
const TWO: &str = "records = [{ kind = \"deploy-approve\", roles = [\"operator\"], count = 2, where = [\"environment = production\"] }]";
const NO_PICKLE: &str = "formats = { deny = [\"pickle\", \"pytorch\"] }";
const EXCUSED: &str = "formats = { deny = [\"pickle\"] }\nexceptions = { rules = [\"format.denied\"], roles = [\"operator\"] }";
const PICKLE: &str = "printf '\\200\\004cos' > model/x.bin; weighbridge sign --record model; ";
const LINEAGE: &str = "derive --input base model; r derive $dev --relation fine-tuned --input data base; \
    r acquire $dev --source https://forum.example.com/x data; ";

const CASES: &[Case] = &[
    // What lies there.
    case("untouched", "", "", 0, "artifact.files"),
    case(
        "a byte changed",
        "",
        "echo x > model/config.json",
        1,
        "artifact.changed",
    ),
    case(
        "the same size",
        "",
        "printf '[]' > model/config.json",
        1,
        "artifact.changed",
    ),
    case("added", "", "echo x > model/evil.py", 1, "artifact.added"),
    case("missing", "", "rm model/config.json", 1, "artifact.missing"),
    case(
        "a link",
        "",
        "rm model/config.json; ln -s /etc/passwd model/config.json",
        1,
        "artifact.symlink",
    ),
    case(
        "renamed",
        "",
        "mv model/config.json model/other.json",
        1,
        "artifact.added",
    ),
    case(
        "no signature",
        "",
        "rm model/model.sig",
        1,
        "signature.missing",
    ),
    case(
        "a stranger's signature",
        "",
        "weighbridge sign --key stranger.pem model",
        1,
        "signature.key",
    ),
    case(
        "a tester's signature",
        "",
        "weighbridge sign --key test.pem model",
        1,
        "identity.role",
    ),
    // The ledger.
    case("no ledger", "", "rm -r ledger", 2, "ledger.unreadable"),
    case(
        "a torn checkpoint",
        "",
        "echo torn > ledger/checkpoint",
        2,
        "ledger.checkpoint",
    ),
    case(
        "a ledger without witnesses has no age",
        "ledger = { max_age = \"1d\" }",
        "",
        2,
        "ledger.age",
    ),
    // Required records.
    case("no test", TESTED, "", 1, "record.missing"),
    case(
        "tested",
        TESTED,
        "tested test.pem PASSED",
        0,
        "record.present",
    ),
    case(
        "tested by the developer",
        TESTED,
        "tested $dev PASSED",
        1,
        "record.missing",
    ),
    case(
        "failed",
        TESTED,
        "tested test.pem FAILED",
        1,
        "record.negative",
    ),
    case(
        "passed, then failed",
        TESTED,
        "tested test.pem PASSED; tested test.pem FAILED",
        1,
        "record.negative",
    ),
    case(
        "failed, then passed",
        TESTED,
        "tested test.pem FAILED; tested test.pem PASSED",
        0,
        "record.present",
    ),
    case(
        "no score",
        SCORED,
        "tested test.pem PASSED",
        1,
        "record.missing",
    ),
    case(
        "a low score",
        SCORED,
        "tested test.pem PASSED '--metric name=score,value=0.83'",
        1,
        "record.missing",
    ),
    case(
        "a score",
        SCORED,
        "tested test.pem PASSED '--metric name=score,value=0.93'",
        0,
        "record.present",
    ),
    case(
        "another metric",
        SCORED,
        "tested test.pem PASSED '--metric name=speed,value=7'",
        1,
        "record.missing",
    ),
    case(
        "warned is not passed",
        SCORED,
        "tested test.pem WARNED '--metric name=score,value=0.93'",
        1,
        "record.missing",
    ),
    case(
        "of another model",
        TESTED,
        "r test-result test.pem --result PASSED --suite s --purpose release --from conf.json base",
        1,
        "record.missing",
    ),
    case(
        "a new digest inherits nothing",
        TESTED,
        "tested test.pem PASSED; echo {} > model/new.json; weighbridge sign --record model",
        1,
        "record.missing",
    ),
    case(
        "one of two approvers",
        TWO,
        "approve op.pem production",
        1,
        "record.missing",
    ),
    case(
        "twice the same approver",
        TWO,
        "approve op.pem production; approve op.pem production",
        1,
        "record.missing",
    ),
    case(
        "one of them for staging",
        TWO,
        "approve op.pem production; approve op2.pem staging",
        1,
        "record.missing",
    ),
    case(
        "two approvers",
        TWO,
        "approve op.pem production; approve op2.pem production",
        0,
        "record.present",
    ),
    case(
        "a revoked record",
        "",
        "r revoke $dev --reason other --record 1",
        1,
        "record.missing",
    ),
    case(
        "a quarantined record",
        "",
        "r quarantine $dev --reason other --record 1",
        1,
        "record.ignored",
    ),
    case(
        "a quarantined record, released",
        "",
        "r quarantine $dev --reason other --record 1; r release-quarantine $dev --explanation e 2",
        0,
        "record.present",
    ),
    case(
        "another record revoked",
        "",
        "r revoke $dev --reason other --record 0",
        0,
        "record.ignored",
    ),
    // Sources.
    case(
        "from anywhere that was authenticated",
        "sources = {}",
        "",
        0,
        "source.authentication",
    ),
    case(
        "allowed",
        "sources = { allow = [\"hub.example\"] }",
        "",
        0,
        "source.denied",
    ),
    case(
        "not allowed",
        "sources = { allow = [\"https://other.example/\"] }",
        "",
        1,
        "source.denied",
    ),
    case(
        "denied",
        "sources = { deny = [\"https://hub.example/acme/\"] }",
        "",
        1,
        "source.denied",
    ),
    case(
        "denied for what it was made from",
        "sources = { deny = [\"example.com\"] }",
        LINEAGE,
        1,
        "source.denied",
    ),
    case(
        "the server is not the publisher",
        "sources = { authentication = \"publisher\" }",
        "",
        1,
        "source.authentication",
    ),
    case(
        "the publisher's word",
        "sources = { authentication = \"publisher\" }",
        "r acquire $dev --source https://hub.example/acme/model --auth-method gpg --auth-result verified model",
        0,
        "source.authentication",
    ),
    case(
        "nobody was asked",
        "sources = { allow = [\"hub.example\"] }",
        "r acquire $dev --source https://hub.example/acme/model model",
        1,
        "source.authentication",
    ),
    case(
        "nobody was asked, which is enough",
        "sources = { allow = [\"hub.example\"], authentication = \"not-checked\" }",
        "r acquire $dev --source https://hub.example/acme/model model",
        0,
        "source.authentication",
    ),
    case(
        "nobody knows where from",
        "sources = { authentication = \"verified\" }",
        "echo {} > model/new.json; weighbridge sign --record model",
        1,
        "source.unknown",
    ),
    // Formats, licences, sizes, parts.
    case("no pickle", NO_PICKLE, "", 0, "format.denied"),
    case("a pickle", NO_PICKLE, PICKLE, 1, "format.denied"),
    case(
        "a pickle by another name",
        NO_PICKLE,
        "printf '\\200\\004cos' > model/x.safetensors; weighbridge sign --record model",
        1,
        "format.denied",
    ),
    case(
        "only these formats",
        "formats = { allow = [\"safetensors\", \"json\"] }",
        "",
        0,
        "format.denied",
    ),
    case(
        "a script among them",
        "formats = { allow = [\"safetensors\", \"json\"] }",
        "echo 'import os' > model/x.py; weighbridge sign --record model",
        1,
        "format.denied",
    ),
    case(
        "a licence",
        "licences = { allow = [\"MIT\", \"Apache-2.0\"] }",
        "",
        0,
        "licence.denied",
    ),
    case(
        "another licence",
        "licences = { allow = [\"Apache-2.0\"] }",
        "",
        1,
        "licence.denied",
    ),
    case(
        "one of two licences",
        "licences = { allow = [\"Apache-2.0\", \"MIT\"] }",
        "r release $dev --licence 'GPL-3.0-only OR Apache-2.0' model; weighbridge sign --record model",
        0,
        "licence.denied",
    ),
    case(
        "both of two licences",
        "licences = { allow = [\"Apache-2.0\", \"MIT\"] }",
        "r release $dev --licence 'GPL-3.0-only AND Apache-2.0' model; weighbridge sign --record model",
        1,
        "licence.denied",
    ),
    case(
        "no licence",
        "licences = { deny = [\"GPL-3.0-only\"] }",
        "echo {} > model/new.json; weighbridge sign --record model",
        1,
        "licence.unknown",
    ),
    case(
        "too large",
        "size = { max_bytes = 10 }",
        "",
        1,
        "size.exceeded",
    ),
    case(
        "too many",
        "size = { max_files = 1 }",
        "",
        1,
        "size.exceeded",
    ),
    case(
        "small enough",
        "size = { max_bytes = 1000, max_files = 9 }",
        "",
        0,
        "size.exceeded",
    ),
    case(
        "not registered",
        "modalities = { refuse_unused = true }",
        "",
        1,
        "modality.unknown",
    ),
    case(
        "registered",
        "modalities = { allow = [\"audio\"], refuse_unused = true }",
        "r register $dev --asset model --owner o --confidentiality public --modalities-used audio --modalities-unused text model",
        0,
        "modality.refused",
    ),
    case(
        "used for what is not allowed",
        "modalities = { allow = [\"audio\"] }",
        "r register $dev --asset model --owner o --confidentiality public --modalities-used video model",
        1,
        "modality.refused",
    ),
    case(
        "an unused part came back",
        "modalities = { refuse_unused = true }",
        "mkdir model/vision; echo {} > model/vision/a.json; weighbridge sign --record model; r register $dev --asset model --owner o --confidentiality public --modalities-unused vision model",
        1,
        "modality.refused",
    ),
    // What was taken back.
    case(
        "revoked",
        "",
        "r revoke op.pem --reason vulnerability model",
        1,
        "recall.revoked",
    ),
    case(
        "revoked by its digest",
        "",
        "r revoke cust.pem --reason licence --digest $model",
        1,
        "recall.revoked",
    ),
    case(
        "another was revoked",
        "",
        "r revoke op.pem --reason vulnerability base",
        0,
        "recall.revoked",
    ),
    case(
        "a file of it was revoked",
        "",
        "r revoke op.pem --reason tampering --digest sha256:$(sha256sum model/config.json | cut -c1-64)",
        1,
        "recall.revoked",
    ),
    case(
        "quarantined",
        "",
        "r quarantine op.pem --reason tampering model",
        1,
        "recall.quarantined",
    ),
    case(
        "released",
        "",
        "r quarantine op.pem --reason tampering model; r release-quarantine op2.pem --explanation e 2",
        0,
        "recall.revoked",
    ),
    case(
        "one of two quarantines is over",
        "",
        "r quarantine op.pem --reason tampering model; r quarantine cust.pem --reason licence model; r release-quarantine op.pem --explanation e 2",
        1,
        "recall.quarantined",
    ),
    case(
        "its source was revoked",
        "",
        "r revoke op.pem --reason poisoned-source --source https://hub.example/acme/",
        1,
        "recall.revoked",
    ),
    case(
        "its source's domain",
        "",
        "r quarantine op.pem --reason poisoned-source --source example",
        1,
        "recall.quarantined",
    ),
    case(
        "another source",
        "",
        "r revoke op.pem --reason poisoned-source --source https://hub.example/acme-2/",
        0,
        "recall.revoked",
    ),
    case(
        "what it was made from was revoked",
        "",
        "derive --input base model; r revoke op.pem --reason tampering base",
        1,
        "recall.revoked",
    ),
    case(
        "two steps back",
        "",
        "derive --input base model; r derive $dev --relation fine-tuned --input data base; r quarantine cust.pem --reason privacy-request data",
        1,
        "recall.quarantined",
    ),
    case(
        "the source of what is two steps back",
        "",
        "derive --input base model; r derive $dev --relation fine-tuned --input data base; r acquire $dev --source https://forum.example.com/x data; r revoke op.pem --reason poisoned-source --source forum.example.com",
        1,
        "recall.revoked",
    ),
    case(
        "in a circle",
        "",
        "derive --input base model; r derive $dev --relation merged --input model base; r revoke op.pem --reason tampering base",
        1,
        "recall.revoked",
    ),
    case(
        "what was made from it is not meant",
        "",
        "r derive $dev --relation fine-tuned --input model base; r revoke op.pem --reason tampering base",
        0,
        "recall.revoked",
    ),
    case(
        "an item of a dataset",
        "",
        "printf 'url,path\\nhttps://bad.example/1,1\\n' > l.csv; weighbridge acquire --adopt --from-csv l.csv data; derive --input data model; r revoke op.pem --reason poisoned-source --source bad.example",
        1,
        "recall.revoked",
    ),
    case(
        "no item of a dataset",
        "",
        "printf 'url,path\\nhttps://good.example/1,1\\n' > l.csv; weighbridge acquire --adopt --from-csv l.csv data; derive --input data model; r revoke op.pem --reason poisoned-source --source bad.example",
        0,
        "recall.revoked",
    ),
    case(
        "a new version of a dataset",
        "",
        "r dataset-revise $dev --parent data --change c base; derive --input base model; r revoke op.pem --reason tampering data",
        1,
        "recall.revoked",
    ),
    case(
        "the signer's key",
        "",
        "r revoke op.pem --reason key-compromise --key-id $(weighbridge key show keys/signing.pub.pem | grep -o '[0-9a-f]\\{64\\}' | head -1) --since 2020-01-01T00:00:00Z",
        1,
        "signature.revoked",
    ),
    case(
        "the key of a record",
        TESTED,
        "tested test.pem PASSED; r revoke op.pem --reason key-compromise --key-id $(weighbridge key show test.pem.pub | grep -o '[0-9a-f]\\{64\\}' | head -1) --since 2020-01-01T00:00:00Z",
        1,
        "record.ignored",
    ),
    case(
        "the key from now on",
        TESTED,
        "tested test.pem PASSED; r revoke op.pem --reason key-compromise --key-id $(weighbridge key show test.pem.pub | grep -o '[0-9a-f]\\{64\\}' | head -1)",
        0,
        "record.present",
    ),
    case(
        "disposed of",
        "",
        "r dispose $dev --method delete --copies all --pending p model; weighbridge record dispose --cosign p --key cust.pem",
        1,
        "recall.disposed",
    ),
    case(
        "what it was made from was disposed of",
        "",
        "derive --input base model; r dispose $dev --method delete --copies all --pending p base; weighbridge record dispose --cosign p --key cust.pem",
        1,
        "recall.disposed",
    ),
    case(
        "disposed of, and what was made from it may stay",
        "",
        "derive --input base model; r dispose $dev --method delete --copies all --derived-may-stay true --pending p base; weighbridge record dispose --cosign p --key cust.pem",
        0,
        "recall.revoked",
    ),
    case(
        "released by a key that was taken back",
        "",
        "r quarantine op.pem --reason tampering model; r revoke cust.pem --reason key-compromise --key-id $(weighbridge key show op2.pem.pub | grep -o '[0-9a-f]\\{64\\}' | head -1); r release-quarantine op2.pem --explanation e 2",
        1,
        "recall.quarantined",
    ),
    case(
        "a key that was quarantined, and is again in use, releases",
        "",
        "r quarantine op.pem --reason tampering model; r quarantine cust.pem --reason key-compromise --key-id $(weighbridge key show op2.pem.pub | grep -o '[0-9a-f]\\{64\\}' | head -1); r release-quarantine cust.pem --explanation e 3; r release-quarantine op2.pem --explanation e 2",
        0,
        "recall.revoked",
    ),
    case(
        "a key that was quarantined does not release itself",
        "",
        "r quarantine op.pem --reason tampering model; r quarantine op.pem --reason key-compromise --key-id $(weighbridge key show op2.pem.pub | grep -o '[0-9a-f]\\{64\\}' | head -1); r release-quarantine op2.pem --explanation e 3; r release-quarantine op2.pem --explanation e 2",
        1,
        "recall.quarantined",
    ),
    case(
        "the release of a quarantine was revoked",
        "",
        "r quarantine op.pem --reason poisoned-source --source hub.example; r release-quarantine op2.pem --explanation e 2; r revoke cust.pem --reason other --record 3",
        1,
        "recall.quarantined",
    ),
    case(
        "a result that failed, and an old one appended again",
        TESTED,
        "tested test.pem PASSED; tested test.pem FAILED; again 2",
        1,
        "record.negative",
    ),
    case(
        "a revoked record, appended again",
        "",
        "r revoke $dev --reason other --record 1; again 1",
        1,
        "record.missing",
    ),
    case(
        "a quarantine that is over, appended again",
        "",
        "r quarantine op.pem --reason tampering model; r release-quarantine op2.pem --explanation e 2; again 2",
        0,
        "recall.revoked",
    ),
    case(
        "who revoked gives up his key",
        "",
        "r revoke op.pem --reason tampering model; weighbridge key revoke --key op.pem --reason compromised --since 2020-01-01T00:00:00Z op.pem.pub",
        1,
        "recall.revoked",
    ),
    case(
        "a failure that another role takes back",
        TESTED,
        "tested test.pem PASSED; tested test.pem FAILED; r revoke $dev --reason other --record 3",
        1,
        "record.negative",
    ),
    case(
        "a score that was higher once",
        SCORED,
        "tested test.pem PASSED '--metric name=score,value=0.95'; tested test.pem PASSED '--metric name=score,value=0.2'",
        1,
        "record.missing",
    ),
    case(
        "a script that looks like data",
        "formats = { allow = [\"safetensors\", \"json\", \"gguf\"] }",
        "printf 'GGUF = 1\\nimport os' > model/x.py; weighbridge sign --record model",
        1,
        "format.denied",
    ),
    case(
        "a pickle that looks like data",
        "formats = { allow = [\"safetensors\", \"json\", \"gguf\"] }",
        "printf 'GGUF\\003' > model/x.pkl; weighbridge sign --record model",
        1,
        "format.denied",
    ),
    // Exceptions.
    case("not excused", EXCUSED, PICKLE, 1, "format.denied"),
    case(
        "excused",
        EXCUSED,
        "printf '\\200\\004cos' > model/x.bin; weighbridge sign --record model; excuse format.denied 90d",
        0,
        "format.denied",
    ),
    case(
        "excused for a week",
        EXCUSED,
        "printf '\\200\\004cos' > model/x.bin; weighbridge sign --record model; excuse format.denied 7d",
        0,
        "exception.expiring",
    ),
    case(
        "another rule is excused",
        EXCUSED,
        "printf '\\200\\004cos' > model/x.bin; weighbridge sign --record model; excuse size.exceeded 90d",
        1,
        "format.denied",
    ),
    case(
        "the policy excuses nothing",
        NO_PICKLE,
        "printf '\\200\\004cos' > model/x.bin; weighbridge sign --record model; excuse format.denied 90d",
        1,
        "format.denied",
    ),
    case(
        "a changed file is not excused",
        EXCUSED,
        "excuse format.denied 90d; echo x > model/config.json",
        1,
        "artifact.changed",
    ),
    case(
        "a recall is not excused",
        EXCUSED,
        "excuse format.denied 90d; r revoke op.pem --reason other model",
        1,
        "recall.revoked",
    ),
    case(
        "the exception was revoked",
        EXCUSED,
        "printf '\\200\\004cos' > model/x.bin; weighbridge sign --record model; r revoke op.pem --reason other --record $(excuse format.denied 90d)",
        1,
        "format.denied",
    ),
];

#[test]
fn every_case() {
    assert!(CASES.len() >= 60);
    let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CASES.len());
    let mut wrong = Vec::new();
    for case in CASES {
        let workspace = with_gate(case.gate);
        if !case.script.is_empty() {
            let run = workspace.shell(&format!("{WORDS}{}", case.script));
            let log = std::fs::read_to_string(workspace.path("script.log")).unwrap_or_default();
            assert_eq!(run.code, 0, "{}: {run:?} {log}", case.name);
        }
        let run = workspace.gate();
        if run.code != case.code || !run.stdout.contains(case.rule) {
            wrong.push(format!(
                "{}: {} {}\n{run:?}",
                case.name, case.code, case.rule
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A record that this program would not write, and what becomes of it.
struct Foreign {
    name: &'static str,
    gate: &'static str,
    keys: &'static [&'static str],
    kind: Kind,
    /// What is otherwise than in the example, as a merge patch (RFC 7386).
    patch: &'static str,
    code: i32,
    says: &'static str,
}

const fn foreign(
    (name, gate): (&'static str, &'static str),
    keys: &'static [&'static str],
    kind: Kind,
    patch: &'static str,
    (code, says): (i32, &'static str),
) -> Foreign {
    Foreign {
        name,
        gate,
        keys,
        kind,
        patch,
        code,
        says,
    }
}

const DEV: &str = "keys/signing.key.pem";
const APPROVED: &str = "records = [{ kind = \"deploy-approve\", roles = [\"operator\"] }]";
const ASSESSED: &str =
    "records = [{ kind = \"risk-assess\", roles = [\"developer\"], max_age = \"90d\" }]";
const IN_CUSTODY: &str = "records = [{ kind = \"custodian-approve\", roles = [\"custodian\"] }]";
const SCANNED: &str = "records = [{ kind = \"scan-result\", roles = [\"developer\"] }]";
const IT: &str = r#"{"predicate":{"scope":{"of":"artifact","pattern":null}}}"#;

const FOREIGN: &[Foreign] = &[
    foreign(
        ("an approval that has expired", APPROVED),
        &["op.pem"],
        Kind::DeployApprove,
        r#"{"predicate":{"time":"2020-01-01T00:00:00Z","expires":"2021-01-01T00:00:00Z"}}"#,
        (1, "expired on"),
    ),
    foreign(
        ("an old assessment", ASSESSED),
        &[DEV],
        Kind::RiskAssess,
        r#"{"predicate":{"time":"2020-01-01T00:00:00Z"}}"#,
        (1, "more than 90d ago"),
    ),
    foreign(
        ("a justification without an end", EXCUSED),
        &["op.pem"],
        Kind::Justify,
        r#"{"predicate":{"expires":null}}"#,
        (0, "record.ignored"),
    ),
    foreign(
        ("custody by the developer", IN_CUSTODY),
        &[DEV],
        Kind::CustodianApprove,
        "{}",
        (1, "may not sign"),
    ),
    foreign(
        ("a record from tomorrow", SCANNED),
        &[DEV],
        Kind::ScanResult,
        r#"{"predicate":{"time":"2100-01-01T00:00:00Z"}}"#,
        (1, "after now"),
    ),
    foreign(
        ("a record for another log", SCANNED),
        &[DEV],
        Kind::ScanResult,
        r#"{"predicate":{"log":"elsewhere"}}"#,
        (1, "made for the log"),
    ),
    foreign(
        ("disposed of by one alone", ""),
        &[DEV],
        Kind::Dispose,
        "{}",
        (0, "not signed by a custodian"),
    ),
    foreign(
        ("disposed of by two who are one", ""),
        &[DEV, DEV],
        Kind::Dispose,
        "{}",
        (0, "not signed by a custodian"),
    ),
    foreign(
        ("disposed of by a custodian and a stranger", ""),
        &["stranger.pem", "cust.pem"],
        Kind::Dispose,
        "{}",
        (0, "names another key"),
    ),
    foreign(
        ("revoked by a stranger", ""),
        &["stranger.pem"],
        Kind::Revoke,
        IT,
        (0, "not by a trusted key"),
    ),
    foreign(
        ("revoked by a tester", ""),
        &["test.pem"],
        Kind::Revoke,
        r#"{"predicate":{"scope":{"of":"artifact","pattern":null},"actor":{"role":"tester"}}}"#,
        (0, "may not sign"),
    ),
    foreign(
        ("revoked by somebody who has left", ""),
        &["left.pem"],
        Kind::Revoke,
        r#"{"predicate":{"scope":{"of":"artifact","pattern":null},"actor":{"role":"operator"}}}"#,
        (1, "recall.revoked"),
    ),
    foreign(
        ("revoked in a way that is new", ""),
        &["op.pem"],
        Kind::Revoke,
        r#"{"predicate":{"scope":{"of":"region","pattern":null,"name":"eu"},"actor":{"role":"operator"}}}"#,
        (2, "recall.unknown"),
    ),
    foreign(
        ("a word that is new", ""),
        &[DEV],
        Kind::ScanResult,
        r#"{"predicate":{"result":"QUARANTINED"}}"#,
        (2, "record.unknown"),
    ),
    foreign(
        ("a quarantine that another role ended", ""),
        &["cust.pem"],
        Kind::ReleaseQuarantine,
        r#"{"predicate":{"actor":{"role":"custodian"}}}"#,
        (1, "recall.quarantined"),
    ),
];

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

#[test]
fn records_by_other_programs() {
    for case in FOREIGN {
        let workspace = with_gate(case.gate);
        let mut patch: Value = serde_json::from_str(case.patch).unwrap();
        if case.kind == Kind::ReleaseQuarantine {
            let script = format!("{WORDS} r quarantine op.pem --reason other model");
            workspace.shell(&script).exits(0);
            let entry = workspace.run(["ledger", "show", "2", "--raw"]).stdout;
            let sha256 = weighbridge::digest::Sha256::of(entry.as_bytes()).to_string();
            patch["predicate"]["releases"] = json!({ "index": 2, "sha256": sha256 });
        }
        raw(&workspace, case.keys, case.kind, &|statement| {
            merge(statement, &patch);
        });
        if case.name.contains("has left") {
            let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
            let policy = policy.replace("# left expires", "expires = \"2026-01-01T00:00:00Z\"");
            workspace.write("weighbridge.toml", policy);
        }
        let run = workspace.gate();
        assert!(
            run.code == case.code && run.stdout.contains(case.says),
            "{}: {} {}\n{run:?}",
            case.name,
            case.code,
            case.says
        );
    }
}

/// Rules of one's own, and what they are given.
#[test]
fn expressions_of_ones_own() {
    let rule = |cel: &str| {
        format!(
            "[[gate.rule]]\nid = \"acme.x\"\ncel = \"\"\"{cel}\"\"\"\nmessage = \"ask the platform team\"\n"
        )
    };
    for (cel, code, says) in [
        (
            "files.all(f, f.format in ['safetensors', 'json'])",
            0,
            "acme.x is true",
        ),
        ("artifact.bytes < 5", 1, "acme.x: ask the platform team"),
        (
            "records.exists(r, r.kind == 'acquire' && r.predicate.source_uri.startsWith('https://hub.example/'))",
            0,
            "is true",
        ),
        (
            "signers.exists(s, 'custodian' in s.roles)",
            1,
            "policy.expression",
        ),
        ("artifact.colour == 'red'", 2, "cannot be answered"),
        ("sources.size() == 1 && lineage.size() == 1", 0, "is true"),
        ("now > 1700000000", 0, "is true"),
    ] {
        let workspace = with_gate(&rule(cel));
        workspace.gate().exits(code).says(says);
    }
    let workspace = with_gate(&rule("artifact.bytes < 5 &&"));
    workspace.gate().exits(2).says("is no CEL").says("line");
    let workspace = with_gate(&rule("1 == 1"));
    workspace
        .gate()
        .exits(2)
        .says("would always decide the same");
    // What expressions are given is printed, without any.
    let workspace = with_gate("");
    let input = workspace
        .run(["gate", "--input-only", "model"])
        .exits(0)
        .json();
    assert_eq!(input["schema"], "https://weighbridge.dev/input/v1");
    assert_eq!(input["files"][0]["path"], "config.json");
    assert_eq!(input["records"][1]["kind"], "release");
    workspace.write("model/config.json", "changed");
    workspace.run(["gate", "--input-only", "model"]).exits(1);
}

/// One ledger, asked as of several times and by several profiles.
#[test]
fn profiles_and_times() {
    let workspace = with_gate(
        "[profile.production.gate]\nrecords = [{ kind = \"deploy-approve\", roles = [\"operator\"] }]\n\
         [profile.staging.gate]\nsize = { max_files = 100 }",
    );
    let gate = |more: &[&str]| workspace.run([&["gate"], more, &["model"]].concat());
    gate(&[]).exits(0);
    gate(&["--profile", "staging"])
        .exits(0)
        .says("profile staging")
        .says("size.exceeded");
    gate(&["--profile", "production"])
        .exits(1)
        .says("weighbridge record deploy-approve --role operator --from deploy-approve.json model");
    gate(&["--profile", "prod"])
        .exits(2)
        .says("there are: production, staging");
    workspace
        .shell(&format!("{WORDS} approve op.pem production"))
        .exits(0);
    gate(&["--profile", "production"]).exits(0);
    // Before it was released, it was not.
    let then = gate(&["--at", "2026-01-01"]).exits(1);
    then.says("record.missing")
        .says("as of: 2026-01-01T23:59:59.999Z");
    gate(&["--at", "2100-01-01"]).exits(2).says("still to come");
    // Times in whole seconds, one before and one after.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let now = seconds_now();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    workspace
        .shell(&format!("{WORDS} r revoke op.pem --reason other model"))
        .exits(0);
    gate(&[]).exits(1).says("recall.revoked");
    let report = gate(&["--at", &now, "--json"]).exits(0).json();
    assert_eq!(report["clock"], "given");
    assert_eq!(gate(&["--json"]).json()["clock"], "local");
}

/// The pending half of a record is signed once, and what was changed in it is found.
#[test]
fn second_signatures() {
    let workspace = with_gate("");
    let run = |args: &[&str]| workspace.run([&["record"], args].concat());
    let first = [
        "transfer",
        "--receiving-party",
        "P",
        "--right",
        "use",
        "--residual-copies",
        "none",
    ];
    run(&[&first[..], &["model"]].concat())
        .exits(2)
        .says("--pending");
    run(&[&first[..], &["--pending", "t", "model"]].concat()).exits(0);
    let before = workspace.run(["ledger", "fsck"]).stdout;
    // Nobody signs twice, nor in another role, nor another kind.
    run(&["transfer", "--cosign", "t", "--key", "keys/signing.key.pem"])
        .exits(2)
        .says("custodian");
    run(&["transfer", "--cosign", "t", "--key", "op.pem"])
        .exits(2)
        .says("custodian");
    run(&["dispose", "--cosign", "t", "--key", "cust.pem"])
        .exits(2)
        .says("is a transfer");
    run(&["justify", "--cosign", "t", "--key", "op.pem"]).exits(2);
    run(&[
        "transfer", "--cosign", "t", "--key", "cust.pem", "--right", "own",
    ])
    .exits(2)
    .says("nothing else can be said");
    // Nor what the first did not sign.
    let text = String::from_utf8(workspace.read("t")).unwrap();
    let envelope: Value = serde_json::from_str(&text).unwrap();
    let payload = data_encoding::BASE64
        .decode(envelope["payload"].as_str().unwrap().as_bytes())
        .unwrap();
    let changed = String::from_utf8(payload)
        .unwrap()
        .replace("\"use\"", "\"own\"");
    let mut other = envelope.clone();
    other["payload"] = data_encoding::BASE64.encode(changed.as_bytes()).into();
    workspace.write("changed", other.to_string());
    run(&["transfer", "--cosign", "changed", "--key", "cust.pem"])
        .exits(2)
        .says("would not count");
    assert_eq!(workspace.run(["ledger", "fsck"]).stdout, before);
    let index = run(&["transfer", "--json", "--cosign", "t", "--key", "cust.pem"])
        .exits(0)
        .json()["index"]
        .clone();
    let shown = workspace
        .run(["ledger", "show", &index.to_string(), "--raw"])
        .stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["signatures"].as_array().unwrap().len(), 2);
    // What is recorded with one signature alone is not: for kinds that take one, there is nothing pending.
    run(&[
        "scan-result",
        "--scanner",
        "s",
        "--version",
        "1",
        "--result",
        "PASSED",
        "--pending",
        "x",
        "model",
    ])
    .exits(2)
    .says("takes one signature");
}

/// In a large ledger entries are looked up in an index of this host's own. It changes no verdict, whatever lies in it, and one
/// that came with the ledger is not asked.
#[test]
fn by_an_index() {
    let workspace = with_gate("");
    // Entries of strangers, among them some that name the artifact.
    let report = workspace.run(["verify", "--json", "model"]).json();
    let digest = report["artifact"]["digest"].as_str().unwrap().to_owned();
    let hex = digest.split_once(':').unwrap().1;
    let mut lines = String::new();
    for number in 0..4200_u32 {
        let payload = format!(
            "{{\"a\":\"{}\"}}",
            weighbridge::digest::Sha256::of(&number.to_le_bytes())
        );
        let payload = data_encoding::BASE64.encode(payload.as_bytes());
        lines.push_str("{\"payload\":\"");
        lines.push_str(&payload);
        lines.push_str("\",\"payloadType\":\"x\",\"signatures\":[]}\n");
    }
    workspace.write("strange.jsonl", &lines);
    workspace
        .run([
            "ledger",
            "append",
            "--quiet",
            "--opaque",
            "--lines",
            "strange.jsonl",
        ])
        .exits(0);
    let cache = workspace.path("cache").display().to_string();
    let gate = |indexed: bool| {
        let mut command = workspace.command(["gate", "model"]);
        if indexed {
            command.env("XDG_CACHE_HOME", &cache);
        }
        let run: crate::support::Run = command.output().unwrap().into();
        run
    };
    let same = |code: i32, rule: &str| {
        let (read, looked_up) = (gate(false).exits(code), gate(true).exits(code));
        let read = read.says(rule).says("read and hashed to its root were all");
        let looked_up = looked_up.says(rule).says("looked up in the index");
        let lines = |text: &str| -> Vec<String> {
            let all = text
                .lines()
                .filter(|line| !line.contains("ledger.consistent"));
            all.map(str::to_owned).collect()
        };
        assert_eq!(lines(&read.stdout), lines(&looked_up.stdout));
    };
    same(0, "record.present");
    // What is no envelope and names it; then what it was made from, recalled.
    workspace.write(
        "junk",
        format!(
            "{{\"payload\":\"{}\",\"more\":1}}",
            data_encoding::BASE64.encode(hex.to_uppercase().as_bytes())
        ),
    );
    workspace
        .run(["ledger", "append", "--quiet", "--opaque", "junk"])
        .exits(0);
    same(0, "record.ignored");
    let clean = with_gate("");
    copy_tree(&clean.path("ledger"), &workspace.path("ledger2"));
    workspace.shell(&format!("{WORDS} rm -r ledger; mv ledger2 ledger; weighbridge ledger append --quiet --opaque --lines strange.jsonl; {LINEAGE} r revoke op.pem --reason poisoned-source --source example.com")).exits(0);
    // Another ledger of the same origin: the index is built anew.
    same(1, "recall.revoked");
    // An index that hides what there is, in the ledger's own directory.
    workspace.shell("weighbridge ledger index").exits(0);
    assert!(workspace.path("ledger/index.sqlite").exists());
    workspace
        .shell("rm ledger/index.sqlite; touch ledger/index.sqlite")
        .exits(0);
    same(1, "recall.revoked");
    // A cache that others may write to is not used.
    workspace.shell("chmod -R g+w cache").exits(0);
    gate(true)
        .exits(1)
        .says("read and hashed to its root were all");
}

/// Invariant 7, made by machine: a verdict that rests on many records. Each record is taken away in turn, its place filled by
/// something else; each file and each line of the policy that names somebody is taken away; and each byte of each signature
/// is wrong. Whatever the pass relied on, it is no pass without it.
#[test]
fn nothing_that_a_pass_relied_on_can_go() {
    let gate = "records = [{ kind = \"release\", roles = [\"developer\"] }, \
        { kind = \"test-result\", roles = [\"tester\"], where = [\"metrics.score >= 0.9\"] }, \
        { kind = \"deploy-approve\", roles = [\"operator\"], count = 2, where = [\"environment = production\"] }, \
        { kind = \"custodian-approve\", roles = [\"custodian\"] }]\n\
        sources = { allow = [\"hub.example\"] }\nlicences = { allow = [\"MIT\"] }\n\
        modalities = { allow = [\"audio\"] }\n\
        formats = { deny = [\"pickle\"] }\n\
        exceptions = { rules = [\"format.denied\"], roles = [\"operator\"] }\n\
        [[gate.rule]]\nid = \"acme.scanned\"\ncel = \"records.exists(r, r.kind == 'scan-result')\"\nmessage = \"scan it\"\n";
    let workspace = with_gate(gate);
    let script = "printf '\\200\\004cos' > model/x.bin; weighbridge sign --record model; \
        r acquire $dev --source https://hub.example/acme/model --auth-method tls --auth-result verified --licence MIT model; \
        tested test.pem PASSED '--metric name=score,value=0.93'; approve op.pem production; approve op2.pem production; \
        r custodian-approve cust.pem --classification public --permitted-use serving --expires 90d model; \
        r register $dev --asset model --owner o --confidentiality public --modalities-used audio model; \
        excuse format.denied 90d; r scan-result $dev --scanner s --version 1 --result PASSED model; \
        r quarantine op.pem --reason other model; r release-quarantine op.pem --explanation e 11";
    workspace.shell(&format!("{WORDS}{script}")).exits(0);
    workspace.gate().exits(0);
    let pem = |name: &str| std::fs::read_to_string(workspace.path(name)).unwrap();
    let PrivateKey::Ed25519(log) = private_key_from_pem(&pem("keys/log.key.pem"), None).unwrap()
    else {
        panic!("not Ed25519")
    };
    let policy = weighbridge::policy::Policy::parse(&pem("weighbridge.toml")).unwrap();
    let signer =
        weighbridge::cosignature::LogSigner::new(policy.log.trust.log().name(), *log).unwrap();
    let entries: Vec<Vec<u8>> = (0..13)
        .map(|index: u64| {
            workspace
                .run(["ledger", "show", "--raw", &index.to_string()])
                .exits(0)
                .stdout
                .into_bytes()
        })
        .collect();
    let again = |entries: &[Vec<u8>]| {
        let place = workspace.path("again");
        _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(&place).unwrap();
        copy_tree(&workspace.path("ledger/blob"), &place.join("blob"));
        let store = weighbridge::ledger::DirectoryStore::new(&place);
        let time = seconds_now().parse().unwrap();
        weighbridge::ledger::create(&store, &signer, time).unwrap();
        weighbridge::ledger::append(&store, &signer, entries, time).unwrap();
        let text = pem("weighbridge.toml").replace("path = \"ledger\"", "path = \"again\"");
        workspace.write("again.toml", text);
        workspace.run(["gate", "--config", "again.toml", "model"])
    };
    again(&entries).exits(0);
    // Those of the model as it was before, and the quarantine, are not relied on.
    let idle = [0, 1, 11];
    for index in 0..entries.len() {
        let mut fewer = entries.clone();
        fewer[index] = format!("{{\"nothing\":{index}}}").into_bytes();
        let run = again(&fewer);
        assert_eq!(
            run.code == 0,
            idle.contains(&index),
            "without record {index}: {run:?}"
        );
        // The same record with one bit of its signature changed.
        let mut envelope: Value = serde_json::from_slice(&entries[index]).unwrap();
        let signature = envelope["signatures"][0]["sig"].as_str().unwrap();
        let mut bytes = data_encoding::BASE64.decode(signature.as_bytes()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        envelope["signatures"][0]["sig"] = data_encoding::BASE64.encode(&bytes).into();
        let mut forged = entries.clone();
        forged[index] = envelope.to_string().into_bytes();
        let run = again(&forged);
        assert_eq!(
            run.code == 0,
            idle.contains(&index),
            "with record {index} forged: {run:?}"
        );
    }
    // Nobody is known without his entry in the policy, and nothing passes without what it asks for.
    let policy = pem("weighbridge.toml");
    for name in ["release", "op", "op2", "cust", "test"] {
        let changed = policy.replace(
            &format!("name = \"{name}\""),
            &format!("name = \"{name}\"\nexpires = \"2026-01-01T00:00:00Z\""),
        );
        workspace.write("other.toml", changed);
        let run = workspace.run(["gate", "--config", "other.toml", "model"]);
        assert_ne!(run.code, 0, "{name}: {run:?}");
    }
    for file in ["model.safetensors", "config.json", "x.bin", "model.sig"] {
        let path = workspace.path(&format!("model/{file}"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_ne!(workspace.gate().code, 0, "without {file}");
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert_ne!(workspace.gate().code, 0, "with {file} changed");
        std::fs::write(&path, bytes).unwrap();
    }
    workspace.gate().exits(0);
}

/// What cannot be recorded leaves nothing behind, and what is checked is not passed over.
#[test]
fn records_that_are_refused() {
    let workspace = with_gate("");
    let run = |args: &[&str]| workspace.run([&["record"], args].concat());
    let blobs = || workspace.shell("find ledger/blob -type f | wc -l").stdout;
    let before = blobs();
    workspace.write("secret.txt", "not for everybody");
    run(&[
        "scan-result",
        "--scanner",
        "s",
        "--version",
        "1",
        "--result",
        "MAYBE",
        "--attach",
        "secret.txt",
        "model",
    ])
    .exits(2);
    run(&[
        "scan-result",
        "--scanner",
        "s",
        "--version",
        "1",
        "--result",
        "PASSED",
        "--findings",
        "critical=1",
        "--attach",
        "secret.txt",
        "model",
    ])
    .exits(2)
    .says("critical findings");
    run(&[
        "scan-result",
        "--scanner",
        "s",
        "--version",
        "1",
        "--result",
        "PASSED",
        "--attach",
        "secret.txt",
        "nowhere",
    ])
    .exits(2);
    assert_eq!(blobs(), before);
    workspace.write(
        "a.json",
        "{\"attachments\":[],\"scanner\":\"s\",\"version\":\"1\",\"result\":\"PASSED\"}",
    );
    run(&["scan-result", "--from", "a.json", "model"])
        .exits(2)
        .says("--attach");
    workspace.write("a.json", "{\"time\":\"2020-01-01T00:00:00Z\",\"scanner\":\"s\",\"version\":\"1\",\"result\":\"PASSED\"}");
    run(&["scan-result", "--from", "a.json", "model"])
        .exits(2)
        .says("is not yours to say");
    // A list that is not compared is not passed over.
    workspace
        .shell("weighbridge record acquire --template > acquire.json; echo x > SUMS")
        .exits(0);
    run(&[
        "acquire",
        "--from",
        "acquire.json",
        "--checksums",
        "SUMS",
        "model",
    ])
    .exits(2)
    .says("cannot be used with");
    run(&[
        "acquire",
        "--from",
        "acquire.json",
        "--licence",
        "MIT",
        "model",
    ])
    .exits(2)
    .says("cannot be used with");
    run(&["acquire", "--from", "acquire.json", "model"]).exits(0);
    // What a file means is what is meant.
    workspace
        .shell("weighbridge record revoke --template > revoke.json")
        .exits(0);
    run(&["revoke", "--from", "revoke.json", "model"])
        .exits(2)
        .says("not what is named");
    workspace.write("r.json", "{\"reason\":\"other\",\"more\":1}");
    run(&["revoke", "--from", "r.json", "model"])
        .exits(2)
        .says("cannot be said there");
    run(&["revoke", "--from", "revoke.json"]).exits(0);
}
