"""What an algorithm's plan makes of local training: its settings, and what becomes of the gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from hansa.fedclient.settings import Local
from hansa.strategies import Plan
from hansa.strategies.types import Array

Cut = Callable[[Array], Mapping[str, Tensor]]
"""From a vector of shared parameters to tensors by name, as the trained ones are."""


def followed(local: Local, plan: Plan) -> Local:
    """Return the client's settings, with what a plan has in place of its own."""
    if (plan.epochs, plan.steps, plan.batch_size, plan.rate) == (None, None, None, 1.0):
        return local
    steps = plan.steps or (0 if plan.epochs else local.steps)
    size = local.batch_size if plan.batch_size is None else plan.batch_size
    return replace(local, lr=local.lr * plan.rate, epochs=plan.epochs or local.epochs, steps=steps, batch_size=size)


class Piece(NamedTuple):
    """What is added to the gradient in one place: a correction, and mu (x - anchor) for each pull."""

    place: int
    correction: Tensor | None
    pulls: list[tuple[float, Tensor]]


@dataclass(frozen=True)
class Nudge:
    """Gradients in some places are dropped; in some there are pieces."""

    dropped: frozenset[int] = frozenset()
    pieces: Sequence[Piece] = ()

    @classmethod
    def of(
        cls, trained: Mapping[str, Tensor], kinds: Mapping[str, str], plan: Plan, proximal: float, cut: Cut
    ) -> Nudge:
        """Follow a plan from where the trained tensors are; ``proximal`` is the client's own pull to that place."""
        pulls = [(mu, anchor) for mu, anchor in ((proximal, None), (plan.proximal, plan.anchor)) if mu]
        if plan.correction is None and not pulls and not plan.only:
            return cls()
        corrections = {} if plan.correction is None else cut(plan.correction)
        anchors = [(mu, trained if anchor is None else cut(anchor)) for mu, anchor in pulls]
        dropped = frozenset(i for i, name in enumerate(trained) if plan.only and kinds[name] != plan.only)
        pieces = [
            Piece(place, corrections.get(name), [(mu, parts[name].detach().clone()) for mu, parts in anchors])
            for place, name in enumerate(trained)
            if kinds[name] == "shared" and place not in dropped
        ]
        return cls(dropped, pieces)

    def narrow(self, many: int) -> Nudge:
        """Go on with the first ``many`` entries of each tensor, which has clients in front."""
        if not self.pieces:
            return self
        return Nudge(
            self.dropped,
            [
                Piece(place, None if added is None else added[:many], [(mu, anchor[:many]) for mu, anchor in pulls])
                for place, added, pulls in self.pieces
            ],
        )

    def __call__(self, gradients: Sequence[Tensor | None], now: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Return what becomes of the gradients at the parameters ``now``: new tensors, as two may be one."""
        if not self.dropped and not self.pieces:
            return gradients
        nudged = [None if place in self.dropped else gradient for place, gradient in enumerate(gradients)]
        for place, correction, pulls in self.pieces:
            if (gradient := nudged[place]) is None:
                continue
            if correction is not None:
                gradient = gradient + correction
            for mu, anchor in pulls:
                gradient = gradient + mu * (now[place].detach() - anchor)
            nudged[place] = gradient
        return nudged
