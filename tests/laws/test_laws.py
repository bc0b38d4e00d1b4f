"""Every piece keeps the laws. A later piece is one more line in STRATEGIES, TRANSFORMS, AGGREGATORS or LIMITS."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from hansa.strategies import (
    Aggregator,
    Bound,
    Evaluation,
    FedAvg,
    FLTrust,
    Quantise,
    Request,
    Rfa,
    Robust,
    Scaffold,
    laws,
    median,
)
from hansa.strategies.laws import Quadratic
from hansa.strategies.rules import Bulyan, CentredClipping, GeometricMedian, Krum, TrimmedMean

CLIP = {"delta": 2.0, "loss": 50.0}
CONTROLS = {**CLIP, "control": 1.0}
BOUND = Bound(clip=CLIP, max_examples=128)


@dataclass(frozen=True, kw_only=True)
class Twice(FedAvg):
    """Ask for the same rows twice, the second time whoever was counted, to halve the noise of rounding."""

    def endpoints(self, problem):
        return {name: replace(end, keep=True) for name, end in super().endpoints(problem).items()}

    def round(self, state, now):
        first = yield Request(endpoint="train.update", payload=state)
        second = yield Request(endpoint="train.update", payload=state, to="counted")
        step_P = (first.mean("delta", "weight") + second.mean("delta", "weight")) / 2
        return {"model": state["model"] + step_P}, {}


EVALUATION = Evaluation(channels=Quadratic.METRICS)


@dataclass(frozen=True, kw_only=True)
class Evaluated(FedAvg):
    """Train, then evaluate what came out: rounds are put together with ``yield from``."""

    evaluation: Evaluation = EVALUATION

    def endpoints(self, problem):
        return {**super().endpoints(problem), **self.evaluation.endpoints(problem.cohort)}

    def round(self, state, now):
        state, metrics = yield from super().round(state, now)
        sums = yield from self.evaluation.round(state)
        return state, {**metrics, "loss": float(sums.mean("loss", "examples"))}


STRATEGIES = {
    "fedavg": FedAvg(),
    "fedavg, slow server": FedAvg(lr=0.5),
    "fedavg, uniform": FedAvg(weighting="uniform"),
    "fedavg, fixed denominator": FedAvg(denominator="expected"),
    "fedavg, uniform and fixed": FedAvg(weighting="uniform", denominator="expected"),
    "fedavg, clipped": FedAvg(pipeline=(BOUND,)),
    "fedavg, one channel clipped": FedAvg(pipeline=(Bound(clip={"delta": 0.5}),)),
    "fedavg, 16 bits": FedAvg(pipeline=(BOUND, Quantise())),
    "fedavg, 32 bits": FedAvg(pipeline=(BOUND, Quantise(bits=32))),
    "fedavg, fixed denominator, 16 bits": FedAvg(denominator="expected", pipeline=(BOUND, Quantise())),
    "scaffold": Scaffold(),
    "scaffold, clipped": Scaffold(pipeline=(Bound(clip=CONTROLS),)),
    "scaffold, 16 bits": Scaffold(pipeline=(Bound(clip=CONTROLS), Quantise())),
    "scaffold, 32 bits": Scaffold(pipeline=(Bound(clip=CONTROLS), Quantise(bits=32))),
    "median": Robust(),
    "median, clipped": Robust(pipeline=(BOUND,)),
    "median, 16 bits": Robust(pipeline=(BOUND, Quantise())),
    "median of means": Robust(groups=3),
    "median of means, 16 bits": Robust(groups=3, pipeline=(BOUND, Quantise())),
    "bucketing": Robust(bucket=2),
    "bucketing, 16 bits": Robust(bucket=3, pipeline=(BOUND, Quantise())),
    "trimmed mean": Robust(rule=TrimmedMean()),
    "trimmed mean, 16 bits": Robust(rule=TrimmedMean(), pipeline=(BOUND, Quantise())),
    "trimmed mean of groups": Robust(rule=TrimmedMean(), groups=4),
    "krum": Robust(rule=Krum()),
    "krum, clipped": Robust(rule=Krum(), pipeline=(BOUND,)),
    "multi-krum": Robust(rule=Krum(keep=0)),
    "multi-krum of buckets": Robust(rule=Krum(byzantine=0, keep=2), bucket=2),
    "bulyan": Robust(rule=Bulyan()),
    "geometric median": Robust(rule=GeometricMedian()),
    "geometric median, 16 bits": Robust(rule=GeometricMedian(), pipeline=(BOUND, Quantise())),
    "centred clipping": Robust(rule=CentredClipping()),
    "centred clipping, 16 bits": Robust(rule=CentredClipping(passes=2), pipeline=(BOUND, Quantise())),
    "rfa": Rfa(),
    "rfa, one pass": Rfa(passes=1),
    "rfa, 32 bits": Rfa(smoothing=0.1, pipeline=(Bound(clip={"loss": 50.0}), Quantise(bits=32))),
    "fltrust": FLTrust(root="c00"),
    "fltrust, 16 bits": FLTrust(root="c00", pipeline=(BOUND, Quantise())),
    "two requests": Twice(),
    "two requests, 16 bits": Twice(pipeline=(BOUND, Quantise())),
    "evaluated": Evaluated(),
    "evaluated by client": Evaluated(evaluation=Evaluation(channels=Quadratic.METRICS, by_client=True)),
}
MIRRORS = {name: {"control": "scaffold"} for name in STRATEGIES if name.startswith("scaffold")}
"""What of the server's state is the mean of a state of the clients."""


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategy(name):
    laws.check_strategy(STRATEGIES[name], mirrors=MIRRORS.get(name))


TRANSFORMS = {
    "nothing bounded": (Bound(),),
    "one channel bounded": (Bound(clip={"delta": 1.0}),),
    "bounded": (BOUND,),
    "bounded far away": (Bound(clip={"delta": 1e9, "loss": 1e30}),),
    "bounded near zero": (Bound(clip={"delta": 1e-9, "loss": 1e-30}),),
    "16 bits": (BOUND, Quantise()),
    "32 bits": (BOUND, Quantise(bits=32)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name):
    laws.check_transforms(TRANSFORMS[name])


AGGREGATORS = {
    "sum": Aggregator(),
    "rows": Aggregator(groups=0, rule=median),
    "median of means": Aggregator(groups=3, rule=median),
}


@pytest.mark.parametrize("way", [(Bound(),), (BOUND, Quantise())], ids=["real", "ring"])
@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregator(name, way):
    laws.check_merge(AGGREGATORS[name], way)


UNIFORM = FedAvg(weighting="uniform")
ALIKE = Quadratic(
    pull_N=np.ones(7, np.float32), target_NP=np.ones((7, 4), np.float32), examples_N=np.full(7, 9), noise=0
)
FAR = Bound(clip={"delta": 1e3, "loss": 1e6})
LIMITS = {
    "no clip at all": (FedAvg(), FedAvg(pipeline=(Bound(clip=None),)), {}),
    "clip at infinity": (FedAvg(pipeline=(Bound(clip={"delta": np.inf, "loss": np.inf}),)), FedAvg(), {}),
    "clip far away": (FedAvg(pipeline=(FAR,)), FedAvg(), {"atol": 1e-6}),
    "uniform weights need no Bound": (FedAvg(weighting="uniform", pipeline=()), UNIFORM, {}),
    "all answer what is expected": (FedAvg(weighting="uniform", denominator="expected"), UNIFORM, {}),
    "fine rounding": (
        FedAvg(weighting="uniform", pipeline=(BOUND, Quantise(bits=32))),
        FedAvg(weighting="uniform", pipeline=(BOUND,)),
        {"atol": 1e-5},
    ),
    "median of equals is their mean": (Robust(), UNIFORM, {"world": ALIKE}),
    "equal examples are uniform weights": (FedAvg(pipeline=(Bound(max_examples=9),)), UNIFORM, {"world": ALIKE}),
    "median of two is their mean": (Robust(), UNIFORM, {"cohort": 2, "atol": 1e-6}),
    "one group of means is a mean": (Robust(groups=1), UNIFORM, {}),
    "buckets of one": (Robust(bucket=1), Robust(), {}),
    "one bucket of all is a mean": (Robust(bucket=8), UNIFORM, {"atol": 1e-6}),
    "nothing is trimmed": (Robust(rule=TrimmedMean(trim=0)), UNIFORM, {"atol": 1e-6}),
    "all but the median is trimmed": (Robust(rule=TrimmedMean(trim=0.4)), Robust(), {"cohort": 7}),
    "multi-krum that keeps all": (Robust(rule=Krum(byzantine=0, keep=0)), UNIFORM, {"atol": 1e-6}),
    "krum of equals is their mean": (Robust(rule=Krum()), UNIFORM, {"world": ALIKE}),
    "bulyan without wrong ones": (Robust(rule=Bulyan(byzantine=0)), UNIFORM, {"atol": 1e-6}),
    "all distances are small": (Robust(rule=GeometricMedian(smoothing=1e9)), UNIFORM, {"atol": 1e-6}),
    "rfa is the geometric median": (Rfa(), Robust(rule=GeometricMedian()), {"atol": 1e-6}),
    "rfa of small distances": (Rfa(smoothing=1e3), UNIFORM, {"atol": 1e-6}),
    "rfa of equals": (Rfa(), UNIFORM, {"world": ALIKE, "atol": 1e-6}),
    "all are trusted the same": (FLTrust(root="c00"), UNIFORM, {"world": ALIKE, "atol": 1e-6}),
    "a wide radius clips nothing": (Robust(rule=CentredClipping(radius=1e9)), UNIFORM, {"atol": 1e-6}),
    "asking twice exactly is asking once": (Twice(), FedAvg(), {}),
    "evaluation learns nothing": (Evaluated(), FedAvg(), {}),
    "no heterogeneity, no correction": (Scaffold(), UNIFORM, {"world": ALIKE, "atol": 1e-6}),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit(name):
    strategy, limit, settings = LIMITS[name]
    laws.check_limit(strategy, limit, **settings)
