"""What a federation learns: a model, a loss, metrics, and the data of each client by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from hansa.fedtasks.examples import Examples
from hansa.fedtasks.metrics import Accuracy, Metric
from hansa.fedtasks.queries import Query


class Data(NamedTuple):
    """One client's data; ``test`` is what the client is evaluated on, and never trained on."""

    train: Examples
    test: Examples | None = None


class Task(ABC):
    """A task of one's own says its clients, its model, and how to read the data of one client.

    All else has a default. A frozen dataclass makes its fields options of the configuration (``task.depth=3``).
    ``metrics``, ``queries``, ``private`` and ``frozen`` may also be properties, where they depend on options.

    >>> class Sign(Task):
    ...     def clients(self): return ("north", "south")
    ...     def model(self): return nn.Linear(1, 2)
    ...     def data(self, client): return Data(train=TensorDataset(torch.ones(4, 1), torch.ones(4).long()))
    """

    metrics: ClassVar[tuple[Metric, ...]] = (Accuracy(),)
    queries: ClassVar[tuple[Query, ...]] = ()
    """Federated statistics that are asked for before round 1."""
    private: ClassVar[tuple[str, ...]] = ()
    """Patterns (fnmatch) of names in ``state_dict`` that are trained but never leave the client."""
    site: ClassVar[tuple[str, ...]] = ()
    """Names of options that are each place's own, such as where its data lie; no run can set them. All options of type
    Path are, and ``data_dir``."""
    frozen: ClassVar[tuple[str, ...]] = ()
    """Patterns of names in ``state_dict`` that nobody trains or sends."""
    train: ClassVar[Callable[..., float | None] | None] = None
    """A training loop of one's own, in place of Hansa's:

    ``def train(self, model: nn.Module, data: Examples, settings: Any, rng: np.random.Generator) -> float | None``

    It trains ``model`` in place on the client's training data, with any optimiser and loop, and returns the mean loss
    or None. ``settings`` is the group ``client`` of the configuration (``lr``, ``epochs``, ``batch_size``, ...). All
    randomness comes from ``rng``, or from torch, which is seeded before; then the same seed gives the same model.
    """

    @abstractmethod
    def clients(self) -> Sequence[str]:
        """Return the names of the clients in a simulation, sorted; `names(n)` where they are made up."""

    @abstractmethod
    def model(self) -> nn.Module:
        """Build a fresh model; torch is seeded before. Reads no data."""

    @abstractmethod
    def data(self, client: str) -> Data:
        """Read the data of one client and of no other; raises UnknownClient and DataError."""

    def server_data(self) -> Examples | None:
        """Read what the coordinator evaluates on, if it has data."""
        return None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch: outputs (N, C), targets (N,) of int64; a scalar that has a gradient."""
        return functional.cross_entropy(outputs, targets)
