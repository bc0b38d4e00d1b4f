"""Strict reading of IDX files, in which MNIST and its relatives are distributed.

A file is the bytes 0, 0, type, dimensions; then each dimension's size as a big-endian uint32; then the values in
C order. Only type 8, unsigned bytes, is read. The files may be gzipped.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hansa.fedtasks.errors import DataError

UBYTE = 8
AGAIN = "fetch the file again."


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a plain or gzipped (``.gz``) IDX file with that many dimensions; raises DataError."""
    raw = _bytes(path)
    if len(raw) < 4 or raw[:2] != b"\0\0":
        raise DataError(path, f"begins with {raw[:4].hex(' ') or 'nothing'}, not as an IDX file: {AGAIN}")
    if raw[2:4] != bytes([UBYTE, dimensions]):
        found, due = f"type {raw[2]} in {raw[3]} dimensions", f"bytes (type {UBYTE}) in {dimensions}"
        raise DataError(path, f"holds {found} where {due} are due: check that the files are not mixed up.")
    start = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(raw[4:start], ">u4", len(raw[4:start]) // 4))
    if len(shape) < dimensions or len(raw) != start + math.prod(shape):
        raise DataError(path, f"has {len(raw)} bytes where {_due(shape, dimensions)}: {AGAIN}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _due(shape: tuple[int, ...], dimensions: int) -> str:
    start = 4 + 4 * dimensions
    if len(shape) < dimensions:
        return f"the header alone takes {start}"
    return f"its header says {start} + {' x '.join(map(str, shape))}"


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(path, f"is no whole gzip file ({error}): {AGAIN}") from error
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror}): check the path and its permissions.") from error
