"""The coordinator: plays rounds, screens replies, builds totals, and writes down what happened."""

from hansa.fedserver.job import CohortPolicy, Job

__all__ = ["CohortPolicy", "Job"]
