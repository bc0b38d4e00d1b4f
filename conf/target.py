"""The setting ``target``: a metric and the value that it is to reach."""

from __future__ import annotations

import math

from hansa.conf.errors import WrongValue
from hansa.fedserver.target import Target


def target(text: str | None) -> Target | None:
    """Read ``METRIC: NUMBER``; None where there is none. Raises WrongValue.

    >>> target("accuracy: 0.9")
    Target(metric='accuracy', value=0.9)
    """
    if text is None:
        return None
    name, _, number = (part.strip() for part in text.rpartition(":"))
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise WrongValue(f"target={text!r}: write a metric and a number, as in target='accuracy: 0.9'.")
    return Target(metric=name, value=value)
