"""Selections in runs: the coordinator's part, and the same cohorts for a seed whatever carries the work out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from hansa.conf.compose import compose
from hansa.conf.errors import WrongValue
from hansa.conf.run import assemble
from hansa.conf.simulate import prepare
from hansa.fedserver.errors import SelectionError
from hansa.fedserver.policy import Pace
from hansa.strategies.losses import LOSSES
from tests.places import HOSPITALS, Tampered, coordinator, inline, run_of

CASES = {
    "poisson": ("cohort.size=3",),
    "weighted": ("cohort.size=3",),
    "round_robin": ("cohort.size=3",),
    "power_of_choice": ("cohort.size=3",),
    "oort": ("cohort.size=3", "selection.explore=0.6"),
    "by_tag": (
        "cohort.size=2",
        "selection.quotas={a: 1, b: 1}",
        "selection.tags={client-0: a, client-1: a, client-7: b}",
    ),
}


def overheard(run, lost=lambda name, call: False):
    """A coordinator, and who was asked in each round, by endpoint."""
    asked: dict[tuple[int, str], list[str]] = {}

    def hear(reply, call):
        asked.setdefault((call.round, call.endpoint), []).append(reply.client)
        return [] if lost(reply.client, call) else [reply]

    return coordinator(run, Tampered(inline(run), hear)), asked


def simulated(folder: Path, *settings: str):
    """A run's directory and summary."""
    words = ["task=digits", "clients=8", "rounds=4", "lost_rounds=4", f"run_dir={folder / 'run'}", *settings]
    with prepare(*compose(words)) as runner:
        runner.carry_out()
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return runner.summary, lines


@pytest.mark.parametrize("selection", CASES)
def test_cohorts_and_models_are_the_same_with_any_engine(selection, tmp_path):
    words = (f"selection={selection}", *CASES[selection])
    alone, lines = simulated(tmp_path / "alone", *words, "federation=inline")
    there, others = simulated(tmp_path / "there", *words, "federation=processes", "workers=2")
    assert there["model_sha256"] == alone["model_sha256"]
    same = ("cohort", "counted", "requests", "metrics", "lost", "bytes_up", "bytes_down")
    assert [[line[name] for name in same] for line in lines] == [[line[name] for name in same] for line in others]
    assert alone["sampling"] == ("poisson" if selection == "poisson" else None)
    assert alone.get("sampling_rate") == (3 / 8 if selection == "poisson" else None)


@pytest.mark.parametrize("selection", ["poisson", "round_robin", "oort"])
def test_on_devices_cohorts_are_drawn_of_those_who_are_there(selection, tmp_path):
    words = ("clients=60", "devices=phones", "rounds=3", f"selection={selection}", "cohort.size=4")
    summary, lines = simulated(tmp_path / "one", *words, "federation=inline")
    _, again = simulated(tmp_path / "two", *words, "federation=processes", "workers=2")
    trained = [
        {trip["client"] for trip in line["virtual"]["timeline"] if trip["endpoint"].startswith("train.")}
        for line in lines
        if not line["lost"]
    ]
    assert trained and len(set(map(frozenset, trained))) == len(trained)
    assert [line.get("virtual") for line in lines] == [line.get("virtual") for line in again]
    assert all(trip["fate"] != "absent" for trip in first_requests(lines)), "all who are asked first are there"
    assert summary["virtual_seconds"] > 30


def first_requests(lines):
    """Each round's first trips, which begin when its cohort is drawn."""
    for line in lines:
        if trips := line.get("virtual", {}).get("timeline"):
            yield from (trip for trip in trips if trip["endpoint"] == trips[0]["endpoint"])


def test_uniform_says_how_it_samples(tmp_path):
    summary, _ = simulated(tmp_path, "cohort.size=2", "federation=inline", "rounds=1")
    assert (summary["sampling"], summary["sampling_rate"]) == ("uniform without replacement", 0.25)


def test_round_robin_gives_every_hospital_its_turn():
    there, asked = overheard(run_of("selection=round_robin", "cohort.size=1", "rounds=8"))
    list(there.rounds())
    turns = [asked[number, "train.update"][0] for number in range(1, 9)]
    assert sorted(turns[:4]) == sorted(turns[4:]) == list(HOSPITALS)


def test_power_of_choice_asks_the_candidates_and_trains_those_with_the_highest_loss():
    run = run_of("selection=power_of_choice", "cohort.size=2", "selection.candidates=4")
    there, asked = overheard(run)
    list(there.rounds())
    assert there.seen == {}, "asked anew in each round, it remembers nothing"
    for number in (1, 2, 3):
        assert sorted(asked[number, LOSSES]) == list(HOSPITALS)
        assert len(asked[number, "train.update"]) == 2
    site = inline(run).site
    site.work.fit(there.fitted)
    model_P = there.job.strategy.init(there.job.layout.pack(there.job.tensors, "shared"))["model"]
    sums = site.work.losses(model_P, site.work.private(HOSPITALS), HOSPITALS)
    means_B = sums["loss"] / sums["examples"]
    highest = {HOSPITALS[place] for place in np.argsort(-means_B)[:2]}
    assert set(asked[1, "train.update"]) == highest
    assert sums["examples"].tolist() == [len(site.work.data(name).train) for name in HOSPITALS]


def test_losses_are_learnt_from_rows_and_from_evaluations_by_client():
    for words in (("strategy=median",), ("evaluation.by_client=true", "evaluation.every=1", "evaluation.to=cohort")):
        run = run_of("selection=power_of_choice", "selection.ask=false", "cohort.size=2", *words)
        there, asked = overheard(run)
        list(there.rounds())
        assert not [endpoint for _, endpoint in asked if endpoint == LOSSES]
        trained = {name for number in (1, 2, 3) for name in asked[number, "train.update"]}
        assert set(there.seen) == trained and len(trained) == 4, "the unknown come first"
        for name, seen in there.seen.items():
            assert seen.loss > 0 and seen.seconds is None
            assert seen.round == max(n for n in (1, 2, 3) if name in asked[n, "train.update"])


def test_oort_knows_losses_examples_and_rounds_of_the_drawn():
    there, asked = overheard(run_of("selection=oort", "cohort.size=2"))
    list(there.rounds())
    assert asked[1, LOSSES] == asked[1, "train.update"]
    work = there.federation.inner.site.work
    assert {n: s.examples for n, s in there.seen.items()} == {n: len(work.data(n).train) for n in there.seen}


def test_a_client_that_never_answers_loses_no_round_by_that():
    def lost(name, call):
        return name == "hungary"

    for selection in ("weighted", "oort"):
        there, asked = overheard(run_of(f"selection={selection}", "cohort.size=2", "rounds=4"), lost)
        records = list(there.rounds())[1:]
        assert not any(record.lost for record in records[1:])
        if selection == "weighted":
            assert [asked[n, LOSSES] for n in (2, 3, 4)] == [["hungary"]] * 3
            assert "hungary" not in itertools.chain(*(asked[n, "train.update"] for n in (1, 2, 3, 4)))


def test_a_poisson_cohort_waits_for_all_and_divides_by_the_expected_size():
    run = run_of("selection=poisson", "cohort.size=2", "strategy=fedavg_fixed", "rounds=12", "lost_rounds=12")
    there, asked = overheard(run)
    sizes = {record.cohort for record in there.rounds() if record.round and not record.lost}
    assert len(sizes) > 1 and max(sizes) > 2
    one = next(n for n in range(1, 13) if len(asked.get((n, "train.update"), [])) not in (0, 2))
    assert asked[one, "train.update"]


def test_a_draw_that_takes_nobody_is_a_lost_round():
    there, _ = overheard(run_of("selection=poisson", "cohort.size=1", "rounds=8", "lost_rounds=8"))
    lost = [record for record in there.rounds() if record.lost]
    assert lost and all(record.cohort == 0 and "a Poisson draw took 0 of 4 clients" in record.lost for record in lost)


def test_the_time_of_training_is_that_of_its_requests():
    pace = Pace()
    assert pace.training("riga") is None
    pace.note("train.one", "riga", 2.0)
    pace.note("train.two", "riga", 3.0)
    pace.note("evaluate.model", "riga", 50.0)
    assert pace.training("riga") == 5.0 and pace.training("bergen") is None


def test_losses_that_nobody_tells_are_refused():
    for words in (("selection=power_of_choice",), ("selection=oort",)):
        with pytest.raises(WrongValue, match=r"selection.ask=false: no client tells its loss: leave it true, set eval"):
            run_of(*words, "selection.ask=false", "cohort.size=2")


def test_a_table_of_others_is_refused_before_a_run_has_a_directory(tmp_path):
    (tmp_path / "weights.csv").write_text("client,weight\nbergen,1\n")
    words = ["selection=weighted", "selection.by=table", f"selection.table={tmp_path / 'weights.csv'}"]
    with pytest.raises(SelectionError, match=r"weights.csv, line 2: no client is called 'bergen'"):
        simulated(tmp_path, "federation=inline", "cohort.size=2", *words)
    assert not (tmp_path / "run").exists()


def test_a_query_of_the_same_name_is_refused():
    from hansa.conf.run import _selection

    run = run_of("selection=oort", "cohort.size=2")
    values = dict(compose(["selection=oort"])[0].selection)
    with pytest.raises(WrongValue, match=r"the task has a query of the name 'query.training_loss'"):
        _selection(values, run.job.cohort, run.job.endpoints)
    assert LOSSES not in assemble(*compose(["cohort.size=2"])).job.endpoints
