//! Addresses of sources in the one spelling in which they are compared (RFC 3986, section 6.2; WHATWG URL): who names a
//! source must not choose, by its spelling, which rules it falls under.

use url::Url;

/// Where the hub is that `hf:ORG/NAME` means.
const HUB: &str = "https://huggingface.co/";

/// `uri` in its one spelling: scheme and server in lower case, no port that is the scheme's own, no final dot of the server's
/// name, no account, no `.` and `..`, and no percent-encoding of what needs none. What is no URL stays as it is.
pub fn canonical(uri: &str) -> String {
    let uri = decoded(uri);
    let uri = match uri.split_at_checked(3) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("hf:") && !rest.starts_with("//") => {
            format!("{HUB}{}", rest.trim_start_matches('/'))
        }
        _ => uri,
    };
    match uri.split_once(':') {
        // `git+https` is `https` in this.
        Some((scheme, rest)) if scheme.contains('+') => {
            let (outer, inner) = scheme.rsplit_once('+').unwrap_or_default();
            let inner = canonical(&format!("{inner}:{rest}"));
            format!("{}+{inner}", outer.to_ascii_lowercase())
        }
        _ if uri.contains("://") => url(&uri).unwrap_or_else(|| lower(&uri)),
        _ => uri,
    }
}

fn url(uri: &str) -> Option<String> {
    let mut url = Url::parse(uri).ok()?;
    // Neither can fail where there is a server; where there is none, there is nothing to take away.
    _ = url.set_username("");
    _ = url.set_password(None);
    let host = url.host_str().unwrap_or_default();
    let plain = host.trim_end_matches('.').to_ascii_lowercase();
    let is_other = plain != host && !plain.is_empty();
    if is_other {
        url.set_host(Some(&plain)).ok()?;
    }
    Some(url.to_string())
}

/// What cannot be read as a URL, with its scheme and server in lower case.
fn lower(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.to_owned();
    };
    let (server, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    format!(
        "{}://{}{path}",
        scheme.to_ascii_lowercase(),
        server.to_ascii_lowercase()
    )
}

/// Percent-encoded characters that need not be are decoded, and the others in capitals.
fn decoded(uri: &str) -> String {
    let mut parts = uri.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let hex = part
            .get(..2)
            .filter(|hex| hex.bytes().all(|one| one.is_ascii_hexdigit()));
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (hex, byte, part.get(2..)) {
            (Some(_), Some(byte), Some(rest))
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) =>
            {
                out.push(char::from(byte));
                out.push_str(rest);
            }
            (Some(hex), Some(_), Some(rest)) => {
                out.push('%');
                out.push_str(&hex.to_ascii_uppercase());
                out.push_str(rest);
            }
            // One that stands for itself: with what comes behind it it must not become another.
            _ => {
                out.push_str("%25");
                out.push_str(part);
            }
        }
    }
    out
}

/// The host in a source's address, in its one spelling: `pkg:pypi/x` has none.
pub fn host(source: &str) -> Option<String> {
    let source = canonical(source);
    let (_, rest) = source.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next()?,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts() {
        for (source, expected) in [
            ("https://Example.org:443/a", Some("example.org")),
            ("https://example.org.\\a", Some("example.org")),
            ("s3://Bucket/key", Some("bucket")),
            ("https://[::1]:8080/x", Some("::1")),
            ("hf:org/name", Some("huggingface.co")),
            ("pkg:pypi/x@1", None),
        ] {
            assert_eq!(host(source).as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn one_spelling() {
        for (spelled, one) in [
            ("HTTPS://Example.COM:443/a", "https://example.com/a"),
            ("https://example.com./a", "https://example.com/a"),
            ("https://example.com/b/../a", "https://example.com/a"),
            ("https://example.com/b/%2e%2E/a", "https://example.com/a"),
            ("https://example.com/%61", "https://example.com/a"),
            (
                "https://example.com/%2f%252e",
                "https://example.com/%2F%252e",
            ),
            ("https://example.com\\a", "https://example.com/a"),
            ("https://user@example.com/a", "https://example.com/a"),
            ("https://ex\u{ff0e}ample.com/a", "https://ex.ample.com/a"),
            (
                "https://b\u{fc}cher.example/",
                "https://xn--bcher-kva.example/",
            ),
            ("http://0x7f.1/a", "http://127.0.0.1/a"),
            (
                "git+HTTPS://Example.com:443/./a",
                "git+https://example.com/a",
            ),
            ("ssh://git@Example.com/a", "ssh://example.com/a"),
            (
                "oci://Registry.example:5000/a:v1",
                "oci://registry.example:5000/a:v1",
            ),
            ("s3://bucket./a/../b", "s3://bucket/b"),
            ("hf:org/name", "https://huggingface.co/org/name"),
            (
                "HF:/datasets/org/x",
                "https://huggingface.co/datasets/org/x",
            ),
            ("pkg:pypi/x@1", "pkg:pypi/x@1"),
        ] {
            assert_eq!(canonical(spelled), one, "{spelled}");
        }
    }

    proptest! {
        #[test]
        fn what_is_canonical_stays(uri in "(https|HTTP|s3|oci|git\\+ssh|hf|pkg):(//)?[A-Za-z.@%0-9:/\\\\?#é*+-]{0,40}") {
            let once = canonical(&uri);
            prop_assert_eq!(canonical(&once), once);
        }
    }
}
