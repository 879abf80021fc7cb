#!/usr/bin/env python3
"""Small, faithful Hugging Face Hub for tests: REST + resolve + git smart-HTTP + LFS batch,
backed by real bare git repositories. Listens on 127.0.0.1 only.

usage: hub.py ROOT PORT

ROOT layout (fixture.sh builds one):
  ROOT/<models|datasets>/<org>/<name>.git   bare repositories
  ROOT/lfs/<sha256>                         content of LFS files
  ROOT/xet/<sha256>                         optional: Xet hash to announce for that LFS file
  ROOT/state.json                           read again on every request
  ROOT/access.log                           one line per request

state.json:
  {"token": "hf_x",
   "cdn_host": "127.0.0.1:8098",             host:port that /resolve redirects LFS files to
   "page": 1000,                             entries per tree page (small values exercise Link: next)
   "repos": {"models/org/name": {"gated": false|"auto"|"manual", "private": false,
                                 "security": {path: status}}},
   "tamper": {"<sha256 or git blob id>": "flip"}}   flips one bit of the last byte served
  "cut": {"<sha256 or git blob id>": 1000}}        ends the connection after so many bytes, unless asked for a part
  "extra": 5000                                    items in each page of a tree that are no files
  "busy": 2                                        answers the first requests for each file with 503
"""

import hashlib, json, os, re, subprocess, sys, time
import urllib.parse as U
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if len(sys.argv) != 3:
    sys.exit(__doc__)
ROOT = os.path.abspath(sys.argv[1])
PORT = int(sys.argv[2])
LOG = open(os.path.join(ROOT, "access.log"), "a", buffering=1)
PTR = re.compile(
    rb"\Aversion https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n\Z"
)


BUSY = {}


def st():
    return json.load(open(os.path.join(ROOT, "state.json")))


def instant(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(int(seconds)))


def git(repo, *a, inp=None):
    return subprocess.run(["git", "--git-dir", repo, *a], input=inp, capture_output=True, check=True).stdout


class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def send(self, code, body=b"", ct="application/json; charset=utf-8", **h):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", ct)
        hs = {k.replace("_", "-"): v for k, v in h.items()}
        if "Content-Length" not in hs:
            hs["Content-Length"] = str(len(body))
        for k, v in hs.items():
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        auth = self.headers.get("Authorization")
        auth = "none" if auth is None else "fixture" if self.authed(st()) else "other"
        rng, ua = self.headers.get("Range"), self.headers.get("User-Agent")
        LOG.write(f"{self.command} {self.path} -> {code} auth={auth} range={rng} ua={ua}\n")

    def err(self, code, ec, msg):
        self.send(code, {"error": msg}, **{"X-Error-Code": ec, "X-Error-Message": msg})

    def body(self):
        n = int(self.headers.get("Content-Length") or 0)
        if n:
            return self.rfile.read(n)
        if self.headers.get("Transfer-Encoding") == "chunked":
            b = b""
            while True:
                l = int(self.rfile.readline(), 16)
                d = self.rfile.read(l)
                self.rfile.readline()
                if l == 0:
                    return b
                b += d
        return b""

    def do_HEAD(self):
        self.route()

    def do_GET(self):
        self.route()

    def do_POST(self):
        self.route()

    def authed(self, S):
        a = self.headers.get("Authorization", "")
        if a.startswith("Basic "):
            import base64

            a = "Bearer " + base64.b64decode(a[6:]).decode().split(":", 1)[1]
        return a == "Bearer " + S.get("token", "hf_x")

    def repo(self, S, kind, rid):
        p = os.path.join(ROOT, kind, rid + ".git")
        if not os.path.isdir(p):
            self.err(404 if self.authed(S) else 401, "RepoNotFound", "Repository not found")
            return None
        m = S["repos"].get(f"{kind}/{rid}", {})
        if m.get("private") and not self.authed(S):
            self.err(401, "RepoNotFound", "Repository not found")
            return None
        return p, m

    def gate(self, S, m, rid):
        if m.get("gated") and not self.authed(S):
            self.err(
                401,
                "GatedRepo",
                f"Access to model {rid} is restricted. You must have access to it and be authenticated to access it. Please log in.",
            )
            return False
        return True

    def rev(self, p, r):
        for c in (r, "refs/heads/" + r, "refs/tags/" + r):
            try:
                return git(p, "rev-parse", "--verify", "-q", c + "^{commit}").decode().strip()
            except subprocess.CalledProcessError:
                pass
        self.err(404, "RevisionNotFound", f"Invalid rev id: {r}")
        return None

    def tree(self, p, sha, rec, sub="", expand=False, sec={}):
        out = []
        args = (
            ["ls-tree", "-l", "-z"]
            + (["-r", "-t"] if rec else [])
            + [sha]
            + ([sub.rstrip("/") + "/"] if sub else [])
        )
        for e in git(p, *args).split(b"\0"):
            if not e:
                continue
            meta, path = e.split(b"\t", 1)
            mode, typ, oid, size = meta.split()
            path = path.decode()
            oid = oid.decode()
            if typ == b"tree":
                d = {"type": "directory", "oid": oid, "size": 0, "path": path}
            else:
                d = {"type": "file", "oid": oid, "size": int(size), "path": path}
                if int(size) < 400:
                    m = PTR.match(git(p, "cat-file", "blob", oid))
                    if m:
                        d["size"] = int(m[2])
                        d["lfs"] = {"oid": m[1].decode(), "size": int(m[2]), "pointerSize": int(size)}
                        xf = os.path.join(ROOT, "xet", m[1].decode())
                        if os.path.exists(xf):
                            d["xetHash"] = open(xf).read().strip()
            if expand:
                d["lastCommit"] = {"id": sha, "title": "x", "date": "2026-01-01T00:00:00.000Z"}
                d["securityFileStatus"] = {
                    "status": sec.get(path, "safe"),
                    "jFrogScan": {"status": "unscanned"},
                    "protectAiScan": {"status": "unscanned"},
                    "avScan": {"status": "safe", "version": "1.4.3/27700"},
                    "pickleImportScan": {"status": "unscanned", "pickleImports": []},
                    "virusTotalScan": {"status": "unscanned"},
                }
            out.append(d)
        return out

    def route(self):
        S = st()
        u = U.urlsplit(self.path)
        path = u.path
        q = {k: v[-1] for k, v in U.parse_qs(u.query).items()}
        T = lambda k: q.get(k, "").lower() in ("true", "1")
        if path == "/api/whoami-v2":
            return (
                self.send(
                    200,
                    {
                        "type": "user",
                        "id": "u1",
                        "name": "ci-user",
                        "auth": {
                            "type": "access_token",
                            "accessToken": {"displayName": "ci", "role": "read"},
                        },
                    },
                )
                if self.authed(S)
                else self.err(401, "", "Invalid credentials")
            )
        m = re.match(r"^/(?:(datasets)/)?([^/]+/[^/]+)\.git/(.*)$", path) or re.match(
            r"^/(?:(datasets)/)?([^/]+/[^/]+)/(info/.*|git-upload-pack)$", path
        )
        if m:
            kind = m[1] or "models"
            r = self.repo(S, kind, m[2])
            if not r:
                return
            if not self.gate(S, r[1], m[2]):
                return
            if m[3] == "info/lfs/objects/batch":
                b = json.loads(self.body())
                objs = []
                for o in b["objects"]:
                    objs.append(
                        {
                            "oid": o["oid"],
                            "size": o["size"],
                            "authenticated": True,
                            "actions": {
                                "download": {"href": f"http://{self.headers['Host']}/lfs-cdn/{o['oid']}"}
                            },
                        }
                    )
                return self.send(
                    200,
                    {"transfer": "basic", "objects": objs, "hash_algo": "sha256"},
                    ct="application/vnd.git-lfs+json",
                )
            env = dict(
                os.environ,
                GIT_PROJECT_ROOT=os.path.join(ROOT, kind),
                GIT_HTTP_EXPORT_ALL="1",
                REQUEST_METHOD=self.command,
                PATH_INFO=f"/{m[2]}.git/{m[3]}",
                QUERY_STRING=u.query,
                CONTENT_TYPE=self.headers.get("Content-Type", ""),
                REMOTE_USER="x",
                GIT_PROTOCOL=self.headers.get("Git-Protocol", ""),
            )
            b = self.body()
            env["CONTENT_LENGTH"] = str(len(b))
            if self.headers.get("Content-Encoding"):
                env["HTTP_CONTENT_ENCODING"] = self.headers["Content-Encoding"]
            o = subprocess.run(["git", "http-backend"], input=b, env=env, capture_output=True).stdout
            hd, bd = o.split(b"\r\n\r\n", 1)
            code = 200
            hh = {}
            for l in hd.decode().split("\r\n"):
                k, v = l.split(": ", 1)
                if k == "Status":
                    code = int(v.split()[0])
                else:
                    hh[k] = v
            ct = hh.pop("Content-Type", "text/plain")
            return self.send(code, bd, ct=ct, **hh)
        m = re.match(r"^/lfs-cdn/([0-9a-f]{64})$", path)
        if m:
            return self.blobfile(
                S,
                os.path.join(ROOT, "lfs", m[1]),
                m[1],
                {"ETag": f'"{hashlib.md5(m[1].encode()).hexdigest()}"'},
            )
        m = re.match(r"^/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$", path)
        if m:
            kind = m[1] or "models"
            r = self.repo(S, kind, m[2])
            if not r:
                return
            if not self.gate(S, r[1], m[2]):
                return
            sha = self.rev(r[0], U.unquote(m[3]))
            if not sha:
                return
            f = U.unquote(m[4])
            try:
                oid = git(r[0], "rev-parse", "-q", "--verify", f"{sha}:{f}").decode().strip()
            except subprocess.CalledProcessError:
                return self.send(
                    404,
                    b"Entry not found",
                    "text/plain",
                    **{
                        "X-Error-Code": "EntryNotFound",
                        "X-Error-Message": "Entry not found",
                        "X-Repo-Commit": sha,
                    },
                )
            data = git(r[0], "cat-file", "blob", oid)
            p = PTR.match(data)
            if p:
                h = p[1].decode()
                loc = f"http://{S.get('cdn_host') or self.headers['Host']}/lfs-cdn/{h}"
                hd = {
                    "X-Repo-Commit": sha,
                    "X-Linked-Size": p[2].decode(),
                    "X-Linked-ETag": f'"{h}"',
                    "Location": loc,
                    "Accept-Ranges": "bytes",
                    "ETag": f'"{h}"',
                }
                xf = os.path.join(ROOT, "xet", h)
                if os.path.exists(xf):
                    x = open(xf).read().strip()
                    hd["X-Xet-Hash"] = x
                    hd["Link"] = (
                        f'<http://{self.headers["Host"]}/api/{kind}/{m[2]}/xet-read-token/{sha}>; rel="xet-auth"'
                    )
                return self.send(
                    302, f"Found. Redirecting to {loc}".encode(), "text/plain; charset=utf-8", **hd
                )
            return self.blobdata(
                S,
                data,
                oid,
                {
                    "X-Repo-Commit": sha,
                    "ETag": f'"{oid}"',
                    "Content-Disposition": f"inline; filename*=UTF-8''{U.quote(os.path.basename(f))};",
                },
            )
        m = re.match(
            r"^/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|refs|commits|paths-info|auth-check)(?:/([^/]+))?(?:/(.+))?)?$",
            path,
        )
        if m:
            kind, rid, op, rv, sub = m[1], m[2], m[3], m[4], m[5]
            r = self.repo(S, kind, rid)
            if not r:
                return
            p, meta = r
            if op == "auth-check":
                return self.send(200, {}) if self.gate(S, meta, rid) else None
            if op == "refs":

                def R(pref):
                    return [
                        {"name": l.split()[1][len(pref) :], "ref": l.split()[1], "targetCommit": l.split()[0]}
                        for l in git(p, "for-each-ref", "--format=%(objectname) %(refname)", pref)
                        .decode()
                        .splitlines()
                    ]

                return self.send(
                    200,
                    {
                        "tags": R("refs/tags/"),
                        "branches": R("refs/heads/"),
                        "converts": [],
                        "pullRequests": [],
                    },
                )
            sha = self.rev(p, U.unquote(rv) if rv else "main")
            if not sha:
                return
            sec = meta.get("security", {})
            if op == "tree":
                all_ = self.tree(p, sha, T("recursive"), U.unquote(sub) if sub else "", T("expand"), sec)
                lim = int(S.get("page", 1000))
                off = int(q.get("cursor", "0"))
                page = all_[off : off + lim]
                page += [{"type": "unknown", "path": f"x{n}"} for n in range(S.get("extra", 0))]
                h = {}
                if off + lim < len(all_):
                    qq = dict(q, cursor=str(off + lim))
                    h["Link"] = f'<http://{self.headers["Host"]}{u.path}?{U.urlencode(qq)}>; rel="next"'
                return self.send(200, page, **h)
            if op == "paths-info":
                b = U.parse_qs(self.body().decode())
                idx = {
                    e["path"]: e
                    for e in self.tree(p, sha, True, "", b.get("expand", ["false"])[0].lower() == "true", sec)
                }
                return self.send(200, [idx[x] for x in b.get("paths", []) if x in idx])
            if op == "commits":
                o = []
                for l in (
                    git(p, "log", "--format=%H%x00%an%x00%aI%x00%s%x00%b%x01", sha).decode().split("\x01")
                ):
                    l = l.strip("\n")
                    if l:
                        a = l.split("\0")
                        o.append(
                            {
                                "id": a[0],
                                "title": a[3],
                                "message": a[4],
                                "authors": [{"user": a[1], "avatar": ""}],
                                "date": a[2],
                            }
                        )
                return self.send(200, o, **{"X-Total-Count": str(len(o))})
            d = instant(git(p, "log", "-1", "--format=%ct", sha))
            o = {
                "_id": "65",
                "id": rid,
                "private": bool(meta.get("private")),
                "gated": meta.get("gated", False),
                "disabled": False,
                "sha": sha,
                "lastModified": d,
                "createdAt": d,
                "author": rid.split("/")[0],
                "downloads": 1,
                "likes": 0,
                "tags": [],
                "siblings": [],
            }
            if kind == "models":
                o["modelId"] = rid
            for e in self.tree(p, sha, True):
                if e["type"] == "file":
                    s = {"rfilename": e["path"]}
                    if T("blobs"):
                        s.update(blobId=e["oid"], size=e["size"])
                        if "lfs" in e:
                            s["lfs"] = {
                                "sha256": e["lfs"]["oid"],
                                "size": e["lfs"]["size"],
                                "pointerSize": e["lfs"]["pointerSize"],
                            }
                    o["siblings"].append(s)
            if T("securityStatus"):
                o["securityRepoStatus"] = {
                    "scansDone": True,
                    "filesWithIssues": [{"path": k, "level": v} for k, v in sec.items() if v != "safe"],
                }
            return self.send(200, o)
        self.send(404, {"error": "Not Found"})

    def blobfile(self, S, f, key, h):
        self.blobdata(S, open(f, "rb").read(), key, h)

    def blobdata(self, S, data, key, h):
        if S.get("tamper", {}).get(key) == "flip":
            data = data[:-1] + bytes([data[-1] ^ 1])
        rg = self.headers.get("Range")
        if BUSY.get(self.path, 0) < S.get("busy", 0):
            BUSY[self.path] = BUSY.get(self.path, 0) + 1
            return self.send(503, b"busy", "text/plain", Retry_After="0")
        cut = S.get("cut", {}).get(key)
        if cut and not rg:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:cut])
            self.wfile.flush()
            LOG.write(f"{self.command} {self.path} -> cut\n")
            self.close_connection = True
            return None
        if rg:
            a, b = rg.split("=")[1].split("-")
            a = int(a)
            b = int(b) if b else len(data) - 1
            part = data[a : b + 1]
            return self.send(
                206,
                part,
                "application/octet-stream",
                **dict(h, Content_Range=f"bytes {a}-{b}/{len(data)}", Accept_Ranges="bytes"),
            )
        self.send(200, data, "application/octet-stream", **dict(h, Accept_Ranges="bytes"))


ThreadingHTTPServer(("127.0.0.1", PORT), H).serve_forever()
