//! `cargo xtask deny`: the dependencies against `deny.toml`, by cargo-deny.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::failure::Failure;
use crate::process;

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    if let Some(argument) = arguments.first() {
        return Err(Failure::usage(format!(
            "unknown argument {argument:?} of deny"
        )));
    }
    let program = ensure(root)?;
    let deny = |global: &str| {
        let mut command = Command::new(&program);
        command.current_dir(root).arg(global);
        command
    };
    // A warning is an exception that nothing needs any more.
    process::run(
        deny("--locked").args(["check", "-D", "warnings", "bans", "licenses", "sources"]),
    )?;
    if process::succeeds_within(deny("--locked").args(["fetch", "db"]), FETCH_LIMIT) {
        return process::run(deny("--locked").args(["check", "advisories"]));
    }
    if database_is_cached() {
        eprintln!(
            "advisories: their database cannot be fetched, using the copy from an earlier run"
        );
        return process::run(deny("--frozen").args(["check", "advisories"]));
    }
    eprintln!(
        "advisories: LEFT OUT: their database cannot be fetched and there is no copy of it\n\
         hint: `cargo deny fetch db` says why"
    );
    Ok(())
}

/// On PATH, in `target/tools`, or compiled into it. It runs for a second, so the debug profile,
/// which compiles four times as fast, is the faster one.
fn ensure(root: &Path) -> Result<PathBuf, Failure> {
    let tools = root.join("target/tools");
    let installed = tools.join("bin/cargo-deny");
    for candidate in process::on_path("cargo-deny")
        .into_iter()
        .chain([installed.clone()])
    {
        let version = process::capture(Command::new(&candidate).arg("--version"));
        if version.is_ok_and(|text| text.trim_ascii() == format!("cargo-deny {VERSION}").as_bytes())
        {
            return Ok(candidate);
        }
    }
    process::run(
        process::cargo(root)
            .args([
                "install",
                "cargo-deny",
                "--locked",
                "--debug",
                "--version",
                VERSION,
            ])
            .arg("--root")
            .arg(&tools),
    )?;
    Ok(installed)
}

/// Whether cargo-deny's cache holds a database: a failed fetch leaves only a lock file.
fn database_is_cached() -> bool {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")));
    home.and_then(|home| fs::read_dir(home.join("advisory-dbs")).ok())
        .is_some_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()))
}

const VERSION: &str = "0.20.2";
const FETCH_LIMIT: Duration = Duration::from_secs(60);
