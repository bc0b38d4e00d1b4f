"""Calls and replies as the link carries them: a small head of JSON, and a body that is nothing but numbers.

A body holds arrays one after the other, each its entries, little-endian, in C order; the head says which. Nothing of
either could be executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.messages import Call, Failure, Reply, checked, shown
from hansa.strategies.types import Array, Row

VERSION = 1
FLOWER = json.dumps({"version": VERSION, "flower": True}).encode()
"""The head of a body that is a message of Flower's."""
TYPES = ("float32", "uint16", "uint32", "int64")
MOST_ARRAYS = 1000
MOST_AXES = 32
MOST_ENTRIES = 2**48
"""Of an array, were its empty axes 1 long: numpy multiplies the others even where there is nothing."""
Fields = Mapping[str, Any]

CALL: Mapping[str, tuple[type, ...]] = {
    "endpoint": (str,),
    "run": (str,),
    "round": (int,),
    "request": (int,),
    "digest": (str,),
    "counted": (list, type(None)),
    "payload": (list,),
    "fitted": (list, type(None)),
}
REPLY: Mapping[str, tuple[type, ...]] = {
    "client": (str,),
    "endpoint": (str,),
    "run": (str,),
    "round": (int,),
    "request": (int,),
    "digest": (str,),
    "staged": (bool,),
    "failure": (list, type(None)),
    "differs": (list, type(None)),
    "row": (list, type(None)),
}


@dataclass(frozen=True)
class Body:
    """Arrays that lie in memory somewhere else; nothing is copied."""

    arrays: tuple[Array, ...] = ()

    @property
    def size(self) -> int:
        """Return the length in bytes."""
        return sum(array.nbytes for array in self.arrays)

    def pieces(self, start: int, longest: int) -> Iterator[memoryview]:
        """Yield the bytes from ``start`` on in views of at most ``longest`` bytes, each from one array."""
        for array in self.arrays:
            raw = memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
            for at in range(start, len(raw), longest):
                yield raw[at : at + longest]
            start = max(0, start - len(raw))


def pack_call(call: Call) -> tuple[bytes, Body]:
    """Return a call's head and its body, which shares the payload's memory; raises MalformedMessage."""
    payload = {name: _little(name, array) for name, array in call.payload.items()}
    fitted = None if call.fitted is None else _little("fitted", call.fitted)
    head = {
        "endpoint": call.endpoint,
        "run": call.run,
        "round": call.round,
        "request": call.request,
        "digest": call.digest,
        "counted": call.counted,
        "payload": [_kind(name, array) for name, array in payload.items()],
        "fitted": None if fitted is None else _kind("fitted", fitted),
    }
    return _write(head), Body((*payload.values(), *(() if fitted is None else (fitted,))))


def read_call(head: bytes, body: bytes | memoryview) -> Call:
    """Read a call; its arrays are views of the body. Raises MalformedMessage."""
    fields = _read(head, CALL)
    kinds = [*fields["payload"], *([] if fields["fitted"] is None else [fields["fitted"]])]
    arrays = _cut(kinds, body)
    call = Call(
        endpoint=fields["endpoint"],
        run=fields["run"],
        round=fields["round"],
        request=fields["request"],
        digest=fields["digest"],
        counted=None if fields["counted"] is None else _tag(fields["counted"]),
        payload={kind[0]: array for kind, array in zip(fields["payload"], arrays, strict=False)},
        fitted=None if fields["fitted"] is None else arrays[-1],
    )
    if len(call.payload) != len(fields["payload"]):
        raise _odd("list of arrays")
    return checked(call)


def pack_reply(reply: Reply) -> tuple[bytes, Body]:
    """Return a reply's head and its body, the row."""
    row = _little("row", reply.row) if isinstance(reply.row, np.ndarray) else None
    failure = reply.failure
    head = {
        "client": reply.client,
        "endpoint": reply.endpoint,
        "run": reply.run,
        "round": reply.round,
        "request": reply.request,
        "digest": reply.digest,
        "staged": reply.staged,
        "failure": None if failure is None else [failure.stage, failure.kind, failure.text],
        "differs": reply.differs,
        "row": None if row is None else _kind("row", row),
    }
    return _write(head), Body(() if row is None else (row,))


def read_reply(head: bytes, size: int, row: Callable[[np.dtype[Any], int], Row]) -> Reply:
    """Read a reply whose body has ``size`` bytes; ``row`` opens it as so many entries of a type.

    Raises MalformedMessage.
    """
    fields = _read(head, REPLY)
    kind, differs, failure = fields["row"], fields["differs"], fields["failure"]
    if failure is not None and not (len(failure) == 3 and all(type(part) is str for part in failure)):
        raise _odd("failure")
    if differs is not None and not all(type(name) is str for name in differs):
        raise _odd("differs")
    dtype, shape = (np.dtype(np.float32), (0,)) if kind is None else _typed(kind)
    if math.prod(shape) * dtype.itemsize != size or len(shape) != 1:
        raise MalformedMessage(f"the body has {size} bytes, not those of the row in its head: it was cut or forged.")
    reply = Reply(
        client=fields["client"],
        endpoint=fields["endpoint"],
        run=fields["run"],
        round=fields["round"],
        request=fields["request"],
        digest=fields["digest"],
        staged=fields["staged"],
        failure=None if failure is None else Failure(stage=failure[0], kind=failure[1], text=failure[2]),
        differs=None if differs is None else shown(differs),
        row=None if kind is None else row(dtype, shape[0]),
    )
    return checked(reply)


def _write(fields: Fields) -> bytes:
    return json.dumps({"version": VERSION, **fields}, ensure_ascii=False, separators=(",", ":")).encode()


def _read(head: bytes, kinds: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    try:
        fields = json.loads(head)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or fields.get("version") != VERSION:
        raise MalformedMessage(
            "the message is not Hansa's, or of another version: install the same hansa on both sides."
        )
    for name, types in kinds.items():
        if name not in fields or type(fields[name]) not in types:
            raise _odd(name)
    return fields


def _odd(name: str) -> MalformedMessage:
    return MalformedMessage(f"the message's {name} is not what it should be: install the same hansa on both sides.")


def _tag(counted: list[Any]) -> tuple[int, int]:
    if len(counted) != 2 or any(type(part) is not int for part in counted):
        raise _odd("counted")
    return counted[0], counted[1]


def _little(name: str, array: Array) -> Array:
    if array.dtype.name not in TYPES:
        raise MalformedMessage(
            f"array {name!r} is {array.dtype}: Hansa sends {', '.join(TYPES)}; convert it by astype."
        )
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _kind(name: str, array: Array) -> list[Any]:
    return [name, array.dtype.name, list(array.shape)]


def _typed(kind: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    right = isinstance(kind, list) and len(kind) == 3 and isinstance(kind[0], str) and kind[1] in TYPES
    shape = kind[2] if right else None
    if not isinstance(shape, list) or len(shape) > MOST_AXES or any(type(n) is not int or not n >= 0 for n in shape):
        raise _odd("list of arrays")
    return np.dtype(kind[1]).newbyteorder("<"), tuple(shape)


def _cut(kinds: list[Any], body: bytes | memoryview) -> list[Array]:
    """Cut a body into the arrays that a head lists."""
    if len(kinds) > MOST_ARRAYS:
        raise _odd("list of arrays")
    arrays, start = [], 0
    for dtype, shape in map(_typed, kinds):
        size = math.prod(shape) * dtype.itemsize
        if start + size > len(body) or math.prod(filter(None, shape)) > MOST_ENTRIES:
            break
        arrays.append(np.frombuffer(body, dtype, math.prod(shape), start).reshape(shape))
        start += size
    if len(arrays) < len(kinds) or start != len(body):
        raise MalformedMessage(f"the body has {len(body)} bytes, not what its head lists: it was cut or forged.")
    return arrays
