//! `exec`: verify, then run a command with exactly what was verified.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::failure::Failure;
use super::gate::Question;
use super::output::Output;
use super::target::{self, TargetArgs};
use super::{Global, Outcome};
use crate::artifact::{Artifact, Names, Symlinks, walk};
use crate::disk::{self, Directory, Materialised};
use crate::gate;
use crate::report::text::{count, render};

/// Verify an artifact by the whole policy, and run a command with exactly what was verified
///
/// The files are put into a directory that nobody else writes to, by reflinks or copies; they are judged there, and the
/// command is given that directory: what is changed at PATH meanwhile changes nothing. If the gate denies, the command
/// does not start.
#[derive(clap::Args)]
#[command(
    after_help = "In CMD, {} and every word that is PATH, or begins with PATH/, stands for what was verified; WEIGHBRIDGE_ARTIFACT \
names it too. HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE are set, so that nothing else is loaded in its place.

Exit codes: that of CMD (128 and its number if a signal ended it); if the gate denies, 1 or 2, and CMD does not start.

Examples:
  weighbridge exec ./model -- cat ./model/config.json
  weighbridge exec --profile production ./model -- vllm serve {}…"
)]
pub(super) struct ExecArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Judge by the gate of this profile of the policy
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Where the files are put; on the file system of PATH, reflinks may do. Unless given, where temporary files are
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Put hard links there instead: no copy, on the same file system; whoever may write to PATH can then change what CMD
    /// reads, after it was judged
    #[arg(long)]
    hard_links: bool,
    /// What to run
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// A directory of our own, which goes when this does.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever is denied here has lost the directory to somebody: there is nothing left to do.
        _ = disk::set_writable(&self.0, true);
        _ = disk::remove_tree(&self.0);
    }
}

impl Place {
    fn new(directory: Option<&Path>) -> Result<Place, Failure> {
        let parent = directory.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::error(format!("there is no randomness: {error}")))?;
        let name = data_encoding::HEXLOWER.encode(&random);
        let path = parent.join(format!("weighbridge-{name}"));
        disk::create_private_directory(&path)?;
        Ok(Place(path))
    }
}

pub(super) fn run(args: &ExecArgs, global: &Global, output: &Output) -> Outcome {
    let opened = args.target.open()?;
    let artifact = &opened.artifact;
    let place = Place::new(args.directory.as_deref())?;
    let root = place.0.join("artifact");
    disk::create_private_directory(&root)?;
    let (files, how) = fill(artifact, &opened.signature, &root, args.hard_links)?;
    let copy = match artifact.single_file() {
        Some(file) => root.join(file.as_str()),
        None => root.clone(),
    };
    disk::set_writable(&root, false)?;
    let target = TargetArgs {
        path: copy.clone(),
        signature: Some(opened.signature.clone()),
        jobs: args.target.jobs,
    };
    let question = Question {
        target: &target,
        profile: args.profile.as_deref(),
        at: None,
        receipt: None,
        input: false,
    };
    let mut document = question.decide(global, output)?.document;
    document.artifact.path = args.target.path.display().to_string();
    if document.exit_code != 0 {
        let text = render(&document);
        output.annotate(&text);
        output.say(format!(
            "{} was not started",
            args.command.first().map_or("the command", String::as_str)
        ));
        return Ok(document.exit_code);
    }
    output.say(target::first_line(&document).trim_end());
    output.say(format!(
        "{} handed over as {}",
        count(files, "file"),
        how.name()
    ));
    let code = start(args, &copy)?;
    drop(place);
    Ok(code)
}

/// Puts every file of `artifact` beneath `root`.
fn fill(
    artifact: &Artifact,
    signature: &Path,
    root: &Path,
    hard_links: bool,
) -> Result<(usize, Materialised), Failure> {
    let exclusions = gate::exclusions(artifact, signature);
    let found = walk(artifact, &exclusions, Symlinks::Refuse, Names::Printable)?;
    if let Some(obstacle) = found.obstacles.first() {
        let finding = crate::verify::obstacle_finding(obstacle);
        let line = format!("{} {}", obstacle.location, finding.message);
        return Err(Failure::refused(vec![line]).hint("the command was not started"));
    }
    let directory = Directory::open(root)?;
    let mut how = Materialised::Reflink;
    for file in &found.files {
        let mut source = artifact.open_found(file)?;
        let one = disk::materialise(&directory, &file.path, &mut source, hard_links)?;
        how = how.max(one);
    }
    Ok((found.files.len(), how))
}

/// Runs the command to its end, passes on the signals that come, and says what it said.
fn start(args: &ExecArgs, copy: &Path) -> Result<u8, Failure> {
    let path = args.target.path.display().to_string();
    let copy_text = copy.display().to_string();
    let mut words = args
        .command
        .iter()
        .map(|word| replaced(word, path.trim_end_matches('/'), &copy_text));
    let program = words.next().unwrap_or_default();
    // Before it starts: no signal is lost.
    let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];
    let mut signals = SignalsInfo::<WithOrigin>::new(wanted)
        .map_err(|error| Failure::because("signals", &error))?;
    let mut child = Command::new(&program)
        .args(words)
        .env("WEIGHBRIDGE_ARTIFACT", copy)
        .env("HF_HUB_OFFLINE", "1")
        .env("TRANSFORMERS_OFFLINE", "1")
        .spawn()
        .map_err(|error| Failure::because(format!("cannot start {program}"), &error))?;
    let id = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let handle = signals.handle();
    let forward = std::thread::spawn(move || {
        for origin in signals.forever() {
            // What the terminal sends, it sends to both.
            if let (Some(id), Some(signal), false) = (
                id,
                rustix::process::Signal::from_named_raw(origin.signal),
                matches!(origin.cause, Cause::Kernel),
            ) {
                _ = rustix::process::kill_process(id, signal);
            }
        }
    });
    let status = child.wait();
    handle.close();
    _ = forward.join();
    let status = status.map_err(|error| Failure::because(&program, &error))?;
    Ok(code_of(status))
}

fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// `word` with what it says of the artifact replaced by where the copy is.
fn replaced(word: &str, path: &str, copy: &str) -> String {
    if word == path {
        return copy.to_owned();
    }
    if let Some(rest) = word.strip_prefix(path)
        && rest.starts_with('/')
    {
        return format!("{}/{}", copy, rest.trim_start_matches('/'));
    }
    word.replace("{}", copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_the_artifact() {
        for (word, expected) in [
            ("./model", "/c"),
            ("./model/", "/c/"),
            ("./model/a", "/c/a"),
            ("./model2", "./model2"),
            ("--model={}", "--model=/c"),
            ("x", "x"),
        ] {
            assert_eq!(replaced(word, "./model", "/c"), expected, "{word}");
        }
    }
}
