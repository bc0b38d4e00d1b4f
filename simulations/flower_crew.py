"""What a worker does with a Flower app's messages: it is the nodes that they are for."""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from flwr.app import Context
from flwr.clientapp import ClientApp

from hansa.fedlink.flower import app_error, from_bytes, read_state, state_bytes, to_bytes
from hansa.simulations.flower_app import Value
from hansa.simulations.sheet import Sheet
from hansa.strategies.keys import derive


class Letter(NamedTuple):
    """A message without its records, where these lie in the shared sheet, and the message that its node had before."""

    name: str
    head: bytes
    records: list[str]
    before: str | None


@dataclass(frozen=True, kw_only=True)
class Post:
    """Messages by node: each item is one node's, in order."""

    nodes: Sequence[int]
    letters: Sequence[Sequence[Letter]]

    def told(self, item: int) -> str:
        return f"partition {self.nodes[item]}"


@dataclass
class FlowerCrew:
    """A ``Crew`` of all nodes of an app; node i is partition i.

    A node's state after a message is a file in ``folder``, so that a message which is answered once more, because a
    worker died, finds the state that it found before.
    """

    app: ClientApp
    config: dict[str, Value]
    nodes: int
    folder: Path
    seed: int

    def start(self, job: Post, shared: Sequence[Sheet], own: Sheet) -> None:
        self.job, self.sheet = job, shared[0]

    def do(self, item: int) -> list[tuple[str, bytes]]:
        return [(letter.name, self._answer(letter, self.job.nodes[item])) for letter in self.job.letters[item]]

    def finish(self) -> None:
        """Nothing: all replies are told."""

    def _answer(self, letter: Letter, node: int) -> bytes:
        """Answer one message; what the app raises becomes Flower's own error, and its traceback is shown."""
        message = from_bytes(b"".join([letter.head, *(self.sheet.array(place).data for place in letter.records)]))
        before = state_file(self.folder, letter.before).read_bytes() if letter.before else b""
        context = Context(
            run_id=message.metadata.run_id,
            node_id=message.metadata.dst_node_id,
            node_config={"partition-id": node, "num-partitions": self.nodes},
            state=read_state(before),
            run_config=dict(self.config),
        )
        seed_all(derive(b"hansa flower app", self.seed, letter.name))
        try:
            reply, after = self.app(message, context), state_bytes(context.state)
        except Exception as error:  # noqa: BLE001 - an app may raise anything
            traceback.print_exception(error, file=sys.stderr)
            reply, after = app_error(message, error), before
        state_file(self.folder, letter.name).write_bytes(after)
        return to_bytes(reply)


def state_file(folder: Path, message: str) -> Path:
    """Return where a node's state lies as it was after a message."""
    return folder / f"{message}.state"


def seed_all(key: bytes) -> None:
    """Seed what apps draw from without being told: random, numpy and torch."""
    number = int.from_bytes(key[:8], "little") >> 1
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - the global state is what third-party code uses
    if torch.cuda.is_available():
        torch.manual_seed(number)
    else:  # it would walk through the stack once for each kind of device that is not there
        torch.default_generator.manual_seed(number)
