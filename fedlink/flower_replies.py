"""What a device's reply to a message of Flower's must be, before an app sees it.

A ServerApp takes what it gets: an array that cannot be read, or a message with neither content nor error, would end its
run. So all that is known of a reply beforehand is checked here.
"""

from __future__ import annotations

import io
import math

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import Error, Message
from flwr.common.constant import SType

from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.texts import one_line

LONGEST = 2**50
"""Seconds from or to which no message is good."""


def checked(reply: Message, to: Message, client: str, node: int) -> Message:
    """Return a reply that ``client``, as which ``node`` it may speak, gave to a message; raises MalformedMessage.

    Of an error only one printable line stays.
    """
    sent, came = to.metadata, reply.metadata
    if (came.reply_to_message_id, came.dst_node_id) != (sent.message_id, sent.src_node_id):
        raise MalformedMessage("the reply is to another message: install the same hansa on both sides.")
    told = (came.src_node_id, came.run_id, came.message_type, came.group_id)
    if told != (node, sent.run_id, sent.message_type, sent.group_id):
        raise MalformedMessage(f"the reply is not one of {client!r}: its certificate says who it is.")
    if not all(math.isfinite(value) and 0 <= value < LONGEST for value in (came.created_at, came.ttl)):
        raise MalformedMessage(f"the reply of {client!r} is from no time: it was forged.")
    if reply.has_error() == reply.has_content():
        raise MalformedMessage(f"the reply of {client!r} must have a content or an error, and one of them only.")
    if reply.has_error():
        reply.error = Error(code=reply.error.code, reason=one_line(reply.error.reason or "no reason given"))
    else:
        _check_arrays(reply, _kinds(to), client)
    return reply


def _kinds(message: Message) -> set[str]:
    """Return how the arrays of a message are serialised."""
    return {array.stype for record in message.content.array_records.values() for array in record.values()}


def _check_arrays(reply: Message, kinds: set[str], client: str) -> None:
    for name, record in reply.content.array_records.items():
        for key, array in record.items():
            if not (_numbers(array) if array.stype == SType.NUMPY else array.stype in kinds):
                raise MalformedMessage(f"array {one_line(f'{name}/{key}', 80)!r} of {client!r} cannot be read.")


def _numbers(array: FlowerArray) -> bool:
    """Whether NumPy's loader will find what the array says of itself: numbers of this type and shape, and no more."""
    raw = io.BytesIO(array.data)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = read[np.lib.format.read_magic(raw)](raw)
        size = math.prod(shape) * dtype.itemsize
    except Exception:  # noqa: BLE001 - NumPy's reader of headers raises what the forged bytes lead it to
        return False
    told = (tuple(array.shape), array.dtype)
    return dtype.kind in "biufc" and told == (shape, dtype.name) and len(array.data) == raw.tell() + size
