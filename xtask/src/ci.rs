//! `cargo xtask ci`: every check in order, to the first that fails.

use std::path::Path;
use std::time::Instant;

use crate::failure::Failure;
use crate::{deny, fuzz, msrv, process, test};

/// A heading and what stands under it.
type Step = (&'static str, fn(&Path) -> Result<(), Failure>);

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    if let Some(argument) = arguments.first() {
        return Err(Failure::usage(format!(
            "unknown argument {argument:?} of ci"
        )));
    }
    let start = Instant::now();
    for (heading, step) in STEPS {
        eprintln!("== {heading}");
        let began = Instant::now();
        let result = step(root);
        let verdict = if result.is_ok() { "ok" } else { "failed" };
        eprintln!(
            "== {heading}: {verdict} after {:.1} s",
            began.elapsed().as_secs_f64()
        );
        result?;
    }
    eprintln!("== all passed after {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), Failure> {
    process::run(process::cargo(root).args(arguments))
}

/// One profile and one target directory wherever possible: CI compiles everything afresh.
const STEPS: &[Step] = &[
    ("format", |root| cargo(root, &["fmt", "--all", "--check"])),
    ("lints", |root| {
        let what = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
        ];
        cargo(root, &[&what[..], &["--", "-D", "warnings"]].concat())
    }),
    ("minimum Rust version", |root| msrv::run(root, &[])),
    ("the library alone", |root| {
        cargo(
            root,
            &["check", "--locked", "--no-default-features", "--lib"],
        )
    }),
    ("the program without its options", |root| {
        let what = ["check", "--locked", "--no-default-features"];
        cargo(root, &[&what[..], &["--features", "cli"]].concat())
    }),
    ("tests", |root| test::run(root, &[])),
    ("fuzz smoke", |root| {
        fuzz::run(root, &["--smoke".to_owned()])
    }),
    ("dependencies", |root| deny::run(root, &[])),
];
