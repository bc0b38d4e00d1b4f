"""What a request costs a client: bytes, examples and operations, from the work that it really is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hansa.fedclient.errors import StageFailed
from hansa.fedclient.torch_work import TorchWork
from hansa.fedlink.messages import Call
from hansa.simulations.devices import Load
from hansa.simulations.devices.compute import EVALUATION, QUERY, TRAINING
from hansa.strategies import Endpoint
from hansa.strategies.losses import Measuring


@dataclass
class Effort:
    """Training takes its passes, evaluation the test data, and a query one pass over the training data; where that
    asks for losses, with the model.

    A task's own training loop is taken to make as many passes as ``client.epochs`` or ``client.steps`` say. Work that a
    client has done in this round and kept costs nothing when another request needs it.
    """

    work: TorchWork
    endpoints: Mapping[str, Endpoint]
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _kept: set[tuple[int, str, str]] = field(default_factory=set)

    def of(self, call: Call, client: str) -> Load:
        """Return what a call costs a client."""
        end, fitted = self.endpoints[call.endpoint], 0 if call.fitted is None else call.fitted.nbytes
        down = fitted + sum(array.nbytes for array in call.payload.values())
        spec = end.pipeline.wire
        return Load((down, spec.dim * spec.dtype.itemsize), self._work(end, call, client))

    def did(self, call: Call, client: str) -> None:
        """Note that a client has done a call's work."""
        if (end := self.endpoints[call.endpoint]).keep:
            self._kept = {key for key in self._kept if key[0] == call.round}
            self._kept.add((call.round, type(end.work).__name__, client))

    def _work(self, end: Endpoint, call: Call, client: str) -> tuple[int, float]:
        if end.keep and (call.round, type(end.work).__name__, client) in self._kept:
            return 0, 0.0
        train, test = self._examples(client)
        kind = call.endpoint.partition(".")[0]
        if kind == "evaluate":
            return test, EVALUATION * self._parameters
        if isinstance(end.work, Measuring):
            return train, EVALUATION * self._parameters
        if kind == "query":
            return train, QUERY * self._parameters
        local = self.work.settings
        seen = local.steps * min(local.batch_size or train, train) if local.steps else local.epochs * train
        return seen, TRAINING * self._parameters

    @property
    def _parameters(self) -> float:
        return float(self.work.layout.size("shared") + self.work.layout.size("private"))

    def _examples(self, client: str) -> tuple[int, int]:
        """Return how many training and test examples a client has; none where its data cannot be read."""
        if client not in self._sizes:
            try:
                data = self.work.data(client)
                self._sizes[client] = len(data.train), 0 if data.test is None else len(data.test)
            except StageFailed:  # the client will say so itself
                self._sizes[client] = 0, 0
        return self._sizes[client]
