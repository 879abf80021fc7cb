//! `sign --attach`, where this program was built with the network; without it, nothing is attached.

use crate::key::Signer;

use super::keyless::Keyless;

#[cfg(not(feature = "http"))]
mod nothing;
#[cfg(feature = "http")]
mod registry;

#[cfg(not(feature = "http"))]
pub(super) use nothing::AttachArgs;
#[cfg(feature = "http")]
pub(super) use registry::AttachArgs;

/// Who signs the manifest of what is signed.
#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "attaching takes the network")
)]
pub(super) enum By<'a> {
    Key(&'a dyn Signer),
    Keyless(&'a Keyless),
}
