//! The artifact that a verb is about, and its signature: the same flags for every verb.

use std::num::NonZero;
use std::path::PathBuf;

use super::context::{self, Config, ReadRequest};
use super::failure::Failure;
use super::output::Output;
use super::receipts::Reuse;
use crate::artifact::{Artifact, Known, Names, StatCache, Symlinks};
use crate::digest::Algorithm;
use crate::gate;
use crate::report::{ClockSource, ReportDocument, text};
use crate::time::Timestamp;
use crate::verify::{ArtifactEvidence, Report};

/// Which artifact.
#[derive(clap::Args)]
pub(super) struct TargetArgs {
    /// File or directory
    pub(super) path: PathBuf,
    /// The signature; unless given, model.sig in the directory, or FILE.sig beside the file
    #[arg(long, value_name = "FILE")]
    pub(super) signature: Option<PathBuf>,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    pub(super) jobs: Option<NonZero<usize>>,
}

/// An artifact that was opened.
pub(super) struct Target<'a> {
    args: &'a TargetArgs,
    pub(super) artifact: Artifact,
    /// Where its signature is, or would be.
    pub(super) signature: PathBuf,
}

impl TargetArgs {
    /// What the signature of each artifact in a catalogue is called.
    pub(super) fn signature_name(&self) -> Result<PathBuf, Failure> {
        let name = self.signature.clone().unwrap_or_else(|| "model.sig".into());
        let mut parts = name.components();
        match (parts.next(), parts.next()) {
            (Some(std::path::Component::Normal(_)), None) => Ok(name),
            _ => Err(Failure::error(
                "with --catalogue, --signature is the name of a file inside each artifact",
            )),
        }
    }

    pub(super) fn open(&self) -> Result<Target<'_>, Failure> {
        let artifact = Artifact::open(&self.path)?;
        let given = self.signature.clone();
        let signature = given.unwrap_or_else(|| gate::default_signature(&artifact));
        Ok(Target {
            args: self,
            artifact,
            signature,
        })
    }
}

impl Target<'_> {
    /// Lists and hashes it, without its signature and the other standard exclusions.
    pub(super) fn read(
        &self,
        algorithms: &[Algorithm],
        names: Names,
        reuse: Reuse<'_>,
        output: &Output,
    ) -> Result<ArtifactEvidence, Failure> {
        reuse.with(&self.artifact, algorithms, output, |known| {
            self.read_with(algorithms, names, known, output)
        })
    }

    /// The same, with what is known without reading, and what is to be kept of it.
    pub(super) fn read_with(
        &self,
        algorithms: &[Algorithm],
        names: Names,
        known: Known<'_>,
        output: &Output,
    ) -> Result<ArtifactEvidence, Failure> {
        let request = ReadRequest {
            exclusions: &gate::exclusions(&self.artifact, &self.signature),
            algorithms,
            symlinks: Symlinks::Refuse,
            names,
            jobs: self.args.jobs,
            known,
            direct: false,
        };
        context::read(&self.artifact, &request, output)
    }

    /// The same for what will be signed or recorded: anything that is not a plain file is refused.
    pub(super) fn read_complete(
        &self,
        algorithms: &[Algorithm],
        output: &Output,
    ) -> Result<ArtifactEvidence, Failure> {
        self.read_to_sign(algorithms, None, output)
    }

    /// The same with receipts of earlier hashing, if the user asked for them, and to make new ones.
    pub(super) fn read_to_sign(
        &self,
        algorithms: &[Algorithm],
        receipts: Option<&StatCache>,
        output: &Output,
    ) -> Result<ArtifactEvidence, Failure> {
        let evidence = self.read_with(algorithms, Names::Printable, Known::by(receipts), output)?;
        context::complete(&self.args.path, &evidence)?;
        Ok(evidence)
    }

    /// What was found out about it, as a document.
    pub(super) fn document(
        &self,
        command: &str,
        report: Report,
        config: Option<&Config>,
        not_checked: &[&str],
    ) -> ReportDocument {
        let path = self.args.path.display().to_string();
        let clock = (context::now(), ClockSource::Local);
        document((command, path), report, config, not_checked, clock)
    }

    /// Prints that; the exit code.
    pub(super) fn report(
        &self,
        command: &str,
        report: Report,
        config: Option<&Config>,
        not_checked: &[&str],
        output: &Output,
    ) -> Result<u8, Failure> {
        print(&self.document(command, report, config, not_checked), output)
    }
}

/// What `command` found out about what is called `path`.
pub(super) fn document(
    (command, path): (&str, String),
    mut report: Report,
    config: Option<&Config>,
    not_checked: &[&str],
    clock: (Timestamp, ClockSource),
) -> ReportDocument {
    let policy = config.map(Config::summary);
    // What to type next is to be typed as it stands.
    for hint in report
        .findings
        .iter_mut()
        .filter_map(|one| one.hint.as_mut())
    {
        if hint.contains(" PATH") {
            *hint = hint.replace(" PATH", &format!(" {}", quoted(&path)));
        }
    }
    ReportDocument::new(command, path, report, policy, not_checked, clock)
}

/// As a shell takes it for one word.
fn quoted(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@,".contains(&byte);
    if path.bytes().all(plain) && !path.starts_with('-') {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', "'\\''"))
}

/// The answer alone.
pub(super) fn first_line(document: &ReportDocument) -> String {
    let text = text::render(document);
    let end = text.find('\n').map_or(text.len(), |end| end + 1);
    text.get(..end).unwrap_or_default().to_owned()
}

/// Prints a report; the exit code.
pub(super) fn print(document: &ReportDocument, output: &Output) -> Result<u8, Failure> {
    if output.json {
        output.document(document)?;
    } else {
        output.data(&text::render(document))?;
    }
    Ok(document.exit_code)
}
