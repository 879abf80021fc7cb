//! `completions` and `man`: what a package installs beside the binary.

use clap::Command;
use clap_complete::Shell;

use super::Outcome;
use super::failure::Failure;
use super::output::Output;

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = "Example:\n  weighbridge completions bash > weighbridge.bash")]
pub(super) struct CompletionsArgs {
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, mut command: Command, output: &Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "weighbridge", &mut script);
    output.data(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

pub(super) fn man(command: Command, output: &Output) -> Outcome {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::because("cannot write the manual page", &error))?;
    output.data(&String::from_utf8_lossy(&page))?;
    Ok(0)
}
