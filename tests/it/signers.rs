//! Keys that are elsewhere: SoftHSM, OpenSSH and its agent, a cosign plugin, KMS, and the transit engine.

use std::io::{Read, Write};
use std::process::Command;

use crate::servers::{self, Server};
use crate::support::{Run, Workspace, peer, repository, tool};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Signs with the key that `reference` names, and verifies with the public half that it shows.
#[track_caller]
pub(crate) fn signs(workspace: &Workspace, reference: &str, variables: &[(&str, &str)]) {
    let run = |args: &[&str]| -> Run {
        let mut command = workspace.command(args);
        command.envs(variables.iter().copied());
        command.output().unwrap().into()
    };
    let shown = run(&["key", "show", reference]).exits(0).stdout;
    let pem = shown.split_once("-----BEGIN").unwrap().1;
    workspace.write("k.pub", format!("-----BEGIN{pem}"));
    run(&["sign", "--key", reference, "--signature", "s", "model"]).exits(0);
    workspace
        .run(["verify", "--key", "k.pub", "--signature", "s", "model"])
        .exits(0);
}

struct Token {
    workspace: Workspace,
    configuration: String,
}

/// A token with a key of each curve, each with an id of its own.
fn token() -> Option<Token> {
    if !tool("softhsm2-util") || !tool("pkcs11-tool") || !tool("openssl") {
        return None;
    }
    let workspace = Workspace::new();
    workspace.model("model");
    let root = workspace.root().display().to_string();
    workspace.write(
        "softhsm2.conf",
        format!(
            "directories.tokendir = {root}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
        ),
    );
    workspace
        .shell(&format!(
            "mkdir tokens; export SOFTHSM2_CONF=$PWD/softhsm2.conf
             softhsm2-util --init-token --free --label first --pin 1234 --so-pin 5678 >/dev/null
             softhsm2-util --init-token --free --label other --pin 1234 --so-pin 5678 >/dev/null
             t() {{ pkcs11-tool --module {MODULE} --token-label first --login --pin 1234 \"$@\" >/dev/null 2>&1; }}
             t --keypairgen --key-type EC:prime256v1 --label p256 --id 01
             t --keypairgen --key-type EC:secp384r1 --label p384 --id 02
             t --keypairgen --key-type EC:secp521r1 --label p521 --id 03
             t --keypairgen --key-type rsa:2048 --label rsa --id 04
             t --keypairgen --key-type EC:prime256v1 --label twice --id 05
             t --keypairgen --key-type EC:prime256v1 --label twice --id 06
             printf '1234\\n' > pin"
        ))
        .exits(0);
    let configuration = workspace.path("softhsm2.conf").display().to_string();
    Some(Token {
        workspace,
        configuration,
    })
}

#[test]
fn keys_in_a_token() {
    let Some(token) = token() else { return };
    let Token {
        workspace,
        configuration,
    } = &token;
    let variables = [("SOFTHSM2_CONF", configuration.as_str())];
    let pin = workspace.path("pin").display().to_string();
    for uri in [
        format!("pkcs11:token=first;object=p256?module-path={MODULE}&pin-value=1234"),
        format!("pkcs11:token=first;id=%02?module-path={MODULE}&pin-source=file:{pin}"),
        format!(
            "pkcs11:token=first;object=p521;type=private?pin-source={pin}&module-path={MODULE}"
        ),
    ] {
        signs(workspace, &uri, &variables);
    }
    let uri = format!("pkcs11:token=first;object=p256?module-path={MODULE}");
    signs(
        workspace,
        &uri,
        &[variables[0], ("WEIGHBRIDGE_PIN", "1234")],
    );
    for (uri, says) in [
        (
            format!("pkcs11:token=none;object=p256?module-path={MODULE}&pin-value=1234"),
            "no such token",
        ),
        (
            format!("pkcs11:object=p256?module-path={MODULE}&pin-value=1234"),
            "2 such tokens",
        ),
        (
            format!("pkcs11:token=first;object=none?module-path={MODULE}&pin-value=1234"),
            "no such private key",
        ),
        (
            format!("pkcs11:token=first;object=twice?module-path={MODULE}&pin-value=1234"),
            "2 such keys",
        ),
        (
            format!("pkcs11:token=first;object=rsa?module-path={MODULE}&pin-value=1234"),
            "neither the public key",
        ),
        (
            format!("pkcs11:token=first;object=p256?module-path={MODULE}&pin-value=4321"),
            "refuses the PIN",
        ),
        (
            "pkcs11:token=first;object=p256?module-path=/missing.so&pin-value=1234".into(),
            "/missing.so",
        ),
        (
            "pkcs11:token=first;object=p256?pin-value=1234".into(),
            "names no module",
        ),
        (
            "pkcs11:token=first;object=p256?module-name=../x&pin-value=1234".into(),
            "no path",
        ),
        (
            format!("pkcs11:token=first;object=p256?module-path={MODULE}&pin-source=|cat"),
            "programs are not run",
        ),
        (
            format!("pkcs11:token=first;colour=red?module-path={MODULE}"),
            "not understood",
        ),
        (
            format!("pkcs11:token=first;object=p256;pin-value=1234?module-path={MODULE}"),
            "not understood",
        ),
        (
            format!("pkcs11:token=first;object=p256?module-path={MODULE}&pin-value=12&1234"),
            "malformed attribute, number 5",
        ),
        (
            "pkcs11:token=first;object=p256?module-path=evil.so&pin-value=1234".into(),
            "not an absolute path",
        ),
        // A passphrase is for files: each wrong PIN brings a token nearer to locking itself.
        (uri, "needs a PIN"),
    ] {
        let mut command = workspace.command(["sign", "--key", &uri, "--signature", "s", "model"]);
        command.env("WEIGHBRIDGE_PASSPHRASE", "4321");
        let run = Run::from(command.envs(variables).output().unwrap());
        assert!(
            !run.stderr.contains("1234") && !run.stderr.contains("4321"),
            "{run:?}"
        );
        run.exits(2).says(says);
    }
}

/// What the peer's command line calls pkcs11-key and pkcs11-certificate, and the peer's own verdict.
#[test]
fn tokens_as_model_signing_names_them() {
    let Some(token) = token() else { return };
    let Token {
        workspace,
        configuration,
    } = &token;
    let uri = format!("pkcs11:token=first;object=p384?module-path={MODULE}&pin-value=1234");
    // The token's own key under an authority of ours: OpenSSL certifies the public half.
    let oms = |args: &[&str]| -> Run {
        let mut command = workspace.command(args);
        command.env("SOFTHSM2_CONF", configuration);
        command.output().unwrap().into()
    };
    let shown = oms(&["key", "show", &uri]).exits(0).stdout;
    let pem = format!("-----BEGIN{}", shown.split_once("-----BEGIN").unwrap().1);
    workspace.write("k.pub", &pem);
    workspace
        .shell(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=ca \
               -addext keyUsage=critical,keyCertSign 2>/dev/null
             openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out any.key
             openssl req -new -key any.key -subj /CN=leaf -out leaf.csr
             printf 'keyUsage=critical,digitalSignature\\n' > ext
             openssl x509 -req -in leaf.csr -force_pubkey k.pub -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out leaf.pem 2>/dev/null
             openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out other.pem 2>/dev/null",
        )
        .exits(0);
    for spelling in ["--pkcs11_uri", "--pkcs11-uri"] {
        oms(&[
            "oms",
            "sign",
            "pkcs11-key",
            spelling,
            &uri,
            "--signature",
            "k.sig",
            "model",
        ])
        .exits(0)
        .says("Signing succeeded");
    }
    oms(&[
        "oms",
        "sign",
        "pkcs11-certificate",
        "--pkcs11_uri",
        &uri,
        "--signing_certificate",
        "leaf.pem",
        "--certificate_chain",
        "ca.pem",
        "--signature",
        "c.sig",
        "model",
    ])
    .exits(0);
    oms(&[
        "oms",
        "sign",
        "pkcs11-certificate",
        "--pkcs11_uri",
        &uri,
        "--signing_certificate",
        "other.pem",
        "--signature",
        "d.sig",
        "model",
    ])
    .exits(2)
    .says("does not belong to the certificate");
    oms(&[
        "oms",
        "verify",
        "key",
        "--public_key",
        "k.pub",
        "--signature",
        "k.sig",
        "model",
    ])
    .exits(0);
    oms(&[
        "oms",
        "verify",
        "certificate",
        "--certificate_chain",
        "ca.pem",
        "--signature",
        "c.sig",
        "model",
    ])
    .exits(0);
    the_peer_agrees(workspace);
}

fn the_peer_agrees(workspace: &Workspace) {
    let Some(program) = peer("model_signing", "venv/bin/model_signing") else {
        return;
    };
    for args in [
        [
            "verify",
            "key",
            "--public_key",
            "k.pub",
            "--signature",
            "k.sig",
            "model",
        ],
        [
            "verify",
            "certificate",
            "--certificate_chain",
            "ca.pem",
            "--signature",
            "c.sig",
            "model",
        ],
    ] {
        let output = Command::new(&program)
            .args(args)
            .current_dir(workspace.root())
            .output();
        Run::from(output.unwrap())
            .exits(0)
            .says("Verification succeeded");
    }
}

/// A plugin on sigstore's own handler of the protocol.
#[test]
fn a_plugin_of_cosign() {
    let Some(plugin) = peer("kms-plugin", "sigstore-kms-file") else {
        return;
    };
    let workspace = Workspace::new();
    workspace.model("model");
    let path = std::env::var("PATH").unwrap();
    let directory = plugin.parent().unwrap().display();
    let path = format!("{directory}:{path}");
    let variables = [("PATH", path.as_str())];
    for algorithm in ["p256", "p384", "p521", "ed25519"] {
        let name = format!("{algorithm}.pem");
        workspace
            .run([
                "key",
                "new",
                "--no-passphrase",
                "--algorithm",
                algorithm,
                &name,
            ])
            .exits(0);
        let key = workspace.path(&name).display().to_string();
        signs(&workspace, &format!("file://{key}"), &variables);
        let shown = workspace.run(["key", "show", "--json", "k.pub"]).json();
        let own = workspace
            .run(["key", "show", "--json", &format!("{name}.pub")])
            .json();
        assert_eq!(shown, own);
    }
    for (reference, says) in [
        ("file:///missing", "no such file"),
        ("absent://key", "sigstore-kms-absent: cannot be run"),
        ("../evil://key", "../evil://key"),
    ] {
        let mut command =
            workspace.command(["sign", "--key", reference, "--signature", "s", "model"]);
        let run = Run::from(command.envs(variables).output().unwrap());
        run.exits(2).says(says);
    }
    // One that answers nonsense, and one that never stops.
    workspace.write(
        "bin/sigstore-kms-odd",
        "#!/bin/sh\necho '{\"publicKey\": 7}'\n",
    );
    workspace.write("bin/sigstore-kms-loud", "#!/bin/sh\nexec yes\n");
    workspace.shell("chmod +x bin/*").exits(0);
    let path = format!("{}:{path}", workspace.path("bin").display());
    for name in ["odd", "loud"] {
        let reference = format!("{name}://key");
        let mut command =
            workspace.command(["sign", "--key", &reference, "--signature", "s", "model"]);
        let run = Run::from(command.env("PATH", &path).output().unwrap());
        run.exits(2).says("malformed");
    }
    // One that answers, and leaves somebody behind who holds its output.
    workspace.write(
        "bin/sigstore-kms-parent",
        "#!/bin/sh\nsleep 60 2>&- &\nexec sigstore-kms-file \"$@\"\n",
    );
    workspace.shell("chmod +x bin/*").exits(0);
    let key = workspace.path("p256.pem").display().to_string();
    let mut command = workspace.command(["key", "show", &format!("parent://{key}")]);
    let began = std::time::Instant::now();
    Run::from(command.env("PATH", &path).output().unwrap()).exits(0);
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
    // What is said to us in confidence is not for it.
    workspace.write("bin/sigstore-kms-nosy", "#!/bin/sh\nenv > \"$SEEN\"\n");
    workspace.shell("chmod +x bin/*").exits(0);
    let mut command =
        workspace.command(["sign", "--key", "nosy://key", "--signature", "s", "model"]);
    command
        .env("PATH", &path)
        .env("SEEN", workspace.path("seen"));
    for name in [
        "WEIGHBRIDGE_PASSPHRASE",
        "WEIGHBRIDGE_PIN",
        "SIGSTORE_ID_TOKEN",
    ] {
        command.env(name, "in-confidence");
    }
    Run::from(command.output().unwrap()).exits(2);
    let seen = String::from_utf8(workspace.read("seen")).unwrap();
    assert!(
        seen.contains("PATH=") && !seen.contains("in-confidence"),
        "{seen}"
    );
}

fn transit() -> Option<&'static Server> {
    static SERVER: std::sync::OnceLock<Option<Server>> = std::sync::OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let python = peer("model_signing", "venv/bin/python")?;
        let script = repository().join("tests/peers/transit.py");
        let port = servers::free_port();
        let command = [
            python.display().to_string(),
            script.display().to_string(),
            port.to_string(),
        ];
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        Some(servers::serve(port, &command))
    });
    server.as_ref()
}

#[test]
fn keys_in_the_transit_engine() {
    let Some(server) = transit() else { return };
    let workspace = Workspace::new();
    workspace.model("model");
    let address = format!("http://127.0.0.1:{}", server.port);
    let vault = [("VAULT_ADDR", address.as_str()), ("VAULT_TOKEN", "root")];
    for name in ["p256", "p384", "p521", "ed25519"] {
        signs(&workspace, &format!("hashivault://{name}"), &vault);
    }
    let bao = [("BAO_ADDR", address.as_str()), ("BAO_TOKEN", "root")];
    signs(&workspace, "openbao://p256", &bao);
    let sign = |key: &str, variables: &[(&str, &str)]| {
        let mut command = workspace.command(["sign", "--key", key, "--signature", "s", "model"]);
        command.envs(variables.iter().copied());
        Run::from(command.output().unwrap())
    };
    sign("hashivault://aes", &vault)
        .exits(2)
        .says("does not sign");
    sign("hashivault://none", &vault)
        .exits(2)
        .says("answers 404");
    sign("hashivault://../p256", &vault)
        .exits(2)
        .says("no name of a transit key");
    let wrong = [("VAULT_ADDR", address.as_str()), ("VAULT_TOKEN", "s3cret")];
    let run = sign("hashivault://p256", &wrong).exits(2);
    assert!(!run.stderr.contains("s3cret"));
    run.says("answers 403");
    sign("hashivault://p256", &[])
        .exits(2)
        .says("VAULT_ADDR is not set");
}

/// KMS as ministack has it. moto, another emulator, hashes a digest again.
#[test]
fn keys_in_kms() {
    let Some(server) = servers::ministack() else {
        return;
    };
    let workspace = Workspace::new();
    workspace.model("model");
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let variables = [
        ("AWS_ENDPOINT_URL_KMS", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    for spec in ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"] {
        let id = workspace
            .shell(&format!(
                "curl -sS {endpoint}/ -H 'X-Amz-Target: TrentService.CreateKey' -H 'Content-Type: application/x-amz-json-1.1' \
                   -H 'Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=x' \
                   -d '{{\"KeySpec\":\"{spec}\",\"KeyUsage\":\"SIGN_VERIFY\"}}' | grep -o '\"KeyId\": *\"[^\"]*\"' | head -1 | cut -d'\"' -f4"
            ))
            .exits(0);
        signs(
            &workspace,
            &format!("awskms:///{}", id.stdout.trim()),
            &variables,
        );
    }
    let sign = |key: &str| {
        let mut command = workspace.command(["sign", "--key", key, "--signature", "s", "model"]);
        Run::from(command.envs(variables).output().unwrap())
    };
    sign("awskms:///none").exits(2).says("KMS");
    sign("awskms://").exits(2).says("is not awskms://");
}

/// The signature of a request, as botocore makes it for the same time, headers and body.
#[test]
fn requests_are_signed_as_botocore_signs_them() {
    let Some(python) = peer("botocore", "stores/bin/python") else {
        return;
    };
    let workspace = Workspace::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let head = String::from_utf8(request).unwrap().to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        _ = stream.write_all(
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
        (head, String::from_utf8(body).unwrap())
    });
    let mut command = workspace.command(["key", "show", "awskms:///alias/release"]);
    command
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env(
            "AWS_SECRET_ACCESS_KEY",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        )
        .env("AWS_SESSION_TOKEN", "a token")
        .env("AWS_REGION", "eu-west-1");
    let run = Run::from(command.output().unwrap()).exits(2);
    assert!(!run.stderr.contains("wJalr"));
    let (head, body) = server.join().unwrap();
    let header = |name: &str| {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("{name}: {head}")).to_owned()
    };
    assert!(body.contains("\"alias/release\""), "{body}");
    let script = r#"
import sys, datetime, json
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
import botocore.auth
url, body, date, target = sys.argv[1:5]
when = datetime.datetime.strptime(date.upper(), "%Y%m%dT%H%M%SZ")
class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None): return when.replace(tzinfo=tz)
    @classmethod
    def utcnow(cls): return when
botocore.auth.datetime = type("m", (), {"datetime": Clock, "timezone": datetime.timezone})
if hasattr(botocore.auth, "get_current_datetime"):
    botocore.auth.get_current_datetime = lambda *a, **k: when
request = AWSRequest("POST", url, data=body, headers={"content-type": "application/x-amz-json-1.1", "x-amz-target": target})
credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a token")
SigV4Auth(credentials, "kms", "eu-west-1").add_auth(request)
print(request.headers["Authorization"])
"#;
    let output = Command::new(python)
        .args(["-c", script, &format!("http://127.0.0.1:{port}/"), &body])
        .args([header("x-amz-date"), "TrentService.GetPublicKey".into()])
        .output()
        .unwrap();
    let run = Run::from(output).exits(0);
    assert_eq!(
        run.stdout.trim().to_ascii_lowercase(),
        header("authorization")
    );
}
