"""What hansa join takes, asks and keeps, and how a device without a line to the coordinator gets its certificate."""

from __future__ import annotations

import json
import stat
import sys

import pytest

from hansa.conf import join, main
from hansa.fedclient.place import Place

TASK = "class Pumps:\n    pass  # only read, never run here\n"
ENDS = ("--once", "once_after=0.5")


@pytest.fixture
def hansa(tmp_path, monkeypatch, capsys):
    """The command, in a folder with a federation of bergen and riga whose coordinator nobody runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)

    def run(*words: str) -> tuple[int, str]:
        code = main.run(list(words))
        told = capsys.readouterr()
        return code, told.out + told.err

    assert run("provision", "plants", "address=localhost:1", "task=./mine.py:Pumps", "clients=bergen,riga")[0] == 0
    return run


INVITATION = "plants/invitations/bergen.invitation"
INSECURE = ("insecure=true", "address=127.0.0.1:1", "client=bergen", "task=digits")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["home=x"], "name one invitation, or the home of a device that has joined"),
        (["a", "b"], "name one invitation"),
        (["--yess", INVITATION], "--yess does not exist: nearest is --yes."),
        ([INVITATION, "--yes", "rounds=3"], "setting 'rounds' is none of a place's own"),
        ([*INSECURE, "idle_after=soon"], "idle_after=soon: it must be a number"),
        ([*INSECURE, "log=yaml"], "log=yaml: it is text or json"),
        (["nowhere.invitation"], "cannot read nowhere.invitation"),
        (["mine.py"], "is no JSON text"),
        (["insecure=true", "address=127.0.0.1:1"], "insecure=true needs client="),
        (["insecure=true", "address=example.org:1", "client=a", "task=digits"], "a coordinator on this machine"),
        ([INVITATION], "nobody is here to approve this: read it, and repeat the command with --yes."),
    ],
)
def test_words_that_make_no_sense_are_told_in_one_line(hansa, words, told):
    code, text = hansa("join", *words)
    assert code == 1 and told in text.splitlines()[-1]


def signed(hansa, *words: str) -> str:
    """Join by hand: a request, a signature, and the answer taken; returns what the device said."""
    assert hansa("join", INVITATION, "--yes", "--request", "bergen.request")[0] == 0
    assert hansa("provision", "sign", "plants", "bergen.request", "out=bergen.crt")[0] == 0
    code, text = hansa("join", INVITATION, "certificate=bergen.crt", *ENDS, *words)
    assert code == 0, text
    return text


def test_a_device_without_a_line_gets_its_certificate_by_hand_and_stays(hansa, tmp_path):
    text = signed(hansa, "task.data_dir=/data", "client.device=cpu", "task.root=plants", "task.dataset=ylecun/mnist")
    assert "localhost:1 cannot be reached" in text and "is the coordinator running" in text
    home = tmp_path / "hansa-bergen"
    place = Place.read(home)
    assert (place.client, place.federation, list(place.settings)) == (
        "bergen",
        "plants",
        ["task.data_dir=/data", "client.device=cpu", f"task.root={tmp_path / 'plants'}", "task.dataset=ylecun/mnist"],
    )
    assert (home / "mine.py").read_text() == TASK and place.task["sha256"]
    for name in ("client.key", "identity.key"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    code, text = hansa("join", "hansa-bergen", *ENDS)
    assert code == 0 and list(Place.read(home).settings) == list(place.settings), "its settings are remembered"
    assert hansa("join", "hansa-bergen", "task.data_dir=", "task.root=", "task.dataset=", "node.share=2", *ENDS)[0] == 0
    assert list(Place.read(home).settings) == ["client.device=cpu", "node.share=2"], "and taken back one by one"
    assert f"this device joined before: {home} is used" in hansa("join", INVITATION, *ENDS)[1]


def test_a_device_without_a_certificate_is_told_to_repeat_with_its_invitation(hansa):
    assert hansa("join", INVITATION, "--yes", "--request", "bergen.request")[0] == 0
    assert "has no certificate yet: repeat the command with the invitation" in hansa("join", "hansa-bergen")[1]


def test_what_will_run_is_shown_before_anything_is_kept(hansa, tmp_path, monkeypatch):
    code, text = hansa("join", INVITATION)
    assert code == 1 and "federation   plants, coordinator localhost:1" in text
    assert "Pumps of mine.py, SHA-256 " in text and "\n    1 | class Pumps:\n    2 |     pass" in text
    assert "these 2 lines of code will run here" in text and "these were the 2 lines of mine.py" in text
    assert not (tmp_path / "hansa-bergen").exists()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert "not approved: nothing was kept" in hansa("join", INVITATION)[1]
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    assert hansa("join", INVITATION, "--request", "bergen.request")[0] == 0


def test_anothers_certificate_and_anothers_home_are_refused(hansa):
    signed(hansa)
    other = "plants/invitations/riga.invitation"
    code, text = hansa("join", other, "--yes", "home=hansa-bergen")
    assert code == 1 and "is the home of 'bergen' of 'plants'" in text
    assert hansa("join", other, "--yes", "--request", "riga.request")[0] == 0
    code, text = hansa("join", other, "certificate=bergen.crt")
    assert code == 1 and "the certificate is of 'bergen' and another key" in text


def test_the_log_may_be_json_and_a_home_may_be_insecure(hansa, tmp_path):
    code, text = hansa("join", *INSECURE, "log=json", *ENDS)
    assert code == 0 and "127.0.0.1:1 cannot be reached" in json.loads(text.splitlines()[-1])["told"]
    assert Place.read(tmp_path / "hansa-bergen").task == {"name": "digits"}


def test_two_do_not_work_in_one_home(hansa, tmp_path):
    assert hansa("join", *INSECURE, *ENDS)[0] == 0
    with join._alone(tmp_path / "hansa-bergen"):
        code, text = hansa("join", "hansa-bergen", *ENDS)
    assert code == 1 and "hansa-bergen: another hansa join works there: end it" in text
    assert hansa("join", "hansa-bergen", *ENDS)[0] == 0


def test_paths_of_a_place_are_kept_whole_for_the_worker_runs_elsewhere(hansa, tmp_path):
    own = (
        "strategy=./rule.py:Mine",
        "node.numbers=./numbers.txt",
        "node.role=../x",
        "node.share=mine.py",
        "task.root=mine.py",
    )
    assert hansa("join", *INSECURE, *own, *ENDS)[0] == 0
    kept = dict(word.split("=") for word in Place.read(tmp_path / "hansa-bergen").settings)
    assert kept == {
        "strategy": f"{tmp_path}/rule.py:Mine",
        "node.numbers": f"{tmp_path}/numbers.txt",
        "node.role": f"{tmp_path}/../x",
        "node.share": "mine.py",
        "task.root": f"{tmp_path}/mine.py",
    }
    place = Place.read(tmp_path / "hansa-bergen")
    place.settings = ["strategy=rule.py:Mine"]  # as homes had it that were made before
    place.write()
    assert hansa("join", "hansa-bergen", *ENDS)[0] == 0
    assert Place.read(tmp_path / "hansa-bergen").settings == [f"strategy={tmp_path}/rule.py:Mine"]


def test_help_says_how(hansa):
    assert "hansa join bergen.invitation --request FILE" in hansa("join", "--help")[1]


def test_a_task_file_that_hides_something_is_not_handed_out(hansa, tmp_path):
    (tmp_path / "mine.py").write_text("class Pumps:\n    pass  # \x1b[8mhidden\n")
    code, text = hansa("provision", "others", "address=localhost:1", "task=./mine.py:Pumps", "clients=bergen")
    assert code == 1 and "mine.py, line 2, column 13: U+001B" in text
