"""How a row travels: transforms, compiled from the wire inwards and checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from hansa.strategies import exact
from hansa.strategies.errors import CompositionError
from hansa.strategies.keys import Context
from hansa.strategies.spec import Spec
from hansa.strategies.types import Array

Names: TypeAlias = Sequence[str]
Encode: TypeAlias = Callable[[Array, Names, Context], Array]
Decode: TypeAlias = Callable[[Array, Context], Array]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Both halves of a row's way.

    ``encode`` turns rows_BD of the named clients into what goes over the wire; ``decode`` turns totals_GD of that
    back into sums in the row's own units and may use up its argument. ``influence`` is the proven L2 bound of what
    one client can do to a decoded total; ``row`` and ``wire`` are the specs at both ends.
    """

    encode: Encode
    decode: Decode
    row: Spec
    wire: Spec
    influence: float


class Transform(Protocol):
    """One step of the way. It wraps all that is nearer the wire, so it may read what that has proved."""

    def wrap(self, spec: Spec, inner: Callable[[Spec], Pipeline]) -> Pipeline:
        """Return the pipeline for rows of ``spec``; raises CompositionError where that would be nonsense."""
        ...


def compose(spec: Spec, transforms: Sequence[Transform]) -> Pipeline:
    """Compile transforms for rows of ``spec``; raises CompositionError."""
    if transforms:
        return transforms[0].wrap(spec, lambda inner: compose(inner, transforms[1:]))
    if not spec.weighed and any(channel.weighted for channel in spec.channels):
        raise CompositionError("weighted channels need Bound, which weighs them: put it first in the pipeline.")
    decode = exact.to_reals if spec.domain == "real" else lambda _, totals_GD: totals_GD
    return Pipeline(
        encode=lambda rows_BD, names, ctx: rows_BD,
        decode=lambda totals_GD, ctx: decode(spec, totals_GD),
        row=spec,
        wire=spec,
        influence=spec.l2,
    )
