"""A target: the value of a metric at which a run has learnt enough, and what it took to come there."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hansa.fedserver.errors import RunFailed
from hansa.fedserver.records import RoundRecord


@dataclass(frozen=True, kw_only=True)
class Target:
    """A metric and the value that it is to reach."""

    metric: str
    value: float

    def reached(self, record: RoundRecord) -> bool:
        """Whether a round's metric is at the target or better; false where it was not measured."""
        found = record.metrics.get(self.metric)
        if record.round < 1 or found is None or not math.isfinite(found):
            return False
        return found <= self.value if falls(self.metric) else found >= self.value

    def demand_measured(self, record: RoundRecord) -> None:
        """Raise RunFailed where an evaluated round knows no such metric; not where the evaluation itself was lost."""
        known = record.metrics
        if record.round > 0 and self.metric not in known and known.get("loss", 0.0) is not None:
            near = difflib.get_close_matches(self.metric, known, 3, 0.0)
            raise RunFailed(f"target: nothing measures {self.metric!r}: nearest are {', '.join(near) or 'none'}.")

    def took(self, records: Sequence[RoundRecord]) -> dict[str, float | None]:
        """Return rounds, seconds and bytes up to the first round that reached it, queries included; None if none.

        Where there is virtual time its seconds are told, too.
        """
        at = next((i for i, record in enumerate(records, 1) if self.reached(record)), 0)
        until = records[:at]
        size = sum(record.bytes_up + record.bytes_down for record in until)
        times = [record.virtual for record in until if record.virtual is not None]
        took: dict[str, float | None] = {
            "rounds_to_target": until[-1].round if until else None,
            "seconds_to_target": round(sum(record.seconds for record in until), 3) if until else None,
            "bytes_to_target": size if until else None,
        }
        if any(record.virtual is not None for record in records):
            took["virtual_seconds_to_target"] = round(times[-1].until, 3) if times else None
        return took


def falls(metric: str) -> bool:
    """Whether less of a metric is better, which its name says.

    >>> falls("server_loss"), falls("accuracy")
    (True, False)
    """
    return metric.endswith(("loss", "error"))
