//! `ledger append`: entries that were signed elsewhere, or, on request, any bytes.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use serde_json::json;

use crate::cli::context::{self, Config};
use crate::cli::failure::Failure;
use crate::cli::keys::PassphraseArgs;
use crate::cli::log_access::{Acknowledgement, LogAccess, say_recovery};
use crate::cli::output::Output;
use crate::cli::{Global, Outcome, keyring, values};
use crate::disk;
use crate::envelope::Envelope;
use crate::ledger::commit::MAX_BATCH;
use crate::ledger::tile::MAX_ENTRY;
use crate::ledger::{self, Level, MAX_BLOB, Store, Writer};
use crate::statement::{Record, Statement};
use crate::verify::{Keyring, Taken, authorised};

/// Append signed records that were made elsewhere
///
/// Prints the index of each, in order, once it is acknowledged. An entry that is in the log already
/// keeps its index.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger append record.dsse
  weighbridge ledger append --blob manifest.json record.dsse
  weighbridge ledger append --lines - < records.jsonl
  weighbridge ledger append --ack committed record.dsse    without the log key; a publisher follows")]
pub(super) struct AppendArgs {
    /// Files with one entry each; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Each line of the files is an entry
    #[arg(long)]
    lines: bool,
    /// Append the bytes as they are: no signature is asked for, and no gate will count them
    #[arg(long)]
    opaque: bool,
    /// Put this file into the ledger first, under its digest: a manifest that the records name
    #[arg(long = "blob", value_name = "FILE")]
    blobs: Vec<PathBuf>,
    /// How many entries go into one batch at most
    #[arg(long, value_name = "N", default_value_t = MAX_BATCH,
          value_parser = values::number(1, MAX_BATCH))]
    batch: usize,
    #[command(flatten)]
    acknowledgement: Acknowledgement,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(args: &AppendArgs, global: &Global, config: &Config, output: &Output) -> Outcome {
    let mut reader = args.passphrase.reader();
    let log = LogAccess::open((global, config), args.acknowledgement, &mut reader, output)?;
    let mut batcher = Batcher {
        args,
        config,
        store: log.store(),
        writer: log.writer(),
        level: log.level,
        ring: None,
        waiting: Vec::new(),
        indices: Vec::new(),
    };
    for file in &args.blobs {
        ledger::put_blob(log.store(), &disk::read(file, MAX_BLOB)?)?;
    }
    let appended = batcher.files(output);
    let document = json!({ "indices": batcher.indices, "acknowledged": batcher.level });
    // What is in the log has an index, whatever came after it.
    appended.map_err(|failure| failure.done(document.clone()))?;
    log.remember()?;
    if output.json {
        output.document(&document)?;
    }
    Ok(0)
}

struct Batcher<'a> {
    args: &'a AppendArgs,
    config: &'a Config,
    store: &'a dyn Store,
    writer: Writer<'a>,
    level: Level,
    /// The keys as the ledger has them, once somebody signed whom the policy does not name.
    ring: Option<Keyring<'a>>,
    waiting: Vec<Vec<u8>>,
    indices: Vec<u64>,
}

impl Batcher<'_> {
    fn files(&mut self, output: &Output) -> Result<(), Failure> {
        for file in &self.args.files {
            self.file(file, output)?;
        }
        self.flush(output)
    }

    fn file(&mut self, path: &std::path::Path, output: &Output) -> Result<(), Failure> {
        let name = path.display().to_string();
        let failed =
            |error: &std::io::Error| Failure::because(format!("cannot read {name}"), error);
        let mut input: Box<dyn Read> = if path.as_os_str() == "-" {
            Box::new(std::io::stdin().lock())
        } else if self.args.lines {
            Box::new(std::fs::File::open(path).map_err(|error| failed(&error))?)
        } else {
            Box::new(std::io::Cursor::new(disk::read(path, MAX_ENTRY as u64)?))
        };
        if !self.args.lines {
            let mut entry = Vec::new();
            let limit = MAX_ENTRY as u64 + 1;
            let read = (&mut input).take(limit).read_to_end(&mut entry);
            read.map_err(|error| failed(&error))?;
            return self.entry(entry, &name, output);
        }
        let mut lines = BufReader::with_capacity(1 << 20, input);
        for number in 1_u64.. {
            let mut line = Vec::new();
            let limit = MAX_ENTRY as u64 + 2;
            let read = (&mut lines).take(limit).read_until(b'\n', &mut line);
            if read.map_err(|error| failed(&error))? == 0 {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            self.entry(line, &format!("{name}:{number}"), output)?;
            // Who writes into a pipe line by line waits for the answer.
            if !lines.buffer().contains(&b'\n') && path.as_os_str() == "-" {
                self.flush(output)?;
            }
        }
        Ok(())
    }

    /// Would a gate count this entry? That its key was revoked in the ledger is left to the gate.
    fn acceptable(&mut self, entry: &[u8]) -> Result<(), String> {
        let envelope = Envelope::parse(entry, MAX_ENTRY)
            .map_err(|error| format!("is not a signed envelope: {error}"))?;
        let statement = Statement::parse(&envelope.payload).map_err(|error| error.to_string())?;
        let now = context::now();
        if let Record::Key(_) = &statement.record {
            // What it says of keys depends on what the ledger says of them.
            let mut ring = keyring::read(self.store, self.config, now)
                .map_err(|failure| failure.lines.join("; "))?;
            return match ring.take(u64::MAX, entry) {
                Taken::Counts => Ok(()),
                Taken::Ignored(why) | Taken::Retires(why) | Taken::Unknown(why) => Err(why),
                Taken::Foreign => Err("key is not by a trusted key, or is in the ledger".into()),
            };
        }
        let count = |policy| authorised(&envelope, &statement, (u64::MAX, policy), now).map(|_| ());
        let Err(why) = count(&self.config.policy) else {
            return Ok(());
        };
        if self.ring.is_none() {
            self.ring = keyring::read(self.store, self.config, now).ok();
        }
        match &self.ring {
            Some(ring) => count(ring.policy()),
            None => Err(why),
        }
    }

    fn entry(&mut self, entry: Vec<u8>, place: &str, output: &Output) -> Result<(), Failure> {
        if !self.args.opaque {
            if let Err(why) = self.acceptable(&entry) {
                self.flush(output)?;
                return Err(Failure::refused(vec![format!("{place}: {why}")]).hint(
                    "what stood before it was appended, nothing after it; --opaque appends any bytes",
                ));
            }
            self.has_blobs(&entry, place, output)?;
        }
        self.waiting.push(entry);
        if self.waiting.len() >= self.args.batch {
            self.flush(output)?;
        }
        Ok(())
    }

    /// A record whose manifest is not in the ledger says nothing about any file, and evidence that is not there
    /// is none.
    fn has_blobs(&mut self, entry: &[u8], place: &str, output: &Output) -> Result<(), Failure> {
        for digest in ledger::named_blobs(entry) {
            if self.store.exists(&ledger::blob_key(&digest))? {
                continue;
            }
            self.flush(output)?;
            let why = format!(
                "{place}: sha256:{digest}, its manifest or attached to it, is not in the ledger"
            );
            return Err(Failure::refused(vec![why]).hint("add it with --blob FILE"));
        }
        Ok(())
    }

    fn flush(&mut self, output: &Output) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.waiting);
        let appended = self.writer.append(&entries, self.level)?;
        say_recovery(appended.recovery, output);
        if output.json {
            self.indices.extend(appended.indices);
            return Ok(());
        }
        output.lines(appended.indices.iter().map(|index| format!("{index}\n")))
    }
}
