"""How fast devices compute.

An example costs a model of P parameters about 2 P operations forwards and 4 P backwards, a multiplication and an
addition counting as two (Kaplan et al. 2020, arXiv:2001.08361, section 2.1). That is right for dense layers; a
convolution uses each parameter more often. So with ``operations`` a second a device trains operations / (6 P) examples
a second, and evaluates three times as many.
"""

from __future__ import annotations

from dataclasses import dataclass

from hansa.simulations.devices.check import demand
from hansa.simulations.devices.luck import Luck

TRAINING, EVALUATION, QUERY = 6, 2, 0
"""Operations for each example and parameter."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Speed: log-normal over clients, and for each client over its requests.

    The median device does ``operations`` a second; ``spread`` is the standard deviation of the logarithm over clients,
    ``jitter`` that over one client's requests. Beside them ``start`` seconds pass before a request's first example, and
    ``overhead`` seconds with each one, whatever the model. Raises DeviceError.
    """

    operations: float = 1e10
    spread: float = 0.0
    jitter: float = 0.0
    start: float = 0.0
    overhead: float = 0.0

    def __post_init__(self) -> None:
        demand("compute.operations", self.operations, above=True)
        demand("compute.spread", self.spread, most=3)
        demand("compute.jitter", self.jitter, most=3)
        demand("compute.start", self.start)
        demand("compute.overhead", self.overhead)

    def seconds(self, luck: Luck, client: str, round: int, request: int, work: tuple[int, float]) -> float:
        """Return the seconds of some work: its examples, and the operations of each.

        >>> Compute(operations=100.0, start=2.0, overhead=0.5).seconds(Luck(b"key"), "riga", 1, 0, (10, 50.0))
        12.0
        """
        examples, each = work
        slow = luck.factor(self.spread, "compute", client)
        slow *= luck.factor(self.jitter, "compute now", client, round, request)
        return slow * (self.start + examples * (self.overhead + each / self.operations))
