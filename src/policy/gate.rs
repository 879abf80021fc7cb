//! What a gate asks for: `[gate]` of the policy, and that of each profile.

use schemars::JsonSchema;
use serde::Deserialize;

use super::condition::{self, Condition};
use super::expression::Expression;
use super::identity::Identity;
use super::rehash::Rehash;
use super::rules::{
    self, AllowDeny, ExceptionRule, LicenceRule, ModalityRule, RawAllowDeny, RawExceptions,
    SizeRule, SourceRule,
};
use super::span::Span;
use super::{PolicyError, places};
use crate::artifact::Format;
use crate::bundle::MAX_SIGNATURES;
use crate::credential::Credential;
use crate::statement::{About, Kind, Role};
use crate::tlog_policy::TlogPolicy;

/// What a gate asks for.
#[derive(Clone, Debug)]
pub struct GateRules {
    /// An OMS signature by an identity that has one of these roles.
    pub signature_roles: Vec<Role>,
    /// How many of them must have signed.
    pub signature_threshold: usize,
    /// Somebody in each of these roles must have signed as well.
    pub countersigned_by: Vec<Role>,
    /// A record of each of these kinds.
    pub records: Vec<RequiredRecord>,
    pub sources: Option<SourceRule>,
    pub formats: Option<AllowDeny<Format>>,
    pub licences: Option<LicenceRule>,
    pub size: Option<SizeRule>,
    pub modalities: Option<ModalityRule>,
    /// How old what the ledger shows may be.
    pub ledger_max_age: Option<Span>,
    /// May a receipt stand for the ledger?
    pub receipts: bool,
    /// At most so little may be read of what the gate's host has read before.
    pub rehash: Rehash,
    pub exceptions: Option<ExceptionRule>,
    /// Rules of one's own.
    pub expressions: Vec<Expression>,
}

/// A record that must be in the ledger about exactly this artifact.
#[derive(Clone, Debug)]
pub struct RequiredRecord {
    pub kind: Kind,
    /// Signed by an identity that has one of these roles.
    pub roles: Vec<Role>,
    /// By so many different identities.
    pub count: usize,
    /// Not older than this.
    pub max_age: Option<Span>,
    /// That says all of this.
    pub conditions: Vec<Condition>,
}

/// As it is written. Everything that has no default must be said in `[gate]`; a profile may leave it to that.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGate {
    signature: Option<RawSignature>,
    records: Option<Vec<RawRecord>>,
    closed_world: Option<bool>,
    rehash: Option<Rehash>,
    sources: Option<SourceRule>,
    formats: Option<RawAllowDeny>,
    licences: Option<RawAllowDeny>,
    size: Option<SizeRule>,
    modalities: Option<ModalityRule>,
    ledger: Option<RawLedger>,
    exceptions: Option<RawExceptions>,
    /// Rules of one's own, in CEL.
    rule: Option<Vec<RawExpression>>,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawExpression {
    id: String,
    cel: String,
    message: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    roles: Vec<Role>,
    threshold: Option<usize>,
    #[serde(default)]
    countersigned_by: Vec<Role>,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    kind: Kind,
    roles: Vec<Role>,
    count: Option<usize>,
    max_age: Option<Span>,
    #[serde(default, rename = "where")]
    conditions: Vec<String>,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawLedger {
    max_age: Option<Span>,
    receipts: Option<bool>,
}

impl RawGate {
    /// The same, with what it does not say from `base`.
    pub(super) fn over(self, base: &RawGate) -> RawGate {
        let base = base.clone();
        RawGate {
            signature: self.signature.or(base.signature),
            records: self.records.or(base.records),
            closed_world: self.closed_world.or(base.closed_world),
            rehash: self.rehash.or(base.rehash),
            sources: self.sources.or(base.sources),
            formats: self.formats.or(base.formats),
            licences: self.licences.or(base.licences),
            size: self.size.or(base.size),
            modalities: self.modalities.or(base.modalities),
            // A receipt that is not taken is not taken by leaving that out.
            ledger: match (self.ledger, base.ledger) {
                (Some(own), Some(base)) => Some(RawLedger {
                    max_age: own.max_age.or(base.max_age),
                    receipts: own.receipts.or(base.receipts),
                }),
                (own, base) => own.or(base),
            },
            exceptions: self.exceptions.or(base.exceptions),
            rule: self.rule.or(base.rule),
        }
    }
}

/// The rules that `raw`, which stands at `place`, asks for.
pub(super) fn read(
    place: &str,
    raw: RawGate,
    identities: &[Identity],
    trust: &TlogPolicy,
) -> Result<GateRules, PolicyError> {
    let missing = |what: &str| PolicyError::Rule {
        rule: place.into(),
        why: format!("does not say {what}: what is left out would be a wider policy"),
    };
    if !raw.closed_world.ok_or_else(|| missing("closed_world"))? {
        return Err(PolicyError::OpenWorld);
    }
    let signature = raw.signature.ok_or_else(|| missing("signature"))?;
    let threshold = signature_rule(place, &signature, identities)?;
    let raw_records = raw.records.ok_or_else(|| missing("records"))?;
    if raw_records.is_empty() {
        return Err(PolicyError::NoRecords);
    }
    let mut records = Vec::new();
    for (index, raw) in raw_records.into_iter().enumerate() {
        records.push(record(
            &format!("{place}.records[{index}]"),
            raw,
            identities,
        )?);
    }
    let named = |what: &str| format!("{place}.{what}");
    if let Some(ledger) = &raw.ledger
        && ledger.max_age.is_none()
        && ledger.receipts.is_none()
    {
        return Err(PolicyError::Rule {
            rule: named("ledger"),
            why: "has neither max_age nor receipts: it would decide nothing".into(),
        });
    }
    let asks_age = raw.ledger.as_ref().is_some_and(|one| one.max_age.is_some());
    if asks_age && !trust.can_vouch() {
        return Err(PolicyError::Rule {
            rule: named("ledger"),
            why: "asks for an age, and the trust policy of the log names no quorum of witnesses who could vouch for one: \
                  it could never be met"
                .into(),
        });
    }
    let sources = raw
        .sources
        .map(|raw| rules::sources(&named("sources"), raw));
    let formats = raw
        .formats
        .map(|raw| rules::formats(&named("formats"), &raw));
    let licences = raw
        .licences
        .map(|raw| rules::licences(&named("licences"), &raw));
    let size = raw.size.map(|raw| rules::size(&named("size"), raw));
    let modalities = raw
        .modalities
        .map(|raw| rules::modalities(&named("modalities"), raw));
    let exceptions = raw
        .exceptions
        .map(|raw| rules::exceptions(&named("exceptions"), raw));
    let exceptions = exceptions.transpose()?;
    if let Some(exceptions) = &exceptions {
        let rule = named("exceptions");
        satisfiable(&rule, &exceptions.roles, &with_keys(identities))?;
    }
    let mut expressions: Vec<Expression> = Vec::new();
    for (index, raw) in raw.rule.into_iter().flatten().enumerate() {
        let rule = format!("{place}.rule[{index}]");
        if expressions.iter().any(|one| one.id == raw.id) {
            let why = format!("has the id {:?} of another", raw.id);
            return Err(PolicyError::Rule { rule, why });
        }
        let read = Expression::new(raw.id, raw.cel, raw.message);
        expressions.push(read.map_err(|why| PolicyError::Rule { rule, why })?);
    }
    Ok(GateRules {
        expressions,
        signature_roles: signature.roles,
        signature_threshold: threshold,
        countersigned_by: signature.countersigned_by,
        records,
        sources: sources.transpose()?,
        formats: formats.transpose()?,
        licences: licences.transpose()?,
        size: size.transpose()?,
        modalities: modalities.transpose()?,
        ledger_max_age: raw.ledger.as_ref().and_then(|ledger| ledger.max_age),
        receipts: raw
            .ledger
            .and_then(|ledger| ledger.receipts)
            .unwrap_or(true),
        rehash: raw.rehash.unwrap_or(Rehash::IfChanged),
        exceptions,
    })
}

fn with_keys(identities: &[Identity]) -> Vec<Identity> {
    let has_key = |identity: &&Identity| identity.credential.key().is_some();
    identities.iter().filter(has_key).cloned().collect()
}

fn record(
    place: &str,
    raw: RawRecord,
    identities: &[Identity],
) -> Result<RequiredRecord, PolicyError> {
    let RawRecord {
        kind,
        roles,
        count,
        max_age,
        conditions,
    } = raw;
    if kind.about() == About::Key {
        return Err(PolicyError::NoArtifact { rule: place.into() });
    }
    let wrong = |why: String| PolicyError::Rule {
        rule: place.into(),
        why,
    };
    if kind.recalls() {
        return Err(wrong(format!(
            "asks for a {}, which forbids what it is about: it could never be met",
            kind.name()
        )));
    }
    if let Some(&role) = roles.iter().find(|role| !kind.permitted().contains(role)) {
        let rule = place.into();
        return Err(PolicyError::RoleNotPermitted { rule, role, kind });
    }
    // Records are signed with keys.
    let able = with_keys(identities);
    satisfiable(place, &roles, &able)?;
    let count = count.unwrap_or(1);
    let most = able
        .iter()
        .filter(|one| one.role_among(&roles).is_some())
        .count();
    if count == 0 || (count > most && !has_admin(identities)) {
        return Err(wrong(format!(
            "asks for {count} different identities, and {most} have its roles: it could never be met"
        )));
    }
    let conditions = conditions
        .iter()
        .map(|text| Condition::parse(text, kind).map_err(&wrong))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(why) = condition::contradiction(&conditions, kind) {
        return Err(wrong(why));
    }
    Ok(RequiredRecord {
        kind,
        roles,
        count,
        max_age,
        conditions,
    })
}

/// How many must sign.
fn signature_rule(
    place: &str,
    signature: &RawSignature,
    identities: &[Identity],
) -> Result<usize, PolicyError> {
    satisfiable(&format!("{place}.signature"), &signature.roles, identities)?;
    let able = identities
        .iter()
        .filter(|identity| identity.role_among(&signature.roles).is_some())
        .count();
    // Whom an admin lets in by the ledger is not known here.
    let open = has_admin(identities);
    let most = if open { MAX_SIGNATURES } else { able };
    let threshold = signature.threshold.unwrap_or(1);
    if !(1..=most).contains(&threshold) {
        return Err(PolicyError::Threshold { threshold, able });
    }
    if !signature.countersigned_by.is_empty() {
        let rule = format!("{place}.signature");
        satisfiable(&rule, &signature.countersigned_by, identities)?;
    }
    let needed = threshold + signature.countersigned_by.len();
    if needed > 1 && !open && !can_sign_together(signature, threshold, identities) {
        return Err(PolicyError::Together { needed });
    }
    Ok(threshold)
}

/// Can identities fill all places of the rule in one bundle? It has signatures of keys, and of one
/// certificate; a keyless signature stands alone.
fn can_sign_together(rule: &RawSignature, threshold: usize, identities: &[Identity]) -> bool {
    let places = threshold + rule.countersigned_by.len();
    if places > MAX_SIGNATURES {
        return false;
    }
    let of_kind = |certificate: bool| {
        identities.iter().filter(move |one| match one.credential {
            Credential::Key(_) => !certificate,
            Credential::Certificate(_) => certificate,
            Credential::Keyless(_) => false,
        })
    };
    let keys: Vec<&Identity> = of_kind(false).collect();
    let certified = of_kind(true).map(Some);
    certified.chain([None]).any(|certified| {
        let people: Vec<&Identity> = keys.iter().copied().chain(certified).collect();
        let fits = |place: usize, person: usize| {
            people
                .get(person)
                .is_some_and(|one| match place.checked_sub(threshold) {
                    None => one.role_among(&rule.roles).is_some(),
                    Some(place) => rule
                        .countersigned_by
                        .get(place)
                        .is_some_and(|role| one.roles.contains(role)),
                })
        };
        places::fill(places, people.len(), &fits)
            .into_iter()
            .all(|filled| filled)
    })
}

fn satisfiable(rule: &str, roles: &[Role], identities: &[Identity]) -> Result<(), PolicyError> {
    if roles.is_empty() {
        return Err(PolicyError::NoRoles { rule: rule.into() });
    }
    if has_admin(identities) {
        return Ok(());
    }
    let nobody = roles.iter().find(|role| {
        !identities
            .iter()
            .any(|identity| identity.roles.contains(role))
    });
    match nobody {
        Some(&role) => Err(PolicyError::RoleWithoutIdentity {
            rule: rule.into(),
            role,
        }),
        None => Ok(()),
    }
}

/// Can somebody say in the ledger whose further keys are? Records are signed with keys.
fn has_admin(identities: &[Identity]) -> bool {
    identities
        .iter()
        .any(|one| one.roles.contains(&Role::Admin) && one.credential.key().is_some())
}
