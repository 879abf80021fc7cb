//! The peers that tests compare with: `model_signing` in a Python venv, OpenSSL, `tlogcheck`, servers
//! that ledgers lie in, and a few Debian tools. Everything that is not Debian's lies under
//! `target/peers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::process;

/// What `ensure` left behind.
pub(crate) struct Peers {
    pub(crate) directory: PathBuf,
    /// Those that this machine cannot have: their tests are skipped.
    pub(crate) without: Vec<&'static str>,
}

/// Installs what is missing. What it cannot install it names; the tests that need it then fail.
pub(crate) fn ensure(root: &Path) -> Result<Peers, Failure> {
    let directory = root.join("target/peers");
    let tlogcheck = root.join(TLOGCHECK_SOURCES);
    let without_tlogcheck = !tlogcheck.is_dir();
    debian(without_tlogcheck);
    fs::create_dir_all(&directory).map_err(|error| cannot_write(&directory, &error))?;
    venv(root, REQUIREMENTS, &directory.join("venv"))?;
    venv(root, STORE_REQUIREMENTS, &directory.join("stores"))?;
    venv(root, KIT_REQUIREMENTS, &directory.join("kits"))?;
    cargo_peers(root, &directory)?;
    let mut without = Vec::new();
    if without_tlogcheck {
        eprintln!("peers: no {TLOGCHECK_SOURCES}: the tests that need tlogcheck are skipped");
        without.push("tlogcheck");
    } else {
        build_tlogcheck(&tlogcheck, &directory)?;
    }
    if process::on_path("npm").is_some() {
        npm(root, &directory.join("npm"))?;
    } else {
        eprintln!(
            "peers: no npm: the tests that need Azurite, s3rver or gitlab-ci-local are skipped"
        );
        without.extend(["azurite", "s3rver", "gitlab-ci-local"]);
    }
    if let Err(failure) = groovy(&directory) {
        eprintln!("{failure}\npeers: no groovy: the test that needs it is skipped");
        without.push("groovy");
    }
    for server in SERVERS {
        if server
            .packages
            .iter()
            .any(|package| !is_present(&package.probe))
        {
            eprintln!("peers: the tests that need {} are skipped", server.name);
            without.push(server.name);
        }
    }
    without.extend(go_peers(root, &directory, without_tlogcheck)?);
    Ok(Peers { directory, without })
}

/// The venv's Python, with pip in it.
pub(crate) fn python(directory: &Path) -> PathBuf {
    directory.join("venv/bin/python")
}

/// A Debian package, and how to tell that it is needed.
struct Package {
    name: &'static str,
    probe: Probe,
    only_for_tlogcheck: bool,
}

/// A server that is large, and that not every machine can have.
struct LargeServer {
    /// As the tests call it.
    name: &'static str,
    packages: &'static [Package],
}

enum Probe {
    Command(&'static str),
    Directory(&'static str),
    /// Debian keeps its programs off PATH, by version.
    PostgresServer,
    /// Debian's Python comes without the module that puts pip into a venv.
    PythonModule(&'static str),
}

fn debian(without_tlogcheck: bool) {
    let servers = SERVERS.iter().flat_map(|server| server.packages);
    let all = PACKAGES.iter().chain(servers);
    install(all.filter(|package| !(without_tlogcheck && package.only_for_tlogcheck)));
}

/// What a virtual machine is made with.
pub(crate) fn vm() {
    install(VM_PACKAGES.iter());
}

/// What `cargo xtask arm` takes.
pub(crate) fn arm() {
    install(ARM_PACKAGES.iter());
}

fn install<'a>(packages: impl Iterator<Item = &'a Package>) {
    let missing: Vec<&str> = packages
        .filter(|package| !is_present(&package.probe))
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return;
    }
    let names = missing.join(" ");
    if !is_root() || process::on_path("apt-get").is_none() {
        eprintln!("peers: missing: {names}\nhint: install these Debian packages as root");
        return;
    }
    eprintln!("peers: apt-get install {names}");
    if let Err(failure) = apt(&["update"]).and_then(|()| {
        apt(&[
            &["install", "--yes", "--no-install-recommends"],
            missing.as_slice(),
        ]
        .concat())
    }) {
        eprintln!("{failure}\npeers: still missing: {names}");
    }
}

fn is_present(probe: &Probe) -> bool {
    match probe {
        Probe::Command(name) => process::on_path(name).is_some(),
        Probe::PostgresServer => fs::read_dir("/usr/lib/postgresql").is_ok_and(|versions| {
            versions
                .flatten()
                .any(|version| version.path().join("bin/postgres").exists())
        }),
        Probe::Directory(path) => Path::new(path).is_dir(),
        Probe::PythonModule(name) => {
            process::succeeds(Command::new("python3").args(["-c", &format!("import {name}")]))
        }
    }
}

fn is_root() -> bool {
    process::capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim_ascii() == b"0")
}

fn apt(arguments: &[&str]) -> Result<(), Failure> {
    process::run(
        Command::new("apt-get")
            .args(["-qq", "-o", "Dpkg::Use-Pty=0"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// The stamp is the requirements file itself, copied last: half an installation has none.
fn venv(root: &Path, requirements_path: &str, venv: &Path) -> Result<(), Failure> {
    let requirements = root.join(requirements_path);
    let wanted = fs::read(&requirements)
        .map_err(|error| Failure::new(format!("cannot read {requirements_path}: {error}")))?;
    let stamp = venv.join("requirements.txt");
    if fs::read(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    eprintln!(
        "peers: installing {requirements_path} into {}",
        venv.display()
    );
    if venv.exists() {
        fs::remove_dir_all(venv).map_err(|error| cannot_write(venv, &error))?;
    }
    process::run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    process::run(
        Command::new(venv.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(&requirements),
    )?;
    fs::write(&stamp, wanted).map_err(|error| cannot_write(&stamp, &error))
}

/// The stamp is a copy of package.json, as for a venv.
fn npm(root: &Path, directory: &Path) -> Result<(), Failure> {
    let wanted = fs::read(root.join(NPM_PACKAGES))
        .map_err(|error| Failure::new(format!("cannot read {NPM_PACKAGES}: {error}")))?;
    let stamp = directory.join("installed.json");
    if fs::read(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    eprintln!(
        "peers: installing {NPM_PACKAGES} into {}",
        directory.display()
    );
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(|error| cannot_write(directory, &error))?;
    }
    fs::create_dir_all(directory).map_err(|error| cannot_write(directory, &error))?;
    let own = directory.join("package.json");
    fs::write(&own, &wanted).map_err(|error| cannot_write(&own, &error))?;
    process::run(
        Command::new("npm")
            .args([
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
            ])
            .current_dir(directory),
    )?;
    fs::write(&stamp, wanted).map_err(|error| cannot_write(&stamp, &error))
}

/// Built in GOPATH mode over Debian's x/mod, as its README says; Go's own cache makes it cheap. With
/// the Go of the venv, whose standard library has ML-DSA.
fn build_tlogcheck(sources: &Path, directory: &Path) -> Result<(), Failure> {
    let go = "import sysconfig; print(sysconfig.get_paths()['purelib'] + '/go/bin/go')";
    let go = process::capture(Command::new(python(directory)).args(["-c", go]))?;
    let go = String::from_utf8_lossy(go.trim_ascii()).into_owned();
    process::run(
        Command::new(go)
            .args(["build", "-o"])
            .arg(directory.join("tlogcheck"))
            .arg(".")
            .current_dir(sources)
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode")
            .env("GOTOOLCHAIN", "local"),
    )
    .map_err(|failure| failure.hint("needs the Debian package golang-golang-x-mod-dev"))
}

fn groovy(directory: &Path) -> Result<(), Failure> {
    let directory = directory.join("groovy");
    if directory.join("groovy-all-2.4.21.jar").exists() {
        return Ok(());
    }
    let mut fetch = Command::new("mvn");
    fetch.args(["--quiet", "--batch-mode", "dependency:copy"]);
    fetch.arg(format!("-Dartifact={GROOVY}"));
    fetch.arg(format!("-DoutputDirectory={}", directory.display()));
    process::run(&mut fetch)
}

/// Servers in Rust: a registry that lists referrers, and an S3 server. They only answer tests, so the debug profile will
/// do, which compiles four times as fast; cargo itself knows which are there.
fn cargo_peers(root: &Path, directory: &Path) -> Result<(), Failure> {
    for (name, version, features) in CARGO_PEERS {
        process::run(
            process::cargo(root)
                .args([
                    "install",
                    "--quiet",
                    "--locked",
                    "--debug",
                    "--version",
                    version,
                ])
                .args(["--features", features, "--root"])
                .arg(directory)
                .arg(name),
        )?;
    }
    Ok(())
}

/// Name, version, features.
const CARGO_PEERS: [(&str, &str, &str); 2] = [
    ("ferro-oci-server", "1.0.0", ""),
    ("s3s-fs", "0.14.1", "binary"),
];

/// Witnesses and verifiers in Go. ML-DSA-44 came with Go 1.27, which lies in the venv; modules come
/// from Go's proxy, checked against its checksum database.
fn go_peers(
    root: &Path,
    directory: &Path,
    without_tlogcheck: bool,
) -> Result<Vec<&'static str>, Failure> {
    let directory = fs::canonicalize(directory).map_err(|error| cannot_write(directory, &error))?;
    let find = "import sysconfig; print(sysconfig.get_paths()['purelib'] + '/go/bin/go')";
    let go = process::capture(Command::new(python(&directory)).args(["-c", find]))?;
    let go = String::from_utf8_lossy(&go).trim().to_owned();
    let go = || {
        let mut go = Command::new(&go);
        go.env("GOTOOLCHAIN", "local").env("GOBIN", &directory);
        go
    };
    let mut omniwitness = go();
    omniwitness.args(["install", OMNIWITNESS]);
    let mut client = go();
    client
        .args(["build", "-mod=readonly", "-o"])
        .arg(directory.join("witness-client"))
        .arg(".")
        .current_dir(root.join("tests/peers/witness-client"));
    // A private Sigstore; what lints GitHub's workflows, and what runs them.
    let install = |module: &str, program: &str, name: &'static str| {
        let place = directory.join("go").join(name);
        let mut install = go();
        install.env("GOBIN", &place).args(["install", module]);
        (name, install, place.join(program))
    };
    let programs = [
        install(FULCIO, "fulcio", "fulcio"),
        install(REKOR, "posix", "rekor-server"),
        install(TIMESTAMP_SERVER, "timestamp-server", "timestamp-server"),
        install(TESSERACT, "posix", "tesseract"),
        install(ACTIONLINT, "actionlint", "actionlint"),
        install(ACT, "act", "act"),
    ];
    let mut plugin = go();
    plugin
        .args(["build", "-mod=readonly", "-o"])
        .arg(directory.join("sigstore-kms-file"))
        .arg(".")
        .current_dir(root.join("tests/peers/kms-plugin"));
    let mut cel = go();
    cel.args(["build", "-mod=readonly", "-o"])
        .arg(directory.join("cel"))
        .arg(".")
        .current_dir(root.join("tests/peers/cel"));
    let mut tlogcheck = go();
    tlogcheck
        .args(["build", "-o"])
        .arg(directory.join("tlogcheck-mldsa"))
        .arg(".")
        .current_dir(if without_tlogcheck {
            root.to_path_buf()
        } else {
            root.join(TLOGCHECK_SOURCES)
        })
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode");
    let mut without = Vec::new();
    for (name, mut build) in [
        ("omniwitness", omniwitness),
        ("witness-client", client),
        ("kms-plugin", plugin),
        ("cel", cel),
        ("tlogcheck-mldsa", tlogcheck),
    ] {
        if let Err(failure) = process::run(&mut build) {
            eprintln!("{failure}\npeers: no {name}: the tests that need it are skipped");
            without.push(name);
        }
    }
    for (name, mut install, built) in programs {
        let target = directory.join(name);
        let moved = || fs::rename(&built, &target).map_err(|error| cannot_write(&target, &error));
        // What is there was built from the same version, or the directory was made anew.
        if !target.exists()
            && let Err(failure) = process::run(&mut install).and_then(|()| moved())
        {
            eprintln!("{failure}\npeers: no {name}: the tests that need it are skipped");
            without.push(name);
        }
    }
    Ok(without)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()))
}

const REQUIREMENTS: &str = "tests/peers/requirements.txt";
const OMNIWITNESS: &str =
    "github.com/transparency-dev/witness/cmd/omniwitness@v0.0.0-20260720115447-2e1c6971d19e";
const FULCIO: &str = "github.com/sigstore/fulcio@v1.8.8";
const REKOR: &str = "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@v2.3.0";
const TIMESTAMP_SERVER: &str =
    "github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server@v2.1.3";
const TESSERACT: &str = "github.com/transparency-dev/tesseract/cmd/tesseract/posix@v0.1.1";
const ACTIONLINT: &str = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12";
const ACT: &str = "github.com/nektos/act@v0.2.89";
const STORE_REQUIREMENTS: &str = "tests/peers/stores.txt";
const KIT_REQUIREMENTS: &str = "tests/peers/kits.txt";
/// The Groovy that Jenkins embeds.
const GROOVY: &str = "org.codehaus.groovy:groovy-all:2.4.21";
const NPM_PACKAGES: &str = "tests/peers/package.json";
const TLOGCHECK_SOURCES: &str = "../shared/tools/tlogcheck";

const VM_PACKAGES: &[Package] = &[
    Package {
        name: "qemu-system-x86",
        probe: Probe::Command("qemu-system-x86_64"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "busybox-static",
        probe: Probe::Command("busybox"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "fsverity",
        probe: Probe::Command("fsverity"),
        only_for_tlogcheck: false,
    },
];

const ARM_PACKAGES: &[Package] = &[
    Package {
        name: "gcc-aarch64-linux-gnu",
        probe: Probe::Command("aarch64-linux-gnu-gcc"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "libc6-dev-arm64-cross",
        probe: Probe::Directory("/usr/aarch64-linux-gnu/include"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "qemu-user",
        probe: Probe::Command("qemu-aarch64"),
        only_for_tlogcheck: false,
    },
];

const PACKAGES: &[Package] = &[
    Package {
        name: "curl",
        probe: Probe::Command("curl"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "openssl",
        probe: Probe::Command("openssl"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "b3sum",
        probe: Probe::Command("b3sum"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "faketime",
        probe: Probe::Command("faketime"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "fsverity",
        probe: Probe::Command("fsverity"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "strace",
        probe: Probe::Command("strace"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "util-linux",
        probe: Probe::Command("setpriv"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "openssh-client",
        probe: Probe::Command("ssh-agent"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "softhsm2",
        probe: Probe::Command("softhsm2-util"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "opensc",
        probe: Probe::Command("pkcs11-tool"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "docker-registry",
        probe: Probe::Command("docker-registry"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "skopeo",
        probe: Probe::Command("skopeo"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "rsync",
        probe: Probe::Command("rsync"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "zstd",
        probe: Probe::Command("zstd"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "git-lfs",
        probe: Probe::Command("git-lfs"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "nginx-light",
        probe: Probe::Command("nginx"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "minisign",
        probe: Probe::Command("minisign"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "gnupg",
        probe: Probe::Command("gpg"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "bsdutils",
        probe: Probe::Command("script"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "libxml2-utils",
        probe: Probe::Command("xmllint"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "python3",
        probe: Probe::Command("python3"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "python3-venv",
        probe: Probe::PythonModule("ensurepip"),
        only_for_tlogcheck: false,
    },
    Package {
        name: "golang-golang-x-mod-dev",
        probe: Probe::Directory("/usr/share/gocode/src/golang.org/x/mod"),
        only_for_tlogcheck: true,
    },
];

const SERVERS: &[LargeServer] = &[
    LargeServer {
        name: "ceph",
        packages: &[
            Package {
                name: "ceph-mon",
                probe: Probe::Command("ceph-mon"),
                only_for_tlogcheck: false,
            },
            Package {
                name: "ceph-osd",
                probe: Probe::Command("ceph-osd"),
                only_for_tlogcheck: false,
            },
            Package {
                name: "ceph-common",
                probe: Probe::Command("ceph"),
                only_for_tlogcheck: false,
            },
            Package {
                name: "radosgw",
                probe: Probe::Command("radosgw"),
                only_for_tlogcheck: false,
            },
        ],
    },
    LargeServer {
        name: "postgresql",
        packages: &[
            Package {
                name: "postgresql",
                probe: Probe::PostgresServer,
                only_for_tlogcheck: false,
            },
            Package {
                name: "postgresql-client",
                probe: Probe::Command("psql"),
                only_for_tlogcheck: false,
            },
        ],
    },
];
