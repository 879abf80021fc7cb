//! Those who signed: may they, and are they enough?

use super::Report;
use super::signature::Signed;
use crate::finding::{Finding, Rule, Severity};
use crate::policy::places::fill;
use crate::policy::{Identity, Policy};
use crate::statement::Role;
use crate::time::Timestamp;

/// The identities, those first who may sign now: of two that fit one signature, the one that counts is
/// meant.
pub(super) fn in_order(policy: &Policy, now: Timestamp) -> Vec<&Identity> {
    let rules = &policy.gate;
    let rank = |identity: &&Identity| {
        let among = |wanted: &[Role]| identity.role_among(wanted).is_some();
        if identity.is_expired(now) {
            3
        } else if among(&rules.signature_roles) {
            0
        } else if among(&rules.countersigned_by) {
            1
        } else {
            2
        }
    };
    let mut identities: Vec<&Identity> = policy.identities.iter().collect();
    identities.sort_by_key(rank);
    identities
}

/// Says who of those who signed does not count now.
pub(super) fn check_doubts(
    report: &mut Report,
    signed: &[Signed],
    identities: &[&Identity],
    policy: &Policy,
    now: Timestamp,
) {
    let mut good = 0;
    let mut doubts = Vec::new();
    for one in signed {
        let Some(identity) = identities.get(one.by) else {
            continue;
        };
        match doubt(identity, one, policy, now) {
            Some(finding) => doubts.push(finding),
            None => good += 1,
        }
    }
    for finding in doubts {
        let severity = if good > 0 {
            Severity::Warning
        } else {
            finding.severity
        };
        report.add(Finding {
            severity,
            ..finding
        });
    }
}

pub(super) fn check(
    report: &mut Report,
    signed: &[Signed],
    identities: &[&Identity],
    policy: &Policy,
    now: Timestamp,
) {
    let rules = &policy.gate;
    // One who signed is one person, under whichever of his names he is wanted.
    let mut good: Vec<Vec<&Identity>> = Vec::new();
    let mut doubts = Vec::new();
    for one in signed {
        let Some(&identity) = identities.get(one.by) else {
            continue;
        };
        if let Some(finding) = doubt(identity, one, policy, now) {
            doubts.push(finding);
            continue;
        }
        let also = one.also.iter().filter_map(|by| identities.get(*by));
        let names: Vec<&Identity> = [identity].into_iter().chain(also.copied()).collect();
        // With an old key and a new one he is one person, too.
        let same = |other: &&mut Vec<&Identity>| {
            let known = |one: &Identity| other.iter().any(|known| known.name == one.name);
            names.iter().any(|one| known(one))
        };
        match good.iter_mut().find(same) {
            Some(other) => other.extend(names),
            None => good.push(names),
        }
    }
    let count = good
        .iter()
        .filter(|names| may(report, names, &rules.signature_roles))
        .count();
    let least = rules.signature_threshold;
    // Whoever is counted as a signer does not countersign as well.
    let fits = |place: usize, person: usize| {
        let roles = match place.checked_sub(least) {
            None => rules.signature_roles.as_slice(),
            Some(place) => rules
                .countersigned_by
                .get(place..=place)
                .unwrap_or_default(),
        };
        good.get(person)
            .is_some_and(|names| names.iter().any(|name| name.role_among(roles).is_some()))
    };
    let places = least + rules.countersigned_by.len();
    let filled = fill(places, good.len(), &fits);
    for (role, filled) in rules.countersigned_by.iter().zip(filled.iter().skip(least)) {
        let (severity, what) = if *filled {
            (Severity::Pass, "is countersigned by a")
        } else {
            (Severity::Fail, "lacks the countersignature of a")
        };
        let message = format!("the signature {what} {}", role.name());
        report.add(
            Finding::new(Rule::SignatureThreshold, severity, message)
                .hint("have it countersigned with `weighbridge sign --add`"),
        );
    }
    if count >= least {
        if least > 1 {
            let message = format!("{count} have signed, {least} must");
            report.add(Finding::new(
                Rule::SignatureThreshold,
                Severity::Pass,
                message,
            ));
        }
        // Enough others have signed: these change nothing, and are worth a look.
        for finding in doubts {
            report.add(Finding {
                severity: Severity::Warning,
                ..finding
            });
        }
        return;
    }
    for finding in doubts {
        report.add(finding);
    }
    let names: Vec<&str> = rules
        .signature_roles
        .iter()
        .map(|role| role.name())
        .collect();
    let finding = if least == 1 {
        let first = good.iter().filter_map(|names| names.first());
        let who: Vec<&str> = first.map(|identity| identity.name.as_str()).collect();
        if who.is_empty() {
            return;
        }
        let message = format!(
            "{} has none of the roles {}",
            who.join(", "),
            names.join(", ")
        );
        Finding::new(Rule::IdentityRole, Severity::Fail, message)
            .hint("have it signed by somebody in one of these roles")
    } else {
        let message = format!(
            "{count} in the roles {} have signed, {least} must",
            names.join(", ")
        );
        Finding::new(Rule::SignatureThreshold, Severity::Fail, message)
            .hint("have it signed by others too with `weighbridge sign --add`")
    };
    report.add(finding);
}

fn may(report: &mut Report, names: &[&Identity], roles: &[Role]) -> bool {
    let mut able = names
        .iter()
        .filter_map(|identity| Some((&identity.name, identity.role_among(roles)?)));
    let Some((name, role)) = able.next() else {
        return false;
    };
    let message = format!("{name} may sign as {}", role.name());
    report.add(Finding::new(Rule::IdentityRole, Severity::Pass, message));
    true
}

/// Why he does not count now.
pub(super) fn doubt(
    identity: &Identity,
    signed: &Signed,
    policy: &Policy,
    now: Timestamp,
) -> Option<Finding> {
    let name = &identity.name;
    if identity.is_expired(now) {
        let expired = identity
            .expires
            .map(|time| time.to_string())
            .unwrap_or_default();
        let message = format!("identity {name} expired at {expired}");
        return Some(Finding::new(Rule::IdentityRole, Severity::Fail, message));
    }
    // What was signed before a deadline counts, if somebody trusted says that it was before.
    let at = signed.at.unwrap_or(now);
    if let Some(why) = policy.algorithms.objection(signed.algorithm, at) {
        let message = format!("{name}: {why}");
        return Some(Finding::new(
            Rule::SignatureAlgorithm,
            Severity::Fail,
            message,
        ));
    }
    // What was signed before the key was revoked counts, if somebody trusted says that it was before.
    let withdrawn = policy.withdrawn(identity.credential.key()?, signed.at)?;
    let since = withdrawn
        .since
        .map_or(String::new(), |since| format!(" as of {since}"));
    let message = format!(
        "the key of {name} was revoked {}{since}, and no trusted timestamp places the signature before",
        withdrawn.by
    );
    Some(Finding::new(
        Rule::SignatureRevoked,
        Severity::Fail,
        message,
    ))
}
