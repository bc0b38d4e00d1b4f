"""An answer's body while it arrives at the coordinator: on disk, in a file without a name, and never in memory."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np

from hansa.strategies.types import Array


class Incoming:
    """Stores a body's chunks in their order, and hashes them on the way; raises OSError where the disk is full."""

    def __init__(self, folder: Path) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - lives as long as the row
        self.moved = 0
        """Bytes so far."""
        self._hash, self._one = hashlib.sha256(), threading.Lock()

    def store(self, offset: int, data: bytes | memoryview) -> None:
        """Add the next chunk. What is no longer wanted is dropped; what does not follow spoils the hash."""
        with self._one:
            if self.file.closed:
                return
            left = memoryview(data)
            while left:
                left = left[self.file.write(left) :]
            self._hash.update(data if offset == self.moved else b"out of order")
            self.moved += len(data)

    def close(self) -> None:
        """Throw away what was stored."""
        with self._one:
            self.file.close()

    def whole(self, sha256: bytes) -> bool:
        """Whether what was stored has this hash."""
        return self._hash.digest() == sha256


class DiskRow:
    """A ``strategies.types.Row`` that lies in a file: a slice of it is read when it is asked for."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any], size: int) -> None:
        self.file, self.dtype, self.shape = file, dtype, (size,)

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self.dtype.itemsize

    def __getitem__(self, where: slice, /) -> Array:
        start, stop, _ = where.indices(self.shape[0])
        self.file.seek(start * self.dtype.itemsize)
        return np.frombuffer(self.file.read((stop - start) * self.dtype.itemsize), self.dtype)
