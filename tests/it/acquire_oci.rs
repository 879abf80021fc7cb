//! Acquiring from a real registry (Debian's docker-registry), a layout that skopeo wrote, and the store of Ollama; and
//! signatures that are attached.

use serde_json::{Value, json};

use crate::registry::{Place, odd, place, private, with_referrers, with_tokens};
use crate::support::{Run, tool};

const WEIGHT: &str = "application/vnd.cncf.model.weight.v1";

fn model_pack(layers: &Value) -> Value {
    json!({
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.cncf.model.config.v1+json",
            "content": { "descriptor": { "licenses": ["Apache-2.0"] } },
        },
        "layers": layers,
    })
}

fn raw(file: &str) -> Value {
    json!({
        "file": file,
        "mediaType": format!("{WEIGHT}.raw"),
        "annotations": { "org.cncf.model.filepath": file },
    })
}

fn files(place: &Place, directory: &str) -> String {
    let script = format!("cd {directory} && find . -type f | LC_ALL=C sort | sed s,./,,");
    place.workspace.shell(&script).exits(0).stdout
}

#[test]
fn model_packs() {
    let Some(place) = place() else { return };
    place
        .workspace
        .write("a/model.safetensors", vec![1; 200_000]);
    place.workspace.write("a/config.json", "{}");
    place.workspace.shell("cp -r a/. .").exits(0);
    let digest = place.push(
        "team/raw",
        &model_pack(&json!([raw("model.safetensors"), raw("config.json")])),
    );
    let source = format!("oci://{}/team/raw:v1", place.host());
    let run = place
        .run(&["acquire", "--json", &source, "got"])
        .exits(0)
        .json();
    assert_eq!(run["revision"], digest.as_str());
    assert_eq!(run["fetched_files"], 2);
    assert_eq!(
        place.workspace.read("got/model.safetensors"),
        vec![1; 200_000]
    );
    let record = place.run(&["ledger", "show", "0"]).json()["predicate"].clone();
    assert_eq!(record["licence"], "Apache-2.0");
    assert_eq!(record["requested_revision"], "v1");
    assert_eq!(record["publisher"], "team");
    // Nobody proved to be the registry.
    assert_eq!(record["authentication"]["result"], "not-checked");
    // What is there is not fetched again.
    let before = place.log().len();
    let run = place
        .run(&["acquire", "--json", &source, "got"])
        .exits(0)
        .json();
    assert_eq!(run["fetched_files"], 0);
    let layer = "GET /v2/team/raw/blobs/sha256:";
    // The configuration alone, which is kept as evidence.
    assert_eq!(place.log()[before..].matches(layer).count(), 1);
    for more in [&["--source", "--offline"][..], &["--source"]] {
        place.run(&[&["verify"], more, &["got"]].concat()).exits(0);
    }
    // Tampered with, missing, added.
    let bad = |script: &str, says: &str| {
        place
            .workspace
            .shell("rm -rf bad && cp -r got bad")
            .exits(0);
        place.workspace.shell(script).exits(0);
        let named = format!("--source={source}");
        place
            .run(&["verify", &named, "--offline", "bad"])
            .exits(1)
            .says(says);
        place.run(&["verify", &named, "bad"]).exits(1).says(says);
        place
            .run(&["acquire", "--adopt", &source, "bad"])
            .exits(1)
            .says(says);
    };
    bad(
        "printf x | dd of=bad/model.safetensors conv=notrunc",
        "artifact.changed",
    );
    bad("rm bad/config.json", "artifact.missing");
    bad("echo > bad/evil.py", "artifact.added");
}

/// By each program and in each format of tar.
#[test]
fn packed_model_packs() {
    let Some(place) = place() else { return };
    place.workspace.write("config.json", "{}");
    place.workspace.write("tok/t.json", "t");
    for (number, (kind, compression, format)) in [
        ("tar", None, "gnu"),
        ("tar+gzip", Some("gzip"), "pax"),
        ("tar+zstd", Some("zstd"), "ustar"),
    ]
    .iter()
    .enumerate()
    {
        if compression.is_some_and(|program| !tool(program)) {
            continue;
        }
        let long = format!(
            "tok/{}",
            "n".repeat(if *format == "ustar" { 60 } else { 150 })
        );
        place.workspace.write(&long, "long");
        let mut layer = json!({
            "tar": ["tok"],
            "format": format,
            "mediaType": format!("{WEIGHT}.config.v1.{kind}"),
        });
        if let Some(program) = compression {
            layer["compression"] = json!(program);
        }
        let name = format!("team/packed{number}");
        place.push(&name, &model_pack(&json!([raw("config.json"), layer])));
        let source = format!("oci://{}/{name}:v1", place.host());
        let dest = format!("packed{number}");
        place.run(&["acquire", &source, &dest]).exits(0);
        assert_eq!(
            files(&place, &dest),
            format!("config.json\n{long}\ntok/t.json\n")
        );
        // The members are on record: nothing is fetched to know them.
        let before = place.log().len();
        place.run(&["acquire", &source, &dest]).exits(0);
        assert_eq!(
            place.log()[before..]
                .matches(&format!("GET /v2/{name}/blobs/"))
                .count(),
            1
        );
        place
            .run(&["verify", "--source", "--offline", &dest])
            .exits(0);
        place.run(&["verify", "--source", &dest]).exits(0);
        place.workspace.write(&format!("{dest}/tok/t.json"), "x");
        let named = format!("--source={source}");
        place
            .run(&["verify", &named, "--offline", &dest])
            .exits(1)
            .says("tok/t.json");
        place
            .run(&["verify", &named, &dest])
            .exits(1)
            .says("tok/t.json");
        place.workspace.shell(&format!("rm {long}")).exits(0);
    }
}

#[test]
fn other_kinds_of_models() {
    let Some(place) = place() else { return };
    for (path, content) in [("w", "weights"), ("l", "licence"), ("t", "{{ .Prompt }}")] {
        place.workspace.write(path, content);
    }
    place
        .workspace
        .shell("mkdir kit && echo m > kit/m.bin")
        .exits(0);
    let layer = |file: &str, kind: &str| json!({ "file": file, "mediaType": kind });
    let docker = json!({
        "config": { "mediaType": "application/vnd.docker.ai.model.config.v0.1+json", "content": {} },
        "layers": [
            layer("w", "application/vnd.docker.ai.gguf.v3"),
            layer("l", "application/vnd.docker.ai.license"),
        ],
    });
    let ollama = json!({
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": { "mediaType": "application/vnd.docker.container.image.v1+json", "content": {} },
        "layers": [
            layer("w", "application/vnd.ollama.image.model"),
            layer("t", "application/vnd.ollama.image.template"),
            layer("l", "application/vnd.ollama.image.license"),
        ],
    });
    let kit = json!({
        "config": { "mediaType": "application/vnd.kitops.modelkit.config.v1+json", "content": {} },
        "layers": [{
            "tar": ["kit"],
            "compression": "gzip",
            "mediaType": "application/vnd.kitops.modelkit.model.v1.tar+gzip",
        }],
    });
    for (name, specification, expected) in [
        ("docker", docker, "LICENSE\nmodel.gguf\n"),
        (
            "library/tiny",
            ollama,
            "LICENSE\nmodel.gguf\ntemplate.txt\n",
        ),
        ("kit", kit, "kit/m.bin\n"),
    ] {
        place.push(name, &specification);
        let source = format!("oci://{}/{name}:v1", place.host());
        let dest = format!("got-{}", name.replace('/', "-"));
        place.run(&["acquire", &source, &dest]).exits(0);
        assert_eq!(files(&place, &dest), expected, "{name}");
        place
            .run(&["verify", "--source", "--offline", &dest])
            .exits(0);
    }
    // By its name in Ollama's spelling, at a registry of one's own.
    let source = format!("ollama:{}/library/tiny:v1", place.host());
    let run = place
        .run(&["acquire", "--no-record", "--json", &source, "again"])
        .exits(0);
    let manifest = run.json()["revision"].as_str().unwrap().to_owned();
    // As it lies in Ollama's store: the registry's own bytes, and blobs with a dash.
    let host = place.host();
    let store = format!("store/manifests/{host}/library/tiny");
    place.workspace.shell(&format!(
        "mkdir -p {store} store/blobs && curl -sf -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
         http://{host}/v2/library/tiny/manifests/v1 -o {store}/v1 && \
         for d in $(grep -o 'sha256:[0-9a-f]*' {store}/v1); do \
         curl -sfL http://{host}/v2/library/tiny/blobs/$d -o store/blobs/$(echo $d | tr : -); done"
    )).exits(0);
    let local = |more: &[&str]| {
        let source = format!("ollama-store:{host}/library/tiny:v1");
        let mut args = vec!["acquire", "--json"];
        args.extend(more);
        args.extend([source.as_str(), "local"]);
        let mut command = place.command(&args);
        Run::from(command.env("OLLAMA_MODELS", "store").output().unwrap())
    };
    let run = local(&["--no-record"]).exits(0).json();
    assert_eq!(run["revision"], manifest.as_str());
    assert_eq!(
        files(&place, "local"),
        "LICENSE\nmodel.gguf\ntemplate.txt\n"
    );
    // A blob that was changed in the store, of the same size: its name still is the right digest.
    place
        .workspace
        .shell("rm -r local; sed -i s/weights/wEights/ store/blobs/*")
        .exits(0);
    local(&["--no-record"])
        .exits(1)
        .says("is published")
        .says("is kept as");
}

#[test]
fn layouts_on_disk() {
    let Some(place) = place() else { return };
    if !tool("skopeo") {
        return;
    }
    place.workspace.write("config.json", "{}");
    place.workspace.write("m.bin", "weights");
    let digest = place.push("m", &model_pack(&json!([raw("m.bin"), raw("config.json")])));
    place
        .workspace
        .shell(&format!(
            "skopeo --insecure-policy copy --src-tls-verify=false docker://{}/m:v1 oci:lay:v1",
            place.host()
        ))
        .exits(0);
    let run = place
        .run(&["acquire", "--json", "oci-layout:lay:v1", "got"])
        .exits(0)
        .json();
    assert_eq!(run["revision"], digest.as_str());
    place
        .run(&["acquire", "--no-record", "oci-layout:lay", "got"])
        .exits(0);
    let pinned = format!("oci-layout:lay@{digest}");
    place
        .run(&["acquire", "--no-record", &pinned, "got"])
        .exits(0);
    place
        .run(&["acquire", "--no-record", "oci-layout:lay:v2", "no"])
        .exits(2)
        .says("0 of the 1");
    place.run(&["verify", "--source", "got"]).exits(0);
    place
        .workspace
        .shell("sed -i s/weights/wEights/ lay/blobs/sha256/*")
        .exits(0);
    place
        .run(&["acquire", "--no-record", &pinned, "new"])
        .exits(1)
        .says("is kept as");
    place
        .workspace
        .shell("sed -i s/schemaVersion/schemaversion/ lay/blobs/sha256/*")
        .exits(0);
    place
        .run(&["acquire", "--no-record", &pinned, "third"])
        .exits(1)
        .says("has digest");
}

/// What archives may not do.
#[test]
fn archives_that_lead_elsewhere() {
    let Some(place) = place() else { return };
    place.workspace.shell(
        "mkdir -p t/.git && echo x > t/a && ln -s /etc/passwd t/link && echo c > t/.git/config && ln t/a t/hard",
    ).exits(0);
    let pack = |name: &str, arguments: &[&str]| {
        let layer = json!({
            "tar": arguments,
            "mediaType": format!("{WEIGHT}.tar"),
        });
        place.push(name, &model_pack(&json!([layer])));
        let source = format!("oci://{}/{name}:v1", place.host());
        place.run(&["acquire", "--no-record", &source, name])
    };
    pack("link", &["t/link"])
        .exits(1)
        .says("is a link or a special file");
    pack("hard", &["t/a", "t/hard"])
        .exits(1)
        .says("is a link or a special file");
    pack("git", &["t/.git/config"])
        .exits(1)
        .says("git's own directory");
    pack("up", &["--transform=s,^t,../../up,", "t/a"])
        .exits(1)
        .says("..");
    pack("root", &["-P", "--transform=s,^t,/root,", "t/a"])
        .exits(1)
        .says("absolute");
    pack("twice", &["t/a", "t/a", "--hard-dereference"])
        .exits(1)
        .says("published twice");
    place.workspace.shell("echo > t/.wh.a").exits(0);
    pack("away", &["t/.wh.a"])
        .exits(1)
        .says("of another layer away");
    pack("good", &["t/a"]).exits(0);
    // Read where it is, it is read, whatever is on record of its members.
    let source = format!("oci://{}/good:v1", place.host());
    place.run(&["acquire", &source, "recorded"]).exits(0);
    let before = place.log().len();
    place.run(&["acquire", "--stream", &source]).exits(0);
    assert_eq!(
        place.log()[before..].matches("GET /v2/good/blobs/").count(),
        2
    );
    // It has an address, and no other.
    place
        .run(&[
            "acquire",
            "--source-uri",
            "https://vendor.example/m",
            &source,
            "recorded",
        ])
        .exits(2)
        .says("has an address");
    assert_eq!(files(&place, "good"), "t/a\n");
    // Not what the manifest says, though of its size.
    let blob = place.workspace.shell("cat good/t/a").stdout;
    assert_eq!(blob, "x\n");
}

#[test]
fn a_private_registry() {
    let Some(place) = private() else { return };
    let source = format!("oci://{}/m:v1", place.host());
    place
        .run(&["acquire", "--no-record", &source])
        .exits(2)
        .says("answers 401")
        .says("docker login");
    let login = |password: &str| {
        let auth = data_encoding::BASE64.encode(format!("tester:{password}").as_bytes());
        let config = json!({ "auths": { place.host(): { "auth": auth } } });
        place
            .workspace
            .write("docker/config.json", config.to_string());
        let mut command = place.command(&["acquire", "--json", &source, "m"]);
        let output = command.env("DOCKER_CONFIG", "docker").output().unwrap();
        Run::from(output)
    };
    login("wrong").exits(2).says("401");
    // Nothing is there, but he may look.
    login("secret-of-a-test").exits(2).says("answers 404");
    let found = place
        .workspace
        .shell("grep -rl secret-of-a-test . || true")
        .stdout;
    assert_eq!(found, "");
}

/// Tokens that the registry judges: whose signature, for which service and repository.
#[test]
fn a_registry_that_takes_tokens() {
    let Some(with) = with_tokens() else { return };
    let place = &with.place;
    place.workspace.write("m.bin", "weights");
    for name in ["public", "private"] {
        place.push(name, &model_pack(&json!([raw("m.bin")])));
    }
    let acquire = |name: &str, config: &str| -> Run {
        let source = format!("oci://{}/{name}:v1", with.host);
        let mut command = place.command(&["acquire", "--json", &source]);
        command
            .env("DOCKER_CONFIG", config)
            .output()
            .unwrap()
            .into()
    };
    // Whoever is nobody gets a token too, for what everybody may see.
    acquire("public", "none").exits(0);
    acquire("private", "none").exits(2).says("docker login");
    for (config, password) in [("wrong", "x"), ("right", "secret-of-a-test")] {
        let auth = data_encoding::BASE64.encode(format!("tester:{password}").as_bytes());
        let auths = json!({ "auths": { with.host.as_str(): { "auth": auth } } });
        place
            .workspace
            .write(&format!("{config}/config.json"), auths.to_string());
    }
    acquire("private", "wrong").exits(2).says("401");
    let run = acquire("private", "right").exits(0).json();
    assert_eq!(run["index"], 1);
    assert_eq!(place.workspace.read("private/m.bin"), b"weights");
    let log = std::fs::read_to_string(with.tokens.directory.join("server.log")).unwrap();
    assert!(
        log.contains("asked ['test'] ['repository:private:pull'] known"),
        "{log}"
    );
    // To sign is to push, for which another token is asked.
    let target = format!("oci://{}/private:v1", with.host);
    let sign = |config: &str| -> Run {
        let mut command = place.command(&["sign", "--attach", &target, "private"]);
        command
            .env("DOCKER_CONFIG", config)
            .output()
            .unwrap()
            .into()
    };
    sign("right").exits(0).says("attached 2 signatures");
    let log = std::fs::read_to_string(with.tokens.directory.join("server.log")).unwrap();
    assert!(log.contains("push"), "{log}");
    let found = place
        .workspace
        .shell("grep -rl secret-of-a-test ledger public private .weighbridge* 2>/dev/null || true")
        .stdout;
    assert_eq!(found, "");
}

#[test]
fn signatures_that_are_attached() {
    let Some(place) = place() else { return };
    place.workspace.write("m.bin", "weights");
    let digest = place.push("signed", &model_pack(&json!([raw("m.bin")])));
    let source = format!("oci://{}/signed:v1", place.host());
    let acquire = |more: &[&str]| {
        let mut args = vec!["acquire", "--json"];
        args.extend(more);
        args.extend([source.as_str(), "got"]);
        place.run(&args)
    };
    acquire(&["--image-key", "keys/signing.pub.pem"])
        .exits(1)
        .says("0 signatures are attached");
    acquire(&["--no-record"]).exits(0);
    let attach = |directory: &str| place.run(&["sign", "--json", "--attach", &source, directory]);
    let run = attach("got").exits(0).json();
    assert_eq!(run["attached"].as_array().unwrap().len(), 2);
    let run = acquire(&["--image-key", "keys/signing.pub.pem"])
        .exits(0)
        .json();
    assert_eq!(run["authentication"]["method"], "sigstore");
    let record = place.run(&["ledger", "show", "0"]).json()["predicate"].clone();
    let names = record["attachments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone());
    assert_eq!(names.filter(|name| name == "sigstore-bundle").count(), 2);
    std::fs::remove_file(place.workspace.path("got/model.sig")).unwrap();
    // Others' keys do not count, and others' signatures stay when one is added.
    place.workspace.new_key("other.pem");
    acquire(&["--no-record", "--image-key", "other.pem.pub"])
        .exits(1)
        .says("none of them is by whom");
    place
        .run(&[
            "sign",
            "--key",
            "other.pem",
            "--signature",
            "o.sig",
            "--attach",
            &source,
            "got",
        ])
        .exits(0);
    for key in ["other.pem.pub", "keys/signing.pub.pem"] {
        // The one that counted is kept before all others.
        let run = acquire(&["--image-key", key]).exits(0).json();
        let index = run["index"].to_string();
        let record = place.run(&["ledger", "show", &index]).json()["predicate"].clone();
        let attached = record["attachments"].as_array().unwrap();
        let first = attached.iter().find(|one| one["name"] == "sigstore-bundle");
        let signature = &record["authentication"]["signature_digest"];
        assert_eq!(first.unwrap()["sha256"], *signature);
    }
    // What is signed is what is there.
    place
        .workspace
        .shell("cp -r got changed && echo >> changed/m.bin ")
        .exits(0);
    attach("changed")
        .exits(1)
        .says("m.bin has SHA-256")
        .says("nothing is signed");
    assert!(!place.workspace.path("changed/model.sig").exists());
    // In the form of cosign 3, under the tag that stands for the list of referrers.
    let tag = digest.replace(':', "-");
    let manifest = |version: &str| -> Value {
        let script = format!(
            "curl -sf -H 'Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json' \
             http://{}/v2/signed/manifests/{version}",
            place.host()
        );
        place.workspace.shell(&script).exits(0).json()
    };
    let index = manifest(&tag);
    assert_eq!(index["manifests"].as_array().unwrap().len(), 4);
    let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let one = manifest(index["manifests"][1]["digest"].as_str().unwrap());
    assert_eq!(one["artifactType"], kind);
    assert_eq!(one["subject"]["digest"], digest.as_str());
    assert_eq!(one["layers"][0]["mediaType"], kind);
    let annotations = &one["annotations"];
    assert_eq!(
        annotations["dev.sigstore.bundle.predicateType"],
        "https://sigstore.dev/cosign/sign/v1"
    );
}

/// By a registry that has the interface for referrers.
#[test]
fn referrers_by_their_interface() {
    let Some(place) = with_referrers() else {
        return;
    };
    place.workspace.write("m.bin", "weights");
    let digest = place.push("signed", &model_pack(&json!([raw("m.bin")])));
    let source = format!("oci://{}/signed:v1", place.host());
    place
        .run(&["acquire", "--no-record", &source, "got"])
        .exits(0);
    place.run(&["sign", "--attach", &source, "got"]).exits(0);
    place
        .run(&[
            "acquire",
            "--image-key",
            "keys/signing.pub.pem",
            &source,
            "got",
        ])
        .exits(0);
    let url = format!("http://{}/v2/signed", place.host());
    let kind = "application%2Fvnd.dev.sigstore.bundle.v0.3%2Bjson";
    let list = format!("curl -sf '{url}/referrers/{digest}?artifactType={kind}'");
    let list: Value = place.workspace.shell(&list).exits(0).json();
    assert_eq!(list["manifests"].as_array().unwrap().len(), 2);
    // The tag that would stand for it was not made.
    let tags = place
        .workspace
        .shell(&format!("curl -sf {url}/tags/list"))
        .stdout;
    assert!(!tags.contains("sha256-"), "{tags}");
}

/// What a registry answers that does not fit the question, and to whom a login goes.
#[test]
fn a_registry_that_is_odd() {
    let Some(place) = odd() else { return };
    let acquire = |repository: &str| {
        let source = format!("oci://{}/{repository}:v1", place.host());
        let auth = data_encoding::BASE64.encode(b"tester:secret-of-a-test");
        let config = json!({ "auths": { place.host(): { "auth": auth } } });
        place
            .workspace
            .write("docker/config.json", config.to_string());
        let mut command = place.command(&["acquire", "--no-record", &source]);
        Run::from(command.env("DOCKER_CONFIG", "docker").output().unwrap())
    };
    acquire("range")
        .exits(2)
        .says("another part than was asked for");
    acquire("encoded").exits(2).says("in the encoding gzip");
    // Another server, to which it sends, does not get to say where a login goes.
    acquire("steal").exits(2).says("answers 401");
    let log = place.log();
    assert!(log.contains("/blob None"), "{log}");
    assert!(!log.contains("Basic") && !log.contains("/token"), "{log}");
}

/// Archives that others read to another end.
#[test]
fn archives_in_pieces() {
    let Some(place) = place() else { return };
    if !tool("zstd") {
        return;
    }
    place
        .workspace
        .shell(
            "mkdir t && echo a > t/a && echo b > t/b && tar -c t/a t/b > whole.tar && split -b 700 whole.tar piece. && \
             for p in piece.*; do zstd -q -c $p; done > frames.zst && \
             (tar -c t/a | head -c 1024 | zstd -q -c; tar -c t/b | zstd -q -c) > joined.zst && \
             tar -c t/a > behind.tar && tar -c t/b >> behind.tar && head -c 1024 whole.tar > cut.tar",
        )
        .exits(0);
    let get = |file: &str, kind: &str| {
        let layer = json!({ "file": file, "mediaType": format!("{WEIGHT}.{kind}") });
        let name = file.replace('.', "-");
        place.push(&name, &model_pack(&json!([layer])));
        let source = format!("oci://{}/{name}:v1", place.host());
        place.run(&["acquire", "--no-record", &source])
    };
    for (file, kind) in [("frames.zst", "tar+zstd"), ("joined.zst", "tar+zstd")] {
        get(file, kind).exits(0);
        assert_eq!(
            files(&place, &file.replace('.', "-")),
            "t/a\nt/b\n",
            "{file}"
        );
    }
    get("behind.tar", "tar")
        .exits(1)
        .says("something follows its end");
    get("cut.tar", "tar").exits(1).says("is cut off");
}
