"""The algebra of federated learning and every algorithm written in it.

A client is a block of one. An aggregate is a total per group. A round is a generator of requests.

This package is pure: numpy in, numpy out; no Flower, no torch, no clock, no disk, no global randomness.
"""

from hansa.strategies.aggregate import Aggregator, Released, Totals, median, single
from hansa.strategies.bound import Bound
from hansa.strategies.errors import CompositionError, LayoutError, RoundLost, StrategyError, SumError
from hansa.strategies.fedavg import FedAvg
from hansa.strategies.fltrust import FLTrust
from hansa.strategies.keys import Context
from hansa.strategies.layout import Layout
from hansa.strategies.pipeline import Pipeline, Transform, compose
from hansa.strategies.quantise import Quantise
from hansa.strategies.questions import Evaluation, Question
from hansa.strategies.rfa import Rfa
from hansa.strategies.robust import Robust
from hansa.strategies.scaffold import Scaffold
from hansa.strategies.spec import WEIGHT, Channel, Cohort, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State, Strategy
from hansa.strategies.work import ClientWork, LocalTraining, Trained, Trainer, Work

__all__ = [
    "WEIGHT",
    "Aggregator",
    "Bound",
    "Channel",
    "ClientWork",
    "Cohort",
    "CompositionError",
    "Context",
    "Endpoint",
    "Evaluation",
    "FLTrust",
    "FedAvg",
    "Flow",
    "Layout",
    "LayoutError",
    "LocalTraining",
    "Pipeline",
    "Problem",
    "Quantise",
    "Question",
    "Released",
    "Request",
    "Rfa",
    "Robust",
    "Round",
    "RoundLost",
    "Scaffold",
    "Spec",
    "State",
    "Strategy",
    "StrategyError",
    "SumError",
    "Totals",
    "Trained",
    "Trainer",
    "Transform",
    "Work",
    "compose",
    "median",
    "single",
]
