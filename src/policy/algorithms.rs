//! Which signature algorithms count, and until when: `[algorithms]` of the policy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::PolicyError;
use crate::key::KeyAlgorithm;
use crate::time::Timestamp;

/// What is allowed. Without a word on it, everything that this program verifies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Algorithms {
    allow: Option<Vec<KeyAlgorithm>>,
    until: Vec<(KeyAlgorithm, Timestamp)>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlgorithms {
    allow: Option<Vec<String>>,
    #[serde(default)]
    until: BTreeMap<String, Timestamp>,
}

impl Algorithms {
    pub(super) fn read(raw: Option<RawAlgorithms>) -> Result<Algorithms, PolicyError> {
        let Some(raw) = raw else {
            return Ok(Algorithms::default());
        };
        let named = |name: &String| {
            let mut all = KeyAlgorithm::ALL.into_iter();
            all.find(|algorithm| algorithm.name() == name)
                .ok_or_else(|| PolicyError::Algorithm(name.clone()))
        };
        let allow = raw
            .allow
            .map(|names| names.iter().map(named).collect::<Result<Vec<_>, _>>())
            .transpose()?;
        if allow.as_ref().is_some_and(Vec::is_empty) {
            return Err(PolicyError::NoAlgorithm);
        }
        let mut until = Vec::new();
        for (name, time) in &raw.until {
            let algorithm = named(name)?;
            if allow
                .as_ref()
                .is_some_and(|allow| !allow.contains(&algorithm))
            {
                return Err(PolicyError::DeadlineOfNothing(name.clone()));
            }
            until.push((algorithm, *time));
        }
        Ok(Algorithms { allow, until })
    }

    /// Why a signature of this kind does not count, if it was made at `at`.
    pub fn objection(&self, algorithm: KeyAlgorithm, at: Timestamp) -> Option<String> {
        let name = algorithm.name();
        if let Some(allow) = &self.allow
            && !allow.contains(&algorithm)
        {
            let allowed: Vec<&str> = allow.iter().map(|one| one.name()).collect();
            return Some(format!(
                "the policy does not allow {name} signatures, only {}",
                allowed.join(", ")
            ));
        }
        let deadline = self.until.iter().find(|(one, _)| *one == algorithm);
        deadline
            .filter(|(_, until)| at >= *until)
            .map(|(_, until)| format!("the policy allows {name} signatures until {until} only"))
    }
}
