//! `ledger monitor`: follows a log from where it stopped, and raises alerts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::history::state_directory;
use crate::cli::output::Output;
use crate::cli::{Global, Outcome, values};
use crate::digest::Sha256;
use crate::disk::{self, Access, Existing};
use crate::gate::cause;
use crate::ledger::facts::facts;
use crate::ledger::memory::goes_on;
use crate::ledger::monitor::{Alert, MAX_RULES, Rules, Watched};
use crate::ledger::{Log, MemoryError, Store};
use crate::tlog_policy::TlogPolicy;

/// Watch a log: that it only grows, and that its records are what they should be
///
/// Alerts are JSON, one per line on standard output. Exit code 0: nothing was found, 1: alerts, 2: it
/// could not be checked. It goes on where it stopped.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger monitor --state watch.json
  weighbridge ledger monitor --state watch.json --rules rules.toml || test $? = 1
  weighbridge ledger monitor --state watch.json --exec ./alert.sh
  weighbridge ledger monitor --state watch.json --every 30s    until it is stopped")]
pub(super) struct MonitorArgs {
    /// What to watch for; see the documentation of `ledger::monitor`
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Where it stopped; unless given, a file of its own in the state directory
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Run this program for each alert, with the JSON on its standard input
    #[arg(long, value_name = "PROGRAM")]
    exec: Option<PathBuf>,
    /// Go on, and look this often
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    every: Option<Duration>,
}

/// Where the monitor stopped.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The note of the checkpoint up to which everything was looked at.
    note: Option<String>,
    watched: Watched,
}

const MAX_STATE: u64 = 64 << 20;
/// How long the program for an alert may take.
const EXEC_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn run(
    args: &MonitorArgs,
    global: &Global,
    store: &dyn Store,
    trust: &TlogPolicy,
    output: &Output,
) -> Outcome {
    let rules = match &args.rules {
        None => Rules::default(),
        Some(path) => {
            let bytes = disk::read(path, MAX_RULES)?;
            let text = std::str::from_utf8(&bytes)
                .map_err(|error| Failure::because(path.display(), &error))?;
            Rules::parse(text).map_err(|error| {
                Failure::error(format!(
                    "{}: {}",
                    path.display(),
                    error.to_string().trim_end()
                ))
            })?
        }
    };
    let path = place(args, global, trust)?;
    loop {
        let code = match look(args, &rules, &path, store, trust, output) {
            Ok(0) => 0,
            Ok(_) => 1,
            Err(failure) if args.every.is_some() => {
                output.warn(format!("{}; tries again", failure.text()));
                2
            }
            Err(failure) => return Err(failure),
        };
        match args.every {
            Some(every) => std::thread::sleep(every),
            None => return Ok(code),
        }
    }
}

fn place(args: &MonitorArgs, global: &Global, trust: &TlogPolicy) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.state {
        return Ok(path.clone());
    }
    let directory = global.state_dir.clone().or_else(state_directory);
    let directory = directory.ok_or_else(|| {
        Failure::error("there is no place to remember where the monitor stopped")
            .hint("name a file with --state")
    })?;
    let directory = directory.join("monitors");
    disk::create_directory(&directory)?;
    let name = Sha256::of(trust.log().name().as_bytes());
    Ok(directory.join(format!("{name}.json")))
}

/// Looks at what is new. How many alerts were raised.
fn look(
    args: &MonitorArgs,
    rules: &Rules,
    path: &Path,
    store: &dyn Store,
    trust: &TlogPolicy,
    output: &Output,
) -> Result<u64, Failure> {
    let mut state: State = match disk::read(path, MAX_STATE) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            Failure::because(path.display(), &error).hint("remove it to begin with the first entry")
        })?,
        Err(error) if error.is_not_found() => State::default(),
        Err(error) => return Err(error.into()),
    };
    let mut alerts = 0;
    let mut raise = |alert: &Alert| -> Result<(), Failure> {
        alerts += 1;
        report(alert, trust, args.exec.as_deref(), output)
    };
    let log = Log::open(store, trust)?;
    let mut first = 0;
    if let Some(note) = &state.note {
        match goes_on(&log, note.as_bytes(), path) {
            Ok(_) => first = known_size(note),
            Err(error) if error.is_contradiction() => {
                let rule = match error {
                    MemoryError::Fork(_) => "log.fork",
                    _ => "log.rollback",
                };
                let message = format!(
                    "{}; shown now: {:?}; seen before: {note:?}",
                    cause(&error),
                    String::from_utf8_lossy(log.note())
                );
                raise(&Alert {
                    rule,
                    index: None,
                    message,
                })?;
                return Ok(alerts);
            }
            Err(error) => return Err(Failure::error(cause(&error))),
        }
    }
    // Nothing is said about entries that were not proved: they are looked at first, and judged when
    // all of them lead to the signed root.
    let mut seen = Vec::new();
    log.scan_from(first, |index, entry| seen.push((index, facts(entry))))?;
    for (index, facts) in &seen {
        for alert in rules.look(*index, facts, &mut state.watched) {
            raise(&alert)?;
        }
    }
    let opened = trust
        .examine(log.note())
        .map_err(|error| Failure::error(error.to_string()))?;
    if let Some(alert) = rules.age(opened.vouched, context::now()) {
        raise(&alert)?;
    }
    output.say(format!(
        "looked at entries {first} to {}: {alerts} alerts",
        log.checkpoint().size
    ));
    // Only now: who is killed before this sees its alerts again.
    state.note = Some(String::from_utf8_lossy(log.note()).into_owned());
    let bytes = serde_json::to_vec_pretty(&state)
        .map_err(|error| Failure::because(path.display(), &error))?;
    disk::write(path, &bytes, Existing::Replace, Access::Shared)?;
    Ok(alerts)
}

fn known_size(note: &str) -> u64 {
    let size = note.lines().nth(1).and_then(crate::checkpoint::decimal);
    size.unwrap_or(0)
}

fn report(
    alert: &Alert,
    trust: &TlogPolicy,
    exec: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let mut line = serde_json::to_value(alert).unwrap_or_default();
    if let Some(line) = line.as_object_mut() {
        line.insert("log".into(), trust.log().name().into());
    }
    let line = format!("{line}\n");
    output.bytes(line.as_bytes())?;
    if let Some(program) = exec
        && let Err(why) = execute(program, line.as_bytes())
    {
        output.warn(format!("{}: {why}", program.display()));
    }
    Ok(())
}

/// Runs `program` with `line` on its standard input, and waits for it, but not for ever.
fn execute(program: &Path, line: &[u8]) -> Result<(), String> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input is no failure of ours.
        _ = input.write_all(line);
    }
    let until = Instant::now() + EXEC_LIMIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("ended with {status}")),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                _ = child.kill();
                _ = child.wait();
                return Err(format!("took more than {} seconds", EXEC_LIMIT.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
