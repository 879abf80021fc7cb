//! Names in certificates: alternative names (RFC 5280 §4.2.1.6), and the name constraints that an
//! authority sets on those below it (§4.2.1.10).

use std::fmt;

use der::{Decode, Encode};
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// One alternative name of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectName {
    Email(String),
    Dns(String),
    Uri(String),
    /// 4 or 16 bytes.
    Ip(Box<[u8]>),
    /// A distinguished name in DER.
    Directory(Box<[u8]>),
    /// Of another kind, which nothing here compares.
    Other,
}

impl From<&GeneralName> for SubjectName {
    fn from(name: &GeneralName) -> SubjectName {
        match name {
            GeneralName::Rfc822Name(text) => SubjectName::Email(text.as_str().into()),
            GeneralName::DnsName(text) => SubjectName::Dns(text.as_str().into()),
            GeneralName::UniformResourceIdentifier(text) => SubjectName::Uri(text.as_str().into()),
            GeneralName::IpAddress(bytes) => SubjectName::Ip(bytes.as_bytes().into()),
            GeneralName::DirectoryName(name) => match name.to_der() {
                Ok(der) => SubjectName::Directory(der.into()),
                Err(_) => SubjectName::Other,
            },
            _ => SubjectName::Other,
        }
    }
}

impl SubjectName {
    /// The name as a person writes it; `None` for the kinds that a pin cannot name.
    pub fn text(&self) -> Option<&str> {
        match self {
            SubjectName::Email(text) | SubjectName::Dns(text) | SubjectName::Uri(text) => {
                Some(text)
            }
            _ => None,
        }
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubjectName::Email(text) => write!(f, "email:{text}"),
            SubjectName::Dns(text) => write!(f, "DNS:{text}"),
            SubjectName::Uri(text) => write!(f, "URI:{text}"),
            SubjectName::Ip(bytes) => write!(f, "IP:{}", data_encoding::HEXLOWER.encode(bytes)),
            SubjectName::Directory(_) => f.write_str("a directory name"),
            SubjectName::Other => f.write_str("a name of another kind"),
        }
    }
}

/// Does a name of `subject` or among `names` break `constraints`? Says which.
///
/// A constraint on a kind of name that is not understood here forbids every name of the kinds that
/// are not understood (§4.2.1.10: "MUST either process the constraint or reject").
pub(super) fn breach(
    constraints: &NameConstraints,
    subject: &[u8],
    names: &[SubjectName],
) -> Option<String> {
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or(&[]);
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or(&[]);
    // A distinguished name holds an empty sequence if there is none.
    let directory = (subject.len() > 2).then(|| SubjectName::Directory(subject.into()));
    let legacy = legacy_emails(subject, names);
    let all = names.iter().chain(&directory).chain(&legacy);
    for name in all {
        if excluded
            .iter()
            .any(|subtree| covers(subtree, name) != Some(false) && same_kind(&subtree.base, name))
        {
            return Some(format!("{name} is excluded"));
        }
        let mut of_kind = permitted
            .iter()
            .filter(|subtree| same_kind(&subtree.base, name))
            .peekable();
        if of_kind.peek().is_some() && !of_kind.any(|subtree| covers(subtree, name) == Some(true)) {
            return Some(format!("{name} is not permitted"));
        }
    }
    None
}

/// Addresses in the subject count where there is no alternative name of that kind (§4.2.1.10).
fn legacy_emails(subject: &[u8], names: &[SubjectName]) -> Vec<SubjectName> {
    const EMAIL: der::asn1::ObjectIdentifier =
        der::asn1::ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");
    if names
        .iter()
        .any(|name| matches!(name, SubjectName::Email(_)))
    {
        return Vec::new();
    }
    let Ok(subject) = Name::from_der(subject) else {
        return Vec::new();
    };
    let addresses = subject.iter().filter(|attribute| attribute.oid == EMAIL);
    addresses
        // One that cannot be read is an address that cannot be judged.
        .map(|attribute| SubjectName::Email(text_of(&attribute.value).unwrap_or_default()))
        .collect()
}

fn same_kind(base: &GeneralName, name: &SubjectName) -> bool {
    matches!(
        (base, name),
        (GeneralName::Rfc822Name(_), SubjectName::Email(_))
            | (GeneralName::DnsName(_), SubjectName::Dns(_))
            | (
                GeneralName::UniformResourceIdentifier(_),
                SubjectName::Uri(_)
            )
            | (GeneralName::IpAddress(_), SubjectName::Ip(_))
            | (GeneralName::DirectoryName(_), SubjectName::Directory(_))
            | (
                GeneralName::OtherName(_)
                    | GeneralName::EdiPartyName(_)
                    | GeneralName::RegisteredId(_),
                SubjectName::Other
            )
    )
}

/// How many comparisons [`breach`] makes at most.
pub(super) fn comparisons(constraints: &NameConstraints, names: &[SubjectName]) -> usize {
    let count = |subtrees: &Option<Vec<GeneralSubtree>>| subtrees.as_ref().map_or(0, Vec::len);
    let all = count(&constraints.permitted_subtrees) + count(&constraints.excluded_subtrees);
    // The subject, and addresses in it.
    all.saturating_mul(names.len() + 16)
}

/// Does the subtree hold the name? `None` if that cannot be told: then it may, and it may not. An empty base
/// holds every name of its kind. Only the plain spelling of a name is compared: one that others may read as
/// another name is not told.
fn covers(subtree: &GeneralSubtree, name: &SubjectName) -> Option<bool> {
    if subtree.minimum != 0 || subtree.maximum.is_some() {
        return None;
    }
    match (&subtree.base, name) {
        (GeneralName::DnsName(base), SubjectName::Dns(name)) => {
            Some(base.as_str().is_empty() || domain_is_within(plain_host(name)?, base.as_str()))
        }
        (GeneralName::Rfc822Name(base), SubjectName::Email(name)) => {
            let (local, host) = name.rsplit_once('@')?;
            let host = plain_host(host)?;
            if local.is_empty() || local.contains(['"', '@', ' ']) {
                return None;
            }
            let base = base.as_str();
            Some(base.is_empty() || email_is_within(local, host, base))
        }
        (GeneralName::UniformResourceIdentifier(base), SubjectName::Uri(name)) => {
            let base = base.as_str();
            if base.is_empty() {
                return Some(true);
            }
            let host = host_of(name)?;
            Some(match base.strip_prefix('.') {
                Some(domain) => is_beneath(host, domain),
                None => host.eq_ignore_ascii_case(base),
            })
        }
        (GeneralName::IpAddress(base), SubjectName::Ip(address)) => {
            let base = base.as_bytes();
            if ![4, 16].contains(&address.len()) {
                return None;
            }
            if base.is_empty() {
                return Some(true);
            }
            if base.len() != 2 * address.len() {
                return Some(false);
            }
            let (network, mask) = base.split_at(address.len());
            let inside = address
                .iter()
                .zip(network)
                .zip(mask)
                .all(|((byte, network), mask)| byte & mask == network & mask);
            Some(inside)
        }
        (GeneralName::DirectoryName(base), SubjectName::Directory(name)) => {
            let name = Name::from_der(name).ok()?;
            let (base, name) = (folded(base)?, folded(&name)?);
            Some(name.starts_with(&base))
        }
        _ => None,
    }
}

/// The parts of a distinguished name in a form in which equal names are equal (RFC 5280 §7.1, as far as
/// case and white space go); `None` if a value is in no encoding that is understood.
fn folded(name: &Name) -> Option<Vec<Vec<(String, String)>>> {
    let mut parts = Vec::new();
    for part in name.iter_rdn() {
        let mut attributes = Vec::new();
        for attribute in part.iter() {
            let text = text_of(&attribute.value)?.to_lowercase();
            let words: Vec<&str> = text.split_whitespace().collect();
            attributes.push((attribute.oid.to_string(), words.join(" ")));
        }
        attributes.sort();
        parts.push(attributes);
    }
    Some(parts)
}

/// A string in one of the types that certificates have.
fn text_of(value: &der::Any) -> Option<String> {
    use der::{Tag, Tagged};
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        }
        Tag::TeletexString => bytes
            .is_ascii()
            .then(|| String::from_utf8_lossy(bytes).into_owned()),
        Tag::BmpString => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            if rest.is_empty() {
                String::from_utf16(&units).ok()
            } else {
                None
            }
        }
        _ => None,
    }
}

/// A host name that everybody reads alike.
fn plain_host(host: &str) -> Option<&str> {
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && (label == "*" || label.chars().all(plain))
    };
    host.split('.').all(label).then_some(host)
}

/// `base` itself, or any name that ends with it at a dot; with a dot before it, only the latter.
fn domain_is_within(name: &str, base: &str) -> bool {
    match base.strip_prefix('.') {
        Some(base) => is_beneath(name, base),
        None => name.eq_ignore_ascii_case(base) || is_beneath(name, base),
    }
}

fn is_beneath(name: &str, domain: &str) -> bool {
    let Some(split) = name.len().checked_sub(domain.len() + 1) else {
        return false;
    };
    let (head, tail) = (name.get(..split), name.get(split + 1..));
    head.is_some_and(|head| !head.is_empty())
        && name.as_bytes().get(split) == Some(&b'.')
        && tail.is_some_and(|tail| tail.eq_ignore_ascii_case(domain))
}

/// One address, all addresses of a host, or with a leading dot all hosts of a domain.
fn email_is_within(local: &str, host: &str, base: &str) -> bool {
    if let Some((wanted, wanted_host)) = base.rsplit_once('@') {
        return local == wanted && host.eq_ignore_ascii_case(wanted_host);
    }
    match base.strip_prefix('.') {
        Some(domain) => is_beneath(host, domain),
        None => host.eq_ignore_ascii_case(base),
    }
}

/// The host of a URI with an authority. One without, or with an address instead of a name, cannot be
/// judged by a constraint.
fn host_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let is_name = host.chars().any(|c| c.is_ascii_alphabetic());
    plain_host(host).filter(|_| is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_within() {
        for (name, base, within) in [
            ("example.com", "example.com", true),
            ("a.example.com", "example.com", true),
            ("A.EXAMPLE.com", "example.COM", true),
            ("aexample.com", "example.com", false),
            ("example.com", ".example.com", false),
            ("a.example.com", ".example.com", true),
            ("example.org", "example.com", false),
        ] {
            assert_eq!(domain_is_within(name, base), within, "{name} {base}");
        }
        for (address, base, within) in [
            ("a@example.com", "a@example.com", true),
            ("A@example.com", "a@example.com", false),
            ("a@EXAMPLE.com", "example.com", true),
            ("a@sub.example.com", "example.com", false),
            ("a@sub.example.com", ".example.com", true),
            ("a@example.com", ".example.com", false),
        ] {
            let (local, host) = address.split_once('@').unwrap();
            assert_eq!(
                email_is_within(local, host, base),
                within,
                "{address} {base}"
            );
        }
        assert_eq!(
            host_of("https://u@host.example:443/x"),
            Some("host.example")
        );
        assert_eq!(host_of("https://10.0.0.1/"), None);
        assert_eq!(host_of("urn:x"), None);
        for other in [
            "https://ex%61mple.com/",
            "https://example.com./",
            "https://[::1]/",
        ] {
            assert_eq!(host_of(other), None, "{other}");
        }
    }
}
