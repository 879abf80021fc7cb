//! Addresses of sources in the one spelling in which they are compared (RFC 3986, section 6.2; WHATWG URL): who names a
//! source must not choose, by its spelling, which rules it falls under.

use url::Url;

/// Where the hub is that `hf:ORG/NAME` means.
const HUB: &str = "https://huggingface.co/";

/// Where the registry is that `ollama:NAME` means.
const OLLAMA: &str = "oci://registry.ollama.ai/";

/// The ports that schemes mean without saying so; those of the web are known to the parser of URLs.
const PORTS: [(&str, u16); 3] = [("oci", 443), ("ssh", 22), ("git", 9418)];

/// Servers that are one under several names.
const NAMES: [(&str, &str); 3] = [
    ("registry-1.docker.io", "docker.io"),
    ("index.docker.io", "docker.io"),
    ("hf.co", "huggingface.co"),
];

/// `uri` in its one spelling: scheme and server in lower case, no port that is the scheme's own, no final dot of the server's
/// name, no account, no `.` and `..`, and no percent-encoding of what needs none. What is no URL stays as it is.
pub fn canonical(uri: &str) -> String {
    let uri = decoded(uri);
    let Some((scheme, rest)) = parts(&uri) else {
        return uri;
    };
    match scheme.as_str() {
        "hf" => canonical_url(&format!("{HUB}{}", rest.trim_start_matches(['/', '\\']))),
        "ollama" => {
            let name = rest.trim_start_matches(['/', '\\']);
            canonical_url(&match name.split('/').count() {
                1 => format!("{OLLAMA}library/{name}"),
                2 => format!("{OLLAMA}{name}"),
                _ => format!("oci://{name}"),
            })
        }
        // `git+https` is `https` in this.
        _ => match scheme.rsplit_once('+') {
            Some((outer, inner)) => format!("{outer}+{}", canonical(&format!("{inner}:{rest}"))),
            None => canonical_url(&format!("{scheme}:{rest}")),
        },
    }
}

/// The scheme in lower case, and what stands behind it.
fn parts(uri: &str) -> Option<(String, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let begins = scheme.starts_with(|letter: char| letter.is_ascii_alphabetic());
    (begins && scheme.bytes().all(known)).then(|| (scheme.to_ascii_lowercase(), rest))
}

fn canonical_url(uri: &str) -> String {
    // Those of the web have a server with any number of slashes.
    url(uri).unwrap_or_else(|| lower(uri))
}

fn url(uri: &str) -> Option<String> {
    let mut url = Url::parse(uri).ok()?;
    let host = url.host_str()?.to_owned();
    // Neither can fail where there is a server.
    _ = url.set_username("");
    _ = url.set_password(None);
    let plain = host.trim_end_matches('.').to_ascii_lowercase();
    if plain.is_empty() {
        return Some(url.to_string());
    }
    // The parser of URLs reads names and numbers of servers for the web alone.
    let plain = match url::Host::parse(&percent_decoded(&plain)) {
        Ok(read) => read.to_string(),
        Err(_) => plain,
    };
    let plain = NAMES
        .iter()
        .find(|(other, _)| *other == plain)
        .map_or(plain.as_str(), |(_, one)| one)
        .to_owned();
    if url.host_str() != Some(&plain) {
        url.set_host(Some(&plain)).ok()?;
    }
    let own = PORTS.iter().find(|(scheme, _)| *scheme == url.scheme());
    if own.is_some_and(|(_, port)| url.port() == Some(*port)) {
        _ = url.set_port(None);
    }
    Some(url.to_string())
}

/// A server's name as a browser reads it, whatever the scheme.
fn percent_decoded(host: &str) -> String {
    let bytes = crate::percent::decoded(host);
    bytes.unwrap_or_else(|| host.to_owned())
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
    let (_, rest) = parts(&source)?;
    let authority = rest.strip_prefix("//")?.split(['/', '?', '#']).next()?;
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
            ("pkg:generic/x?download_url=https://example.org/y", None),
            ("magnet:?xt=1&tr=https://example.org/a", None),
            ("s3:evil/x?://example.org/", None),
            ("https:/example.org/x", Some("example.org")),
            ("https:example.org", Some("example.org")),
            ("git+https:\\\\example.org\\x", Some("example.org")),
            ("ollama:evil/x", Some("registry.ollama.ai")),
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
            ("hf://org/name", "https://huggingface.co/org/name"),
            ("https://hf.co/org/name", "https://huggingface.co/org/name"),
            ("https:/example.com/a", "https://example.com/a"),
            (
                "oci://Registry.example:443/a:v1",
                "oci://registry.example/a:v1",
            ),
            ("oci://registry-1.docker.io/a", "oci://docker.io/a"),
            ("git+ssh://git@h:22/x", "git+ssh://h/x"),
            ("oci://0x7f.1/a", "oci://127.0.0.1/a"),
            ("ssh://ex\u{ff0e}ample.com/a", "ssh://ex.ample.com/a"),
            ("ollama:x:1b", "oci://registry.ollama.ai/library/x:1b"),
            ("ollama://evil/x", "oci://registry.ollama.ai/evil/x"),
            ("pkg:pypi/x@1", "pkg:pypi/x@1"),
        ] {
            assert_eq!(canonical(spelled), one, "{spelled}");
        }
    }

    proptest! {
        #[test]
        fn what_is_canonical_stays(uri in "(https|HTTP|s3|oci|git\\+ssh|hf|ollama|pkg):(//)?[A-Za-z.@%0-9:/\\\\?#é*+-]{0,40}") {
            let once = canonical(&uri);
            prop_assert_eq!(canonical(&once), once);
        }
    }
}
