"""What the adaptive server optimisers share (Reddi et al. 2021, arXiv:2003.00295, algorithm 2).

The mean update d (see `mean.Mean`) is a pseudo-gradient that points downhill already. Square, root and quotient go
entry by entry; each optimiser has a rule of its own for v:

    m <- beta1 * m + (1 - beta1) * d
    v <- rule(v, d^2)
    x <- x + lr * m / (sqrt(v) + tau)

m is 0 at first and v is tau^2, the least that the paper allows. As in the paper nothing corrects the bias of m and v
towards that start, and tau, the adaptivity, stands beside the root: the larger it is, the less the steps adapt. m and
v are float32 and stay at the coordinator. Buffers move by d itself.
"""

from __future__ import annotations

import numpy as np

from hansa.strategies.errors import CompositionError
from hansa.strategies.mean import check_decays, moved
from hansa.strategies.strategy import Round, State
from hansa.strategies.types import Array


def check(*, tau: float, **decays: float) -> None:
    """Refuse settings that divide by 0 or let the past grow."""
    check_decays(**decays)
    if not tau > 0:
        raise CompositionError(f"strategy.tau={tau}: it must be above 0, for a parameter that never moved has v = 0.")


def start(model_P: Array, tau: float) -> State:
    """Return the state before the first round."""
    return {"model": model_P, "first": np.zeros_like(model_P), "second": np.full_like(model_P, tau * tau)}


def step(
    state: State, mean_P: Array, second_P: Array, now: Round, *, lr: float, beta1: float, tau: float
) -> dict[str, Array]:
    """Return the state after a step along the mean update, with the v that the optimiser's rule gave."""
    first_P = beta1 * state["first"] + (1 - beta1) * mean_P
    step_P = lr * first_P / (np.sqrt(second_P) + tau)
    return {"model": moved(state["model"], step_P, mean_P, now.buffers), "first": first_P, "second": second_P}
