//! Whose signature counts, and the proof that a bundle is by him: a key, a certificate, or a login.
//! Bytes and the time in, an answer out.
//!
//! Order: the signature itself, then who made it, then whether he counted when he made it. A time that
//! nobody trusted vouches for is never used; without one, now is the time.

use std::cell::OnceCell;
use std::fmt;

use crate::digest::Sha256;
use crate::finding::{Finding, Rule, Severity};
use crate::key::{KeyAlgorithm, PublicKey};
use crate::oms::{Material, OmsBundle};
use crate::sigstore::{KeylessTrust, Proof};
use crate::time::Timestamp;
use crate::timestamp::{self, Authorities, Stamp};
use crate::x509::{Certificate, CertificateTrust, ChainError, TrustError};

/// Whose signature counts.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The holder of this key.
    Key(Box<PublicKey>),
    /// The holder of a certificate.
    Certificate(Box<CertificateTrust>),
    /// Who logged in.
    Keyless(Box<KeylessTrust>),
}

/// The moment of the check, and who may vouch for an earlier one.
#[derive(Clone, Copy)]
pub struct Clock<'a> {
    pub now: Timestamp,
    pub authorities: Authorities<'a>,
}

/// What timestamps say of a bundle's first signature. Asked once, however many are trusted.
pub struct Stamped<'a> {
    bundle: &'a OmsBundle,
    clock: Clock<'a>,
    answer: OnceCell<(Option<Timestamp>, Vec<Finding>)>,
}

impl<'a> Stamped<'a> {
    /// Nothing is verified before somebody is known to have signed.
    pub fn new(bundle: &'a OmsBundle, clock: Clock<'a>) -> Stamped<'a> {
        Stamped {
            bundle,
            clock,
            answer: OnceCell::new(),
        }
    }

    /// When `signatures` existed, and what there is to say about it. Timestamps are over the first
    /// signature, and say nothing of when another was added, the other half of a hybrid one among them.
    fn of(&self, signatures: &[usize]) -> (Option<Timestamp>, Vec<Finding>) {
        if signatures != [0] {
            return (None, Vec::new());
        }
        self.answer
            .get_or_init(|| stamped(self.bundle, self.clock))
            .clone()
    }
}

/// Who signed, as was proved.
#[derive(Clone, Debug)]
pub struct Signer {
    /// For people.
    pub description: String,
    /// Which of the bundle's signatures are his.
    pub signatures: Vec<usize>,
    /// What they are made with.
    pub algorithm: KeyAlgorithm,
    /// When the signature existed, by somebody trusted.
    pub signed_at: Option<Timestamp>,
    /// What else there is to say.
    pub findings: Vec<Finding>,
}

/// Why a credential does not fit a bundle.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// How far the check came: of several refusals, the farthest tells most.
    pub stage: Stage,
    pub finding: Finding,
    /// What was seen on the way.
    pub others: Vec<Finding>,
}

/// The steps of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The bundle names another kind of signer.
    Kind,
    Signature,
    Signer,
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Key(key) => write!(f, "{} key {}", key.algorithm().name(), key.key_id()),
            Credential::Certificate(trust) => {
                let anchors: Vec<&str> = trust.anchors.iter().map(Certificate::subject).collect();
                write!(f, "certificates under {}", anchors.join(" or "))?;
                for pin in &trust.pins {
                    write!(f, " with {pin}")?;
                }
                Ok(())
            }
            Credential::Keyless(trust) => {
                write!(f, "{}, for whom {} vouches", trust.identity, trust.issuer)
            }
        }
    }
}

impl Credential {
    /// Is the bundle's signature by him?
    pub fn admit(&self, stamped: &Stamped<'_>) -> Result<Signer, Refusal> {
        let bundle = stamped.bundle;
        match (self, &bundle.material) {
            (Credential::Key(key), Material::Key { .. }) => by_key(key, stamped),
            (Credential::Certificate(trust), Material::Certificates { chain, logged }) => {
                by_certificate(trust, chain, *logged, stamped)
            }
            (Credential::Keyless(trust), Material::Certificates { chain, .. }) => {
                by_login(trust, chain, bundle)
            }
            (_, Material::Key { .. }) => {
                let message = "the bundle is signed with a key, and is expected by certificate";
                Err(refuse(Stage::Kind, Rule::SignatureKey, message.into()))
            }
            (Credential::Key(key), Material::Certificates { chain, logged }) => {
                // Somebody else's signature may have been added; that of the certificate's key is by
                // certificate.
                let certified = chain.first().and_then(|leaf| leaf.public_key().ok());
                if !logged
                    && certified.as_ref() != Some(key)
                    && let Ok(signer) = by_key(key, stamped)
                {
                    return Ok(signer);
                }
                let how = if *logged { "keyless" } else { "by certificate" };
                let message = format!("the bundle is signed {how}, and is expected by key");
                Err(refuse(Stage::Kind, Rule::SignatureKey, message))
            }
        }
    }

    /// The key, if it is one.
    pub fn key(&self) -> Option<&PublicKey> {
        match self {
            Credential::Key(key) => Some(key),
            _ => None,
        }
    }
}

fn refuse(stage: Stage, rule: Rule, message: String) -> Refusal {
    Refusal {
        stage,
        finding: Finding::new(rule, Severity::Fail, message),
        others: Vec::new(),
    }
}

fn not_by_its_key() -> Refusal {
    let message = "the signature is not by the certificate's key, or what it signs was altered";
    refuse(Stage::Signature, Rule::SignatureKey, message.into())
}

const NOT_BY_HIM: &str = "the signature is not by any trusted key, or what it signs was altered";

fn by_key(key: &PublicKey, stamped: &Stamped<'_>) -> Result<Signer, Refusal> {
    let bundle = stamped.bundle;
    let Some(signatures) = bundle.signatures_of(key) else {
        return Err(refuse(
            Stage::Signature,
            Rule::SignatureKey,
            NOT_BY_HIM.into(),
        ));
    };
    let (signed_at, mut findings) = stamped.of(&signatures);
    // The hint is about the first signature.
    if signatures.contains(&0) && bundle.hint_contradicts(key) {
        let message = "the bundle's key hint names another key; the hint is not signed";
        findings.push(Finding::new(
            Rule::SignatureHint,
            Severity::Warning,
            message,
        ));
    }
    let description = format!("{}, key {}", key.algorithm().name(), key.key_id());
    Ok(Signer {
        description,
        algorithm: key.algorithm(),
        signatures,
        signed_at,
        findings,
    })
}

fn by_certificate(
    trust: &CertificateTrust,
    chain: &[Certificate],
    logged: bool,
    stamped: &Stamped<'_>,
) -> Result<Signer, Refusal> {
    let bundle = stamped.bundle;
    let Some(leaf) = chain.first() else {
        let message = "the bundle names no certificate";
        return Err(refuse(Stage::Kind, Rule::SignatureFormat, message.into()));
    };
    let key = leaf.public_key().map_err(|error| {
        let message = format!("the signer's certificate {error}");
        refuse(Stage::Signature, Rule::SignatureCertificate, message)
    })?;
    let Some(signatures) = bundle.signatures_of(&key) else {
        return Err(not_by_its_key());
    };
    let (signed_at, mut findings) = stamped.of(&signatures);
    let admitted = trust.admit(chain, signed_at, stamped.clock.now);
    let path = admitted.map_err(|error| Refusal {
        others: std::mem::take(&mut findings),
        ..not_admitted(&error, logged)
    })?;
    let anchor = path.last().map_or("", |anchor| anchor.subject());
    let message = format!(
        "the certificate of {:?}, fingerprint {}, leads to {anchor:?} and held {}",
        leaf.subject(),
        leaf.fingerprint(),
        signed_at.map_or_else(
            || "at the time of this check".into(),
            |at| format!("at {at}")
        )
    );
    findings.push(Finding::new(
        Rule::SignatureCertificate,
        Severity::Pass,
        message,
    ));
    if trust.pins.is_empty() && path.len() > 1 {
        let message =
            "everybody whom the trusted authorities certify is accepted: no name was asked for";
        findings.push(Finding::new(
            Rule::SignatureIdentity,
            Severity::Note,
            message,
        ));
    }
    if trust.lists.is_empty() || path.len() < 2 {
        let message = if path.len() < 2 {
            "whether the certificate was revoked was not asked: it is trusted by itself"
        } else {
            "whether the certificate was revoked was not asked: no revocation list was given"
        };
        findings.push(Finding::new(
            Rule::SignatureRevoked,
            Severity::Note,
            message,
        ));
    } else {
        let message = "no certificate below the trusted one is on its authority's revocation list";
        findings.push(Finding::new(
            Rule::SignatureRevoked,
            Severity::Pass,
            message,
        ));
    }
    let names: Vec<String> = leaf.names().iter().map(ToString::to_string).collect();
    let description = format!(
        "{}, certificate of {:?}{}{}",
        key.algorithm().name(),
        leaf.subject(),
        if names.is_empty() { "" } else { " with " },
        names.join(", "),
    );
    Ok(Signer {
        description,
        algorithm: key.algorithm(),
        signatures,
        signed_at,
        findings,
    })
}

/// Why a certificate does not count, and what to do about it.
fn not_admitted(error: &TrustError, logged: bool) -> Refusal {
    let (rule, severity, hint) = match error {
        // There was more to try than is worth trying.
        TrustError::Chain(ChainError::TooLong) => (
            Rule::SignatureCertificate,
            Severity::Inconclusive,
            "trust an authority nearer to the signer",
        ),
        TrustError::Chain(_) if logged => (
            Rule::SignatureCertificate,
            Severity::Fail,
            "it was signed keyless: verify it by identity and issuer",
        ),
        TrustError::Chain(_) => (
            Rule::SignatureCertificate,
            Severity::Fail,
            "trust the authority that issued it, or have it signed again with a certificate that holds",
        ),
        TrustError::Pin { .. } => (
            Rule::SignatureIdentity,
            Severity::Fail,
            "somebody else signed this; trust him, or get what the expected one signed",
        ),
        TrustError::Revoked(_) => (
            Rule::SignatureRevoked,
            Severity::Fail,
            "have it signed again with a certificate that was not revoked",
        ),
        TrustError::Unknown(_) => (
            Rule::SignatureRevoked,
            Severity::Inconclusive,
            "get the authority's current revocation list",
        ),
    };
    Refusal {
        stage: Stage::Signer,
        finding: Finding::new(rule, severity, error.to_string()).hint(hint),
        others: Vec::new(),
    }
}

fn by_login(
    trust: &KeylessTrust,
    chain: &[Certificate],
    bundle: &OmsBundle,
) -> Result<Signer, Refusal> {
    let key = chain.first().and_then(|leaf| leaf.public_key().ok());
    let Some(key) = key.filter(|key| bundle.signed_by(key)) else {
        return Err(not_by_its_key());
    };
    let digest = bundle.first_subject().unwrap_or(Sha256([0; 32]));
    let refused = |error: crate::sigstore::KeylessError| {
        let message = error.to_string();
        let refusal = refuse(Stage::Signer, error.rule(), message);
        match error {
            crate::sigstore::KeylessError::Root(_) => Refusal {
                finding: Finding {
                    severity: Severity::Inconclusive,
                    ..refusal.finding
                },
                ..refusal
            },
            _ => refusal,
        }
    };
    let proof = trust.verify(bundle.bytes(), digest).map_err(refused)?;
    // All of its times must be before: one is enough to be after.
    let latest = proof.times.last().copied();
    let revoked = chain.first().is_some_and(|leaf| {
        let mut revoked = trust.revoked.iter();
        revoked.any(|one| one.withdraws(leaf, latest))
    });
    if revoked {
        let message = "the policy revokes the certificate that was used";
        return Err(refuse(
            Stage::Signer,
            Rule::SignatureRevoked,
            message.into(),
        ));
    }
    let findings = vec![Finding::new(
        Rule::SignatureCertificate,
        Severity::Pass,
        proved(trust, &proof),
    )];
    Ok(Signer {
        description: format!("{}, for whom {} vouches", proof.identity, proof.issuer),
        algorithm: key.algorithm(),
        signatures: vec![0],
        signed_at: proof.times.first().copied(),
        findings,
    })
}

fn proved(trust: &KeylessTrust, proof: &Proof) -> String {
    let times: Vec<String> = proof.times.iter().map(ToString::to_string).collect();
    let log = if trust.ask.log {
        "is in the transparency log"
    } else {
        "was not looked for in a transparency log"
    };
    format!(
        "the certificate was issued by the trusted authority and held at {}; the signature {log}",
        times.join(" and ")
    )
}

/// The earliest time that a trusted authority vouches for. What does not count is said.
fn stamped(bundle: &OmsBundle, clock: Clock<'_>) -> (Option<Timestamp>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut earliest: Option<Stamp> = None;
    for token in &bundle.timestamps {
        match timestamp::verify(token, bundle.signature(), clock.authorities, clock.now) {
            Ok(stamp) => {
                if earliest
                    .as_ref()
                    .is_none_or(|one| stamp.latest() < one.latest())
                {
                    earliest = Some(stamp);
                }
            }
            Err(error) => {
                let message = format!("a timestamp does not count: {error}");
                findings.push(Finding::new(
                    Rule::SignatureTime,
                    Severity::Warning,
                    message,
                ));
            }
        }
    }
    let Some(stamp) = earliest else {
        return (None, findings);
    };
    let at = stamp.latest();
    let message = format!("signed before {at}, by {}", stamp.authority);
    findings.push(Finding::new(Rule::SignatureTime, Severity::Pass, message));
    (Some(at), findings)
}
