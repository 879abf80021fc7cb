"""Pushes a manifest of any kind to a registry: python3 push.py HOST REPOSITORY TAG SPECIFICATION.json

{"mediaType": …, "artifactType": …, "config": {"mediaType": …, "content": {…}},
 "layers": [{"file": PATH | "tar": [PATHS] , "compression": "gzip" | "zstd", "mediaType": …, "annotations": {…}, "more": {…}}]}

Archives are made by GNU tar, gzip and zstd.
"""

import hashlib
import json
import subprocess
import sys
import urllib.request

host, repository, tag, specification = sys.argv[1:]
base = f"http://{host}/v2/{repository}"


def put(url, body, kind):
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": kind})
    return urllib.request.urlopen(request)


def blob(content):
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    begin = urllib.request.Request(f"{base}/blobs/uploads/", data=b"", method="POST")
    place = urllib.request.urlopen(begin).headers["Location"]
    place = place if place.startswith("http") else f"http://{host}{place}"
    put(place + ("&" if "?" in place else "?") + "digest=" + digest, content, "application/octet-stream")
    return {"digest": digest, "size": len(content)}


def content(layer):
    if "file" in layer:
        return open(layer["file"], "rb").read()
    command = ["tar", "-c", "--format", layer.get("format", "gnu"), *layer["tar"]]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    program = layer.get("compression")
    if program is None:
        return archive
    return subprocess.run([program, "-c"], input=archive, check=True, capture_output=True).stdout


wanted = json.load(open(specification))
config = wanted.get("config", {"mediaType": "application/vnd.oci.empty.v1+json", "content": {}})
manifest = {
    "schemaVersion": 2,
    "mediaType": wanted.get("mediaType", "application/vnd.oci.image.manifest.v1+json"),
    "config": {"mediaType": config["mediaType"], **blob(json.dumps(config["content"]).encode())},
    "layers": [],
}
for name in ("artifactType", "annotations"):
    if name in wanted:
        manifest[name] = wanted[name]
for layer in wanted["layers"]:
    descriptor = {"mediaType": layer["mediaType"], **blob(content(layer)), **layer.get("more", {})}
    if "annotations" in layer:
        descriptor["annotations"] = layer["annotations"]
    manifest["layers"].append(descriptor)
body = json.dumps(manifest).encode()
put(f"{base}/manifests/{tag}", body, manifest["mediaType"])
print("sha256:" + hashlib.sha256(body).hexdigest())
