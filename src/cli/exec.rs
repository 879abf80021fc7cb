//! `exec`: verify, then run a command with exactly what was verified.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::copies::{self, Copies};
use super::failure::Failure;
use super::gate::Question;
use super::output::Output;
use super::target::{self, TargetArgs};
use super::{Global, Outcome};
use crate::disk::{self, TreeAccess};
use crate::report::text::{count, render};

/// Verify an artifact by the whole policy, and run a command with exactly what was verified
///
/// The files are put into a directory that nobody else writes to, by reflinks or copies; they are judged there, and the
/// command is given that directory: what is changed at PATH meanwhile changes nothing. If the gate denies, the command
/// does not start.
#[derive(clap::Args)]
#[command(
    after_help = "In CMD, {} and every word that leads to PATH, or into it, stands for what was verified; WEIGHBRIDGE_ARTIFACT names it \
too. A CMD that names PATH in a way that cannot be replaced, or not at all, is refused. HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE are set, so that nothing else is loaded in its place.

Exit codes: that of CMD (128 and its number if a signal ended it, 127 if it is not there); if the gate denies, 1 or 2, and CMD does
not start.

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
    /// (CMD, too, can then change PATH where it may write)
    #[arg(long)]
    hard_links: bool,
    /// CMD reads `WEIGHBRIDGE_ARTIFACT` by itself: its words need not name PATH
    #[arg(long)]
    no_argument: bool,
    /// What to run
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// A directory of our own, which goes when this does.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever is denied here has lost the directory to somebody: there is nothing left to do.
        _ = disk::set_access(&self.0, TreeAccess::Owner);
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
    let here = Here::new(&args.target.path)?;
    here.check(&args.command, args.no_argument)?;
    // Before anything is copied: what is asked to end leaves nothing behind.
    let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];
    let mut signals = SignalsInfo::<WithOrigin>::new(wanted)
        .map_err(|error| Failure::because("signals", &error))?;
    let place = Place::new(args.directory.as_deref())?;
    let root = place.0.join("artifact");
    disk::create_private_directory(&root)?;
    let mut asked_to_end = None;
    let copied = copies::copy(
        artifact,
        &opened.signature,
        (&root, args.hard_links),
        || {
            asked_to_end = signals.pending().next().map(|origin| origin.signal);
            asked_to_end.is_some()
        },
    )?;
    let Some(Copies { files, how }) = copied else {
        return Ok(ended(asked_to_end.unwrap_or(SIGTERM)));
    };
    let copy = match artifact.single_file() {
        Some(file) => root.join(file.as_str()),
        None => root.clone(),
    };
    disk::set_access(&root, TreeAccess::OwnerReads)?;
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
        fast: None,
        input: false,
    };
    let mut document = question.decide(global, output)?.document;
    // The copy is nowhere that anybody could look at it.
    let (shown, copied) = (
        args.target.path.display().to_string(),
        copy.display().to_string(),
    );
    for hint in document
        .findings
        .iter_mut()
        .filter_map(|one| one.hint.as_mut())
    {
        *hint = hint.replace(&copied, &shown);
    }
    document.artifact.path = shown;
    if document.exit_code != 0 {
        if output.json {
            output.document(&document)?;
        } else {
            output.annotate(&render(&document));
        }
        output.say(format!(
            "{} was not started",
            args.command.first().map_or("the command", String::as_str)
        ));
        return Ok(document.exit_code);
    }
    let line = target::first_line(&document);
    output.say(anstream::adapter::strip_str(line.trim_end()).to_string());
    output.say(format!(
        "{} handed over as {}",
        count(files, "file"),
        how.name()
    ));
    if let Some(origin) = signals.pending().next() {
        return Ok(ended(origin.signal));
    }
    let code = start(args, &here, &copy, signals)?;
    drop(place);
    Ok(code)
}

fn ended(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(255)
}

/// Runs the command to its end, passes on the signals that come, and says what it said.
fn start(
    args: &ExecArgs,
    here: &Here,
    copy: &Path,
    mut signals: SignalsInfo<WithOrigin>,
) -> Result<u8, Failure> {
    let copy_text = copy.display().to_string();
    let mut words = args.command.iter();
    let program = words.next().cloned().unwrap_or_default();
    let words = words.map(|word| {
        here.replaced(word, &copy_text)
            .unwrap_or_else(|| word.clone())
    });
    let started = Command::new(&program)
        .args(words)
        .env("WEIGHBRIDGE_ARTIFACT", copy)
        .env("HF_HUB_OFFLINE", "1")
        .env("TRANSFORMERS_OFFLINE", "1")
        // What opens our keys is nothing for whoever loads a model.
        .env_remove("WEIGHBRIDGE_PASSPHRASE")
        .env_remove("WEIGHBRIDGE_PIN")
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            anstream::eprintln!(
                "error: cannot start {}: {error}",
                crate::path::display(&program)
            );
            return Ok(127);
        }
        Err(error) => return Err(Failure::because(format!("cannot start {program}"), &error)),
    };
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

/// Where the artifact lies, and how words name it.
struct Here {
    /// As it was given, and as it is called from everywhere.
    given: String,
    whole: PathBuf,
    from: PathBuf,
}

impl Here {
    fn new(path: &Path) -> Result<Here, Failure> {
        let fail = |error: std::io::Error| Failure::because(path.display(), &error);
        Ok(Here {
            given: path.display().to_string(),
            whole: plain(&std::path::absolute(path).map_err(fail)?),
            from: std::path::absolute(".").map_err(fail)?,
        })
    }

    /// Every word must be one that stands for nothing of the artifact, or one that can be replaced.
    fn check(&self, command: &[String], no_argument: bool) -> Result<(), Failure> {
        let mut replaced = 0;
        for word in command.iter().skip(1) {
            let after = self.replaced(word, "\u{0}");
            replaced += usize::from(after.is_some());
            let after = after.as_deref().unwrap_or(word);
            let given = self.given.trim_end_matches('/');
            let named = |name: &str| name.len() > 1 && after.contains(name);
            if named(given) || named(&self.whole.display().to_string()) {
                return Err(Failure::error(format!(
                    "{word:?} names {given} in a way that is not replaced by what is verified"
                ))
                .hint("write {} where the command is to read the artifact"));
            }
        }
        if replaced == 0 && !no_argument {
            return Err(Failure::error(
                "the command is not told where the artifact is: it would read something else",
            )
            .hint("write {} in it, or say --no-argument if it reads WEIGHBRIDGE_ARTIFACT"));
        }
        Ok(())
    }

    /// `word` with what leads to the artifact replaced; none if nothing does.
    fn replaced(&self, word: &str, copy: &str) -> Option<String> {
        if let Some(copy) = self.path(word, copy) {
            return Some(copy);
        }
        if let Some((name, value)) = word.split_once('=')
            && let Some(copy) = self.path(value, copy)
        {
            return Some(format!("{name}={copy}"));
        }
        let with = braces(word, copy);
        (with != word).then_some(with)
    }

    /// Where `word`, as a path, is in the copy.
    fn path(&self, word: &str, copy: &str) -> Option<String> {
        let is_path = word.contains('/') || word == self.given || word == "." || word == "..";
        if word.is_empty() || !is_path {
            return None;
        }
        let rest = plain(&self.from.join(word));
        let rest = rest.strip_prefix(&self.whole).ok()?;
        Some(if rest.as_os_str().is_empty() {
            copy.to_owned()
        } else {
            format!("{copy}/{}", rest.display())
        })
    }
}

/// `{}` by itself, at the start of a path, or behind what assigns it; that of other languages is left alone.
fn braces(word: &str, copy: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("{}") {
        let (before, after) = (
            rest.get(..at).unwrap_or_default(),
            rest.get(at + 2..).unwrap_or_default(),
        );
        let begins = before.is_empty() && out.is_empty() || before.ends_with(['=', ' ', '"', '\'']);
        let ends =
            after.is_empty() || after.starts_with(['/', ' ', '"', '\'', ';', '|', ')', '\n']);
        out.push_str(before);
        out.push_str(if begins && ends { copy } else { "{}" });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `path` without `.` and `..`, by its words alone.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => _ = out.pop(),
            std::path::Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_lead_to_the_artifact() {
        let here = Here {
            given: "./model".into(),
            whole: "/w/model".into(),
            from: "/w".into(),
        };
        for (word, expected) in [
            ("./model", Some("/c")),
            ("./model/", Some("/c")),
            ("model/a", Some("/c/a")),
            ("././model/x/../a", Some("/c/a")),
            ("/w/model/a", Some("/c/a")),
            ("--model=./model", Some("--model=/c")),
            ("--model={}", Some("--model=/c")),
            ("ls {}/a | wc", Some("ls /c/a | wc")),
            ("./model2", None),
            ("./model/../x", None),
            ("{\"a\":{}}", None),
            ("x", None),
        ] {
            assert_eq!(here.replaced(word, "/c").as_deref(), expected, "{word}");
        }
        let check = |words: &[&str], no_argument| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            here.check(&words, no_argument).is_ok()
        };
        assert!(check(&["cat", "model/a"], false));
        assert!(check(&["serve"], true) && !check(&["serve"], false));
        assert!(!check(&["sh", "-c", "cat ./model/a"], true));
        assert!(!check(&["sh", "-c", "cat {} /w/model/a"], false));
    }
}
