//! `trace`: which datasets hold data from somewhere, and which models were made from them. Answers from the ledger alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use serde::Serialize;

use super::context::{self, Config};
use super::failure::Failure;
use super::history::History;
use super::output::Output;
use super::record::parse_digest;
use super::{Global, Outcome, keyring};
use crate::artifact::ArtifactDigest;
use crate::digest::Sha256;
use crate::envelope::Envelope;
use crate::gate::cause;
use crate::ledger::tile::MAX_ENTRY;
use crate::ledger::{self, Log, Store};
use crate::path::display;
use crate::report::text::count;
use crate::statement::acquire::Acquire;
use crate::statement::derive::Derive;
use crate::statement::items::{self, ITEMS};
use crate::statement::source_pattern::SourcePattern;
use crate::statement::{Record, SourceUri, Statement};
use crate::time::Timestamp;
use crate::verify::authorised;

/// Find the datasets that hold data from a source, and the models that were made from them
///
/// By the acquire records of the ledger, file by file where they list their items, and from there through derive records,
/// any number of steps. Records by keys that the policy does not trust are not counted, and their number is told.
#[derive(clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true),
    after_help = "Examples:
  weighbridge trace --source example.com --between 2026-01-01 2026-06-30
  weighbridge trace --source https://example.com/forum/
  weighbridge trace --digest sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

Exit codes: 0 the question is answered, whatever the answer; 2 it could not be."
)]
pub(super) struct TraceArgs {
    /// A domain, with all beneath it, or the beginning of an address
    #[arg(long, group = "what", value_name = "DOMAIN|URL")]
    source: Option<String>,
    /// A file or an artifact by its digest: sha256:HEX or dirHash1:HEX
    #[arg(long, group = "what", value_name = "DIGEST")]
    digest: Option<String>,
    /// Only what was retrieved between these: dates (both included) or times in RFC 3339. What has no time is told, too
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], requires = "source")]
    between: Option<Vec<String>>,
}

/// What is looked for.
enum Wanted {
    Source(SourcePattern),
    Digest(Sha256),
}

/// When.
type Window = (Timestamp, Timestamp);

/// What was found.
#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    datasets: Vec<Dataset>,
    derived: Vec<Derived>,
    /// Records that are not by a trusted key, or cannot be read: they are not counted.
    records_not_counted: usize,
}

/// An artifact that was acquired.
#[derive(Serialize)]
struct Dataset {
    artifact: String,
    name: String,
    record: u64,
    source: String,
    /// How many of its items match; of a record without items, absent.
    items: Option<u64>,
    items_in_all: Option<u64>,
    /// Of those that match, how many have no time.
    without_time: u64,
    /// Some of them.
    examples: Vec<String>,
}

/// An artifact that was made from one of those.
#[derive(Serialize)]
struct Derived {
    artifact: String,
    name: String,
    record: u64,
    relation: crate::statement::derive::Relation,
    from: String,
}

/// How many items are shown.
const EXAMPLES: usize = 5;

pub(super) fn run(args: &TraceArgs, global: &Global, output: &Output) -> Outcome {
    let wanted = wanted(args)?;
    let window = match args.between.as_deref() {
        Some([from, to]) => Some((time(from, false)?, time(to, true)?)),
        _ => None,
    };
    if window.is_some_and(|(from, to)| to < from) {
        return Err(Failure::error("--between: the second is before the first"));
    }
    let config = Config::load(global)?;
    let now = context::now();
    let store = context::store(&config)?;
    let log = Log::open(&*store, &config.policy.log.trust)?;
    History::new(global, Some(&config), config.policy.log.trust.log(), output).demand(&log)?;
    let ring = keyring::read(&*store, &config, now)?;
    let mut answer = Answer {
        schema: "https://weighbridge.dev/trace/v1",
        datasets: Vec::new(),
        derived: Vec::new(),
        records_not_counted: 0,
    };
    let mut records = Records::default();
    log.scan(|index, bytes| {
        let envelope = Envelope::parse(bytes, MAX_ENTRY).ok();
        let statement = envelope
            .as_ref()
            .and_then(|envelope| Statement::parse(&envelope.payload).ok());
        let (Some(envelope), Some(statement)) = (envelope, statement) else {
            answer.records_not_counted += 1;
            return;
        };
        if !matches!(statement.record, Record::Acquire(_) | Record::Derive(_)) {
            return;
        }
        if authorised(&envelope, &statement, (index, ring.policy()), now).is_err() {
            answer.records_not_counted += 1;
            return;
        }
        records.take(index, statement);
    })?;
    let mut start: Vec<Sha256> = Vec::new();
    for (index, statement) in &records.acquired {
        let look = Look {
            wanted: &wanted,
            window,
            edges: &records.edges,
        };
        if let Some(found) = look.dataset(&*store, (*index, statement), &mut start)? {
            start.extend(statement.artifact().map(ArtifactDigest::value));
            answer.datasets.push(found);
        }
    }
    if let Wanted::Digest(digest) = &wanted {
        start.push(*digest);
        // A file of something that was made is in what was made from that, too.
        for (_, statement) in &records.derived {
            if let Some(manifest) = statement.record.manifest()
                && manifest_has(&*store, manifest.sha256, digest)?
            {
                start.extend(statement.artifact().map(ArtifactDigest::value));
            }
        }
    }
    answer.derived = records.from(&start);
    say(&answer, output)
}

/// The records that count, each once.
#[derive(Default)]
struct Records {
    acquired: Vec<(u64, Statement)>,
    derived: Vec<(u64, Statement)>,
    /// By what they were made from, in `derived`.
    edges: BTreeMap<Sha256, Vec<usize>>,
}

impl Records {
    fn take(&mut self, index: u64, statement: Statement) {
        let Record::Derive(record) = &statement.record else {
            self.acquired.push((index, statement));
            return;
        };
        let inputs = record.inputs.iter();
        let place = self.derived.len();
        for input in inputs.filter_map(|one| one.digest.artifact()) {
            let made = self.edges.entry(input.value()).or_default();
            if made.last() != Some(&place) {
                made.push(place);
            }
        }
        self.derived.push((index, statement));
    }

    /// Everything that was made from `start`, each once, nearest first.
    fn from(&self, start: &[Sha256]) -> Vec<Derived> {
        let mut reached: BTreeSet<u64> = BTreeSet::new();
        let mut known: BTreeSet<Sha256> = BTreeSet::new();
        let mut pending: VecDeque<Sha256> = start.iter().copied().collect();
        let mut all = Vec::new();
        while let Some(from) = pending.pop_front() {
            if !known.insert(from) {
                continue;
            }
            for place in self.edges.get(&from).into_iter().flatten() {
                let Some((index, statement)) = self.derived.get(*place) else {
                    continue;
                };
                let (Record::Derive(record), Some(artifact)) =
                    (&statement.record, statement.artifact())
                else {
                    continue;
                };
                pending.push_back(artifact.value());
                if reached.insert(*index) {
                    let [subject] = &statement.subject;
                    all.push(Derived {
                        artifact: artifact.to_string(),
                        name: subject.name.to_string(),
                        record: *index,
                        relation: record.relation,
                        from: input(record, from),
                    });
                }
            }
        }
        all
    }
}

fn wanted(args: &TraceArgs) -> Result<Wanted, Failure> {
    if let Some(text) = &args.digest {
        let digest = parse_digest(text).map(ArtifactDigest::value);
        return digest.map(Wanted::Digest).ok_or_else(|| {
            Failure::error(format!(
                "--digest: {:?} is not sha256:HEX or dirHash1:HEX",
                display(text)
            ))
        });
    }
    let source = args.source.as_deref().unwrap_or_default().parse();
    source
        .map(Wanted::Source)
        .map_err(|error| Failure::because("--source", &error))
}

/// A time, or a day: its start or its end.
fn time(text: &str, is_end: bool) -> Result<Timestamp, Failure> {
    let whole = match (text.len(), is_end) {
        (10, false) => format!("{text}T00:00:00.000Z"),
        (10, true) => format!("{text}T23:59:59.999Z"),
        _ => text.to_owned(),
    };
    whole
        .parse()
        .map_err(|error| Failure::because(format!("--between {}", display(text)), &error))
}

impl Wanted {
    fn is_from(&self, uri: &str) -> bool {
        match self {
            Wanted::Source(pattern) => pattern.matches(uri),
            Wanted::Digest(_) => false,
        }
    }
}

/// Was it then? `None` if nobody knows.
fn within(window: Option<Window>, times: Option<Window>) -> Option<bool> {
    let Some((from, to)) = window else {
        return Some(true);
    };
    let (start, end) = times?;
    Some(start <= to && from <= end)
}

/// What is looked for, and what could be made from it.
struct Look<'a> {
    wanted: &'a Wanted,
    window: Option<Window>,
    edges: &'a BTreeMap<Sha256, Vec<usize>>,
}

impl Look<'_> {
    /// What an acquire record says of what is looked for, if anything. Files of it from which something was made by
    /// themselves go to `start`.
    fn dataset(
        &self,
        store: &dyn Store,
        (index, statement): (u64, &Statement),
        start: &mut Vec<Sha256>,
    ) -> Result<Option<Dataset>, Failure> {
        let (Record::Acquire(record), Some(artifact)) = (&statement.record, statement.artifact())
        else {
            return Ok(None);
        };
        let [subject] = &statement.subject;
        let mut found = Dataset {
            artifact: artifact.to_string(),
            name: subject.name.to_string(),
            record: index,
            source: record.source_uri.to_string(),
            items: None,
            items_in_all: None,
            without_time: 0,
            examples: Vec::new(),
        };
        let mut any = false;
        let attached = record
            .attachments
            .iter()
            .find(|one| one.name.as_str() == ITEMS);
        if let Some(attached) = attached {
            let bytes = ledger::blob(store, &attached.sha256).map_err(|error| {
                let why = cause(&error);
                Failure::error(format!("record {index}: its items cannot be read: {why}")).hint(
                    "a ledger without its blobs cannot answer: fetch them, or ask another copy",
                )
            })?;
            let items = self.items(&bytes, &mut found, start);
            let from_there = items
                .map_err(|error| Failure::because(format!("record {index}: its items"), &error))?;
            any |= found.items.unwrap_or_default() > 0;
            // The items know better than the record where each is from, and when; unless none is from there.
            any |= from_there == 0 && self.whole(record, artifact, &mut found);
        } else if let Wanted::Digest(digest) = self.wanted {
            any |= artifact.value() == *digest;
            any |= manifest_has(store, record.manifest.sha256, digest)?;
        } else if self.whole(record, artifact, &mut found) {
            any = true;
            // Of all of it, so of each of its files.
            let text = ledger::blob(store, &record.manifest.sha256)?;
            let lines = text.split(|byte| *byte == b'\n');
            let digests = lines.filter_map(|line| {
                std::str::from_utf8(line.get(..64)?)
                    .ok()?
                    .parse::<Sha256>()
                    .ok()
            });
            start.extend(digests.filter(|digest| self.edges.contains_key(digest)));
        }
        Ok(any.then_some(found))
    }

    /// Is all of it from there, and then?
    fn whole(&self, record: &Acquire, artifact: ArtifactDigest, found: &mut Dataset) -> bool {
        if let Wanted::Digest(digest) = self.wanted {
            return artifact.value() == *digest;
        }
        let http = record.authentication.http.as_ref();
        let elsewhere = http.into_iter().flat_map(|http| {
            http.final_uri
                .iter()
                .chain(&http.redirects)
                .map(SourceUri::as_str)
        });
        let mut addresses = std::iter::once(record.source_uri.as_str()).chain(elsewhere);
        if !addresses.any(|uri| self.wanted.is_from(uri)) {
            return false;
        }
        let times = record.retrieved.map(|times| (times.start, times.end));
        let is_then = within(self.window, times);
        found.without_time += u64::from(is_then.is_none());
        is_then != Some(false)
    }

    /// How many items are from there, whenever.
    fn items(
        &self,
        bytes: &[u8],
        found: &mut Dataset,
        start: &mut Vec<Sha256>,
    ) -> Result<u64, crate::json::JsonError> {
        let (mut matching, mut all, mut from_there) = (0, 0, 0);
        for item in items::read(bytes) {
            let item = item?;
            all += 1;
            let is = match self.wanted {
                Wanted::Digest(digest) => item.sha256 == *digest,
                wanted @ Wanted::Source(_) => {
                    let end = item.final_url.as_ref();
                    wanted.is_from(item.url.as_str())
                        || end.is_some_and(|url| wanted.is_from(url.as_str()))
                }
            };
            if !is {
                continue;
            }
            from_there += 1;
            match within(self.window, item.retrieved_at.map(|at| (at, at))) {
                Some(false) => continue,
                Some(true) => {}
                None => found.without_time += 1,
            }
            matching += 1;
            start.extend(Some(item.sha256).filter(|one| self.edges.contains_key(one)));
            if found.examples.len() < EXAMPLES {
                found
                    .examples
                    .push(format!("{} from {}", item.path, item.url));
            }
        }
        found.items = Some(matching);
        found.items_in_all = Some(all);
        Ok(from_there)
    }
}

fn manifest_has(store: &dyn Store, manifest: Sha256, digest: &Sha256) -> Result<bool, Failure> {
    let text = ledger::blob(store, &manifest)?;
    let hex = digest.to_string();
    Ok(text
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(hex.as_bytes())))
}

/// The input as the record spells it.
fn input(record: &Derive, from: Sha256) -> String {
    let all = record.inputs.iter().filter_map(|one| one.digest.artifact());
    let mut same = all.filter(|one| one.value() == from);
    same.next()
        .map_or_else(|| from.to_string(), |one| one.to_string())
}

fn say(answer: &Answer, output: &Output) -> Outcome {
    if answer.records_not_counted > 0 {
        output.warn(format!(
            "{} by nobody trusted, or of no known kind: not counted",
            count(answer.records_not_counted, "record")
        ));
    }
    if output.json {
        return output.document(answer).map(|()| 0);
    }
    // Writing to a string cannot fail.
    let mut text = String::new();
    for one in &answer.datasets {
        _ = writeln!(
            text,
            "{} {} (record {}), from {}",
            one.name, one.artifact, one.record, one.source
        );
        if let (Some(items), Some(all)) = (one.items, one.items_in_all) {
            _ = writeln!(text, "  {items} of {all} items");
        }
        if one.without_time > 0 {
            _ = writeln!(
                text,
                "  {} with no time on record: they may be from then",
                one.without_time
            );
        }
        for example in &one.examples {
            _ = writeln!(text, "  {example}");
        }
    }
    for one in &answer.derived {
        let relation = serde_json::to_value(one.relation).unwrap_or_default();
        _ = writeln!(
            text,
            "{} {} (record {}): {} {}",
            one.name,
            one.artifact,
            one.record,
            relation.as_str().unwrap_or_default(),
            one.from
        );
    }
    output.say(format!(
        "{} and {} made from them",
        count(answer.datasets.len(), "acquisition"),
        count(answer.derived.len(), "artifact")
    ));
    output.data(&text).map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_addresses() {
        let domain = Wanted::Source("example.com".parse().unwrap());
        for from in [
            "https://example.com/a",
            "https://a.b.EXAMPLE.com",
            "http://example.com:80/",
        ] {
            assert!(domain.is_from(from), "{from}");
        }
        for other in [
            "https://badexample.com/",
            "https://example.com.evil.org/",
            "hf:example.com/x",
        ] {
            assert!(!domain.is_from(other), "{other}");
        }
        let prefix = Wanted::Source("https://example.com/a/".parse().unwrap());
        assert!(
            prefix.is_from("https://example.com/a/b") && !prefix.is_from("https://example.com/ab")
        );
    }

    #[test]
    fn when() {
        let day = |text: &str, end| time(text, end).unwrap();
        let window = Some((day("2026-01-02", false), day("2026-01-03", true)));
        let at = |text: &str| Some((day(text, false), day(text, false)));
        assert_eq!(within(window, at("2026-01-03T23:00:00Z")), Some(true));
        assert_eq!(within(window, at("2026-01-04")), Some(false));
        assert_eq!(within(window, None), None);
        assert_eq!(within(None, None), Some(true));
        assert!(time("yesterday", false).is_err());
    }
}
