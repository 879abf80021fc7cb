"""Verifying signatures beside model_signing: with a key, keyless, and a catalogue. For `bench/peers`."""

import os
import subprocess

CATALOGUE = 344
KEYLESS = "fixtures/vectors/oms"


def write(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.stat().st_size != size:
        path.write_bytes(os.urandom(size))


def comparisons(root, data, weighbridge, openssl, model_signing, ours, peer, Comparison):
    """Signs what is to be verified and says what is run on it."""
    key, public = data / "key.pem", data / "key.pub.pem"
    data.mkdir(parents=True, exist_ok=True)
    if not key.exists():
        curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        subprocess.run([openssl, "genpkey", *curve, "-out", key], check=True)
        key.chmod(0o600)
    subprocess.run([openssl, "pkey", "-in", key, "-pubout", "-out", public], check=True)

    tree, catalogue = data / "tree", data / "catalogue"
    for number in range(10):
        write(tree / f"shard-{number}.bin", 1_000_000)
    for number in range(CATALOGUE):
        for name in ("config.json", "weights.bin", "tokenizer.json"):
            write(catalogue / f"model-{number:03}" / name, 4096)
    sign = [weighbridge, "sign", "--quiet", "--key", key]
    subprocess.run([*sign, tree], check=True, cwd=data)
    subprocess.run([*sign, "--catalogue", catalogue], check=True, cwd=data)

    def key_verified(model):
        arguments = ["--signature", model / "model.sig", "--public_key", public, model]
        return peer("model_signing verify key", model_signing, "verify", "key", *arguments)

    vector = root / KEYLESS / "cases/upstream-python-scripts-tests/v1.1.0-sigstore"
    who = ["--identity", "stefanb@us.ibm.com"]
    who += ["--identity_provider", "https://sigstore.verify.ibm.com/oauth2"]
    who += ["--trust_config", root / KEYLESS / "sigstore-trust-config.json"]
    keyless = ["verify", "sigstore", "--signature", vector / "model.sig", *who, vector]
    verify = ["verify", "--quiet", "--key", public]
    return [
        Comparison("verify, key, 10 MB", [ours(*verify, tree, directory=data), key_verified(tree)]),
        Comparison(
            "verify, keyless",
            [ours("oms", *keyless, directory=data), peer("model_signing", model_signing, *keyless)],
        ),
        # The peer has one artifact, we have all.
        Comparison(
            f"verify, {CATALOGUE} artifacts",
            [
                ours(*verify, "--catalogue", catalogue, directory=data),
                key_verified(catalogue / "model-000"),
            ],
        ),
    ]


def bars(compared, ratio):
    """What, measured, relation, limit."""

    def wall(title):
        return 1000 * compared[title].commands[0].median("wall")

    title = f"verify, {CATALOGUE} artifacts"
    each = ratio(title, "cpu", above=1, below=0)
    return [
        ("verify, key, 10 files of 1 MB: wall, ms", wall("verify, key, 10 MB"), "<", 15),
        ("verify, keyless bundle: wall, ms", wall("verify, keyless"), "<", 40),
        (
            f"verify, {CATALOGUE} artifacts: model_signing's CPU for each / ours",
            each and each * CATALOGUE,
            ">=",
            50,
        ),
    ]
