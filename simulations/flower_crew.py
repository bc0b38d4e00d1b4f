"""What a worker does with a Flower app's messages: it is the nodes that they are for."""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from hansa.fedlink.flower import app_error, from_bytes, read_state, state_bytes, to_bytes
from hansa.simulations.flower_app import Value
from hansa.simulations.sheet import Sheet
from hansa.strategies.keys import derive


@dataclass(frozen=True, kw_only=True)
class Post:
    """Messages by node: each item is one node's messages, in order, by their names in the shared sheet."""

    nodes: Sequence[int]
    messages: Sequence[Sequence[str]]

    def told(self, item: int) -> str:
        return f"partition {self.nodes[item]}"


@dataclass
class FlowerCrew:
    """A ``Crew`` of all nodes of an app; node i is partition i. Their states are files in ``folder``."""

    app: ClientApp
    config: dict[str, Value]
    nodes: int
    folder: Path
    seed: int
    replies: list[tuple[str, bytes]] = field(default_factory=list)

    def start(self, job: Post, shared: Sequence[Sheet], own: Sheet) -> None:
        self.job, self.sheet, self.replies = job, shared[0], []

    def do(self, item: int) -> None:
        for name in self.job.messages[item]:
            message = from_bytes(self.sheet.array(name).tobytes())
            self.replies.append((name, to_bytes(self._answer(message, self.job.nodes[item], name))))

    def finish(self) -> list[tuple[str, bytes]]:
        return self.replies

    def _answer(self, message: Message, node: int, name: str) -> Message:
        """Answer one message; what the app raises becomes Flower's own error, and its traceback is shown."""
        kept = self.folder / f"{node}.state"
        context = Context(
            run_id=message.metadata.run_id,
            node_id=message.metadata.dst_node_id,
            node_config={"partition-id": node, "num-partitions": self.nodes},
            state=read_state(kept.read_bytes()) if kept.exists() else RecordDict(),
            run_config=dict(self.config),
        )
        seed_all(derive(b"hansa flower app", self.seed, name))
        try:
            reply = self.app(message, context)
        except Exception as error:  # noqa: BLE001 - an app may raise anything
            traceback.print_exception(error, file=sys.stderr)
            return app_error(message, error)
        if context.state or kept.exists():
            fresh = kept.with_suffix(".new")
            fresh.write_bytes(state_bytes(context.state))
            fresh.replace(kept)
        return reply


def seed_all(key: bytes) -> None:
    """Seed what apps draw from without being told: random, numpy and torch."""
    number = int.from_bytes(key[:8], "little") >> 1
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - the global state is what third-party code uses
    torch.manual_seed(number)
