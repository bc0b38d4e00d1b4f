"""Certificates that are no longer accepted: a file with a line of JSON for each, asked by serial.

{"serial": "3f09...", "name": "bergen", "when": "2026-11-25 18:00 UTC"}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hansa.fedlink.certificates import SERIAL, day
from hansa.fedlink.errors import RevocationError
from hansa.fedlink.files import checked, locked, read, replace

LARGEST = 2**26
"""Bytes of a list: 500,000 certificates."""
KINDS: dict[str, tuple[type, ...]] = {"serial": (str,), "name": (str,), "when": (str,)}


@dataclass(kw_only=True)
class RevocationList:
    """The serials in a file, which is read again when it has changed. A list that cannot be read lets nobody in."""

    path: Path
    _seen: tuple[int, ...] = ()
    _serials: frozenset[int] = field(default=frozenset(), repr=False)

    def revoked(self, serial: int) -> bool:
        """Whether a certificate is no longer accepted; raises RevocationError."""
        return serial in self.serials()

    def serials(self) -> frozenset[int]:
        """Return the serials that are no longer accepted; raises RevocationError."""
        try:
            now = self.path.stat()
        except OSError as error:
            raise RevocationError(
                f"cannot read {self.path}: {error.strerror}: restore the list, nobody is let in until then."
            ) from None
        seen = (now.st_ino, now.st_size, now.st_mtime_ns)
        if seen != self._seen:
            self._serials, self._seen = frozenset(_read(self.path)), seen
        return self._serials


def revoke(path: Path, serials: Iterable[int], name: str, now: float) -> None:
    """Add a client's serials to a list that is there; raises RevocationError or FileError."""
    with locked(path):
        known = _read(path)
        lines = [
            json.dumps({"serial": f"{serial:x}", "name": name, "when": day(now)}, ensure_ascii=False) + "\n"
            for serial in sorted(set(serials) - known)
        ]
        before = read(path, LARGEST, RevocationError)
        replace(path, before + (b"" if before[-1:] in (b"", b"\n") else b"\n") + "".join(lines).encode())


def _read(path: Path) -> set[int]:
    content = read(path, LARGEST, RevocationError)
    return {_serial(line, f"{path}, line {number}") for number, line in enumerate(content.splitlines(), 1) if line}


def _serial(line: bytes, where: str) -> int:
    try:
        serial = checked(json.loads(line), where, KINDS, RevocationError)["serial"]
        if SERIAL.fullmatch(serial.lower()):
            return int(serial, 16)
        raise ValueError(serial)
    except (ValueError, RecursionError):
        raise RevocationError(
            f"{where} is no line of a revocation list: mend it; until then nobody is let in."
        ) from None
