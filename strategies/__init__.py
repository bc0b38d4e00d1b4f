"""The algebra of federated learning and every algorithm written in it.

A client is a block of one. An aggregate is a total per group. A round is a generator of requests.

This package is pure: numpy in, numpy out; no Flower, no torch, no clock, no disk, no global randomness.
"""

from hansa.strategies.afl import Afl
from hansa.strategies.aggregate import Aggregator, Released, Totals, median, single
from hansa.strategies.bound import Bound
from hansa.strategies.ditto import Ditto
from hansa.strategies.errors import CompositionError, LayoutError, RoundLost, StrategyError, SumError
from hansa.strategies.fedadagrad import FedAdagrad
from hansa.strategies.fedadam import FedAdam
from hansa.strategies.fedasync import FedAsync
from hansa.strategies.fedavg import FedAvg
from hansa.strategies.fedavgm import FedAvgM
from hansa.strategies.fedbuff import FedBuff
from hansa.strategies.fedcm import FedCM
from hansa.strategies.feddyn import FedDyn
from hansa.strategies.fednova import FedNova
from hansa.strategies.fedper import FedPer
from hansa.strategies.fedprox import FedProx
from hansa.strategies.fedrep import FedRep
from hansa.strategies.fedyogi import FedYogi
from hansa.strategies.fine_tuning import FineTuning
from hansa.strategies.fltrust import FLTrust
from hansa.strategies.ifca import Ifca
from hansa.strategies.keys import Context
from hansa.strategies.layout import Layout
from hansa.strategies.moon import Moon
from hansa.strategies.pfedme import PFedMe
from hansa.strategies.pipeline import Pipeline, Transform, compose
from hansa.strategies.qfedavg import QFedAvg
from hansa.strategies.quantise import Quantise
from hansa.strategies.questions import Evaluation, Question
from hansa.strategies.rfa import Rfa
from hansa.strategies.robust import Robust
from hansa.strategies.scaffold import Scaffold
from hansa.strategies.spec import WEIGHT, Channel, Cohort, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State, Strategy
from hansa.strategies.term import Term
from hansa.strategies.work import ClientWork, Cost, LocalTraining, Plan, Trained, Trainer, Work

__all__ = [
    "WEIGHT",
    "Afl",
    "Aggregator",
    "Bound",
    "Channel",
    "ClientWork",
    "Cohort",
    "CompositionError",
    "Context",
    "Cost",
    "Endpoint",
    "Evaluation",
    "FedAdagrad",
    "FedAdam",
    "FLTrust",
    "FedAsync",
    "FedAvg",
    "FedAvgM",
    "FedNova",
    "FedYogi",
    "Flow",
    "FineTuning",
    "FedRep",
    "FedPer",
    "FedProx",
    "FedDyn",
    "FedBuff",
    "FedCM",
    "Ditto",
    "Ifca",
    "Layout",
    "LayoutError",
    "LocalTraining",
    "Moon",
    "PFedMe",
    "Pipeline",
    "Plan",
    "Problem",
    "QFedAvg",
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
    "Term",
    "Totals",
    "Trained",
    "Trainer",
    "Transform",
    "Work",
    "compose",
    "median",
    "single",
]
