//! `cargo xtask vm`: what needs another kernel or another machine than most have, in a virtual one with Debian's kernel: fs-verity, and
//! two memory nodes. The program under test, what it links with and the scripts are in the machine's first file system; it has no
//! disk and no network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::{peers, process};

/// Names the kernel of the day.
const KERNEL: &str = "linux-image-cloud-amd64";
const SCRIPTS: &str = "tests/vm";
/// What the scripts call beside busybox, which has a `mke2fs` of its own that knows no ext4.
const PROGRAMS: [&str; 2] = ["mkfs.ext4", "fsverity"];
/// Longer than it takes where the processor has to be emulated.
const SECONDS: &str = "900";

/// Runs the scripts; every check must hold.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    let binary = match arguments {
        [] => {
            process::run(process::cargo(root).args(["build", "--release", "--locked"]))?;
            root.join("target/release/weighbridge")
        }
        [path] => PathBuf::from(path),
        _ => return Err(Failure::usage("usage: cargo xtask vm [WEIGHBRIDGE]")),
    };
    peers::vm();
    let directory = root.join("target/vm");
    let kernel = kernel(&directory)?;
    let image = image(root, &directory, &kernel, &binary)?;
    let log = boot(&kernel.join("vmlinuz"), &image)?;
    if log.lines().any(|line| line.trim_end() == "all held") {
        return Ok(());
    }
    Err(Failure::new(
        "the virtual machine did not say that all held",
    ))
}

/// A directory with `vmlinuz` and the one module that is needed, from Debian's package.
fn kernel(directory: &Path) -> Result<PathBuf, Failure> {
    let kernel = directory.join("kernel");
    if kernel.join("loop.ko").exists() {
        return Ok(kernel);
    }
    let depends = process::capture(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let depends = String::from_utf8_lossy(&depends).into_owned();
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .ok_or_else(|| Failure::new(format!("Debian's {KERNEL} names no kernel")))?;
    let scratch = directory.join("package");
    // Half of an earlier one is of no use.
    let _ = fs::remove_dir_all(&scratch);
    make(&scratch)?;
    process::run(
        Command::new("apt-get")
            .args(["-qq", "download", package])
            .current_dir(&scratch),
    )?;
    shell(
        &scratch,
        "dpkg-deb -x *.deb . && mkdir -p kernel && cp boot/vmlinuz-* kernel/vmlinuz && \
         cp \"$(find lib -name 'loop.ko*' | head -n 1)\" kernel/loop.ko",
    )?;
    fs::rename(scratch.join("kernel"), &kernel).map_err(|error| cannot(&kernel, &error))?;
    let _ = fs::remove_dir_all(&scratch);
    Ok(kernel)
}

/// The first file system of the machine: programs with what they link with, and the scripts, one of which is the first process.
fn image(root: &Path, directory: &Path, kernel: &Path, binary: &Path) -> Result<PathBuf, Failure> {
    let tree = directory.join("tree");
    let _ = fs::remove_dir_all(&tree);
    make(&tree.join("bin"))?;
    copy(binary, &tree.join("bin/weighbridge"))?;
    let scripts = root.join(SCRIPTS);
    copy(&scripts.join("init.sh"), &tree.join("init"))?;
    for name in ["fs_verity.sh", "memory_nodes.sh"] {
        copy(&scripts.join(name), &tree.join(name))?;
    }
    copy(&kernel.join("loop.ko"), &tree.join("loop.ko"))?;
    let found = |name: &str| {
        process::on_path(name)
            .or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.exists()))
            .ok_or_else(|| Failure::new(format!("{name} is missing: install its Debian package")))
    };
    copy(&found("busybox")?, &tree.join("bin/busybox"))?;
    for name in PROGRAMS {
        copy(&found(name)?, &tree.join("bin").join(name))?;
    }
    // Each library at its own path.
    shell(
        &tree,
        "ldd bin/* 2>/dev/null | grep -o '/[^ ]*' | sort -u | while read -r library; do \
         if test -f \"$library\"; then cp --parents -L \"$library\" .; fi; done; chmod 755 init bin/*",
    )?;
    let image = directory.join("image.gz");
    let pack = format!(
        "find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > '{}'",
        image.display()
    );
    shell(&tree, &pack)?;
    Ok(image)
}

/// Starts the machine, shows what it prints, and returns that.
fn boot(kernel: &Path, image: &Path) -> Result<String, Failure> {
    let output = Command::new("timeout")
        // Emulated: a machine that is virtual itself can seldom start another.
        .args([SECONDS, "qemu-system-x86_64", "-accel", "tcg"])
        .args(["-cpu", "max", "-m", "1024", "-nographic", "-no-reboot"])
        // Two processors, each with half of the memory.
        .args(["-smp", "2"])
        .args(["-object", "memory-backend-ram,size=512M,id=m0"])
        .args(["-object", "memory-backend-ram,size=512M,id=m1"])
        .args(["-numa", "node,cpus=0,memdev=m0"])
        .args(["-numa", "node,cpus=1,memdev=m1"])
        .args([
            "-net",
            "none",
            "-append",
            "console=ttyS0 loglevel=0 panic=-1",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("cannot start qemu-system-x86_64: {error}")))?;
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{log}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(log)
}

fn shell(directory: &Path, script: &str) -> Result<(), Failure> {
    let mut command = Command::new("sh");
    process::run(command.args(["-ec", script]).current_dir(directory))
}

fn make(directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map_err(|error| cannot(from, &error))?;
    Ok(())
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}
