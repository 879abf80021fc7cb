//! The rules of the interface, and the only code that prints.
//!
//! Standard output carries data: digests, a leaf index, a report, JSON. Standard error carries
//! words: progress, remarks, warnings, errors. Colours appear on a terminal only, and never with
//! NO_COLOR. `--quiet` silences remarks, not warnings.
#![expect(clippy::unused_self, reason = "who holds no Output cannot print")]

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::Global;
use super::failure::{Failure, FailureKind};

/// Where results and remarks go.
#[derive(Clone)]
pub(super) struct Output {
    pub(super) json: bool,
    quiet: bool,
}

impl Output {
    pub(super) fn new(global: &Global) -> Output {
        Output {
            json: global.json,
            quiet: global.quiet,
        }
    }

    /// Data, verbatim.
    pub(super) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = anstream::AutoStream::auto(io::stdout()).lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        written.map_err(|error| write_failure(&error))
    }

    /// Bytes, exactly.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(|error| write_failure(&error))
    }

    /// Lines of data, buffered.
    pub(super) fn lines(&self, lines: impl Iterator<Item = String>) -> Result<(), Failure> {
        let mut stdout = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        for line in lines {
            stdout
                .write_all(line.as_bytes())
                .map_err(|error| write_failure(&error))?;
        }
        stdout.flush().map_err(|error| write_failure(&error))
    }

    /// A document as JSON.
    pub(super) fn document<T: Serialize>(&self, document: &T) -> Result<(), Failure> {
        let mut stdout = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        serde_json::to_writer_pretty(&mut stdout, document)
            .map_err(io::Error::from)
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush())
            .map_err(|error| write_failure(&error))
    }

    /// A remark.
    pub(super) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            for line in text.as_ref().lines() {
                anstream::eprintln!("{}", crate::path::display(line));
            }
        }
    }

    /// A warning.
    pub(super) fn warn(&self, text: impl AsRef<str>) {
        let text = crate::path::display(text.as_ref());
        anstream::eprintln!("\u{1b}[1;33mwarning\u{1b}[0m: {text}");
    }

    /// Lines for a program that reads what is said, as they are.
    pub(super) fn annotate(&self, text: &str) {
        anstream::eprint!("{text}");
    }

    /// Is somebody watching, who wants to see progress?
    pub(super) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Prints an error; its exit code.
    pub(super) fn failure(&self, failure: &Failure) -> ExitCode {
        let code = ExitCode::from(failure.exit_code());
        let word = match failure.kind {
            FailureKind::Refused => "refused",
            FailureKind::Error => "error",
            FailureKind::Pipe => return code,
        };
        for message in &failure.lines {
            // A parser's message has lines of its own, which show the place.
            let mut lines = message.lines().map(crate::path::display);
            let first = lines.next().unwrap_or_default();
            anstream::eprintln!("\u{1b}[1;31m{word}\u{1b}[0m: {first}");
            lines.for_each(|line| anstream::eprintln!("  {line}"));
        }
        if let Some(hint) = &failure.hint {
            anstream::eprintln!("hint: {}", crate::path::display(hint));
        }
        if self.json {
            let mut document = serde_json::json!({
                "error": { "kind": word, "messages": failure.lines, "hint": failure.hint },
            });
            if let (Some(done), Some(document)) = (&failure.done, document.as_object_mut()) {
                document.insert("done".into(), done.clone());
            }
            // There is nobody left to tell if this fails.
            _ = self.document(&document);
        }
        code
    }
}

fn write_failure(error: &io::Error) -> Failure {
    let mut failure = Failure::error(format!("cannot write to standard output: {error}"));
    if error.kind() == io::ErrorKind::BrokenPipe {
        failure.kind = FailureKind::Pipe;
    }
    failure
}

/// Prints what clap has to say: help on standard output with exit code 0, a usage error on
/// standard error with 2.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // There is nobody left to tell if this fails.
    _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// A prompt for a passphrase, on the terminal.
pub(super) fn prompt(question: &str) -> Option<io::Result<String>> {
    io::stdin()
        .is_terminal()
        .then(|| rpassword::prompt_password(question))
}
