"""What a device keeps of the requests that it has not finished, so that nothing is lost when it is switched off.

A request has a folder, named by a hash of its id:

    about.json   its id, and the size and SHA-256 of its body; written first
    head, body   what is to be done; the body grows while it comes in
    reply.body   the answer, written by the worker
    reply.head   the SHA-256 of that, and the answer's head; written last: where it is, the answer is complete

Nothing is forced to the disk at once. What a power failure leaves half done is told by its hash, and done again. A
body that came over one connection is not hashed: TLS has vouched for each of its bytes, in their order.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hansa.fedlink.errors import FileError, LinkError
from hansa.fedlink.files import checked, make_folder
from hansa.fedlink.protocol import Answer, Held
from hansa.fedlink.protocol.limits import check_body, check_id

MOST = 64
"""Requests that are kept; the protocol allows no more."""
ABOUT: dict[str, tuple[type, ...]] = {"id": (str,), "size": (int,), "sha256": (str,)}
HASH = 32
"""Bytes of a SHA-256."""
LEFT = 2**26
"""Bytes of the disk that are left for all else, such as a state and a renewed certificate."""


@dataclass(kw_only=True)
class Spool:
    """The folders of all requests of one device. Methods raise OSError or FileError where the disk is full."""

    root: Path
    _unbroken: set[str] = field(default_factory=set)
    """Requests whose body came, or comes, over the present connection from its first byte on."""
    _due: dict[str, int] = field(default_factory=dict)
    """Bytes of bodies that were begun and are still to come."""

    def held(self) -> list[Held]:
        """Read what an earlier process left; what cannot be read is thrown away."""
        make_folder(self.root)
        try:
            folders = sorted(self.root.iterdir())
        except OSError as error:
            raise FileError(f"cannot read {self.root}: {error.strerror}: mend it, or move it away.") from None
        found = [held for folder in folders if (held := self._held(folder)) is not None]
        return found[:MOST]

    def start(self, request_id: str, size: int, sha256: bytes) -> None:
        """Begin a request anew; a body of so many bytes will come in."""
        self.drop(request_id)
        if shutil.disk_usage(self.root).free < sum(self._due.values()) + size + LEFT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        folder = self.folder(request_id)
        make_folder(folder)
        lay(folder / "about.json", json.dumps({"id": request_id, "size": size, "sha256": sha256.hex()}).encode())
        (folder / "body").touch()
        self._unbroken.add(request_id)
        self._due[request_id] = size

    def store(self, request_id: str, offset: int, data: bytes | memoryview) -> None:
        """Write the next piece of a body."""
        with (self.folder(request_id) / "body").open("r+b") as body:
            body.seek(offset)
            body.write(data)
        if request_id in self._due:
            self._due[request_id] -= len(data)

    def torn(self) -> None:
        """The connection is gone."""
        self._unbroken.clear()

    def whole(self, request_id: str, sha256: bytes) -> bool:
        """Whether a body of which all bytes are here is the one that was announced."""
        return request_id in self._unbroken or _sha256(self.folder(request_id) / "body") == sha256

    def order(self, request_id: str, head: bytes) -> Path:
        """Lay a request out for the worker; return its folder."""
        folder = self.folder(request_id)
        if not (folder / "about.json").exists():
            self.start(request_id, 0, b"")
        lay(folder / "head", head)
        (folder / "reply.head").unlink(missing_ok=True)
        return folder

    def answer(self, request_id: str) -> Answer:
        """Return the complete answer of a request; raises OSError where there is none."""
        return _answer(self.folder(request_id))

    def pieces(self, request_id: str, offset: int, longest: int) -> Iterator[tuple[int, bytes]]:
        """Yield an answer's body from an offset on, each piece with where it belongs."""
        with (self.folder(request_id) / "reply.body").open("rb") as body:
            body.seek(offset)
            while piece := body.read(longest):
                yield offset, piece
                offset += len(piece)

    def drop(self, request_id: str) -> None:
        """Forget all of a request."""
        self._unbroken.discard(request_id)
        self._due.pop(request_id, None)
        shutil.rmtree(self.folder(request_id), ignore_errors=True)

    def folder(self, request_id: str) -> Path:
        return self.root / hashlib.sha256(request_id.encode()).hexdigest()[:32]

    def _held(self, folder: Path) -> Held | None:
        try:
            about = checked(json.loads((folder / "about.json").read_bytes()), folder, ABOUT, FileError)
            request_id, size, sha256 = check_id(about["id"]), about["size"], bytes.fromhex(about["sha256"])
            check_body(size, sha256, 2**64)
            stored = (folder / "body").stat().st_size
            answer = _answer(folder) if (folder / "reply.head").exists() else None
            if answer is not None and answer.size and _sha256(folder / "reply.body") != answer.sha256:
                raise ValueError(request_id)
        except (OSError, ValueError, RecursionError, LinkError):
            shutil.rmtree(folder, ignore_errors=True)
            return None
        return Held(request_id=request_id, size=size, sha256=sha256, stored=stored, answer=answer)


def lay(path: Path, content: bytes) -> None:
    """Write a small file as a whole."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(content)
    fresh.replace(path)


def _answer(folder: Path) -> Answer:
    size, raw = (folder / "reply.body").stat().st_size, (folder / "reply.head").read_bytes()
    return Answer(head=raw[HASH:], size=size, sha256=raw[:HASH] if size else b"")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
