"""Reads `cargo metadata --all-features` of the project from stdin. Prints the package's
rust-version; lists on stderr each normal or build dependency that declares a newer one, and then
ends with 1. Every platform counts."""

import json
import sys


def version(text):
    """1.89 and 1.89.0 are the same."""
    return tuple((list(map(int, text.split("."))) + [0, 0])[:3])


metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]
own = packages[root]["rust_version"]

seen, waiting = {root}, [root]
while waiting:
    for dependency in nodes[waiting.pop()]["deps"]:
        shipped = any(kind["kind"] in (None, "build") for kind in dependency["dep_kinds"])
        if shipped and dependency["pkg"] not in seen:
            seen.add(dependency["pkg"])
            waiting.append(dependency["pkg"])

dependencies = [packages[identifier] for identifier in seen - {root}]
declared = [package for package in dependencies if package["rust_version"]]
newer = [package for package in declared if version(package["rust_version"]) > version(own)]
for package in newer:
    name = f"{package['name']} {package['version']}"
    print(f"error: {name} needs Rust {package['rust_version']}, we declare {own}", file=sys.stderr)
print(
    f"{len(dependencies)} normal and build dependencies: {len(newer)} need more than Rust {own},"
    f" {len(dependencies) - len(declared)} declare nothing",
    file=sys.stderr,
)
print(own)
sys.exit(1 if newer else 0)
