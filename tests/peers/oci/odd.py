"""A registry that does what registries must not: python3 odd.py PORT OTHER_PORT. The repository says what: range, encoded, steal.

Listens on both ports; what is asked is printed with the credentials that came along.
"""

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, other = map(int, sys.argv[1:])
CONTENT = b"x" * 1000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
KIND = "application/vnd.oci.image.manifest.v1+json"
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": KIND,
        "layers": [
            {
                "mediaType": "application/vnd.cncf.model.weight.v1.raw",
                "digest": DIGEST,
                "size": len(CONTENT),
                "annotations": {"org.cncf.model.filepath": "m.bin"},
            }
        ],
    }
).encode()


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        here = self.server.server_port
        print(here, self.path, self.headers.get("Authorization"), file=sys.stderr, flush=True)
        if here == other:
            realm = f'Bearer realm="http://127.0.0.1:{other}/token",service="x"'
            return self.answer(401, WWW_Authenticate=realm)
        if "/manifests/v1" in self.path:
            return self.answer(200, MANIFEST, Content_Type=KIND)
        if "/blobs/" in self.path and "/range/" in self.path:
            return self.answer(206, CONTENT[:4], Content_Range="bytes 0-3/1000")
        if "/blobs/" in self.path and "/encoded/" in self.path:
            return self.answer(200, CONTENT, Content_Encoding="gzip")
        if "/blobs/" in self.path and "/steal/" in self.path:
            return self.answer(307, Location=f"http://127.0.0.1:{other}/blob")
        return self.answer(404)

    def log_message(self, *_):
        pass


second = ThreadingHTTPServer(("127.0.0.1", other), Handler)
threading.Thread(target=second.serve_forever, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
