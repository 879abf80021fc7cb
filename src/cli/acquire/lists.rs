//! Datasets that are lists: where the list is, and what it says.

use std::path::{Path, PathBuf};

use super::source::Source;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::disk;
use crate::source::dataset::{DatasetChannel, MAX_LIST, parse_croissant, parse_table};

/// A list of files in the place of a source.
#[derive(clap::Args)]
pub(super) struct ListArgs {
    /// The source is a list of files: a table with the column `url`, and any of `path`, `sha256`, `size`,
    /// `retrieved_at`, `licence`. With --adopt it says where the files of DEST are from
    #[arg(long, value_name = "FILE", conflicts_with = "from_croissant")]
    from_csv: Option<PathBuf>,
    /// The source is the description of a dataset in Croissant (JSON-LD)
    #[arg(long, value_name = "FILE")]
    from_croissant: Option<PathBuf>,
    /// The list may lead into a private network
    #[arg(long)]
    allow_private: bool,
}

/// A list, and what kind of one.
#[derive(Clone, Debug)]
pub(in crate::cli) struct ListSource {
    path: PathBuf,
    is_table: bool,
    allow_private: bool,
}

impl ListArgs {
    pub(super) fn source(&self) -> Option<Source> {
        let (path, is_table) = match (&self.from_csv, &self.from_croissant) {
            (Some(path), _) => (path, true),
            (None, Some(path)) => (path, false),
            (None, None) => return None,
        };
        Some(Source::List(ListSource {
            path: path.clone(),
            is_table,
            allow_private: self.allow_private,
        }))
    }
}

impl ListSource {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn channel(&self) -> Result<DatasetChannel, Failure> {
        let bytes = disk::read(&self.path, MAX_LIST)?;
        let list = if self.is_table {
            parse_table(&bytes)
        } else {
            parse_croissant(&bytes)
        };
        let list = list.map_err(|error| Failure::because(self.path.display(), &error))?;
        let name = self.path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        Ok(DatasetChannel::new(
            list,
            (&bytes, name),
            context::now,
            self.allow_private,
        ))
    }
}
