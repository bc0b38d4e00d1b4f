"""A run over the link learns what a simulation learns, whoever comes late, goes, comes back, or misbehaves."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from hansa.conf.run import Run
from hansa.fedclient.state import MemoryStates
from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.protocol import Desk, Limits
from hansa.fedlink.revocation import revoke
from hansa.fedlink.server import Server
from hansa.fedserver import waiting
from hansa.fedserver.coordinator import Coordinator
from hansa.fedserver.link import LinkFederation
from hansa.fedserver.presence import Presence
from hansa.fedserver.records import RoundRecord
from hansa.strategies.keys import from_seed
from tests.devices import Caller, Plant, Raw, Work, answers, channel
from tests.places import HOSPITALS, Told, coordinator, replayed, run_of

SECONDS = 30


class Link:
    """A coordinator on a link, and its devices."""

    def __init__(self, run: Run, server: Server, plant: Plant | None) -> None:
        self.run, self.server, self.plant, self.said = run, server, plant, list[str]()
        wires = {name: end.pipeline.wire for name, end in run.job.endpoints.items()}
        self.federation = LinkFederation(
            server=server,
            answers={name: wire.dim * wire.dtype.itemsize for name, wire in wires.items()},
            clock=time.monotonic,
            presence=Presence(clock=time.monotonic, say=self.said.append),
        )
        self.watch = Told()
        self.devices: dict[str, Caller] = {}

    def join(self, *names: str) -> None:
        for name in names:
            site = self.run.site(MemoryStates(), from_seed(self.run.job.seed, "client"))
            self.devices[name] = Caller.of(self.server.port, name, answers(site, name), self.plant).call()
        self.federation.gather(lambda: len(self.devices), SECONDS)

    def leave(self, name: str) -> None:
        self.devices.pop(name).drop()

    def coordinator(self) -> Coordinator:
        return Coordinator(
            job=self.run.job,
            federation=self.federation,
            run="run",
            own=from_seed(self.run.job.seed, "coordinator"),
            clock=time.monotonic,
            watch=self.watch,
        )

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < end, self.said
            self.federation.population()
            time.sleep(0.01)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    return Plant.make(tmp_path_factory.mktemp("plant") / "server")


@contextmanager
def link(run: Run, plant: Plant | None, spool: Path, **limits: float) -> Iterator[Link]:
    desk = Desk(software="test", run="run", limits=Limits(**limits))  # type: ignore[arg-type]
    folder = None if plant is None else plant.folder
    spool.mkdir(exist_ok=True)
    with Server(desk=desk, address="127.0.0.1:0", folder=folder, spool=spool) as server, ExitStack() as started:
        there = Link(run, server, plant)
        started.callback(lambda: [device.drop() for device in there.devices.values()])
        yield there


def learnt(coordinator: Coordinator) -> tuple[bytes, list[RoundRecord]]:
    records = list(coordinator.rounds())
    return coordinator.parameters().tobytes(), records


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "median"])
@pytest.mark.parametrize("secure", [True, False])
def test_the_link_learns_the_model_of_the_simulation(plant, tmp_path, strategy, secure):
    run = run_of(f"strategy={strategy}")
    with link(run, plant if secure else None, tmp_path) as there:
        there.join(*HOSPITALS)
        over_link, records = learnt(there.coordinator())
        assert over_link == learnt(coordinator(run_of(f"strategy={strategy}")))[0]
        assert [record.counted for record in records] == [4, 4, 4, 4] and not there.watch.refusals
        there.until(lambda: not any(device.client.holds() for device in there.devices.values()))
    assert not list(tmp_path.iterdir()), "no file of an answer is left"


@pytest.mark.parametrize("selection", ["power_of_choice", "oort", "weighted"])
def test_who_is_drawn_by_what_clients_tell_is_the_same_over_the_link(selection, plant, tmp_path):
    blind = ["selection.penalty=0.0"] * (selection == "oort")  # to how long they really take
    settings = (f"selection={selection}", "cohort.size=2", *blind)
    with link(run_of(*settings), plant, tmp_path) as there:
        there.join(*HOSPITALS)
        over_link, records = learnt(there.coordinator())
        assert over_link == learnt(coordinator(run_of(*settings)))[0]
        assert [record.cohort for record in records[1:]] == [2, 2, 2]


def test_clients_that_lose_their_line_in_mid_work_come_back_and_nothing_is_lost(plant, tmp_path):
    run = run_of("strategy=scaffold", "rounds=6")
    with link(run, plant, tmp_path) as there:
        there.join(*HOSPITALS)
        hungary, worked = there.devices["hungary"], there.devices["hungary"].work

        def losing(head: bytes, body: bytes) -> tuple[bytes, bytes]:
            if len(hungary.worked) in (2, 4):
                hungary.stream.cancel()
            return worked(head, body)

        hungary.work, hungary.comes_back = losing, True
        over_link, records = learnt(there.coordinator())
        assert over_link == learnt(coordinator(run_of("strategy=scaffold", "rounds=6")))[0]
        assert len(hungary.worked) == len(set(hungary.worked)), "no work was done twice"
        assert all(record.counted == 4 for record in records)


def test_a_client_that_is_gone_for_too_long_is_left_out_by_name_and_the_round_goes_on(plant, tmp_path):
    run = run_of("rounds=2")
    with link(run, plant, tmp_path) as there:
        there.federation.presence.patience = 0.3
        there.join(*HOSPITALS)
        riga = there.devices["hungary"]
        work = riga.work

        def leave(head: bytes, body: bytes) -> tuple[bytes, bytes]:
            if len(riga.worked) == 2:
                riga.stream.cancel()
            return work(head, body)

        riga.work = leave
        _, records = learnt(there.coordinator())
        assert [record.counted for record in records] == [4, 3, 3] and records[2].cohort == 3
        assert [(r.client, r.why) for r in there.watch.refusals] == [
            ("hungary", "link: Gone: the line of 'hungary' has been down for 0 s")
        ]
        assert any(text.startswith("hungary is gone: ") for text in there.said)


def test_a_rest_after_a_lost_round_is_over_as_soon_as_another_client_is_there(plant, tmp_path):
    run = run_of("rounds=2", "cohort.min=2")
    with link(run, plant, tmp_path) as there:
        there.join("cleveland", "hungary")
        broken, work = there.devices["hungary"], there.devices["hungary"].work
        broken.work = lambda head, body: (b"no answer", b"") if len(broken.worked) > 1 else work(head, body)
        coordinator = there.coordinator()
        coordinator.rest = there.federation.rest
        rounds = coordinator.rounds()
        assert [bool(next(rounds).lost) for _ in range(2)] == [False, True]
        late = Caller.of(there.server.port, "switzerland", there.devices["cleveland"].work, plant)
        site = run.site(MemoryStates(), from_seed(run.job.seed, "client"))
        late.work = answers(site, "switzerland")
        saying = there.federation.presence.say

        def join_then(text: str) -> None:
            saying(text)
            if text.startswith("the next round begins in 10 s"):
                there.devices["switzerland"] = late.call()

        there.federation.presence.say = join_then
        last = next(rounds)
        assert (last.cohort, last.counted, last.lost) == (3, 2, None)
        assert last.seconds < 10


def test_whom_a_request_waits_for_is_told_while_it_waits(plant, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "FIRST", 0.1)
    run = run_of("rounds=1")
    with link(run, plant, tmp_path) as there:
        there.join(*HOSPITALS)
        slow, told = there.devices["cleveland"], threading.Event()
        work, said = slow.work, there.said

        def wait(head: bytes, body: bytes) -> tuple[bytes, bytes]:
            assert len(slow.worked) < 2 or told.wait(SECONDS)
            return work(head, body)

        def say(text: str) -> None:
            said.append(text)
            if text.startswith("round 1 waits for cleveland (working "):
                told.set()

        slow.work, there.federation.vigil.say = wait, say
        _, records = learnt(there.coordinator())
        assert told.is_set() and [record.counted for record in records] == [4, 4]


def test_a_run_stands_still_while_nobody_is_connected_and_says_so(plant, tmp_path):
    with link(run_of(), plant, tmp_path) as there:
        there.federation.presence.patience = 0.1
        there.join("hungary")
        there.leave("hungary")
        waiting = threading.Thread(target=there.federation.population)
        waiting.start()
        end = time.monotonic() + SECONDS
        while not there.said or "the run waits" not in there.said[-1]:
            assert time.monotonic() < end, there.said
            if not waiting.is_alive():
                waiting = threading.Thread(target=there.federation.population)
                waiting.start()
            time.sleep(0.05)
        assert there.said[-1] == "the run waits for clients: 0 of at least 1 are connected"
        there.devices["hungary"] = Caller.of(
            there.server.port, "hungary", lambda head, body: (head, body), plant
        ).call()
        waiting.join(SECONDS)
        assert not waiting.is_alive() and there.federation.population() == ("hungary",)


def test_a_client_that_is_revoked_in_mid_run_is_cut_and_the_round_goes_on_without_it_by_name(tmp_path):
    plant, run = Plant.make(tmp_path / "server"), run_of("rounds=2")
    with link(run, plant, tmp_path / "spool") as there:
        there.join(*HOSPITALS)
        out, over = there.devices["hungary"], threading.Event()
        work = out.work

        def revoked(head: bytes, body: bytes) -> tuple[bytes, bytes]:
            if len(out.worked) == 2:
                serials = [there.server._service._peers["hungary"].serial]
                revoke(plant.folder.revocations().path, serials, "hungary", time.time())
                over.wait(SECONDS)
            return work(head, body)

        out.work = revoked
        _, records = learnt(there.coordinator())
        over.set()
        assert [record.counted for record in records] == [4, 3, 3] and records[2].cohort == 3
        (refusal,) = there.watch.refusals
        assert refusal.client == "hungary" and "the certificate of 'hungary' is revoked" in refusal.why


def test_what_comes_after_the_deadline_is_cancelled_and_harms_nothing(plant, tmp_path):
    run = run_of("rounds=2", "cohort.deadline=0.5")
    with link(run, plant, tmp_path) as there:
        there.join(*HOSPITALS)
        slow = there.devices["cleveland"]
        work = slow.work

        def wait(head: bytes, body: bytes) -> tuple[bytes, bytes]:
            time.sleep(1.5 if len(slow.worked) == 2 else 0)
            return work(head, body)

        slow.work = wait
        _, records = learnt(there.coordinator())
        assert records[1].counted == 3
        there.until(lambda: not slow.client.holds())


def test_with_over_selection_the_slowest_is_cancelled_and_named_as_not_needed(plant, tmp_path):
    run = run_of("rounds=2", "cohort.size=3", "cohort.over=0.3")
    with link(run, plant, tmp_path) as there:
        there.join(*HOSPITALS)
        slow, over = there.devices["cleveland"], threading.Event()
        work = slow.work

        def wait(head: bytes, body: bytes) -> tuple[bytes, bytes]:
            if len(slow.worked) == 2:
                over.wait(SECONDS)
            return work(head, body)

        slow.work = wait
        rounds = there.coordinator().rounds()
        records = [next(rounds), next(rounds)]
        over.set()
        assert (records[1].cohort, records[1].counted) == (4, 3)
        assert records[1].not_needed == ["cleveland"] and not records[1].refused and not there.watch.refusals
        assert [record.counted for record in rounds] == [3], "and it goes on"


def test_a_device_speaks_for_its_certificate_only_and_forged_answers_are_left_out(plant, tmp_path):
    run = run_of("rounds=1")
    with link(run, plant, tmp_path) as there:
        there.join(*HOSPITALS)
        liar, site = there.devices["cleveland"], run.site(MemoryStates(), b"k")
        liar.work = answers(site, "hungary")
        there.devices["switzerland"].work = lambda head, body: (b'{"version": 1}', b"")
        _, records = learnt(there.coordinator())
        told = {refusal.client: refusal.why for refusal in records[1].refused}
        assert "the device says that it is 'hungary': its certificate says 'cleveland'" in told["cleveland"]
        assert "what it should be" in told["switzerland"] and records[1].counted == 2


def test_an_answer_that_is_larger_than_its_row_ends_the_session_with_the_reason(plant, tmp_path):
    run = run_of("rounds=1")
    with link(run, plant, tmp_path) as there:
        there.join(*HOSPITALS[:3])
        there.federation.presence.patience = 0.3
        raw = Raw(channel(there.server.port, plant.ca, plant.side("va_long_beach"))).hello()
        there.until(lambda: "va_long_beach" in there.federation.population())

        def offer() -> None:
            work = raw.until("work")
            raw.send(have=pb.Have(request_id=work.request_id))
            raw.send(offer=pb.Offer(request_id=work.request_id, size=work.answer_limit + 1, sha256=b"0" * 32))

        offering = threading.Thread(target=offer)
        offering.start()
        _, records = learnt(there.coordinator())
        offering.join(SECONDS)
        goodbye = raw.until("goodbye")
        raw.close()
        assert "bytes, of which" in goodbye.text and "are allowed" in goodbye.text
        assert records[1].counted == 3


BUFFERED = ("strategy=scaffold", "cohort=asynchronous", "cohort.buffer=2", "rounds=6")


@pytest.mark.parametrize("secure", [True, False])
def test_an_asynchronous_run_waits_for_nobody_and_its_log_gives_the_model(plant, tmp_path, secure):
    run = run_of(*BUFFERED)
    with link(run, plant if secure else None, tmp_path) as there:
        there.join(*HOSPITALS)
        slow, go = there.devices["va_long_beach"], threading.Event()
        work = slow.work

        def wait(head: bytes, body: bytes) -> tuple[bytes, bytes]:
            if len(slow.worked) == 2:
                go.wait(SECONDS)
            return work(head, body)

        slow.work = wait
        coordinator, records = there.coordinator(), []
        for record in coordinator.rounds():
            records.append(record)
            if record.round == 4:
                assert "va_long_beach" not in {name for one in records for name in one.staleness}
                go.set()
                there.until(lambda: "va_long_beach" in there.federation._held)
        assert [record.counted for record in records[1:]] == [2] * 6 and not there.watch.refusals
        assert records[5].staleness["va_long_beach"] == 4, "it answered the first model in round 5"
        there.until(lambda: not any(device.client.holds() for device in there.devices.values()))
    assert not list(tmp_path.iterdir()), "no file of an answer is left"
    log = deque(name for record in records[1:] for name in record.staleness)
    again = replayed(run_of(*BUFFERED), log)
    assert [record.staleness for record in again.rounds()] == [record.staleness for record in records]
    assert again.parameters().tobytes() == coordinator.parameters().tobytes()


def test_asynchronous_clients_that_go_or_take_too_long_are_named_and_the_run_goes_on(plant, tmp_path):
    run = run_of("strategy=fedbuff", "cohort=asynchronous", "cohort.buffer=2", "cohort.deadline=0.6", "rounds=30")
    with link(run, plant, tmp_path) as there:
        there.federation.presence.patience = 0.2
        there.join(*HOSPITALS)
        slow, liar, over = there.devices["cleveland"], there.devices["hungary"], threading.Event()
        work = slow.work

        def wait(head: bytes, body: bytes) -> tuple[bytes, bytes]:
            if len(slow.worked) > 1:
                over.wait(SECONDS)
            return work(head, body)

        slow.work = wait
        rounds = there.coordinator().rounds()
        next(rounds)
        liar.work = lambda head, body: (b'{"version": 1}', b"")
        next(rounds)
        there.leave("switzerland")
        for _ in rounds:
            why = {refusal.client: refusal.why for refusal in there.watch.refusals}
            if {"cleveland", "hungary", "switzerland"} <= why.keys():
                break
        over.set()
        assert why["cleveland"] == "late: no answer within cohort.deadline" and "what it should be" in why["hungary"]
        assert why["switzerland"] == "the line of 'switzerland' has been down for 0 s"


def test_who_comes_while_a_buffer_waits_for_a_slow_client_begins_at_once(plant, tmp_path):
    run = run_of("strategy=fedbuff", "cohort=asynchronous", "cohort.buffer=2", "rounds=1")
    with link(run, plant, tmp_path) as there:
        there.join("cleveland", "hungary")
        slow, go = there.devices["hungary"], threading.Event()
        work = slow.work

        def wait(head: bytes, body: bytes) -> tuple[bytes, bytes]:
            if len(slow.worked) == 2:
                while "cleveland" in whole.flight.at_work:
                    time.sleep(0.01)
                time.sleep(0.2)  # by now only this one is waited for
                late = Caller.of(there.server.port, "switzerland", answers(site, "switzerland"), plant)
                there.devices["switzerland"] = late.call()
                assert go.wait(SECONDS)
            return work(head, body)

        slow.work = wait
        site = run.site(MemoryStates(), from_seed(run.job.seed, "client"))
        whole = there.coordinator()
        rounds = whole.rounds()
        next(rounds)
        assert set(next(rounds).staleness) == {"cleveland", "switzerland"}
        go.set()


def test_a_run_that_is_interrupted_takes_back_what_clients_are_at_work_on(plant, tmp_path):
    run = run_of("strategy=fedbuff", "cohort=asynchronous", "cohort.buffer=2", "rounds=2")
    with link(run, plant, tmp_path) as there:
        there.join(*HOSPITALS)
        rounds = there.coordinator().rounds()
        next(rounds)

        def interrupted(record: RoundRecord, client: str) -> None:
            there.until(lambda: len(there.federation._held) >= 2)
            raise KeyboardInterrupt

        there.watch.answered = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            next(rounds)
        assert not there.federation._held and not there.federation._standing
        there.until(lambda: not any(device.client.holds() for device in there.devices.values()))


def test_a_client_that_is_given_up_and_asked_again_keeps_the_state_that_was_counted(plant, tmp_path):
    run = run_of("strategy=scaffold", "cohort=asynchronous", "cohort.buffer=2", "cohort.deadline=0.5", "rounds=60")
    states = {name: MemoryStates() for name in HOSPITALS}
    with link(run, plant, tmp_path) as there:
        for name in HOSPITALS:
            site = run.site(states[name], from_seed(run.job.seed, "client"))
            device = there.devices[name] = Caller.of(there.server.port, name, answers(site, name), plant)
            device.work = late(device, (2, 3)) if name == "hungary" else late(device, range(100), 0.02)
            device.call()
        there.federation.gather(lambda: len(HOSPITALS), SECONDS)
        coordinator = there.coordinator()
        records = list(coordinator.rounds())
    assert "hungary" in {refusal.client for refusal in there.watch.refusals}
    assert any("hungary" in record.staleness for record in records)
    own = [version.states["scaffold"] for one in states.values() for version in one.versions.values()]
    assert len(own) == len(HOSPITALS), "each has one committed state, and nothing is staged"
    assert np.allclose(coordinator.state["control"], sum(own) / len(HOSPITALS), atol=1e-6)


def late(device: Caller, which: Container[int], seconds: float = 0.8) -> Work:
    """Return a device's work, of which some pieces, counted from 1, take so much longer."""
    work = device.work

    def slow(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        time.sleep(seconds if len(device.worked) in which else 0)
        return work(head, body)

    return slow
