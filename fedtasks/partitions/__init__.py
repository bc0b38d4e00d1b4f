"""Partitions: how the examples of a task that is one heap are dealt out to the clients of a simulation."""

from hansa.fedtasks.partitions.dirichlet import Dirichlet
from hansa.fedtasks.partitions.exponential import Exponential
from hansa.fedtasks.partitions.iid import Iid
from hansa.fedtasks.partitions.linear import Linear
from hansa.fedtasks.partitions.natural import Natural
from hansa.fedtasks.partitions.noise import Noise
from hansa.fedtasks.partitions.partition import Partition, Pool, Rows, Shares, share_out
from hansa.fedtasks.partitions.pathological import Pathological
from hansa.fedtasks.partitions.quantity import Quantity
from hansa.fedtasks.partitions.shards import Shards
from hansa.fedtasks.partitions.square import Square

__all__ = [
    "Dirichlet",
    "Exponential",
    "Iid",
    "Linear",
    "Natural",
    "Noise",
    "Partition",
    "Pathological",
    "Pool",
    "Quantity",
    "Rows",
    "Shards",
    "Shares",
    "Square",
    "share_out",
]
