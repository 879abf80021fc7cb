//! The layers of ARCHITECTURE.md, held against the sources; and that nothing is left undone.

use std::path::{Path, PathBuf};

use crate::support::repository;

/// A module may use lower rows, and what stands left of it in its own row.
const LAYERS: &[&[&str]] = &[
    &[
        "sha256",
        "xet",
        "fs_verity",
        "pages",
        "digest",
        "path",
        "time",
        "merkle",
        "json",
        "finding",
        "tar",
        "parallel",
        "percent",
    ],
    &["disk", "artifact", "key"],
    &[
        "note",
        "checkpoint",
        "cosignature",
        "tlog_policy",
        "witness",
        "tlog_mirror",
        "envelope",
        "x509",
        "timestamp",
        "git",
        "minisign",
    ],
    &["statement", "ledger"],
    &["bundle", "oms", "sigstore", "credential", "policy"],
    &["verify"],
    &["gate", "report"],
    &["client", "source", "signer", "server"],
    &["cli"],
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn place(module: &str) -> Option<(usize, usize)> {
    LAYERS.iter().enumerate().find_map(|(row, modules)| {
        let column = modules.iter().position(|name| *name == module)?;
        Some((row, column))
    })
}

/// What is wrong with the use of modules in the sources under `src`.
fn wrong(src: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in sources(src) {
        let relative = path.strip_prefix(src).unwrap();
        let first = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = first.trim_end_matches(".rs");
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(own) = place(module) else {
            wrong.push(format!(
                "{}: module {module} is not in the table",
                relative.display()
            ));
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for part in code.split("crate::").skip(1) {
                let name: String = part
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                let allowed = name == module
                    || place(&name)
                        .is_some_and(|used| used < own && (used.0 < own.0 || used.1 < own.1));
                if !allowed {
                    wrong.push(format!(
                        "{}:{}: {module} must not use {name}",
                        relative.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    wrong
}

#[test]
fn modules_use_lower_layers_only() {
    assert_eq!(wrong(&repository().join("src")), Vec::<String>::new());
}

#[test]
fn the_layer_test_finds_what_it_should() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(scratch.path().join(name), text).unwrap();
    write(
        "digest.rs",
        "use crate::verify::Report; // crate::cli\n// crate::ledger\n",
    );
    write("util.rs", "");
    write(
        "gate.rs",
        "use crate::report::text; use crate::verify::verify;",
    );
    write(
        "report.rs",
        "use crate::gate::read; use crate::digest::Sha256;",
    );
    assert_eq!(
        wrong(scratch.path()),
        [
            "digest.rs:1: digest must not use verify",
            "gate.rs:1: gate must not use report",
            "util.rs: module util is not in the table",
        ]
    );
}

#[test]
fn nothing_is_left_undone() {
    let words = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
        ["unimple", "mented!"].concat(),
    ];
    for folder in ["src", "tests", "benches", "xtask", "fuzz/fuzz_targets"] {
        for path in sources(&repository().join(folder)) {
            let text = std::fs::read_to_string(&path).unwrap();
            for word in &words {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[test]
fn every_test_file_is_declared() {
    let main = std::fs::read_to_string(repository().join("tests/it/main.rs")).unwrap();
    for path in sources(&repository().join("tests/it")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            name == "main" || main.contains(&format!("mod {name};")),
            "{name} is not declared"
        );
    }
}

/// Files with one reason to change are short.
#[test]
fn no_source_file_is_long() {
    for path in sources(&repository().join("src")) {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

/// Each module says at its head what lives there.
#[test]
fn every_module_has_a_header() {
    for path in sources(&repository().join("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

/// For instructions that not every processor has, and for calls of the kernel for which no library has a safe function.
#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    let src = repository().join("src");
    let with: Vec<String> = sources(&src)
        .iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().any(|line| {
                line.trim_start().starts_with("unsafe_code") || line.contains("(unsafe_code")
            })
        })
        .map(|path| path.strip_prefix(&src).unwrap().display().to_string())
        .collect();
    assert_eq!(
        with,
        [
            "disk/lease.rs",
            "disk/verity.rs",
            "pages.rs",
            "sha256/avx2.rs",
            "sha256/avx512.rs",
            "sha256/sha_ni.rs"
        ]
    );
}
