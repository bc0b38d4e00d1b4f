"""An asynchronous federation: clients are at work across rounds, and nobody waits for the slowest.

A round is a buffer of answers (FedBuff: Nguyen et al. 2022, "Federated learning with buffered asynchronous
aggregation", arXiv:2106.06639, algorithm 1): as soon as a client is done another one begins, from the model as it is
then, and as soon as ``buffer`` answers are in, the model moves. With ``buffer=1`` it moves at each answer (FedAsync:
Xie et al. 2019, "Asynchronous federated optimization", arXiv:1903.03934). An answer to a model that is t rounds old is
multiplied by

    polynomial:  s(t) = (1 + max(t - fresh, 0))^-decay          FedAsync's with fresh = 0; FedBuff's with decay = 0.5
    hinge:       s(t) = 1 / (1 + decay max(t - fresh, 0))       FedAsync's

in the channels that fade. It is not divided by the sum of these: an answer that is alone in its buffer is damped too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.fedserver.errors import ServerError
from hansa.fedserver.policy import Policy
from hansa.strategies import Endpoint
from hansa.strategies.strategy import trains

STEEPEST = 20.0
"""The largest decay: with more, the factor of an answer that is old would be 0 in float64."""


@dataclass(frozen=True, kw_only=True)
class Asynchronous(Policy):
    """Who is at work, and when the model moves.

    ``size`` clients are at work at any time (empty: everyone); ``buffer`` answers move the model, or at least ``min``
    where no more come, and never more than ``max``. Each client is in a buffer once at most, so that its influence is
    bounded. One that is not done ``deadline`` seconds after it began is given up (empty: however long it takes).
    """

    buffer: int = 10
    staleness: str = "polynomial"
    decay: float = 0.5
    fresh: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.min <= self.buffer <= self.max:
            raise ServerError(
                f"cohort: min={self.min}, buffer={self.buffer}, max={self.max}: needs 1 <= min <= buffer <= max."
            )
        if self.size is not None and self.size < 1:
            raise ServerError(f"cohort.size={self.size}: at least 1 client is at work, or empty for everyone.")
        if self.staleness not in ("polynomial", "hinge"):
            raise ServerError(f"cohort.staleness={self.staleness}: it is polynomial or hinge.")
        if not 0 <= self.decay <= STEEPEST:
            raise ServerError(f"cohort.decay={self.decay}: it is from 0, which damps nothing, to {STEEPEST:g}.")
        if self.fresh < 0:
            raise ServerError(f"cohort.fresh={self.fresh}: it is a number of rounds, and 0 at least.")

    @property
    def planned(self) -> int:
        return self.buffer

    @property
    def needed(self) -> int:
        return max(self.buffer, self.size or 1)

    def expected(self, names: int) -> int:
        """Return the divisor of a round, whoever is at work."""
        return self.buffer

    def fade(self, staleness: int) -> float:
        """Return the factor of an answer to a model that is so many rounds old.

        >>> Asynchronous(decay=0.5).fade(3)
        0.5
        >>> Asynchronous(staleness="hinge", decay=10.0, fresh=4).fade(5)
        0.09090909090909091
        """
        old = max(staleness - self.fresh, 0)
        return float((1 + old) ** -self.decay) if self.staleness == "polynomial" else 1 / (1 + self.decay * old)


def unbuffered(endpoints: Mapping[str, Endpoint], decay: float) -> str:
    """Say why answers to different rounds make no total of a strategy's endpoints; empty where they do."""
    asked = [end for name, end in endpoints.items() if not name.startswith("evaluate.")]
    trained = [end for name, end in endpoints.items() if trains(name)]
    channels = [channel for end in trained for channel in end.pipeline.row.channels]
    if len(trained) != 1 or len(asked) != 1 or trained[0].keep:
        why = "a round of this strategy takes several requests, all of one model"
    elif asked[0].aggregator.groups == 0:
        why = "the rule of this strategy compares the answers to one model with each other"
    elif not any(channel.fades for channel in channels):
        why = "no channel of this strategy fades, so that an old answer would count like a new one"
    elif asked[0].pipeline.wire.domain != "real" and decay:
        return "cohort=asynchronous: integers cannot fade: leave pipeline=quantised out, or set cohort.decay=0."
    else:
        return ""
    return f"cohort=asynchronous: {why}: choose another strategy, or cohort=everyone."
