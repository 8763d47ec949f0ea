"""`verify` makes every record again and finds those with other bytes, whichever copy is the wrong one."""

import asyncio
import base64
from collections.abc import Sequence

import msgspec
import pytest

from daemon import Host, Stream
from made import SOURCE, Made, altered, made
from tickerd.config import load
from tickerd.reading.account_file import Account
from tickerd.reading.content import Comparison
from tickerd.reading.get_records import Entry
from tickerd.reading.judging import judge
from tickerd.reading.report import Report
from tickerd.reading.seen import CHUNK_BYTES
from tickerd.reading.stream import StreamShard
from tickerd.reading.tally import Tally
from tickerd.settings import Settings

RECORDS = 2_500
SHARD = StreamShard("shardId-000000000000", (), is_open=True)
NEVER = (float("-inf"), float("inf"))


@pytest.fixture(scope="module")
def of_market() -> Made:
    return made(RECORDS, segments=3)


def compared(
    payloads: Sequence[bytes],
    account: Account,
    settings: Settings | None = None,
    digest_bytes_max: int = 1 << 30,
) -> tuple[Report, int]:
    """The report of a stream that holds this, and how many records were made again."""
    tally = Tally({source.source: NEVER for source in account.sources}, 0, (), digest_bytes_max)
    for start in range(0, len(payloads), 1000):
        page = payloads[start : start + 1000]
        tally.add(SHARD, [Entry(str(start + at), data, 1.8e9) for at, data in enumerate(page)])
    comparison = Comparison(account, settings)
    asyncio.run(comparison.run(tally))
    return judge("s", tally, account, 0, comparison.notes), comparison.compared


def test_what_was_made_is_found_as_it_was_made(of_market: Made) -> None:
    report, records = compared(of_market.payloads, of_market.account)
    assert (report.totals.altered, report.totals.lost, report.exit_code, report.notes) == (0, 0, 0, [])
    assert records == RECORDS


def test_messagepack_is_made_again_too() -> None:
    packed = made(700, record_format="msgpack")
    assert compared(packed.payloads, packed.account)[0].exit_code == 0
    other = [*packed.payloads[:5], made(700).payloads[5], *packed.payloads[6:]]
    assert compared(other, packed.account)[0].totals.altered == 1


@pytest.mark.parametrize("at", [0, 1, 997, 998, 999, 1000, 1299, 1300, RECORDS - 1])
def test_one_altered_record_is_found_wherever_it_lies(of_market: Made, at: int) -> None:
    payloads = [*of_market.payloads[:at], altered(of_market.payloads[at]), *of_market.payloads[at + 1 :]]
    report, _ = compared(payloads, of_market.account)
    assert (report.totals.altered, report.totals.lost, report.exit_code) == (1, 0, 1)
    assert f"altered of {SOURCE}: {at}" in report.notes


def test_every_record_altered_is_counted_and_the_first_few_are_named(of_market: Made) -> None:
    report, _ = compared([altered(data) for data in of_market.payloads], of_market.account)
    assert report.totals.altered == RECORDS
    assert f"altered of {SOURCE}: 0, 1, 2, 3, 4, …" in report.notes


@pytest.mark.parametrize(
    ("copies", "duplicates", "altered_copies"),
    [("rr", 1, 0), ("ra", 0, 1), ("ar", 0, 1), ("rar", 1, 1), ("arr", 1, 1), ("aar", 1, 1)],
)
def test_of_several_copies_the_wrong_ones_count(
    of_market: Made, copies: str, duplicates: int, altered_copies: int
) -> None:
    whole = of_market.payloads
    given = {"r": whole[40], "a": altered(whole[40])}
    report, _ = compared([*whole[:40], *(given[each] for each in copies), *whole[41:]], of_market.account)
    assert (report.totals.altered, report.totals.duplicates) == (altered_copies, duplicates)
    assert report.totals.records == RECORDS + len(copies) - 1
    assert report.exit_code == int(altered_copies > 0)


def test_what_lies_in_no_segment_any_more_is_said_to_be_left_out(of_market: Made) -> None:
    segments = of_market.source.segments[1:]
    account = Account("d", (msgspec.structs.replace(of_market.source, segments=segments),))
    payloads = [altered(of_market.payloads[0]), *of_market.payloads[1:-1], altered(of_market.payloads[-1])]
    report, _ = compared(payloads, account)
    assert report.totals.altered == 1
    left_out = f"{SOURCE}: contents of 1,000 records not compared: "
    assert f"{left_out}the account no longer has the segments below seq 1000" in report.notes


def test_records_beyond_the_account_are_not_compared(of_market: Made) -> None:
    account = Account("d", (msgspec.structs.replace(of_market.source, next_seq=2000),))
    report, records = compared([*of_market.payloads[:-1], altered(of_market.payloads[-1])], account)
    assert (report.totals.altered, records) == (0, 2000)


def test_what_did_not_fit_into_memory_is_said_to_be_left_out(of_market: Made) -> None:
    several = [*of_market.payloads, *made(RECORDS, source="other").payloads]
    report, _ = compared(several, of_market.account, digest_bytes_max=CHUNK_BYTES)
    assert any("contents of 2,500 records not compared: so many do not fit" in note for note in report.notes)
    assert report.totals.lost == 0


def without_recipe(of_market: Made) -> Account:
    return Account("d", (msgspec.structs.replace(of_market.source, recipe=None),))


def test_an_account_of_an_older_version_needs_the_settings(of_market: Made) -> None:
    payloads = [altered(of_market.payloads[0]), *of_market.payloads[1:]]
    assert compared(payloads, without_recipe(of_market), of_market.settings)[0].totals.altered == 1
    other = load(None, ["market.seed=2"]).settings
    for settings in (None, other):
        report, records = compared(payloads, without_recipe(of_market), settings)
        assert (report.totals.altered, records) == (0, 0)
        assert "give the daemon's settings with -c or --set" in report.notes[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model_version": 99}, "it was made by another version of tickerd"),
        ({"record_version": 99}, "it was made by another version of tickerd"),
        ({"universe_digest": "x"}, "universe default is not the one that it was made with"),
        ({"universe": "/nowhere"}, "universe: "),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_named(of_market: Made, change: dict[str, str], why: str) -> None:
    recipe = msgspec.structs.replace(of_market.recipe, **change)
    account = Account("d", (msgspec.structs.replace(of_market.source, recipe=recipe),))
    report, _ = compared(of_market.payloads, account)
    assert report.notes[0].startswith(f"{SOURCE}: contents not compared: {why}")
    assert report.exit_code == 0


def test_the_account_of_a_daemon_lets_all_be_compared_though_its_rate_changed(
    host: Host, stream: Stream
) -> None:
    stages = [{"for_s": 2, "records_per_second": 2000}, {"for_s": 1, "records_per_second": 500}]
    daemon = host.run(
        "--records", "4000", rate__records_per_second=400, rate__stages=stages, **stream.settings
    )
    assert daemon.wait() == 0
    assert any(len(source["segments"]) > 1 for source in host.account()["sources"])
    account = ("--account", str(host.state / "account.json"), *where(stream))
    whole = host.tickerd("verify", *account)
    assert whole.returncode == 0, whole.stdout
    assert "not compared" not in whole.stdout
    key, data = "EUR/USD", '{"type":"forex","currency_pair":"EUR/USD","time":"2026-11-24T16:00:00Z"'
    source = host.account()["sources"][0]["source"]
    wrong = base64.b64encode(f'{data},"source":"{source}","seq":7}}'.encode()).decode()
    stream.local.call("PutRecord", StreamName=stream.name, PartitionKey=key, Data=wrong)
    found = host.tickerd("verify", *account)
    assert found.returncode == 1
    assert f"altered of {source}: 7\n" in found.stdout


def where(stream: Stream) -> list[str]:
    return ["--stream", stream.name, "--set", f"kinesis.endpoint_url={stream.url}"]


def test_segments_that_do_not_follow_are_named(of_market: Made) -> None:
    segments = of_market.source.segments[::-1]
    account = Account("d", (msgspec.structs.replace(of_market.source, segments=segments),))
    report, _ = compared(of_market.payloads, account)
    assert "contents not compared: the segment at frame" in report.notes[0]
