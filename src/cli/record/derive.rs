//! `record derive`: the flags, and the record they make.

use std::path::Path;

use super::recorder::Recorder;
use super::{CommonArgs, flag, text};
use crate::artifact::{Artifact, ArtifactDigest, Exclusions, Known, Names, Symlinks};
use crate::cli::context::{self, ReadRequest};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::values;
use crate::digest::{Algorithm, Sha256};
use crate::gate;
use crate::statement::acquire::{ManifestReference, Retrieved};
use crate::statement::derive::{Derive, Input, Relation, Zone};
use crate::statement::{Record, SubjectDigest, Text, TimeSource};
use crate::time::Timestamp;

/// Record what an artifact was made from: the data it was trained on, the model it was tuned from
///
/// `weighbridge trace` follows these records from where data came from to every model that holds it.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge record derive --relation trained-on --input training-data=./data ./model
    weighbridge record derive --relation fine-tuned --input base-model=./model ./my-model")]
pub(super) struct DeriveArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// How it was made
    #[arg(long, value_parser = values::word::<Relation>(values::RELATIONS), value_name = "WORD", required_unless_present_any = ["from", "template"], conflicts_with = "from")]
    relation: Option<Relation>,
    /// What it was made from: a file or directory, or its digest as dirHash1:HEX or sha256:HEX; with ROLE= before
    /// it, what it was used as
    #[arg(long, required_unless_present_any = ["from", "template"], conflicts_with = "from", value_name = "[ROLE=]ARTIFACT")]
    input: Vec<String>,
    /// The commit of the code that made it
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    code: Option<String>,
    /// SHA-256 of the parameters
    #[arg(long, value_name = "HEX", conflicts_with = "from")]
    params: Option<Sha256>,
    /// The run, as whoever runs it calls it
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    run_id: Option<String>,
    /// When making it began, in RFC 3339
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    start: Option<Timestamp>,
    /// When it ended; unless given, when it began
    #[arg(long, value_name = "TIME", requires = "start", conflicts_with = "from")]
    end: Option<Timestamp>,
    /// Where it was made
    #[arg(long, value_parser = values::word::<Zone>(values::ZONES), value_name = "WORD", conflicts_with = "from")]
    zone: Option<Zone>,
}

/// The inputs that `args` name; files are read.
pub(super) fn inputs(args: &DeriveArgs, output: &Output) -> Result<Vec<Input>, Failure> {
    args.input
        .iter()
        .map(|text| input("input", text, output))
        .collect()
}

/// An artifact that is named by path or digest, with what it is used as before it.
pub(super) fn input(name: &str, given: &str, output: &Output) -> Result<Input, Failure> {
    let is_role = |role: &str| {
        !role.is_empty()
            && role
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    let (role, artifact) = match given.split_once('=') {
        Some((role, _)) if is_role(role) && Path::new(given).symlink_metadata().is_ok() => {
            return Err(Failure::error(format!(
                "--{name} {shown}: there is a file of this name: write ./{shown}, or what it is used as before it",
                shown = crate::path::display(given)
            )));
        }
        Some((role, artifact)) if is_role(role) => (Some(role), artifact),
        _ => (None, given),
    };
    let role = role.map(|role| flag(name, Text::new(role))).transpose()?;
    if let Some(digest) = parse_digest(artifact) {
        return Ok(Input {
            name: None,
            digest: SubjectDigest::new(digest, None),
            role,
        });
    }
    let opened = Artifact::open(Path::new(artifact))?;
    let signature = gate::default_signature(&opened);
    let request = ReadRequest {
        exclusions: &Exclusions::standard(opened.locate(&signature)),
        algorithms: &[Algorithm::Sha256],
        symlinks: Symlinks::Refuse,
        names: Names::Printable,
        jobs: None,
        known: Known::NOTHING,
        direct: false,
    };
    let evidence = context::read(&opened, &request, output)?;
    context::complete(Path::new(artifact), &evidence)?;
    let digest = evidence.manifest.artifact_digest();
    let digest = digest.map_err(|error| Failure::because(artifact, &error))?;
    Ok(Input {
        name: Text::new(crate::path::display(&opened.name())).ok(),
        digest: SubjectDigest::new(digest, None),
        role,
    })
}

/// `dirHash1:HEX` or `sha256:HEX`.
pub(in crate::cli) fn parse_digest(text: &str) -> Option<ArtifactDigest> {
    let (name, hex) = text.split_once(':')?;
    let digest = hex.to_ascii_lowercase().parse().ok()?;
    match name {
        "dirHash1" => Some(ArtifactDigest::DirHash1(digest)),
        "sha256" => Some(ArtifactDigest::Sha256(digest)),
        _ => None,
    }
}

/// The record of `args` about `manifest`, which was made from `inputs`.
pub(super) fn record(
    args: &DeriveArgs,
    recorder: &Recorder<'_>,
    inputs: Vec<Input>,
    manifest: ManifestReference,
) -> Result<Record, Failure> {
    let made = args.start.map(|start| Retrieved {
        start,
        end: args.end.unwrap_or(start),
    });
    if made.is_some_and(|made| made.end < made.start) {
        return Err(Failure::error("--end is before --start"));
    }
    if inputs.len() > 128 {
        return Err(Failure::error("a record has at most 128 inputs"));
    }
    Ok(Record::Derive(Box::new(Derive {
        time: recorder.now(),
        time_source: TimeSource::Local,
        actor: recorder.actor(),
        log: recorder.log(),
        relation: args
            .relation
            .ok_or_else(|| Failure::error("--relation is missing"))?,
        inputs,
        code: text("--code", args.code.as_ref())?,
        params_sha256: args.params,
        run_id: text("--run-id", args.run_id.as_ref())?,
        made,
        environment_zone: args.zone,
        manifest,
    })))
}
