"""The laws that every piece of the algebra keeps, for pieces of one's own too. In the tests of a package of yours:

    from hansa.strategies import laws

    def test_my_rule_keeps_the_laws():
        laws.check_strategy(MyRule())                          # or one law at a time, such as check_block(MyRule())
        laws.check_transforms((Bound(clip=...), MyTransform()))

Every check raises AssertionError with what differs and where. They play the piece over `Quadratic`, a toy world whose
clients are numpy parabolas; `play` is the whole of federated learning in one page, to read and to experiment with.
"""

from hansa.strategies.laws.loop import Played, Step, play
from hansa.strategies.laws.pieces import check_encoding, check_influence, check_merge, check_screen, check_transforms
from hansa.strategies.laws.rounds import (
    check_absence,
    check_block,
    check_limit,
    check_mirror,
    check_order,
    check_state,
    check_strategy,
)
from hansa.strategies.laws.world import Quadratic

__all__ = [
    "Played",
    "Quadratic",
    "Step",
    "check_absence",
    "check_block",
    "check_encoding",
    "check_influence",
    "check_limit",
    "check_merge",
    "check_mirror",
    "check_order",
    "check_screen",
    "check_state",
    "check_strategy",
    "check_transforms",
    "play",
]
