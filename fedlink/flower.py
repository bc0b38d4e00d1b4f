"""Hansa's messages as Flower messages; all private contacts with flwr 1.41 are in this file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.messages import Call, Failure, Reply
from hansa.strategies.types import Array, Tree

RAW = "hansa.raw"
"""The serialisation of an array: its entries, little-endian, in C order; nothing that could be executed."""
TYPES = ("float32", "uint16", "uint32", "int64")
VERSION = 1


def call_messages(calls: Mapping[int, Call], seconds: float | None) -> list[Message]:
    """Wrap calls for nodes; they are void after ``seconds``. Calls of one payload share its bytes."""
    shared: dict[int, ArrayRecord] = {}
    return [_call_message(call, node, seconds, shared) for node, call in calls.items()]


def _call_message(call: Call, node: int, seconds: float | None, shared: dict[int, ArrayRecord]) -> Message:
    head = {
        "run": call.run,
        "round": call.round,
        "request": call.request,
        "digest": call.digest,
        "counted": list(call.counted or ()),
    }
    if id(call.payload) not in shared:
        shared[id(call.payload)] = _arrays(call.payload)
    content = RecordDict({"hansa": _head(head), "payload": shared[id(call.payload)]})
    if call.fitted is not None:
        content["fitted"] = _arrays({"fitted": call.fitted})
    return Message(content, dst_node_id=node, message_type=call.endpoint, ttl=seconds)


def read_call(message: Message) -> Call:
    """Unwrap a call; raises MalformedMessage."""
    head, content = _read_head(message), message.content
    counted = _get(head, "counted", list)
    return Call(
        endpoint=message.metadata.message_type,
        run=_get(head, "run", str),
        round=_get(head, "round", int),
        request=_get(head, "request", int),
        digest=_get(head, "digest", str),
        counted=(int(counted[0]), int(counted[1])) if len(counted) == 2 else None,
        payload=_tree(content, "payload"),
        fitted=_tree(content, "fitted")["fitted"] if "fitted" in content else None,
    )


def reply_message(reply: Reply, to: Message) -> Message:
    """Wrap a reply to a message."""
    head = {
        "client": reply.client,
        "run": reply.run,
        "round": reply.round,
        "request": reply.request,
        "digest": reply.digest,
        "staged": reply.staged,
    }
    if reply.failure is not None:
        head |= {"stage": reply.failure.stage, "kind": reply.failure.kind, "text": reply.failure.text}
    if reply.settings is not None:
        head["settings"] = json.dumps(dict(reply.settings))
    content = RecordDict({"hansa": _head(head)})
    if reply.row is not None:
        content["row"] = _arrays({"row": reply.row})
    return Message(content, reply_to=to)


def read_reply(message: Message) -> Reply:
    """Unwrap a reply; raises MalformedMessage. An error of Flower's becomes a failure in stage ``link``."""
    head, content = _read_head(message), message.content
    failure = None
    if "stage" in head:
        failure = Failure(stage=_get(head, "stage", str), kind=_get(head, "kind", str), text=_get(head, "text", str))
    return Reply(
        client=_get(head, "client", str),
        endpoint=message.metadata.message_type,
        run=_get(head, "run", str),
        round=_get(head, "round", int),
        request=_get(head, "request", int),
        digest=_get(head, "digest", str),
        staged=_get(head, "staged", bool),
        row=_tree(content, "row").get("row") if "row" in content else None,
        failure=failure,
        settings=_settings(head),
    )


def write_tree(state: RecordDict, name: str, tree: Tree | None) -> None:
    """Put arrays into a node's state under a name, or take them out."""
    state.pop(name, None)
    if tree is not None:
        state[name] = _arrays(tree)


def read_tree(state: RecordDict, name: str) -> dict[str, Array] | None:
    """Return what ``write_tree`` put there, or None."""
    return _tree(state, name) if name in state else None


def _head(fields: dict[str, Any]) -> ConfigRecord:
    return ConfigRecord({"version": VERSION, **fields})


def _read_head(message: Message) -> ConfigRecord:
    if message.has_error():
        raise MalformedMessage(f"Flower's error {message.error.code}: {message.error.reason or 'no reason given'}")
    head = message.content.config_records.get("hansa")
    if head is None or head.get("version") != VERSION:
        raise MalformedMessage(
            "the message is not Hansa's, or of another version: install the same hansa on both sides."
        )
    return head


def _get(head: ConfigRecord, field: str, kind: type) -> Any:
    value = head.get(field)
    if type(value) is not kind:
        raise MalformedMessage(f"the message's {field} is {value!r}, not a {kind.__name__}: install the same hansa.")
    return value


def _settings(head: ConfigRecord) -> dict[str, str] | None:
    if "settings" not in head:
        return None
    try:
        return {str(name): str(value) for name, value in dict(json.loads(_get(head, "settings", str))).items()}
    except (ValueError, TypeError) as error:
        raise MalformedMessage(f"the message's settings cannot be read ({error}): install the same hansa.") from None


def _arrays(tree: Tree) -> ArrayRecord:
    return ArrayRecord({name: _pack(array) for name, array in tree.items()})


def _pack(array: Array) -> FlowerArray:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return FlowerArray(dtype=array.dtype.name, shape=tuple(array.shape), stype=RAW, data=little.tobytes())


def _tree(content: RecordDict, name: str) -> dict[str, Array]:
    record = content.array_records.get(name)
    if record is None:
        raise MalformedMessage(f"the message has no arrays {name!r}: install the same hansa on both sides.")
    return {str(key): _unpack(str(key), value) for key, value in record.items()}


def _unpack(name: str, array: FlowerArray) -> Array:
    """View the bytes as an array; nothing is copied and nothing but numbers can come out."""
    if array.stype != RAW or array.dtype not in TYPES:
        raise MalformedMessage(
            f"array {name!r} is {array.stype}/{array.dtype}: Hansa sends {RAW} of {', '.join(TYPES)}."
        )
    dtype = np.dtype(array.dtype).newbyteorder("<")
    if any(side < 0 for side in array.shape) or len(array.data) != dtype.itemsize * int(
        np.prod(array.shape, dtype=object)
    ):
        raise MalformedMessage(
            f"array {name!r} of shape {array.shape} has {len(array.data)} bytes: it was cut or forged."
        )
    return np.frombuffer(array.data, dtype).reshape(array.shape)
