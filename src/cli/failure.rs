//! How a verb ends early: refused (exit 1) or could not be done (exit 2), with what to do next.

use std::fmt;

use crate::gate::cause;

/// An error for a person.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// What, where, why: one line each.
    pub(super) lines: Vec<String>,
    pub(super) hint: Option<String>,
    /// What was done before, for a program that reads the answer.
    pub(super) done: Option<serde_json::Value>,
}

/// Which exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The artifact was looked at and is not acceptable.
    Refused,
    /// It could not be done.
    Error,
    /// Nobody reads our output any more.
    Pipe,
}

impl Failure {
    pub(super) fn error(message: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::Error,
            lines: vec![message.into()],
            hint: None,
            done: None,
        }
    }

    pub(super) fn refused(lines: Vec<String>) -> Failure {
        Failure {
            kind: FailureKind::Refused,
            lines,
            hint: None,
            done: None,
        }
    }

    /// An error of the library in the context of what was being done.
    pub(super) fn because(context: impl fmt::Display, error: &dyn std::error::Error) -> Failure {
        Failure::error(format!("{context}: {}", cause(error)))
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn done(mut self, done: serde_json::Value) -> Failure {
        self.done = Some(done);
        self
    }

    /// The words alone.
    pub(super) fn text(self) -> String {
        self.lines.join("; ")
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self.kind {
            FailureKind::Refused => 1,
            FailureKind::Error | FailureKind::Pipe => 2,
        }
    }
}

/// Errors that need no context: the message names the file.
macro_rules! from_error {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::error(cause(&error))
            }
        }
    )*};
}

from_error!(
    crate::disk::DiskError,
    crate::ledger::LedgerError,
    crate::ledger::StoreError,
    crate::json::JsonError,
    crate::path::PathError,
    crate::note::NoteError
);

#[cfg(feature = "index")]
from_error!(crate::ledger::index::IndexError);

impl From<crate::artifact::walk::ArtifactError> for Failure {
    fn from(error: crate::artifact::walk::ArtifactError) -> Failure {
        use crate::artifact::walk::ArtifactError;
        match error {
            ArtifactError::Link { .. } | ArtifactError::Special { .. } | ArtifactError::Name(_) => {
                Failure::refused(vec![error.to_string()])
            }
            error => Failure::error(cause(&error)),
        }
    }
}
