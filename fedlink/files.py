"""Small files: replaced as a whole, secret from their first byte, read within bounds, locked between processes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from hansa.fedlink.errors import FileError
from hansa.fedlink.texts import one_line, plain

SECRET, PUBLIC = 0o600, 0o644
LARGEST = 2**53
"""The largest number in a file."""
PIECE = 2**20
"""Bytes that are read at once: memory for as much as is allowed would be asked for whatever is there."""
LONGEST = 2**12
"""Bytes of a text in a file that is one line."""
VERSION = 1
"""The version that every file of Hansa's in JSON says it is of."""


def replace(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Write a file so that at any time either the old or the new one is there; raises FileError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET if secret else PUBLIC), "wb"
        ) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}: free some space, or mend its folder.") from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def read(path: Path, most: int, kind: type[FileError] = FileError) -> bytes:
    """Read a file of at most so many bytes; raises the kind of FileError."""
    try:
        with path.open("rb") as file:
            content = b"".join(itertools.islice(iter(lambda: file.read(PIECE), b""), most // PIECE + 1))
    except OSError as error:
        raise kind(f"cannot read {path}: {error.strerror}: name another file, or mend this one.") from None
    if len(content) > most:
        raise kind(f"{path} has more than {most:,} bytes: that is not a file of Hansa's; name the right one.")
    return content


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, where there is none; raises FileError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {path}: {error.strerror}: choose another place.") from None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes and threads that ask for the same lock waiting; raises FileError."""
    import fcntl  # only coordinators lock, and they run where it is; devices run elsewhere too

    lock = path.with_name(f".{path.name}.lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SECRET)
    except OSError as error:
        raise FileError(f"cannot lock {path}: {error.strerror}: mend its folder.") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def parse(
    content: bytes, where: object, kinds: Mapping[str, tuple[type, ...]], kind: type[FileError]
) -> dict[str, Any]:
    """Read a JSON object of this version and these fields; raises the kind of FileError, and never shows a value."""
    try:
        value = json.loads(content.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise kind(f"{where} is no JSON text: it was cut or altered; restore it, or ask for a new one.") from None
    version = value.get("version") if isinstance(value, dict) else None
    if isinstance(version, int) and version != VERSION:
        told = f"{where} is of version {str(version)[:20]}, this Hansa reads {VERSION}"
        raise kind(f"{told}: install the hansa that wrote it.")
    return checked(value, where, kinds, kind)


def checked(
    value: object, where: object, kinds: Mapping[str, tuple[type, ...]], kind: type[FileError]
) -> dict[str, Any]:
    """Return an object whose fields have these types; raises the kind of FileError."""
    if not isinstance(value, dict):
        raise kind(f"{where} is not an object of fields: it was altered; restore it, or ask for a new one.")
    if odd := sorted(kinds.keys() ^ value.keys()):
        told = "lacks" if odd[0] in kinds else "has the unknown field"
        raise kind(f"{where} {told} {odd[0][:40]!r}: it is of another version of Hansa, or was altered.")
    for name, types in kinds.items():
        if type(value[name]) not in types or not _sound(value[name]):
            names = " or ".join("null" if t is type(None) else t.__name__ for t in types)
            raise kind(
                f"{where}: {one_line(name, 40)} must be {names}: it was altered; restore it, or ask for a new one."
            )
    return value


def demand_readable(texts: Iterable[object], where: object, kind: type[FileError]) -> None:
    """Raise the kind of FileError where any of these is no text, or none that a person can be shown."""
    if not all(isinstance(text, str) and plain(text, LONGEST) for text in texts):
        raise kind(f"{where} has a text that cannot be read: it was altered; restore it, or ask for a new one.")


def _sound(value: object) -> bool:
    """Whether a number is of a size that means something, and a text can be written as UTF-8."""
    if isinstance(value, int | float):
        return abs(value) <= LARGEST
    return not isinstance(value, str) or value.encode(errors="ignore").decode() == value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _sync(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened, and need not be
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
