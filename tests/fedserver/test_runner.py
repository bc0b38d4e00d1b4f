"""However a run ends, the directory holds what was learnt and the summary says why."""

from __future__ import annotations

import hashlib
import io
import json
import time
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from hansa.fedlink.messages import Failure
from hansa.fedserver.attendance import ASKED, never_counted
from hansa.fedserver.errors import RecordError, RunFailed, TooFewClients
from hansa.fedserver.records import Refusal, RoundRecord
from hansa.fedserver.run_directory import RunDirectory
from hansa.fedserver.runner import Runner
from hansa.fedserver.watch import Lines, Screen
from tests.places import HOSPITALS, Tampered, coordinator, inline, run_of


class Stopping(Lines):
    """Lines that raise an error at one moment: what happens, in which round, for which endpoint."""

    def __init__(self, error: BaseException, *moment: object) -> None:
        super().__init__(9, io.StringIO())
        self.error, self.moment, self.endpoint = error, moment, ""

    def opened(self, record, endpoint, names, wanted):
        self.endpoint = endpoint
        self.stop("opened", record)

    def answered(self, record, client):
        self.stop("answered", record)

    def closed(self, record):
        self.endpoint = ""
        self.stop("closed", record)

    def stop(self, what, record):
        if (what, record.round, self.endpoint) == self.moment:
            raise self.error


def runner(tmp_path, run, view=None, change=lambda reply, call: [reply]):
    view = view or Lines(run.job.rounds, io.StringIO())
    there = coordinator(run, Tampered(inline(run), change))
    there.watch = there.exchange.watch = view
    directory = RunDirectory(tmp_path / "run")
    return Runner(coordinator=there, directory=directory, view=view, clock=time.perf_counter)


def left(tmp_path):
    """The summary of a run that has ended, and the hash of the model that it left."""
    order = ("logit.weight", "logit.bias", "standardise.mean", "standardise.scale")
    tensors = load_file(tmp_path / "run" / "model.safetensors")
    raw = b"".join(tensors[name].astype("<f4").tobytes() for name in order)
    return json.loads((tmp_path / "run" / "summary.json").read_text()), hashlib.sha256(raw).hexdigest()


def hash_after(tmp_path, rounds):
    there = runner(tmp_path / "other", run_of(f"rounds={rounds}"))
    there.carry_out()
    return there.summary["model_sha256"]


def test_a_finished_run_says_so_and_hashes_the_model_that_it_left(tmp_path):
    there = runner(tmp_path, run_of())
    there.carry_out()
    summary, on_disk = left(tmp_path)
    assert summary == there.summary and summary["stopped"] == "finished"
    assert summary["model_sha256"] == on_disk


@pytest.mark.parametrize(
    "moment",
    [
        ("opened", 3, "train.update"),
        ("answered", 3, "train.update"),
        ("opened", 3, "evaluate.model"),
        ("answered", 3, "evaluate.model"),
        ("closed", 2, ""),
    ],
    ids=str,
)
def test_an_interrupt_leaves_the_model_of_the_last_whole_round(tmp_path, moment):
    there = runner(tmp_path, run_of("rounds=9", "evaluation.every=1"), Stopping(KeyboardInterrupt(), *moment))
    with pytest.raises(KeyboardInterrupt):
        there.carry_out()
    summary, on_disk = left(tmp_path)
    assert (summary["stopped"], summary["rounds"]) == ("interrupted", 2)
    assert summary["model_sha256"] == on_disk == hash_after(tmp_path, 2)


def test_an_interrupt_before_the_first_round_leaves_a_model_too(tmp_path):
    there = runner(tmp_path, run_of(), Stopping(KeyboardInterrupt(), "answered", 0, "query.moments"))
    with pytest.raises(KeyboardInterrupt):
        there.carry_out()
    summary, on_disk = left(tmp_path)
    assert summary["rounds"] == 0 and summary["model_sha256"] == on_disk


def test_an_error_that_is_nobodys_message_is_named_by_its_type(tmp_path):
    there = runner(tmp_path, run_of("rounds=9"), Stopping(ZeroDivisionError("odd"), "closed", 2, ""))
    with pytest.raises(ZeroDivisionError):
        there.carry_out()
    assert left(tmp_path)[0]["stopped"] == "ZeroDivisionError"


def test_lost_rounds_leave_the_model_of_the_last_good_one(tmp_path):
    def gone(reply, call):
        return [] if call.round > 2 and reply.client == "hungary" else [reply]

    there = runner(tmp_path, run_of("rounds=9", "lost_rounds=2", "cohort.min=4"), change=gone)
    with pytest.raises(RunFailed):
        there.carry_out()
    summary, on_disk = left(tmp_path)
    assert summary["rounds"] == 4 and summary["stopped"].startswith("2 rounds in a row were lost; the last: 3 of 4")
    assert summary["model_sha256"] == on_disk == hash_after(tmp_path, 2)


@pytest.mark.parametrize(("rounds", "told"), [(1, "the only round was lost"), (2, "2 rounds in a row were lost")])
def test_a_run_that_learns_nothing_does_not_say_finished(tmp_path, rounds, told):
    def gone(reply, call):
        return [] if call.round else [reply]

    with pytest.raises(RunFailed, match=told):
        runner(tmp_path, run_of(f"rounds={rounds}", "lost_rounds=9"), change=gone).carry_out()
    assert left(tmp_path)[0]["stopped"].startswith(told)


def test_lost_rounds_are_counted_in_a_row(tmp_path):
    def odd(reply, call):
        return [] if call.round % 2 else [reply]

    there = runner(tmp_path, run_of("rounds=7", "lost_rounds=2"), change=odd)
    there.carry_out()
    assert there.summary["rounds"] == 7 and there.summary["stopped"] == "finished"


def test_a_summary_has_no_number_that_is_not_finite(tmp_path):
    there = runner(tmp_path, run_of("rounds=1"))
    there.directory.records.append(RoundRecord(round=1, cohort=1, metrics={"loss": float("nan"), "accuracy": 0.5}))
    there._end("finished", 1.0)
    text = (tmp_path / "run" / "summary.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["metrics"] == {"loss": None, "accuracy": 0.5}


def test_too_few_clients_leave_a_summary_that_says_so(tmp_path):
    with pytest.raises(TooFewClients):
        runner(tmp_path, run_of("cohort.min=5")).carry_out()
    summary, _ = left(tmp_path)
    assert summary["rounds"] == 0 and "4 clients are there and a round needs 5" in summary["stopped"]


def test_failures_count_answers_that_were_left_out(tmp_path):
    there = runner(tmp_path, run_of(), change=lambda r, c: [r, r] if r.client == "hungary" else [r])
    there.carry_out()
    assert there.summary["failures"] == 4 and there.summary["clients"] == 4


def test_clients_that_were_counted_in_no_round_are_named_with_their_last_reason(tmp_path):
    def odd(reply, call):
        if reply.client == "hungary" and call.round:
            return [replace(reply, row=None, failure=Failure(stage="training", kind="Odd", text=f"round {call.round}"))]
        return [reply] if reply.client == "cleveland" or call.round < 2 else []

    out = io.StringIO()
    there = runner(tmp_path, run_of("rounds=3"), Lines(3, out), odd)
    there.absent = lambda: {"riga": "never connected", "cleveland": "it was not there when a round began"}
    there.carry_out()
    expected = {"hungary": "training: Odd: round 3", "riga": "never connected"}
    assert there.never == there.summary["never_counted"] == left(tmp_path)[0]["never_counted"] == expected
    assert out.getvalue().splitlines()[-1] == (
        "counted in no round: hungary (training: Odd: round 3), riga (never connected)"
    )


def test_a_client_is_counted_in_no_round_if_all_that_it_answered_were_lost(tmp_path):
    def gone(reply, call):
        return [] if call.round and reply.client == "hungary" else [reply]

    there = runner(tmp_path, run_of("rounds=9", "lost_rounds=2", "cohort.min=4"), change=gone)
    with pytest.raises(RunFailed):
        there.carry_out()
    assert there.never == dict.fromkeys(HOSPITALS, ASKED)


def test_who_was_never_drawn_is_no_failure_and_who_was_counted_once_is_none_either(tmp_path):
    there = runner(tmp_path, run_of("rounds=1", "cohort.size=1"), change=lambda r, c: [] if c.round == 2 else [r])
    there.carry_out()
    assert there.summary["never_counted"] == {}
    there = runner(tmp_path / "second", run_of("rounds=2"), change=lambda r, c: [] if c.round == 2 else [r])
    there.carry_out()
    assert there.summary["never_counted"] == {}


def test_of_many_that_were_counted_in_no_round_some_are_named():
    told = never_counted({f"client-{n:03}": "never connected" for n in range(250)})
    assert len(told["never_counted"]) == 100 and told["never_counted_more"] == 150


def test_a_disk_that_fills_is_told_and_the_summary_names_the_model_that_is_there(tmp_path):
    there = runner(tmp_path, run_of("rounds=9"))
    real = there.directory.model

    def full(tensors):
        if len(there.directory.records) > 3:
            raise RecordError("cannot write the model: no space")
        real(tensors)

    there.directory.model = full
    with pytest.raises(RecordError, match="cannot write the model"):
        there.carry_out()
    summary, on_disk = left(tmp_path)
    assert summary["stopped"] == "cannot write the model: no space"
    assert summary["model_sha256"] == on_disk == hash_after(tmp_path, 2)


def record(**fields):
    return RoundRecord(**{"round": 1, "cohort": 4, "counted": 4, **fields})


def test_lines_tell_rounds_and_the_first_refusals():
    out = io.StringIO()
    with Lines(2, out) as lines:
        there = record(counted=1)
        for name in ("a", "b", "c", "d"):
            there.refused.append(Refusal(name, "odd"))
            lines.refused(there, there.refused[-1])
        lines.closed(there)
    told = out.getvalue().splitlines()
    assert told[:3] == [f"round 1: {name} is left out: odd" for name in "abc"]
    assert told[3].startswith("round 1/2: 1/4 clients") and len(told) == 4


def test_the_screen_shows_whom_it_waits_for_and_what_was_refused():
    screen = Screen(2, Console(file=(out := io.StringIO()), width=100, force_terminal=True))
    with screen:
        screen.opened(there := record(), "train.update", (*HOSPITALS, "x"), 5)
        screen.answered(there, "cleveland")
        screen.live.refresh()
        assert "waiting for hungary, switzerland, va_long_beach and 1 more" in out.getvalue()
        screen.refused(there, Refusal("hungary", "it holds nan"))
        screen.closed(record(metrics={"auc": None}))
    assert "round 1: hungary is left out: it holds nan" in out.getvalue()
    assert "auc n/a" in out.getvalue()


def test_a_run_that_cannot_be_told_apart_by_its_directory_is_not_started(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="exists already: choose another run_dir"):
        RunDirectory(tmp_path / "file")
    with pytest.raises(RecordError, match=r"cannot write .*file/run: Not a directory: free some space or choose"):
        RunDirectory(tmp_path / "file" / "run")


def test_the_model_on_disk_is_replaced_as_a_whole(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.round(record(), lambda: {"w": np.ones(3, np.float32)})
    (tmp_path / "run" / ".model.safetensors.new").mkdir()
    with pytest.raises(RecordError, match="the model of round 1 is kept"):
        directory.round(record(round=2), lambda: {"w": np.zeros(3, np.float32)})
    assert load_file(tmp_path / "run" / "model.safetensors")["w"].tolist() == [1, 1, 1]
