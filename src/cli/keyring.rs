//! Whose keys count in the ledger of the policy.

use std::path::Path;

use super::context::{self, Config};
use super::failure::Failure;
use crate::key::PublicKey;
use crate::ledger::facts::payload;
use crate::ledger::{Log, Store};
use crate::policy::{Identity, Policy};
use crate::time::Timestamp;
use crate::verify::{Keyring, Taken, is_about_a_key};

/// The keys of the policy, as the ledger in `store` changed them. A record that may forbid anything makes it
/// an error.
pub(super) fn read<'a>(
    store: &dyn Store,
    config: &'a Config,
    now: Timestamp,
) -> Result<Keyring<'a>, Failure> {
    let log = Log::open(store, &config.policy.log.trust.without_quorum())?;
    let mut ring = Keyring::new(&config.policy, now);
    let mut unknown = None;
    log.scan(|index, bytes| {
        if is_about_a_key(&payload(bytes))
            && let Taken::Unknown(why) = ring.take(index, bytes)
        {
            unknown.get_or_insert((index, why));
        }
    })?;
    match unknown {
        None => Ok(ring),
        Some((index, why)) => Err(Failure::error(format!(
            "record {index} is about a key, by an admin, and cannot be understood: {why}"
        ))
        .hint("use a newer version of weighbridge, or ask who wrote the record")),
    }
}

/// The policy as a ledger in a directory changed it; as it is, where there is none.
pub(super) fn policy(config: &Config, now: Timestamp) -> Result<Policy, Failure> {
    let there = config.location().directory().is_some_and(Path::exists);
    if !there {
        return Ok(config.policy.clone());
    }
    let store = context::store(config)?;
    let ring = read(&*store, config, now)?;
    Ok(ring.policy().clone())
}

/// Who speaks with `key`, if what he says would count.
///
/// A ledger elsewhere is not read through for one whom the policy names: there, a gate finds out.
pub(super) fn speaker(
    config: &Config,
    key: &PublicKey,
    now: Timestamp,
) -> Result<Identity, Failure> {
    let id = key.key_id();
    let store = context::store(config)?;
    let named = config.policy.identity(&id).is_some();
    let ring = if named && store.directory().is_none() {
        Keyring::new(&config.policy, now)
    } else {
        // What is wrong with the ledger, the writer says.
        read(&*store, config, now).unwrap_or_else(|_| Keyring::new(&config.policy, now))
    };
    let policy = ring.policy();
    let identity = policy.identity(&id).ok_or_else(|| {
        Failure::error("the signing key belongs to no identity of the policy").hint(
            "add its public key as an [[identity]], have it registered with `weighbridge key register`, or sign \
             with another key",
        )
    })?;
    let name = &identity.name;
    if let Some(withdrawn) = policy.withdrawn_for_record(key, u64::MAX) {
        let message = format!("the key of {name} was revoked {}", withdrawn.by);
        return Err(Failure::error(message).hint("sign with another key: nobody counts this one"));
    }
    if identity.is_expired(now) {
        return Err(
            Failure::error(format!("identity {name} has expired")).hint("sign with another key")
        );
    }
    Ok(identity.clone())
}
