"""Selections: who of the clients that are there takes part in a round, one kind a file."""

from hansa.fedserver.selection.by_tag import ByTag
from hansa.fedserver.selection.oort import Oort
from hansa.fedserver.selection.poisson import Poisson
from hansa.fedserver.selection.power_of_choice import PowerOfChoice
from hansa.fedserver.selection.round_robin import RoundRobin
from hansa.fedserver.selection.selection import Draw, Sampling, Seen, Selection
from hansa.fedserver.selection.there import Present, There
from hansa.fedserver.selection.uniform import Uniform
from hansa.fedserver.selection.weighted import Weighted

__all__ = [
    "ByTag",
    "Draw",
    "Oort",
    "Poisson",
    "PowerOfChoice",
    "Present",
    "RoundRobin",
    "Sampling",
    "Seen",
    "Selection",
    "There",
    "Uniform",
    "Weighted",
]
