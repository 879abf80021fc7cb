//! The command line: one file per verb, each going arguments → library → output.
//! The only layer that knows the clock, the terminal and the environment.
//!
//! Data goes to standard output, words to standard error. Exit codes: 0 pass, 1 refused,
//! 2 could not be checked.

#[cfg(feature = "http")]
mod acquire;
mod attach;

mod catalogue;
mod completions;
mod conformance;
mod context;
mod copies;
mod debug;
mod engine;
mod exec;
mod failure;
mod gate;
mod hash;
mod history;
mod init;
#[cfg(feature = "http")]
mod initializer;
mod key;
mod keyless;
mod keyring;
mod keys;
mod ledger;
mod log_access;
mod manifest;
mod oms;
mod output;
mod policy;
mod progress;
mod receipt;
mod receipts;
mod record;
mod seal;
mod seals;
mod sign;
mod signers;
mod signing;
mod target;
mod timestamp;

mod tour;
mod trace;
mod trust;
#[cfg(feature = "sigstore")]
mod trust_root;
mod values;
mod verify;
#[cfg(feature = "http")]
mod verify_source;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use failure::Failure;
use output::Output;

/// Hash, sign and record AI models and datasets in a provenance ledger, and gate them before use.
#[derive(Parser)]
#[command(name = "weighbridge", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 pass, 1 refused, 2 could not be checked.

Examples:
  weighbridge tour                         the whole story on a real model
  weighbridge init                         key, ledger and policy in this directory
  weighbridge sign --record ./model        sign, and record the release
  weighbridge gate ./model                 may it be used?";

/// Flags that every verb takes.
#[derive(clap::Args, Clone)]
struct Global {
    /// Print the result as JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Print results and errors only: no progress, no remarks
    #[arg(long, short, global = true)]
    quiet: bool,
    /// The policy file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WEIGHBRIDGE_CONFIG",
        default_value = "weighbridge.toml"
    )]
    config: PathBuf,
    /// Where the newest checkpoints that were seen are remembered
    #[arg(long, global = true, value_name = "DIR", env = "WEIGHBRIDGE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Neither remember checkpoints nor compare with those that were seen before
    #[arg(long, global = true, conflicts_with = "state_dir")]
    no_memory: bool,
}

#[derive(Subcommand)]
enum Verb {
    Init(init::InitArgs),
    Tour(tour::TourArgs),
    Hash(hash::HashArgs),
    Manifest(manifest::ManifestArgs),
    Sign(sign::SignArgs),
    Verify(Box<verify::VerifyArgs>),
    Seal(Box<seal::SealArgs>),
    #[cfg(feature = "http")]
    Acquire(Box<acquire::AcquireArgs>),
    Record(record::RecordArgs),
    Trace(trace::TraceArgs),
    Gate(Box<gate::GateArgs>),
    Exec(exec::ExecArgs),
    #[cfg(feature = "http")]
    Initializer(initializer::InitializerArgs),
    Policy(policy::PolicyArgs),
    Ledger(ledger::LedgerArgs),
    Timestamp(timestamp::TimestampArgs),
    Key(key::KeyArgs),
    #[cfg(feature = "sigstore")]
    TrustRoot(trust_root::TrustRootArgs),
    Oms(oms::OmsArgs),
    #[command(hide = true)]
    Debug(debug::DebugArgs),
    #[command(hide = true)]
    VerifyBundle(conformance::VerifyBundleArgs),
    #[command(hide = true)]
    SignBundle(conformance::SignBundleArgs),
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man,
}

/// Parses the arguments, runs the verb, and turns what comes back into an exit code.
pub fn run() -> ExitCode {
    let arguments = oms::with_method(std::env::args_os().collect());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let output = Output::new(&cli.global);
    let asked = match &cli.verb {
        Verb::Hash(args) => args.engine,
        _ => None,
    };
    if let Err(failure) = engine::choose(asked) {
        return output.failure(&failure);
    }
    let run = || match cli.verb {
        Verb::Init(args) => init::run(&args, &cli.global, &output),
        Verb::Tour(args) => tour::run(&args, &output),
        Verb::Hash(args) => hash::run(&args, &cli.global, &output),
        Verb::Manifest(args) => manifest::run(&args, &output),
        Verb::Sign(args) => sign::run(&args, &cli.global, &output),
        Verb::Verify(args) => verify::run(&args, &cli.global, &output),
        Verb::Seal(args) => seal::run(&args, &cli.global, &output),
        #[cfg(feature = "http")]
        Verb::Acquire(args) => acquire::run(&args, &cli.global, &output),
        Verb::Record(args) => record::run(&args, &cli.global, &output),
        Verb::Trace(args) => trace::run(&args, &cli.global, &output),
        Verb::Gate(args) => gate::run(&args, &cli.global, &output),
        Verb::Exec(args) => exec::run(&args, &cli.global, &output),
        #[cfg(feature = "http")]
        Verb::Initializer(args) => initializer::run(&args, &cli.global, &output),
        Verb::Policy(args) => policy::run(&args, &cli.global, &output),
        Verb::Ledger(args) => ledger::run(&args, &cli.global, &output),
        Verb::Timestamp(args) => timestamp::run(&args, &cli.global, &output),
        Verb::Oms(args) => oms::run(&args, &output),
        #[cfg(feature = "sigstore")]
        Verb::TrustRoot(args) => trust_root::run(&args, &cli.global, &output),
        Verb::Key(args) => key::run(&args, &cli.global, &output),
        Verb::Debug(args) => debug::run(&args, &output),
        Verb::VerifyBundle(args) => conformance::verify(&args, &output),
        Verb::SignBundle(args) => conformance::sign(&args, &output),
        Verb::Completions(args) => completions::run(&args, Cli::command(), &output),
        Verb::Man => completions::man(Cli::command(), &output),
    };
    // A defect of ours is no verdict: the exit code says that it could not be checked.
    let result = std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(Failure::error(
            "a defect in weighbridge stopped it; please report the lines above",
        ))
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => output.failure(&failure),
    }
}

/// What a verb returns: its exit code.
type Outcome = Result<u8, Failure>;
