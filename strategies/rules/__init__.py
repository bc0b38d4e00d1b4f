"""Rules that make one vector of many clients' rows, some of which may be wrong; `Robust` takes one."""

from hansa.strategies.rules.bucketing import bucketed
from hansa.strategies.rules.bulyan import Bulyan
from hansa.strategies.rules.centred_clipping import CentredClipping
from hansa.strategies.rules.geometric_median import GeometricMedian
from hansa.strategies.rules.krum import Krum
from hansa.strategies.rules.median import Median
from hansa.strategies.rules.rule import Rule
from hansa.strategies.rules.trimmed_mean import TrimmedMean

__all__ = [
    "Bulyan",
    "CentredClipping",
    "GeometricMedian",
    "Krum",
    "Median",
    "Rule",
    "TrimmedMean",
    "bucketed",
]
