//! `transfer`: an artifact was handed over, with the custodian's consent (EN 304 223 5.5.1-1).

use super::Text;
use super::predicate::{AtLeastOne, Predicate, header, predicate};

predicate! {
    /// The predicate of a `transfer` record. A custodian has signed it as well.
    pub struct Transfer {
        /// The organisation that receives it.
        pub receiving_party: Text,
        /// What it may do with it.
        pub rights: AtLeastOne<Text>,
        /// What is left here, and why.
        pub residual_copies: Text,
    }
}

impl Predicate for Transfer {
    const PROVISIONS: &'static [&'static str] = &["5.5.1-1"];
    const EXAMPLE: &'static str = r#"{
  "receiving_party": "Example Hospital Trust",
  "rights": ["use", "fine-tune"],
  "residual_copies": "one copy in the archive, for ten years, by contract"
}"#;

    header!(attachments);
}
