"""Every fault that is planted is found, on our endpoint and on one that others wrote, and nothing else is.

The records are the market's, the account is a daemon's, the aggregates are made by AWS's own aggregator.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import msgspec
import pytest
from aws_kinesis_agg.aggregator import RecordAggregator

import emulators
from made import SOURCE, Keyed, Made, altered, made
from tickerd.kinesis.limits import HASH_KEY_END
from tickerd.kinesis.shards import hash_key
from tickerd.local import LocalOptions
from tickerd.reading.account_file import Account
from tickerd.reading.client import kinesis_client
from tickerd.reading.report import Report
from tickerd.reading.verify import VerifyOptions, verify

RECORDS = 120
SHARDS = 2
names = (f"planted-{number}" for number in count())


@pytest.fixture(scope="module", params=["local", "kinesalite"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    unlimited = emulators.local(LocalOptions(shard_limits=False))
    with unlimited if request.param == "local" else emulators.kinesalite() as url:
        yield url


@pytest.fixture(scope="module")
def source() -> Made:
    return made(RECORDS)


Entry = dict[str, Any]  # of PutRecords


def plain(keyed: Sequence[Keyed]) -> list[Entry]:
    return [{"PartitionKey": key, "Data": data} for key, data in keyed]


def shard_of(key: str) -> int:
    return hash_key(key) * SHARDS // HASH_KEY_END


def by_shard(keyed: Sequence[Keyed], size: int) -> list[list[Keyed]]:
    """The records of each shard in pieces of up to so many, in their order."""
    lanes = [[each for each in keyed if shard_of(each[0]) == shard] for shard in range(SHARDS)]
    return [lane[at : at + size] for lane in lanes for at in range(0, len(lane), size)]


def aggregate(piece: Sequence[Keyed]) -> Entry:
    """One aggregate, which goes where its first record's key does."""
    aggregator = RecordAggregator()
    for key, data in piece:
        aggregator.add_user_record(key, data)
    content = bytes(aggregator.clear_and_get().get_contents()[2])
    return {"PartitionKey": piece[0][0], "Data": content}


def aggregated(keyed: Sequence[Keyed], size: int = 10) -> list[Entry]:
    return [aggregate(piece) for piece in by_shard(keyed, size)]


def lines(keyed: Sequence[Keyed], size: int = 10) -> list[Entry]:
    pieces = by_shard(keyed, size)
    return [{"PartitionKey": piece[0][0], "Data": b"\n".join(data for _, data in piece)} for piece in pieces]


async def stored(client: Any, entries: Sequence[Entry]) -> str:
    """A new stream that holds this, in this order."""
    name = next(names)
    await client.create_stream(StreamName=name, ShardCount=SHARDS)
    while True:
        described = await client.describe_stream(StreamName=name)
        if described["StreamDescription"]["StreamStatus"] == "ACTIVE":
            break
        await asyncio.sleep(0.05)
    for entry in entries:  # one call after the other: those of one call have no order
        await client.put_record(StreamName=name, **entry)
    return name


def judged(endpoint: str, entries: Sequence[Entry], account: Account | None, **options: Any) -> Report:
    async def store_and_verify() -> Report:
        async with kinesis_client("", endpoint) as client:
            name = await stored(client, entries)
        return await verify(
            VerifyOptions(name, endpoint_url=endpoint, account=account, settle_s=0, **options)
        )

    return asyncio.run(store_and_verify())


def counts(report: Report) -> dict[str, int]:
    """What is not as it should be."""
    found: dict[str, int] = msgspec.to_builtins(report.totals) | {"discarded": report.discarded}
    return {name: number for name, number in found.items() if number and name != "records"}


@pytest.mark.parametrize("pack", [plain, lines, aggregated])
def test_without_a_fault_none_is_found(endpoint: str, source: Made, pack: Any) -> None:
    report = judged(endpoint, pack(source.keyed), source.account)
    assert (report.totals.records, counts(report), report.exit_code) == (RECORDS, {}, 0)
    assert (report.seqs_judged, report.spread, report.notes) == (RECORDS, set(), [])
    assert sum(shard.records for shard in report.shards) == RECORDS


@pytest.mark.parametrize(("pack", "at"), [(plain, 0), (lines, 60), (aggregated, RECORDS - 1)])
def test_a_removed_record_is_lost(endpoint: str, source: Made, pack: Any, at: int) -> None:
    report = judged(endpoint, pack(source.keyed[:at] + source.keyed[at + 1 :]), source.account)
    assert (counts(report), report.exit_code) == ({"lost": 1}, 1)
    assert report.holes[SOURCE].ranges == [(at, at + 1)]


@pytest.mark.parametrize("pack", [plain, lines, aggregated])
def test_a_doubled_record_is_a_duplicate(endpoint: str, source: Made, pack: Any) -> None:
    report = judged(endpoint, pack([*source.keyed, source.keyed[7]]), source.account)
    assert (counts(report), report.exit_code) == ({"duplicates": 1}, 0)


@pytest.mark.parametrize("pack", [plain, lines, aggregated])
def test_a_reordered_record_is_out_of_order(endpoint: str, source: Made, pack: Any) -> None:
    keys = [key for key, _ in source.keyed]
    first = next(at for at, key in enumerate(keys) if key in keys[at + 1 :])
    second = keys.index(keys[first], first + 1)
    swapped = list(source.keyed)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    report = judged(endpoint, pack(swapped), source.account)
    assert (counts(report), report.exit_code) == ({"out_of_order": 1}, 0)


@pytest.mark.parametrize("pack", [plain, lines, aggregated])
def test_an_altered_record_is_found_by_its_bytes_alone(endpoint: str, source: Made, pack: Any) -> None:
    key, data = source.keyed[33]
    wrong = [*source.keyed[:33], (key, altered(data)), *source.keyed[34:]]
    report = judged(endpoint, pack(wrong), source.account)
    assert (counts(report), report.exit_code) == ({"altered": 1}, 1)
    assert f"altered of {SOURCE}: 33" in report.notes
    assert counts(judged(endpoint, pack(wrong), None)) == {}  # nothing to compare it with


@pytest.mark.parametrize("pack", [plain, lines, aggregated])
def test_an_altered_copy_is_found_without_an_account(endpoint: str, source: Made, pack: Any) -> None:
    key, data = source.keyed[33]
    report = judged(endpoint, pack([*source.keyed, (key, altered(data))]), None)
    assert (counts(report), report.exit_code) == ({"altered": 1}, 1)


@pytest.mark.parametrize("pack", [plain, lines, aggregated])
def test_a_damaged_record_is_corrupt_and_lost(endpoint: str, source: Made, pack: Any) -> None:
    key, data = source.keyed[33]
    report = judged(
        endpoint, pack([*source.keyed[:33], (key, data[:-9]), *source.keyed[34:]]), source.account
    )
    assert (counts(report), report.exit_code) == ({"lost": 1, "corrupt": 1}, 1)


def test_a_damaged_aggregate_is_corrupt_and_its_members_lost(endpoint: str, source: Made) -> None:
    entries = aggregated(source.keyed)
    members = len(by_shard(source.keyed, 10)[3])
    entries[3] |= {"Data": entries[3]["Data"][:-1] + b"?"}
    report = judged(endpoint, entries, source.account)
    assert (counts(report), report.exit_code) == ({"lost": members, "corrupt": 1}, 1)
    assert any(note.startswith("corrupt in ") and "\\xf3\\x89\\x9a\\xc2" in note for note in report.notes)


def test_an_aggregate_with_a_member_outside_its_shard_is_thrown_away_whole(
    endpoint: str, source: Made
) -> None:
    pieces = by_shard(source.keyed, 10)
    stranger = pieces[-1].pop()
    assert shard_of(stranger[0]) != shard_of(pieces[0][0][0])
    entries = [aggregate([*pieces[0], stranger]), *map(aggregate, pieces[1:])]
    report = judged(endpoint, entries, source.account)
    thrown = len(pieces[0]) + 1
    assert (counts(report), report.exit_code) == ({"lost": thrown, "discarded": thrown}, 1)
    assert [shard.discarded for shard in report.shards] == [thrown, 0]
    again = judged(endpoint, [*entries, aggregate(pieces[0]), aggregate([stranger])], source.account)
    assert (again.totals.lost, again.totals.duplicates, again.discarded, again.exit_code) == (0, 0, thrown, 0)


def test_an_aggregate_of_strangers_is_foreign(endpoint: str, source: Made) -> None:
    strangers = [("EUR/USD", b"hello"), ("EUR/USD", b'{"user":"x"}'), source.keyed[0]]
    strangers = [each for each in strangers if shard_of(each[0]) == shard_of("EUR/USD")]
    report = judged(endpoint, [*plain(source.keyed), aggregate(strangers[:2])], source.account)
    assert (counts(report), report.exit_code) == ({"foreign": 2}, 0)


def test_records_of_all_packings_in_one_stream_are_one_sequence(endpoint: str, source: Made) -> None:
    third = RECORDS // 3
    entries = [
        *plain(source.keyed[:third]),
        *lines(source.keyed[third : 2 * third]),
        *aggregated(source.keyed[2 * third :]),
    ]
    report = judged(endpoint, entries, source.account)
    assert (report.totals.records, counts(report)) == (RECORDS, {})


@pytest.mark.parametrize("pack", [plain, aggregated])
def test_messagepack_is_judged_alike(endpoint: str, pack: Any) -> None:
    packed = made(RECORDS, record_format="msgpack")
    report = judged(endpoint, pack([*packed.keyed[:9], *packed.keyed[10:], packed.keyed[3]]), packed.account)
    assert (report.totals.records, counts(report)) == (RECORDS, {"lost": 1, "duplicates": 1})


def test_even_keys_have_no_order_to_judge(endpoint: str, source: Made) -> None:
    entries = [
        {"PartitionKey": "x", "Data": data, "ExplicitHashKey": str(at % SHARDS * HASH_KEY_END // SHARDS)}
        for at, (_, data) in enumerate(source.keyed)
    ]
    report = judged(endpoint, entries, source.account)
    assert (report.totals.records, counts(report), report.spread) == (RECORDS, {}, {SOURCE})


def test_several_sources_are_judged_each_by_its_own_account(endpoint: str, source: Made) -> None:
    other = made(RECORDS // 2, source="i-0abc123-1-k7m2qx4d")
    retired = made(50, source="i-0abc123-2-aaaaaaaa")
    snapshot = made(20, source="i-0abc123-logs-k7m2qx4d")
    account = Account("d", (source.source, other.source, retired.source))
    keyed = [*source.keyed, *other.keyed[:-1], *retired.keyed[1:], *snapshot.keyed[:5], *snapshot.keyed[9:]]
    report = judged(endpoint, plain(keyed), account)
    assert [(line.source, line.lost) for line in report.sources] == [
        (SOURCE, 0),
        (other.source.source, 1),
        (retired.source.source, 1),
        (snapshot.source.source, 0),
    ]
    assert report.snapshots == {snapshot.source.source}
    assert counts(report) == {"lost": 2}
    chosen = judged(endpoint, plain(keyed), account, sources=(SOURCE,))
    assert ([line.source for line in chosen.sources], chosen.exit_code) == ([SOURCE], 0)
