#!/bin/sh
# Build the fixture that hub.py serves: models acme/tiny and acme/gated, dataset acme/data.
# usage: mk.sh ROOT [CDN_HOST:PORT]
# ROOT is created; an existing ROOT is replaced only if an earlier run of this script made it.
# Author, dates and file contents are fixed, so commit and blob ids are the same on every run.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 ROOT [CDN_HOST:PORT]" >&2; exit 2; }
if [ -e "$1" ]; then
    [ -f "$1/state.json" ] || { echo "$1 exists and is not a hub's root" >&2; exit 2; }
    rm -rf "$1"
fi
mkdir -p "$1/models/acme" "$1/datasets/acme" "$1/lfs" "$1/xet"
R=$(cd "$1" && pwd)
CDN=${2:-}
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=fixture GIT_AUTHOR_EMAIL=fixture@example.org GIT_AUTHOR_DATE=2026-01-01T00:00:00Z
export GIT_COMMITTER_NAME=fixture GIT_COMMITTER_EMAIL=fixture@example.org GIT_COMMITTER_DATE=2026-01-01T00:00:00Z

cd "$W"
git init -q -b main .
echo '{"architectures":["LlamaForCausalLM"]}' > config.json
echo '# tiny' > README.md
mkdir tok
echo '{"a":1}' > tok/tokenizer.json
printf '*.safetensors filter=lfs diff=lfs merge=lfs -text\n' > .gitattributes
for i in 1 2; do
    R="$R" I="$i" python3 - <<'P'
import hashlib, os, random

root, i = os.environ["R"], int(os.environ["I"])
random.seed(i)
data = bytes(random.getrandbits(8) for _ in range(300000))
digest = hashlib.sha256(data).hexdigest()
with open(f"{root}/lfs/{digest}", "wb") as f:
    f.write(data)
with open(f"model-0000{i}-of-00002.safetensors", "w") as f:
    f.write(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n")
P
done
# The pointers are committed as written: no LFS filter runs.
git -c filter.lfs.clean= -c filter.lfs.process= -c filter.lfs.required=false add -A
git commit -q -m init
git tag v1.0
git clone -q --bare . "$R/models/acme/tiny.git"
git --git-dir "$R/models/acme/tiny.git" config uploadpack.allowFilter true
git --git-dir "$R/models/acme/tiny.git" config uploadpack.allowAnySHA1InWant true
cp -r "$R/models/acme/tiny.git" "$R/models/acme/gated.git"
cp -r "$R/models/acme/tiny.git" "$R/datasets/acme/data.git"
cat > "$R/state.json" <<S
{"token": "hf_x", "cdn_host": "$CDN", "tamper": {},
 "repos": {"models/acme/gated": {"gated": "manual"}, "models/acme/tiny": {"security": {"config.json": "safe"}}}}
S
git rev-parse HEAD
