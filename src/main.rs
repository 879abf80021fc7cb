//! The `weighbridge` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    weighbridge::cli::run()
}
