"""A stand-in for the transit engine of Vault and OpenBao: two of its requests, as its API documents them
(/transit/keys/NAME, /transit/sign/NAME/HASH), with keys of the Python package cryptography. Neither server can
be had from a package registry. Usage: transit.py PORT"""

import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

KEYS = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
HASHES = {"sha2-256": hashes.SHA256(), "sha2-384": hashes.SHA384(), "sha2-512": hashes.SHA512()}


def public(key):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        return base64.b64encode(key.public_key().public_bytes(*raw)).decode()
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*pem).decode()


class Transit(BaseHTTPRequestHandler):
    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def denied(self):
        if self.headers.get("x-vault-token") == "root":
            return False
        self.answer(403, {"errors": ["permission denied"]})
        return True

    def do_GET(self):
        if self.denied():
            return
        name = self.path.removeprefix("/v1/transit/keys/")
        if name == "aes":
            versions = {"1": {"creation_time": "2026-01-01T00:00:00Z"}}
            self.answer(200, {"data": {"type": "aes256-gcm96", "latest_version": 1, "keys": versions}})
        elif name in KEYS:
            # The newest of several versions signs.
            versions = {"1": {"public_key": public(KEYS["p521"])}, "2": {"public_key": public(KEYS[name])}}
            self.answer(200, {"data": {"type": name, "latest_version": 2, "keys": versions}})
        else:
            self.answer(404, {"errors": []})

    def do_POST(self):
        if self.denied():
            return
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name, hash_name = self.path.removeprefix("/v1/transit/sign/").split("/")
        key, message = KEYS[name], base64.b64decode(asked["input"])
        if asked["key_version"] != 2 or asked["marshaling_algorithm"] != "asn1":
            self.answer(400, {"errors": ["another version or form than this expects"]})
            return
        if isinstance(key, ed25519.Ed25519PrivateKey):
            signature = key.sign(message)
        else:
            algorithm = HASHES[hash_name]
            signature = key.sign(message, ec.ECDSA(Prehashed(algorithm) if asked["prehashed"] else algorithm))
        text = "vault:v2:" + base64.b64encode(signature).decode()
        self.answer(200, {"data": {"signature": text}})

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[1])), Transit).serve_forever()
