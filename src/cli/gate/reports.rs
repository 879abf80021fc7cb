//! The outputs of a decision that pipelines read, several at once; and the signed summary.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Decision;
use crate::artifact::Artifact;
use crate::cli::context::{Config, variable};
use crate::cli::failure::Failure;
use crate::cli::keys::PassphraseArgs;
use crate::cli::output::Output;
use crate::cli::record::signing_key;
use crate::cli::{Global, signers};
use crate::disk::{self, Access, Existing};
use crate::envelope::{Envelope, IN_TOTO};
use crate::key::Signer;
use crate::report::{ReportDocument, github, gitlab, junit, sarif, text, vsa};

/// What else is written.
#[derive(Args)]
pub(super) struct ReportArgs {
    /// Write the report in another form as well: text, json, sarif, junit, gitlab, github; once for each. `github` without
    /// a file prints annotations, and fills the summary and the outputs of the step
    #[arg(long, value_name = "FORM[=FILE]")]
    report: Vec<String>,
    /// Write the verdict to this file as a SLSA Verification Summary, signed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["at", "receipt"])]
    vsa: Option<PathBuf>,
    /// The private key that signs it; unless given, the one that the policy names
    #[arg(long, value_name = "FILE", requires = "vsa")]
    vsa_key: Option<PathBuf>,
    /// What it is about, as those who read it call it; unless given, the artifact's digest
    #[arg(long, value_name = "URI", requires = "vsa")]
    vsa_resource: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// A form, and where it goes.
pub(super) struct ReportSpec {
    form: Form,
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Sarif,
    Junit,
    Gitlab,
    Github,
}

const FORMS: [(&str, Form); 6] = [
    ("text", Form::Text),
    ("json", Form::Json),
    ("sarif", Form::Sarif),
    ("junit", Form::Junit),
    ("gitlab", Form::Gitlab),
    ("github", Form::Github),
];

impl ReportArgs {
    /// Makes sure that nothing of the artifact is written over, and that no earlier verdict is taken for this one: what is
    /// there goes before anything is judged.
    pub(super) fn clear(
        &self,
        specs: &[ReportSpec],
        (artifact, policy): (&Artifact, &Path),
    ) -> Result<(), Failure> {
        let files = specs.iter().filter_map(|spec| spec.file.as_ref());
        for file in files.chain(&self.vsa) {
            if file.as_os_str() == "-" {
                return Err(Failure::error("a report goes into a file; - is none")
                    .hint("name one; --json prints the report"));
            }
            let is_it = |other: &Path| {
                let real = |path: &Path| std::fs::canonicalize(path).ok();
                real(file).is_some() && real(file) == real(other)
            };
            if artifact.locate(file).is_some() || is_it(artifact.path()) || is_it(policy) {
                return Err(Failure::error(format!(
                    "{} is part of what is judged, or judges it: no report goes there",
                    file.display()
                )));
            }
            if file.is_file() {
                disk::remove_file(file)?;
            }
        }
        Ok(())
    }

    pub(super) fn specs(&self) -> Result<Vec<ReportSpec>, Failure> {
        self.report.iter().map(|text| spec(text)).collect()
    }

    /// Opens the key that signs the summary, if one is wanted.
    pub(super) fn open(&self, global: &Global, output: &Output) -> Result<Summary, Failure> {
        let Some(file) = &self.vsa else {
            return Ok(Summary(None));
        };
        let config = Config::load(global)?;
        let path = signing_key(self.vsa_key.clone(), &config)?;
        let mut reader = self.passphrase.reader();
        Ok(Summary(Some(Wanted {
            key: signers::open(&path, None, &mut reader, output)?,
            file: file.clone(),
            resource: self.vsa_resource.clone(),
        })))
    }
}

fn spec(text: &str) -> Result<ReportSpec, Failure> {
    let (name, file) = match text.split_once('=') {
        Some((name, file)) => (name, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let form = FORMS.iter().find(|(known, _)| *known == name);
    let Some((_, form)) = form else {
        let all: Vec<&str> = FORMS.iter().map(|(name, _)| *name).collect();
        return Err(Failure::error(format!(
            "--report {}: there is no such form",
            crate::path::display(text)
        ))
        .hint(format!("there are: {}", all.join(", "))));
    };
    if file.is_none() && *form != Form::Github {
        return Err(Failure::error(format!(
            "--report {name} needs a file: --report {name}=FILE"
        )));
    }
    Ok(ReportSpec { form: *form, file })
}

impl ReportSpec {
    pub(super) fn write_all(
        specs: &[ReportSpec],
        document: &ReportDocument,
        output: &Output,
    ) -> Result<(), Failure> {
        specs.iter().try_for_each(|one| one.write(document, output))
    }

    fn write(&self, document: &ReportDocument, output: &Output) -> Result<(), Failure> {
        let pretty = |value: &serde_json::Value| format!("{value:#}\n");
        let text = match self.form {
            Form::Text => anstream::adapter::strip_str(&text::render(document)).to_string(),
            Form::Json => pretty(&serde_json::to_value(document).unwrap_or_default()),
            Form::Sarif => pretty(&sarif::render(document)),
            Form::Junit => junit::render(document),
            Form::Gitlab => pretty(&gitlab::render(document)),
            Form::Github => github::annotations(document),
        };
        match &self.file {
            Some(file) => Ok(disk::write(
                file,
                text.as_bytes(),
                Existing::Replace,
                Access::Shared,
            )?),
            None => in_github(document, &text, output),
        }
    }
}

/// Annotations on standard error, which the runner reads as well; what the step's files take.
fn in_github(document: &ReportDocument, text: &str, output: &Output) -> Result<(), Failure> {
    output.annotate(text);
    for (name, text) in [
        ("GITHUB_STEP_SUMMARY", github::summary(document)),
        ("GITHUB_OUTPUT", github::outputs(document)),
    ] {
        if let Some(file) = variable(name) {
            append(&file, &text)
                .map_err(|error| Failure::because(format!("{name} {file}"), &error))?;
        }
    }
    Ok(())
}

/// These files are the runner's: what other steps wrote stays.
fn append(file: &str, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)?;
    file.write_all(text.as_bytes())
}

/// The signed summary, if one is wanted.
pub(super) struct Summary(Option<Wanted>);

struct Wanted {
    key: Box<dyn Signer>,
    file: PathBuf,
    resource: Option<String>,
}

impl Summary {
    pub(super) fn write(&self, decision: &Decision) -> Result<(), Failure> {
        let Some(wanted) = &self.0 else {
            return Ok(());
        };
        let Some(digest) = decision.digest else {
            return Err(Failure::error(
                "there is no summary of an artifact that could not be read",
            ));
        };
        let resource = wanted.resource.clone();
        let resource = resource.unwrap_or_else(|| format!("urn:weighbridge:{digest}"));
        let payload = vsa::statement(&decision.document, digest, &resource)?;
        let key_id = wanted.key.public().key_id().to_string();
        let envelope = Envelope::sign(payload, IN_TOTO, &*wanted.key, &key_id)
            .map_err(|error| Failure::error(error.to_string()))?;
        let bytes = envelope.to_json()?;
        Ok(disk::write(
            &wanted.file,
            &bytes,
            Existing::Replace,
            Access::Shared,
        )?)
    }
}
