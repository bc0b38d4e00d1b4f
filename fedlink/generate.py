"""Makes link_pb2.py, link_pb2.pyi and link_pb2_grpc.py from link.proto: ``python fedlink/generate.py``.

What is checked in was made with grpcio-tools 1.81.1 (protobuf 6.33.5). The generated code refuses older versions of
grpcio and protobuf, so the lower bounds of pyproject.toml name these two; it runs with newer ones, up to protobuf 7.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROTO = HERE / "link.proto"
HASH = HERE / "link.proto.sha256.txt"
"""Holds the hash of the link.proto that the code was made from, for where no protoc is at hand."""
NAME = "hansa/fedlink/link.proto"
"""As protoc sees it, so that the code imports hansa.fedlink and the descriptor has a name of its own."""


def protoc(*flags: str) -> None:
    """Run protoc on link.proto; raises CalledProcessError where it refuses, with the reason on standard error."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-Ihansa/fedlink={HERE}", *flags, NAME]
    subprocess.run(command, check=True)


def digest() -> str:
    """Return the SHA-256 of link.proto in hexadecimal."""
    return hashlib.sha256(PROTO.read_bytes()).hexdigest()


def main() -> None:
    with tempfile.TemporaryDirectory() as out:
        protoc(*(f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")))
        for path in (Path(out) / NAME).parent.iterdir():
            (HERE / path.name).write_bytes(path.read_bytes())
    HASH.write_text(f"{digest()}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
