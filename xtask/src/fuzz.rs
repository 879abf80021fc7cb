//! `cargo xtask fuzz`: the targets in `fuzz/`, at length with cargo-fuzz, or all of them shortly.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

use crate::failure::Failure;
use crate::process;
use crate::test::split;

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    let (own, for_libfuzzer) = split(arguments);
    let mut smoke = false;
    let mut wanted = None;
    for argument in own {
        match argument.as_str() {
            "--smoke" => smoke = true,
            name if !name.starts_with('-') && wanted.is_none() => wanted = Some(name),
            other => {
                return Err(Failure::usage(format!(
                    "unknown argument {other:?} of fuzz"
                )));
            }
        }
    }
    let targets = targets(root)?;
    if let Some(name) = wanted
        && !targets.iter().any(|target| target == name)
    {
        return Err(Failure::new(format!("no fuzz target {name:?}"))
            .hint(format!("there are: {}", targets.join(", "))));
    }
    match (smoke, wanted) {
        (true, Some(name)) => run_shortly(root, name, for_libfuzzer),
        (true, None) => targets
            .iter()
            .try_for_each(|name| run_shortly(root, name, for_libfuzzer)),
        (false, Some(name)) => run_at_length(root, name, for_libfuzzer),
        (false, None) => Err(Failure::usage("fuzz needs a target, or --smoke")
            .hint(format!("there are: {}", targets.join(", ")))),
    }
}

/// One file, one target: `fuzz/Cargo.toml` names each as a binary, or cargo refuses it below.
fn targets(root: &Path) -> Result<Vec<String>, Failure> {
    if !root.join("fuzz/Cargo.toml").is_file() {
        return Err(Failure::new("cannot fuzz: there is no fuzz/Cargo.toml"));
    }
    let cannot = |error| Failure::new(format!("cannot read fuzz/fuzz_targets: {error}"));
    let mut names = fs::read_dir(root.join("fuzz/fuzz_targets"))
        .map_err(cannot)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(cannot)?
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect::<Vec<_>>();
    names.sort();
    if names.is_empty() {
        return Err(Failure::new(
            "cannot fuzz: there is no target in fuzz/fuzz_targets",
        ));
    }
    Ok(names)
}

/// Seeds and mutants of them, guided by coverage, which stable Rust measures when LLVM is told to.
/// Sanitizers are for [`run_at_length`].
fn run_shortly(root: &Path, name: &str, arguments: &[String]) -> Result<(), Failure> {
    eprintln!("fuzz smoke: {name}");
    let corpora = corpora(root, name)?;
    let artifacts = format!("fuzz/artifacts/{name}");
    create(root, &artifacts)?;
    // With a target named, build scripts and macros are built without the flags.
    let host = process::capture(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let host = String::from_utf8_lossy(&host);
    process::run(
        process::cargo(root)
            .env("RUSTFLAGS", COVERAGE.join(" "))
            .args(["run", "--release", "--locked", "--target", host.trim()])
            .args(["--manifest-path", "fuzz/Cargo.toml"])
            .args([
                "--bin",
                name,
                "--",
                "-runs=20000",
                "-max_total_time=10",
                "-seed=1",
            ])
            .args(["-verbosity=0", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={artifacts}/"))
            .args(arguments)
            .args(corpora),
    )
    .map_err(|failure| failure.hint(format!("an input that crashed it is in {artifacts}")))
}

fn run_at_length(root: &Path, name: &str, arguments: &[String]) -> Result<(), Failure> {
    if !process::succeeds(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) {
        return Err(
            Failure::new("cannot fuzz at length: there is no nightly Rust")
                .hint("rustup toolchain install nightly, or cargo xtask fuzz --smoke"),
        );
    }
    if process::on_path("cargo-fuzz").is_none() {
        return Err(Failure::new("cannot fuzz at length: there is no cargo-fuzz").hint(format!(
            "cargo install cargo-fuzz --locked --version {CARGO_FUZZ}, or cargo xtask fuzz --smoke"
        )));
    }
    process::run(
        Command::new("rustup")
            .args(["run", "nightly", "cargo", "fuzz", "run", name])
            .args(corpora(root, name)?)
            .arg("--")
            .args(arguments)
            .current_dir(root),
    )
}

/// Where libFuzzer takes inputs from. It writes to the first: never to the seeds, which are under
/// version control.
fn corpora(root: &Path, name: &str) -> Result<Vec<String>, Failure> {
    let mut corpora = vec![format!("fuzz/corpus/{name}")];
    corpora.iter().try_for_each(|corpus| create(root, corpus))?;
    let seeds = format!("fuzz/seeds/{name}");
    if root.join(&seeds).is_dir() {
        corpora.push(seeds);
    }
    Ok(corpora)
}

fn create(root: &Path, directory: &str) -> Result<(), Failure> {
    fs::create_dir_all(root.join(directory))
        .map_err(|error| Failure::new(format!("cannot create {directory}: {error}")))
}

const CARGO_FUZZ: &str = "0.13.2";

/// What cargo-fuzz passes too. libFuzzer chooses what to mutate by coverage: with none it stops.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
