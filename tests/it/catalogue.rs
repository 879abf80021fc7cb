//! Many artifacts in one run.

use crate::support::Workspace;

/// Many artifacts, one run, one summary.
#[test]
fn a_catalogue() {
    let workspace = Workspace::new();
    workspace
        .run(["key", "new", "--no-passphrase", "k"])
        .exits(0);
    for name in ["a", "b", "group/c", "group/d"] {
        workspace.model(&format!("models/{name}"));
    }
    workspace.write("models/README", "not a model");
    let verify = |more: &[&str]| {
        let args = ["verify", "--key", "k.pub", "--catalogue"];
        workspace.run(args.iter().chain(more).chain(&["models"]).copied())
    };
    verify(&[])
        .exits(1)
        .says("4 artifacts: 0 verified, 4 refused");
    workspace
        .run(["sign", "--key", "k", "--catalogue", "models"])
        .exits(0)
        .says("signed 4 artifacts");
    let run = verify(&[]).exits(0);
    run.says("4 artifacts: 4 verified, 0 refused, 0 inconclusive")
        .says("README belongs to no artifact");
    // Each is what `verify` alone verifies.
    workspace
        .run(["verify", "--key", "k.pub", "models/group/c"])
        .exits(0);
    workspace.write("models/b/config.json", "{ }");
    workspace.model("models/new");
    let run = verify(&[]).exits(1);
    run.says("5 artifacts: 3 verified, 2 refused")
        .says("config.json was changed")
        .says("there is no signature at models/new/model.sig");
    let json = verify(&["--json"]).exits(1).json();
    assert_eq!(json["pass"], 3);
    assert_eq!(json["reports"].as_array().unwrap().len(), 5);
    verify(&["--signature", "../x"])
        .exits(2)
        .says("name of a file");
    // What a link leads to was not looked at.
    workspace
        .shell("rm -r models/new && cp models/a/config.json models/b/ && ln -s /etc models/link")
        .exits(0);
    verify(&[])
        .exits(2)
        .says("4 verified, 0 refused, 1 inconclusive")
        .says("models/link: a link is not followed");
    // Nothing to verify is no success.
    workspace
        .run(["verify", "--key", "k.pub", "--catalogue", "models/a"])
        .exits(1);
    std::fs::create_dir(workspace.path("empty")).unwrap();
    workspace
        .run(["verify", "--key", "k.pub", "--catalogue", "empty"])
        .exits(2)
        .says("holds no artifact");
    // A key among the models would be published with them.
    workspace.shell("cp k models/k").exits(0);
    workspace
        .run(["sign", "--key", "models/k", "--catalogue", "models"])
        .exits(2)
        .says("lies inside the artifact");
}
