"""The coordinator: plays rounds, screens replies, builds totals, and writes down what happened."""

from hansa.fedserver.asynchronous import Asynchronous
from hansa.fedserver.job import Job
from hansa.fedserver.policy import CohortPolicy

__all__ = ["Asynchronous", "CohortPolicy", "Job"]
