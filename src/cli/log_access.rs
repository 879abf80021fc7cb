//! Writing to the log of the policy: its key, if this machine has it, and how far an append has to
//! come before it is acknowledged.

use super::context::{self, Config};
use super::failure::Failure;
use super::keys::KeyReader;
use super::output::Output;
use super::values;
use crate::cosignature::LogSigner;
use crate::ledger::store::probe;
use crate::ledger::{self, Created, LedgerError, Level, Publisher, Recovery, Store, Writer};
use crate::report::text::count;
use crate::time::Timestamp;

/// How far an append has to come.
#[derive(clap::Args, Clone, Copy, Default)]
pub(super) struct Acknowledgement {
    /// When to say that it is in the log: committed, published or witnessed
    ///
    /// Committed: durable, its index never changes; takes no log key. Published: under a signed
    /// checkpoint. Witnessed: cosigned as the policy asks. Unless given: published, and committed
    /// where the policy names no log key to sign with.
    #[arg(long, value_name = "LEVEL", value_parser = values::word::<Level>(values::LEVELS))]
    ack: Option<Level>,
}

impl Acknowledgement {
    /// What a publisher asks for.
    pub(super) const PUBLISHED: Acknowledgement = Acknowledgement {
        ack: Some(Level::Published),
    };
}

/// The log that the policy names, open for writing.
pub(super) struct LogAccess<'a> {
    config: &'a Config,
    store: Box<dyn Store>,
    signer: Option<LogSigner>,
    pub(super) level: Level,
}

impl<'a> LogAccess<'a> {
    /// Reads the log's key, if it takes one.
    pub(super) fn open(
        config: &'a Config,
        acknowledgement: Acknowledgement,
        reader: &mut KeyReader<'_>,
        output: &Output,
    ) -> Result<LogAccess<'a>, Failure> {
        let named = config
            .policy
            .signing
            .as_ref()
            .and_then(|signing| signing.log_key.as_ref());
        let level = acknowledgement.ack.unwrap_or(match named {
            Some(_) => Level::Published,
            None => Level::Committed,
        });
        let signer = match (level, named) {
            (Level::Committed, _) => None,
            (_, Some(path)) => Some(signer(config, path, reader, output)?),
            (_, None) => {
                return Err(Failure::error(
                    "to publish takes the log key, and the policy names none",
                )
                .hint(
                    "name it as log_key in [signing] of the policy, or use --ack committed \
                         and let a publisher follow",
                ));
            }
        };
        let store = context::store(config)?;
        if store.directory().is_none() {
            // Where two writers could both win a slot, the log would fork.
            probe::require(&*store).map_err(context::store_failure)?;
        }
        Ok(LogAccess {
            config,
            store,
            signer,
            level,
        })
    }

    /// The same for a ledger that is to be made.
    pub(super) fn new(
        config: &'a Config,
        reader: &mut KeyReader<'_>,
        output: &Output,
    ) -> Result<LogAccess<'a>, Failure> {
        let signing = config.policy.signing.as_ref();
        let path = signing.and_then(|signing| signing.log_key.as_ref());
        let path = path.ok_or_else(|| {
            Failure::error("no log key was given").hint("name it as log_key in [signing]")
        })?;
        Ok(LogAccess {
            config,
            signer: Some(signer(config, path, reader, output)?),
            store: context::new_store(config)?,
            level: Level::Published,
        })
    }

    /// Makes the ledger, if it is not there.
    pub(super) fn create(&self) -> Result<Created, Failure> {
        let signer = self.signer.as_ref().ok_or(LedgerError::NoSigner)?;
        Ok(ledger::create(&*self.store, signer, context::now())?)
    }

    /// Where the log is.
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Who publishes, if this machine has the key.
    pub(super) fn publisher(&self) -> Option<Publisher<'_>> {
        const CLOCK: &fn() -> Timestamp = &(context::now as fn() -> Timestamp);
        Some(Publisher {
            signer: self.signer.as_ref()?,
            cosigners: None,
            clock: CLOCK,
        })
    }

    /// A writer to the log.
    pub(super) fn writer(&self) -> Writer<'_> {
        let trust = self.config.policy.log.trust.clone();
        Writer::new(&*self.store, trust, self.publisher())
    }
}

fn signer(
    config: &Config,
    path: &str,
    reader: &mut KeyReader<'_>,
    output: &Output,
) -> Result<LogSigner, Failure> {
    let trusted = config.policy.log.trust.log();
    let key = reader.log(&config.resolve(path), output)?;
    let signer = LogSigner::new(trusted.name(), *key)
        .map_err(|error| Failure::because("the log's origin", &error))?;
    if signer.keys().into_iter().all(|key| key != trusted) {
        return Err(Failure::error(
            "the log key is not the one that the policy trusts",
        ));
    }
    Ok(signer)
}

/// States what was found undone.
pub(super) fn say_recovery(recovery: Recovery, output: &Output) {
    if recovery.published > 0 {
        let number = recovery.published;
        let noun = if number == 1 { "entry" } else { "entries" };
        output.say(format!(
            "recovered: published {number} {noun} that another writer had committed"
        ));
    }
    if recovery.swept > 0 {
        output.say(format!(
            "recovered: removed {} that a killed writer had left",
            count(recovery.swept, "temporary file")
        ));
    }
}
