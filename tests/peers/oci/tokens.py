"""Gives tokens for a registry, which judges them: python3 tokens.py PORT KEY CERTIFICATE (distribution, "Token Authentication").

`tester` with the password `secret-of-a-test` may pull everything, anybody what is called public. Prints who asks for what.
"""

import base64
import json
import subprocess
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, key, certificate = int(sys.argv[1]), sys.argv[2], sys.argv[3]
PEM = open(certificate).read().split("-----")[2]
CHAIN = ["".join(PEM.split())]


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(claims):
    header = {"typ": "JWT", "alg": "RS256", "x5c": CHAIN}
    text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    command = ["openssl", "dgst", "-sha256", "-sign", key]
    signature = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
    return f"{text}.{encoded(signature)}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        login = self.headers.get("Authorization", "")
        known = base64.b64encode(b"tester:secret-of-a-test").decode()
        is_known = login == f"Basic {known}"
        print("asked", query.get("service"), query.get("scope"), "known" if is_known else "unknown", flush=True)
        if login and not is_known:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            if is_known or name == "public":
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {
            "iss": "tokens",
            "sub": "tester" if is_known else "",
            "aud": query["service"][0],
            "iat": now - 5,
            "nbf": now - 5,
            "exp": now + 300,
            "jti": str(now),
            "access": access,
        }
        body = json.dumps({"token": signed(claims), "expires_in": 300}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
