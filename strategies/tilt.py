"""Weights that grow with a client's loss and stay finite: what q-FedAvg and tilted ERM share.

With value u_i of client i (its loss, or the logarithm of it), steepness t >= 0 and a level that all know,

    e_i = exp(t (u_i - level)).

The level cancels in every quotient of sums over clients, and keeps e_i near 1. It is the tilted mean of the last round,

    level <- level + log(mean_i e_i) / t,

which lies between the mean and the largest value; 0 before the first round. Exponents are cut to [LOW, HIGH], so that
sums stay within their caps and fine enough: a client weighs at most e^HIGH = 2981, and the worst client may weigh the
same as others far above the level, until the level has come up to it, by at most HIGH / t a round. Where nearly all
exponents are cut from below the level starts again from the mean.
"""

from __future__ import annotations

import math

import numpy as np

from hansa.strategies.types import Array

LOW, HIGH = -12.0, 8.0


def tilted(t: float, value_B: Array, level_1: Array) -> Array:
    """Return e_i of each client, float32; not finite where a value is not a number."""
    with np.errstate(invalid="ignore"):
        exponent_B = t * (value_B.astype(np.float64) - level_1)
    return np.exp(np.clip(exponent_B, LOW, HIGH)).astype(np.float32)


def releveled(t: float, level_1: Array, mean_tilt: float, mean_value: float) -> Array:
    """Return the next round's level, shape (1,), float32."""
    cut = t == 0 or mean_tilt <= math.exp(LOW + 1)
    level = mean_value if cut else max(mean_value, float(level_1[0]) + math.log(mean_tilt) / t)
    return np.array([level], np.float32)
