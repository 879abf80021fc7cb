//! `policy`: whether a policy is one, what it asks for, and whether it decides named cases as it should.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::context::Config;
use super::failure::Failure;
use super::gate::Question;
use super::output::Output;
use super::target::TargetArgs;
use super::{Global, Outcome, values};
use crate::credential::Credential;
use crate::disk;
use crate::finding::{Severity, Verdict};
use crate::path::display;
use crate::policy::rules::MinimumAuthentication;
use crate::policy::{GateRules, MAX_POLICY, Policy};
use crate::report::text::count;
use crate::statement::Role;
use crate::statement::source_pattern::SourcePattern;

/// Check a policy, say what it asks for, and test it with named cases
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge policy check
  weighbridge policy explain --profile production
  weighbridge policy test policy-tests.toml")]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Subcommand)]
enum PolicyVerb {
    Check(CheckArgs),
    Explain(ExplainArgs),
    Test(TestArgs),
    Schema(SchemaArgs),
}

/// Check that a policy can be applied: every key known, every rule able to decide something
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 it can be applied, 2 it cannot.

Example:
  weighbridge policy check")]
struct CheckArgs {
    /// The policy file; unless given, that of --config
    path: Option<PathBuf>,
}

/// Say in words what a policy asks for
#[derive(clap::Args)]
#[command(after_help = "Example:
  weighbridge policy explain")]
struct ExplainArgs {
    /// What this profile asks for
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

/// Judge named cases, and compare the verdicts with those that are expected
///
/// The file lists cases in TOML: an artifact, and what is expected of the gate. Paths are relative to the file.
#[derive(clap::Args)]
#[command(after_help = "A case:

  [[case]]
  name = \"a pickle is denied\"
  artifact = \"cases/pickle\"
  profile = \"production\"            # optional; so are at, signature, receipt
  expect = \"deny\"                   # allow, deny, inconclusive
  rule = \"format.denied\"            # optional: a finding of this rule must be the reason

Exit codes: 0 all are as expected, 1 one is not, 2 one could not be judged.

Example:
  weighbridge policy test policy-tests.toml")]
struct TestArgs {
    /// The cases
    path: PathBuf,
}

/// Print the JSON Schema of policies, for editors
#[derive(clap::Args)]
#[command(after_help = "Example:
  weighbridge policy schema > weighbridge.schema.json")]
struct SchemaArgs {}

pub(super) fn run(args: &PolicyArgs, global: &Global, output: &Output) -> Outcome {
    match &args.verb {
        PolicyVerb::Check(args) => check(args, global, output),
        PolicyVerb::Explain(args) => explain(args, global, output),
        PolicyVerb::Test(args) => test(args, global, output),
        PolicyVerb::Schema(_) => {
            output.document(&Policy::schema())?;
            Ok(0)
        }
    }
}

fn check(args: &CheckArgs, global: &Global, output: &Output) -> Outcome {
    let mut global = global.clone();
    if let Some(path) = &args.path {
        global.config.clone_from(path);
    }
    let config = Config::load(&global)?;
    let policy = &config.policy;
    if output.json {
        output.document(&serde_json::json!({
            "policy": config.path.display().to_string(),
            "sha256": config.sha256,
            "identities": policy.identities.len(),
            "profiles": policy.profiles.keys().collect::<Vec<_>>(),
        }))?;
        return Ok(0);
    }
    let profiles: Vec<&str> = policy.profiles.keys().map(String::as_str).collect();
    let profiles = if profiles.is_empty() {
        String::new()
    } else {
        format!(", profiles {}", display(&profiles.join(", ")))
    };
    output.data(&format!(
        "{} can be applied: {}{profiles}\n",
        display(&config.path.display().to_string()),
        match policy.identities.len() {
            1 => "1 identity".to_owned(),
            count => format!("{count} identities"),
        }
    ))?;
    Ok(0)
}

fn roles(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    names.join(" or ")
}

fn explain(args: &ExplainArgs, global: &Global, output: &Output) -> Outcome {
    let mut config = Config::load(global)?;
    if let Some(name) = &args.profile {
        config = config.in_profile(name)?;
    }
    let policy = &config.policy;
    let mut out = String::new();
    _ = writeln!(out, "Who may speak:");
    for identity in &policy.identities {
        let how = match &identity.credential {
            Credential::Key(key) => format!("key {}", key.key_id()),
            Credential::Certificate(_) => "whom an authority certifies".into(),
            Credential::Keyless(trust) => format!("{} by {}", trust.identity, trust.issuer),
        };
        let until = identity
            .expires
            .map_or(String::new(), |time| format!(", until {time}"));
        _ = writeln!(
            out,
            "  {} as {}: {how}{until}",
            identity.name,
            roles(&identity.roles)
        );
    }
    _ = writeln!(out, "An artifact may be used if:");
    for line in rules(&policy.gate, policy.log.trust.log().name()) {
        _ = writeln!(out, "  - {}", display(&line));
    }
    output.data(&out)?;
    Ok(0)
}

/// What a gate asks for, a line for each rule.
fn rules(gate: &GateRules, origin: &str) -> Vec<String> {
    let mut all = vec![
        "every file is a regular file that can be read, and none was added, removed or changed"
            .into(),
        format!(
            "{} signed it as {}",
            match gate.signature_threshold {
                1 => "somebody".to_owned(),
                count => format!("{count} different identities"),
            },
            roles(&gate.signature_roles)
        ),
    ];
    for role in &gate.countersigned_by {
        all.push(format!("somebody else signed it as {}", role.name()));
    }
    for record in &gate.records {
        let mut line = format!(
            "{origin} has its {} by {}",
            record.kind.name(),
            roles(&record.roles)
        );
        if record.count > 1 {
            _ = write!(line, ", of {} different identities", record.count);
        }
        if let Some(age) = record.max_age {
            _ = write!(line, ", not older than {age}");
        }
        for condition in &record.conditions {
            _ = write!(line, ", with {condition}");
        }
        all.push(line);
    }
    all.push(
        "nothing of it, and nothing that it was made from, was revoked, quarantined or disposed of"
            .into(),
    );
    all.extend(about_sources(gate));
    all.extend(about_content(gate));
    all.extend(about_the_rest(gate));
    all
}

/// Where it may be from.
fn about_sources(gate: &GateRules) -> Vec<String> {
    let mut all = Vec::new();
    let list = |patterns: &[SourcePattern]| {
        let names: Vec<&str> = patterns.iter().map(SourcePattern::as_str).collect();
        names.join(", ")
    };
    if let Some(rule) = &gate.sources {
        all.push(match rule.authentication {
            MinimumAuthentication::Publisher => {
                "its publisher vouched for it when it was acquired".into()
            }
            MinimumAuthentication::Verified => {
                "its source was authenticated when it was acquired".into()
            }
            MinimumAuthentication::NotChecked => "it is on record where it was acquired".to_owned(),
        });
        if !rule.allow.is_empty() {
            all.push(format!("it is from one of: {}", list(&rule.allow)));
        }
        if !rule.deny.is_empty() {
            all.push(format!(
                "neither it nor what it was made from is from: {}",
                list(&rule.deny)
            ));
        }
    }
    all
}

/// What it may consist of.
fn about_content(gate: &GateRules) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(rule) = &gate.formats {
        let names = |all: &[crate::artifact::Format]| {
            let names: Vec<&str> = all.iter().map(|one| one.name()).collect();
            names.join(", ")
        };
        if !rule.allow.is_empty() {
            all.push(format!("every file is one of: {}", names(&rule.allow)));
        }
        if !rule.deny.is_empty() {
            all.push(format!("no file is: {}", names(&rule.deny)));
        }
    }
    if let Some(rule) = &gate.licences {
        if !rule.allow.is_empty() {
            all.push(format!("its licence is one of: {}", rule.allow.join(", ")));
        }
        if !rule.deny.is_empty() {
            all.push(format!("its licence is none of: {}", rule.deny.join(", ")));
        }
    }
    if let Some(rule) = &gate.size {
        let most = |limit: Option<u64>, what: &str| limit.map(|limit| format!("{limit} {what}"));
        let limits = [most(rule.max_bytes, "bytes"), most(rule.max_files, "files")];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        all.push(format!("it has at most {}", limits.join(" and ")));
    }
    if let Some(rule) = &gate.modalities {
        if !rule.allow.is_empty() {
            all.push(format!(
                "it is registered for no more than: {}",
                rule.allow.join(", ")
            ));
        }
        if rule.refuse_unused {
            all.push("no part that was registered as unused is there".into());
        }
    }
    all
}

/// The ledger's age, and what can be excused.
fn about_the_rest(gate: &GateRules) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(age) = gate.ledger_max_age {
        all.push(format!(
            "witnesses vouch that the ledger is not older than {age}"
        ));
    }
    if !gate.receipts {
        all.push("the ledger itself is there: a receipt is not enough".into());
    }
    for rule in &gate.expressions {
        all.push(format!("{} holds: {}", rule.id, rule.cel));
    }
    if let Some(rule) = &gate.exceptions {
        let ids: Vec<&str> = rule.rules.iter().map(|rule| rule.id()).collect();
        all.push(format!(
            "or else a justify record by {} that has not ended excuses what failed of: {}",
            roles(&rule.roles),
            ids.join(", ")
        ));
    }
    all
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(default)]
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    artifact: PathBuf,
    signature: Option<PathBuf>,
    receipt: Option<PathBuf>,
    profile: Option<String>,
    at: Option<String>,
    expect: Expected,
    rule: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Expected {
    Allow,
    Deny,
    Inconclusive,
}

/// What became of a case.
#[derive(Serialize)]
struct Outcomes {
    name: String,
    expected: Expected,
    found: Option<Verdict>,
    good: bool,
    why: Option<String>,
}

fn test(args: &TestArgs, global: &Global, output: &Output) -> Outcome {
    let bytes = disk::read(&args.path, MAX_POLICY)?;
    let path = args.path.display();
    let text = std::str::from_utf8(&bytes).map_err(|error| Failure::because(&path, &error))?;
    let cases: Cases = toml::from_str(text).map_err(|error| Failure::because(&path, &error))?;
    if cases.case.is_empty() {
        return Err(Failure::error(format!("{path} has no [[case]]"))
            .hint("a test of nothing would pass: see `weighbridge policy test --help`"));
    }
    let directory = args.path.parent().unwrap_or(Path::new(""));
    let mut outcomes = Vec::new();
    for case in &cases.case {
        outcomes.push(judge(case, directory, global, output));
    }
    let bad = outcomes.iter().filter(|one| !one.good).count();
    let unknown = outcomes.iter().any(|one| one.found.is_none());
    if output.json {
        output.document(&outcomes)?;
    } else {
        let mut out = String::new();
        for one in &outcomes {
            let word = if one.good { "ok  " } else { "FAIL" };
            let why = one
                .why
                .as_deref()
                .map_or(String::new(), |why| format!(": {}", display(why)));
            _ = writeln!(out, "{word} {}{why}", display(&one.name));
        }
        let right = outcomes.len() - bad;
        _ = writeln!(
            out,
            "{right} of {} as expected",
            count(outcomes.len(), "case")
        );
        output.data(&out)?;
    }
    Ok(match (unknown, bad) {
        (true, _) => 2,
        (false, 0) => 0,
        (false, _) => 1,
    })
}

fn judge(case: &Case, directory: &Path, global: &Global, output: &Output) -> Outcomes {
    let wrong = |why: String| Outcomes {
        name: case.name.clone(),
        expected: case.expect,
        found: None,
        good: false,
        why: Some(why),
    };
    let at = match case.at.as_deref().map(values::moment).transpose() {
        Ok(at) => at,
        Err(why) => return wrong(why),
    };
    if let Some(id) = &case.rule
        && !crate::finding::Rule::ALL.iter().any(|rule| rule.id() == id)
    {
        return wrong(format!("there is no rule {id:?}"));
    }
    let beside = |path: &PathBuf| directory.join(path);
    let target = TargetArgs {
        path: beside(&case.artifact),
        signature: case.signature.as_ref().map(beside),
        jobs: None,
    };
    let receipt = case.receipt.as_ref().map(beside);
    let question = Question {
        target: &target,
        profile: case.profile.as_deref(),
        at,
        receipt: receipt.as_deref(),
        fast: None,
        input: false,
    };
    let decision = match question.decide(global, output) {
        Ok(decision) => decision,
        Err(failure) => return wrong(failure.text()),
    };
    let document = decision.document;
    let expected = match case.expect {
        Expected::Allow => Verdict::Pass,
        Expected::Deny => Verdict::Fail,
        Expected::Inconclusive => Verdict::Inconclusive,
    };
    let decisive = |severity: Severity| match document.verdict {
        Verdict::Pass => true,
        Verdict::Fail => severity == Severity::Fail,
        Verdict::Inconclusive => severity == Severity::Inconclusive,
    };
    let mut reasons: Vec<&str> = document
        .findings
        .iter()
        .filter(|finding| decisive(finding.severity))
        .map(|finding| finding.rule.id())
        .collect();
    reasons.dedup();
    let by_rule = case
        .rule
        .as_ref()
        .is_none_or(|rule| reasons.contains(&rule.as_str()));
    let good = document.verdict == expected && by_rule;
    let answer = match document.verdict {
        Verdict::Pass => "allowed".to_owned(),
        Verdict::Fail => format!("denied because of {}", reasons.join(", ")),
        Verdict::Inconclusive => format!("inconclusive because of {}", reasons.join(", ")),
    };
    Outcomes {
        name: case.name.clone(),
        expected: case.expect,
        found: Some(document.verdict),
        good,
        why: (!good).then_some(answer),
    }
}
