//! `dispose`: an artifact was disposed of, with the custodian's consent (EN 304 223 5.5.1-1, 5.5.1-2; NIST SP 800-88). A
//! disposed digest that turns up again is refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Text;
use super::predicate::{Predicate, header, predicate};

predicate! {
    /// The predicate of a `dispose` record. A custodian has signed it as well.
    pub struct Dispose {
        /// How.
        pub method: DisposalMethod,
        /// The rules that were followed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub standard: Option<Text>,
        /// Which copies and backups are gone with it.
        pub copies: Text,
        /// The organisation that saw it done. Never a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub witness: Option<Text>,
        /// What is kept all the same, and why: records, licences.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub retained: Option<Text>,
        /// What was made from it may stay. Unless this is true, that is refused as well.
        #[serde(default)]
        pub derived_may_stay: bool,
    }
}

/// How something is disposed of (NIST SP 800-88).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DisposalMethod {
    CryptoErase,
    BlockErase,
    Overwrite,
    Destroy,
    Delete,
}

impl Predicate for Dispose {
    const PROVISIONS: &'static [&'static str] = &["5.5.1-1", "5.5.1-2"];
    const EXAMPLE: &'static str = r#"{
  "method": "crypto-erase",
  "standard": "NIST SP 800-88 Rev. 1, purge",
  "copies": "object store and both backup sites",
  "witness": "Records office",
  "retained": "this ledger, for ten years",
  "derived_may_stay": true
}"#;

    header!(attachments);
}
