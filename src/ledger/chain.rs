//! Where the chain of commit slots stands, and the signed record of it.
//!
//! ```text
//! weighbridge.dev/state/v1
//! <origin>
//! next <decimal>           the number of the next slot
//! size <decimal>           how many entries the slots before it hold
//! last <64 hex digits>     SHA-256 of the slot before it, of nothing for the first
//!
//! — <origin> <signature>
//! ```
//! A signed note (C2SP signed-note) by the log's Ed25519 key, written after each checkpoint. It spares
//! reading every slot from the first: a writer that trusts the log's key starts where it says. It
//! may be older than the checkpoint, and may be missing.

use super::commit::Commit;
use crate::checkpoint::decimal;
use crate::digest::Sha256;
use crate::note::{Note, NoteKey};

/// The key of the state.
pub const STATE: &str = "state";
/// The largest state.
pub const MAX_STATE: u64 = 4096;
const HEADER: &str = "weighbridge.dev/state/v1";

/// Where the chain of slots stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The number of the next slot.
    pub next: u64,
    /// How many entries the slots before it hold.
    pub size: u64,
    /// SHA-256 of the slot before it.
    pub last: Sha256,
}

impl Chain {
    /// Before the first slot.
    pub fn start() -> Chain {
        Chain {
            next: 0,
            size: 0,
            last: Sha256::of(b""),
        }
    }

    /// Goes on over the bytes of slot `next`. Its batch, unless it is void.
    pub fn advance(&mut self, bytes: &[u8]) -> Option<Commit> {
        let commit = Commit::parse(bytes, self.next)
            .filter(|commit| commit.first == self.size && commit.previous == self.last);
        self.next += 1;
        self.last = Sha256::of(bytes);
        if let Some(commit) = &commit {
            self.size = commit.end();
        }
        commit
    }

    /// The text that the log signs.
    pub fn text(&self, origin: &str) -> String {
        let Chain { next, size, last } = self;
        format!("{HEADER}\n{origin}\nnext {next}\nsize {size}\nlast {last}\n")
    }

    /// Reads a state that `key` must have signed; `None` if it is not one.
    pub fn open(note: &[u8], key: &NoteKey) -> Option<Chain> {
        let note = Note::parse(note).ok()?;
        note.verify(key).ok()?;
        let rest = note.text.strip_prefix(HEADER)?.strip_prefix('\n')?;
        let rest = rest.strip_prefix(key.name())?.strip_prefix('\n')?;
        let mut lines = rest.strip_suffix('\n')?.split('\n');
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let chain = Chain {
            next: decimal(field("next")?)?,
            size: decimal(field("size")?)?,
            last: field("last")?.parse().ok()?,
        };
        (chain.text(key.name()) == note.text).then_some(chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_signed_and_has_one_spelling() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[4; 32]);
        let verifier = NoteKey::new("log", key.verifying_key()).unwrap();
        let chain = Chain {
            next: 7,
            size: 300,
            last: Sha256::of(b"slot"),
        };
        let sign = |text: &str, name| crate::note::sign(text, name, &key).unwrap();
        let note = sign(&chain.text("log"), "log");
        assert_eq!(Chain::open(note.as_bytes(), &verifier), Some(chain.clone()));
        for text in [
            chain.text("other"),
            chain.text("log").replace("next 7", "next 07"),
            chain.text("log") + "more\n",
        ] {
            assert_eq!(Chain::open(sign(&text, "log").as_bytes(), &verifier), None);
        }
        let changed = note.replace("size 300", "size 301");
        assert_eq!(Chain::open(changed.as_bytes(), &verifier), None);
        let other = sign(&chain.text("log"), "other");
        assert_eq!(Chain::open(other.as_bytes(), &verifier), None);
    }
}
