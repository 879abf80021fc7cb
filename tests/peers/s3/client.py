"""AWS's own client: python3 client.py ENDPOINT BUCKET, with one command a line on standard input.

put KEY FILE        stores a file
sum KEY FILE        the same with its SHA-256, which the store keeps
tree PREFIX DIR     stores every file of a directory
delete KEY
create              makes the bucket
version             turns versions on
"""

import base64
import hashlib
import os
import sys

import botocore.config
import botocore.session

endpoint, bucket = sys.argv[1:]
client = botocore.session.get_session().create_client(
    "s3",
    endpoint_url=endpoint,
    region_name="us-east-1",
    aws_access_key_id="tester",
    aws_secret_access_key="tester-secret",
    config=botocore.config.Config(
        s3={"addressing_style": "path"}, request_checksum_calculation="when_required"
    ),
)


def put(key, path, **more):
    with open(path, "rb") as file:
        client.put_object(Bucket=bucket, Key=key, Body=file.read(), **more)


for line in sys.stdin:
    command, *arguments = line.rstrip("\n").split("\t")
    if command == "put":
        put(*arguments)
    elif command == "sum":
        content = open(arguments[1], "rb").read()
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        put(*arguments, ChecksumSHA256=digest)
    elif command == "tree":
        prefix, root = arguments
        for directory, _, names in os.walk(root):
            for name in names:
                path = os.path.join(directory, name)
                put(prefix + os.path.relpath(path, root), path)
    elif command == "delete":
        client.delete_object(Bucket=bucket, Key=arguments[0])
    elif command == "create":
        client.create_bucket(Bucket=bucket)
    elif command == "version":
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    else:
        sys.exit(f"unknown command {command}")
