"""The exactly-once law, over thousands of worlds in which wires break and processes die at any point."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fedlink.link_world import World, protocol_errors
from tests.fuzz.amount import WORLDS


def live(seed):
    """A world's life: 8 to 12 requests among trouble, then calm until everything is over."""
    world = World(seed)
    for step in range(300):
        if step % 25 == 0:
            world.submit()
        world.step()
    assert world.settle(), f"world {seed}: something is open for ever"
    return world


@pytest.mark.parametrize("block", range(10))
def test_every_request_ends_exactly_once_whatever_breaks(block):
    ends = Counter()
    for seed in range(block * WORLDS // 10, (block + 1) * WORLDS // 10):
        world = live(seed)
        assert not protocol_errors(world), f"world {seed}"
        assert set(world.harbour.ended) == set(world.harbour.log), f"world {seed}"
        assert not any(device.bodies or device.answers for device in world.devices), f"world {seed}: a spool is left"
        ends.update(world.harbour.ended.values())
    assert ends["taken"] > 5 * ends["failed"] and ends["cancelled"]
