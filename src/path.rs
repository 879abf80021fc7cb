//! Paths inside an artifact: relative, `/`-separated, byte-exact UTF-8.
//! Knows no file system. An `ArtifactPath` cannot leave the directory it is used beneath.

use std::fmt;

/// A path relative to the root of an artifact, as OMS v1.0 §6.1 names resources.
///
/// No leading or trailing `/`, no empty, `.` or `..` component, no NUL, at most
/// [`MAX_LENGTH`] bytes. Everything else is an ordinary name, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactPath(Box<str>);

/// Why a name is not an [`ArtifactPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    #[error("file name {} is not UTF-8", .0.escape_ascii())]
    NotUtf8(Vec<u8>),
    #[error("path is empty")]
    Empty,
    #[error("path {0:?} is absolute")]
    Absolute(String),
    #[error("path {0:?} has an empty, \".\" or \"..\" component")]
    Component(String),
    #[error("path {0:?} holds a NUL byte")]
    Nul(String),
    #[error("path of {0} bytes is longer than {MAX_LENGTH}")]
    TooLong(usize),
    #[error("path {0:?} holds a line break or a backslash, which a manifest cannot carry")]
    Unprintable(String),
}

/// The longest path, in bytes: what Linux opens in one call (PATH_MAX, less the NUL).
pub const MAX_LENGTH: usize = 4095;

impl ArtifactPath {
    /// Takes a path as text.
    pub fn new(path: &str) -> Result<ArtifactPath, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path.len() > MAX_LENGTH {
            return Err(PathError::TooLong(path.len()));
        }
        if path.starts_with('/') {
            return Err(PathError::Absolute(path.into()));
        }
        if path.contains('\0') {
            return Err(PathError::Nul(path.into()));
        }
        if path
            .split('/')
            .any(|component| matches!(component, "" | "." | ".."))
        {
            return Err(PathError::Component(path.into()));
        }
        Ok(ArtifactPath(path.into()))
    }

    /// Takes a path as the file system gives it.
    pub fn from_bytes(path: &[u8]) -> Result<ArtifactPath, PathError> {
        match std::str::from_utf8(path) {
            Ok(text) => ArtifactPath::new(text),
            Err(_) => Err(PathError::NotUtf8(path.into())),
        }
    }

    /// What a directory at `parent` calls `name`: `parent` ends with a slash, unless it is the root of the artifact, and was accepted
    /// before. Printable ones only, if they are to be.
    pub fn beneath(parent: &str, name: &[u8], printable: bool) -> Result<ArtifactPath, PathError> {
        let length = parent.len() + name.len();
        let known = std::str::from_utf8(name).ok();
        let known = known.filter(|name| {
            let is_component = !matches!(*name, "" | "." | "..") && !name.contains(['/', '\0']);
            is_component && length <= MAX_LENGTH && (!printable || is_printable(name.as_bytes()))
        });
        if let Some(name) = known {
            let mut path = String::with_capacity(length);
            path.push_str(parent);
            path.push_str(name);
            return Ok(ArtifactPath(path.into()));
        }
        let path = ArtifactPath::from_bytes(&[parent.as_bytes(), name].concat())?;
        if printable {
            path.printable()?;
        }
        Ok(path)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses names that `sha256sum` would escape: they have no unambiguous manifest line.
    pub fn printable(&self) -> Result<(), PathError> {
        if !is_printable(self.0.as_bytes()) {
            return Err(PathError::Unprintable(self.0.to_string()));
        }
        Ok(())
    }

    /// Is this path `ancestor` itself, or beneath it?
    pub fn is_within(&self, ancestor: &str) -> bool {
        self.0
            .strip_prefix(ancestor)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for ArtifactPath {
    /// Control characters are escaped, so that a file name cannot write to the terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display(&self.0))
    }
}

/// Would `sha256sum` print it as it is?
fn is_printable(path: &[u8]) -> bool {
    !path
        .iter()
        .any(|byte| matches!(byte, b'\n' | b'\r' | b'\\'))
}

/// The same of several lines.
pub fn display_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(display).collect();
    lines.join("\n")
}

/// `text` with control characters, and characters that reorder text, escaped.
pub fn display(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hostile = c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if hostile {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        for name in [
            "a", "a/b", "...", " a ", "a:0:3", "a\\b", "a\nb", "é", "e\u{301}", "-", ".git",
        ] {
            assert_eq!(ArtifactPath::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn escapes_are_refused() {
        for name in [
            "", "/", "/a", "a/", "a//b", ".", "./a", "..", "../a", "a/../b", "a/..", "a\0b",
        ] {
            assert!(ArtifactPath::new(name).is_err(), "{name:?}");
        }
        assert!(ArtifactPath::new(&"a".repeat(MAX_LENGTH)).is_ok());
        assert!(ArtifactPath::new(&"a".repeat(MAX_LENGTH + 1)).is_err());
        assert!(ArtifactPath::from_bytes(b"a\xff").is_err());
    }

    #[test]
    fn beneath_is_as_the_whole_path() {
        let long = "l".repeat(MAX_LENGTH);
        for parent in ["", "a/", "a/é/"] {
            for name in [
                "b", "é", "", ".", "..", "...", "a/b", "/", "a\0b", "a\nb", "\\", "\r", " ", &long,
            ] {
                let whole = format!("{parent}{name}");
                let expected = ArtifactPath::new(&whole);
                let found = ArtifactPath::beneath(parent, name.as_bytes(), false);
                // A name with a slash is none, but it is no path out either.
                assert_eq!(found, expected, "{whole:?}");
                let expected = expected.and_then(|path| path.printable().map(|()| path));
                let found = ArtifactPath::beneath(parent, name.as_bytes(), true);
                assert_eq!(found, expected, "{whole:?}");
            }
        }
        assert!(ArtifactPath::beneath("a/", b"\xff", false).is_err());
    }

    #[test]
    fn names_that_sha256sum_escapes_are_not_printable() {
        for name in ["a\nb", "a\rb", "a\\b"] {
            assert!(ArtifactPath::new(name).unwrap().printable().is_err());
        }
        assert!(ArtifactPath::new("a b/ü").unwrap().printable().is_ok());
    }

    #[test]
    fn within_respects_components() {
        let path = ArtifactPath::new(".git/config").unwrap();
        assert!(path.is_within(".git"));
        assert!(!path.is_within(".gi"));
        assert!(!ArtifactPath::new(".gitignore").unwrap().is_within(".git"));
    }

    #[test]
    fn display_cannot_write_to_the_terminal() {
        assert_eq!(display("a\u{1b}[31m\u{202e}"), "a\\u{1b}[31m\\u{202e}");
    }
}
