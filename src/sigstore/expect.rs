//! Which names are expected: one exactly, or those that a pattern describes from their first character to
//! their last. A pattern that matches only a part of a name, as other tools read it, admits
//! `https://github.com/you-and-somebody-else`.

use std::fmt;

use regex::Regex;

/// A name, or a pattern of names.
#[derive(Clone, Debug)]
pub enum Expect {
    Exact(String),
    Pattern(Box<Pattern>),
}

/// A regular expression that a whole name must match.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    anchored: Regex,
}

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    #[error("the pattern {text:?} is not a regular expression: {why}")]
    Syntax { text: String, why: String },
    #[error("the pattern {0:?} matches every name")]
    Everything(String),
    #[error("an expected name is empty")]
    Empty,
}

/// What a compiled pattern may take.
const MAX_COMPILED: usize = 1024 * 1024;

impl Expect {
    /// Exactly this name.
    pub fn exact(text: &str) -> Result<Expect, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(Expect::Exact(text.into()))
    }

    /// Any name that the regular expression describes as a whole.
    pub fn pattern(text: &str) -> Result<Expect, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let compile = |text: &str| {
            regex::RegexBuilder::new(text)
                .size_limit(MAX_COMPILED)
                .dfa_size_limit(MAX_COMPILED)
                .build()
        };
        let syntax = |error: regex::Error| PatternError::Syntax {
            text: text.into(),
            why: error.to_string().lines().last().unwrap_or_default().into(),
        };
        // By itself first, so that `a)|(b` cannot close the group it is put into.
        compile(text).map_err(syntax)?;
        let anchored = compile(&format!(r"\A(?:{text})\z")).map_err(syntax)?;
        // Nobody is called this.
        if anchored.is_match("") || anchored.is_match("\u{1}weighbridge\u{1}") {
            return Err(PatternError::Everything(text.into()));
        }
        let text = text.into();
        Ok(Expect::Pattern(Box::new(Pattern { text, anchored })))
    }

    /// Is `name` expected?
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Expect::Exact(expected) => !name.is_empty() && expected == name,
            Expect::Pattern(pattern) => !name.is_empty() && pattern.anchored.is_match(name),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Exact(text) => f.write_str(text),
            Expect::Pattern(pattern) => write!(f, "a name like {}", pattern.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_counts() {
        let pattern = Expect::pattern(r"https://github\.com/you/.*@refs/tags/v[0-9.]+").unwrap();
        assert!(pattern.matches("https://github.com/you/m/.github/workflows/r.yml@refs/tags/v1.2"));
        assert!(!pattern.matches("https://github.com/you/m/r.yml@refs/tags/v1.2-evil"));
        assert!(!pattern.matches("x https://github.com/you/m/r.yml@refs/tags/v1.2"));
        assert!(!pattern.matches("https://github.com/you/m\n/r.yml@refs/tags/v1.2"));
        let either = Expect::pattern("a|b").unwrap();
        assert!(either.matches("a") && either.matches("b"));
        assert!(!either.matches("ab") && !either.matches("xb") && !either.matches("ax"));
        let lines = Expect::pattern("(?m)a$").unwrap();
        assert!(!lines.matches("a\nb"));
        // A comment would swallow what anchors the pattern.
        assert!(Expect::pattern("(?x)a # comment").is_err());
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "(",
            "a)|(b",
            ".*",
            "(?s).*",
            "x?",
            "[^a]*|b",
            "(a{1000}){1000}",
        ] {
            assert!(Expect::pattern(text).is_err(), "{text}");
        }
        assert!(Expect::exact("").is_err());
        assert!(!Expect::exact("a").unwrap().matches("A"));
    }
}
