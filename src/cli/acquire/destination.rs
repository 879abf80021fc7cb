//! Where an artifact goes: a directory, or one file; and what it is kept apart from.

use std::path::{Component, Path, PathBuf};

use crate::artifact::Artifact;
use crate::cli::context::Config;
use crate::cli::failure::Failure;
use crate::cli::{keys, receipt};
use crate::disk::{self, Directory};

/// What a new artifact must not touch.
pub(super) struct Apart<'a> {
    pub(super) set_up: Option<(&'a Config, &'a Path)>,
    pub(super) receipt: Option<&'a Path>,
}

impl Apart<'_> {
    /// The artifact at `dest` holds no key, ledger, policy or receipt, and is part of none.
    pub(super) fn keep(&self, dest: &Path) -> Result<(), Failure> {
        let artifact = Artifact::open(dest)?;
        if let Some((config, key)) = self.set_up {
            config.keep_out_of(&artifact)?;
            keys::keep_out_of(&artifact, key)?;
        }
        match self.receipt {
            Some(receipt) => receipt::writable(receipt, &artifact),
            None => Ok(()),
        }
    }

    /// Makes sure that an artifact may be made at `dest`, where nothing is: a directory stays there, empty.
    pub(super) fn make(&self, dest: &Path, is_single: bool) -> Result<(), Failure> {
        if is_single {
            let parent = dest.parent().unwrap_or(Path::new("/"));
            disk::create_directory(parent)?;
            disk::deposit(dest, b"")?;
            let kept = self.keep(dest);
            disk::remove_file(dest)?;
            return kept;
        }
        disk::create_directory(dest)?;
        // It is empty yet, and goes again if it may not be there.
        self.keep(dest).inspect_err(|_| {
            _ = disk::remove_directory(dest);
        })
    }
}

/// The directory that the files go into: `dest` itself, or that of the one file.
pub(super) fn root(dest: &Path, is_single: bool) -> Result<Directory, Failure> {
    let root = if is_single {
        dest.parent().unwrap_or(Path::new("/"))
    } else {
        dest
    };
    Ok(Directory::open(root)?)
}

/// The place without `.`, `..` and slashes at its end, so that what lies beside it does not lie in it. Nothing
/// is made yet.
pub(in crate::cli) fn plain(dest: &Path) -> Result<PathBuf, Failure> {
    let fail = |error: &std::io::Error| Failure::because(dest.display(), error);
    if dest.symlink_metadata().is_ok() {
        return std::fs::canonicalize(dest).map_err(|error| fail(&error));
    }
    let absolute = std::path::absolute(dest).map_err(|error| fail(&error))?;
    let (Some(name), Some(parent)) = (absolute.file_name(), absolute.parent()) else {
        return Err(Failure::error(format!("{} names no place", dest.display())));
    };
    match std::fs::canonicalize(parent) {
        Ok(parent) => Ok(parent.join(name)),
        // Without `..`, a path that is not there has one reading.
        Err(_)
            if !absolute
                .components()
                .any(|part| part == Component::ParentDir) =>
        {
            Ok(absolute.components().collect())
        }
        Err(error) => Err(fail(&error)),
    }
}
