//! What was recorded of a source before: the newest acquire record of it by somebody trusted.

use crate::artifact::ArtifactDigest;
use crate::cli::context::{self, Config};
use crate::cli::failure::Failure;
use crate::cli::history::History;
use crate::cli::output::Output;
use crate::cli::{Global, keyring};
use crate::envelope::Envelope;
use crate::ledger::tile::MAX_ENTRY;
use crate::ledger::{self, Log, Store};
use crate::statement::acquire::Acquire;
use crate::statement::{Record, Statement, Text};
use crate::verify::authorised;

/// What is looked for: a source, in any or one of its versions, or else these very files.
pub(in crate::cli) struct Wanted {
    pub(in crate::cli) uri: Option<String>,
    pub(in crate::cli) revision: Option<String>,
    pub(in crate::cli) artifact: Option<ArtifactDigest>,
}

/// A record, and where it is.
pub(in crate::cli) struct Recorded {
    pub(in crate::cli) index: u64,
    pub(in crate::cli) record: Box<Acquire>,
    pub(in crate::cli) subject: Option<ArtifactDigest>,
    store: Box<dyn Store>,
}

impl Recorded {
    /// The newest record of what is wanted, rather one with evidence.
    pub(in crate::cli) fn find(
        wanted: &Wanted,
        config: &Config,
        global: &Global,
        output: &Output,
    ) -> Result<Option<Recorded>, Failure> {
        let now = context::now();
        let store = context::store(config)?;
        let log = Log::open(&*store, &config.policy.log.trust)?;
        History::new(global, Some(config), config.policy.log.trust.log(), output).demand(&log)?;
        let ring = keyring::read(&*store, config, now)?;
        let mut found: Option<(u64, Box<Acquire>, Option<ArtifactDigest>)> = None;
        log.scan(|index, bytes| {
            let Ok(envelope) = Envelope::parse(bytes, MAX_ENTRY) else {
                return;
            };
            let Ok(statement) = Statement::parse(&envelope.payload) else {
                return;
            };
            if !wanted.is(&statement)
                || authorised(&envelope, &statement, (index, ring.policy()), now).is_err()
            {
                return;
            }
            let subject = statement.artifact();
            if let Record::Acquire(record) = statement.record {
                // The newest; of several about the same content rather one that can prove it.
                let has = |one: &Acquire| !one.attachments.is_empty();
                let better = found
                    .as_ref()
                    .is_none_or(|(_, old, of)| has(&record) || !has(old) || *of != subject);
                if better {
                    found = Some((index, record, subject));
                }
            }
        })?;
        Ok(found.map(|(index, record, subject)| Recorded {
            index,
            record,
            subject,
            store,
        }))
    }

    /// An attachment of it.
    pub(in crate::cli) fn attached(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let all = &self.record.attachments;
        let one = all.iter().find(|one| one.name.as_str() == name);
        let bytes = one.map(|one| ledger::blob(&*self.store, &one.sha256));
        Ok(bytes.transpose()?)
    }

    /// Is it of a checkout of git, and not of a hub?
    pub(in crate::cli) fn is_of_checkout(&self) -> bool {
        self.record.source_uri.as_str().starts_with("git+")
    }

    /// The text of its manifest.
    pub(in crate::cli) fn manifest(&self) -> Result<Vec<u8>, Failure> {
        Ok(ledger::blob(&*self.store, &self.record.manifest.sha256)?)
    }
}

impl Wanted {
    fn is(&self, statement: &Statement) -> bool {
        let Record::Acquire(record) = &statement.record else {
            return false;
        };
        let Some(uri) = &self.uri else {
            return self.artifact.is_some() && statement.artifact() == self.artifact;
        };
        let revision = |text: &str| {
            let is = |it: &Option<Text>| it.as_ref().is_some_and(|it| it.as_str() == text);
            is(&record.revision) || is(&record.requested_revision)
        };
        record.source_uri.as_str() == uri && self.revision.as_deref().is_none_or(revision)
    }
}
