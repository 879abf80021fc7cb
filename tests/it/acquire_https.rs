//! Acquiring a file from a real HTTPS server (nginx), with lists and signatures by the tools that publishers use.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::servers::{self, Server};
use crate::support::{Run, Workspace, tool};

/// A server whose documents lie in `www` of the workspace.
pub(crate) struct Site {
    pub(crate) workspace: Workspace,
    port: u16,
    other: u16,
    _server: Server,
}

pub(crate) fn site() -> Option<Site> {
    if !tool("nginx") || !tool("openssl") {
        return None;
    }
    let workspace = Workspace::initialised();
    let new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 2>&1";
    workspace
        .shell(&format!(
            "{new} -keyout ca.key -out ca.pem -subj /CN=ca; \
             {new} -keyout cert.key -out cert.pem -subj /CN=localhost -CA ca.pem -CAkey ca.key \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost"
        ))
        .exits(0);
    let (port, other) = (servers::free_port(), servers::free_port());
    let root = workspace.root().display().to_string();
    let mut sites = String::new();
    for port in [port, other] {
        writeln!(
            sites,
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/cert.key; \
             root {root}/www; \
             location /slow/ {{ limit_rate 1m; }} \
             location /moved/ {{ return 302 https://localhost:{other}/files$request_uri; }} \
             location /plain/ {{ return 302 http://localhost:{port}/x; }} \
             location /digest/ {{ add_header Repr-Digest $arg_d; }} \
             location /away/ {{ return 404; }} }}"
        )
        .unwrap();
    }
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let config = format!(
        "{user} daemon off; pid {root}/nginx.pid; error_log {root}/error.log; worker_processes 1; events {{}} \
         http {{ access_log {root}/access.log; client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; \
         fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5; {sites} }}"
    );
    workspace.write("nginx.conf", config);
    workspace.write("www/files/model.bin", vec![7; 300_000]);
    let file = workspace.path("nginx.conf").display().to_string();
    let server = servers::serve(port, &["nginx", "-e", "stderr", "-c", &file]);
    Some(Site {
        workspace,
        port,
        other,
        _server: server,
    })
}

impl Site {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.workspace.command(args);
        command.env("SSL_CERT_FILE", self.workspace.path("ca.pem"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    fn acquire(&self, path: &str, more: &[&str]) -> Run {
        let url = self.url(path);
        let mut args = vec!["acquire", "--json"];
        args.extend(more);
        args.push(&url);
        self.run(&args)
    }

    fn record(&self, index: u64) -> serde_json::Value {
        let run = self.workspace.run(["ledger", "show", &index.to_string()]);
        run.exits(0).json()["predicate"].clone()
    }

    pub(crate) fn requests(&self) -> String {
        String::from_utf8(self.workspace.read("access.log")).unwrap()
    }
}

#[test]
fn what_the_server_says_is_recorded() {
    let Some(site) = site() else { return };
    let run = site.acquire("files/model.bin", &[]).exits(0).json();
    assert_eq!(run["fetched_files"], 1);
    let record = site.record(0);
    assert_eq!(record["source_uri"], site.url("files/model.bin").as_str());
    let authentication = &record["authentication"];
    assert_eq!(authentication["method"], "tls");
    assert_eq!(authentication["result"], "verified");
    let endpoint = &authentication["endpoint_identity"];
    assert_eq!(endpoint["host"], "localhost");
    assert_eq!(endpoint["issuer"], "CN=ca");
    // As openssl has them.
    let shell = |script: &str| site.workspace.shell(script).stdout.trim().to_owned();
    let certificate = shell("openssl x509 -in cert.pem -outform DER | sha256sum | cut -c1-64");
    assert_eq!(endpoint["cert_sha256"], certificate.as_str());
    let key = shell(
        "openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum | cut -c1-64",
    );
    assert_eq!(endpoint["spki_sha256"], key.as_str());
    let until = shell(
        "date -u -d \"$(openssl x509 -in cert.pem -enddate -noout | cut -d= -f2)\" +%Y-%m-%dT%H:%M:%S",
    );
    assert!(endpoint["not_after"].as_str().unwrap().starts_with(&until));
    let http = &authentication["http"];
    assert_eq!(http["status"], 200);
    for header in ["date", "etag", "last_modified"] {
        assert!(http[header].is_string(), "{header} in {http}");
    }
    assert!(http["final_uri"].is_null());
    // Where it was sent in the end.
    site.workspace.write("www/files/moved/m.bin", "m");
    site.acquire("moved/m.bin", &[]).exits(0);
    let record = site.record(1);
    let end = format!("https://localhost:{}/files/moved/m.bin", site.other);
    assert_eq!(record["authentication"]["http"]["final_uri"], end.as_str());
    site.acquire("plain/x", &[])
        .exits(2)
        .says("where everybody can listen");
    site.acquire("files/none", &[]).exits(2).says("answers 404");
    site.run(&["acquire", "http://localhost/x"])
        .exits(2)
        .says("https address");
    // Of its own name or another, and never over what is there.
    site.workspace.write("taken", "other");
    let url = site.url("files/model.bin");
    site.run(&["acquire", &url, "taken"])
        .exits(1)
        .says("artifact.changed");
    assert_eq!(site.workspace.read("taken"), b"other");
    site.run(&["acquire", "--no-record", &url, "deep/other.bin"])
        .exits(0);
    std::fs::remove_file(site.workspace.path("model.bin")).unwrap();
    site.acquire("files/model.bin", &["--max-size", "1000", "--no-record"])
        .exits(2)
        .says("--max-size");
    site.workspace.run(["ledger", "fsck"]).exits(0);
}

#[test]
fn lists_beside_it() {
    let Some(site) = site() else { return };
    let workspace = &site.workspace;
    workspace
        .shell("cd www/files && sha256sum model.bin > SHA256SUMS")
        .exits(0);
    let run = site.acquire("files/model.bin", &[]).exits(0).json();
    assert_eq!(run["authentication"]["method"], "checksum-from-publisher");
    let record = site.record(0);
    assert_eq!(
        record["authentication"]["published_digest"]["read_from"],
        site.url("files/SHA256SUMS").as_str()
    );
    assert_eq!(record["upstream_digests"][0]["matched"], true);
    // What is there is not fetched again.
    let before = site.requests().len();
    let run = site.acquire("files/model.bin", &[]).exits(0).json();
    assert_eq!(run["fetched_files"], 0);
    assert!(!site.requests()[before..].contains("GET /files/model.bin "));
    // Years later, by the list that was kept.
    let verify = |more: &[&str]| {
        let mut args = vec!["verify"];
        args.extend(more);
        args.push("model.bin");
        site.run(&args)
    };
    verify(&["--source", "--offline"]).exits(0);
    verify(&["--source"]).exits(0).says("asked just now");
    // Changed here.
    let good = workspace.read("model.bin");
    workspace.write("model.bin", "tampered");
    let source = format!("--source={}", site.url("files/model.bin"));
    verify(&[&source, "--offline"])
        .exits(1)
        .says("artifact.changed");
    verify(&[&source]).exits(1).says("artifact.changed");
    site.acquire("files/model.bin", &[]).exits(1);
    workspace.write("model.bin", &good);
    // Changed at the server: its list says otherwise.
    workspace.write("www/files/model.bin", vec![8; 300_000]);
    std::fs::remove_file(workspace.path("model.bin")).unwrap();
    let run = site.acquire("files/model.bin", &[]).exits(1);
    let digest = |path: &str| {
        let run = workspace.shell(&format!("sha256sum {path} | cut -c1-64"));
        run.stdout.trim().to_owned()
    };
    let run = run.says(&digest("www/files/model.bin")).says("is kept as");
    let listed = workspace.shell("cut -c1-64 www/files/SHA256SUMS").stdout;
    run.says(listed.trim());
    assert!(!workspace.path("model.bin").exists());
    workspace
        .run(["ledger", "find", "--kind", "acquire"])
        .exits(0);
    // Other kinds of lists.
    for (script, method) in [
        (
            "sha256sum --tag model.bin > sha256sums.txt",
            "checksum-from-publisher",
        ),
        (
            "sha512sum model.bin > model.bin.sha512",
            "checksum-from-publisher",
        ),
        (
            "sha256sum < model.bin | cut -c1-64 > model.bin.sha256",
            "checksum-from-publisher",
        ),
        ("echo '<html>no such page</html>' > SHA256SUMS", "tls"),
        ("md5sum model.bin > SHA256SUMS", "tls"),
        (
            "sha256sum /dev/null | sed 's,/dev/null,other.bin,' > SHA256SUMS",
            "tls",
        ),
    ] {
        workspace
            .shell(&format!(
                "rm -rf model.bin www/files/*.sha* www/files/*s.txt www/files/SHA*; cd www/files && {script}"
            ))
            .exits(0);
        let run = site
            .acquire("files/model.bin", &["--no-record"])
            .exits(0)
            .json();
        assert_eq!(run["authentication"]["method"], method, "{script}");
    }
    // One that was named must name the file.
    let list = site.url("files/SHA256SUMS");
    site.acquire("files/model.bin", &["--no-record", "--checksums", &list])
        .exits(1)
        .says("has no digest");
    workspace
        .shell("sha256sum www/files/model.bin | sed s,www/files/,, > mine")
        .exits(0);
    site.acquire("files/model.bin", &["--no-record", "--checksums", "mine"])
        .exits(0);
}

#[test]
fn digests_in_headers() {
    let Some(site) = site() else { return };
    let workspace = &site.workspace;
    workspace.write("www/digest/a.bin", "abc");
    // FIPS 180-4's digest of "abc".
    let right = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    let wrong = "sha-256=:AAAAv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    // nginx passes the argument on as it came.
    let get = |digest: &str| {
        let url = site.url(&format!("digest/a.bin?d={digest}"));
        site.run(&["acquire", "--no-record", "--json", &url, "a.bin"])
    };
    get(wrong).exits(1).says("is published");
    get(right).exits(0);
}

#[test]
fn signatures_of_publishers() {
    let Some(site) = site() else { return };
    if !tool("minisign") || !tool("gpg") {
        return;
    }
    let workspace = &site.workspace;
    workspace
        .shell("minisign -G -W -p m.pub -s m.key >/dev/null && minisign -G -W -p other.pub -s other.key >/dev/null")
        .exits(0);
    let get = |more: &[&str]| {
        _ = std::fs::remove_file(workspace.path("model.bin"));
        site.acquire("files/model.bin", more)
    };
    get(&["--minisign-key", "m.pub"])
        .exits(1)
        .says("no signature by the minisign key");
    // Of the file.
    workspace
        .shell("minisign -S -s m.key -m www/files/model.bin")
        .exits(0);
    let run = get(&["--minisign-key", "m.pub"]).exits(0).json();
    assert_eq!(run["authentication"]["method"], "minisign");
    get(&["--minisign-key", "other.pub"])
        .exits(1)
        .says("was named");
    let key = workspace.shell("tail -1 m.pub").stdout;
    get(&["--no-record", "--minisign-key", key.trim()]).exits(0);
    workspace.write("www/files/model.bin", vec![8; 300_000]);
    get(&["--minisign-key", "m.pub"])
        .exits(1)
        .says("is not what its publisher signed")
        .says("is kept as");
    // Of the list.
    workspace
        .shell("cd www/files && rm *.minisig && sha256sum model.bin > SHA256SUMS && minisign -S -s ../../m.key -m SHA256SUMS")
        .exits(0);
    let run = get(&["--minisign-key", "m.pub"]).exits(0).json();
    assert_eq!(run["authentication"]["method"], "minisign");
    // A bare digest that is signed says of which file it is, or is nobody's.
    let bare = |comment: &str| {
        let script = format!(
            "cd www/files && sha256sum < model.bin | cut -c1-64 > model.bin.sha256 && \
             minisign -S -t '{comment}' -s ../../m.key -m model.bin.sha256"
        );
        workspace.shell(&script).exits(0);
        get(&["--no-record", "--minisign-key", "m.pub"])
    };
    bare("file:model.bin.sha256").exits(0);
    bare("file:big-model.bin")
        .exits(1)
        .says("does not say of which file");
    workspace
        .shell("rm www/files/model.bin.sha256*; echo >> www/files/SHA256SUMS")
        .exits(0);
    get(&["--minisign-key", "m.pub"])
        .exits(1)
        .says("not of this content");
    // OpenPGP, by gpg.
    let gpg = "gpg --homedir gnupg --batch --quiet --no-tty --passphrase ''";
    workspace
        .shell(&format!(
            "mkdir -m 700 gnupg; for n in a b; do {gpg} --quick-gen-key $n@example.org ed25519 sign never; done 2>/dev/null; \
             {gpg} --export > keyring.gpg; \
             {gpg} --local-user a@example.org --armor --detach-sign --output www/files/SHA256SUMS.asc www/files/SHA256SUMS"
        ))
        .exits(0);
    let fingerprint = |name: &str| {
        let script = format!(
            "{gpg} --list-keys --with-colons {name}@example.org | grep ^fpr | head -1 | cut -d: -f10"
        );
        workspace.shell(&script).stdout.trim().to_owned()
    };
    let (a, b) = (fingerprint("a"), fingerprint("b"));
    let by = |key: &str| get(&["--openpgp-key", key, "--keyring", "keyring.gpg"]);
    let run = by(&a).exits(0).json();
    assert_eq!(run["authentication"]["method"], "gpg");
    by(&b).exits(1).says(&a);
    workspace.shell("echo >> www/files/SHA256SUMS").exits(0);
    by(&a).exits(1).says("not of this content");
    get(&["--openpgp-key", &a[24..], "--no-record"])
        .exits(2)
        .says("names no key for certain");
    workspace
        .shell("gpgconf --homedir gnupg --kill all")
        .exits(0);
}

/// A run that is killed, and another that takes up what it left, unless the file is another by then.
#[test]
fn what_was_begun_is_taken_up() {
    let Some(site) = site() else { return };
    let workspace = &site.workspace;
    let begin = || {
        let url = site.url("slow/big.bin");
        let mut child = site
            .command(&["acquire", "--no-record", "--quiet", &url])
            .spawn()
            .unwrap();
        let began = Instant::now();
        let some = || {
            workspace
                .shell("cat big.bin.partial/* 2>/dev/null | wc -c")
                .stdout
        };
        while some().trim().parse::<u64>().unwrap_or(0) < 600_000 {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    };
    workspace.write("www/slow/big.bin", vec![1; 3_000_000]);
    begin();
    let before = site.requests().len();
    site.acquire("slow/big.bin", &["--no-record"]).exits(0);
    assert!(site.requests()[before..].contains("\"GET /slow/big.bin HTTP/1.1\" 206"));
    assert_eq!(workspace.read("big.bin"), vec![1; 3_000_000]);
    assert!(!workspace.path("big.bin.partial").exists());
    std::fs::remove_file(workspace.path("big.bin")).unwrap();
    begin();
    // Another version, of which nothing may be put together with the first.
    workspace.write("www/slow/new.bin", vec![2; 3_000_001]);
    workspace
        .shell("mv www/slow/new.bin www/slow/big.bin")
        .exits(0);
    site.acquire("slow/big.bin", &["--no-record"]).exits(0);
    assert_eq!(workspace.read("big.bin"), vec![2; 3_000_001]);
}
