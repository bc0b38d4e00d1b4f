"""Robust rules on 100 rows of a million float32: seconds of each, best of three, and memory beside the rows.

    python benchmarks/robust.py

2 cores of an Intel Xeon with AVX2, nothing else running, 2026-11-29; distances on two threads, all else on one:

    median 0.27, trimmed mean 0.31, Krum 0.59, Multi-Krum 0.66, Bulyan 1.04, centred clipping 0.30
    squared distances in float64 0.61; geometric median 0.29 a pass, 1.15 for four
    21 MB beside the rows at most; numpy's own median takes 1.5 for all columns, by a tenth of them

2 cores of an AMD EPYC with AVX-512, the same day:

    median 0.12, trimmed mean 0.15, Krum 0.30, Multi-Krum 0.37, Bulyan 0.56, centred clipping 0.18
    squared distances in float64 0.30; geometric median 0.18 a pass, 0.69 for four; 23 MB; numpy's own median 1.1
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np

from hansa.strategies.rules import Bulyan, CentredClipping, GeometricMedian, Krum, Median, Rule, TrimmedMean
from hansa.strategies.rules.distances import squared_distances
from hansa.strategies.types import Array

CLIENTS, PARAMETERS, TRIES = 100, 1_000_000, 3
RULES: dict[str, Rule] = {
    "median": Median(),
    "trimmed mean": TrimmedMean(),
    "krum": Krum(byzantine=20),
    "multi-krum": Krum(byzantine=20, keep=0),
    "bulyan": Bulyan(byzantine=20),
    "geometric median, 1 pass": GeometricMedian(passes=1),
    "geometric median, 4 passes": GeometricMedian(passes=4),
    "centred clipping": CentredClipping(),
}


def seconds(work: Callable[[], object]) -> str:
    """Return the least seconds of some tries, by the clock and of the processor, which all of it is on one core."""
    took = []
    for _ in range(TRIES):
        start = time.perf_counter(), time.process_time()
        work()
        took.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    clock, processor = map(min, zip(*took, strict=True))
    return f"{clock:7.2f} s, processor {processor:5.2f} s"


def peak() -> float:
    """Return the most memory that the process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def rows() -> Array:
    """Return updates about a common one."""
    rng = np.random.default_rng(0)
    rows_GP = rng.standard_normal((CLIENTS, PARAMETERS), dtype=np.float32)
    rows_GP += rng.standard_normal(PARAMETERS, dtype=np.float32)
    return rows_GP


if __name__ == "__main__":
    rows_GP = rows()
    print(f"{CLIENTS} rows of {PARAMETERS:,} float32, {rows_GP.nbytes / 1e6:.0f} MB")
    before = peak()
    for name, rule in RULES.items():
        print(f"{seconds(lambda rule=rule: rule(rows_GP))}  {name}")  # type: ignore[misc]
    print(f"{seconds(lambda: squared_distances(rows_GP))}  squared distances in float64")
    print(f"{peak() - before:.0f} MB beside the rows, at most")
    print(f"{seconds(lambda: np.median(rows_GP[:, :100_000], axis=0))}  numpy's median of a tenth of the columns")
