//! Real servers for tests: started on free loopback ports, shared by the tests of this binary, and
//! stopped when it ends, however it ends: each watches a pipe that only this process holds open.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::support::{is_required, peer, repository, tool};

/// A server that runs.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) directory: PathBuf,
    /// Holds the pipe open.
    _guard: Child,
}

/// Names and values for a store, as in the environment.
pub(crate) type Options = Vec<(String, String)>;

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts a script of tests/peers, which says when it is ready. On a busy machine a server may take
/// longer than its script waits: then once more.
fn start(script: &str, port: u16, arguments: &[&str]) -> Server {
    try_start(script, port, arguments)
        .or_else(|| try_start(script, port, arguments))
        .unwrap_or_else(|| panic!("{script} did not start"))
}

fn try_start(script: &str, port: u16, arguments: &[&str]) -> Option<Server> {
    let script = repository().join("tests/peers").join(script);
    try_with(&mut Command::new(script), port, arguments)
}

/// The same with a script that has an interpreter.
pub(crate) fn start_with(command: &mut Command, port: u16, arguments: &[&str]) -> Server {
    try_with(command, port, arguments).unwrap_or_else(|| panic!("{command:?} did not start"))
}

fn try_with(command: &mut Command, port: u16, arguments: &[&str]) -> Option<Server> {
    let directory = tempfile::tempdir().unwrap().keep();
    // The scripts remove it; it is theirs to make.
    std::fs::remove_dir(&directory).unwrap();
    let mut guard = command
        .arg(&directory)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(guard.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    if line != "ready\n" {
        _ = guard.wait();
        return None;
    }
    Some(Server {
        port,
        directory,
        _guard: guard,
    })
}

/// Starts a server that is one command.
pub(crate) fn serve(port: u16, command: &[&str]) -> Server {
    let port_text = port.to_string();
    start("serve.sh", port, &[&[port_text.as_str()], command].concat())
}

/// A large server that not every machine can have: skips its tests, with a word, where it is not.
fn installed(name: &str, found: bool) -> bool {
    assert!(found || !is_required(name), "{name} is not installed");
    if !found {
        eprintln!("skipped: needs the Debian packages of {name}");
    }
    found
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).exists())
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{error}");
    text
}

/// Makes a bucket with a request that is signed by hand (version 2, which is short).
fn make_bucket(port: u16, name: &str) {
    run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", SIGNED_BUCKET, "sh"])
        .args([&port.to_string(), name]));
}

const SIGNED_BUCKET: &str = r#"
date=$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S GMT')
signature=$(printf "PUT\n\n\n$date\n/$2" |
    openssl dgst -sha1 -hmac tester-secret -binary | openssl base64 -A)
curl -sS -f -X PUT --retry 20 --retry-all-errors --retry-delay 1 -H "Date: $date" \
    -H "Authorization: AWS tester:$signature" "http://127.0.0.1:$1/$2"
"#;

/// What a client of the S3 server at `port` is told.
pub(crate) fn s3(port: u16) -> Options {
    [
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ACCESS_KEY_ID", "tester".into()),
        ("AWS_SECRET_ACCESS_KEY", "tester-secret".into()),
        ("AWS_REGION", "us-east-1".into()),
    ]
    .map(|(name, value)| (name.into(), value))
    .into()
}

pub(crate) const BUCKET: &str = "ledgers";

/// Ceph's object gateway, which speaks S3. About half a minute to start.
pub(crate) fn ceph() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let make = || {
        let (monitor, gateway) = (free_port(), free_port());
        let ports = [monitor.to_string(), gateway.to_string()];
        let server = start("ceph.sh", gateway, &[&ports[0], &ports[1]]);
        make_bucket(gateway, BUCKET);
        server
    };
    let there = || installed("ceph", on_path("radosgw") && on_path("ceph-osd")) && tool("curl");
    SERVER.get_or_init(|| there().then(make)).as_ref()
}

/// `MiniStack`, which emulates S3.
pub(crate) fn ministack() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let make = || {
        let program = peer("ministack", "stores/bin/ministack").filter(|_| tool("curl"))?;
        let port = free_port();
        let setting = format!("GATEWAY_PORT={port}");
        let host = "GATEWAY_HOST=127.0.0.1";
        let program = program.to_str().unwrap();
        let server = serve(port, &["env", host, &setting, "SERVICES=s3,kms", program]);
        make_bucket(port, BUCKET);
        Some(server)
    };
    SERVER.get_or_init(make).as_ref()
}

/// s3rver, which emulates S3 and ignores conditions.
pub(crate) fn s3rver() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let make = || {
        let program = peer("s3rver", "npm/node_modules/.bin/s3rver")?;
        let port = free_port();
        let program = program.to_str().unwrap();
        let port_text = port.to_string();
        let server = serve(
            port,
            &[
                program,
                "-a",
                "127.0.0.1",
                "-p",
                &port_text,
                "-d",
                ".",
                "--configure-bucket",
                BUCKET,
            ],
        );
        Some(server)
    };
    SERVER.get_or_init(make).as_ref()
}

/// s3rver knows one pair of keys.
pub(crate) fn s3rver_options(port: u16) -> Options {
    let mut options = s3(port);
    for (name, value) in &mut options {
        match name.as_str() {
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => *value = "S3RVER".into(),
            _ => {}
        }
    }
    options
}

/// Azurite, Microsoft's emulator of Azure Blob Storage.
pub(crate) fn azurite() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let make = || {
        let program = peer("azurite", "npm/node_modules/.bin/azurite-blob")?;
        if !tool("curl") || !tool("openssl") {
            return None;
        }
        let port = free_port();
        let (program, text) = (program.to_str().unwrap(), port.to_string());
        let options = [
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            &text,
            "--location",
            ".",
        ];
        let server = serve(
            port,
            &[
                &[program],
                &options[..],
                &["--silent", "--skipApiVersionCheck"],
            ]
            .concat(),
        );
        make_container(port);
        Some(server)
    };
    SERVER.get_or_init(make).as_ref()
}

/// Makes a container with a request that is signed by hand (Shared Key, in the service's manual).
fn make_container(port: u16) {
    run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", SIGNED_CONTAINER, "sh"])
        .args([&port.to_string(), AZURITE_KEY, BUCKET]));
}

const SIGNED_CONTAINER: &str = r#"
date=$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S GMT')
key=$(printf %s "$2" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
text="PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:$date\nx-ms-version:2021-08-06\n/devstoreaccount1/devstoreaccount1/$3\nrestype:container"
signature=$(printf "$text" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
curl -sS -f -X PUT -H "x-ms-date: $date" -H "x-ms-version: 2021-08-06" -H "Content-Length: 0" \
    -H "Authorization: SharedKey devstoreaccount1:$signature" \
    "http://127.0.0.1:$1/devstoreaccount1/$3?restype=container"
"#;

/// The emulator's key, which its manual publishes.
const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub(crate) fn azure(port: u16) -> Options {
    [
        ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1".to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY.into()),
        (
            "AZURE_STORAGE_ENDPOINT",
            format!("http://127.0.0.1:{port}/devstoreaccount1"),
        ),
    ]
    .map(|(name, value)| (name.into(), value))
    .into()
}

/// Where Debian keeps the server's programs; the newest version.
fn postgres_bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok();
    let versions = versions.into_iter().flatten().map(Result::unwrap);
    versions
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("postgres").exists())
        .max()
}

/// `PostgreSQL`.
pub(crate) fn postgres() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let make = || {
        let bin = postgres_bin();
        if !installed("postgresql", bin.is_some()) || !tool("openssl") {
            return None;
        }
        let bin = bin?;
        let port = free_port();
        Some(start(
            "postgres.sh",
            port,
            &[&port.to_string(), bin.to_str().unwrap()],
        ))
    };
    SERVER.get_or_init(make).as_ref()
}

/// Python's own web server, for the files in `directory`.
pub(crate) fn files(directory: &Path) -> Option<Server> {
    let port = free_port();
    let (text, directory) = (port.to_string(), directory.to_str().unwrap());
    let options = [
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--directory",
        directory,
        &text,
    ];
    tool("python3").then(|| serve(port, &[&["python3"], &options[..]].concat()))
}

/// The same over TLS, with a certificate for `localhost` by the authority in `root.crt`.
pub(crate) fn files_over_tls(directory: &Path) -> Option<Server> {
    if !tool("python3") || !tool("openssl") {
        return None;
    }
    let port = free_port();
    let (text, directory) = (port.to_string(), directory.to_str().unwrap());
    Some(serve(
        port,
        &["bash", "-euc", TLS_FILES, "sh", &text, directory],
    ))
}

const TLS_FILES: &str = r#"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
    -subj /CN=tests -keyout root.key -out root.crt
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
    -keyout server.key -out server.csr
printf 'subjectAltName=DNS:localhost\n' >san
openssl x509 -req -in server.csr -CA root.crt -CAkey root.key -CAcreateserial -days 2 \
    -extfile san -out server.crt
exec python3 -c '
import functools, http.server, ssl, sys
files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[2])
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), files)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.crt", "server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
' "$1" "$2"
"#;

/// What happens to one request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server gets it and does it; the answer is lost.
    AnswerLost,
    /// The connection breaks before the server gets it.
    RequestLost,
    /// The server is not asked; this status is the answer.
    Status(u16),
    /// The server gets it and does it; this status is the answer.
    DoneButStatus(u16),
    /// Late.
    Delay(Duration),
}

/// A proxy in front of a server that speaks HTTP/1.1, which does harm as it is told.
pub(crate) struct FaultProxy {
    pub(crate) port: u16,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

impl FaultProxy {
    pub(crate) fn new(server: u16) -> FaultProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(Mutex::new(VecDeque::new()));
        let shared = faults.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, faults) = (client.unwrap(), shared.clone());
                // A connection that breaks is what this is for.
                std::thread::spawn(move || _ = relay(client, server, &faults));
            }
        });
        FaultProxy { port, faults }
    }

    /// What happens to the next requests, in order; those after them pass.
    pub(crate) fn next(&self, faults: &[Fault]) {
        let mut waiting = self.faults.lock().unwrap();
        assert!(waiting.is_empty(), "a fault did not happen: {waiting:?}");
        waiting.extend(faults);
    }

    /// Panics if a fault did not happen.
    #[track_caller]
    pub(crate) fn all_happened(&self) {
        self.next(&[]);
    }
}

/// One request and its answer, and then the connection is closed.
fn relay(
    mut client: TcpStream,
    server: u16,
    faults: &Mutex<VecDeque<Fault>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&request).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().unwrap());
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    let fault = faults.lock().unwrap().pop_front();
    match fault {
        Some(Fault::RequestLost) => return Ok(()),
        Some(Fault::Status(status)) => return answer(&mut client, status),
        Some(Fault::Delay(time)) => std::thread::sleep(time),
        _ => {}
    }
    request.truncate(request.len() - 2);
    request.extend_from_slice(b"connection: close\r\n\r\n");
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    upstream.write_all(&request)?;
    upstream.write_all(&body)?;
    let mut response = Vec::new();
    upstream.read_to_end(&mut response)?;
    match fault {
        Some(Fault::AnswerLost) => Ok(()),
        Some(Fault::DoneButStatus(status)) => answer(&mut client, status),
        _ => client.write_all(&response),
    }
}

fn answer(client: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} Fault\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    client.write_all(head.as_bytes())
}
