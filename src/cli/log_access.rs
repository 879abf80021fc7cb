//! Writing to the log of the policy: its key, if this machine has it, and how far an append has to
//! come before it is acknowledged.

use super::Global;
use super::context::{self, Config};
use super::failure::Failure;
use super::history::History;
use super::keys::KeyReader;
use super::output::Output;
use super::values;
use crate::checkpoint::Checkpoint;
#[cfg(feature = "http")]
use crate::client::witness::gather;
use crate::cosignature::LogSigner;
#[cfg(feature = "index")]
use crate::ledger::index::Index;
use crate::ledger::store::probe;
use crate::ledger::{
    self, Cosigners, Created, LedgerError, Level, Log, MemoryError, Publisher, Recovery, Store,
    Writer,
};
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
    /// Was something asked for?
    pub(super) fn is_given(self) -> bool {
        self.ack.is_some()
    }

    /// What a publisher asks for.
    pub(super) const PUBLISHED: Acknowledgement = Acknowledgement {
        ack: Some(Level::Published),
    };
}

/// The log that the policy names, open for writing.
pub(super) struct LogAccess<'a> {
    config: &'a Config,
    history: History<'a>,
    #[cfg_attr(
        not(any(feature = "http", feature = "index")),
        expect(dead_code, reason = "those warn")
    )]
    output: &'a Output,
    store: Box<dyn Store>,
    signer: Option<LogSigner>,
    pub(super) level: Level,
}

impl<'a> LogAccess<'a> {
    /// Reads the log's key, if it takes one.
    pub(super) fn open(
        (global, config): (&Global, &'a Config),
        acknowledgement: Acknowledgement,
        reader: &mut KeyReader<'_>,
        output: &'a Output,
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
        let access = LogAccess {
            config,
            history: History::new(global, Some(config), config.policy.log.trust.log(), output),
            output,
            store,
            signer,
            level,
        };
        access.remember()?;
        Ok(access)
    }

    /// Makes sure that the log goes on from what is known of it, and remembers it. A ledger that was
    /// rolled back must not be written to: what is signed then is a fork.
    pub(super) fn remember(&self) -> Result<(), Failure> {
        let trust = self.config.policy.log.trust.without_quorum();
        match Log::open(&*self.store, &trust) {
            Ok(log) => match self.history.check(&log) {
                // A writer puts the newer checkpoint back: its slots are there.
                Err(MemoryError::Stale { .. }) => Ok(()),
                _ => self.history.demand(&log),
            },
            // What else is wrong, the writer says.
            Err(_) => Ok(()),
        }
    }

    /// The same for a ledger that is to be made.
    pub(super) fn new(
        (global, config): (&Global, &'a Config),
        reader: &mut KeyReader<'_>,
        output: &'a Output,
    ) -> Result<LogAccess<'a>, Failure> {
        let signing = config.policy.signing.as_ref();
        let path = signing.and_then(|signing| signing.log_key.as_ref());
        let path = path.ok_or_else(|| {
            Failure::error("no log key was given").hint("name it as log_key in [signing]")
        })?;
        Ok(LogAccess {
            config,
            history: History::new(global, Some(config), config.policy.log.trust.log(), output),
            output,
            signer: Some(signer(config, path, reader, output)?),
            store: context::new_store(config)?,
            level: Level::Published,
        })
    }

    /// Makes the ledger, if it is not there.
    pub(super) fn create(&self) -> Result<Created, Failure> {
        let signer = self.signer.as_ref().ok_or(LedgerError::NoSigner)?;
        let known = self.history.known()?;
        let most = known.iter().map(|known| known.size).max().unwrap_or(0);
        if most > 0 && !self.store.exists("checkpoint")? {
            return Err(Failure::error(format!(
                "a ledger of this log was seen with {most} entries, and {} has none",
                self.store.place()
            ))
            .hint("restore it from a copy; begun anew, it would be a fork of itself"));
        }
        let created = ledger::create(&*self.store, signer, context::now())?;
        if created == Created::Exists {
            // It may be there and be the ledger of another log.
            let trust = self.config.policy.log.trust.without_quorum();
            let place = self.store.place();
            Log::open(&*self.store, &trust).map_err(|error| {
                let error = crate::gate::cause(&error);
                Failure::error(format!(
                    "{place} is there already, and not this log's: {error}"
                ))
                .hint("name another path in [log], or the key of that log")
            })?;
        }
        Ok(created)
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
            cosigners: self.cosigners(),
            clock: CLOCK,
        })
    }

    /// Who asks the witnesses, if the policy names any but the log itself.
    #[cfg(feature = "http")]
    fn cosigners(&self) -> Option<&dyn Cosigners> {
        let trust = &self.config.policy.log.trust;
        let log = trust.log().name();
        let others = trust.witnesses().iter().any(|one| one.key.name() != log);
        others.then_some(self)
    }

    #[cfg(not(feature = "http"))]
    fn cosigners(&self) -> Option<&dyn Cosigners> {
        None
    }

    /// Makes a lost or torn checkpoint anew.
    pub(super) fn rebuild(&self) -> Result<Checkpoint, Failure> {
        let publisher = self.publisher().ok_or(LedgerError::NoSigner)?;
        let known = self.history.known()?;
        let trust = &self.config.policy.log.trust;
        Ok(ledger::rebuild(&*self.store, &publisher, trust, &known)?)
    }

    /// A writer to the log.
    pub(super) fn writer(&self) -> Writer<'_> {
        let trust = self.config.policy.log.trust.clone();
        let writer = Writer::new(&*self.store, trust, self.publisher());
        #[cfg(feature = "index")]
        let writer = match self.index() {
            Some(index) => writer.with_index(Box::new(index)),
            None => writer,
        };
        writer
    }

    /// The index that finds entries which are in the log already. To build it takes reading the whole
    /// log: on a bucket, it is used where somebody built it.
    #[cfg(feature = "index")]
    fn index(&self) -> Option<Index> {
        let origin = self.config.policy.log.trust.log().name();
        let path = super::ledger::find::place(&*self.store, origin).ok()?;
        if self.store.directory().is_none() && !path.exists() {
            return None;
        }
        match Index::open(&path) {
            Ok(index) => Some(index),
            Err(error) => {
                let error = crate::gate::cause(&error);
                self.output.warn(format!(
                    "without it an entry may be appended twice: {error}"
                ));
                None
            }
        }
    }
}

/// How long the witnesses have, all together.
#[cfg(feature = "http")]
const WITNESSES: std::time::Duration = std::time::Duration::from_secs(20);

#[cfg(feature = "http")]
impl Cosigners for LogAccess<'_> {
    fn cosign(&self, log: &Log<'_>, previous: u64) -> Result<String, LedgerError> {
        let trust = &self.config.policy.log.trust;
        let gathered = gather(
            trust,
            log,
            previous,
            &self.config.policy.log.mirrors,
            WITNESSES,
        )?;
        for (name, error) in &gathered.missing {
            self.output.warn(format!(
                "{name} did not cosign: {}",
                crate::gate::cause(error)
            ));
        }
        // Readers would refuse it, and the one before they accept.
        trust.open(&gathered.note)?;
        String::from_utf8(gathered.note)
            .map_err(|_| LedgerError::Note(crate::note::NoteError::Malformed("not UTF-8")))
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
