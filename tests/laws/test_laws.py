"""Every piece keeps the laws. A later piece is one more line in STRATEGIES, TRANSFORMS, AGGREGATORS or LIMITS."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from hansa.strategies import (
    Afl,
    Aggregator,
    Bound,
    Ditto,
    Evaluation,
    FedAdagrad,
    FedAdam,
    FedAsync,
    FedAvg,
    FedAvgM,
    FedBuff,
    FedCM,
    FedDyn,
    FedNova,
    FedPer,
    FedProx,
    FedRep,
    FedYogi,
    FineTuning,
    FLTrust,
    Ifca,
    Moon,
    PFedMe,
    QFedAvg,
    Quantise,
    Request,
    Rfa,
    Robust,
    Scaffold,
    Term,
    laws,
    median,
)
from hansa.strategies.laws import Quadratic
from hansa.strategies.rules import Bulyan, CentredClipping, GeometricMedian, Krum, TrimmedMean

CLIP = {"delta": 2.0, "loss": 50.0}
CONTROLS = {**CLIP, "control": 1.0}
BOUND = Bound(clip=CLIP, max_examples=128)
NOVA = Bound(clip={**CLIP, "travel": 1.0}, max_examples=128)
TILT = {**CLIP, "tilt": 20.0, "value": 50.0}
TILTS = Bound(clip={**TILT, "curvature": 100.0})


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
    "fedavgm": FedAvgM(),
    "fedavgm, 16 bits": FedAvgM(pipeline=(BOUND, Quantise())),
    "fedavgm, uniform and fixed": FedAvgM(weighting="uniform", denominator="expected"),
    "fedadagrad": FedAdagrad(),
    "fedadagrad, 32 bits": FedAdagrad(pipeline=(BOUND, Quantise(bits=32))),
    "fedadam": FedAdam(),
    "fedasync": FedAsync(),
    "fedbuff": FedBuff(),
    "fedasync, clipped": FedAsync(pipeline=(Bound(clip={"model": 20.0, "share": 1.0, "loss": 50.0}),)),
    "fedadam, clipped": FedAdam(pipeline=(BOUND,)),
    "fedyogi": FedYogi(),
    "fedyogi, 16 bits": FedYogi(pipeline=(BOUND, Quantise())),
    "fednova": FedNova(),
    "fednova, uniform": FedNova(weighting="uniform"),
    "fednova, 16 bits": FedNova(pipeline=(NOVA, Quantise())),
    "qfedavg": QFedAvg(),
    "qfedavg, steep": QFedAvg(q=5.0),
    "qfedavg, 32 bits": QFedAvg(pipeline=(TILTS, Quantise(bits=32))),
    "afl": Afl(),
    "afl, fast": Afl(gamma=100.0),
    "afl, clipped": Afl(pipeline=(Bound(clip={"delta": 2.0}),)),
    "afl, 32 bits": Afl(pipeline=(Bound(clip={**CLIP, "mixture": 20.0, "gap": 50.0}), Quantise(bits=32))),
    "term": Term(),
    "term, steep": Term(t=1e4),
    "term, uniform": Term(weighting="uniform"),
    "term, clipped": Term(pipeline=(Bound(clip={"delta": 2.0}),)),
    "term, 32 bits": Term(pipeline=(Bound(clip=TILT, max_examples=128), Quantise(bits=32))),
    "scaffold": Scaffold(),
    "scaffold, option 1": Scaffold(option=1),
    "scaffold, clipped": Scaffold(pipeline=(Bound(clip=CONTROLS),)),
    "scaffold, 16 bits": Scaffold(pipeline=(Bound(clip=CONTROLS), Quantise())),
    "scaffold, 32 bits": Scaffold(pipeline=(Bound(clip=CONTROLS), Quantise(bits=32))),
    "fedprox": FedProx(mu=0.5),
    "fedprox, 16 bits": FedProx(mu=0.5, pipeline=(BOUND, Quantise())),
    "feddyn": FedDyn(alpha=0.5),
    "feddyn, 16 bits": FedDyn(alpha=0.5, pipeline=(BOUND, Quantise())),
    "fedcm": FedCM(alpha=0.3),
    "fedcm, 16 bits": FedCM(alpha=0.3, pipeline=(Bound(clip={**CLIP, "travel": 10.0}), Quantise())),
    "ditto": Ditto(),
    "ditto, 16 bits": Ditto(attraction=1.0, epochs=2, pipeline=(BOUND, Quantise())),
    "pfedme": PFedMe(local_rounds=3, steps=2, rate=0.05, attraction=2.0),
    "pfedme, 16 bits": PFedMe(local_rounds=2, pipeline=(BOUND, Quantise())),
    "moon": Moon(mu=2.0),
    "moon, 16 bits": Moon(mu=2.0, pipeline=(BOUND, Quantise())),
    "ifca": Ifca(),
    "ifca, 16 bits": Ifca(clusters=3, pipeline=(Bound(clip={**CLIP, "members": 1.0}), Quantise())),
    "fedper": FedPer(),
    "fedrep": FedRep(head_epochs=2, body_epochs=1),
    "fedrep, 16 bits": FedRep(pipeline=(BOUND, Quantise())),
    "fine-tuning": FineTuning(epochs=2),
    "median": Robust(),
    "median, clipped": Robust(pipeline=(BOUND,)),
    "median, 16 bits": Robust(pipeline=(BOUND, Quantise())),
    "median of means": Robust(groups=3),
    "median of means, 16 bits": Robust(groups=3, pipeline=(BOUND, Quantise())),
    "bucketing": Robust(bucket=2),
    "bucketing, 16 bits": Robust(bucket=3, pipeline=(BOUND, Quantise())),
    "median, worker momentum": Robust(worker_momentum=0.9),
    "median, worker momentum, 16 bits": Robust(worker_momentum=0.5, pipeline=(BOUND, Quantise())),
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
MIRRORS |= {name: {"h": "feddyn"} for name in STRATEGIES if name.startswith("feddyn")}
"""What of the server's state is the mean of a state of the clients."""


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategy(name):
    laws.check_strategy(STRATEGIES[name], mirrors=MIRRORS.get(name))


NORMED = Quadratic.of(personal=2, buffers=(slice(0, 1), slice(3, 5)))


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategy_of_a_model_with_buffers(name):
    laws.check_block(STRATEGIES[name], NORMED)
    laws.check_state(STRATEGIES[name], NORMED)


RATED = [name for name, s in STRATEGIES.items() if hasattr(s, "lr") and type(s) not in (Twice, FedAsync)]
"""Strategies with a rate at the server; FedAsync's mixes whole models, statistics and all."""


@pytest.mark.parametrize("name", RATED)
def test_the_servers_rate_leaves_buffers_as_they_are(name):
    still_P, slow_P = (laws.play(replace(STRATEGIES[name], lr=lr), NORMED, 1).model_P for lr in (1.0, 0.25))
    same_P = np.isin(np.arange(NORMED.parameters), np.r_[NORMED.buffers])
    np.testing.assert_array_equal(still_P == slow_P, same_P)


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
PERSONAL = Quadratic.of(personal=2)
STILL = Quadratic.of(buffers=(slice(0, 5),))
LIMITS = {
    **{
        f"{type(one).__name__} of buffers only": (one, FedAvg(), {"world": STILL, "atol": 1e-6})
        for one in (FedAvgM(), FedAdagrad(), FedAdam(), FedYogi(), FedNova(), Term())
    },
    "AFL of buffers only": (Afl(), UNIFORM, {"world": STILL, "atol": 1e-6}),
    "QFedAvg of buffers only": (QFedAvg(), UNIFORM, {"world": STILL, "atol": 1e-6}),
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
    "no worker momentum": (Robust(worker_momentum=0.0), Robust(), {}),
    "hardly any worker momentum": (Robust(worker_momentum=1e-9), Robust(), {"atol": 1e-6}),
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
    "a buffer of all in step": (FedBuff(), UNIFORM, {}),
    "all models are mixed in step": (FedAsync(lr=1.0, mu=0.0), UNIFORM, {"atol": 1e-6}),
    "models that are pulled back": (FedAsync(lr=1.0, mu=2.0), FedProx(mu=2.0, weighting="uniform"), {"atol": 1e-6}),
    "no pull to the start": (FedProx(mu=0.0), FedAvg(), {}),
    "no contrast": (Moon(mu=0.0), FedAvg(), {}),
    "no client momentum": (FedCM(alpha=1.0), UNIFORM, {}),
    "own models move nobody else": (Ditto(attraction=3.0), FedAvg(), {}),
    "personal layers are not averaged": (FedPer(), FedAvg(), {"world": PERSONAL}),
    "one envelope, moved all the way, is training with a pull": (
        PFedMe(local_rounds=1, steps=4, rate=0.5, attraction=2.0),
        FedProx(mu=2.0, weighting="uniform"),
        {"atol": 1e-6},
    ),
    "one cluster is an average": (Ifca(clusters=1), UNIFORM, {"atol": 1e-6}),
    "tuning learns nothing": (FineTuning(), FedAvg(), {}),
    "no momentum": (FedAvgM(momentum=0.0), FedAvg(), {}),
    "no momentum, slow server": (
        FedAvgM(momentum=0.0, lr=0.3, weighting="uniform"),
        FedAvg(lr=0.3, weighting="uniform"),
        {},
    ),
    "Adagrad with a large tau": (FedAdagrad(lr=2e4, tau=1e4), FedAvg(), {"atol": 1e-5}),
    "Adam with a large tau": (FedAdam(lr=2e4, beta1=0.0, tau=1e4, beta2=1 - 1e-9), FedAvg(), {"atol": 1e-5}),
    "Yogi with a large tau": (FedYogi(lr=2e4, beta1=0.0, tau=1e4, beta2=1 - 1e-9), FedAvg(), {"atol": 1e-5}),
    "Yogi and Adam that remember for ever": (FedYogi(beta2=1 - 1e-9), FedAdam(beta2=1 - 1e-9), {"atol": 1e-6}),
    "equal travel": (FedNova(), FedAvg(), {"atol": 1e-5}),
    "equal travel, uniform": (
        FedNova(weighting="uniform", lr=0.5),
        FedAvg(weighting="uniform", lr=0.5),
        {"atol": 1e-5},
    ),
    "power 0": (QFedAvg(q=0.0), UNIFORM, {"atol": 1e-6}),
    "a mixture at rest": (Afl(gamma=0.0), UNIFORM, {"atol": 1e-6}),
    "tilt 0": (Term(t=0.0), FedAvg(), {"atol": 1e-6}),
    "tilt 0, uniform": (Term(t=0.0, weighting="uniform"), UNIFORM, {"atol": 1e-6}),
    "a hardly tilted mean": (Term(t=1e-6), FedAvg(), {"atol": 1e-3}),
    "no heterogeneity, no correction": (Scaffold(), UNIFORM, {"world": ALIKE, "atol": 1e-6}),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit(name):
    strategy, limit, settings = LIMITS[name]
    laws.check_limit(strategy, limit, **settings)
