"""What a federation learns: tasks, their metrics, and the statistics they ask for before they start.

A task of one's own is a class that inherits from `Task`, in one Python file: ``task=./mine.py:MyTask``.
"""

from hansa.fedtasks.errors import DataError, MetricError, OptionError, QueryError, TaskError, UnknownClient
from hansa.fedtasks.examples import Examples, stack
from hansa.fedtasks.metrics import Accuracy, Auc, Metric
from hansa.fedtasks.names import Numbered, names
from hansa.fedtasks.queries import Moments, Query
from hansa.fedtasks.standardise import Standardise
from hansa.fedtasks.tables import read_table
from hansa.fedtasks.task import Data, Task

__all__ = [
    "Accuracy",
    "Auc",
    "Data",
    "DataError",
    "Examples",
    "Metric",
    "MetricError",
    "Moments",
    "OptionError",
    "Numbered",
    "Query",
    "QueryError",
    "Standardise",
    "Task",
    "TaskError",
    "UnknownClient",
    "names",
    "read_table",
    "stack",
]
