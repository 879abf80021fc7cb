//! `record acquire --checksums`: a list from a file, or from a real HTTPS server on this machine.

use std::io::BufRead;
use std::process::{Child, Stdio};

use crate::support::{Run, Workspace, tool};

const SERVER: &str = r#"
import http.server, ssl
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True: self.wfile.write(b"0" * 65536)
            except OSError: pass
        else:
            super().do_GET()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "cert.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn serve(workspace: &Workspace) -> Server {
    let new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 2>&1";
    let script = format!(
        "{new} -keyout ca.key -out ca.pem -subj /CN=ca; \
         {new} -keyout cert.key -out cert.pem -subj /CN=localhost -CA ca.pem -CAkey ca.key \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost"
    );
    workspace.shell(&script).exits(0);
    workspace.write("server.py", SERVER);
    let mut child = std::process::Command::new("python3")
        .arg("server.py")
        .current_dir(workspace.root())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    std::io::BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut port)
        .unwrap();
    Server {
        child,
        url: format!("https://localhost:{}", port.trim()),
    }
}

fn acquire(workspace: &Workspace, list: &str) -> Run {
    let mut command = workspace.command([
        "record",
        "acquire",
        "--source",
        "https://example.org/m",
        "--checksums",
        list,
        "model",
    ]);
    Run::from(
        command
            .env("SSL_CERT_FILE", workspace.path("ca.pem"))
            .output()
            .unwrap(),
    )
}

fn workspace() -> Workspace {
    let workspace = Workspace::initialised();
    workspace.model("model");
    workspace.shell("weighbridge hash model > SHA256SUMS; echo \"$(printf '%064d' 0)  other-release.bin\" >> SHA256SUMS").exits(0);
    workspace
}

#[test]
fn a_list_from_a_file_is_checked_by_us_and_recorded() {
    let workspace = workspace();
    acquire(&workspace, "SHA256SUMS").exits(0);
    let statement = workspace.run(["ledger", "show", "0"]).exits(0).json();
    let predicate = &statement["predicate"];
    let authentication = &predicate["authentication"];
    assert_eq!(authentication["method"], "checksum-from-publisher");
    assert_eq!(authentication["result"], "verified");
    assert_eq!(
        authentication["published_digest"]["read_from"],
        "SHA256SUMS"
    );
    let digest = workspace.shell("sha256sum SHA256SUMS | cut -c1-64").stdout;
    assert_eq!(authentication["published_digest"]["digest"], digest.trim());
    assert_eq!(predicate["upstream_digests"].as_array().unwrap().len(), 7);
    // What does not match is refused, and nothing is recorded as verified.
    workspace.write("model/config.json", "tampered");
    acquire(&workspace, "SHA256SUMS")
        .exits(1)
        .says("config.json: is not what SHA256SUMS says");
    workspace
        .shell("printf '{}' > model/config.json; echo x > model/unlisted")
        .exits(0);
    acquire(&workspace, "SHA256SUMS")
        .exits(1)
        .says("unlisted: is not on the list");
    acquire(&workspace, "nowhere").exits(2);
    workspace.run(["ledger", "fsck"]).exits(0).says("1 entries");
    // Nobody can claim beside it.
    workspace
        .run([
            "record",
            "acquire",
            "--source",
            "a:b",
            "--checksums",
            "SHA256SUMS",
            "--auth-result",
            "verified",
            "model",
        ])
        .exits(2);
}

#[test]
fn a_list_over_https_is_recorded_with_who_served_it() {
    if !tool("openssl") || !tool("python3") {
        return;
    }
    let workspace = workspace();
    let server = serve(&workspace);
    let at = |path: &str| format!("{}{path}", server.url);
    acquire(&workspace, &at("/SHA256SUMS")).exits(0);
    acquire(&workspace, &at("/to//SHA256SUMS")).exits(0);
    let statement = workspace.run(["ledger", "show", "1"]).exits(0).json();
    let authentication = &statement["predicate"]["authentication"];
    assert_eq!(authentication["endpoint_identity"]["host"], "localhost");
    let certificate = workspace
        .shell("openssl x509 -in cert.pem -outform DER | sha256sum | cut -c1-64")
        .stdout;
    assert_eq!(
        authentication["endpoint_identity"]["cert_sha256"],
        certificate.trim()
    );
    assert_eq!(
        authentication["published_digest"]["read_from"],
        at("/SHA256SUMS")
    );

    acquire(&workspace, &at("/nowhere")).exits(2).says("404");
    acquire(&workspace, &at("/endless"))
        .exits(2)
        .says("is larger than 67108864 bytes");
    // Never in the clear, not even when a redirect asks for it; never with a secret in the URL.
    let clear = server.url.replace("https", "http");
    acquire(&workspace, &clear)
        .exits(2)
        .says("not an https URL");
    acquire(&workspace, &at(&format!("/to/{clear}/SHA256SUMS"))).exits(2);
    acquire(&workspace, &at("/SHA256SUMS?token=abc"))
        .exits(2)
        .says("secret");
    // A certificate that nobody vouches for.
    let mut command = workspace.command([
        "record",
        "acquire",
        "--source",
        "a:b",
        "--checksums",
        &at("/SHA256SUMS"),
        "model",
    ]);
    Run::from(command.output().unwrap())
        .exits(2)
        .says("cannot reach");
    workspace.run(["ledger", "fsck"]).exits(0).says("2 entries");
}
