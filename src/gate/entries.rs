//! The entries of a log that matter for a question: by reading all of them, or by an index that this host made.

use std::collections::HashSet;

use crate::digest::Sha256;
#[cfg(feature = "index")]
use crate::ledger::index::Index;
use crate::ledger::{LedgerError, Log};

/// Where entries are looked up.
pub(super) enum Entries<'a> {
    /// Each is read, and all of them hash to the signed root.
    All(&'a Log<'a>),
    /// Those that the index names; it followed all of them to the signed root.
    #[cfg(feature = "index")]
    Indexed(&'a Log<'a>, &'a Index),
}

impl Entries<'_> {
    /// Visits at least every entry that names one of `digests`; and, if `standing`, every one that is about keys or takes
    /// something back. In the log's order.
    pub(super) fn visit(
        &self,
        digests: &HashSet<Sha256>,
        standing: bool,
        visit: impl FnMut(u64, &[u8]),
    ) -> Result<(), LedgerError> {
        match self {
            Entries::All(log) => {
                // Whoever reads all needs not be told what for.
                _ = (digests, standing);
                log.scan(visit)
            }
            #[cfg(feature = "index")]
            Entries::Indexed(log, index) => {
                let mut visit = visit;
                let mut found = std::collections::BTreeSet::new();
                for digest in digests {
                    found.extend(index.naming(digest).map_err(|error| unusable(&error))?);
                }
                // With the others that may name any digest.
                found.extend(index.standing(standing).map_err(|error| unusable(&error))?);
                // Looked up one by one, so many cost more than all.
                if found.len() as u64 > log.checkpoint().size / FEW {
                    return log.scan(visit);
                }
                for entry in found {
                    visit(entry, &log.entry(entry)?.0);
                }
                Ok(())
            }
        }
    }

    /// Is it by an index?
    pub(super) fn is_indexed(&self) -> bool {
        match self {
            Entries::All(_) => false,
            #[cfg(feature = "index")]
            Entries::Indexed(..) => true,
        }
    }
}

/// One entry of so many is looked up in the time in which these are read.
#[cfg(feature = "index")]
const FEW: u64 = 32;

#[cfg(feature = "index")]
fn unusable(error: &crate::ledger::index::IndexError) -> LedgerError {
    LedgerError::Index {
        what: super::cause(error),
    }
}
