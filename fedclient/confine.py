"""The owner's limits as the system holds a process to them: memory and processor time, on Linux."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hansa.fedclient.errors import BeyondLimits, StageFailed, stage
from hansa.fedclient.outside import text_of

try:
    import resource
except ImportError:  # a system without such limits
    resource = None  # type: ignore[assignment]


def no_core() -> None:
    """Let this process leave no image of its memory, in which the data are, on the disk when it dies."""
    _limit("RLIMIT_CORE", 0)


def confine(limits: Mapping[str, Any]) -> None:
    """Hold this process to the owner's memory, and to the processor time of one request from now on."""
    if resource is not None and (seconds := limits.get("cpu")) is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit("RLIMIT_CPU", math.ceil(used.ru_utime + used.ru_stime) + seconds)
    if (memory := limits.get("memory")) is not None:
        _limit("RLIMIT_DATA", memory)


def exceeded(code: int) -> bool:
    """Whether a process that ended with this code had used up its processor time: another one would, too."""
    return code == -getattr(signal, "SIGXCPU", 0) != 0


def check_size(limits: Mapping[str, Any], size: int) -> None:
    """Raise BeyondLimits where an answer is longer than the owner lets one be."""
    if size > (most := limits.get("body", size)):
        raise BeyondLimits(f"the answer has {size:,} bytes", "body", most)


@contextmanager
def named(limits: Mapping[str, Any]) -> Iterator[None]:
    """Say of work inside that failed for want of memory that it is the owner's limit. Raises StageFailed."""
    try:
        yield
    except StageFailed as failed:
        if (most := limits.get("memory")) is None or not _for_memory(failed.__cause__):
            raise
        with stage(failed.stage):
            raise BeyondLimits("it needs more memory", "memory", most) from failed


def _for_memory(error: BaseException | None) -> bool:
    """Whether the system gave no more memory, as Python and NumPy say, or torch."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in text_of(error)
    )


def _limit(name: str, value: int) -> None:
    """Lower a limit of the system as far as it lets this process."""
    if (kind := getattr(resource, name, None)) is not None:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
