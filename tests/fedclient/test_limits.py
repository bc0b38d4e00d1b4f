"""site.yaml: what a device's owner allows is written down for them, read strictly, and holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hansa.fedclient import limits
from hansa.fedclient.limits import ABOUT, SiteLimits, most_memory
from hansa.fedlink.errors import FileError
from tests.fleet import fleet


def test_the_first_time_writes_the_defaults_which_say_what_they_are(tmp_path):
    assert SiteLimits.read(tmp_path) == SiteLimits()
    text = (tmp_path / "site.yaml").read_text()
    assert [line.partition(":")[0] for line in text.splitlines()[3:]] == [*SiteLimits().order()] == [*ABOUT]
    assert SiteLimits.read(tmp_path) == SiteLimits(), "and they are read as they are"


def test_what_an_owner_wrote_is_read_and_the_rest_is_the_default(tmp_path):
    written = "body: 500 MB\nspool: 1.5GiB\nmemory: null\ncpu: 60\nstate_days: 0.5\nprivate: ['head.*']\n"
    (tmp_path / "site.yaml").write_text(written)
    read = SiteLimits.read(tmp_path)
    assert (read.body, read.spool, read.memory, read.cpu, read.state_days) == (5 * 10**8, 3 * 2**29, None, 60, 0.5)
    assert (read.private, read.epochs, read.states) == (("head.*",), 1000, 10 * 2**30)
    assert SiteLimits.parse(read.text().encode(), tmp_path) == read
    assert (tmp_path / "site.yaml").read_text() == written
    (tmp_path / "site.yaml").write_text("# all as it is by default\n")
    assert SiteLimits.read(tmp_path) == SiteLimits()


def test_the_page_on_deployment_has_each_field_and_its_default():
    page = (
        (Path(__file__).parents[2] / "docs" / "deploy.md").read_text().partition("## What the device's owner gives")[2]
    )
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| ([^|]+) \| ", page.partition("\n## ")[0], re.M)
    pairs = [zip(names.split(", "), values.split(", "), strict=True) for names, values in rows]
    told = {name: value for pair in pairs for name, value in pair}
    assert [name.strip("`") for name in told] == [*SiteLimits().order()]
    for name, value in told.items():
        if name != "`memory`":
            text = f"{name.strip('`')}: {value.strip('`')}".encode()
            assert SiteLimits.parse(text, Path("docs")) == SiteLimits(), name


def test_a_device_has_three_quarters_of_its_memory_or_of_its_container_s(tmp_path, monkeypatch):
    whole = most_memory()
    assert whole is None or 512 * 2**20 <= whole < 2**45
    monkeypatch.setattr(limits, "CONTAINER", (tmp_path / "max", tmp_path / "none"))
    for text, found in (("max", whole), (f"{2**30}\n", 3 * 2**28), ("17", 2**29)):
        (tmp_path / "max").write_text(text)
        assert most_memory() == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sharing: true", "'sharing' does not exist: nearest is share_errors"),
        ("share_errors: 1", "share_errors must be true or false"),
        ("private: norms", "private must be a list of patterns"),
        ("private: [1]", "private must be a list of patterns"),
        ("least_clients: 0", "least_clients must be a whole number"),
        ("least_clients: true", "least_clients must be a whole number"),
        ("body: 1e9", "body must be a size of at least 1 B"),
        ("body: true", "body must be a size"),
        ("spool: 4 GiBs", "spool must be a size"),
        ("states: 1.5", "states must be a size"),
        ("body: -1 MB", "body must be a size"),
        ("memory: 100 MB", "memory must be a size of at least 512 MiB or null"),
        ("cpu: 1.5", "cpu must be a whole number of at least 1 or null"),
        ("epochs: null", "epochs must be a whole number of at least 1."),
        ("state_days: 0", "state_days must be a number above 0"),
        ("state_days: .inf", "state_days must be a number above 0"),
        ("state_days: .nan", "state_days must be a number above 0"),
        ("share_errors: false\nshare_errors: true", "has a field twice"),
        ('"a\\x1b[2Jb": 1', r"'a\\x1b\[2Jb' does not exist"),
        ("[body]", "has no fields"),
        ("a: b: c", "is no YAML text"),
        ("!!python/object/apply:os.system [ls]", "is no YAML text"),
        ("#" * 2**17, "more than 65,536 bytes"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_guessed(tmp_path, text, told):
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(FileError, match=told):
        SiteLimits.read(tmp_path)


def test_a_body_that_is_longer_than_the_owner_takes_is_refused_by_name(tmp_path):
    with fleet(tmp_path) as there:
        there.provision("cleveland")
        (home := tmp_path / "hansa-cleveland").mkdir()
        (home / "site.yaml").write_text("body: 10")
        there.join("cleveland")
        there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", "rounds=1", "lost_rounds=1")
        assert there.processes.pop("serve").wait(60) == 1
        assert "longer than the 10 that this client takes" in there.log("serve")
        assert "longer than the 10 that this client takes" in there.log("cleveland")
        assert "bodies of 10 B, together 8 GiB" in there.log("cleveland"), "it was shown before it was approved"
