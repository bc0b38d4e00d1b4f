"""Which replies are let in, and what a refusal says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hansa.fedlink.messages import MOST_DIFFERS, Call, Failure, Reply, differing, fingerprints, shown
from hansa.fedserver.errors import Refused
from hansa.fedserver.screening import difference, screen

SETTINGS = {"seed": "1", "strategy.lr": "1.0", "task file": "SHA-256 aa"}
CALL = Call(endpoint="train.update", run="now", round=3, request=1, digest="d")
ROW = np.ones(2, np.float32)
GOOD = Reply.to(CALL, "a", "d", row=ROW)


def refusal(reply: Reply) -> str:
    with pytest.raises(Refused) as caught:
        screen(reply, {"a": CALL}, SETTINGS)
    return str(caught.value)


def test_an_answer_to_the_call_is_let_in():
    assert screen(GOOD, {"a": CALL}, SETTINGS) is ROW


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"client": "b"}, "it was not asked"),
        ({"run": "old"}, "it answers run 'old', not 'now': end the client's old process"),
        (
            {"round": 2},
            "it answers train.update of round 2, request 1, not train.update of round 3, request 1: too late",
        ),
        ({"request": 0}, "of round 3, request 0, not train.update of round 3, request 1"),
        ({"endpoint": "query.x"}, "it answers query.x of round 3"),
        ({"digest": "e"}, "start the client with this run's settings"),
        ({"row": None}, "install the same hansa on both sides"),
        ({"failure": Failure(stage="training", kind="E", text="why")}, "training: E: why"),
    ],
)
def test_any_other_reply_is_refused_with_the_reason(changed, told):
    assert told in refusal(replace(GOOD, **changed))


def test_a_difference_names_fields_and_files_with_the_coordinators_own_values():
    theirs = {"seed": "1", "strategy.lr": "1.0", "task file": "SHA-256 bb", "strategy.tau": "2"}
    told = difference(SETTINGS, differing(theirs, fingerprints(SETTINGS)))
    assert told == (
        "its configuration differs in strategy.tau, which is absent here; task file, which is SHA-256 aa here: "
        "make them the same"
    )


def test_a_long_difference_says_how_many_fields_more_and_is_bounded():
    assert "(and 7 more)" in difference({}, [str(i) for i in range(10)])
    assert len(differing({str(i): "0" for i in range(99)}, ["other=0"])) == MOST_DIFFERS
    assert "\x1b" not in "".join(shown(["a\x1b[2J" * 999] * 999)) and len(shown(["a"] * 999)) == MOST_DIFFERS


def test_a_fingerprint_tells_no_value_and_nothing_is_compared_where_none_were_told():
    assert (
        "1.0" not in "".join(fingerprints(SETTINGS))
        and len({len(w.rpartition("=")[2]) for w in fingerprints(SETTINGS)}) == 1
    )
    assert differing(SETTINGS, ()) == () and differing(SETTINGS, fingerprints(SETTINGS)) == ()
