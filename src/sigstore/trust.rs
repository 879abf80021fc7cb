//! Trust roots: who runs the certificate authority, the logs and the timestamp authorities of a Sigstore
//! instance. A pinned `trusted_root.json`, one inside a ClientTrustConfig, or several in JSON lines; and
//! those of the public instances, compiled in.

use std::sync::Arc;

use super::{KeylessError, KeylessVerifier};

/// The largest trust root.
pub const MAX_TRUST_ROOT: u64 = 4 * 1024 * 1024;

/// The public instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    /// sigstore.dev.
    Production,
    /// sigstage.dev, for tests.
    Staging,
}

/// The verifier with the trust root in `json`.
#[cfg(feature = "sigstore")]
pub fn verifier(json: &[u8]) -> Result<Arc<dyn KeylessVerifier>, KeylessError> {
    super::native::verifier(json)
}

/// The verifier with the compiled-in trust root of a public instance.
#[cfg(feature = "sigstore")]
pub fn public(instance: Instance) -> Result<Arc<dyn KeylessVerifier>, KeylessError> {
    super::native::public(instance)
}

/// The compiled-in signing configuration of a public instance.
#[cfg(feature = "sigstore")]
pub fn signing_config(instance: Instance) -> Result<&'static str, KeylessError> {
    super::native::signing_config(instance)
}

/// The signing configuration of a public instance: not in this build.
#[cfg(not(feature = "sigstore"))]
pub fn signing_config(_: Instance) -> Result<&'static str, KeylessError> {
    Err(KeylessError::Root(WITHOUT.into()))
}

#[cfg(not(feature = "sigstore"))]
const WITHOUT: &str = "this program was built without the feature sigstore";

/// The verifier with the trust root in `json`: not in this build.
#[cfg(not(feature = "sigstore"))]
pub fn verifier(_: &[u8]) -> Result<Arc<dyn KeylessVerifier>, KeylessError> {
    Err(KeylessError::Root(WITHOUT.into()))
}

/// The verifier of a public instance: not in this build.
#[cfg(not(feature = "sigstore"))]
pub fn public(_: Instance) -> Result<Arc<dyn KeylessVerifier>, KeylessError> {
    Err(KeylessError::Root(WITHOUT.into()))
}
