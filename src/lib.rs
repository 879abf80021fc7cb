//! Weighbridge: hash, sign and record AI models and datasets, and gate them before use.
//!
//! Data flows one way: artifact → statement → signature → ledger → gate. ARCHITECTURE.md has the
//! map. The library never prints, exits, or reads the environment or the clock.

pub mod artifact;
pub mod bundle;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "http")]
pub mod client;
pub mod cosignature;
pub mod credential;
pub mod digest;
pub mod disk;
pub mod envelope;
pub mod finding;
pub mod fs_verity;
pub mod gate;
pub mod git;
pub mod json;
pub mod key;
pub mod ledger;
pub mod merkle;
pub mod minisign;
pub mod note;
pub mod oms;
mod pages;
pub mod parallel;
pub mod path;
pub mod percent;
pub mod policy;
pub mod report;
#[cfg(feature = "server")]
pub mod server;
pub mod sha256;
pub mod signer;
pub mod sigstore;
pub mod source;
pub mod statement;
pub mod tar;
pub mod time;
pub mod timestamp;
pub mod tlog_mirror;
pub mod tlog_policy;
pub mod verify;
pub mod witness;
pub mod x509;
pub mod xet;
