//! The URI of a key in a token (RFC 7512). Text in, parts out.

use std::path::PathBuf;

/// Which key, in which token, behind which module. What is not named may be anything.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pkcs11Uri {
    pub token: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial: Option<String>,
    pub slot_id: Option<u64>,
    /// The key's label.
    pub object: Option<String>,
    /// The key's id.
    pub id: Option<Vec<u8>>,
    pub module_path: Option<PathBuf>,
    pub module_name: Option<String>,
    pub pin_value: Option<String>,
    pub pin_source: Option<String>,
}

impl std::fmt::Debug for Pkcs11Uri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the PIN.
        write!(f, "Pkcs11Uri({:?}, {:?})", self.token, self.object)
    }
}

/// Why it is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    #[error("does not begin with pkcs11:")]
    Scheme,
    #[error("has the attribute {0:?} twice")]
    Twice(String),
    #[error("has the attribute {0:?}, which is not understood here")]
    Unknown(String),
    /// The number of the attribute: one that is not understood can be a piece of a PIN.
    #[error("has a malformed attribute, number {0}")]
    Malformed(usize),
    #[error("is longer than 8192 bytes")]
    TooLong,
    #[error("names an object of type {0:?}; a private key is needed")]
    Type(String),
}

/// The longest URI.
const MAX_URI: usize = 8 * 1024;

impl Pkcs11Uri {
    /// Reads a URI. Attributes that narrow the search and are not understood are an error, or another key
    /// could be found than was meant; further query attributes are the vendor's own and ignored (§2.4).
    pub fn parse(text: &str) -> Result<Pkcs11Uri, UriError> {
        let rest = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        if text.len() > MAX_URI {
            return Err(UriError::TooLong);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Pkcs11Uri::default();
        let mut seen = Vec::new();
        let parts = path
            .split(';')
            .map(|part| (part, true))
            .chain(query.split('&').map(|part| (part, false)));
        for (number, (part, is_path)) in (1..).zip(parts) {
            if part.is_empty() {
                continue;
            }
            let (name, value) = part.split_once('=').ok_or(UriError::Malformed(number))?;
            if seen.contains(&name) {
                return Err(UriError::Twice(name.into()));
            }
            seen.push(name);
            uri.set(name, value, is_path, number)?;
        }
        Ok(uri)
    }

    fn set(
        &mut self,
        name: &str,
        value: &str,
        is_path: bool,
        number: usize,
    ) -> Result<(), UriError> {
        let bad = || UriError::Malformed(number);
        let bytes = decode(value).ok_or_else(bad)?;
        if (is_path, name) == (true, "id") {
            self.id = Some(bytes);
            return Ok(());
        }
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        match (is_path, name) {
            (true, "token") => self.token = Some(text),
            (true, "manufacturer") => self.manufacturer = Some(text),
            (true, "model") => self.model = Some(text),
            (true, "serial") => self.serial = Some(text),
            (true, "slot-id") => self.slot_id = Some(text.parse().map_err(|_| bad())?),
            (true, "object") => self.object = Some(text),
            (true, "type") if text == "private" => {}
            (true, "type") => return Err(UriError::Type(text)),
            (false, "module-path") => self.module_path = Some(text.into()),
            (false, "module-name") => self.module_name = Some(text),
            (false, "pin-value") => self.pin_value = Some(text),
            (false, "pin-source") => self.pin_source = Some(text),
            (true, _) => return Err(UriError::Unknown(name.into())),
            (false, _) => {}
        }
        Ok(())
    }
}

/// Percent-encoding (RFC 3986 §2.1).
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        bytes.extend(data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok()?);
        rest = behind;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_specification() {
        let uri = Pkcs11Uri::parse(
            "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.;object=my-key;type=private;id=%69%95%3E?pin-source=file:/etc/token_pin&module-path=/usr/lib/p.so",
        )
        .unwrap();
        assert_eq!(uri.token.as_deref(), Some("Software PKCS#11 softtoken"));
        assert_eq!(uri.manufacturer.as_deref(), Some("Snake Oil, Inc."));
        assert_eq!(uri.id.as_deref(), Some(&[0x69, 0x95, 0x3e][..]));
        assert_eq!(uri.pin_source.as_deref(), Some("file:/etc/token_pin"));
        assert!(!format!("{uri:?}").contains("pin"));
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "https://x",
            "pkcs11:object",
            "pkcs11:object=a;object=b",
            "pkcs11:library-version=3",
            "pkcs11:object=%4",
            "pkcs11:object=%zz",
            "pkcs11:object=%ff",
            "pkcs11:slot-id=x",
            "pkcs11:type=public",
        ] {
            assert!(Pkcs11Uri::parse(text).is_err(), "{text}");
        }
    }
}
