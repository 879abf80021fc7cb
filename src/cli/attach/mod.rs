//! `sign --attach`, where this program was built with the network; without it, nothing is attached.

#[cfg(not(feature = "http"))]
mod nothing;
#[cfg(feature = "http")]
mod registry;

#[cfg(not(feature = "http"))]
pub(super) use nothing::AttachArgs;
#[cfg(feature = "http")]
pub(super) use registry::AttachArgs;
