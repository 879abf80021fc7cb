//! What pipelines read of a decision: by the validators and schemas of others.

use std::process::Command;

use serde_json::Value;

use crate::support::{Run, Workspace, fixture, tool};

/// An artifact with one file changed, and one added whose name is hostile.
fn denied() -> Workspace {
    let workspace = Workspace::released();
    workspace.write("model/config.json", "{ }");
    workspace.write("model/a<b>&\"c\"::error::%0A,x.py", "x");
    workspace
}

fn gate(workspace: &Workspace, more: &[&str]) -> Run {
    workspace.run([&["gate"], more, &["model"]].concat())
}

fn schema(name: &str) -> jsonschema::Validator {
    let text = std::fs::read(fixture("schemas").join(name)).unwrap();
    jsonschema::validator_for(&serde_json::from_slice(&text).unwrap()).unwrap()
}

fn read(workspace: &Workspace, name: &str) -> Value {
    serde_json::from_slice(&workspace.read(name)).unwrap()
}

#[test]
fn several_at_once() {
    let workspace = denied();
    let all = [
        "--report",
        "sarif=r.sarif",
        "--report",
        "junit=r.xml",
        "--report",
        "gitlab=r.gitlab",
        "--report",
        "json=r.json",
        "--report",
        "text=r.txt",
        "--report",
        "github=r.github",
    ];
    let run = gate(&workspace, &all).exits(1);
    assert!(run.stdout.starts_with("deny model"));
    let text = String::from_utf8(workspace.read("r.txt")).unwrap();
    assert_eq!(text, run.stdout);
    assert_eq!(read(&workspace, "r.json")["verdict"], "fail");
    gate(&workspace, &["--report", "yaml=x"])
        .exits(2)
        .says("there are: text, json, sarif");
    gate(&workspace, &["--report", "sarif"])
        .exits(2)
        .says("--report sarif=FILE");
}

#[test]
fn sarif_by_its_schema() {
    let validator = schema("sarif-2.1.0.json");
    let workspace = denied();
    for (prepare, code, successful) in [("true", 1, true), ("rm -r ledger", 2, false)] {
        workspace.shell(prepare).exits(0);
        // What cannot be judged is no success of the tool, though the changed file fails.
        let code = if code == 2 {
            workspace
                .shell("cp -r model m2; rm m2/a*; printf '{}' > m2/config.json")
                .exits(0);
            workspace
                .run(["gate", "--report", "sarif=r.sarif", "m2"])
                .exits(2)
                .code
        } else {
            gate(&workspace, &["--report", "sarif=r.sarif"])
                .exits(code)
                .code
        };
        let sarif = read(&workspace, "r.sarif");
        let errors: Vec<String> = validator
            .iter_errors(&sarif)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        let run = &sarif["runs"][0];
        assert_eq!(run["invocations"][0]["executionSuccessful"], successful);
        assert_eq!(run["invocations"][0]["exitCode"], code);
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        for result in run["results"].as_array().unwrap() {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
        }
    }
    let wrong = serde_json::json!({ "version": "2.1.0", "runs": [{ "tool": {} }] });
    assert!(!validator.is_valid(&wrong));
    let workspace = denied();
    gate(&workspace, &["--report", "sarif=r.sarif"]).exits(1);
    let places: Vec<String> = read(&workspace, "r.sarif")["runs"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(
        places.contains(&"model/config.json".to_owned()),
        "{places:?}"
    );
    assert!(
        places.iter().any(|place| place.contains("%3Cb%3E")),
        "{places:?}"
    );
}

#[test]
fn junit_by_the_schema_of_jenkins() {
    if !tool("xmllint") {
        return;
    }
    let workspace = denied();
    let schema = fixture("schemas/junit-10.xsd").display().to_string();
    gate(&workspace, &["--report", "junit=r.xml"]).exits(1);
    workspace
        .shell(&format!("xmllint --noout --schema {schema} r.xml"))
        .exits(0);
    let query = |path: &str| {
        workspace
            .shell(&format!("xmllint --xpath '{path}' r.xml"))
            .exits(0)
            .stdout
    };
    let (failures, told) = (
        query("count(//failure)"),
        query("string(/testsuites/@failures)"),
    );
    assert_eq!(failures.trim(), told.trim());
    assert_eq!(
        query("count(//testcase)").trim(),
        query("string(//testsuite/@tests)").trim()
    );
    let message = query("string(//testcase[@classname=\"artifact.changed\"]/failure/@message)");
    assert!(message.contains("was changed"), "{message}");
    assert!(
        query("string(//testcase[@classname=\"artifact.added\"]/@name)").contains("a<b>&\"c\"")
    );
}

/// By GitLab's schema, and what its documents say beyond that ("Code Quality report format").
#[test]
fn code_quality_of_gitlab() {
    let workspace = denied();
    gate(&workspace, &["--report", "gitlab=r.json"]).exits(1);
    let list = read(&workspace, "r.json");
    let list = list.as_array().unwrap();
    assert!(list.len() >= 2);
    let mut prints: Vec<&str> = Vec::new();
    // GitLab's own.
    let validator = schema("gitlab-codeclimate.json");
    for one in list {
        assert!(validator.is_valid(one), "{one}");
        assert!(one["description"].is_string() && one["check_name"].is_string());
        assert!(
            one["location"]["path"]
                .as_str()
                .unwrap()
                .starts_with("model")
        );
        assert_eq!(one["location"]["lines"]["begin"], 1);
        let severity = one["severity"].as_str().unwrap();
        assert!(["info", "minor", "major", "critical", "blocker"].contains(&severity));
        prints.push(one["fingerprint"].as_str().unwrap());
    }
    prints.sort_unstable();
    prints.dedup();
    assert_eq!(prints.len(), list.len());
}

#[test]
fn annotations_and_outputs_of_github() {
    let workspace = denied();
    workspace.write("summary", "before\n");
    let mut command = workspace.command(["gate", "--report", "github", "model"]);
    command
        .env("GITHUB_STEP_SUMMARY", workspace.path("summary"))
        .env("GITHUB_OUTPUT", workspace.path("outputs"));
    let run = Run::from(command.output().unwrap()).exits(1);
    let commands: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.contains("::error"))
        .collect();
    assert!(
        commands
            .iter()
            .all(|line| line.starts_with("::error file=model")),
        "{commands:?}"
    );
    // What a file is called is no command, and no further property.
    let hostile = commands.iter().find(|line| line.contains("a<b>")).unwrap();
    assert!(
        hostile.contains("%3A%3Aerror%3A%3A%250A%2Cx.py,line=1,"),
        "{hostile}"
    );
    let summary = String::from_utf8(workspace.read("summary")).unwrap();
    assert!(
        summary.starts_with("before\n### Weighbridge: deny"),
        "{summary}"
    );
    let outputs = String::from_utf8(workspace.read("outputs")).unwrap();
    assert!(
        outputs.contains("verdict=fail\nexit-code=1\ndigest=dirHash1:"),
        "{outputs}"
    );
}

/// Signed, over what it says, by whom it says.
#[test]
fn a_verification_summary() {
    let workspace = Workspace::released();
    gate(
        &workspace,
        &[
            "--vsa",
            "v.json",
            "--vsa-resource",
            "oci://registry.example/model",
        ],
    )
    .exits(0);
    let envelope = read(&workspace, "v.json");
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    let decode = |text: &Value| {
        data_encoding::BASE64
            .decode(text.as_str().unwrap().as_bytes())
            .unwrap()
    };
    let payload = decode(&envelope["payload"]);
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        statement["predicateType"],
        "https://slsa.dev/verification_summary/v1"
    );
    let predicate = &statement["predicate"];
    assert_eq!(predicate["verificationResult"], "PASSED");
    assert_eq!(predicate["resourceUri"], "oci://registry.example/model");
    assert_eq!(predicate["inputAttestations"].as_array().unwrap().len(), 1);
    let policy = workspace
        .shell("sha256sum weighbridge.toml | cut -c1-64")
        .stdout;
    assert_eq!(predicate["policy"]["digest"]["sha256"], policy.trim());
    if tool("openssl") {
        let kind = "application/vnd.in-toto+json";
        let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        message.extend(&payload);
        workspace.write("message", message);
        workspace.write("signature", decode(&envelope["signatures"][0]["sig"]));
        let verified = Command::new("openssl")
            .args([
                "dgst",
                "-sha256",
                "-verify",
                "keys/signing.pub.pem",
                "-signature",
                "signature",
                "message",
            ])
            .current_dir(workspace.root())
            .output()
            .unwrap();
        assert!(verified.status.success(), "{verified:?}");
    }
    workspace.write("model/config.json", "{ }");
    gate(&workspace, &["--vsa", "v.json"]).exits(1);
    let payload = decode(&read(&workspace, "v.json")["payload"]);
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement["predicate"]["verificationResult"], "FAILED");
    assert_eq!(
        statement["predicate"]["verifiedLevels"],
        serde_json::json!(["FAILED"])
    );
}

/// Every layer has its line, and none says more than was checked.
#[test]
fn what_was_proved_and_what_not() {
    let workspace = Workspace::released();
    let told = gate(&workspace, &["--explain"]).exits(0).stdout;
    assert!(told.starts_with("allow model"), "{told}");
    let line = |name: &str| {
        told.lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap()
            .to_owned()
    };
    assert!(line("files").contains("proved"));
    assert!(line("recalls").contains("proved"));
    assert!(line("time of signing").contains("not asked"));
    assert!(line("source").contains("not asked"));
    assert!(line("content").contains("not asked"));
    workspace.write("model/config.json", "{ }");
    let told = gate(&workspace, &["--explain"]).exits(1).stdout;
    assert!(told.contains("files              refuted"), "{told}");
}

#[test]
fn policies_in_words() {
    let workspace = Workspace::released();
    let run = |args: &[&str]| workspace.run([&["policy"], args].concat());
    run(&["check"]).exits(0).says("can be applied: 1 identity");
    run(&["explain"])
        .exits(0)
        .says("has its release by developer");
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    for (from, to, says) in [
        (
            "closed_world = true",
            "closed_world = true\nsize = {}",
            "gate.size has neither",
        ),
        (
            "closed_world = true",
            "closed_world = true\nformats = { allow = [\"safetensor\"] }",
            "no format",
        ),
        (
            "closed_world = true",
            "closed_world = true\nsourcs = {}",
            "unknown field `sourcs`",
        ),
        (
            "closed_world = true",
            "closed_world = true\nlicences = { allow = [\"MIT\"], deny = [\"MIT\"] }",
            "both allows and denies",
        ),
        (
            "{ kind = \"release\", roles = [\"developer\"] },",
            "{ kind = \"release\", roles = [\"developer\"], where = [\"licens = MIT\"] },",
            "has no \"licens\"",
        ),
        (
            "{ kind = \"release\", roles = [\"developer\"] },",
            "{ kind = \"release\", roles = [\"developer\"], count = 2 },",
            "could never be met",
        ),
        (
            "{ kind = \"release\", roles = [\"developer\"] },",
            "{ kind = \"revoke\", roles = [\"developer\"] },",
            "could never be met",
        ),
        (
            "closed_world = true",
            "closed_world = true\nexceptions = { rules = [\"artifact.changed\"], roles = [\"operator\"] }",
            "nothing can excuse",
        ),
        (
            "closed_world = true",
            "closed_world = true\nexceptions = { rules = [\"format.denied\"], roles = [\"operator\"] }",
            "no identity has",
        ),
        (
            "closed_world = true",
            "closed_world = true\nledger = { max_age = \"soon\" }",
            "no time such as",
        ),
        (
            "closed_world = true",
            "closed_world = true\nledger = { max_age = \"1d\" }",
            "no quorum of witnesses",
        ),
        (
            "{ kind = \"release\", roles = [\"developer\"] },",
            "{ kind = \"test-result\", roles = [\"developer\"], where = [\"result = FAILED\"] },",
            "is no evidence",
        ),
        (
            "{ kind = \"release\", roles = [\"developer\"] },",
            "{ kind = \"test-result\", roles = [\"developer\"], where = [\"metrics.x > 1\", \"metrics.x < 1\"] },",
            "both could never be met",
        ),
    ] {
        let changed = policy.replace(from, to);
        workspace.write("p.toml", &changed);
        let run = run(&["check", "p.toml"]).exits(2);
        assert!(
            run.stderr.contains(says) && run.stderr.contains("line"),
            "{says}: {run:?}"
        );
        // At the very line.
        let line = run.stderr.split("line ").nth(1).unwrap();
        let line: usize = line
            .chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .unwrap();
        let shown = changed.lines().nth(line - 1).unwrap();
        assert!(
            to.lines()
                .any(|part| shown.contains(part.trim_end_matches(',')))
                || shown.contains("[gate]")
                || to.contains(shown.trim()),
            "{says}: {line} {shown}"
        );
    }
}

#[test]
fn policies_are_tested() {
    let workspace = Workspace::released();
    let run = |args: &[&str]| workspace.run([&["policy"], args].concat());
    let policy = String::from_utf8(workspace.read("weighbridge.toml")).unwrap();
    workspace
        .shell(
            "mkdir cases; cp -r model cases/good; cp -r model cases/bad; echo x > cases/bad/added",
        )
        .exits(0);
    let cases = |text: &str| workspace.write("cases/t.toml", text);
    cases(
        "[[case]]\nname = \"good\"\nartifact = \"good\"\nexpect = \"allow\"\n\
           [[case]]\nname = \"before\"\nartifact = \"good\"\nat = \"2026-01-01\"\nexpect = \"deny\"\nrule = \"record.missing\"\n\
           [[case]]\nname = \"bad\"\nartifact = \"bad\"\nexpect = \"deny\"\nrule = \"artifact.added\"\n",
    );
    run(&["test", "cases/t.toml"])
        .exits(0)
        .says("3 of 3 cases as expected");
    cases("[[case]]\nname = \"bad\"\nartifact = \"bad\"\nexpect = \"allow\"\n");
    run(&["test", "cases/t.toml"])
        .exits(1)
        .says("FAIL bad: denied because of");
    cases(
        "[[case]]\nname = \"bad\"\nartifact = \"bad\"\nexpect = \"deny\"\nrule = \"format.denied\"\n",
    );
    run(&["test", "cases/t.toml"]).exits(1);
    cases(
        "[[case]]\nname = \"bad\"\nartifact = \"bad\"\nexpect = \"deny\"\nrule = \"record.mising\"\n",
    );
    run(&["test", "cases/t.toml"])
        .exits(2)
        .says("there is no rule");
    cases("");
    run(&["test", "cases/t.toml"]).exits(2).says("no [[case]]");
    // The schema for editors takes what the program takes.
    let schema: Value = run(&["schema"]).exits(0).json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let as_json: Value = toml::from_str::<toml::Value>(&policy)
        .map(|it| serde_json::to_value(it).unwrap())
        .unwrap();
    assert!(validator.is_valid(&as_json));
    let mut wrong = as_json;
    wrong["gate"]["sourcs"] = 1.into();
    assert!(!validator.is_valid(&wrong));
}

/// No report stands in the place of what is judged, and none of an earlier run stays where this one failed.
#[test]
fn where_reports_go() {
    let workspace = Workspace::released();
    for (flag, file) in [
        ("--report", "json=model/config.json"),
        ("--report", "json=weighbridge.toml"),
        ("--vsa", "model/model.sig"),
        ("--report", "sarif=-"),
    ] {
        gate(&workspace, &[flag, file]).exits(2);
    }
    gate(
        &workspace,
        &["--vsa", "v.json", "--report", "sarif=r.sarif"],
    )
    .exits(0);
    workspace.shell("mv weighbridge.toml kept").exits(0);
    gate(
        &workspace,
        &["--vsa", "v.json", "--report", "sarif=r.sarif"],
    )
    .exits(2);
    workspace.shell("mv kept weighbridge.toml").exits(0);
    workspace.write(
        "weighbridge.toml",
        String::from_utf8(workspace.read("weighbridge.toml")).unwrap() + "\nnonsense = 1\n",
    );
    workspace.write("r.sarif", "old");
    gate(&workspace, &["--report", "sarif=r.sarif"]).exits(2);
    assert!(!workspace.path("r.sarif").exists());
    // What is judged as of another time, or by less than the ledger, is not signed as of now.
    gate(&workspace, &["--vsa", "v.json", "--at", "2026-11-01"]).exits(2);
    gate(&workspace, &["--vsa", "v.json", "--receipt", "x"]).exits(2);
}
