"""What a process gives back to the system: with chunks of a megabyte, glibc's malloc gives back and asks again all day.

Fresh memory has to be cleared by the kernel first. In rounds of 25 million parameters (benchmarks/fleet.py) that took
about a fifth of the coordinator's CPU, a third of an agent's and half of a worker's. Where the C library is another,
nothing is changed.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
CHUNKS = 8 * 2**20
"""Bytes at the end of a heap that stay: some chunks of the link."""
LARGEST = 32 * 2**20
"""The most that a heap may hold in one piece; what is larger is given back at once."""


def keep_chunks() -> None:
    """Let the heaps of this process keep what the chunks in flight need."""
    _set({M_TRIM_THRESHOLD: CHUNKS, M_MMAP_THRESHOLD: LARGEST})


def keep_all() -> None:
    """Let this process keep all that it ever had, however large."""
    _set({M_TRIM_THRESHOLD: 2**31 - 1, M_MMAP_MAX: 0})


def give_back() -> None:
    """Give back what this process once had and needs no more."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(CHUNKS)


def _set(options: dict[int, int]) -> None:
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        for option, value in options.items():
            mallopt(option, value)
