"""Checks objects of a custom kind by the schema of its definition, as an API server that is strict does.

usage: crd.py DEFINITION.yaml MANIFEST.yaml
"""

import json
import sys

import jsonschema
import yaml


def strict(schema):
    """What the schema does not name is refused, unless it says that it is kept."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
    return out


definition = yaml.safe_load(open(sys.argv[1]))["spec"]
for document in yaml.safe_load_all(open(sys.argv[2])):
    group, version = document["apiVersion"].split("/")
    if (group, document["kind"]) != (definition["group"], definition["names"]["kind"]):
        sys.exit(f"{group} {document['kind']} is not what the definition defines")
    [served] = [one for one in definition["versions"] if one["name"] == version and one["served"]]
    schema = strict(served["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.Draft202012Validator(schema).validate(document)
    print(json.dumps(document))
