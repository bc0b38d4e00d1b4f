"""Hansa's messages as Flower messages; all private contacts with flwr 1.41 are in this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp.client_app import ClientAppException
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import (
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
)
from flwr.common.serde_utils import metadata_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.supercore.task_identity import TaskIdentity

from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.messages import Call, Failure, Reply, Tag, checked, shown
from hansa.fedlink.texts import one_line, plain
from hansa.strategies.types import Array, Tree

RAW = "hansa.raw"
"""The serialisation of an array: its entries, little-endian, in C order; nothing that could be executed."""
TYPES = ("float32", "uint16", "uint32", "int64")
VERSION = 1
SHOWN = 80
"""Characters of a wrong value that are shown."""
Parsed = TypeVar("Parsed")


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
        "fields": list(call.fields),
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
    call = Call(
        endpoint=message.metadata.message_type,
        run=_get(head, "run", str),
        round=_get(head, "round", int),
        request=_get(head, "request", int),
        digest=_get(head, "digest", str),
        counted=_counted(head),
        payload=_tree(content, "payload"),
        fitted=_single(content, "fitted"),
        fields=_words(head, "fields") if "fields" in head else (),
    )
    return checked(call)


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
    if reply.differs is not None:
        head["differs"] = list(reply.differs)
    content = RecordDict({"hansa": _head(head)})
    if isinstance(reply.row, np.ndarray):
        content["row"] = _arrays({"row": reply.row})
    return Message(content, reply_to=to)


def read_reply(message: Message) -> Reply:
    """Unwrap a reply; raises MalformedMessage. An error of Flower's becomes a failure in stage ``link``."""
    head, content = _read_head(message), message.content
    failure = None
    if "stage" in head:
        failure = Failure(stage=_get(head, "stage", str), kind=_get(head, "kind", str), text=_get(head, "text", str))
    reply = Reply(
        client=_get(head, "client", str),
        endpoint=message.metadata.message_type,
        run=_get(head, "run", str),
        round=_get(head, "round", int),
        request=_get(head, "request", int),
        digest=_get(head, "digest", str),
        staged=_get(head, "staged", bool),
        row=_single(content, "row"),
        failure=failure,
        differs=shown(_words(head, "differs")) if "differs" in head else None,
    )
    return checked(reply)


def stamp(message: Message, message_id: str) -> Message:
    """Give a message the id by which its reply is asked for; SuperLink does so at this point."""
    message.metadata.__dict__["_message_id"] = message_id
    return message


def to_bytes(message: Message) -> bytes:
    """Write any message of Flower's, whoever's app it is from."""
    raw: bytes = message_to_proto(message).SerializeToString()
    return raw


def head_bytes(message: Message) -> bytes:
    """Write a message without its records; with the bytes of each record behind it, it is the message."""
    proto = ProtoMessage(metadata=metadata_to_proto(message.metadata), content=ProtoRecordDict())
    raw: bytes = proto.SerializeToString()
    return raw


def record_bytes(name: str, record: ArrayRecord | MetricRecord | ConfigRecord) -> bytes:
    """Write one record of a message, which many messages may share."""
    raw: bytes = ProtoMessage(content=recorddict_to_proto(RecordDict({name: record}))).SerializeToString()
    return raw


def from_bytes(raw: bytes) -> Message:
    """Read what ``to_bytes`` wrote, or the parts of it; raises MalformedMessage. An error's reason becomes one line."""
    return _parsed(lambda: message_from_proto(_plain(ProtoMessage.FromString(raw))), "message")


def state_bytes(state: RecordDict) -> bytes:
    """Write a node's state."""
    raw: bytes = recorddict_to_proto(state).SerializeToString()
    return raw


def read_state(raw: bytes) -> RecordDict:
    """Read what ``state_bytes`` wrote; raises MalformedMessage."""
    return _parsed(lambda: recorddict_from_proto(ProtoRecordDict.FromString(raw)), "state")


def _parsed(parse: Callable[[], Parsed], what: str) -> Parsed:
    try:
        return parse()
    except Exception as error:  # noqa: BLE001 - Flower's reader checks little, so that anything may come out of it
        told = one_line(str(error), SHOWN)
        raise MalformedMessage(f"the bytes are no {what} of Flower's ({type(error).__name__}: {told}).") from None


def _plain(proto: ProtoMessage) -> ProtoMessage:
    """Make what a person is shown of a message harmless; its records are the app's. Raises ValueError."""
    said = proto.metadata
    if not all(map(plain, (said.message_id, said.reply_to_message_id, said.group_id, said.message_type))):
        raise ValueError("an id cannot be read")
    if proto.HasField("error"):
        proto.error.reason = one_line(proto.error.reason)
    return proto


def error_reply(to: Message, text: str) -> Message:
    """Say in Flower's way that a message has no answer, because its node is not there or cannot be understood."""
    return Message(Error(code=ErrorCode.NODE_UNAVAILABLE, reason=text), reply_to=to)


def app_error(to: Message, error: Exception) -> Message:
    """Say in Flower's way that a ClientApp raised an error, as Flower's own simulation words it."""
    raised = ClientAppException(str(error))
    return Message(
        Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=f"{type(raised)}:<'{raised}'>"), reply_to=to
    )


def become(run_id: int) -> None:
    """Be a ServerApp's process of a run: Flower's new messages say whose they are."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, run_id, SUPERLINK_NODE_ID


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
        reason = one_line(message.error.reason or "no reason given")
        raise MalformedMessage(f"Flower's error {message.error.code}: {reason}")
    head = message.content.config_records.get("hansa")
    if head is None or head.get("version") != VERSION:
        raise MalformedMessage(
            "the message is not Hansa's, or of another version: install the same hansa on both sides."
        )
    return head


def _get(head: ConfigRecord, field: str, kind: type) -> Any:
    value = head.get(field)
    if type(value) is not kind:
        told = one_line(repr(value), SHOWN)
        raise MalformedMessage(f"the message's {field} is {told}, not a {kind.__name__}: install the same hansa.")
    return value


def _counted(head: ConfigRecord) -> Tag | None:
    counted = _get(head, "counted", list)
    if not counted:
        return None
    if len(counted) != 2 or any(type(part) is not int for part in counted):
        raise MalformedMessage(
            f"the message's counted is {one_line(repr(counted), SHOWN)}, not a round and a request: install the same "
            "hansa on both sides."
        )
    return counted[0], counted[1]


def _words(head: ConfigRecord, field: str) -> tuple[str, ...]:
    words = _get(head, field, list)
    if any(type(word) is not str for word in words):
        raise MalformedMessage(f"the message's {field} are no words: install the same hansa.")
    return tuple(words)


def _arrays(tree: Tree) -> ArrayRecord:
    return ArrayRecord({name: _pack(name, array) for name, array in tree.items()})


def _pack(name: str, array: Array) -> FlowerArray:
    if array.dtype.name not in TYPES:
        raise MalformedMessage(
            f"array {name!r} is {array.dtype}: Hansa sends {', '.join(TYPES)}; convert it by astype."
        )
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return FlowerArray(dtype=array.dtype.name, shape=tuple(array.shape), stype=RAW, data=little.tobytes())


def _tree(content: RecordDict, name: str) -> dict[str, Array]:
    record = content.array_records.get(name)
    if record is None:
        raise MalformedMessage(f"the message has no arrays {name!r}: install the same hansa on both sides.")
    return {str(key): _unpack(str(key), value) for key, value in record.items()}


def _single(content: RecordDict, name: str) -> Array | None:
    """Return the array that may be there, in a record of its own name."""
    if name not in content:
        return None
    tree = _tree(content, name)
    if tree.keys() != {name}:
        raise MalformedMessage(f"the message's {name} is not one array: install the same hansa on both sides.")
    return tree[name]


def _unpack(name: str, array: FlowerArray) -> Array:
    """View the bytes as an array; nothing is copied and nothing but numbers can come out."""
    if array.stype != RAW or array.dtype not in TYPES:
        told = one_line(f"{array.stype}/{array.dtype}", SHOWN)
        raise MalformedMessage(f"array {one_line(name, SHOWN)!r} is {told}: Hansa sends {RAW} of {', '.join(TYPES)}.")
    dtype = np.dtype(array.dtype).newbyteorder("<")
    try:
        if any(side < 0 for side in array.shape):
            raise ValueError
        return np.frombuffer(array.data, dtype).reshape(array.shape)
    except (ValueError, OverflowError):
        told = one_line(str(array.shape), SHOWN)
        raise MalformedMessage(
            f"array {one_line(name, SHOWN)!r} of shape {told} has {len(array.data)} bytes: it was cut or forged."
        ) from None
