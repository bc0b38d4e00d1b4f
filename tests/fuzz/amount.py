"""How much is fuzzed: ``HANSA_FUZZ=100000`` inputs for each decoder, 2,000 where it is not said; ``make soak`` says it.

``HANSA_FUZZ=@1734`` feeds the input of that number alone, which is the same for ever: so a failure is repeated.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

SAID = os.environ.get("HANSA_FUZZ", "2000")
ALONE = int(SAID[1:]) if SAID.startswith("@") else None
INPUTS = int(SAID) if ALONE is None else 2000
FRAMES = 10 * INPUTS
"""Frames in a row, half of them into each of the protocol's machines."""
WORLDS = max(300, INPUTS // 20)
"""Worlds in which wires break and processes die."""


def numbers(every: int = 1) -> Sequence[int]:
    """Return the numbers of the inputs for one decoder, of which a slow one reads only some."""
    return range(0, INPUTS, every) if ALONE is None else [ALONE]
