//! `tour`: the whole story on a real model. Every step is a shell command that is printed, run,
//! and held against the exit code it should have.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Outcome;
use super::failure::Failure;
use super::keys::VARIABLE;
use super::output::Output;
use crate::artifact::{Artifact, Names, Symlinks, walk};
use crate::disk;
use crate::gate;

/// Show the whole story on a real model, printing every command
///
/// Makes a key, signs, records and gates a copy of the model in a scratch directory; then changes
/// a byte, adds a file, removes one, and swaps one for a link, and shows that each is refused.
/// Every command that is printed can be typed again. The model itself is only read.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge tour              the model in fixtures/
  weighbridge tour ./my-model   your own, in a copy")]
pub(super) struct TourArgs {
    /// A model: file or directory; unless given, the one in fixtures/
    path: Option<PathBuf>,
    /// Where to put the copy; unless given, a new directory for temporary files
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

const FIXTURE: &str = "fixtures/models/silero-vad";
/// Protects keys that live for one tour.
const PASSPHRASE: &str = "only for this tour";

pub(super) fn run(args: &TourArgs, output: &Output) -> Outcome {
    let source = match &args.path {
        Some(path) => path.clone(),
        None => fixture()?,
    };
    let source = std::fs::canonicalize(&source)
        .map_err(|error| Failure::because(format!("cannot open {}", source.display()), &error))?;
    let scratch = scratch(args)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::because("cannot find this program", &error))?;
    let mut tour = Tour {
        scratch,
        program,
        output,
        wrong: Vec::new(),
        steps: 0,
    };
    tour.begin()?;
    tour.story(&source)?;
    tour.end()
}

/// The model of the repository, from the working directory or from where `cargo run` stands.
fn fixture() -> Result<PathBuf, Failure> {
    #[expect(clippy::disallowed_methods, reason = "set by `cargo run`")]
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let places = [Some(PathBuf::from(".")), manifest];
    let found = places
        .into_iter()
        .flatten()
        .map(|place| place.join(FIXTURE));
    found.into_iter().find(|path| path.is_dir()).ok_or_else(|| {
        Failure::error(format!("{FIXTURE} is not here")).hint("name a model: weighbridge tour PATH")
    })
}

/// What the tour tampers with.
struct Target {
    /// The largest file of the copy, as the shell sees it.
    file: String,
    /// A path for a file that is not there.
    added: String,
    single: bool,
}

fn target(scratch: &Path) -> Result<Target, Failure> {
    let artifact = Artifact::open(&scratch.join("model"))?;
    let signature = gate::default_signature(&artifact);
    let exclusions = gate::exclusions(&artifact, &signature);
    let found = walk(&artifact, &exclusions, Symlinks::Refuse, Names::Printable)?;
    let largest = found
        .files
        .iter()
        .max_by_key(|file| file.size)
        .filter(|file| file.size > 0);
    let largest = largest
        .ok_or_else(|| Failure::refused(vec!["the model holds no file with content".into()]))?;
    let single = artifact.single_file().is_some();
    let taken = |name: &String| found.files.iter().any(|file| file.path.as_str() == name);
    let names = (0..).map(|n| {
        if n == 0 {
            "modeling.py".into()
        } else {
            format!("modeling_{n}.py")
        }
    });
    let added = names
        .into_iter()
        .find(|name| !taken(name))
        .unwrap_or_default();
    let inside = |name: &str| quote(&format!("model/{name}"));
    let file = if single {
        "model".into()
    } else {
        inside(largest.path.as_str())
    };
    Ok(Target {
        file,
        added: inside(&added),
        single,
    })
}

fn scratch(args: &TourArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.scratch {
        if path
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some())
        {
            return Err(Failure::error(format!("{} is not empty", path.display()))
                .hint("the tour needs a directory of its own"));
        }
        disk::create_directory(path)?;
        return std::fs::canonicalize(path)
            .map_err(|error| Failure::because(path.display(), &error));
    }
    let mut random = [0; 6];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::error(format!("no random numbers: {error}")))?;
    let name = format!(
        "weighbridge-tour-{}",
        data_encoding::HEXLOWER.encode(&random)
    );
    let path = std::env::temp_dir().join(name);
    disk::create_directory(&path)?;
    Ok(path)
}

struct Tour<'a> {
    scratch: PathBuf,
    program: PathBuf,
    output: &'a Output,
    wrong: Vec<String>,
    steps: usize,
}

impl Tour<'_> {
    fn begin(&self) -> Result<(), Failure> {
        let directory = self.program.parent().unwrap_or(Path::new("."));
        self.output.data(&format!(
            "# To type any of this again:\n$ cd {}\n$ export PATH={}:\"$PATH\" {VARIABLE}={}\n",
            quote(&self.scratch.display().to_string()),
            quote(&directory.display().to_string()),
            quote(PASSPHRASE),
        ))
    }

    fn story(&mut self, source: &Path) -> Result<(), Failure> {
        let copy = format!("cp -RL {} model", quote(&source.display().to_string()));
        self.step("A copy of the model; the original is only read.", &copy, 0)?;
        self.step("A key, a ledger and a policy.", "weighbridge init", 0)?;
        self.step(
            "Sign every file, and record the release. The number is its place in the ledger.",
            "weighbridge sign --record --receipt model.tlog-proof model",
            0,
        )?;
        self.step("May it be used?", "weighbridge gate model", 0)?;
        self.step(
            "The receipt proves the record without the ledger.",
            "weighbridge gate --receipt model.tlog-proof model",
            0,
        )?;
        self.tamper(&target(&self.scratch)?)?;
        self.step("Restored, it passes again.", "weighbridge gate model", 0)?;
        self.step("What the ledger holds.", "weighbridge ledger log", 0)?;
        self.step(
            "The ledger itself, recomputed.",
            "weighbridge ledger fsck",
            0,
        )
    }

    fn tamper(&mut self, target: &Target) -> Result<(), Failure> {
        let (file, added) = (&target.file, &target.added);
        let gate = "weighbridge gate model";
        let restore = format!("cp -p original {file}");
        self.step(
            "Keep the original of one file aside.",
            &format!("cp -p {file} original"),
            0,
        )?;
        let flip = format!(
            "printf \"\\\\$(printf %o $(( $(od -An -tu1 -N1 {file}) ^ 1 )))\" | \
             dd of={file} bs=1 conv=notrunc 2>&1 | tail -n 1"
        );
        self.step("Flip one bit of the first byte.", &flip, 0)?;
        self.step("Refused.", gate, 1)?;
        self.step("Restore it.", &restore, 0)?;
        if !target.single {
            self.step(
                "Add a file that a loader would run.",
                &format!("echo 'import os' > {added}"),
                0,
            )?;
            self.step("Refused.", gate, 1)?;
            self.step("Remove it again.", &format!("rm {added}"), 0)?;
        }
        self.step("Remove a file.", &format!("rm {file}"), 0)?;
        self.step("Refused.", gate, if target.single { 2 } else { 1 })?;
        self.step(
            "Swap it for a link to the very same bytes.",
            &format!("ln -s \"$PWD/original\" {file}"),
            0,
        )?;
        self.step("Refused.", gate, 1)?;
        self.step("Restore it.", &format!("rm {file} && {restore}"), 0)
    }

    /// Prints a command, runs it, prints what it says, and remembers if it ended otherwise than it
    /// should.
    fn step(&mut self, what: &str, command: &str, expected: i32) -> Result<(), Failure> {
        self.output.data(&format!("\n# {what}\n$ {command}\n"))?;
        let directory = self.program.parent().unwrap_or(Path::new("."));
        #[expect(
            clippy::disallowed_methods,
            reason = "the tour's commands find this very program"
        )]
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            std::iter::once(directory.to_path_buf()).chain(std::env::split_paths(&path)),
        )
        .map_err(|error| Failure::because("PATH", &error))?;
        let status = Command::new("sh")
            .args(["-c", &format!("exec 2>&1\n{command}")])
            .current_dir(&self.scratch)
            .env("PATH", path)
            .env(VARIABLE, PASSPHRASE)
            .env_remove("WEIGHBRIDGE_CONFIG")
            .stdin(Stdio::null())
            .status()
            .map_err(|error| Failure::because("cannot run sh", &error))?;
        self.steps += 1;
        let code = status.code().unwrap_or(-1);
        if command.starts_with("weighbridge") || code != expected {
            self.output.data(&format!("(exit {code})\n"))?;
        }
        if code != expected {
            self.wrong
                .push(format!("`{command}` ended with {code}, not {expected}"));
        }
        Ok(())
    }

    fn end(&self) -> Outcome {
        if !self.wrong.is_empty() {
            return Err(Failure::refused(self.wrong.clone()));
        }
        self.output.data(&format!(
            "\n# All {} steps went as they should. Remove the scratch directory with:\n$ rm -r {}\n",
            self.steps,
            quote(&self.scratch.display().to_string())
        ))?;
        Ok(0)
    }
}

/// A word for the shell.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quote("a/b-c.d"), "a/b-c.d");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's $x"), r"'it'\''s $x'");
        assert_eq!(quote(""), "''");
    }
}
