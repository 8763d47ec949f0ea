"""The daemon with `kinesis.request = "cbor"`, through the front door: in every mode, whatever fails.

Against `tickerd local` with faults, against endpoints that others wrote, and against one that knows no CBOR.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

import emulators
from cbor_front import mended
from daemon import Destination, Host, Json, Stream
from test_emulators_daemon import created
from test_kill import killed_in_rounds, nothing_lost

MODES: dict[str, dict[str, Any]] = {
    "none": {},
    "even": {"kinesis__partition_key": "even"},
    "kpl": {"kinesis__aggregation": "kpl"},
    "kpl in order": {"kinesis__aggregation": "kpl", "kinesis__order": "key"},
    "lines": {"kinesis__aggregation": "lines"},
    "msgpack": {"record__format": "msgpack"},
}
CBOR: dict[str, Any] = {"kinesis__request": "cbor"}
in_every_mode = pytest.mark.parametrize("mode", MODES)


@in_every_mode
def test_nothing_is_lost_or_altered_whatever_the_mode_and_whatever_fails(
    host: Host, stream: Stream, mode: str
) -> None:
    stream.faults(throttled=0.1, error=0.05, lost_ack=0.02)
    daemon = host.run(
        "--seconds", "4", **stream.settings, **CBOR, **MODES[mode], rate__records_per_second=5000
    )
    assert daemon.wait() == 0
    assert not daemon.logged("died")
    generated = sum(source["next_seq"] for source in host.account()["sources"])
    report = host.verify(stream)
    assert nothing_lost(report)
    totals = report["totals"]
    assert totals["records"] - totals["duplicates"] == generated >= 4 * 5000
    if mode == "kpl in order":
        assert totals["out_of_order"] == 0


def test_rounds_of_kill_lose_and_alter_nothing(host: Host, stream: Stream) -> None:
    stream.faults(throttled=0.05, error=0.02, lost_ack=0.01)
    killed_in_rounds(host, stream, 3, 4, 0.5, **CBOR, rate__records_per_second=2000)
    assert nothing_lost(host.verify(stream))


def test_another_format_takes_over_what_the_one_before_owes(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, **CBOR, rate__records_per_second=2000)
    daemon.until_acked(2000)
    stream.faults(outage=True)
    daemon.stop()
    stream.local.no_faults()
    assert host.run("--seconds", "2", **stream.settings, rate__records_per_second=2000).wait() == 0
    report = host.verify(stream)
    assert nothing_lost(report)
    assert len(report["sources"]) == 2  # the run is the same: no byte of a record depends on the format


def test_an_endpoint_without_cbor_is_told_with_the_setting_to_change(host: Host) -> None:
    with emulators.moto_server() as url:
        stream = created(url)
        daemon = host.run(
            **stream.settings, **CBOR, kinesis__region="us-east-1", rate__records_per_second=100,
            source__drain_max_s=1, source__workers=1,
        )  # fmt: skip
        status = daemon.until("a cause", lambda status: status["errors"])
        (error,) = status["errors"]
        assert 'set kinesis.request = "json"' in error["message"]
        assert status["totals"]["acked"] == 0
        assert daemon.stop() == 75
        assert not daemon.logged("died")


def verified_mended(host: Host, stream: Destination) -> Json:
    """What `verify` says of a stream of kinesalite, which gives data away otherwise than it should."""

    async def read() -> Json:
        async with mended(stream.url) as front:
            return await asyncio.to_thread(host.verify, Destination(front, stream.name))

    return asyncio.run(read())


@pytest.mark.slow
@in_every_mode
@pytest.mark.parametrize("emulator", [emulators.kinesalite, emulators.kinesis_local])
def test_endpoints_that_others_wrote_hold_every_record(
    host: Host, emulator: Callable[[], AbstractContextManager[str]], mode: str
) -> None:
    with emulator() as url:
        stream = created(url)
        daemon = host.run(
            "--seconds", "4", **stream.settings, **CBOR, **MODES[mode], kinesis__region="us-east-1",
            rate__records_per_second=300,
        )  # fmt: skip
        assert daemon.wait() == 0
        generated = sum(source["next_seq"] for source in host.account()["sources"])
        report = (verified_mended if emulator is emulators.kinesalite else Host.verify)(host, stream)
    totals = report["totals"]
    assert nothing_lost(report)
    assert totals["records"] - totals["duplicates"] == generated >= 300 * 4
