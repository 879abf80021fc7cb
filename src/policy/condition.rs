//! Conditions on what a record says: `result = PASSED`, `metrics.score >= 0.9`. They are held against the schema of the kind
//! when the policy is read: one that no record could ever meet is an error there.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use crate::statement::{Kind, Record};

/// A field of a record, and what it must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    path: Vec<String>,
    relation: Relation,
    value: Value,
    text: String,
    /// Does it hold as soon as one of a list is so?
    of_list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    More,
    Less,
}

/// What a record of a kind must not say to count at all.
const COUNTS: [(Kind, &str, Relation, &str); 4] = [
    (Kind::TestResult, "result", Relation::NotEqual, "FAILED"),
    (Kind::ScanResult, "result", Relation::NotEqual, "FAILED"),
    (Kind::SupplierAssess, "adheres", Relation::NotEqual, "no"),
    (Kind::VerifyEvent, "result", Relation::Equal, "pass"),
];

/// Why no record of `kind` could ever meet all of `conditions`, if so.
pub(super) fn contradiction(conditions: &[Condition], kind: Kind) -> Option<String> {
    let counts = COUNTS.iter().filter(|(of, ..)| *of == kind);
    let counts = counts.map(|(_, path, relation, value)| Condition {
        path: vec![(*path).to_owned()],
        relation: *relation,
        value: Value::String((*value).to_owned()),
        text: String::new(),
        of_list: false,
    });
    let all: Vec<Condition> = counts.chain(conditions.iter().cloned()).collect();
    let excluding = |(index, one): (usize, &Condition)| {
        let mut later = all.iter().skip(index + 1);
        let other = later.find(|other| one.excludes(other))?;
        Some(if one.text.is_empty() {
            format!(
                "asks for {:?}, and what says so is no evidence: it could never be met",
                other.text
            )
        } else {
            format!(
                "asks for {:?} and for {:?}: both could never be met",
                one.text, other.text
            )
        })
    };
    all.iter().enumerate().find_map(excluding)
}

/// Where in-toto's test result has what the ledger asks for: its fields are those of the record.
const RUN: &str = "https://weighbridge.dev/test-result/v1";

impl Condition {
    /// Reads `text` as a condition on records of `kind`.
    pub fn parse(text: &str, kind: Kind) -> Result<Condition, String> {
        let relations = [
            (">=", Relation::AtLeast),
            ("<=", Relation::AtMost),
            ("!=", Relation::NotEqual),
            (">", Relation::More),
            ("<", Relation::Less),
            ("=", Relation::Equal),
        ];
        let found = relations.iter().find_map(|(sign, relation)| {
            let (path, value) = text.split_once(sign)?;
            Some((path.trim(), *relation, value.trim()))
        });
        let (path, relation, value) = found
            .filter(|(path, _, value)| !path.is_empty() && !value.is_empty())
            .ok_or_else(|| {
                format!("{text:?} is no condition such as \"result = PASSED\" or \"metrics.score >= 0.9\"")
            })?;
        let value = match value.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)
            }
            _ if value == "true" || value == "false" => Value::Bool(value == "true"),
            _ => Value::String(value.trim_matches('"').to_owned()),
        };
        let ordered = !matches!(relation, Relation::Equal | Relation::NotEqual);
        if ordered && !value.is_number() {
            return Err(format!("{text:?} compares what is no number"));
        }
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let schema: Value = kind.schema().into();
        let of_list =
            possible(&schema, &path, &value, kind).map_err(|why| format!("{text:?}: {why}"))?;
        Ok(Condition {
            of_list,
            path,
            relation,
            value,
            text: text.to_owned(),
        })
    }

    /// Does `record` meet it? Else what it says instead.
    pub fn check(&self, record: &Record) -> Result<(), String> {
        let whole = serde_json::to_value(record).unwrap_or_default();
        let predicate = whole.get("predicate").cloned().unwrap_or_default();
        let found = values(&predicate, &self.path);
        if found.is_empty() {
            return Err(format!("says nothing of {}", self.path.join(".")));
        }
        // One of a list may be what is asked for; of numbers, none may be otherwise.
        let good = if self.relation == Relation::Equal {
            found.iter().any(|one| self.holds(one))
        } else {
            found.iter().all(|one| self.holds(one))
        };
        if good {
            return Ok(());
        }
        let said: Vec<String> = found
            .iter()
            .take(4)
            .map(|one| match one {
                Value::String(text) => crate::path::display(text),
                other => other.to_string(),
            })
            .collect();
        Err(format!(
            "{} is {}, and {} is asked for",
            self.path.join("."),
            said.join(" and "),
            self.text
        ))
    }

    fn holds(&self, found: &Value) -> bool {
        let order = match (found.as_f64(), self.value.as_f64()) {
            (Some(found), Some(wanted)) => found.partial_cmp(&wanted),
            _ => None,
        };
        match self.relation {
            Relation::Equal => *found == self.value || order == Some(Ordering::Equal),
            Relation::NotEqual => *found != self.value && order != Some(Ordering::Equal),
            Relation::AtLeast => order.is_some_and(Ordering::is_ge),
            Relation::AtMost => order.is_some_and(Ordering::is_le),
            Relation::More => order == Some(Ordering::Greater),
            Relation::Less => order == Some(Ordering::Less),
        }
    }

    /// Can nothing meet both?
    fn excludes(&self, other: &Condition) -> bool {
        use Relation::{AtLeast, AtMost, Equal, Less, More, NotEqual};
        // Of a list one item may be this, and another that.
        if self.path != other.path || self.of_list {
            return false;
        }
        match (self.relation, other.relation) {
            (Equal, _) => !other.holds(&self.value),
            (_, Equal) => !self.holds(&other.value),
            (AtLeast | More, AtMost | Less) => !self.may_be_below(other),
            (AtMost | Less, AtLeast | More) => !other.may_be_below(self),
            (AtLeast | More | AtMost | Less | NotEqual, _) => false,
        }
    }

    /// Is there room between this, a lower bound, and an upper one?
    fn may_be_below(&self, upper: &Condition) -> bool {
        let both = self.relation == Relation::AtLeast && upper.relation == Relation::AtMost;
        match (self.value.as_f64(), upper.value.as_f64()) {
            (Some(from), Some(to)) => match from.partial_cmp(&to) {
                Some(Ordering::Equal) => both,
                Some(Ordering::Greater) => false,
                Some(Ordering::Less) | None => true,
            },
            _ => true,
        }
    }

    /// The flag that would make a new record meet it, if one would.
    pub fn flag(&self) -> Option<String> {
        let name = self.path.last()?.replace('_', "-");
        let value = match &self.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match (self.relation, self.path.as_slice()) {
            (Relation::Equal, [_]) => Some(format!("--{name} {value}")),
            (_, [list, item]) if list == "metrics" => Some(format!("--metric name={item},value=…")),
            _ => None,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands at `path`. Of a list every item is looked at; of one whose items have names, those with the name.
fn values<'a>(value: &'a Value, path: &[String]) -> Vec<&'a Value> {
    let Some((first, rest)) = path.split_first() else {
        return match value {
            Value::Array(all) => all.iter().collect(),
            other => vec![other],
        };
    };
    match value {
        Value::Object(object) => match object.get(first) {
            Some(next) => values(next, rest),
            None => object.get(RUN).map_or(Vec::new(), |run| values(run, path)),
        },
        Value::Array(all) => {
            let named =
                |one: &&Value| one.get("name").and_then(Value::as_str) == Some(first.as_str());
            if all.iter().any(|one| named(&one)) {
                let named = all.iter().filter(named);
                let rest: Vec<String> = if rest.is_empty() {
                    vec!["value".into()]
                } else {
                    rest.to_vec()
                };
                return named.flat_map(|one| values(one, &rest)).collect();
            }
            all.iter().flat_map(|one| values(one, path)).collect()
        }
        _ => Vec::new(),
    }
}

/// Could a record of `kind` ever say that? Follows the schema. Whether a list is meant, of which one item will do.
fn possible(root: &Value, path: &[String], wanted: &Value, kind: Kind) -> Result<bool, String> {
    let mut at = root.clone();
    let mut of_list = false;
    for (depth, part) in path.iter().enumerate() {
        at = resolve(root, &at);
        if at.get("items").is_some() {
            let item = resolve(root, at.get("items").unwrap_or(&Value::Null));
            let properties = item.get("properties").and_then(Value::as_object);
            let is_named = properties.is_some_and(|all| all.contains_key("name"));
            let is_field = properties.is_some_and(|all| all.contains_key(part));
            if is_named && !is_field {
                // The name is the user's own; what stands behind it is a field of the item, or else its value is meant.
                at = if depth + 1 < path.len() {
                    item
                } else {
                    let value = properties.and_then(|all| all.get("value"));
                    value.cloned().unwrap_or(Value::Null)
                };
                continue;
            }
            of_list = true;
            at = item;
        }
        let properties = at.get("properties").and_then(Value::as_object);
        let nested = properties
            .and_then(|all| all.get(RUN))
            .map(|run| resolve(root, run));
        let nested = nested
            .as_ref()
            .and_then(|run| run.get("properties")?.as_object());
        let next = properties
            .and_then(|all| all.get(part))
            .or_else(|| nested.and_then(|all| all.get(part)));
        let Some(next) = next else {
            let names: Vec<&str> = properties
                .into_iter()
                .chain(nested)
                .flat_map(|all| all.keys())
                .map(String::as_str)
                .filter(|name| !name.contains("://"))
                .collect();
            let place = if depth == 0 {
                kind.name().to_owned()
            } else {
                path.get(..depth).unwrap_or_default().join(".")
            };
            return Err(format!(
                "{place} has no {part:?}; it has: {}",
                names.join(", ")
            ));
        };
        at = next.clone();
    }
    let mut at = resolve(root, &at);
    if let Some(items) = at.get("items").cloned() {
        of_list = true;
        at = resolve(root, &items);
    }
    if let Some(words) = at.get("enum").and_then(Value::as_array)
        && !words.contains(wanted)
    {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return Err(format!(
            "it is never that, but one of: {}",
            words.join(", ")
        ));
    }
    let is = |name: &str| match at.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(all)) => all.iter().any(|one| one == name),
        _ => false,
    };
    let fits = match wanted {
        Value::Number(_) => is("number") || is("integer"),
        Value::Bool(_) => is("boolean"),
        _ => is("string"),
    };
    if fits {
        Ok(of_list)
    } else {
        Err("it is never of that type".into())
    }
}

fn resolve(root: &Value, value: &Value) -> Value {
    if let Some(all) = value.get("anyOf").and_then(Value::as_array)
        && let Some(one) = all
            .iter()
            .find(|one| one.get("type") != Some(&"null".into()))
    {
        return resolve(root, one);
    }
    let name = value.get("$ref").and_then(Value::as_str);
    let name = name.and_then(|name| name.strip_prefix("#/$defs/"));
    let found = name.and_then(|name| root.get("$defs")?.get(name));
    found.unwrap_or(value).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_can_be_met() {
        for (kind, text) in [
            (Kind::TestResult, "result = PASSED"),
            (Kind::TestResult, "metrics.score >= 0.9"),
            (Kind::TestResult, "metrics.score.at_least >= 0.5"),
            (Kind::RiskAssess, "mitigations.filter.status = in-place"),
            (Kind::TestResult, "independent = true"),
            (Kind::TestResult, "purpose = pre-deployment"),
            (Kind::ScanResult, "findings.critical = 0"),
            (Kind::DeployApprove, "environment = production"),
            (Kind::CustodianApprove, "permitted_uses = training"),
            (Kind::RiskAssess, "residual != critical"),
            (Kind::SupplierAssess, "adheres = yes"),
            (Kind::Acquire, "authentication.result = verified"),
        ] {
            assert!(
                Condition::parse(text, kind).is_ok(),
                "{text}: {:?}",
                Condition::parse(text, kind)
            );
        }
    }

    #[test]
    fn conditions_that_cannot_all_be_met() {
        let never = |kind, texts: &[&str]| {
            let all = texts.iter().map(|text| Condition::parse(text, kind));
            let all: Vec<Condition> = all.collect::<Result<_, _>>().unwrap();
            contradiction(&all, kind).is_some()
        };
        for texts in [
            &["result = FAILED"][..],
            &["result = PASSED", "result = WARNED"],
            &["result = PASSED", "result != PASSED"],
            &["metrics.score >= 0.9", "metrics.score < 0.9"],
            &["metrics.score > 0.9", "metrics.score <= 0.9"],
            &["metrics.score = 0.5", "metrics.score >= 0.9"],
            &[
                "independent = true",
                "purpose = release",
                "independent = false",
            ],
        ] {
            assert!(never(Kind::TestResult, texts), "{texts:?}");
        }
        for texts in [
            &["result = PASSED"][..],
            &["result = WARNED"],
            &["result != PASSED"],
            &["metrics.score >= 0.9", "metrics.score <= 0.9"],
            &["metrics.score >= 0.9", "metrics.score < 0.91"],
            &["metrics.score >= 0.9", "metrics.bias < 0.1"],
            &["metrics.score > 0.9", "metrics.score >= 0.5"],
            &["metrics.score >= 0", "metrics.score <= -0"],
        ] {
            assert!(!never(Kind::TestResult, texts), "{texts:?}");
        }
        let list = ["permitted_uses = training", "permitted_uses = evaluation"];
        assert!(!never(Kind::CustodianApprove, &list));
        assert!(never(Kind::VerifyEvent, &["result = fail"]));
        assert!(never(Kind::SupplierAssess, &["adheres = no"]));
        assert!(never(
            Kind::ScanResult,
            &["findings.critical > 2", "findings.critical < 1"]
        ));
    }

    #[test]
    fn conditions_that_cannot() {
        for (kind, text, says) in [
            (Kind::TestResult, "score >= 0.9", "has no \"score\""),
            (Kind::TestResult, "result = passed", "one of: PASSED"),
            (Kind::TestResult, "result >= PASSED", "no number"),
            (Kind::TestResult, "independent = yes", "never of that type"),
            (Kind::TestResult, "result", "no condition"),
            (Kind::TestResult, "= PASSED", "no condition"),
            (
                Kind::DeployApprove,
                "metrics.score > 1",
                "has no \"metrics\"",
            ),
            (
                Kind::ScanResult,
                "findings.fatal = 0",
                "findings has no \"fatal\"",
            ),
        ] {
            let error = Condition::parse(text, kind).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
