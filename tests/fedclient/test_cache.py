"""What was asked last is kept, up to a size."""

from __future__ import annotations

import torch
from torch.utils.data import TensorDataset

from hansa.fedclient.cache import LEAST, Cache
from hansa.fedtasks import Data


def test_the_last_clients_are_kept_up_to_a_size_and_at_least_one():
    read = []

    def data(client: str) -> Data:
        read.append(client)
        return Data(TensorDataset(torch.zeros(1000, 4)), TensorDataset(torch.zeros(500, 4)))

    cache = Cache(data, limit=3 * (LEAST + 24_000))
    for client in "abcabcadadbad":
        assert cache(client) is cache(client)
    assert "".join(read) == "abcdb"
    one = Cache(data, limit=1)
    assert one("x") is one("x") and one("y") is one("y")
    assert read[5:] == ["x", "y"]


def test_data_that_is_read_when_asked_for_counts_for_little_but_not_for_nothing():
    cache = Cache(lambda client: Data(range(10**9)), limit=10 * LEAST)
    for number in range(100):
        cache(str(number))
    assert len(cache._kept) == 10
