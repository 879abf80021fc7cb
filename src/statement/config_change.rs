//! `config-change`: a prompt, a guardrail or another setting of a system was changed (EN 304 223 5.2.4-3, 5.2.4-1).
//! Prompt texts stand nowhere here: their digests do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Text;
use super::predicate::{Predicate, header, predicate};
use crate::digest::Sha256;

predicate! {
    /// The predicate of a `config-change` record.
    pub struct ConfigChange {
        /// What was changed.
        pub target: Target,
        /// SHA-256 of what it was before; absent if there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub before: Option<Sha256>,
        /// SHA-256 of what it is now.
        pub after: Sha256,
        /// Why.
        pub reason: Text,
    }
}

/// What can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    SystemPrompt,
    Guardrail,
    Decoding,
    Routing,
    Other,
}

impl Predicate for ConfigChange {
    const PROVISIONS: &'static [&'static str] = &["5.1.2-3", "5.1.3-1.1", "5.2.4-1", "5.2.4-3"];
    const EXAMPLE: &'static str = r#"{
  "target": "system-prompt",
  "before": "5a9f86b26b4a1b9f6bd1b9eb2a3a4a6e8f6a0f3f0b0a9a3f5f8a0c0d6f4d8b11",
  "after": "c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2",
  "reason": "answers cite the manual's section since release 4"
}"#;

    header!(attachments);

    fn check(&self, _: &super::Subject) -> Result<(), &'static str> {
        if self.before == Some(self.after) {
            return Err("changes nothing: before and after are the same");
        }
        Ok(())
    }
}
