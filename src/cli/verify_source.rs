//! `verify --source`: are the files still those that their source publishes? By asking it, or by the evidence
//! that was recorded when they were acquired.

use super::acquire::{self, SNAPSHOT};
use super::context::{self, Config};
use super::failure::Failure;
use super::history::History;
use super::output::Output;
use super::target::TargetArgs;
use super::{Global, Outcome, keyring};
use crate::artifact::ArtifactDigest;
use crate::envelope::Envelope;
use crate::finding::{Finding, Rule, Severity};
use crate::gate::cause;
use crate::git::snapshot::{Snapshot, SnapshotProof};
use crate::ledger::tile::MAX_ENTRY;
use crate::ledger::{self, Log};
use crate::source::hub::{Hub, HubSource};
use crate::statement::acquire::Acquire;
use crate::statement::{Record, Statement, Text};
use crate::verify::{Report, authorised};

const NOT_CHECKED: &[&str] = &[
    "signatures",
    "policy rules and roles",
    "what the files contain",
];

/// What the source is, as far as the user said.
struct Wanted<'a> {
    source: Option<HubSource>,
    hub: &'a Hub,
    artifact: Option<ArtifactDigest>,
}

pub(super) fn run(
    args: &TargetArgs,
    source: &str,
    offline: bool,
    global: &Global,
    output: &Output,
) -> Outcome {
    let target = args.open()?;
    let artifact = &target.artifact;
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
    let given: Option<HubSource> = match given {
        Some(text) => Some(
            text.parse()
                .map_err(|error| Failure::because("--source", &error))?,
        ),
        None => None,
    };
    let offline = acquire::is_offline(offline);
    let hub = acquire::hub(offline)?;
    let evidence = acquire::read(artifact, args.jobs, output)?;
    let recorded_as = acquire::as_recorded(artifact, &evidence);
    let mut report = Report {
        artifact: evidence.digest().and(recorded_as.digest()),
        files: evidence.manifest.files().len(),
        bytes: evidence.manifest.bytes(),
        ..Report::default()
    };
    let wanted = Wanted {
        source: given,
        hub: &hub,
        artifact: report.artifact,
    };
    let config = Config::find(global)?;
    let known = if offline || wanted.source.is_none() {
        recorded(&wanted, config.as_ref(), global, output)?
    } else {
        None
    };
    let snapshot = match (offline, &wanted.source, known) {
        (true, _, known) => known.map(|known| known.snapshot),
        (false, Some(source), _) => {
            let published = acquire::published(&hub, source)?;
            let message = format!(
                "{source} is commit {}, asked just now",
                published.snapshot.commit
            );
            report
                .findings
                .push(Finding::new(Rule::SourceEvidence, Severity::Pass, message));
            Some(published.snapshot)
        }
        (false, None, Some(known)) => {
            let source = known.source(&hub)?;
            let published = acquire::published(&hub, &source)?;
            let message = format!(
                "{source}, which record {} names, asked just now",
                known.index
            );
            report
                .findings
                .push(Finding::new(Rule::SourceEvidence, Severity::Pass, message));
            Some(published.snapshot)
        }
        (false, None, None) => None,
    };
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
    if let Some(snapshot) = snapshot {
        if offline {
            let commit = snapshot.commit;
            let message = format!("the objects of commit {commit}, as they were recorded");
            let finding = Finding::new(Rule::SourceEvidence, Severity::Pass, message);
            report.findings.push(finding);
        }
        let judged = acquire::judge(artifact, &evidence, &snapshot);
        report.findings.extend(judged.findings);
    } else {
        let message =
            "no acquire record by a trusted key is about these very files and holds evidence";
        let finding = Finding::new(Rule::SourceEvidence, Severity::Inconclusive, message);
        report
            .findings
            .push(finding.hint(
                "if they were changed since, name the source: --source=hf:ORG/NAME@REVISION",
            ));
    }
    target.report("verify", report, config.as_ref(), NOT_CHECKED, output)
}

/// An acquire record with its evidence, proved.
struct Known {
    index: u64,
    record: Box<Acquire>,
    snapshot: Snapshot,
}

impl Known {
    /// The source that the record names, if it is of this hub.
    fn source(&self, hub: &Hub) -> Result<HubSource, Failure> {
        let uri = self.record.source_uri.as_str();
        let revision = self.snapshot.commit;
        let place = hub.place(uri).ok_or_else(|| {
            Failure::error(format!("record {} names another hub: {uri}", self.index))
                .hint("name it with HF_ENDPOINT, or verify with --offline")
        })?;
        format!("hf:{place}@{revision}")
            .parse()
            .map_err(|error| Failure::because(uri, &error))
    }
}

/// The newest acquire record of what is wanted, by somebody trusted, whose evidence holds.
fn recorded(
    wanted: &Wanted<'_>,
    config: Option<&Config>,
    global: &Global,
    output: &Output,
) -> Result<Option<Known>, Failure> {
    let config = match config {
        Some(config) => config,
        None => &Config::load(global)?,
    };
    let now = context::now();
    let store = context::store(config)?;
    let log = Log::open(&*store, &config.policy.log.trust)?;
    History::new(global, Some(config), config.policy.log.trust.log(), output).demand(&log)?;
    let ring = keyring::read(&*store, config, now)?;
    let mut found: Option<(u64, Box<Acquire>)> = None;
    log.scan(|index, bytes| {
        let Ok(envelope) = Envelope::parse(bytes, MAX_ENTRY) else {
            return;
        };
        let Ok(statement) = Statement::parse(&envelope.payload) else {
            return;
        };
        if !is_wanted(&statement, wanted)
            || authorised(&envelope, &statement, (index, ring.policy()), now).is_err()
        {
            return;
        }
        if let Record::Acquire(record) = statement.record {
            found = Some((index, record));
        }
    })?;
    let Some((index, record)) = found else {
        return Ok(None);
    };
    let place = format!("record {index}");
    let attached = record
        .attachments
        .iter()
        .find(|one| one.name.as_str() == SNAPSHOT);
    let Some(attached) = attached else {
        return Ok(None);
    };
    let bytes = ledger::blob(&*store, &attached.sha256)?;
    let proof = SnapshotProof::parse(&bytes).map_err(|error| Failure::because(&place, &error))?;
    let snapshot = proof.snapshot().map_err(|error| {
        Failure::refused(vec![format!(
            "{place}: its evidence proves nothing: {}",
            cause(&error)
        )])
    })?;
    if record.revision.as_ref().map(Text::as_str) != Some(snapshot.commit.to_string().as_str()) {
        let message = format!(
            "{place}: its evidence is of commit {}, not of its revision",
            snapshot.commit
        );
        return Err(Failure::refused(vec![message]));
    }
    output.say(format!(
        "by {place}: {} at {}",
        record.source_uri, snapshot.commit
    ));
    Ok(Some(Known {
        index,
        record,
        snapshot,
    }))
}

/// Is this an acquire record with evidence, of the source that is asked for, or of these very files?
fn is_wanted(statement: &Statement, wanted: &Wanted<'_>) -> bool {
    let Record::Acquire(record) = &statement.record else {
        return false;
    };
    if !record
        .attachments
        .iter()
        .any(|one| one.name.as_str() == SNAPSHOT)
    {
        return false;
    }
    let Some(source) = &wanted.source else {
        return wanted.artifact.is_some() && statement.artifact() == wanted.artifact;
    };
    let revision = |text: &str| {
        let is = |it: &Option<Text>| it.as_ref().is_some_and(|it| it.as_str() == text);
        is(&record.revision) || is(&record.requested_revision)
    };
    record.source_uri.as_str() == wanted.hub.address(source)
        && source.revision.as_deref().is_none_or(revision)
}
