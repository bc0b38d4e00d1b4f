"""site.yaml: what a device's owner allows is written down for them, read strictly, and holds."""

from __future__ import annotations

import pytest
import yaml

from hansa.fedclient.limits import TEXT, SiteLimits
from hansa.fedlink.errors import FileError
from tests.fleet import fleet


def test_the_first_time_writes_the_defaults_which_say_what_they_are(tmp_path):
    assert SiteLimits.read(tmp_path) == SiteLimits()
    assert (tmp_path / "site.yaml").read_text() == TEXT
    assert yaml.safe_load(TEXT) == {**SiteLimits().order(), "private": []}
    assert SiteLimits.read(tmp_path) == SiteLimits()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sharing: true", "'sharing' does not exist: nearest is share_errors"),
        ("share_errors: 1", "share_errors must be true or false"),
        ("private: norms", "private must be a list of patterns"),
        ("private: [1]", "private must be a list of patterns"),
        ("least_clients: 0", "least_clients must be a whole number"),
        ("body: 1e9", "body must be a whole number"),
        ("body: true", "body must be a whole number"),
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("body: 10", "longer than the 10 that this client takes"),
        ("private: ['*weight']", "which this device keeps"),
        ("least_clients: 2", "least_clients"),
    ],
)
def test_a_run_that_asks_for_more_is_refused_by_name(tmp_path, text, told):
    with fleet(tmp_path) as there:
        there.provision("cleveland")
        (home := tmp_path / "hansa-cleveland").mkdir()
        (home / "site.yaml").write_text(text)
        there.join("cleveland")
        there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", "rounds=1", "lost_rounds=1")
        assert there.processes.pop("serve").wait(60) == 1
        assert told in there.log("serve")
