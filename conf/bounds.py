"""What the owner of a device allows a run to do there, whatever the run says (``site.yaml``)."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from hansa.conf.run import Run
from hansa.fedclient.errors import BeyondLimits, NotApproved
from hansa.fedclient.nudge import followed
from hansa.fedclient.torch_work import TorchWork
from hansa.fedlink.messages import Call
from hansa.fedtasks.model import meant
from hansa.strategies.strategy import trains
from hansa.strategies.work import PLAIN, Costed


def check(limits: Mapping[str, Any], run: Run) -> None:
    """Raise NotApproved, before any work, where a run asks for more than ``limits``; what they leave out is free."""
    _private(limits.get("private", ()), run.work)
    if run.job.cohort.min < (least := limits.get("least_clients", 1)):
        raise NotApproved(
            f"the run counts rounds of cohort.min={run.job.cohort.min} clients, and this device takes part with "
            f"{least} or more (least_clients): raise cohort.min"
        )


def check_work(limits: Mapping[str, Any], run: Run, call: Call) -> None:
    """Raise BeyondLimits, before any work, where a call asks for more epochs or steps than ``limits``, all in all."""
    if (end := run.job.endpoints.get(call.endpoint)) is None or not trains(call.endpoint):
        return
    plans = end.work.cost(call.payload).trainings if isinstance(end.work, Costed) else (PLAIN,)
    asked = [followed(run.work.settings, plan) for plan in plans]
    counts = {"epochs": sum(local.epochs for local in asked if not local.steps), "steps": sum(a.steps for a in asked)}
    for field, count in counts.items():
        if count > (most := limits.get(field, count)):
            raise BeyondLimits(f"it asks for {count:,} {field}", field, most)


def _private(patterns: Sequence[str], work: TorchWork) -> None:
    """Refuse a run that sends tensors which the owner keeps, or that has none of these: who keeps nothing is told."""
    kinds = {entry.name: entry.kind for entry in work.layout.entries}
    for pattern in patterns:
        names = [name for known in meant(pattern, work.model) for name in fnmatch.filter(kinds, known)]
        if not names:
            raise NotApproved(f"the run's model has no tensor {pattern!r}, which this device keeps: mend its private")
        if sent := [name for name in names if kinds[name] not in ("private", "frozen")]:
            more = f" and {len(sent) - 3} more" if len(sent) > 3 else ""
            raise NotApproved(
                f"the run sends {', '.join(sent[:3])}{more}, which this device keeps (its private): "
                f"add private=['{pattern}'] to the run"
            )
