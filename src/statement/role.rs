//! What a key may speak for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a key may speak for (EN 304 223 clause 4; two of our own for keys that only report, and one for
/// keys that speak of keys).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Creates or adapts the artifact.
    Developer,
    /// Deploys or maintains it.
    Operator,
    /// Controls permissions and integrity of data.
    Custodian,
    /// Reports tests.
    Tester,
    /// Reports audits.
    Auditor,
    /// Says whose the keys are.
    Admin,
}

impl Role {
    /// The name on the command line and in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Developer => "developer",
            Role::Operator => "operator",
            Role::Custodian => "custodian",
            Role::Tester => "tester",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
        }
    }
}
