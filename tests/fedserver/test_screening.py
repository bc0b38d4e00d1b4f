"""Which replies are let in, and what a refusal says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hansa.fedlink.messages import Call, Failure, Reply
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


def test_a_difference_names_field_and_both_values():
    told = difference(SETTINGS, {**SETTINGS, "strategy.lr": "0.5"})
    assert told == "its configuration differs: strategy.lr is 0.5 there and 1.0 here: make them the same"


def test_a_difference_names_a_file_and_what_only_one_side_has():
    told = difference(SETTINGS, {"seed": "1", "task file": "SHA-256 bb", "strategy.tau": "2"})
    assert "task file is SHA-256 bb there and SHA-256 aa here" in told
    assert "strategy.tau is 2 there and absent here" in told
    assert "strategy.lr is absent there and 1.0 here" in told


def test_a_long_difference_says_how_many_fields_more():
    assert "(and 7 more)" in difference({str(i): "0" for i in range(10)}, {})
