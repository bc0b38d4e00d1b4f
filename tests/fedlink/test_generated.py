"""The generated code is that of link.proto, and runs with the versions that pyproject.toml allows."""

from __future__ import annotations

import importlib.util
import itertools
import re
import tomllib
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from packaging.requirements import Requirement
from packaging.version import Version

from hansa.fedlink import generate, link_pb2

ROOT = Path(__file__).parents[2]
REMEDY = "link.proto was edited: run `python fedlink/generate.py` with grpcio-tools of the version that it names."


def test_generated_code_is_that_of_link_proto():
    assert generate.HASH.read_text(encoding="utf-8").strip() == generate.digest(), REMEDY


@pytest.mark.skipif(importlib.util.find_spec("grpc_tools") is None, reason="grpcio-tools is not installed")
def test_embedded_descriptor_is_that_of_link_proto(tmp_path):
    out = tmp_path / "set"
    generate.protoc(f"--descriptor_set_out={out}")
    (compiled,) = FileDescriptorSet.FromString(out.read_bytes()).file
    embedded = type(compiled).FromString(link_pb2.DESCRIPTOR.serialized_pb)
    for file in (compiled, embedded):
        for message in file.message_type:
            for field in message.field:
                field.ClearField("json_name")
    assert compiled == embedded, REMEDY


def lower_bound(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (found,) = [r for r in map(Requirement, project["dependencies"]) if r.name == name]
    return next(s.version for s in found.specifier if s.operator == ">=")


def test_lower_bounds_are_no_older_than_the_versions_that_made_the_code():
    code = (ROOT / "fedlink" / "link_pb2.py").read_text(encoding="utf-8")
    assert re.search(r"^# Protobuf Python Version: (\S+)$", code, re.M)[1] == lower_bound("protobuf")
    stubs = (ROOT / "fedlink" / "link_pb2_grpc.py").read_text(encoding="utf-8")
    assert Version(re.search(r"GRPC_GENERATED_VERSION = '(.+)'", stubs)[1]) <= Version(lower_bound("grpcio"))


def test_every_message_and_field_is_documented():
    """Above or beside each message, code and field of link.proto stands a comment."""
    lines = generate.PROTO.read_text(encoding="utf-8").splitlines()
    thing = re.compile(r"  (repeated )?\w+ \w+ = \d+;|  [A-Z_]+ = \d+;|message |enum |  rpc ")
    bare = [line for above, line in itertools.pairwise(lines) if thing.match(line) and "//" not in above + line]
    assert not bare
