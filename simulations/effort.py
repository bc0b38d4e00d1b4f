"""What a request costs a client: bytes, examples and operations, from the work that it really is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hansa.fedclient.errors import StageFailed
from hansa.fedclient.nudge import followed
from hansa.fedclient.torch_work import TorchWork
from hansa.fedlink.messages import Call
from hansa.simulations.devices import Load
from hansa.simulations.devices.compute import EVALUATION, QUERY, TRAINING
from hansa.strategies import Endpoint, Plan
from hansa.strategies.strategy import keeper
from hansa.strategies.work import PLAIN, Cost, Costed

KINDS = {"train": Cost(trainings=(PLAIN,)), "evaluate": Cost(evaluations=1), "query": Cost(queries=1)}
"""What is asked of a client by an endpoint's first word, where its work does not say."""


@dataclass
class Effort:
    """A request costs what its work says (`Cost`): examples of a training by its plan, forwards and backwards, and the
    training or test data of each pass without gradients. A contrast of representations needs two more passes forwards.

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
        if self.endpoints[call.endpoint].keep:
            self._kept = {key for key in self._kept if key[0] == call.round}
            self._kept.add((call.round, keeper(self.endpoints, call.endpoint), client))

    def _work(self, end: Endpoint, call: Call, client: str) -> tuple[int, float]:
        if end.keep and (call.round, keeper(self.endpoints, call.endpoint), client) in self._kept:
            return 0, 0.0
        work, kind = end.work, call.endpoint.partition(".")[0]
        cost = work.cost(call.payload) if isinstance(work, Costed) else KINDS[kind]
        train, test = self._examples(client)
        parts = [(self._seen(plan, train), TRAINING + 2 * EVALUATION * bool(plan.contrast)) for plan in cost.trainings]
        parts += [(cost.losses * train + cost.evaluations * test, EVALUATION), (cost.queries * train, QUERY)]
        examples = sum(count for count, _ in parts)
        return examples, self._parameters * sum(count * each for count, each in parts) / max(examples, 1)

    def _seen(self, plan: Plan, train: int) -> int:
        """Return how many examples a training takes, each as often as it is taken."""
        local = followed(self.work.settings, plan)
        if not (local.steps and train):
            return local.epochs * train
        size = min(local.batch_size or train, train)
        whole, rest = divmod(local.steps, -(-train // size))
        return whole * train + rest * size

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
