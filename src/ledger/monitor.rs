//! Rules for those who watch a log: what an entry must not be. Pure: text and entries in, alerts out.
//!
//! ```toml
//! version = 1
//! keys = ["<key id>"]              # records by any other key raise an alert
//! kinds = ["release"]              # of any other kind
//! roles = ["developer"]            # in any other role
//! parties = ["release"]            # by any other identity, or by none
//! sources = ["https://example.org/*", "hf:org/*"]   # from any other source; * stands for anything
//! one_digest_per_version = true    # one name and version with two digests
//! rate = { records = 100, within = "1h" }           # more than that, by the records' own times
//! max_checkpoint_age = "24h"       # by the time that witnesses vouch for
//!
//! [[artifact]]                     # records about this name with any other digest
//! name = "model"
//! digests = ["<64 hex digits>"]
//! ```
//! Every setting may be left out. An entry that is not understood always raises an alert. Key, party,
//! role and time are what a record says of itself: whether its signature is good, the gate judges.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::{Facts, Mention};
use crate::digest::Sha256;
use crate::statement::{Kind, Role};
use crate::time::Timestamp;

/// What to watch for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    version: i64,
    keys: Option<Vec<Sha256>>,
    kinds: Option<Vec<Kind>>,
    roles: Option<Vec<Role>>,
    parties: Option<Vec<String>>,
    sources: Option<Vec<String>>,
    #[serde(default)]
    one_digest_per_version: bool,
    rate: Option<Rate>,
    max_checkpoint_age: Option<String>,
    #[serde(default)]
    artifact: Vec<OwnArtifact>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    records: usize,
    within: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnArtifact {
    name: String,
    digests: Vec<Sha256>,
}

/// Why rules are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("version {0} is not known; this program reads version 1")]
    Version(i64),
    #[error("{0} is empty: every record would raise an alert")]
    Empty(&'static str),
    #[error("{rule} {text:?} is no time such as 30s, 5m, 2h or 7d")]
    Duration { rule: &'static str, text: String },
    #[error("rate.records must be from 1 to {MAX_RATE}")]
    Rate,
    #[error("artifact {0:?} is there twice")]
    Twice(String),
}

/// The largest file of rules.
pub const MAX_RULES: u64 = 1 << 20;
/// The largest rate that is counted.
const MAX_RATE: usize = 100_000;
/// How many versions are remembered; the oldest are forgotten.
const MAX_VERSIONS: usize = 100_000;

/// Something that should not be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// The id of the rule.
    pub rule: &'static str,
    /// The entry, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    pub message: String,
}

/// What is remembered between two looks, beside the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// Name and version, and the digest that they had.
    versions: BTreeMap<String, Sha256>,
    /// The times of the newest records, in milliseconds.
    times: VecDeque<i64>,
}

impl Rules {
    /// Reads rules. A rule that every record breaks, or that none can, is an error.
    pub fn parse(text: &str) -> Result<Rules, RulesError> {
        let rules: Rules = toml::from_str(text)?;
        if rules.version != 1 {
            return Err(RulesError::Version(rules.version));
        }
        let empty = |list: Option<usize>, name| match list {
            Some(0) => Err(RulesError::Empty(name)),
            _ => Ok(()),
        };
        empty(rules.keys.as_ref().map(Vec::len), "keys")?;
        empty(rules.kinds.as_ref().map(Vec::len), "kinds")?;
        empty(rules.roles.as_ref().map(Vec::len), "roles")?;
        empty(rules.parties.as_ref().map(Vec::len), "parties")?;
        empty(rules.sources.as_ref().map(Vec::len), "sources")?;
        if let Some(rate) = &rules.rate {
            if !(1..=MAX_RATE).contains(&rate.records) {
                return Err(RulesError::Rate);
            }
            duration("rate.within", &rate.within)?;
        }
        if let Some(age) = &rules.max_checkpoint_age {
            duration("max_checkpoint_age", age)?;
        }
        for (place, artifact) in rules.artifact.iter().enumerate() {
            let before = rules.artifact.iter().take(place);
            if before.into_iter().any(|other| other.name == artifact.name) {
                return Err(RulesError::Twice(artifact.name.clone()));
            }
            if artifact.digests.is_empty() {
                return Err(RulesError::Empty("artifact.digests"));
            }
        }
        Ok(rules)
    }

    /// What is wrong with the entry `index`, in the order of the log.
    pub fn look(&self, index: u64, facts: &Facts, watched: &mut Watched) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let mut alert = |rule, message| {
            alerts.push(Alert {
                rule,
                index: Some(index),
                message,
            });
        };
        let Some(record) = &facts.record else {
            alert(
                "entry.unknown",
                "is no record that this version understands".into(),
            );
            return alerts;
        };
        let not_in = |list: &Option<Vec<String>>, value: Option<&String>| match (list, value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(list), Some(value)) => !list.contains(value),
        };
        if self
            .keys
            .as_ref()
            .is_some_and(|keys| !keys.contains(&record.key_id))
        {
            alert("record.key", format!("is signed by key {}", record.key_id));
        }
        if self
            .kinds
            .as_ref()
            .is_some_and(|kinds| !kinds.contains(&record.kind))
        {
            alert("record.kind", format!("is of kind {}", record.kind.name()));
        }
        if self
            .roles
            .as_ref()
            .is_some_and(|roles| !roles.contains(&record.role))
        {
            alert(
                "record.role",
                format!("is signed as {}", record.role.name()),
            );
        }
        if not_in(&self.parties, record.party.as_ref()) {
            let party = record.party.as_deref().unwrap_or("nobody");
            alert("record.party", format!("is by {party:?}"));
        }
        if let (Some(sources), Some(source)) = (&self.sources, &record.source)
            && !sources.iter().any(|pattern| matches(pattern, source))
        {
            alert("record.source", format!("is from {source:?}"));
        }
        let artifact = facts
            .mentions
            .iter()
            .find(|(part, _)| *part == Mention::Artifact);
        if let Some((_, digest)) = artifact {
            let own = self.artifact.iter().find(|own| own.name == record.name);
            if own.is_some_and(|own| !own.digests.contains(digest)) {
                alert(
                    "artifact.digest",
                    format!("is about {:?} with digest {digest}", record.name),
                );
            }
            if let (true, Some(version)) = (self.one_digest_per_version, &record.version) {
                let name = format!("{:?} {version:?}", record.name);
                match watched.versions.get(&name) {
                    Some(known) if known != digest => alert(
                        "artifact.version",
                        format!("is about {name} with digest {digest}, and {known} was before"),
                    ),
                    Some(_) => {}
                    None => {
                        if watched.versions.len() >= MAX_VERSIONS {
                            watched.versions.pop_first();
                        }
                        watched.versions.insert(name, *digest);
                    }
                }
            }
        }
        if let Some(message) = self.burst(record.time, watched) {
            alert("record.rate", message);
        }
        alerts
    }

    /// Is the record of this time one too many?
    fn burst(&self, time: Timestamp, watched: &mut Watched) -> Option<String> {
        let rate = self.rate.as_ref()?;
        let within = duration("rate.within", &rate.within).ok()?;
        let within = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        let now = time.millis();
        watched.times.push_back(now);
        let early = |time: &i64| now.saturating_sub(*time) > within;
        while watched.times.front().is_some_and(early) || watched.times.len() > rate.records + 1 {
            watched.times.pop_front();
        }
        if watched.times.len() <= rate.records {
            return None;
        }
        // Once per burst is enough.
        watched.times.clear();
        Some(format!(
            "is one of more than {} within {}",
            rate.records, rate.within
        ))
    }

    /// Is the checkpoint that witnesses vouched for at `vouched` (seconds) too old, or unvouched?
    pub fn age(&self, vouched: Option<u64>, now: Timestamp) -> Option<Alert> {
        let limit = duration("", self.max_checkpoint_age.as_ref()?).ok()?;
        let seconds = u64::try_from(now.millis() / 1000).unwrap_or(0);
        let message = match vouched {
            None => "no witness vouches for the time of the checkpoint".into(),
            Some(time) if seconds.saturating_sub(time) > limit.as_secs() => format!(
                "witnesses vouched for the checkpoint {} seconds ago",
                seconds.saturating_sub(time)
            ),
            Some(_) => return None,
        };
        Some(Alert {
            rule: "checkpoint.age",
            index: None,
            message,
        })
    }
}

fn duration(rule: &'static str, text: &str) -> Result<Duration, RulesError> {
    let error = || RulesError::Duration {
        rule,
        text: text.into(),
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u32 = digits.parse().map_err(|_| error())?;
    let seconds = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(error()),
    };
    if number == 0 {
        return Err(error());
    }
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// Does the whole of `text` match `pattern`, in which `*` stands for anything?
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::facts::RecordFacts;

    fn facts(name: &str, digest: &str, millis: i64) -> Facts {
        Facts {
            record: Some(RecordFacts {
                kind: Kind::Release,
                role: Role::Developer,
                party: Some("release".into()),
                key_id: Sha256::of(b"key"),
                time: Timestamp::from_millis(millis).unwrap(),
                name: name.into(),
                source: Some("https://example.org/a/b".into()),
                version: Some("1".into()),
            }),
            mentions: vec![(Mention::Artifact, Sha256::of(digest.as_bytes()))],
            is_cut: false,
            is_standing: false,
        }
    }

    fn rules(text: &str) -> Rules {
        Rules::parse(&format!("version = 1\n{text}")).unwrap()
    }

    #[test]
    fn each_rule_raises_its_alert_and_no_other() {
        let good = facts("model", "a", 0);
        let (key, other) = (Sha256::of(b"key"), Sha256::of(b"other"));
        let digest = Sha256::of(b"a");
        for (text, rule) in [
            (format!("keys = [\"{key}\"]"), None),
            (format!("keys = [\"{other}\"]"), Some("record.key")),
            ("kinds = [\"release\"]".into(), None),
            ("kinds = [\"acquire\"]".into(), Some("record.kind")),
            ("roles = [\"developer\"]".into(), None),
            ("roles = [\"auditor\"]".into(), Some("record.role")),
            ("parties = [\"release\"]".into(), None),
            ("parties = [\"else\"]".into(), Some("record.party")),
            ("sources = [\"https://example.org/*\"]".into(), None),
            ("sources = [\"http*\", \"hf:*\"]".into(), None),
            (
                "sources = [\"*example.org/a\"]".into(),
                Some("record.source"),
            ),
            ("sources = [\"example.org\"]".into(), Some("record.source")),
            (
                format!("[[artifact]]\nname = \"model\"\ndigests = [\"{digest}\"]"),
                None,
            ),
            (
                format!("[[artifact]]\nname = \"model\"\ndigests = [\"{other}\"]"),
                Some("artifact.digest"),
            ),
            (
                format!("[[artifact]]\nname = \"else\"\ndigests = [\"{other}\"]"),
                None,
            ),
        ] {
            let alerts = rules(&text).look(7, &good, &mut Watched::default());
            let found: Vec<&str> = alerts.iter().map(|alert| alert.rule).collect();
            assert_eq!(found, rule.into_iter().collect::<Vec<_>>(), "{text}");
        }
        let unknown = Facts {
            record: None,
            mentions: Vec::new(),
            is_cut: false,
            is_standing: false,
        };
        let alerts = rules("").look(7, &unknown, &mut Watched::default());
        assert_eq!(alerts[0].rule, "entry.unknown");
    }

    #[test]
    fn what_takes_memory() {
        let versions = rules("one_digest_per_version = true");
        let mut watched = Watched::default();
        let mut look = |facts: &Facts| versions.look(0, facts, &mut watched).len();
        assert_eq!(look(&facts("m", "a", 0)), 0);
        assert_eq!(look(&facts("m", "a", 1)), 0);
        assert_eq!(look(&facts("n", "b", 1)), 0);
        assert_eq!(look(&facts("m", "b", 1)), 1);
        let rate = rules("rate = { records = 2, within = \"1s\" }");
        let mut watched = Watched::default();
        let times = [0, 600, 1200, 1300, 1400, 5000, 5100];
        let alerts = times.map(|time| rate.look(0, &facts("m", "a", time), &mut watched).len());
        assert_eq!(alerts, [0, 0, 0, 1, 0, 0, 0]);
        let now = Timestamp::from_millis(100_000_000).unwrap();
        let age = rules("max_checkpoint_age = \"1h\"");
        assert!(age.age(Some(100_000 - 3600), now).is_none());
        assert!(age.age(Some(100_000 - 3601), now).is_some());
        assert!(age.age(None, now).is_some());
        assert!(rules("").age(None, now).is_none());
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for text in [
            "version = 2",
            "",
            "version = 1\nkey = []",
            "version = 1\nkeys = []",
            "version = 1\nkeys = [\"x\"]",
            "version = 1\nkinds = [\"relase\"]",
            "version = 1\nrate = { records = 0, within = \"1h\" }",
            "version = 1\nrate = { records = 1, within = \"1\" }",
            "version = 1\nrate = { records = 1, within = \"0s\" }",
            "version = 1\nmax_checkpoint_age = \"1 h\"",
            "version = 1\n[[artifact]]\nname = \"a\"\ndigests = []",
        ] {
            assert!(Rules::parse(text).is_err(), "{text}");
        }
    }
}
