//! Brings an artifact to a place, verified against what its source publishes, for verbs that record nothing.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::destination::{self, Apart};
use super::fetch::{Fetched, fetch};
use super::{AcquireArgs, Source, ask, told_here};
use crate::bundle::MAX_BUNDLE;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::receipts::Reuse;
use crate::client::fetch::FetchError;
use crate::disk;
use crate::source::published::Published;
use crate::source::{Channel, https};

/// The verb without its name: what it does unless told otherwise.
#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    args: AcquireArgs,
}

/// Brings `source` to the directory `root`, with the signature that an HTTPS server publishes beside a file; where the
/// artifact is then.
pub(in crate::cli) fn bring(
    source: &Source,
    root: &Path,
    output: &Output,
) -> Result<PathBuf, Failure> {
    let Defaults { args } = Defaults::try_parse_from(["acquire", "--no-record", "."])
        .map_err(|error| Failure::because("acquire", &error))?;
    let root = destination::plain(root)?;
    let one = root.join(source.default_name()?);
    let whole = source.whole();
    let beneath = whole.as_ref().and_then(|whole| {
        let (channel, published) = asked(whole, &one, &args).ok()?;
        Some((whole, channel, published))
    });
    let (source, channel, mut published) = if let Some(found) = beneath {
        found
    } else {
        let (channel, published) = asked(source, &one, &args)?;
        (source, channel, published)
    };
    for note in channel.notes() {
        output.warn(note);
    }
    let dest = if published.is_single { one } else { root };
    let apart = Apart {
        set_up: None,
        receipt: None,
    };
    if dest.symlink_metadata().is_err() {
        apart.make(&dest, published.is_single)?;
    }
    let Fetched { evidence, came } = fetch(
        &args,
        &*channel,
        (&mut published, None),
        (source, &dest),
        Reuse::NONE,
        output,
    )?;
    output.say(told_here(&evidence, came, &dest));
    if let Source::Https(url) = source {
        signature(url, &dest)?;
    }
    Ok(dest)
}

fn asked(
    source: &Source,
    one: &Path,
    args: &AcquireArgs,
) -> Result<(Box<dyn Channel>, Published), Failure> {
    let channel = source.channel(one, &args.checks, false)?;
    let published = ask(&*channel, source)?;
    Ok((channel, published))
}

/// The signature beside the file at `url`, if there is one.
fn signature(url: &str, dest: &Path) -> Result<(), Failure> {
    let url = format!("{}.sig", https::without_query(url));
    let fetched = match https::fetch(&url, MAX_BUNDLE as u64) {
        Ok(fetched) => fetched,
        Err(FetchError::Status {
            status: 403 | 404 | 410,
            ..
        }) => return Ok(()),
        Err(error) => return Err(Failure::because(crate::client::http::shown(&url), &error)),
    };
    let mut path = dest.as_os_str().to_owned();
    path.push(".sig");
    let path = PathBuf::from(path);
    disk::remove_file(&path)?;
    Ok(disk::deposit(&path, &fetched.bytes)?)
}
