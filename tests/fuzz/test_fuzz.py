"""Whatever a peer sends ends in that peer's refusal: no other error, no hang, no memory, no odd text."""

from __future__ import annotations

import faulthandler
import math
import tracemalloc
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message

from hansa.fedlink.texts import plain
from tests.fuzz.amount import numbers
from tests.fuzz.decoders import DECODERS, Decoder

SOME = 20
"""Of so many inputs one is weighed, which takes longer than to read it."""
HANGS = 300
"""Seconds for so many inputs, after which the stack is shown and the process ended: they take less than one."""
MEMORY = 2**26
"""Bytes that reading one input may take at most; the largest has some megabytes."""
LONGEST = 2000
"""Characters of what is said of an error, which names a file of the machine's own."""
WORD = 2**16


def texts(value: Any, free: frozenset[str]) -> Iterator[str]:
    """All texts of a value that somebody may be shown; fails for a number that is none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, float):
        assert math.isfinite(value), value
    elif isinstance(value, int):
        assert abs(value) < 2**256, "a number without bound"
    elif isinstance(value, Mapping):
        yield from texts(list(value.items()), free)
    elif is_dataclass(value) and not isinstance(value, type | Enum):
        for field in fields(value):
            if field.name not in free:
                yield from texts(getattr(value, field.name), free)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from texts(part, free)
    else:
        assert (
            value is None
            or isinstance(value, bytes | memoryview | np.ndarray | Message | Path | Enum)
            or hasattr(value, "nbytes")
        ), type(value)


def judge(decoder: Decoder, raw: bytes, folder: Path) -> type | None:
    """Read one input; return what it was refused with, or None where it was taken."""
    try:
        value = decoder.read(raw, folder)
    except decoder.refuses as error:
        told = str(error)
        assert told.isprintable() and told and len(told) <= LONGEST, f"no line for a person: {told[:300]!a}"
        return type(error)
    for text in texts(value, decoder.free):
        assert plain(text, WORD), f"not harmless: {text[:300]!a}"
    return None


@pytest.fixture
def watched() -> Iterator[None]:
    yield
    tracemalloc.stop()
    faulthandler.cancel_dump_traceback_later()


def weighed(decoder: Decoder, raw: bytes, folder: Path) -> type | None:
    """Read one input, and fail where that takes much memory."""
    tracemalloc.start()
    how = judge(decoder, raw, folder)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < MEMORY, f"{taken} bytes of memory"
    return how


@pytest.mark.parametrize("name", DECODERS)
def test_any_input_is_read_or_refused_and_nothing_else(name, tmp_path, watched):
    decoder, ends = DECODERS[name], dict[type | None, int]()
    samples = decoder.samples(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of what they read; nothing of it is a peer's text
        for at, number in enumerate(numbers(decoder.every)):
            raw = decoder.mutate(Random(f"{name}/{number}"), samples)
            if at % SOME == 0:
                faulthandler.dump_traceback_later(HANGS, exit=True)
            try:
                how = (weighed if at % SOME == 0 else judge)(decoder, raw, tmp_path)
            except Exception as error:
                again = f"HANSA_FUZZ=@{number} python -m pytest tests/fuzz -k {name!r}"
                raise AssertionError(f"input {number}, again by {again}: {raw[:2000]!r}") from error
            ends[how] = ends.get(how, 0) + 1
    assert set(ends) - {None} or not decoder.refuses or len(numbers(decoder.every)) < 20, "nothing was refused"


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_not_mutated_is_taken(name, tmp_path):
    decoder = DECODERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ends = [judge(decoder, sample, tmp_path) for sample in decoder.samples(tmp_path)]
    assert None in ends


@pytest.mark.parametrize("name", DECODERS)
def test_an_input_is_the_same_for_its_number_for_ever(name, tmp_path):
    decoder = DECODERS[name]
    samples = decoder.samples(tmp_path)
    first, second = (decoder.mutate(Random(f"{name}/7"), samples) for _ in range(2))
    assert first == second
