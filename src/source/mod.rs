//! Where things come from: one file per channel. The only layer that opens a connection, and only
//! when a flag asks for it.

pub mod dependencies;
#[cfg(feature = "http")]
pub mod https;
#[cfg(feature = "http")]
pub mod hub;
