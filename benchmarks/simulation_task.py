"""The task of simulation.py: MNIST, of which each of 100 clients has the same number of images."""

from __future__ import annotations

from dataclasses import dataclass

from hansa.fedtasks.errors import OptionError
from hansa.fedtasks.mnist import Mnist


@dataclass(frozen=True, kw_only=True)
class Some(Mnist):
    """The first ``samples`` images of each of 100 clients' 600."""

    parts: int = 100
    samples: int = 60

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.samples <= 60_000 // self.parts:
            raise OptionError(f"task.samples={self.samples}: there are 1 to {60_000 // self.parts} a client.")

    def data(self, client):
        whole = super().data(client)
        return whole._replace(train=type(whole.train)(*(part[: self.samples] for part in whole.train.tensors)))
