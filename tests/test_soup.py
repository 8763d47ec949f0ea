"""The fault soup in its short form: a minute, one outage, no limits. The long one is bench/soup.py."""

import random

import pytest

from daemon import Host
from fault_soup import MODES, Kitchen, Soup

SECONDS = 60
RATE = 30_000
LOOKS_PER_MINUTE_MAX = 240  # a reshard each 5 s, two workers: ten looks of each at every one


@pytest.mark.slow
@pytest.mark.timeout(1500)  # reading millions of records back takes its time
@pytest.mark.parametrize(
    ("mode", "request_"), [*((mode, "json") for mode in MODES), ("none", "cbor"), ("kpl-key", "cbor")]
)
def test_nothing_is_lost_or_altered_when_everything_goes_wrong_at_once(
    host: Host, mode: str, request_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    soup = Soup(mode, SECONDS, RATE, outages=1, seed=random.randrange(2**32), request=request_)
    figures = Kitchen(host, soup).cook()
    with capsys.disabled():
        print(f"\n{soup}: {figures}")  # noqa: T201 - so that CI shows them
    assert figures["exit_code"] == figures["verify_code"] == 0
    for wrong in ("lost", "altered", "corrupt", "foreign", "dropped_records", "tracebacks"):
        assert figures[wrong] == 0, wrong
    assert figures["sources"] == 2  # one run, through every death
    assert figures["records"] > 0
    if mode == "kpl-key":
        assert figures["out_of_order"] == 0
    # The soup was one.
    assert figures["kills"] == 2
    assert figures["reshards"] >= 5
    assert 0.05 < figures["throttled_share"] < 0.2
    assert figures["list_shards_per_minute"] <= LOOKS_PER_MINUTE_MAX
    assert figures["describes_per_minute"] <= LOOKS_PER_MINUTE_MAX


def test_a_soups_events_are_those_of_the_recipe() -> None:
    events = Soup("none", 60, outages=1).events()
    assert [at for at, what in events if what == "reshard"] == list(range(5, 60, 5))
    assert [at for at, what in events if what == "kill"] == [20, 40]
    assert [(at, what) for at, what in events if "outage" in what] == [(30, "outage"), (40, "no outage")]
