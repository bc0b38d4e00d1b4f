"""Virtual time: who is counted and how long it takes follows from devices alone, whatever carries the work out."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from hansa.conf.compose import compose
from hansa.conf.simulate import prepare
from hansa.fedclient.state import MemoryStates
from hansa.fedlink.messages import SETTLE, Call, Calls, Reply
from hansa.fedserver.policy import CohortPolicy, Pace, Wait
from hansa.fedserver.selection import Draw, Poisson, RoundRobin, Uniform
from hansa.fedserver.tally import Part
from hansa.fedtasks.names import names as numbered
from hansa.simulations.crowd import FEW, Crowd
from hansa.simulations.devices import Availability, Compute, Devices, Dropout, Energy, Load, Luck, Network
from hansa.simulations.devices.trace import Trace
from hansa.simulations.effort import Effort
from hansa.simulations.errors import DeviceError
from hansa.simulations.virtual import Virtual
from hansa.strategies import Context, LocalTraining, Plan
from tests.places import run_of

LUCK = Luck(b"a key")
NAMES = tuple("abcdefgh")
PHONES = ("task=digits", "clients=60", "rounds=3", "devices=phones", "cohort.size=4", "cohort.over=0.5")
IDEAL = (
    *("devices=hospitals", "devices.dropout.chance=0.0"),
    *(f"devices.{part}.{one}=0.0" for part in ("compute", "network") for one in ("spread", "jitter")),
)


def simulated(folder: Path, *settings: str):
    words = ["task=digits", "clients=5", "rounds=3", "federation=inline", f"run_dir={folder / 'run'}", *settings]
    with prepare(*compose(words)) as runner:
        runner.carry_out()
    return runner


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def test_who_is_not_needed_is_no_failure_and_stands_in_the_lines_by_name(tmp_path):
    done = simulated(tmp_path, *IDEAL, "cohort.size=2", "cohort.over=0.5", "evaluation.every=0")
    told = [line for line in lines(tmp_path) if line["round"]]
    assert [(line["cohort"], line["counted"], len(line["not_needed"])) for line in told] == [(3, 2, 1)] * 3
    assert done.summary["failures"] == 0 and not any(line["refused"] for line in told)
    assert all(why.startswith("not needed: 2 answers") for why in done.never.values())


def test_times_energy_and_model_are_the_same_with_any_engine_and_any_number_of_workers(tmp_path):
    alone = simulated(tmp_path / "alone", *PHONES).summary
    assert alone["virtual_seconds"] > 30 and alone["joules"] > 0 and alone["failures"] > 0
    virtual = [line["virtual"] for line in lines(tmp_path / "alone")]
    for engine, workers in (("processes", 1), ("processes", 3), ("vectorised", 2)):
        folder = tmp_path / f"{engine}{workers}"
        there = simulated(folder, *PHONES, f"federation={engine}", f"workers={workers}").summary
        same = ["virtual_seconds", "joules", "failures", "bytes_up", "bytes_down"]
        same += ["model_sha256"] if engine == "processes" else []
        assert {name: there[name] for name in same} == {name: alone[name] for name in same}
        assert [line["virtual"] for line in lines(folder)] == virtual
    assert simulated(tmp_path / "other", *PHONES, "seed=2").summary["virtual_seconds"] != alone["virtual_seconds"]


@pytest.mark.parametrize("strategy", ["fedbuff", "scaffold", "median_of_means"])
def test_an_asynchronous_run_repeats_with_any_engine_and_any_number_of_workers(tmp_path, strategy):
    words = (*PHONES[:-2], f"strategy={strategy}", "rounds=5")
    words += ("cohort=asynchronous", "cohort.size=9", "cohort.buffer=4", "evaluation.to=cohort")
    alone = simulated(tmp_path / "alone", *words).summary
    found = lines(tmp_path / "alone")
    assert max(max(line["staleness"].values()) for line in found) > 0 and alone["virtual_seconds"] > 10
    assert all(line["cohort"] == 9 and line["counted"] == 4 == len(line["staleness"]) for line in found)
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        there = simulated(folder, *words, "federation=processes", f"workers={workers}").summary
        same = ["model_sha256", "virtual_seconds", "joules", "failures", "bytes_up", "bytes_down"]
        assert {name: there[name] for name in same} == {name: alone[name] for name in same}
        assert [line["staleness"] for line in lines(folder)] == [line["staleness"] for line in found]


@pytest.mark.parametrize("words", [(), ("strategy=scaffold", "cohort.size=3"), ("strategy=median", "rounds=1")])
def test_devices_that_never_fail_leave_the_model_as_it_is_without_devices(tmp_path, words):
    bare = simulated(tmp_path / "bare", *words).summary
    there = simulated(tmp_path / "there", *words, *IDEAL).summary
    assert there["model_sha256"] == bare["model_sha256"] and there["metrics"] == bare["metrics"]
    assert "virtual_seconds" not in bare and "virtual" not in lines(tmp_path / "bare")[0]
    assert not (tmp_path / "bare" / "run" / "timeline.svg").exists()


@pytest.mark.parametrize("engine", ["inline", "processes"])
@pytest.mark.parametrize("strategy", ["median", "scaffold"])
def test_rows_and_states_are_right_where_only_some_are_counted(tmp_path, strategy, engine):
    words = ("clients=8", f"strategy={strategy}", f"federation={engine}", *IDEAL, "devices.dropout.chance=0.4")
    simulated(tmp_path / "mixed", *words, "evaluation.by_client=true")
    found = lines(tmp_path / "mixed")
    assert all(0 < line["counted"] < 8 for line in found)
    for line in found:
        fates = Counter(trip["fate"] for trip in line["virtual"]["timeline"] if trip["endpoint"].startswith("train"))
        assert fates["counted"] == line["counted"] and fates["dropped"] == 8 - line["counted"]


def test_without_chance_the_time_of_a_round_is_what_its_work_takes(tmp_path):
    chosen = [f"devices.{name}" for name in ("compute.operations=1e6", "compute.start=2.0", "compute.overhead=0.0")]
    chosen += [f"devices.network.{name}" for name in ("down=8.0", "up=4.0", "latency=0.5")]
    chosen += ["devices.energy.computing=10.0", "devices.energy.sending=1.0"]
    simulated(tmp_path, *IDEAL, *chosen, "clients=1", "rounds=1", "evaluation.every=0", "client.epochs=2")
    (line,) = lines(tmp_path)
    (trip,) = line["virtual"]["timeline"]
    parameters, examples = line["bytes_down"] // 4, 1438
    assert trip["compute"] == pytest.approx(2.0 + 2 * examples * 6 * parameters / 1e6, abs=1e-3)
    assert trip["download"] == pytest.approx(0.5 + line["bytes_down"] / 1e6, abs=1e-3)
    assert trip["upload"] == pytest.approx(0.5 + line["bytes_up"] / 0.5e6, abs=1e-3)
    seconds = trip["download"] + trip["compute"] + trip["upload"]
    assert line["virtual"]["seconds"] == pytest.approx(seconds, abs=1e-2) == line["virtual"]["until"]
    assert line["virtual"]["joules"] == pytest.approx(10 * trip["compute"] + trip["download"] + trip["upload"], abs=0.1)


def test_a_target_tells_its_virtual_seconds_and_bytes(tmp_path):
    words = ("devices=hospitals", "client.lr=0.5")
    reached = simulated(tmp_path / "a", *words, "target='server_accuracy: 0.2'").summary
    round = reached["rounds_to_target"]
    found = lines(tmp_path / "a")[:round]
    assert reached["virtual_seconds_to_target"] == pytest.approx(found[-1]["virtual"]["until"], abs=1e-3)
    assert reached["bytes_to_target"] == sum(line["bytes_up"] + line["bytes_down"] for line in found)
    never = simulated(tmp_path / "b", *words, "rounds=1", "target='server_accuracy: 2'").summary
    assert never["virtual_seconds_to_target"] is None


@dataclass
class Taker:
    """A federation that notes whom it is asked for."""

    asked: list[tuple[str, tuple[str, ...], float | None]] = field(default_factory=list)

    def population(self):
        return NAMES

    def ask(self, calls, wait):
        self.asked.append((calls.call.endpoint, tuple(calls.names), wait.deadline))
        yield from (Reply.to(call, name, call.digest) for name, call in calls.items())


@dataclass
class Sized(Effort):
    """An effort of so many seconds for each client on a device of one operation a second."""

    seconds: dict[str, int] = field(default_factory=dict)

    def of(self, call, client):
        return Load((0, 0), (self.seconds[client], 1.0))

    def did(self, call, client): ...


RUN = run_of("task=digits", "clients=8")


def virtual(seconds=range(1, 9), names=NAMES, **devices):
    parts = {"compute": Compute(operations=1.0), "network": Network(), "energy": Energy(computing=1.0), **devices}
    made = Devices(**parts)
    crowd = Crowd(names, made.availability.windows(LUCK, names))
    effort = Sized(RUN.work, RUN.job.endpoints, seconds=dict(zip(names, seconds, strict=True)))
    return Virtual(inner=Taker(), devices=made, effort=effort, crowd=crowd, luck=LUCK)


CALL = Call(endpoint="train.update", run="r", round=1, request=0, digest="d")


def asked(there, names=NAMES, pace=None, **policy):
    """Ask, and return the part that tells of virtual time, and who was really asked to work."""
    settings = CohortPolicy(**policy)
    wait = settings.wait(CALL.endpoint, pace or Pace(), len(names), cohort=True)
    first, *rest = there.ask(Calls(CALL, names, {"a": (0, 0)}), wait)
    assert isinstance(first, Part) and first.virtual is not None
    return first, [reply.client for reply in rest]


def test_only_those_who_are_counted_work_and_the_others_are_named_with_the_reason():
    there = virtual()
    part, worked = asked(there, size=5, min=1, over=0.6)
    assert worked == list("abcde") and there.now == 5.0
    why = {refusal.client: refusal.why for refusal in part.refused}
    assert why == dict.fromkeys("fgh", "not needed: 5 answers are in, which are enough")
    assert there.inner.asked == [("train.update", tuple("abcde"), None)]
    assert part.virtual.joules == 1 + 2 + 3 + 4 + 5 + 3 * 5
    assert [trip.fate for trip in part.virtual.timeline] == ["counted"] * 5 + ["cancelled"] * 3


def test_a_deadline_and_a_quorum_are_in_virtual_time():
    there = virtual(seconds=(1, 2, 3, 4, 5, 60, 70, 80))
    part, worked = asked(there, deadline=65.0)
    assert worked == list("abcdef") and there.now == 65.0
    assert part.refused[0].why == "late: no answer within cohort.deadline=65.0, which is over for g, h"
    part, worked = asked(there, quorum=0.5)
    assert worked == list("abcde") and there.now == 65.0 + 4 + 2, "4 answers in 4 s, and half of that as grace"
    assert part.virtual.seconds == 6.0 and part.virtual.until == 71.0


def test_a_client_that_is_known_to_be_fast_is_given_up_early():
    pace, there = Pace(), virtual(seconds=[1] * 8)
    asked(there, quorum=1.0, pace=pace)
    slow = virtual(seconds=[20, 20, 20, 20, 20, 20, 20, 15])
    part, worked = asked(slow, quorum=0.9, pace=pace)
    assert worked == [] and slow.now == 13.0 and "more than it was seen to need" in part.refused[0].why


def test_a_drop_is_waited_for_until_it_is_noticed():
    there = virtual(dropout=Dropout(chance=1.0, noticed=30.0))
    part, worked = asked(there, names=("h",))
    (trip,) = part.virtual.timeline
    assert worked == [] and trip.end < 8 and there.now == pytest.approx(trip.end + 30) and trip.fate == "dropped"
    assert part.refused[0].why == f"dropped: gone after {trip.end:.1f} s, in compute" and there.inner.asked == []


def test_who_answers_at_the_same_moment_is_taken_by_name_and_one_too_many_was_cancelled():
    there = virtual(seconds=[5] * 8)
    part, worked = asked(there, size=3, over=2.0)
    assert worked == list("abc") and [trip.fate for trip in part.virtual.timeline].count("cancelled") == 5


def test_settling_takes_no_time_and_goes_to_all():
    there = virtual()
    list(there.ask(Calls(replace(CALL, endpoint=SETTLE), NAMES, {}), Wait(deadline=1.0)))
    assert there.inner.asked == [(SETTLE, NAMES, None)] and there.now == 0.0


def trace(folder: Path, text: str) -> Availability:
    (folder / "trace.csv").write_text("client,start,stop\n" + text)
    return Availability(trace=str(folder / "trace.csv"))


def context(round: int = 1) -> Context:
    return Context(round=round, public=b"p", own=b"o")


def test_time_passes_until_somebody_is_there(tmp_path):
    there = virtual(availability=trace(tmp_path, "a,0,10\nb,50,60\nc,55,90\nd,58,70\n"))
    assert there.population() == ("a",) and there.clients() == 8
    there.now = 20.0
    assert there.population() == ("b",) and there.now == 50.0
    there.least = 3
    assert there.there().sample(context(), None) == ("b", "c", "d") and there.now == 58.0
    part, _ = asked(there, names=("a", "c"))
    assert [(one.client, one.why) for one in part.refused] == [("a", "not available")]
    assert part.virtual.seconds == 61.0, "the time without a request counts as well"
    there.now = 75.0
    with pytest.raises(DeviceError, match=r"after 75 s of virtual time there are never 3 clients at once: lower"):
        there.there().sample(context(), None)


def test_clients_that_are_never_there_at_once_end_the_run(tmp_path):
    there = virtual(availability=trace(tmp_path, "a,0,10\nb,10,20\nc,20,30\n"))
    there.least = 2
    with pytest.raises(DeviceError, match="never 2 clients at once"):
        there.there().sample(context(), 2)


@dataclass
class Watched:
    """Windows of every third client, which count how often they are asked."""

    always: bool = False
    looks: int = 0

    def until(self, client, now):
        self.looks += 1
        return math.inf if int(client.rpartition("-")[2]) % 3 == 0 else None

    def next(self, client, now):
        return now


def test_a_cohort_of_a_million_looks_at_few_and_takes_each_alike():
    windows, count = Watched(), Counter()
    crowd = Crowd(numbered(1_000_000), windows)
    for round in range(1, 41):
        drawn = crowd.draw(context(round), 100, 0.0)
        assert len(set(drawn)) == 100 and list(drawn) == sorted(drawn)
        count.update(int(name[7:]) * 9 // 1_000_000 for name in drawn)
        assert all(int(name[7:]) % 3 == 0 for name in drawn)
    assert windows.looks < 40 * 100 * 4
    expected = 4000 / 9
    assert sum((count[part] - expected) ** 2 / expected for part in range(9)) < 26.1, "chi squared, 8 degrees, 0.1 %"
    assert crowd.draw(context(1), 100, 0.0) == crowd.draw(context(1), 100, 0.0) != crowd.draw(context(2), 100, 0.0)


@pytest.mark.parametrize("selection", [Uniform(), Poisson(), RoundRobin()])
def test_any_selection_of_a_million_that_come_and_go_looks_at_few(selection):
    windows = Watched()
    there = replace(virtual(), crowd=Crowd(numbered(1_000_000), windows), least=50)
    memory, cohorts = selection.start(None), []
    for round in range(1, 6):
        now = Draw(ctx=context(round), there=there.there(), cohort=CohortPolicy(size=300, min=50))
        with pytest.raises(StopIteration) as done:
            next(selection.draw(memory, now))
        names, memory = done.value.value
        cohorts.append(names)
        assert all(int(name[7:]) % 3 == 0 for name in names)
    queue = 2 * 300 * 10 if isinstance(selection, RoundRobin) else 0
    assert windows.looks < 5 * (4 * 300 + 4 * 50) + queue, "who is owed a turn is looked at again in each round"
    expected = 100 if isinstance(selection, Poisson) else 300
    assert all(len(names) == pytest.approx(expected, abs=45) for names in cohorts)
    if isinstance(selection, RoundRobin):
        assert len({name for names in cohorts for name in names}) == 1500 and len(memory.owed) < 5000


def test_a_crowd_knows_who_is_here(tmp_path):
    there = virtual(availability=trace(tmp_path, "a,0,10\nb,50,60\n")).there()
    assert there.here("a") and not there.here("b") and not there.here("nobody")
    assert there.all() == ("a",) and there.names == NAMES and there.count is None
    always = virtual().there()
    assert always.count == 8 and always.here("b") and not always.here("nobody") and always.all() == NAMES


def test_where_hardly_anybody_is_there_all_are_looked_at():
    names = numbered(FEW + 1)
    few = Crowd(names, Trace({names[7]: [(0.0, 9.0)], names[8]: [(0.0, 9.0)]}))
    assert few.draw(context(), 20, 5.0) == (names[7], names[8])
    assert few.draw(context(), 1, 5.0)[0] in (names[7], names[8])


def test_without_windows_the_population_is_the_engines_own_and_the_cohort_that_of_other_engines():
    names = numbered(1_000_000)
    crowd = Crowd(names, Availability().windows(LUCK, names))
    assert crowd.here(0.0) is names and crowd.soonest(5, 3.0) == 3.0
    assert crowd.draw(context(), 10, 0.0) == context().sample(names, 10)


def test_effort_is_that_of_the_work(tmp_path):
    run = run_of("task=digits", "clients=5", "client.epochs=3")
    effort = Effort(run.work, run.job.endpoints)
    name = run.work.task.clients()[0]
    data = run.work.data(name)
    parameters = run.work.layout.size("shared")
    payload = {"model": np.zeros(parameters, np.float32)}
    there = effort.of(Call(**{**vars(CALL), "payload": payload}), name)
    assert there.work == (3 * len(data.train), 6 * parameters) and there.sizes[0] == 4 * parameters
    assert there.sizes[1] == run.job.endpoints["train.update"].pipeline.wire.dim * 4
    steps = run_of("task=digits", "clients=5", "client.steps=7", "client.batch_size=10")
    assert Effort(steps.work, steps.job.endpoints).of(CALL, name).work[0] == 70
    hearts = run_of()
    effort, client = Effort(hearts.work, hearts.job.endpoints), "hungary"
    test = hearts.work.data(client).test
    assert effort.of(replace(CALL, endpoint="evaluate.model"), client).work[0] == len(test)
    assert effort.of(replace(CALL, endpoint="query.moments"), client).work == (len(hearts.work.data(client).train), 0)


def test_work_that_was_kept_costs_nothing_when_it_is_asked_for_again():
    end = replace(RUN.job.endpoints["train.update"], keep=True)
    other = replace(end, work=LocalTraining(plan=Plan(epochs=3)))
    endpoints = {**RUN.job.endpoints, "train.update": end, "train.equal": end, "train.other": other}
    effort, name = Effort(RUN.work, endpoints), RUN.work.task.clients()[0]
    before = effort.of(CALL, name).work
    effort.did(CALL, name)
    assert before[0] > 0 and effort.of(replace(CALL, request=1), name).work == (0, 0.0)
    other, equal = (effort.of(replace(CALL, endpoint=f"train.{which}"), name).work for which in ("other", "equal"))
    assert equal == (0, 0.0) and other == (3 * before[0], before[1])
    assert effort.of(replace(CALL, round=2), name).work == before
    effort.did(replace(CALL, round=2), "another")
    assert effort.of(replace(CALL, round=2), name).work == before


def test_data_that_cannot_be_read_is_told_by_the_client_itself(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("bergen", "riga"):
        (tmp_path / "data" / f"{name}.csv").write_text("age\n1\n")
    run = run_of(f"task.data_dir={tmp_path / 'data'}")
    assert Effort(run.work, run.job.endpoints).of(CALL, "bergen").work[0] == 0
    call = replace(CALL, endpoint="query.moments", digest=run.job.digest)
    assert "there is no column" in str(run.site(MemoryStates(), b"k").answer(call, "bergen").failure)
