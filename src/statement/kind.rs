//! The kinds of record: one table of what each is called, what it holds, and who may sign it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acquire::{Acquire, Attachment, ManifestReference};
use super::config_change::ConfigChange;
use super::custodian_approve::CustodianApprove;
use super::dataset_check::DatasetCheck;
use super::dataset_revise::DatasetRevise;
use super::deploy_approve::DeployApprove;
use super::derive::Derive;
use super::dispose::Dispose;
use super::justify::Justify;
use super::key::KeyRecord;
use super::known_good::KnownGood;
use super::notice::Notice;
use super::predicate::{Header, Predicate};
use super::recall::{Quarantine, ReleaseQuarantine, Revoke};
use super::register::Register;
use super::release::Release;
use super::risk_assess::RiskAssess;
use super::role::Role;
use super::scan_result::ScanResult;
use super::supplier_assess::SupplierAssess;
use super::test_result::TestResult;
use super::transfer::Transfer;
use super::verify_event::VerifyEvent;
use super::{Actor, Statement, StatementError, SubjectDigest};
use crate::artifact::ArtifactDigest;
use crate::digest::Sha256;
use crate::time::Timestamp;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident($predicate:ident) = $name:literal, $type:literal, $about:ident, [$($role:ident)*];)*) => {
        /// The claim.
        #[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
        #[serde(tag = "predicateType", content = "predicate")]
        pub enum Record {
            $($(#[doc = $doc])* #[serde(rename = $type)] $variant(Box<$predicate>),)*
        }

        /// The kinds of record that this version knows.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum Kind {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The name on the command line and in policies.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// The predicate type in a statement.
            pub const fn predicate_type(self) -> &'static str {
                match self { $(Kind::$variant => $type,)* }
            }

            /// One sentence on what it says.
            pub const fn meaning(self) -> &'static str {
                match self { $(Kind::$variant => concat!($($doc),*),)* }
            }

            /// The roles that may sign it (EN 304 223 clause 4: who is responsible for what).
            pub const fn permitted(self) -> &'static [Role] {
                match self { $(Kind::$variant => &[$(Role::$role),*],)* }
            }

            /// What its subject is.
            pub const fn about(self) -> About {
                match self { $(Kind::$variant => About::$about,)* }
            }

            /// The body of one, as an example: everything that can be said, but for what every record has.
            pub fn example(self) -> &'static str {
                match self { $(Kind::$variant => <$predicate as Predicate>::EXAMPLE,)* }
            }

            /// The provisions of EN 304 223 that it is evidence for.
            pub fn provisions(self) -> &'static [&'static str] {
                match self { $(Kind::$variant => <$predicate as Predicate>::PROVISIONS,)* }
            }

            /// The schema of its predicate.
            pub fn schema(self) -> schemars::Schema {
                match self { $(Kind::$variant => schemars::schema_for!($predicate),)* }
            }
        }

        impl Record {
            /// Which kind it is.
            pub fn kind(&self) -> Kind {
                match self { $(Record::$variant(_) => Kind::$variant,)* }
            }

            fn header(&self) -> Header<'_> {
                match self { $(Record::$variant(one) => one.header(),)* }
            }

            /// The manifest of the artifact that it is about, if it holds one.
            pub fn manifest(&self) -> Option<&ManifestReference> {
                match self { $(Record::$variant(one) => one.manifest(),)* }
            }

            fn attachments(&self) -> &[Attachment] {
                match self { $(Record::$variant(one) => one.attachments(),)* }
            }

            /// From when on it no longer counts.
            pub fn expires(&self) -> Option<Timestamp> {
                match self { $(Record::$variant(one) => one.expires(),)* }
            }

            /// What its types do not say.
            pub(super) fn check(&self, subject: &super::Subject) -> Result<(), &'static str> {
                match self { $(Record::$variant(one) => one.check(subject),)* }
            }
        }

        impl Statement {
            /// Reads a payload of a kind.
            pub(super) fn of_kind(kind: Kind, payload: &[u8]) -> Result<Statement, StatementError> {
                match kind {
                    $(Kind::$variant => Statement::typed(payload, |one| Record::$variant(Box::new(one))),)*
                }
            }
        }
    };
}

/// What the subject of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// An artifact, and the record holds its manifest.
    Content,
    /// An artifact, which need not be here any more.
    Artifact,
    /// A key.
    Key,
    /// An artifact, a source, a key or a record.
    Scope,
}

kinds! {
    /// Where it was obtained, how and when, and how that was authenticated.
    Acquire(Acquire) = "acquire", "https://weighbridge.dev/acquire/v1", Content, [Developer Operator Custodian];
    /// A prompt, a guardrail or another setting was changed.
    ConfigChange(ConfigChange) = "config-change", "https://weighbridge.dev/config-change/v1", Artifact, [Developer Operator];
    /// The custodian says what data may be used for, and until when.
    CustodianApprove(CustodianApprove) = "custodian-approve", "https://weighbridge.dev/custodian-approve/v1", Artifact, [Custodian];
    /// A dataset was checked and cleaned.
    DatasetCheck(DatasetCheck) = "dataset-check", "https://weighbridge.dev/dataset-check/v1", Artifact, [Custodian Developer Operator];
    /// A dataset is a new version of another.
    DatasetRevise(DatasetRevise) = "dataset-revise", "https://weighbridge.dev/dataset-revise/v1", Content, [Custodian Developer];
    /// These very bytes may run in an environment, until a day.
    DeployApprove(DeployApprove) = "deploy-approve", "https://weighbridge.dev/deploy-approve/v1", Artifact, [Operator Custodian];
    /// What it was made from, and how.
    Derive(Derive) = "derive", "https://weighbridge.dev/derive/v1", Content, [Developer];
    /// It was disposed of, and must not be used again.
    Dispose(Dispose) = "dispose", "https://weighbridge.dev/dispose/v1", Artifact, [Developer Operator];
    /// Why something is used though a check refuses it, until a day.
    Justify(Justify) = "justify", "https://weighbridge.dev/justify/v1", Artifact, [Operator];
    /// Whose a key is, what replaces it, that it no longer counts.
    Key(KeyRecord) = "key", "https://weighbridge.dev/key/v1", Key, [Admin Developer Operator Custodian Tester Auditor];
    /// A state that can be restored.
    KnownGood(KnownGood) = "known-good", "https://weighbridge.dev/known-good/v1", Artifact, [Operator];
    /// Users were told of a change.
    Notice(Notice) = "notice", "https://weighbridge.dev/notice/v1", Artifact, [Operator Developer];
    /// It must not be used until somebody says that it may.
    Quarantine(Quarantine) = "quarantine", "https://weighbridge.dev/quarantine/v1", Scope, [Developer Operator Custodian];
    /// Which asset it is, whose, and how it is protected.
    Register(Register) = "register", "https://weighbridge.dev/register/v1", Content, [Developer Operator Custodian];
    /// The developer publishes it under this digest.
    Release(Release) = "release", "https://weighbridge.dev/release/v1", Content, [Developer];
    /// A quarantine is over.
    ReleaseQuarantine(ReleaseQuarantine) = "release-quarantine", "https://weighbridge.dev/release-quarantine/v1", Scope, [Developer Operator Custodian];
    /// It must not be used any more.
    Revoke(Revoke) = "revoke", "https://weighbridge.dev/revoke/v1", Scope, [Developer Operator Custodian];
    /// Its risks, and what is done about them.
    RiskAssess(RiskAssess) = "risk-assess", "https://weighbridge.dev/risk-assess/v1", Artifact, [Developer Operator];
    /// What a scanner found in it.
    ScanResult(ScanResult) = "scan-result", "https://weighbridge.dev/scan-result/v1", Artifact, [Developer Operator Custodian Tester Auditor];
    /// Whether who supplies it keeps to the rules.
    SupplierAssess(SupplierAssess) = "supplier-assess", "https://weighbridge.dev/supplier-assess/v1", Artifact, [Developer Operator];
    /// How it did in a test.
    TestResult(TestResult) = "test-result", "https://in-toto.io/attestation/test-result/v0.1", Artifact, [Developer Operator Tester];
    /// It was handed over to somebody else.
    Transfer(Transfer) = "transfer", "https://weighbridge.dev/transfer/v1", Artifact, [Developer Operator];
    /// It was verified somewhere, with what result.
    VerifyEvent(VerifyEvent) = "verify-event", "https://weighbridge.dev/verify-event/v1", Artifact, [Operator Developer];
}

impl Kind {
    /// The role of somebody else who must have signed it as well.
    pub const fn cosigned_by(self) -> Option<Role> {
        match self {
            Kind::Transfer | Kind::Dispose => Some(Role::Custodian),
            _ => None,
        }
    }

    /// Does it take something back? What it says must be heeded even where it cannot be understood.
    pub const fn recalls(self) -> bool {
        matches!(
            self,
            Kind::Quarantine | Kind::Revoke | Kind::ReleaseQuarantine | Kind::Dispose
        )
    }
}

impl Record {
    /// When it was written, as the actor says.
    pub fn time(&self) -> Timestamp {
        self.header().time
    }

    /// Who wrote it.
    pub fn actor(&self) -> &Actor {
        self.header().actor
    }

    /// The log that it is for.
    pub fn log(&self) -> &str {
        self.header().log.as_str()
    }

    /// The blobs of the ledger that it names.
    pub fn blobs(&self) -> Vec<Sha256> {
        let attached = self.attachments().iter().map(|one| one.sha256);
        let manifest = self.manifest().map(|manifest| manifest.sha256);
        manifest.into_iter().chain(attached).collect()
    }

    /// The artifacts that its subject was made from.
    pub fn made_from(&self) -> Vec<ArtifactDigest> {
        match self {
            Record::Derive(one) => {
                let inputs = one.inputs.iter();
                inputs.filter_map(|input| input.digest.artifact()).collect()
            }
            Record::DatasetRevise(one) => one.parent.artifact().into_iter().collect(),
            Record::DatasetCheck(one) => {
                let input = one.input.as_ref();
                input
                    .and_then(SubjectDigest::artifact)
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// May `payload` be a record of one of `kinds`, of whatever version? One that cannot be read may be, if it says so anywhere.
pub fn may_be(payload: &[u8], kinds: &[Kind]) -> bool {
    let named = |text: &[u8]| {
        let mut found = memchr::memmem::find_iter(text, HOST.as_bytes());
        found.any(|at| {
            let rest = text.get(at + HOST.len()..).unwrap_or_default();
            kinds.iter().any(|kind| {
                let rest = rest.strip_prefix(kind.name().as_bytes());
                rest.is_some_and(|rest| rest.starts_with(b"/"))
            })
        })
    };
    // Escapes spell a type in many ways.
    if !named(payload) && !payload.contains(&b'\\') {
        return false;
    }
    // Of what says its type, nothing else may hold the word: files have names of any kind.
    super::predicate_type(payload).map_or_else(|| named(payload), |kind| named(kind.as_bytes()))
}

/// In the type of every kind of our own.
const HOST: &str = "weighbridge.dev/";

/// What every gate must know of, whatever it is asked about: records about keys, and those that take something back.
pub const STANDING: &[Kind] = &[
    Kind::Key,
    Kind::Quarantine,
    Kind::ReleaseQuarantine,
    Kind::Revoke,
    Kind::Dispose,
];
