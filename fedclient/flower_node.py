"""Flower's own messages at a device: they go to the ClientApp that was approved there.

The app is the ``file.py:name`` of the invitation. Its context is as on Flower's own nodes: ``run_config`` are the run's
settings, ``node_config`` the place's (``hansa join ... node.data_dir=/data``), and ``state`` is kept on disk by run.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import yaml
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from hansa.fedclient.approval import check
from hansa.fedclient.confine import check_size, named
from hansa.fedclient.errors import NotApproved, StageFailed, stage
from hansa.fedclient.greeting import failure_of
from hansa.fedclient.shelf import FLOWER, shelf_of
from hansa.fedclient.spool import lay
from hansa.fedlink.files import make_folder
from hansa.fedlink.flower import error_reply, from_bytes, read_state, state_bytes, to_bytes

Order: TypeAlias = Mapping[str, Any]
"""As in ``fedclient.worker``."""
Load: TypeAlias = Callable[[Path], ModuleType]


def answer(raw: bytes, order: Order, load: Load) -> tuple[bytes, str]:
    """Answer a message, and say what went wrong in the app; the answer tells as Flower's own error what may leave.

    ``load`` imports a file. Raises MalformedMessage.
    """
    message, limits = from_bytes(raw), order.get("limits", {})
    try:
        with stage("approval"):
            check(order["task"])
            app = _app(load, **order["task"])
        with named(limits), stage(message.metadata.message_type):
            reply = to_bytes(_answer(app, message, order))
            check_size(limits, len(reply))
            return reply, ""
    except StageFailed as error:
        failure = failure_of(error, limits.get("share_errors", False))
        return to_bytes(error_reply(message, str(failure))), str(failure_of(error, share=True))


def _answer(app: ClientApp, message: Message, order: Order) -> Message:
    kept = Path(order["state"]) / FLOWER / str(message.metadata.run_id)
    context = Context(
        run_id=message.metadata.run_id,
        node_id=message.metadata.dst_node_id,
        node_config=values(order["node"]),
        state=read_state(kept.read_bytes()) if kept.exists() else RecordDict(),
        run_config=values(order["run"]),
    )
    reply = app(message, context)
    state = state_bytes(context.state)
    shelf_of(order).sweep(kept.name, time.time(), len(state))
    make_folder(kept.parent)
    lay(kept, state)
    return reply


@functools.lru_cache(1)
def _app(load: Load, file: str = "", sha256: str = "", **named: str) -> ClientApp:
    """Return the approved app; its hash is among the arguments so that another file is another app."""
    found = getattr(load(Path(file)), named["class"], None) if file else None
    if not isinstance(found, ClientApp):
        what = f"{named['class']} of {Path(file).name} is no ClientApp" if file else f"task {named['name']} is Hansa's"
        raise NotApproved(f"the run is a Flower ServerApp's and {what}: join with an invitation to such an app")
    return found


def values(words: list[str]) -> dict[str, bool | float | int | str]:
    """Read settings as Flower's configurations have them.

    >>> values(["lr=0.1", "rounds=3", "dir=/data", "fast=true"])
    {'lr': 0.1, 'rounds': 3, 'dir': '/data', 'fast': True}
    """
    return {name: _value(text) for name, _, text in (word.partition("=") for word in words)}


def _value(text: str) -> bool | float | int | str:
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return read if isinstance(read, (bool, float, int)) else text
