//! Signing and appending a record, with everything that it takes checked beforehand.

use std::path::Path;

use crate::artifact::ArtifactDigest;
use crate::cli::context::{self, Config};
use crate::cli::failure::Failure;
use crate::cli::keyring;
use crate::cli::keys::KeyReader;
use crate::cli::log_access::{Acknowledgement, LogAccess, say_recovery};
use crate::cli::output::Output;
use crate::cli::receipt;
use crate::cli::{Global, Outcome};
use crate::digest::Sha256;
use crate::envelope::{Envelope, IN_TOTO};
use crate::key::Signer;
use crate::ledger::{self, Level, Log, Store};
use crate::statement::acquire::ManifestReference;
use crate::statement::release::{Release, SignatureReference};
use crate::statement::{Actor, Kind, Record, Role, Statement, SubjectDigest, Text, TimeSource};
use crate::time::Timestamp;
use crate::tlog_policy::TlogPolicy;
use crate::verify::{ArtifactEvidence, authorised};

/// Everything that it takes to append a record: the policy, who signs, and the log's key.
pub(in crate::cli) struct Recorder<'a> {
    config: &'a Config,
    key: &'a dyn Signer,
    party: Text,
    /// Those of the identity.
    roles: Vec<Role>,
    role: Role,
    access: LogAccess<'a>,
    log: Text,
    now: Timestamp,
}

/// What was appended.
pub(in crate::cli) struct Recorded {
    pub(in crate::cli) index: u64,
    pub(super) artifact: String,
}

impl<'a> Recorder<'a> {
    /// Makes sure that the record would count before anything is written.
    pub(in crate::cli) fn open(
        (global, config): (&Global, &'a Config),
        key: &'a dyn Signer,
        role: Option<Role>,
        acknowledgement: Acknowledgement,
        reader: &mut KeyReader<'_>,
        output: &'a Output,
    ) -> Result<Recorder<'a>, Failure> {
        let policy = &config.policy;
        let now = context::now();
        let identity = keyring::speaker(config, &key.public(), now)?;

        // That of the policy is for the key of the policy; another key may have others.
        let usual = policy.signing.as_ref().map(|signing| signing.role);
        let role = role
            .or(usual.filter(|role| identity.roles.contains(role)))
            .or(identity.roles.first().copied())
            .unwrap_or(Role::Developer);
        if !identity.roles.contains(&role) {
            return Err(Failure::error(format!(
                "identity {} does not have the role {}",
                identity.name,
                role.name()
            )));
        }
        let access = LogAccess::open((global, config), acknowledgement, reader, output)?;
        let log = Text::new(policy.log.trust.log().name())
            .map_err(|error| Failure::because("the log's origin", &error))?;
        Ok(Recorder {
            log,
            config,
            key,
            party: identity.name,
            roles: identity.roles,
            role,
            access,
            now,
        })
    }

    /// A receipt shows inclusion in a published log.
    pub(in crate::cli) fn can_write_receipt(&self) -> Result<(), Failure> {
        if self.access.level >= Level::Published {
            return Ok(());
        }
        Err(
            Failure::error("a receipt takes a published checkpoint, and this only commits")
                .hint("leave out --receipt, and make it with `weighbridge ledger prove` later"),
        )
    }

    /// Writes the receipt of what was appended.
    fn write_receipt(&self, index: u64, path: &Path, output: &Output) -> Result<(), Failure> {
        let log = Log::open(self.access.store(), &self.config.policy.log.trust)?;
        receipt::write(&log, index, path, output)
    }

    /// The same, in a role in which a record of this kind may be signed, if the user did not say in which.
    pub(super) fn for_kind(mut self, kind: Kind, given: Option<Role>) -> Recorder<'a> {
        let permitted = kind.permitted();
        let mut other = self.roles.iter().filter(|role| permitted.contains(role));
        if given.is_none()
            && !permitted.contains(&self.role)
            && let Some(role) = other.next()
        {
            self.role = *role;
        }
        self
    }

    /// Refuses a kind of record that the role may not sign: before the work is done.
    pub(in crate::cli) fn must_permit(&self, kind: Kind) -> Result<(), Failure> {
        if kind.permitted().contains(&self.role) {
            return Ok(());
        }
        let permitted: Vec<&str> = kind.permitted().iter().map(|role| role.name()).collect();
        Err(Failure::error(format!(
            "role {} may not sign {}",
            self.role.name(),
            kind.name()
        ))
        .hint(format!("it is signed as {}", permitted.join(" or "))))
    }

    /// Says what was recorded, `document` and the index, and writes the receipt if one is wanted.
    pub(in crate::cli) fn conclude(
        &self,
        recorded: &Recorded,
        mut document: serde_json::Value,
        receipt: Option<&Path>,
        output: &Output,
    ) -> Outcome {
        if let Some(document) = document.as_object_mut() {
            document.insert("index".into(), recorded.index.into());
        }

        if output.json {
            output.document(&document)?;
        } else {
            output.data(&format!("{}\n", recorded.index))?;
        }
        if let Some(receipt) = receipt {
            self.write_receipt(recorded.index, receipt, output)?;
        }
        Ok(0)
    }

    /// When the record is written.
    pub(in crate::cli) fn now(&self) -> Timestamp {
        self.now
    }

    /// Where the log is.
    pub(in crate::cli) fn store(&self) -> &dyn Store {
        self.access.store()
    }

    /// The log it goes into.
    pub(in crate::cli) fn log(&self) -> Text {
        self.log.clone()
    }

    /// Who writes it.
    pub(in crate::cli) fn actor(&self) -> Actor {
        Actor {
            key_id: self.key.public().key_id(),
            party: Some(self.party.clone()),
            role: self.role,
        }
    }

    /// A release without further particulars.
    pub(in crate::cli) fn release(
        &self,
        evidence: &ArtifactEvidence,
        signature: Option<SignatureReference>,
    ) -> Record {
        Record::Release(Box::new(Release {
            time: self.now,
            time_source: TimeSource::Local,
            actor: self.actor(),
            log: self.log.clone(),
            version: None,
            licence: None,
            hash_list_uri: None,
            support_until: None,
            signature,
            manifest: manifest_reference(evidence),
        }))
    }

    /// Signs and appends `record`. The manifest becomes durable before the record that names it.
    pub(in crate::cli) fn append(
        &self,
        name: &str,
        evidence: &ArtifactEvidence,
        record: Record,
        oms_root: Option<Sha256>,
        output: &Output,
    ) -> Result<Recorded, Failure> {
        let kind = record.kind();
        self.must_permit(kind)?;
        let digest = evidence
            .manifest
            .artifact_digest()
            .map_err(|error| Failure::because(crate::path::display(name), &error))?;
        let name = Text::new(crate::path::display(name));
        let name = name.map_err(|error| Failure::because("the artifact's name", &error))?;
        let statement = Statement::new(name, SubjectDigest::new(digest, oms_root), record);
        let entry = self.sign(&statement)?;
        ledger::put_blob(self.access.store(), evidence.manifest.text().as_bytes())?;
        self.record(entry, (kind, digest), output)
    }

    /// Appends an entry of `kind` about `digest`.
    pub(super) fn record(
        &self,
        entry: Vec<u8>,
        (kind, digest): (Kind, ArtifactDigest),
        output: &Output,
    ) -> Result<Recorded, Failure> {
        let index = self.write(entry, &format!("{} of {digest}", kind.name()), output)?;
        Ok(Recorded {
            index,
            artifact: digest.to_string(),
        })
    }

    /// Refuses an entry that no gate with this policy would count.
    pub(super) fn would_count(
        &self,
        envelope: &Envelope,
        statement: &Statement,
    ) -> Result<(), Failure> {
        let policy = keyring::policy(self.config, self.now)?;
        authorised(envelope, statement, (u64::MAX, &policy), self.now)
            .map(|_| ())
            .map_err(|why| Failure::error(format!("it would not count: {why}")))
    }

    /// Is it the key of somebody in the policy?
    pub(super) fn knows(&self, id: &Sha256) -> bool {
        self.config.policy.identity(id).is_some()
    }

    /// The trust in the log that it goes into.
    pub(super) fn trust(&self) -> &TlogPolicy {
        &self.config.policy.log.trust
    }

    /// The entry that says `statement`.
    pub(in crate::cli) fn sign(&self, statement: &Statement) -> Result<Vec<u8>, Failure> {
        let payload = statement.to_payload()?;
        // What is written must be what can be read.
        Statement::parse(&payload).map_err(|error| Failure::because("the new record", &error))?;
        let key_id = self.key.public().key_id().to_string();
        let envelope = Envelope::sign(payload, IN_TOTO, self.key, &key_id)
            .map_err(|error| Failure::error(error.to_string()))?;
        Ok(envelope.to_json()?)
    }

    /// Appends `entry`, which says `what`; its index.
    pub(in crate::cli) fn write(
        &self,
        entry: Vec<u8>,
        what: &str,
        output: &Output,
    ) -> Result<u64, Failure> {
        let origin = self.config.policy.log.trust.log().name();
        let level = self.access.level;
        let appended = self.access.writer().append(&[entry], level)?;
        say_recovery(appended.recovery, output);
        self.access.remember()?;
        let reached = match level {
            Level::Committed => "durable; readers see it once `weighbridge ledger publish` has run",
            Level::Published => "durable and published",
            Level::Witnessed => "durable, published and witnessed",
        };
        output.say(format!(
            "recorded {what} as entry {} of {origin}, {reached}",
            appended.first()
        ));
        Ok(appended.first())
    }
}

/// How a record refers to the manifest.
pub(in crate::cli) fn manifest_reference(evidence: &ArtifactEvidence) -> ManifestReference {
    let manifest = &evidence.manifest;
    let paths = evidence.not_covered.iter().take(64);
    ManifestReference {
        sha256: Sha256::of(manifest.text().as_bytes()),
        files: manifest.files().len() as u64,
        bytes: manifest.bytes(),
        not_covered: paths
            .filter_map(|path| Text::new(path.to_string()).ok())
            .collect(),
    }
}
