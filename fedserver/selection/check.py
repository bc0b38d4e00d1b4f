"""What several selections demand of a cohort's numbers."""

from __future__ import annotations

from hansa.fedserver.errors import SelectionError
from hansa.fedserver.policy import CohortPolicy


def demand_size(selection: str, cohort: CohortPolicy, over: bool = True) -> None:
    """Raise SelectionError without a ``cohort.size``, or with over-selection where ``over`` does not allow it."""
    if cohort.size is None:
        raise SelectionError(
            f"selection={selection}: cohort.size is empty, so that everyone takes part: set it, or leave "
            "selection=uniform."
        )
    if cohort.over and not over:
        raise SelectionError(
            f"selection={selection} cohort.over={cohort.over}: who is counted would depend on who is fast, and not on "
            "the draw alone: leave cohort.over out."
        )
