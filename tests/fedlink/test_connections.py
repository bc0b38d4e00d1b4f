"""What connections may do, decided without a socket: time is passed in."""

from __future__ import annotations

import pytest

from hansa.fedlink.connections import Bucket, Connections, Rate, Rules
from hansa.fedlink.sockets import address_of

RULES = Rules(calls=Rate(burst=3, every=1), arrivals=Rate(burst=2, every=0.1), noise=Rate(burst=1000, every=10))


def lines(now: float = 0.0) -> Connections:
    return Connections(now, RULES)


def test_a_bucket_is_refilled_up_to_its_burst_and_says_how_long_to_wait():
    bucket = Bucket(Rate(burst=2, every=4), 0.0)
    assert [bucket.take(0.0), bucket.take(0.0), bucket.take(0.0)] == [0.0, 0.0, 0.25]
    assert bucket.take(0.25) == 0.0 and not bucket.full(0.3) and bucket.full(100.0)


def test_a_line_without_a_call_is_ended_after_a_while_and_one_with_a_call_is_not():
    there = lines()
    there.begin("busy", 0.0)
    assert there.look({"busy": 0, "idle": 0}, 1.0) == set()
    assert there.look({"busy": 0, "idle": 0}, RULES.idle + 1.1) == {"idle"}
    there.end("busy", 10.0)
    assert there.look({"busy": 0}, 10.0 + RULES.idle) == set()
    assert there.look({"busy": 0}, 10.1 + RULES.idle) == {"busy"}


def test_too_many_calls_end_a_line_and_count_against_strangers():
    there = lines()
    left = there.strangers.left
    assert [there.begin("loud", 0.0) for _ in range(4)] == [True, True, True, False]
    assert there.strangers.left == left - RULES.offence
    assert there.look({"loud": 0}, 0.1) == {"loud"}


def test_the_newest_line_of_a_client_wins_and_its_renewal_does_not_count():
    there = lines()
    for address, kind in (("old", "session"), ("renewal", "client")):
        there.begin(address, 0.0)
        assert there.admit(address, "riga", kind, 0.0)
    there.begin("new", 20.0)
    assert there.admit("new", "riga", "session", 20.0)
    assert there.look(dict.fromkeys(("old", "renewal", "new"), 0), 20.0) == set(), "it has a call, its goodbye goes out"
    there.end("old", 20.0)
    assert there.look(dict.fromkeys(("old", "renewal", "new"), 0), 20.1) == {"old"}


def test_a_client_that_comes_too_often_is_not_let_in_for_a_while():
    there = lines()
    assert [there.admit(f"{n}", "riga", "session", 0.0) for n in range(3)] == [True, True, False]
    assert there.admit("other", "bergen", "session", 0.0), "others are"
    assert there.admit("later", "riga", "session", 10.0)


def test_bytes_that_are_of_no_use_end_a_line():
    there = lines()
    there.begin("line", 0.0)
    assert there.admit("line", "riga", "session", 0.0)
    there.use("line", 5000)
    assert there.look({"line": 5500}, 1.0) == set()
    assert there.look({"line": 7000}, 2.0) == {"line"}, "500, then 1500 of which nobody had any use"


def test_a_stranger_may_send_little():
    there = Connections(0.0)
    assert there.look({"who": RULES.greeting}, 0.1) == set()
    assert there.look({"who": 3 * RULES.greeting}, 0.2) == {"who"}


@pytest.mark.parametrize(
    ("peer", "address"), [("ipv4:127.0.0.1:80", "127.0.0.1:80"), ("ipv6:%5B::1%5D:80", "::1:80"), ("unix:", ":")]
)
def test_grpc_s_names_of_peers_are_those_of_sockets(peer, address):
    assert address_of(peer) == address
