//! Talking to servers of the ledger's world: one file per protocol. Opens a connection only where
//! the caller asks for one.

mod address;
pub mod fetch;
pub mod http;
mod mirror;
pub mod sigstore;
pub mod sigv4;
pub mod timestamp;
pub mod witness;
