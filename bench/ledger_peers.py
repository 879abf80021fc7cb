"""The ledger beside Tessera, the tlog-tiles library in Go: appending on a local disk, and checking a
whole log from its entries. For `bench/peers`."""

import base64
import hashlib
import os
import shutil
import subprocess

TESSERA = "github.com/transparency-dev/tessera/cmd/"
VERSION = "v1.0.4"
ORIGIN = "bench.example"


def install(root):
    """Builds Tessera's commands; without Go or network they are missing."""
    tools = root / "target/tools/bin"
    found = {}
    for name, package in {"posix-oneshot": "examples/posix-oneshot", "fsck": "fsck"}.items():
        program = tools / f"tessera-{name}"
        if not program.exists() and shutil.which("go"):
            environment = {**os.environ, "GOBIN": str(tools / "go")}
            install = ["go", "install", f"{TESSERA}{package}@{VERSION}"]
            if subprocess.run(install, env=environment, cwd=root, check=False).returncode == 0:
                (tools / "go" / name).rename(program)
        found[name] = program if program.exists() else None
    return found


def note_keys(openssl):
    """A new Ed25519 key as signed notes write it: to sign with, and to verify with."""
    private = subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-outform", "DER"],
                             capture_output=True, check=True).stdout
    public = subprocess.run([openssl, "pkey", "-inform", "DER", "-pubout", "-outform", "DER"],
                            input=private, capture_output=True, check=True).stdout
    signer, verifier = (b"\x01" + key[-32:] for key in (private, public))
    identity = hashlib.sha256(f"{ORIGIN}\n".encode() + verifier).digest()[:4].hex()
    key = lambda bytes: f"{ORIGIN}+{identity}+{base64.b64encode(bytes).decode()}"
    return "PRIVATE+KEY+" + key(signer), key(verifier)


def comparisons(root, directory, weighbridge, openssl, scale, ours, peer, comparison):
    """`ours` and `peer` make commands, `comparison` compares them."""
    tessera = install(root)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)

    def ledger(place):
        place.mkdir()
        run = lambda *arguments: subprocess.run([weighbridge, *arguments], cwd=place, check=True,
                                                stdout=subprocess.PIPE, text=True).stdout
        run("init", "--quiet", "--no-passphrase")
        run("ledger", "--quiet", "init")
        return run

    # 10,000 entries of 1 KiB, a file each.
    files = directory / "entries"
    files.mkdir()
    entries = [files / f"{number:05}" for number in range(10_000 // scale)]
    for number, entry in enumerate(entries):
        entry.write_bytes(f"{number:05}".encode() * 204)
    empty = directory / "empty"
    ledger(empty)

    def begin():
        for name in ("ours", "peer"):
            shutil.rmtree(directory / name, ignore_errors=True)
        shutil.copytree(empty, directory / "ours")

    add_all = ["append", "--opaque", *entries]
    signer, _ = note_keys(openssl)
    key = directory / "signer"
    key.write_text(signer)
    add = ["-logtostderr=false", f"-log_dir={directory}", f"-storage_dir={directory}/peer",
           f"-private_key={key}", f"-entries={files}/*"]
    appended = [
        ours("ledger", "--quiet", *add_all, directory=directory / "ours", before=begin),
        peer("tessera posix-oneshot", tessera["posix-oneshot"], *add, before=begin),
    ]

    # A log of 200,000 small entries that we wrote: both check it.
    checked = directory / "checked"
    run = ledger(checked)
    lines = directory / "lines"
    with open(lines, "w") as file:  # line by line: what this script holds, its children are charged for
        for number in range(200_000 // scale):
            file.write(f"{number:010} {'.' * 200}\n")
    with open(os.devnull, "w") as nowhere:
        append = [weighbridge, "ledger", "append", "--opaque", "--lines", lines]
        subprocess.run(append, cwd=checked, check=True, stdout=nowhere)
    policy = run("ledger", "policy")
    key = directory / "verifier"
    key.write_text(next(line for line in policy.splitlines() if line.startswith("log "))[4:])
    check = [f"-storage_url=file://{checked}/ledger/", f"-public_key={key}", "-ui=false",
             f"-N={len(os.sched_getaffinity(0))}", "-logtostderr=false", f"-log_dir={directory}"]
    fsck = ["fsck", "--copy", "--no-blobs"]
    return [
        comparison(f"ledger, append {len(entries):,}", appended),
        comparison(f"ledger, fsck of {200_000 // scale:,}", [
            ours("ledger", "--quiet", *fsck, directory=checked),
            peer("tessera fsck", tessera["fsck"], *check),
        ]),
    ]
