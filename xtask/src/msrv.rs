//! `cargo xtask msrv`: does the declared minimum Rust version hold? What dependencies declare is
//! always checked; the compiler itself only where rustup has that toolchain.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::process;

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    if let Some(argument) = arguments.first() {
        return Err(Failure::usage(format!(
            "unknown argument {argument:?} of msrv"
        )));
    }
    let minimum = declared(root)?;
    let Some(toolchain) = toolchain(&minimum) else {
        eprintln!(
            "compiler run skipped: Rust {minimum} is not installed; what the standard library had \
             by then is checked by clippy (incompatible_msrv)\n\
             hint: rustup toolchain install {minimum}"
        );
        return Ok(());
    };
    process::run(
        Command::new("rustup")
            .args([
                "run",
                &toolchain,
                "cargo",
                "check",
                "--locked",
                "--all-targets",
            ])
            .current_dir(root),
    )
}

/// Our own version, once no dependency wants a newer one.
fn declared(root: &Path) -> Result<String, Failure> {
    let metadata = process::capture(process::cargo(root).args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--all-features",
    ]))?;
    let cannot = |error: io::Error| Failure::new(format!("cannot run python3 msrv.py: {error}"));
    let mut script = Command::new("python3")
        .args(["-c", include_str!("msrv.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    // Dropped at the end of the statement, which is the end of its input.
    script
        .stdin
        .take()
        .map_or(Ok(()), |mut input| input.write_all(&metadata))
        .map_err(cannot)?;
    let output = script.wait_with_output().map_err(cannot)?;
    if !output.status.success() {
        return Err(
            Failure::new("a dependency needs a newer Rust than Cargo.toml declares")
                .hint("choose an older version of it, or raise rust-version"),
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The name of an installed toolchain of exactly that version.
fn toolchain(minimum: &str) -> Option<String> {
    process::on_path("rustup")?;
    let list = process::capture(Command::new("rustup").args(["toolchain", "list"])).ok()?;
    matching(&String::from_utf8_lossy(&list), minimum)
}

/// `1.89` is satisfied by `1.89-x86_64-…` and by any `1.89.N-x86_64-…`.
fn matching(list: &str, minimum: &str) -> Option<String> {
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|name| {
            name.strip_prefix(minimum)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_that_version_matches() {
        let list = "stable-x86_64 (active, default)\n1.890-x86_64\n1.89.1-x86_64 (override)\n";
        assert_eq!(matching(list, "1.89").as_deref(), Some("1.89.1-x86_64"));
        assert_eq!(matching(list, "1.8"), None);
        assert_eq!(matching("no installed toolchains\n", "1.89"), None);
    }
}
