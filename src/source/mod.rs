//! Where things come from: one file per channel. The only layer that opens a connection, and only
//! when a flag asks for it.

#[cfg(feature = "http")]
pub mod https;
