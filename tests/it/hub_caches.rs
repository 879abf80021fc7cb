//! What the hub's own client downloaded, in its cache or in a directory, is what the commit says, or is refused.

use crate::hub::{LARGE, place};

/// What the hub's own client downloaded, as it lies in its cache.
#[test]
fn the_clients_cache() {
    let Some(place) = place() else { return };
    let Some(snapshot) = place.hf(&[]) else {
        return;
    };
    let adopt = || place.acquire(&["--adopt", "hf:acme/tiny", &snapshot]);
    let verify = || place.run(&["verify", "--source", "--offline", &snapshot]);
    let first = adopt().exits(0);
    assert_eq!(first.json()["fetched_files"], 0);
    verify().exits(0);
    // The same artifact as one in plain files, to hash and to sign.
    let plain = place.acquire(&["hf:acme/tiny", "plain"]).exits(0);
    assert_eq!(first.json()["artifact"], plain.json()["artifact"]);
    place
        .workspace
        .run(["sign", "--record", "--signature", "s", &snapshot])
        .exits(0);
    place
        .workspace
        .run(["gate", "--signature", "s", &snapshot])
        .exits(0);
    place
        .workspace
        .run(["gate", "--signature", "s", "plain"])
        .exits(0);

    let refused = |says: &str| {
        adopt().exits(1).says(says);
        verify().exits(1).says(says);
        place
            .workspace
            .run(["gate", "--signature", "s", &snapshot])
            .exits(1)
            .says(says);
    };
    let link = format!("{snapshot}/{LARGE}");
    let blob = std::fs::canonicalize(place.workspace.path(&link)).unwrap();
    let good = std::fs::read(&blob).unwrap();
    // Tampered with, of the same size: the blob's name still is the right digest.
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, &bad).unwrap();
    refused("artifact.changed");
    std::fs::write(&blob, &good).unwrap();
    // Something added, something missing.
    place
        .workspace
        .write(&format!("{snapshot}/modeling_evil.py"), "x");
    refused("artifact.added");
    std::fs::remove_file(
        place
            .workspace
            .path(&format!("{snapshot}/modeling_evil.py")),
    )
    .unwrap();
    std::fs::remove_file(place.workspace.path(&link)).unwrap();
    refused("artifact.missing");
    let repository = place
        .workspace
        .path("hf/hub/models--acme--tiny/blobs/deeper");
    std::fs::create_dir(&repository).unwrap();
    std::fs::write(repository.join("blob"), &good).unwrap();
    // Links to anywhere else, even to the very content.
    place.workspace.write("elsewhere", &good);
    let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
    for target in [
        place.workspace.path("elsewhere").display().to_string(),
        "../../../../../elsewhere".into(),
        format!("../../blobs/../blobs/{name}"),
        "../../refs/main".into(),
        "../../blobs/deeper/blob".into(),
        format!("../../snapshots/{}/config.json", place.hub.commit),
    ] {
        let at = place.workspace.path(&link);
        _ = std::fs::remove_file(&at);
        std::os::unix::fs::symlink(&target, &at).unwrap();
        adopt().exits(1).says("does not lead to a blob");
        verify().exits(1).says("artifact.symlink");
    }
}

/// The store that repositories share: two links, and only with its marker.
#[test]
fn a_poisoned_shared_blob() {
    let Some(place) = place() else { return };
    let Some(snapshot) = place.hf(&[]) else {
        return;
    };
    let blob = std::fs::canonicalize(place.workspace.path(&format!("{snapshot}/{LARGE}"))).unwrap();
    let good = std::fs::read(&blob).unwrap();
    let shared = "hf/hub/blobs/ab/abcdef";
    place.workspace.write(shared, &good);
    std::fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink("../../blobs/ab/abcdef", &blob).unwrap();
    let adopt = || place.acquire(&["--adopt", "hf:acme/tiny", &snapshot]);
    _ = std::fs::remove_file(
        place
            .workspace
            .path("hf/hub/blobs/.huggingface-shared-blobs"),
    );
    adopt().exits(1).says("does not lead to a blob");
    place
        .workspace
        .write("hf/hub/blobs/.huggingface-shared-blobs", "1\n");
    adopt().exits(0);
    let mut bad = good;
    bad.fill(0);
    place.workspace.write(shared, &bad);
    adopt().exits(1).says("artifact.changed");
    // A third link is one too many.
    place.workspace.write("hf/hub/blobs/cd/more", "x");
    std::fs::remove_file(place.workspace.path(shared)).unwrap();
    std::os::unix::fs::symlink("../cd/more", place.workspace.path(shared)).unwrap();
    adopt().exits(1).says("artifact.symlink");
}

/// A download into a directory has the client's bookkeeping in it, which is named and left out.
#[test]
fn the_clients_directory() {
    let Some(place) = place() else { return };
    if place.hf(&["--local-dir", "local"]).is_none() {
        return;
    }
    assert!(place.workspace.path("local/.cache/huggingface").exists());
    assert_eq!(place.fetched(&["--adopt", "hf:acme/tiny", "local"]), 0);
    place
        .workspace
        .write("local/tok/tokenizer.json", "{\"a\":2}");
    place
        .acquire(&["--adopt", "hf:acme/tiny", "local"])
        .exits(1)
        .says("tok/tokenizer.json has git blob");
}

/// Whoever may write to a cache makes one snapshot a link to another: it is not taken for the one.
#[test]
fn a_snapshot_that_is_another() {
    let Some(place) = place() else { return };
    let Some(snapshot) = place.hf(&[]) else {
        return;
    };
    place
        .acquire(&["--adopt", "hf:acme/tiny", &snapshot])
        .exits(0);
    place
        .workspace
        .shell(
            "cd hf/hub; cp -r models--acme--tiny models--evil--tiny; cd models--acme--tiny/snapshots; c=$(ls); \
             rm -r $c; ln -s ../../models--evil--tiny/snapshots/$c $c",
        )
        .exits(0);
    // The files are the same, and the source is not said by whoever made the link.
    let run = place.run(&["verify", "--source", &snapshot]);
    assert!(!run.stdout.contains("evil"), "{run:?}");
    // A commit in capitals is that commit.
    let upper = place.hub.commit.to_uppercase();
    assert_eq!(
        place.fetched(&[&format!("hf:acme/tiny@{upper}"), "upper"]),
        6
    );
}
