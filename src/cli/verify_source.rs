//! `verify --source`: are the files still those that their source publishes? By asking it, or by the evidence
//! that was recorded when they were acquired.

use std::path::Path;

use std::collections::BTreeMap;

use super::acquire::{self, Against, CheckArgs, Recorded, Source, Wanted};
use super::context::{self, Config};
use super::failure::Failure;
use super::output::Output;
use super::receipts::RehashArgs;
use super::target::{TargetArgs, document, print};
use super::{Global, Outcome};
use crate::artifact::{Artifact, ArtifactDigest, checksum_list, manifest};
use crate::digest::{Algorithm, Digest, Sha256};
use crate::finding::{Finding, Rule, Severity};
use crate::gate::cause;
use crate::git::snapshot::SnapshotProof;
use crate::path::ArtifactPath;
use crate::report::ClockSource;
use crate::source::archive::{MEMBERS, Members};
use crate::source::https::LIST;
use crate::source::hub::SNAPSHOT;
use crate::source::oci::{self, MANIFEST};
use crate::source::published::{Expected, PublishedFile, algorithms, of_manifest, of_snapshot};
use crate::statement::Text;
use crate::statement::acquire::Acquire;
use crate::verify::{Report, checked_files, receipt_finding};

const NOT_CHECKED: &[&str] = &[
    "signatures",
    "policy rules and roles",
    "what the files contain",
];

/// What the files are compared with.
struct Basis {
    files: BTreeMap<ArtifactPath, PublishedFile>,
    name: String,
    /// Where it is from, for people.
    how: String,
    /// It says something of some files, and nothing of others.
    is_open: bool,
}

impl Basis {
    fn against(&self) -> Against<'_> {
        Against {
            files: &self.files,
            name: &self.name,
            is_open: self.is_open,
        }
    }
}

pub(super) fn run(
    (args, offline): (&TargetArgs, bool),
    (source, checks, rehash): (&str, &CheckArgs, &RehashArgs),
    global: &Global,
    output: &Output,
) -> Outcome {
    if let Some(remote) = remote(&args.path)? {
        if !source.is_empty() || offline {
            return Err(Failure::error(format!(
                "{remote} is the source itself: leave out what --source names, and --offline"
            )));
        }
        return at_source(&remote, checks, global, output);
    }
    let target = args.open()?;
    let artifact = &target.artifact;
    let given = named(source, artifact)?;
    let offline = acquire::is_offline(offline);
    let config = Config::find(global)?;
    let reuse = rehash.reuse(config.as_ref(), global, output);
    let evidence = acquire::read(artifact, &[Algorithm::Sha256], args.jobs, reuse, output)?;
    let recorded_as = acquire::as_recorded(artifact, &evidence);
    let mut report = Report {
        artifact: evidence.digest().and(recorded_as.digest()),
        files: evidence.manifest.files().len(),
        bytes: evidence.manifest.bytes(),
        ..Report::default()
    };
    let wanted = Wanted {
        uri: given.as_ref().map(Source::uri).transpose()?,
        revision: given.as_ref().and_then(Source::revision),
        artifact: report.artifact,
    };
    let known = if offline || given.is_none() {
        recorded(&wanted, artifact, config.as_ref(), global, output)?
    } else {
        None
    };
    let basis = match (offline, given, known) {
        (true, _, known) => known.map(|known| known.basis),
        (false, Some(source), _) => Some(asked(&source, artifact, (checks, ""), output)?),
        (false, None, Some(known)) => {
            let record = &known.recorded.record;
            if known.recorded.is_of_checkout() {
                return Err(Failure::error(format!(
                    "record {} is of a checkout, which no server is asked about",
                    known.recorded.index
                ))
                .hint("verify with --offline, by the commit that was recorded"));
            }
            let revision = record.revision.as_ref().map(Text::as_str);
            let is_single = matches!(known.recorded.subject, Some(ArtifactDigest::Sha256(_)));
            let source = Source::of_record(record.source_uri.as_str(), revision, is_single);
            let source = source.map_err(|failure| {
                failure.hint("verify with --offline, or name the source: --source=SOURCE")
            })?;
            let named = format!(", which record {} names", known.recorded.index);
            Some(asked(&source, artifact, (checks, &named), output)?)
        }
        (false, None, None) => None,
    };
    let mut evidence = evidence;
    if let Some(basis) = &basis {
        let needed = algorithms(&basis.files);
        if needed.len() > 1 {
            // Only now it is known by which digests the source tells its files.
            evidence = acquire::read(artifact, &needed, args.jobs, reuse, output)?;
        }
        evidence = acquire::without_signature(artifact, evidence, &basis.files);
    }
    report.checked = checked_files(&evidence);
    report.findings.extend(receipt_finding(&report.checked));
    for finding in evidence
        .obstacles
        .iter()
        .map(crate::verify::obstacle_finding)
        .chain(evidence.faults.iter().map(crate::verify::fault_finding))
        .chain(evidence.not_covered.iter().map(|path| {
            let message = "is left out: the source is not asked about it";
            Finding::new(Rule::ArtifactNotCovered, Severity::Note, message).at(path.to_string())
        }))
    {
        report.findings.push(finding);
    }
    if let Some(basis) = basis {
        let finding = Finding::new(Rule::SourceEvidence, Severity::Pass, basis.how.clone());
        report.findings.push(finding);
        let judged = acquire::judge(&mut acquire::reader(artifact), &evidence, &basis.against());
        report.findings.extend(judged);
        report.findings.extend(unknown(&basis.files));
    } else {
        let message = "no acquire record by a trusted key is about these very files";
        let finding = Finding::new(Rule::SourceEvidence, Severity::Inconclusive, message);
        report
            .findings
            .push(finding.hint(
                "if they were changed since, name the source: --source=hf:ORG/NAME@REVISION",
            ));
    }
    target.report("verify", report, config.as_ref(), NOT_CHECKED, output)
}

/// The source that the user names, or that the cache around the artifact is of.
fn named(source: &str, artifact: &Artifact) -> Result<Option<Source>, Failure> {
    let given = match source {
        "" => artifact.hub().filter(|cache| cache.named).map(|cache| {
            let kind = match cache.kind.as_str() {
                "models" => String::new(),
                kind => format!("{kind}/"),
            };
            format!("hf:{kind}{}@{}", cache.name, cache.commit)
        }),
        source => Some(source.to_owned()),
    };
    match given {
        Some(text) => {
            let source: Result<Source, String> = text.parse();
            let failed = |why| Failure::error(format!("--source: {why}"));
            source.map(Some).map_err(failed)
        }
        None => Ok(None),
    }
}

/// The source that is named in the place of a path: what is verified lies there, and not here.
pub(super) fn remote(path: &Path) -> Result<Option<Source>, Failure> {
    let Some(text) = path.to_str().filter(|text| text.contains(':')) else {
        return Ok(None);
    };
    if path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    let source: Result<Source, String> = text.parse();
    source.map(Some).map_err(Failure::error)
}

/// Is what lies at the source now what was recorded when it was acquired? Every byte is read, and none is kept.
fn at_source(source: &Source, checks: &CheckArgs, global: &Global, output: &Output) -> Outcome {
    let config = Config::load(global)?;
    let wanted = Wanted {
        uri: Some(source.uri()?),
        revision: source.revision(),
        artifact: None,
    };
    let mut report = Report::default();
    if let Some(recorded) = Recorded::find(&wanted, &config, global, output)? {
        let place = format!("record {}", recorded.index);
        let lines = manifest::parse(&recorded.manifest()?, Algorithm::Sha256);
        let lines = lines.map_err(|error| Failure::because(&place, &error))?;
        let name = match lines.first() {
            Some(line) => line.path.as_str().to_owned(),
            None => String::new(),
        };
        let files = of_manifest(lines);
        let channel = source.channel(Path::new(&name), checks, false)?;
        let mut published = acquire::ask(&*channel, source)?;
        acquire::list_archives(&*channel, &mut published)?;
        let evidence = acquire::read_remote(&*channel, &published, acquire::DEFAULTS, output)?;
        report.artifact = evidence.digest();
        report.files = evidence.manifest.files().len();
        report.bytes = evidence.manifest.bytes();
        let message = format!("what was acquired from {source}, as {place} has it");
        let finding = Finding::new(Rule::SourceEvidence, Severity::Pass, message);
        report.findings.push(finding);
        let basis = format!("what {place} is about");
        report.findings.extend(acquire::judge(
            &mut |_| Err("it is not here".into()),
            &evidence,
            &Against {
                files: &files,
                name: &basis,
                is_open: false,
            },
        ));
    } else {
        let message = "no acquire record by a trusted key is about this source";
        let finding = Finding::new(Rule::SourceEvidence, Severity::Inconclusive, message);
        let hint = format!("record it first: weighbridge acquire --stream {source}");
        report.findings.push(finding.hint(hint));
    }
    let named = ("verify", source.to_string());
    let clock = (context::now(), ClockSource::Local);
    print(
        &document(named, report, Some(&config), NOT_CHECKED, clock),
        output,
    )
}

/// What the source publishes now. Of what it publishes no digest, the content is read again.
fn asked(
    source: &Source,
    artifact: &Artifact,
    (checks, named): (&CheckArgs, &str),
    output: &Output,
) -> Result<Basis, Failure> {
    let channel = source.channel(artifact.path(), checks, false)?;
    let mut published = acquire::ask(&*channel, source)?;
    acquire::list_archives(&*channel, &mut published)?;
    acquire::learn(&*channel, &mut published.files, acquire::DEFAULTS, output)?;
    Ok(Basis {
        how: format!("{source}{named} is {}, asked just now", published.name),
        is_open: published.is_open,
        name: published.name,
        files: published.files,
    })
}

/// Files that could not be compared, because nothing tells what they should be.
fn unknown(files: &BTreeMap<ArtifactPath, PublishedFile>) -> Vec<Finding> {
    let unknown = files.iter().filter(|(_, file)| !file.is_known());
    let finding = |(path, _): (&ArtifactPath, _)| {
        let message = "its source publishes nothing by which its content is known";
        Finding::new(Rule::SourceEvidence, Severity::Inconclusive, message).at(path.to_string())
    };
    unknown.map(finding).collect()
}

/// What an acquire record says the files are.
struct Known {
    recorded: Recorded,
    basis: Basis,
}

/// By the newest acquire record of what is wanted.
fn recorded(
    wanted: &Wanted,
    artifact: &Artifact,
    config: Option<&Config>,
    global: &Global,
    output: &Output,
) -> Result<Option<Known>, Failure> {
    let config = match config {
        Some(config) => config,
        None => &Config::load(global)?,
    };
    let Some(recorded) = Recorded::find(wanted, config, global, output)? else {
        return Ok(None);
    };
    let (files, name) = evidence(&recorded, artifact)?;
    let index = recorded.index;
    output.say(format!(
        "by record {index}: {} is {name}",
        recorded.record.source_uri
    ));
    let basis = Basis {
        how: format!("{name}, as record {index} has it"),
        name,
        files,
        is_open: false,
    };
    Ok(Some(Known { recorded, basis }))
}

type Files = BTreeMap<ArtifactPath, PublishedFile>;

/// What the files are by the evidence of a record; by its manifest, if it has none that names them.
fn evidence(recorded: &Recorded, artifact: &Artifact) -> Result<(Files, String), Failure> {
    let record = &recorded.record;
    let place = format!("record {}", recorded.index);
    let refuse = |why: String| Failure::refused(vec![format!("{place}: {why}")]);
    if let Some(bytes) = recorded.attached(SNAPSHOT)? {
        let proof = SnapshotProof::parse(&bytes);
        let proof = proof.map_err(|error| Failure::because(&place, &error))?;
        let snapshot = proof
            .snapshot()
            .map_err(|error| refuse(format!("its evidence proves nothing: {}", cause(&error))))?;
        let commit = snapshot.commit.to_string();
        if record.revision.as_ref().map(Text::as_str) != Some(commit.as_str()) {
            return Err(refuse(format!(
                "its evidence is of commit {commit}, not of its revision"
            )));
        }
        return Ok((of_snapshot(&snapshot), format!("commit {commit}")));
    }
    if let Some(bytes) = recorded.attached(MANIFEST)? {
        return of_oci(&bytes, recorded).map_err(|failure| match failure {
            Some(failure) => failure,
            None => refuse("its evidence is not of its revision".into()),
        });
    }
    if let Some(ArtifactDigest::Sha256(sha256)) = recorded.subject {
        let name = artifact.name();
        if let Some(list) = recorded.attached(LIST)? {
            on_list(&list, record, sha256).map_err(refuse)?;
        }
        let digest = Digest {
            algorithm: Algorithm::Sha256,
            bytes: sha256.0.into(),
        };
        let file = PublishedFile::new(Expected::Digest(digest), name.clone());
        let files = BTreeMap::from([(ArtifactPath::new(&name)?, file)]);
        return Ok((files, format!("SHA-256 {sha256}")));
    }
    let text = recorded.manifest()?;
    let lines = manifest::parse(&text, Algorithm::Sha256);
    let lines = lines.map_err(|error| Failure::because(&place, &error))?;
    let name = format!("what was acquired then, {} files", lines.len());
    Ok((of_manifest(lines), name))
}

/// The files of an OCI manifest, and of the archives that it names. `Err(None)` if it is another manifest.
fn of_oci(bytes: &[u8], recorded: &Recorded) -> Result<(Files, String), Option<Failure>> {
    let name = oci::manifest::name(bytes);
    if recorded.record.revision.as_ref().map(Text::as_str) != Some(name.as_str()) {
        return Err(None);
    }
    let context = |error: &dyn std::error::Error| {
        Some(Failure::because(
            format!("record {}", recorded.index),
            error,
        ))
    };
    let (_, found) = oci::files_of(bytes).map_err(|error| context(&error))?;
    let mut files = found.files;
    if !found.packed.is_empty() {
        let members = recorded.attached(MEMBERS).map_err(Some)?;
        let members = Members::parse(&members.ok_or(None)?).map_err(|error| context(&error))?;
        for packed in &found.packed {
            files.extend(members.of(packed).ok_or(None)?);
        }
    }
    Ok((files, format!("manifest {name}")))
}

/// The publisher's list that a record keeps must say what the record says.
fn on_list(list: &[u8], record: &Acquire, sha256: Sha256) -> Result<(), String> {
    let named = record.source_uri.as_str().rsplit('/').next();
    let named = named.unwrap_or_default();
    let found = checksum_list::find(list, named);
    match found.or_else(|| checksum_list::only(list, named)) {
        Some(digest) if digest.algorithm == Algorithm::Sha256 && *digest.bytes != sha256.0 => {
            Err(format!(
                "the publisher's list has {}, and it has {sha256}",
                digest.hex()
            ))
        }
        _ => Ok(()),
    }
}
