//! Servers of the ledger's world: one file per protocol. Listens only where the caller says.

pub mod connections;
pub mod mirror;
pub mod witness;
