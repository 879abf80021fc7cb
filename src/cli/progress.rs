//! A progress bar on standard error, with rate and time left, for work that takes a while.

use std::num::NonZero;
use std::thread;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::engine;
use super::output::Output;
use crate::artifact::{Hashing, Known, Progress};
use crate::digest::Algorithm;

/// Hears how far the hashing is, and draws it.
pub(super) struct Bar(Option<ProgressBar>);

/// Work below this is over before it could be drawn.
const WORTH_DRAWING: u64 = 64 * 1024 * 1024;

impl Bar {
    pub(super) fn new(output: &Output) -> Bar {
        Bar::of(output, "hashing")
    }

    /// For work that is called so.
    pub(super) fn of(output: &Output, work: &str) -> Bar {
        if !output.shows_progress() {
            return Bar(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let rest = "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(&format!("{work} {rest}")) {
            bar.set_style(style.progress_chars("=> "));
        }
        Bar(Some(bar))
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn start(&self, files: usize, bytes: u64) {
        if let Some(bar) = &self.0
            && (bytes >= WORTH_DRAWING || files >= 10_000)
        {
            bar.set_length(bytes);
            bar.set_message(if files == 1 {
                "1 file".into()
            } else {
                format!("{files} files")
            });
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }
}

/// More threads than any machine has processors for hashing.
const MOST_JOBS: NonZero<usize> = NonZero::new(1024).unwrap();

/// How many threads, unless the user says otherwise: what this process may use.
pub(super) fn jobs(asked: Option<NonZero<usize>>) -> NonZero<usize> {
    let usable = || thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    asked.unwrap_or_else(usable).min(MOST_JOBS)
}

/// Hashing with `algorithms`, watched by `bar`.
pub(super) fn hashing<'a>(
    algorithms: &'a [Algorithm],
    jobs: NonZero<usize>,
    known: Known<'a>,
    bar: &'a Bar,
) -> Hashing<'a> {
    Hashing {
        algorithms,
        jobs,
        progress: bar,
        known,
        engine: engine::chosen(),
        direct: false,
    }
}
