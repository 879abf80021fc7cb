//! `cargo xtask arm`: what differs on a 64-bit ARM, by Debian's cross compiler and emulator (QEMU): that the program compiles there
//! without a warning, that its digests are right, and that it hashes as `sha256sum` does.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::{peers, process};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const COMPILER: &str = "aarch64-linux-gnu-gcc";
/// The emulator, and where the libraries are that go with the compiler.
const EMULATOR: [&str; 3] = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"];
/// Tests of what is computed; the others are of what is the same everywhere.
const TESTS: [&str; 6] = ["sha256", "artifact", "digest", "fs_verity", "xet", "json"];

pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    if let Some(argument) = arguments.first() {
        return Err(Failure::usage(format!(
            "unknown argument {argument:?} of arm"
        )));
    }
    peers::arm();
    process::run(Command::new("rustup").args(["target", "add", TARGET]))?;
    let directory = root.join("target/arm");
    let cargo = |verb: &str| {
        let mut cargo = process::cargo(root);
        cargo
            .args([verb, "--locked", "--target", TARGET, "--target-dir"])
            .arg(&directory)
            .args(["--no-default-features", "--features", "cli"])
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", COMPILER)
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
                EMULATOR.join(" "),
            )
            .env("CC_aarch64_unknown_linux_gnu", COMPILER);
        cargo
    };
    process::run(cargo("rustc").args(["--lib", "--", "-D", "warnings"]))?;
    process::run(cargo("test").args(["--lib", "--"]).args(TESTS))?;
    process::run(&mut cargo("build"))?;
    let binary = directory.join(TARGET).join("debug/weighbridge");
    let file = directory.join("data");
    // Several pieces of whatever hashes it, and some more.
    let data: Vec<u8> = (0..3_000_001_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&file, data).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let [emulator, library, place] = EMULATOR;
    let emulated = || {
        let mut command = Command::new(emulator);
        command.args([library, place]).arg(&binary);
        command
    };
    process::run(emulated().args(["debug", "engine"]))?;
    let ours = process::capture(emulated().arg("hash").arg(&file))?;
    let theirs = process::capture(Command::new("sha256sum").arg(&file))?;
    if ours == theirs {
        println!("{}", String::from_utf8_lossy(&ours).trim_end());
        return Ok(());
    }
    Err(Failure::new(format!(
        "{}: not what sha256sum says",
        String::from_utf8_lossy(&ours)
    )))
}
