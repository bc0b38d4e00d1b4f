"""Folders that last as long as a process works with them; those of a process that died are removed by the next one."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hansa.simulations.errors import ScratchError

LOCK = ".hansa.lock"
"""The file in such a folder that its process holds locked. The system lets go of it when the process dies."""


def memory() -> Path:
    """Return a folder of a file system in memory, where there is one."""
    return Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())


@contextmanager
def scratch(parent: Path, name: str = "", kind: str = "hansa") -> Iterator[Path]:
    """Make a folder ``KIND-NAME`` that only its user may enter, and remove it in the end.

    Before that, folders of this kind are removed whose processes are dead. Raises ScratchError.
    """
    folder = parent / f"{kind}-{name or secrets.token_hex(4)}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for old in parent.glob(f"{kind}-*"):
            _sweep(old)
        lock = _made(folder)
    except OSError as error:
        raise ScratchError(f"cannot make {folder}: {error.strerror}: free some space, or mend its folder.") from None
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _made(folder: Path) -> int:
    """Make a folder and lock it; where the file system has no locks it has no lock file, and is never swept."""
    while True:
        folder.mkdir(mode=0o700)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            (folder / LOCK).unlink()
            return lock
        if os.fstat(lock).st_nlink:
            return lock
        os.close(lock)  # another process swept it before it was locked


def _sweep(folder: Path) -> None:
    """Remove a folder if it is this user's and nobody has it locked."""
    with suppress(OSError):
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_uid == os.geteuid():
                _remove(folder)
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last: what is left half removed, the next one removes."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
