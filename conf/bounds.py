"""What the owner of a device allows a run to do there, whatever the run says (``site.yaml``)."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from hansa.conf.run import Run
from hansa.fedclient.errors import NotApproved
from hansa.fedclient.torch_work import TorchWork
from hansa.fedtasks.model import meant


def check(limits: Mapping[str, Any], run: Run) -> None:
    """Raise NotApproved, before any work, where a run asks for more than ``limits``; what they leave out is free."""
    _private(limits.get("private", ()), run.work)
    if run.job.cohort.min < (least := limits.get("least_clients", 1)):
        raise NotApproved(
            f"the run counts rounds of cohort.min={run.job.cohort.min} clients, and this device takes part with "
            f"{least} or more (least_clients): raise cohort.min"
        )


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
