"""Any Flower ServerApp drives Hansa's devices, which run the ClientApp that was approved there: real processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.fleet import Fleet, fleet

APPS = Path(__file__).parents[1] / "examples" / "flower_apps"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Two devices with numbers of their own, which approved the example's ClientApp."""
    home = tmp_path_factory.mktemp("flower")
    shutil.copytree(APPS, home, dirs_exist_ok=True)
    with fleet(home) as made:
        made.provision("bergen", "riga", task="./client_app.py:app")
        for name, numbers in (("bergen", "1 2 3"), ("riga", "10")):
            (home / f"{name}.txt").write_text(numbers)
            made.join(name, f"node.numbers={home / name}.txt")
        yield made


def served(there: Fleet, *words: str, code: int = 0) -> str:
    there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", *words)
    assert there.processes.pop("serve").wait(60) == code, there.log("serve")
    return there.log("serve")


def test_a_stock_server_app_learns_from_devices(there):
    told = served(there, "app=./server_app.py:app", "nodes=2", "rounds=3", "rate=1.0")
    assert "the mean is 4.000 after 3 rounds" in told, "(1 + 2 + 3 + 10) / 4; each device counted its rounds on disk"
    summary = json.loads(told.splitlines()[-1])
    assert (summary["clients"], summary["stopped"]) == (2, "finished")


def test_an_app_that_raises_is_told_and_the_device_stays(there):
    (there.home / "riga.txt").rename(there.home / "moved.txt")
    told = served(there, "app=./server_app.py:app", "nodes=2", "rounds=1", "rate=1.0")
    assert "FileNotFoundError: client_app.py, line 17 (its text is in the device's log)" in told
    assert "riga.txt" not in told and "the mean is 2.000 after 1 rounds" in told
    assert "riga.txt not found. (client_app.py, line 17)" in there.log("riga")
    assert there.processes["riga"].poll() is None
    (there.home / "moved.txt").rename(there.home / "riga.txt")


def test_a_run_of_hansas_is_refused_where_a_flower_app_was_approved(there):
    told = served(there, "task=heart_disease", "rounds=1", "lost_rounds=1", "start_with=2", code=1)
    assert "app" in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("app", "why"), [("./server_app.py:main", "it names no ServerApp"), ("./absent.py:app", "absent.py is no file")]
)
def test_what_is_no_server_app_is_told_in_one_line(there, app, why):
    told = served(there, f"app={app}", code=1)
    assert why in told.splitlines()[-1] and "Traceback" not in told
