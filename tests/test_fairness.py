"""What a stream's shards can take, shared by two hosts, and used by one that is throttled at random."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from daemon import Daemon, Host, Local, Stream

SHARDS = 4
CAPACITY = 1000 * SHARDS  # records/s, with even keys
SETTLED_S = 30  # until what limits itself has found its place: three teeth of its saw
MEASURED_S = 40  # some more of them: growth for 10 s, then a cut
EVEN = {"kinesis__partition_key": "even", "kinesis__shard_limits": True, "source__workers": 1}


@contextmanager
def limited(directory: Path) -> Iterator[tuple[Host, Local]]:
    """A machine with an endpoint that keeps the limits of shards."""
    directory.mkdir()
    machine = Host(directory)
    try:
        yield machine, machine.local("--shards", str(SHARDS))
    finally:
        machine.close()


class Look(NamedTuple):
    """What was counted up to a moment."""

    acked: list[float]  # of each daemon
    entries: int  # that the endpoint was sent
    throttled: int

    def since(self, before: "Look") -> "Look":
        acked = [now - then for now, then in zip(self.acked, before.acked, strict=True)]
        return Look(acked, self.entries - before.entries, self.throttled - before.throttled)


def look(local: Local, *daemons: Daemon) -> Look:
    stats = local.stats()
    acked = [daemon.counter("tickerd_records_acked_total") for daemon in daemons]
    return Look(acked, stats["entries"], stats["throttled"])


def measured(local: Local, *daemons: Daemon) -> Look:
    """What happens in the steady state."""
    for daemon in daemons:
        daemon.until_acked(CAPACITY)
    time.sleep(SETTLED_S)
    before = look(local, *daemons)
    time.sleep(MEASURED_S)
    return look(local, *daemons).since(before)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["at once", "one after the other"])
def test_two_daemons_that_want_half_as_much_again_share_a_stream(tmp_path: Path, order: str) -> None:
    with limited(tmp_path / "one") as (one, local):
        (tmp_path / "two").mkdir()
        two = Host(tmp_path / "two")
        try:
            stream = Stream(local, "market-log")
            settings = stream.settings | EVEN | {"rate__records_per_second": 0.75 * CAPACITY}
            first = one.run(**settings)
            if order == "one after the other":
                first.until_acked(CAPACITY)
                time.sleep(SETTLED_S)
            second = two.run(**settings)
            seen = measured(local, first, second)
        finally:
            two.close()
    share = seen.acked[0] / sum(seen.acked)
    throttled = seen.throttled / seen.entries
    assert 0.4 <= share <= 0.6, (share, throttled)
    assert throttled < 0.05, (share, throttled)
    assert sum(seen.acked) > 0.8 * CAPACITY * MEASURED_S  # shared, and used


@pytest.mark.slow
def test_throttles_that_do_not_depend_on_the_rate_cost_a_fifth_at_most(tmp_path: Path) -> None:
    def taken(name: str, throttled: float) -> float:
        with limited(tmp_path / name) as (host, local):
            local.faults(throttled=throttled)
            stream = Stream(local, "market-log")
            daemon = host.run(**stream.settings | EVEN | {"rate__records_per_second": 2 * CAPACITY})
            return measured(local, daemon).acked[0]

    without, with_throttles = taken("without", 0.0), taken("with", 0.1)
    assert without > 0.8 * CAPACITY * MEASURED_S  # the stream was what limited it
    assert with_throttles > 0.8 * without, with_throttles / without
