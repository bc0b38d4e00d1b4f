"""What a simulation cannot do with a strategy, as its endpoints and plans say: asked before the first round."""

from __future__ import annotations

from hansa.strategies import Endpoint, Plan
from hansa.strategies.strategy import trains

DELTA = "delta"


def unbatched(plan: Plan) -> str:
    """Return why clients cannot be trained side by side by a plan; empty where they can."""
    if not plan.contrast:
        return ""
    return "federation=vectorised: a contrast of representations (MOON) cannot be batched: choose federation=processes."


def unattacked(name: str, end: Endpoint, forging: bool) -> str:
    """Return why an endpoint cannot be attacked, on updates where ``forging``, else on data; empty where it can."""
    if trains(name) and forging and DELTA not in end.pipeline.row.slices:
        return (
            f"attack: the rows of endpoint {name} have no channel {DELTA!r} that could be forged: choose an attack "
            "on data, such as label_flip, or attack=none."
        )
    return ""
