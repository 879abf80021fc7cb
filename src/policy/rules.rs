//! What a gate asks of sources, formats, licences, sizes, parts, the ledger's age, and for exceptions. Raw text becomes a
//! valid rule here, once: a rule that could never decide anything is an error.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PolicyError;
use super::span::Span;
use crate::artifact::Format;
use crate::finding::Rule;
use crate::statement::Role;
use crate::statement::source_pattern::SourcePattern;

/// Where an artifact may be from, and how that must be known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceRule {
    /// One of these; if there are none, any.
    #[serde(default)]
    pub allow: Vec<SourcePattern>,
    /// None of these, and nothing that it was made from.
    #[serde(default)]
    pub deny: Vec<SourcePattern>,
    /// How much must be known of who the source is.
    #[serde(default)]
    pub authentication: MinimumAuthentication,
}

/// How much must be known of who the source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MinimumAuthentication {
    /// The publisher signed, or published the digests: his word, and not only the server's.
    Publisher,
    /// Somebody was authenticated: the server at least.
    #[default]
    Verified,
    /// Nothing; that nothing is known is a warning.
    NotChecked,
}

/// What may be there, or may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowDeny<T> {
    /// Only these; if there are none, any but those that are denied.
    pub allow: Vec<T>,
    pub deny: Vec<T>,
}

impl<T: PartialEq> AllowDeny<T> {
    /// May it be there?
    pub fn permits(&self, one: &T) -> bool {
        !self.deny.contains(one) && (self.allow.is_empty() || self.allow.contains(one))
    }
}

/// How large an artifact may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SizeRule {
    pub max_bytes: Option<u64>,
    pub max_files: Option<u64>,
}

/// What parts an artifact may have, as its `register` record says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModalityRule {
    /// Everything that is registered as used must be one of these; if there are none, anything.
    #[serde(default)]
    pub allow: Vec<String>,
    /// What is registered as unused must not be there: no file or directory of that name.
    #[serde(default)]
    pub refuse_unused: bool,
}

/// Which findings a `justify` record can excuse, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionRule {
    pub rules: Vec<Rule>,
    pub roles: Vec<Role>,
    /// So long before it ends it is warned of.
    pub warn_before: Span,
}

/// Licences by SPDX expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenceRule {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAllowDeny {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExceptions {
    rules: Vec<String>,
    roles: Vec<Role>,
    warn_before: Option<Span>,
}

fn wrong(rule: &str, why: impl Into<String>) -> PolicyError {
    PolicyError::Rule {
        rule: rule.into(),
        why: why.into(),
    }
}

/// Something must be asked for, and nothing both allowed and denied.
fn sensible<T: PartialEq + ToString>(
    rule: &str,
    allow: &[T],
    deny: &[T],
) -> Result<(), PolicyError> {
    if allow.is_empty() && deny.is_empty() {
        return Err(wrong(
            rule,
            "allows nothing and denies nothing: it would decide nothing",
        ));
    }
    match allow.iter().find(|one| deny.contains(one)) {
        Some(both) => Err(wrong(
            rule,
            format!("both allows and denies {}", both.to_string()),
        )),
        None => Ok(()),
    }
}

pub(super) fn sources(rule: &str, raw: SourceRule) -> Result<SourceRule, PolicyError> {
    let covered = |one: &&SourcePattern| raw.deny.iter().any(|deny| deny.covers(one));
    if let Some(both) = raw.allow.iter().find(covered) {
        return Err(wrong(rule, format!("both allows and denies {both}")));
    }
    if raw.allow.is_empty()
        && raw.deny.is_empty()
        && raw.authentication == MinimumAuthentication::NotChecked
    {
        return Err(wrong(rule, "allows everything: it would decide nothing"));
    }
    Ok(raw)
}

pub(super) fn formats(rule: &str, raw: &RawAllowDeny) -> Result<AllowDeny<Format>, PolicyError> {
    let named = |name: &String| {
        name.parse().map_err(|()| {
            let all: Vec<&str> = Format::ALL.iter().map(|one| one.name()).collect();
            wrong(
                rule,
                format!(
                    "names {name:?}, which is no format; there are: {}",
                    all.join(", ")
                ),
            )
        })
    };
    let allow = raw
        .allow
        .iter()
        .map(named)
        .collect::<Result<Vec<Format>, _>>()?;
    let deny = raw
        .deny
        .iter()
        .map(named)
        .collect::<Result<Vec<Format>, _>>()?;
    sensible(rule, &allow, &deny)?;
    Ok(AllowDeny { allow, deny })
}

pub(super) fn licences(rule: &str, raw: &RawAllowDeny) -> Result<LicenceRule, PolicyError> {
    for name in raw.allow.iter().chain(&raw.deny) {
        // A licence that SPDX does not list is named as it is spelled.
        let known = name.starts_with('=')
            || name.starts_with("LicenseRef-")
            || spdx::license_id(name).is_some()
            || name.split_once(" WITH ").is_some_and(|(id, exception)| {
                spdx::license_id(id).is_some() && spdx::exception_id(exception).is_some()
            });
        if !known {
            return Err(wrong(
                rule,
                format!(
                    "names {name:?}, which is no SPDX licence: it could never match; write ={name} for one that is \
                     spelled so and not listed there"
                ),
            ));
        }
    }
    sensible(rule, &raw.allow, &raw.deny)?;
    Ok(LicenceRule {
        allow: raw.allow.clone(),
        deny: raw.deny.clone(),
    })
}

pub(super) fn size(rule: &str, raw: SizeRule) -> Result<SizeRule, PolicyError> {
    if raw.max_bytes.is_none() && raw.max_files.is_none() {
        return Err(wrong(
            rule,
            "has neither max_bytes nor max_files: it would decide nothing",
        ));
    }
    if raw.max_bytes == Some(0) || raw.max_files == Some(0) {
        return Err(wrong(
            rule,
            "allows nothing: no artifact could ever meet it",
        ));
    }
    Ok(raw)
}

pub(super) fn modalities(rule: &str, raw: ModalityRule) -> Result<ModalityRule, PolicyError> {
    if raw.allow.is_empty() && !raw.refuse_unused {
        return Err(wrong(rule, "allows everything: it would decide nothing"));
    }
    Ok(raw)
}

/// What a record can excuse. Never what was signed or recorded by whom, and never a recall.
const EXCUSABLE: [Rule; 13] = [
    Rule::PolicyExpression,
    Rule::SignatureMissing,
    Rule::RecordMissing,
    Rule::SourceDenied,
    Rule::SourceUnknown,
    Rule::SourceAuthentication,
    Rule::FormatDenied,
    Rule::LicenceDenied,
    Rule::LicenceUnknown,
    Rule::SizeExceeded,
    Rule::ModalityRefused,
    Rule::ModalityUnknown,
    Rule::RecordNegative,
];

pub(super) fn exceptions(rule: &str, raw: RawExceptions) -> Result<ExceptionRule, PolicyError> {
    let excusable = || {
        let all: Vec<&str> = EXCUSABLE.iter().map(|one| one.id()).collect();
        all.join(", ")
    };
    if raw.rules.is_empty() {
        return Err(wrong(rule, "names no rule: it would decide nothing"));
    }
    let named = |id: &String| {
        let mut all = EXCUSABLE.into_iter();
        all.find(|one| one.id() == id).ok_or_else(|| {
            wrong(
                rule,
                format!(
                    "names {id:?}, which nothing can excuse; there are: {}",
                    excusable()
                ),
            )
        })
    };
    let rules = raw.rules.iter().map(named).collect::<Result<_, _>>()?;
    let permitted = crate::statement::Kind::Justify.permitted();
    if raw.roles.is_empty() {
        return Err(wrong(rule, "names no role: it could never be met"));
    }
    if let Some(role) = raw.roles.iter().find(|role| !permitted.contains(role)) {
        return Err(wrong(
            rule,
            format!("role {} may not sign justify", role.name()),
        ));
    }
    Ok(ExceptionRule {
        rules,
        roles: raw.roles,
        warn_before: raw.warn_before.unwrap_or(Span::days(14)),
    })
}

/// The name of a licence without what says which of its versions: `GPL-3.0`, `GPL-3.0+` and `GPL-3.0-or-later` are one family.
fn family(id: &str) -> String {
    let id = id.to_ascii_lowercase();
    // Names of old have their exception in them: `GPL-3.0-with-GCC-exception`.
    let id = id.split_once("-with-").map_or(id.as_str(), |(id, _)| id);
    let endings = ["-only", "-or-later", "+"];
    let stripped = endings.iter().find_map(|ending| id.strip_suffix(ending));
    stripped.unwrap_or(id).to_owned()
}

/// Is `licence` one that `rule` permits? An expression is, if one of its choices is. What is denied is denied in all its
/// family, unless it is allowed by its own name; what cannot be read may be what is denied.
pub fn permits_licence(rule: &LicenceRule, licence: &str) -> bool {
    let named = |list: &[String], id: &str| {
        list.iter().any(|one| {
            one.eq_ignore_ascii_case(id)
                || one
                    .strip_prefix('=')
                    .is_some_and(|one| one.eq_ignore_ascii_case(id))
        })
    };
    let permits = |id: &str| {
        // What is denied is denied with any exception, too.
        let plain = id.split_once(" WITH ").map_or(id, |(plain, _)| plain);
        let mut all = rule.deny.iter();
        let kin = all.any(|one| family(one) == family(plain));
        let denied = (kin || named(&rule.deny, plain)) && !named(&rule.allow, id);
        let denied = denied || named(&rule.deny, id);
        !denied && (rule.allow.is_empty() || named(&rule.allow, id) || named(&rule.allow, plain))
    };
    if let Ok(expression) = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX) {
        return expression.evaluate(|wanted| permits(&wanted.to_string()));
    }
    // Of several words nothing is known; one word may be a name that SPDX does not list.
    let is_word = !licence.contains(|c: char| c.is_whitespace() || "()/,;&|".contains(c));
    permits(licence) && (is_word || rule.deny.is_empty() || named(&rule.allow, licence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_by_expression() {
        let rule = |allow: &[&str], deny: &[&str]| {
            let all = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
            let raw = RawAllowDeny {
                allow: all(allow),
                deny: all(deny),
            };
            licences("licences", &raw)
        };
        let allow = rule(&["MIT", "Apache-2.0", "=llama3"], &[]).unwrap();
        for (licence, expected) in [
            ("MIT", true),
            ("apache-2.0", true),
            ("MIT OR GPL-3.0-only", true),
            ("MIT AND GPL-3.0-only", false),
            ("GPL-3.0-only", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("llama3", true),
            ("other", false),
        ] {
            assert_eq!(permits_licence(&allow, licence), expected, "{licence}");
        }
        let deny = rule(&[], &["AGPL-3.0-only"]).unwrap();
        assert!(permits_licence(&deny, "MIT") && permits_licence(&deny, "whatever"));
        assert!(!permits_licence(&deny, "AGPL-3.0-only"));
        assert!(permits_licence(&deny, "AGPL-3.0-only OR MIT"));
        for kin in [
            "AGPL-3.0",
            "agpl-3.0",
            "AGPL-3.0+",
            "AGPL-3.0-or-later",
            "MIT AND AGPL-3.0",
            "AGPL 3.0 or so",
            "AGPL-3.0,MIT",
        ] {
            assert!(!permits_licence(&deny, kin), "{kin}");
        }
        let old = rule(&[], &["GPL-3.0-only"]).unwrap();
        assert!(!permits_licence(&old, "GPL-3.0-with-GCC-exception"));
        assert!(!permits_licence(
            &old,
            "GPL-3.0-only WITH GCC-exception-3.1"
        ));
        let with = "GPL-2.0-only WITH Classpath-exception-2.0";
        let excepted = rule(&[with], &["GPL-2.0-only"]).unwrap();
        assert!(permits_licence(&excepted, with));
        assert!(!permits_licence(&excepted, "GPL-2.0-only"));
        let both = rule(&["GPL-3.0-only"], &["GPL-3.0-or-later"]).unwrap();
        assert!(permits_licence(&both, "GPL-3.0-only"));
        assert!(!permits_licence(&both, "GPL-3.0"));
        assert!(rule(&["Apache2"], &[]).is_err());
        assert!(rule(&[], &[]).is_err());
        assert!(rule(&["MIT"], &["MIT"]).is_err());
    }
}
