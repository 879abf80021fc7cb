"""A TUF repository by the Python implementation, as a mirror would have it: a root with a successor, and one
target. Usage: tuf_copy.py DIR TARGET_FILE [expired] [newer]; newer makes DIR-newer too, as it is later on."""

import os
import shutil
import sys
from datetime import datetime, timedelta, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

directory, source = sys.argv[1:3]
lasts = timedelta(days=-1 if "expired" in sys.argv else 30)
expires = (datetime.now(timezone.utc) + lasts).replace(microsecond=0)
later = (datetime.now(timezone.utc) + timedelta(days=30)).replace(microsecond=0)
os.makedirs(f"{directory}/targets")
old, new, online = (CryptoSigner.generate_ecdsa() for _ in range(3))

name = "trusted_root.json"
target = TargetFile.from_file(name, source, ["sha256"])
shutil.copy(source, f"{directory}/targets/{target.hashes['sha256']}.{name}")
targets = Targets(expires=later)
targets.targets[name] = target
snapshot = Snapshot(expires=later, meta={"targets.json": MetaFile(1)})
timestamp = Timestamp(expires=expires, snapshot_meta=MetaFile(1))

root = Root(expires=later, consistent_snapshot=True)
root.add_key(old.public_key, "root")
for role in ("timestamp", "snapshot", "targets"):
    root.add_key(online.public_key, role)


def write(path, signed, *signers):
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    metadata.to_file(f"{directory}/{path}")


write("1.root.json", root, old)
root.version = 2
root.add_key(new.public_key, "root")
root.revoke_key(old.public_key.keyid, "root")
# By who was trusted, and by who is.
write("2.root.json", root, old, new)
write("timestamp.json", timestamp, online)
write("1.snapshot.json", snapshot, online)
write("1.targets.json", targets, online)
if "newer" in sys.argv:
    shutil.copytree(directory, f"{directory}-newer")
    directory += "-newer"
    timestamp.version = 2
    write("timestamp.json", timestamp, online)
