"""What a person sees of a run on a server, and what a machine that collects logs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from rich.text import Text

from hansa.fedlink.protocol.effects import Connected, Delivered, Dropped, Notice
from hansa.fedlink.service import Barred
from hansa.fedserver.attendance import LATE
from hansa.fedserver.presence import Presence
from hansa.fedserver.records import Refusal, RoundRecord
from hansa.fedserver.watch import Json, Lines, Screen, line

RECORD = RoundRecord(round=2, cohort=2, counted=1, metrics={"loss": 0.5}, refused=[Refusal("riga", "late")])


def test_json_tells_all_that_happens_with_its_time():
    out = io.StringIO()
    with Json(lambda: 0.0, out) as view:
        view.say("bergen is connected")
        view.opened(RECORD, "train.update", ("bergen", "riga"), 2)
        view.joined(RECORD, ("visby",))
        view.answered(RECORD, "bergen")
        view.refused(RECORD, RECORD.refused[0])
        view.closed(RECORD)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["told", "request", "joined", "answer", "refused", "round"]
    assert {line["at"] for line in lines} == {"1970-01-01T00:00:00.000+00:00"}
    assert lines[1]["clients"] == ["bergen", "riga"] and lines[5]["metrics"] == {"loss": 0.5}


def test_json_has_no_number_that_is_not_finite():
    out = io.StringIO()
    odd = {"loss": float("nan"), "rate": float("inf")}
    Json(lambda: 0.0, out).closed(RoundRecord(round=1, cohort=1, metrics=odd, clients={"riga": odd}))
    (line,) = out.getvalue().splitlines()
    told = json.loads(line, parse_constant=pytest.fail)
    assert told["metrics"] == told["clients"]["riga"] == {"loss": None, "rate": None}


def test_a_buffer_is_not_told_as_a_share_of_those_who_are_at_work():
    record = RoundRecord(round=2, cohort=1, counted=4, staleness=dict.fromkeys("abcd", 0))
    assert line(record, 3).startswith("round 2/3: 4 answers, 1 at work, ")
    single = RoundRecord(round=2, cohort=3, counted=1, staleness={"riga": 2})
    assert line(single, 3).startswith("round 2/3: 1 answer, 3 at work, ")
    assert line(RECORD, 3).startswith("round 2/3: 1/2 clients, ")


def test_lines_say_who_comes_and_goes():
    out = io.StringIO()
    Lines(3, out).say("bergen is gone: the line broke")
    assert out.getvalue() == "bergen is gone: the line broke\n"


def test_the_screen_says_what_each_client_does_and_since_when():
    out = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Screen(3, out, doing=lambda name: "working 12 s" if name == "riga" else "") as view:
        view.opened(RECORD, "train.update", ("bergen", "riga"), 2)
        view.joined(RECORD, ("visby",))
        view.say("bergen is connected")
        out.print(view._view())
    told = out.file.getvalue()
    assert "waiting for bergen, riga (working 12 s), visby" in told and "bergen is connected" in told


def test_presence_follows_what_happens_and_gives_up_who_is_gone_for_long():
    now, said = [0.0], list[str]()
    there = Presence(clock=lambda: now[0], say=said.append, patience=60)
    assert there.here() == () and there.lost("riga") and there.doing("riga") == ""
    there.note(Connected(session=1, name="riga", version=1, software="x"))
    now[0] = 5.0
    assert there.doing("riga") == "connected 5 s"
    there.note(Delivered(name="riga", request_id="r"))
    now[0] = 7.0
    assert there.doing("riga") == "working 2 s"
    there.note(Connected(session=2, name="riga", version=1, software="x"))
    there.note(Dropped(session=1, name="riga", text="replaced"))
    assert there.doing("riga") == "connected 0 s", "the older session's end is not the client's"
    there.note(Dropped(session=2, name="riga", text="the line broke"))
    there.note(Delivered(name="riga", request_id="r"))
    now[0] = 60.0
    assert there.here() == ("riga",) and there.doing("riga") == "gone 53 s"
    now[0] = 70.0
    assert there.here() == () and there.lost("riga")
    there.note(Notice(text="a clock is off", name="riga"))
    assert said == ["riga is connected (x)", "riga is gone: the line broke", "a clock is off"]


def test_who_stands_still_is_named_as_silent_until_it_is_gone():
    silence = dict[str, float]()
    there = Presence(clock=lambda: 9.0, say=lambda text: None, silence=lambda name: silence.get(name, 0.0))
    there.note(Connected(session=1, name="riga", version=1, software="x"))
    assert there.doing("riga") == "connected 0 s"
    silence["riga"] = 8.0
    assert there.doing("riga") == "silent 8 s"
    there.note(Dropped(session=1, name="riga", text="the line broke"))
    assert there.doing("riga") == "gone 0 s"


def test_presence_says_why_somebody_may_not_have_been_asked():
    there = Presence(clock=lambda: 0.0, say=lambda text: None)
    for name in ("bergen", "visby"):
        there.note(Connected(session=1, name=name, version=1, software="x"))
    there.note(Barred(name="visby", text="revoked"))
    never = {"riga": "never connected", "visby": "revoked"}
    assert there.absent(["bergen", "riga"], all_asked=False) == never
    assert there.absent(["bergen", "riga"], all_asked=True) == never | {"bergen": LATE}


def test_a_client_that_comes_and_goes_for_ever_writes_little_and_others_are_told():
    told, now = [], [0.0]
    presence = Presence(clock=lambda: now[0], say=told.append)
    for session in range(3000):
        now[0] = session / 50
        presence.note(Connected(session=session, name="riga", version=1, software="hansa " + "9" * 90))
        presence.note(Notice(name="riga", text="the clock of client 'riga' is behind"))
        presence.note(Dropped(session=session, name="riga", text="gone"))
    assert len(told) == 10 + 5 and "more lines of it were left out)" in told[-1]
    presence.note(Connected(session=9999, name="bergen", version=1, software="hansa"))
    assert told[-1] == "bergen is connected (hansa)"


@pytest.mark.parametrize("kind", ["lines", "json"])
def test_a_client_that_is_refused_for_ever_is_told_now_and_again(kind):
    out, now = io.StringIO(), [0.0]
    view = Lines(9, out, lambda: now[0]) if kind == "lines" else Json(lambda: now[0], out)
    for number in range(1000):
        now[0] = number / 10
        view.refused(RoundRecord(round=number, cohort=1), Refusal("riga", "training: ValueError"))
    lines = out.getvalue().splitlines()
    assert len(lines) == 10 + 9 and "more lines of it were left out)" in lines[-1]


def test_what_looks_like_markup_is_shown_as_it_is():
    out = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Screen(3, out, doing=lambda name: "[red]works[/red]") as view:
        view.opened(RECORD, "query.[bold]x[/bold]", ("[link=http://x]riga[/link]", "[/]"), 2)
        view.refused(RECORD, Refusal("[/]", "[blink]late[/blink]"))
        view.say("[red]all is well[/red]")
    shown = Text.from_ansi(out.file.getvalue()).plain
    for text in ("query.[bold]x[/bold]", "[link=http://x]riga[/link] ([red]works", "[blink]late", "[red]all is well"):
        assert text in shown
