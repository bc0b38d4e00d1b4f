"""Device models: what the parts compute, that chance is keyed, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, median

import pytest

from hansa.conf.components import fields, resolve
from hansa.conf.compose import compose
from hansa.conf.errors import ConfigError
from hansa.conf.virtual import demand_none, devices
from hansa.fedtasks.names import names
from hansa.simulations.devices import Availability, Compute, Devices, Dropout, Energy, Load, Luck, Network
from hansa.simulations.errors import DeviceError

LUCK = Luck(b"a key")
CLIENTS = names(2000)
HOUR, DAY = 3600.0, 86400.0
NIGHTS = Availability(start=22.0, hours=8.0, jitter=1.5, chance=0.8, zones=24)


@pytest.mark.parametrize("preset", ["phones", "hospitals", "sensors"])
def test_a_preset_sets_every_field_and_none_is_none(preset):
    config, _ = compose([f"devices={preset}"])
    made = devices(config)
    assert isinstance(made, Devices) and made != Devices()
    for node in config.devices.values():
        assert node.keys() - {"_target_"} == fields(resolve(node._target_)).keys()
    assert devices(compose([])[0]) is None


def test_chance_is_keyed_by_client_purpose_and_number_and_not_by_order():
    here = [LUCK.uniform("a", name, 1) for name in CLIENTS]
    assert here == [LUCK.uniform("a", name, 1) for name in reversed(CLIENTS)][::-1]
    for other in ((LUCK, "b", 1), (LUCK, "a", 2), (Luck(b"another"), "a", 1)):
        assert here[0] != other[0].uniform(other[1], CLIENTS[0], other[2])
    assert fmean(here) == pytest.approx(0.5, abs=0.03) and min(here) > 0 and max(here) < 1


def test_speed_is_log_normal_over_clients_and_falls_with_the_model():
    compute = Compute(operations=1e6, spread=0.7)
    taken = [compute.seconds(LUCK, name, 1, 0, (100, 6e4)) for name in CLIENTS]
    logs = [math.log(seconds) for seconds in taken]
    assert median(taken) == pytest.approx(6.0, rel=0.1)
    assert math.sqrt(fmean((x - fmean(logs)) ** 2 for x in logs)) == pytest.approx(0.7, rel=0.1)
    assert compute.seconds(LUCK, "riga", 9, 1, (100, 6e4)) == compute.seconds(LUCK, "riga", 1, 0, (100, 6e4))
    moving = Compute(operations=1e6, jitter=0.2)
    assert moving.seconds(LUCK, "riga", 1, 0, (9, 1.0)) != moving.seconds(LUCK, "riga", 2, 0, (9, 1.0))


def journey(now: float = 0.0, **parts):
    whole = Devices(
        compute=parts.pop("compute", Compute(operations=1.0)),
        network=parts.pop("network", Network(down=8.0, up=8.0)),
        **parts,
    )
    windows = whole.availability.windows(LUCK, CLIENTS)
    return whole.journey(LUCK, windows, CLIENTS[0], (1, 0), Load((2_000_000, 3_000_000), (5, 2.0)), now)


def test_a_journey_is_download_compute_and_upload():
    there = journey(now=100.0)
    assert there.phases == pytest.approx((2.0, 10.0, 3.0)) and there.heard == pytest.approx(115.0)
    assert there.until(107.0) == pytest.approx((2.0, 5.0, 0.0)) and there.until(1e9) == there.phases


def test_a_drop_is_noticed_later_and_says_in_which_phase():
    there = journey(dropout=Dropout(chance=1.0, noticed=30.0))
    assert 0 < there.stops < 15 and there.heard == there.stops + 30.0 and there.fate == "dropped"
    assert there.why.startswith(f"dropped: gone after {there.stops:.1f} s, in ")
    assert sum(there.until(1e9)) == pytest.approx(there.stops)
    share = fmean(Dropout(chance=0.08).share(LUCK, name, 1, 0) is not None for name in CLIENTS)
    assert share == pytest.approx(0.08, abs=0.02)


def test_who_leaves_in_mid_work_and_who_is_not_there(tmp_path):
    (tmp_path / "t.csv").write_text(f"client,start,stop\n{CLIENTS[0]},50,60\n")
    trace = Availability(trace=str(tmp_path / "t.csv"))
    assert journey(availability=trace).why == "not available"
    there = journey(now=52.0, availability=trace)
    assert (there.stops, there.why) == (60.0, "not available any more: gone after 8.0 s, in compute")


def test_energy_is_power_times_time():
    assert Energy(computing=3.0, sending=1.0).joules(10.0, 5.0) == 35.0


def test_days_have_the_hours_and_the_chance_that_were_asked_for_in_every_zone():
    windows = NIGHTS.windows(LUCK, CLIENTS)
    for hour in (0, 7, 13):
        share = fmean(windows.until(name, 3 * DAY + hour * HOUR) is not None for name in CLIENTS)
        assert share == pytest.approx(0.8 * 8 / 24, abs=0.03)
    local = Availability(start=22.0, hours=8.0).windows(LUCK, CLIENTS)
    assert local.until("riga", 23 * HOUR) == 30 * HOUR and local.until("riga", 21.9 * HOUR) is None
    assert local.until("riga", 3 * HOUR) == 6 * HOUR and local.next("riga", 7 * HOUR) == 22 * HOUR


@pytest.mark.parametrize("rule", [NIGHTS, Availability(start=8.0, hours=23.0, jitter=2.0), Availability(chance=0.5)])
def test_the_next_window_is_where_the_times_say_that_a_client_is_there(rule):
    windows = rule.windows(LUCK, CLIENTS)
    for name in CLIENTS[:40]:
        now, quarter = 0.0, HOUR / 4
        for _ in range(200):
            stop = windows.until(name, now)
            if stop is not None:
                assert windows.next(name, now) == now and windows.until(name, (now + stop) / 2) == stop
                assert windows.until(name, stop) is None
            else:
                assert windows.next(name, now) > now and windows.until(name, windows.next(name, now)) is not None
                middle = (now + windows.next(name, now)) / 2
                assert windows.until(name, middle) is None
            now += quarter


def test_all_the_time_is_all_the_time():
    windows = Availability().windows(LUCK, CLIENTS)
    assert windows.always and windows.until("riga", 1e12) == math.inf and windows.next("riga", 5.0) == 5.0


def traced(folder: Path, text: str):
    (folder / "trace.csv").write_text(text)
    return Availability(trace=str(folder / "trace.csv")).windows(LUCK, ("bergen", "riga"))


def test_a_trace_says_when_each_client_is_there(tmp_path):
    windows = traced(tmp_path, "client,start,stop\nriga,10,20\nriga,50,60\nriga,18,30.5\n")
    assert not windows.always
    assert [windows.until("riga", now) for now in (9, 10, 25, 30.5, 55)] == [None, 30.5, 30.5, None, 60.0]
    assert [windows.next("riga", now) for now in (0, 12, 31, 60)] == [10.0, 12, 50.0, math.inf]
    assert windows.until("bergen", 15) is None and windows.next("bergen", 0) == math.inf


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"trace.csv, line 1: the header is '': it must be client,start,stop\.$"),
        ("client,from,to\n", r"line 1: the header is 'client,from,to'"),
        ("client,start,stop\nriga,0,5\nriga,7\n", r"line 3: 'riga,7': write a client and two numbers of seconds"),
        ("client,start,stop\nriga,0,5,6\n", r"line 2: 'riga,0,5,6'"),
        ("client,start,stop\nriga,5,5\n", r"line 2: 'riga,5,5': .*0 <= start < stop"),
        ("client,start,stop\nriga,0,inf\n", r"line 2"),
        ("client,start,stop\nriga,0,soon\n", r"line 2"),
        ("client,start,stop\nrigga,0,1\n", r"line 2: no client is called 'rigga': nearest are riga"),
        ("client,start,stop\n", r"line 1: no client is ever there"),
    ],
)
def test_a_bad_trace_is_told_with_file_and_line(tmp_path, text, told):
    with pytest.raises(DeviceError, match=told):
        traced(tmp_path, text)


def test_a_trace_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DeviceError, match=r"devices.availability.trace=.*none.csv: No such file.*name a CSV file"):
        Availability(trace=str(tmp_path / "none.csv")).windows(LUCK, CLIENTS)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["devices=phoness"], r"devices=phoness does not exist: nearest are devices=phones, "),
        (["devices=phones", "+devices.netwrk.up=1"], r"devices.netwrk does not exist: nearest are network"),
        (["devices=phones", "+devices.network.upp=1"], r"devices.network.upp does not exist: Network has up"),
        (["devices=phones", "devices.network.up=fast"], r"devices.network.up='fast': it must be float"),
        (["devices=phones", "devices.network.up=0"], r"devices.network.up=0.0: it must be above 0\.$"),
        (["devices=phones", "devices.dropout.chance=1.5"], r"chance=1.5: it must be at least 0 and at most 1\.$"),
        (["devices=phones", "devices.availability.zones=25"], r"zones=25: it must be at least 1 and at most 24"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(words, told):
    with pytest.raises((ConfigError, DeviceError), match=told):
        devices(compose(words)[0])


def test_real_clients_have_real_devices():
    demand_none(compose([])[0])
    with pytest.raises(ConfigError, match="leave devices=none"):
        demand_none(compose(["devices=phones"])[0])
