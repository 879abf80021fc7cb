//! Which line of a policy an error is about.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::PolicyError;

/// `error`, with the line of `text` that it is about, if that can be told.
pub(super) fn pointed_at(text: &str, error: PolicyError) -> PolicyError {
    let place = error.place();
    let at = place.and_then(|place| offset(text, &place));
    let Some(at) = at else { return error };
    let before = text.get(..at).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let rest = text.get(start..).unwrap_or_default();
    let written: String = rest
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(160)
        .collect();
    let shown = if error.is_about_a_secret() {
        String::new()
    } else {
        format!("\n  | {}", crate::path::display(&written))
    };
    PolicyError::At {
        line: before.matches('\n').count() + 1,
        shown,
        source: Box::new(error),
    }
}

/// Where the value at `place` begins: `gate.records[1].roles`, `identity[NAME]`; or what holds it, if it is not there.
fn offset(text: &str, place: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut at = table.span().start;
    let mut value: Option<&Spanned<DeValue<'_>>> = None;
    let mut current: &DeTable<'_> = table.get_ref();
    for part in place.split('.') {
        let (name, item) = match part.split_once('[') {
            Some((name, item)) => (name, Some(item.trim_end_matches(']'))),
            None => (part, None),
        };
        let found = current.iter().find(|(key, _)| key.get_ref() == name);
        let Some((key, found)) = found else { break };
        at = key.span().start;
        value = Some(found);
        if let (Some(item), DeValue::Array(all)) = (item, found.get_ref()) {
            let is = |one: &&Spanned<DeValue<'_>>| {
                let name = one.get_ref().get("name");
                name.and_then(|name| name.get_ref().as_str()) == Some(item)
            };
            let one = item.parse().ok().and_then(|index: usize| all.get(index));
            let Some(one) = one.or_else(|| all.iter().find(is)) else {
                break;
            };
            at = one.span().start;
            value = Some(one);
        }
        match value.map(Spanned::get_ref) {
            Some(DeValue::Table(next)) => current = next,
            _ => break,
        }
    }
    value.map(|_| at)
}
