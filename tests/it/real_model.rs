//! A real checkpoint of 90 MB, which `cargo xtask test --real-model` downloads, goes through the
//! tour there. Here: the small real model that is always at hand, through every verb.

use crate::support::{Workspace, copy_tree, fixture};

#[test]
fn the_real_model_goes_the_whole_way() {
    let workspace = Workspace::initialised();
    copy_tree(&fixture("models/silero-vad"), &workspace.path("model"));
    workspace
        .run([
            "record",
            "acquire",
            "--source",
            "pkg:pypi/silero-vad@6.2.3",
            "model",
        ])
        .exits(0);
    assert_eq!(
        workspace.run(["sign", "--record", "model"]).exits(0).stdout,
        "1\n"
    );
    workspace.gate().exits(0).says("4 files, 2531127 bytes");
    workspace.run(["ledger", "fsck"]).exits(0);
    // Every hundred-thousandth bit of the weights.
    let weights = workspace.path("model/data/silero_vad_16k.safetensors");
    let original = std::fs::read(&weights).unwrap();
    for position in (0..original.len()).step_by(100_000) {
        let mut damaged = original.clone();
        damaged[position] ^= 1;
        std::fs::write(&weights, damaged).unwrap();
        workspace
            .gate()
            .exits(1)
            .says("silero_vad_16k.safetensors was changed");
    }
}
