#!/bin/sh
# Make etcd_pb2.py and etcd_pb2.pyi from etcd.proto.
#
# Run it with a Python that has requirements/codegen.txt installed (never the development venv, whose
# protobuf is newer): PYTHON=/path/to/venv/bin/python shared/etcd/proto/generate.sh
# The pinned protoc is an old one on purpose: its output runs on every protobuf from 5.29 on.
set -eu
cd "$(dirname "$0")/../../.."
python="${PYTHON:-python3}"
# protoc looks for its plug-in on PATH, so the venv's own programs come first.
PATH="$(dirname "$python"):$PATH"
export PATH
exec "$python" -m grpc_tools.protoc --proto_path=. --python_out=. --mypy_out=. shared/etcd/proto/etcd.proto
