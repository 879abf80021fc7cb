"""A private Sigstore: Fulcio, TesseraCT, Rekor 2 and the timestamp authority, as they are, with an OpenID Connect
issuer of our own in front. Stops when standard input ends. Usage: sigstore.py DIR BIN PORT

Writes into DIR: trust_config.json, trusted_root.json, signing_config.json, and tokens of who may sign: token.email,
token.github, token.gitlab, token.expired, token.audience."""

import base64
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIR, BIN, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.makedirs(DIR)
os.chdir(DIR)
PASSWORD = "test"
REQUEST_TOKEN = "runner"


def run(*command, data=None):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout


def free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def std64(data):
    return base64.b64encode(data).decode()


# Keys and certificates.
def new_key(name):
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", name)


def root(name, path_length):
    new_key(f"{name}.key")
    run("openssl", "req", "-x509", "-new", "-key", f"{name}.key", "-days", "30", "-subj", f"/O=test/CN={name}", "-out", f"{name}.pem",
        "-addext", f"basicConstraints=critical,CA:TRUE,pathlen:{path_length}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")


def under(name, issuer, extensions):
    new_key(f"{name}.plain")
    run("openssl", "req", "-new", "-key", f"{name}.plain", "-subj", f"/O=test/CN={name}", "-out", f"{name}.csr")
    with open(f"{name}.ext", "w") as file:
        file.write("\n".join([*extensions, "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid", ""]))
    run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial",
        "-days", "20", "-out", f"{name}.pem", "-extfile", f"{name}.ext")
    run("openssl", "pkcs8", "-topk8", "-v2", "aes256", "-in", f"{name}.plain", "-passout", f"pass:{PASSWORD}", "-out", f"{name}.key")
    with open(f"{name}.chain", "w") as file:
        file.write(open(f"{name}.pem").read() + open(f"{issuer}.pem").read())


root("fulcio-root", 1)
under("fulcio", "fulcio-root", ["basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign", "extendedKeyUsage=codeSigning"])
root("tsa-root", 0)
under("tsa", "tsa-root", ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "extendedKeyUsage=critical,timeStamping"])
run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ct.key")
run("openssl", "ec", "-in", "ct.key", "-pubout", "-out", "ct.pub")
run("openssl", "genpkey", "-algorithm", "ed25519", "-out", "rekor.key")
run("openssl", "pkey", "-in", "rekor.key", "-pubout", "-out", "rekor.pub")
run("openssl", "genrsa", "-out", "issuer.key", "2048")

# The issuer of identities.
BASE = f"http://127.0.0.1:{PORT}"
MODULUS = bytes.fromhex(run("openssl", "rsa", "-in", "issuer.key", "-noout", "-modulus").decode().strip().split("=")[1])
JWKS = {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "key", "n": url64(MODULUS), "e": "AQAB"}]}


def token(kind, audience="sigstore", lasts=7200):
    now = int(time.time())
    claims = {"iss": f"{BASE}/{kind}", "aud": audience, "iat": now - 10, "nbf": now - 10, "exp": now + lasts}
    commit = "3f2c1e0d9b8a7f6e5d4c3b2a190817263544f5e6"
    if kind == "email":
        claims |= {"sub": "42", "email": "dev@example.com", "email_verified": True}
    elif kind == "github":
        workflow = "acme/widget/.github/workflows/release.yml@refs/heads/main"
        claims |= {
            "sub": "repo:acme/widget:ref:refs/heads/main", "sha": commit, "ref": "refs/heads/main", "event_name": "push",
            "repository": "acme/widget", "repository_id": "1", "repository_owner": "acme", "repository_owner_id": "2",
            "repository_visibility": "public", "workflow": "release", "workflow_ref": workflow, "workflow_sha": commit,
            "job_workflow_ref": workflow, "job_workflow_sha": commit, "runner_environment": "github-hosted",
            "run_id": "3", "run_attempt": "1",
        }
    else:
        claims |= {
            "sub": "project_path:acme/widget:ref_type:branch:ref:main", "project_id": "1", "project_path": "acme/widget",
            "namespace_id": "2", "namespace_path": "acme", "pipeline_id": "3", "pipeline_source": "push", "job_id": "4",
            "ref": "main", "ref_type": "branch", "runner_id": 5, "runner_environment": "gitlab-hosted", "sha": commit,
            "project_visibility": "public", "ci_config_ref_uri": "gitlab.com/acme/widget//.gitlab-ci.yml@refs/heads/main",
            "ci_config_sha": commit,
        }
    head = {"alg": "RS256", "typ": "JWT", "kid": "key"}
    signed = ".".join(url64(json.dumps(part).encode()) for part in (head, claims))
    return signed + "." + url64(run("openssl", "dgst", "-sha256", "-sign", "issuer.key", data=signed.encode()))


class Issuer(BaseHTTPRequestHandler):
    def do_GET(self):
        kind = self.path.split("/")[1]
        if self.path.endswith("/openid-configuration"):
            issuer = f"{BASE}/{kind}"
            body = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks", "id_token_signing_alg_values_supported": ["RS256"],
                    "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                    "authorization_endpoint": f"{issuer}/authorize", "token_endpoint": f"{issuer}/token"}
        elif self.path.endswith("/jwks"):
            body = JWKS
        elif self.path == "/runner?api-version=2.0&audience=sigstore" and self.headers["authorization"] == f"bearer {REQUEST_TOKEN}":
            # What a GitHub runner answers a job.
            body = {"value": token("github")}
        else:
            self.send_error(404)
            return
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


issuer = ThreadingHTTPServer(("127.0.0.1", PORT), Issuer)
threading.Thread(target=issuer.serve_forever, daemon=True).start()
for name, made in {
    "email": token("email"), "github": token("github"), "gitlab": token("gitlab"),
    "expired": token("email", lasts=-5), "audience": token("email", audience="somebody-else"),
}.items():
    with open(f"token.{name}", "w") as file:
        file.write(made)

# The services.
CT, FULCIO, FULCIO_GRPC, FULCIO_METRICS, REKOR, REKOR_GRPC, REKOR_METRICS, TSA = (free() for _ in range(8))
with open("fulcio.yaml", "w") as file:
    file.write("oidc-issuers:\n")
    for kind, name in {"email": "email", "github": "github-workflow", "gitlab": "gitlab-pipeline"}.items():
        file.write(f"  {BASE}/{kind}: {{issuer-url: \"{BASE}/{kind}\", client-id: sigstore, type: {name}}}\n")
COMMANDS = [
    ["tesseract", "--private_key=ct.key", "--origin=127.0.0.1", f"--storage_dir={DIR}/ct", "--roots_pem_file=fulcio-root.pem",
     "--ext_key_usages=CodeSigning", f"--http_endpoint=127.0.0.1:{CT}", "--checkpoint_interval=200ms", "--batch_max_age=50ms"],
    ["fulcio", "serve", "--host=127.0.0.1", f"--port={FULCIO}", "--grpc-host=127.0.0.1", f"--grpc-port={FULCIO_GRPC}",
     f"--legacy-unix-domain-socket={DIR}/fulcio.sock", f"--metrics-port={FULCIO_METRICS}", "--ca=fileca",
     "--fileca-cert=fulcio.chain", "--fileca-key=fulcio.key", f"--fileca-key-passwd={PASSWORD}", "--fileca-watch=false",
     "--config-path=fulcio.yaml", f"--ct-log-url=http://127.0.0.1:{CT}", "--ct-log-public-key-path=ct.pub"],
    ["rekor-server", "serve", "--http-address=127.0.0.1", f"--http-port={REKOR}", "--grpc-address=127.0.0.1", f"--grpc-port={REKOR_GRPC}",
     f"--http-metrics-port={REKOR_METRICS}", "--hostname=127.0.0.1", f"--storage-dir={DIR}/rekor", "--signer-filepath=rekor.key",
     "--checkpoint-interval=200ms", "--batch-max-age=50ms", "--persistent-antispam=false"],
    ["timestamp-server", "serve", "--host=127.0.0.1", f"--port={TSA}", "--scheme=http", "--timestamp-signer=file",
     "--file-signer-key-path=tsa.key", f"--file-signer-passwd={PASSWORD}", "--certificate-chain-path=tsa.chain",
     "--disable-ntp-monitoring"],
]
servers = []


def ready(address):
    for _ in range(200):
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{address} does not answer")


try:
    for command, probe in zip(COMMANDS, [f"{CT}/ct/v1/get-roots", f"{FULCIO}/healthz", f"{REKOR}/healthz", f"{TSA}/ping"]):
        log = open(f"{command[0]}.log", "w")
        servers.append(subprocess.Popen([f"{BIN}/{command[0]}", *command[1:]], stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        ready(f"http://127.0.0.1:{probe}")

    # What clients trust and ask.
    def spki(path):
        return run("openssl", "pkey", "-pubin", "-in", path, "-outform", "DER")

    def chain(path):
        blocks = re.findall("-----BEGIN CERTIFICATE-----(.*?)-----END", open(path).read(), re.S)
        return {"certificates": [{"rawBytes": "".join(block.split())} for block in blocks]}

    valid = {"start": "2020-01-01T00:00:00Z"}
    rekor, ct = spki("rekor.pub"), spki("ct.pub")
    urls = {name: f"http://127.0.0.1:{port}" for name, port in {"fulcio": FULCIO, "ct": CT, "rekor": REKOR, "tsa": TSA}.items()}
    stamp = urls["tsa"] + "/api/v1/timestamp"

    def log_entry(url, key, details, key_id):
        return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": {"keyId": std64(key_id)},
                "publicKey": {"rawBytes": std64(key), "keyDetails": details, "validFor": valid}}

    def authority(url, name):
        return {"subject": {"organization": "test", "commonName": name}, "uri": url, "certChain": chain(f"{name}.chain"), "validFor": valid}

    trusted_root = {
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        # The id of an Ed25519 log is that of its signed notes.
        "tlogs": [log_entry(urls["rekor"], rekor, "PKIX_ED25519", hashlib.sha256(b"127.0.0.1\n\x01" + rekor[-32:]).digest())],
        "certificateAuthorities": [authority(urls["fulcio"], "fulcio")],
        "ctlogs": [log_entry(urls["ct"], ct, "PKIX_ECDSA_P256_SHA_256", hashlib.sha256(ct).digest())],
        "timestampAuthorities": [authority(stamp, "tsa")],
    }

    def service(url, version):
        return [{"url": url, "majorApiVersion": version, "validFor": valid, "operator": "test"}]

    signing_config = {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": service(urls["fulcio"], 1), "oidcUrls": service(BASE + "/email", 1),
        "rekorTlogUrls": service(urls["rekor"], 2), "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": service(stamp, 1), "tsaConfig": {"selector": "ANY"},
    }
    for name, content in {
        "trusted_root": trusted_root, "signing_config": signing_config,
        "trust_config": {"mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
                         "trustedRoot": trusted_root, "signingConfig": signing_config},
    }.items():
        with open(f"{name}.json", "w") as file:
            json.dump(content, file)
    print("ready", flush=True)
    sys.stdin.read()
finally:
    for server in servers:
        server.kill()
    for server in servers:
        server.wait()
    shutil.rmtree(DIR, ignore_errors=True)
