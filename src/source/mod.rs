//! Where things come from: one file per channel, and what they have in common. The only layer that opens a connection, and only
//! when a flag asks for it.

#[cfg(feature = "http")]
pub mod archive;
#[cfg(feature = "http")]
mod channel;
#[cfg(feature = "http")]
pub mod dataset;
pub mod dependencies;
#[cfg(feature = "http")]
pub mod directory;
#[cfg(feature = "http")]
pub mod gpg;
#[cfg(feature = "http")]
pub mod https;
#[cfg(feature = "http")]
pub mod hub;
#[cfg(feature = "http")]
pub mod oci;
pub mod published;
#[cfg(feature = "http")]
pub mod s3;

#[cfg(feature = "http")]
pub use channel::{Channel, Content, SourceError, endpoint};
