//! What must be refused: everything that someone may do to a model that passes, and signatures and
//! records that do not vouch for it.

use crate::support::Workspace;

/// What someone may do to a model, and the rule that must refuse it. Each starts from a model that
/// passes, and the gate must answer with exit code 1.
const TAMPERINGS: &[(&str, &str)] = &[
    (
        "printf X | dd of=weights.bin bs=1 conv=notrunc 2>/dev/null",
        "artifact.changed",
    ),
    ("printf X >> weights.bin", "artifact.changed"),
    (": > weights.bin", "artifact.changed"),
    ("printf x > empty", "artifact.changed"),
    (
        "cp weights.bin t; cp config.json weights.bin; mv t config.json",
        "artifact.changed",
    ),
    ("echo x > added.py", "artifact.added"),
    ("echo x > weights/added.py", "artifact.added"),
    ("mkdir new; echo x > new/added", "artifact.added"),
    (": > .added-empty", "artifact.added"),
    ("cp config.json Config.json", "artifact.added"),
    ("cp model.sig other.sig", "artifact.added"),
    ("mkdir .cache; echo x > .cache/other", "artifact.added"),
    (
        "mkdir sub; mkdir sub/.git; echo x > sub/.git/config",
        "artifact.added",
    ),
    // OMS leaves these out of the signature; the record in the ledger covers them.
    ("echo x > .gitattributes", "artifact.added"),
    (
        "mkdir .github; echo x > .github/workflow.yml",
        "artifact.added",
    ),
    ("rm weights.bin", "artifact.missing"),
    ("rm empty", "artifact.missing"),
    ("rm -r weights", "artifact.missing"),
    ("mv config.json config.jsn", "artifact.missing"),
    (
        "find . -type f ! -name model.sig -delete",
        "artifact.missing",
    ),
    ("find . -mindepth 1 -delete", "artifact.empty"),
    (
        "mv weights.bin ../w; ln -s ../w weights.bin",
        "artifact.symlink",
    ),
    ("ln -s weights.bin link.bin", "artifact.symlink"),
    ("ln -s . loop", "artifact.symlink"),
    ("ln -s /etc out", "artifact.symlink"),
    ("ln -s nowhere broken", "artifact.symlink"),
    ("mv weights ../w; ln -s ../w weights", "artifact.symlink"),
    ("rm weights.bin; mkdir weights.bin", "artifact.missing"),
    ("mkfifo pipe", "artifact.special-file"),
    (
        "rm weights.bin; mkfifo weights.bin",
        "artifact.special-file",
    ),
    ("printf x > \"$(printf 'new\\nline')\"", "artifact.name"),
    ("printf x > 'back\\slash'", "artifact.name"),
    ("printf x > \"$(printf 'not\\377utf8')\"", "artifact.name"),
    (
        "mv model.sig ../s; ln -s ../s model.sig",
        "artifact.symlink",
    ),
    ("ln -s /etc .git", "artifact.symlink"),
    ("mkfifo .git", "artifact.special-file"),
    ("echo >> model.sig", "signature.recorded"),
    (
        "sed -i 's/\"hint\":\"./\"hint\":\"x/' model.sig",
        "signature.recorded",
    ),
    ("rm model.sig", "signature.missing"),
    (": > model.sig", "signature.format"),
    ("echo '{}' > model.sig", "signature.format"),
    ("rm model.sig; mkdir model.sig", "signature.format"),
    (
        "head -c 100 model.sig > t; mv t model.sig",
        "signature.format",
    ),
];

#[test]
fn every_tampering_is_refused_with_its_reason() {
    let released = Workspace::released();
    for (script, rule) in TAMPERINGS {
        let workspace = Workspace::new();
        for part in ["model", "ledger", "weighbridge.toml"] {
            crate::support::copy_tree(&released.path(part), &workspace.path(part));
        }
        workspace.gate().exits(0);
        workspace.shell(&format!("cd model; {script}")).exits(0);
        let run = workspace.gate();
        assert_eq!(run.code, 1, "{script}: {run:?}");
        let rules = workspace.failing_rules();
        assert!(
            rules.iter().any(|found| found == rule),
            "{script}: {rules:?}"
        );
    }
}

/// A signature by somebody else, over exactly what was tampered with, helps nobody.
#[test]
fn a_signature_by_a_stranger_is_refused() {
    let workspace = Workspace::released();
    let stranger = Workspace::initialised();
    workspace.write("model/config.json", "{\"trust_remote_code\": true}");
    let key = stranger.path("keys/signing.key.pem");
    workspace
        .run(["sign", "--key", key.to_str().unwrap(), "model"])
        .exits(0);
    workspace.gate().exits(1);
    assert_eq!(
        workspace.failing_rules(),
        ["signature.key", "record.missing"]
    );
    // Even over the original bytes, which are in the ledger.
    let workspace = Workspace::released();
    workspace
        .run(["sign", "--key", key.to_str().unwrap(), "model"])
        .exits(0);
    workspace.gate().exits(1);
    assert_eq!(
        workspace.failing_rules(),
        ["signature.key", "signature.recorded"]
    );
}

/// Signed by the right key, and never recorded.
#[test]
fn a_signature_without_a_record_is_refused() {
    let workspace = Workspace::initialised();
    workspace.model("model");
    workspace.run(["sign", "model"]).exits(0);
    workspace.gate().exits(1);
    assert_eq!(workspace.failing_rules(), ["record.missing"]);
    assert_eq!(
        workspace
            .run(["record", "release", "model"])
            .exits(0)
            .stdout,
        "0\n"
    );
    workspace.gate().exits(0);
}
