//! Talking to servers of the ledger's world: one file per protocol. Opens a connection only where
//! the caller asks for one.

mod mirror;
pub mod witness;
