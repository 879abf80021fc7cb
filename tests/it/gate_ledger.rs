//! One ledger, asked in several ways: by profiles and as of times, by expressions, by an index, and with records missing.

use std::time::SystemTime;

use ed25519_dalek::SigningKey;
use serde_json::Value;
use weighbridge::cosignature::WitnessSigner;
use weighbridge::key::{PrivateKey, private_key_from_pem};

use crate::cosigners::{log_of, trust_from_file};
use crate::gate_stage::{LINEAGE, WORDS, seconds_now, with_gate};
use crate::support::{Workspace, copy_tree, peer};

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
/// What is printed as the input lets the engine of Kubernetes (cel-go) come to the same answers.
#[test]
fn another_engine_comes_to_the_same() {
    let Some(engine) = peer("cel", "cel") else {
        return;
    };
    let rules = [
        "files.all(f, f.format in ['safetensors', 'json'])",
        "files.exists(f, f.path.endsWith('.bin') && f.size > 3)",
        "artifact.bytes < 5",
        "artifact.bytes / 2 * 2 <= artifact.bytes && artifact.files >= 1",
        "artifact.digest.startsWith('dirHash1:') && size(artifact.digest) == 73",
        "records.exists(r, r.kind == 'acquire' && r.predicate.source_uri.startsWith('https://hub.example/'))",
        "records.filter(r, r.kind == 'release').size() == 1",
        "records.all(r, has(r.predicate))",
        "signers.exists(s, 'custodian' in s.roles)",
        "signers.exists_one(s, 'developer' in s.roles)",
        "artifact.colour == 'red'",
        "has(artifact.colour) && artifact.colour == 'red'",
        "sources.size() == 1 && lineage.size() == 1",
        "now > 1700000000 && now < 4000000000",
        "policy.log.matches('^weighbridge')",
        "files[0].size + files[1].size > 0 ? true : false",
    ];
    let workspace = with_gate("");
    let input = workspace
        .run(["gate", "--input-only", "model"])
        .exits(0)
        .stdout;
    workspace.write("input.json", input);
    workspace.write("rules", rules.join("\n") + "\n");
    let answers = workspace
        .shell(&format!("{} input.json < rules", engine.display()))
        .exits(0)
        .stdout;
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), rules.len());
    assert!(
        ["true", "false", "error"]
            .iter()
            .all(|one| answers.contains(one))
    );
    for (rule, answer) in rules.iter().zip(answers) {
        let code = match answer {
            "true" => 0,
            "false" => 1,
            _ => 2,
        };
        let of_our_own =
            format!("[[gate.rule]]\nid = \"acme.x\"\ncel = \"\"\"{rule}\"\"\"\nmessage = \"m\"\n");
        let run = with_gate(&of_our_own).gate();
        assert_eq!(run.code, code, "{rule}: {answer} by cel-go; {run:?}");
    }
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

/// Whose keys counted then: what is recorded about them later changes nothing then, not even what was made from what.
#[test]
fn keys_as_of_then() {
    let workspace = with_gate("");
    let then = || {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let now = seconds_now();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        now
    };
    let derived = format!("{WORDS} derive --input base model");
    workspace.shell(&derived).exits(0);
    let good = then();
    let recalled = format!("{WORDS} r revoke op.pem --reason other base");
    workspace.shell(&recalled).exits(0);
    let bad = then();
    workspace
        .shell(
            "weighbridge key revoke --key keys/signing.key.pem --reason compromised --since 2020-01-01T00:00:00Z keys/signing.pub.pem",
        )
        .exits(0);
    workspace.gate().exits(1);
    let gate = |at: &str| workspace.run(["gate", "--at", at, "model"]);
    gate(&good).exits(0);
    gate(&bad)
        .exits(1)
        .says("recall.revoked")
        .says("which it was made from");
}

/// The ledger is as old as its witnesses say, and what a profile says of it stands beside what the gate says.
#[test]
fn the_age_of_the_ledger() {
    let workspace = Workspace::released();
    let witness = WitnessSigner::new("w.example", SigningKey::from_bytes(&[51; 32])).unwrap();
    let [key, post_quantum] = witness.keys();
    let (log, url) = (log_of(&workspace), "http://w.example");
    let trust = format!(
        "log {log}\nwitness a {key} {url}\nwitness b {post_quantum} {url}\ngroup both all a b\nquorum both\n"
    );
    workspace.write("trust.policy", trust);
    trust_from_file(&workspace, "");
    let checkpoint = String::from_utf8(workspace.read("ledger/checkpoint")).unwrap();
    let (text, _) = checkpoint.split_once("\n\n").unwrap();
    let hours_ago = |hours: u64| {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let time = now.as_secs() - hours * 3600;
        let lines = witness.cosign(&format!("{text}\n"), time).unwrap();
        workspace.write("ledger/checkpoint", format!("{checkpoint}{lines}"));
    };
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    let (gate, signing) = policy.split_once("# What `sign` and `record` use").unwrap();
    let asks = |ledger: &str, profile: &str| {
        let rules = format!("ledger = {ledger}\n[profile.production.gate]\n{profile}\n");
        workspace.write("weighbridge.toml", format!("{gate}{rules}#{signing}"));
    };
    let production = || workspace.run(["gate", "--no-memory", "--profile", "production", "model"]);
    let any = || workspace.run(["gate", "--no-memory", "model"]);
    asks("{ max_age = \"1d\" }", "ledger = { max_age = \"1h\" }");
    hours_ago(2);
    any().exits(0).says("witnesses vouch");
    production()
        .exits(2)
        .says("ledger.age")
        .says("more than 1h ago");
    hours_ago(25);
    any().exits(2).says("ledger.age");
    hours_ago(0);
    production().exits(0);
    // What a profile does not say is what the gate says.
    asks("{ max_age = \"1h\" }", "ledger = { receipts = false }");
    hours_ago(2);
    production().exits(2).says("ledger.age");
    hours_ago(0);
    production().exits(0);
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
