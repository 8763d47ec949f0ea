"""A stream that is switched to AUTO while the daemon runs, and back; one that is resharded all the time."""

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import Daemon, Host, Json, Local, Stream
from fault_soup import MODES

RESHARDS = 6
RESHARD_S = 5
LOOKS_AT_A_RESHARD_MAX = 10  # of each of two workers, for each operation


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    """An endpoint of its own: the fault is one of the whole endpoint, and its calls are counted."""
    (tmp_path / "endpoint").mkdir()
    machine = Host(tmp_path / "endpoint")
    try:
        yield machine.local("--no-shard-limits")
    finally:
        machine.close()


def distribution(stream: Stream) -> str:
    """What the stream says of itself; a provisioned one says nothing while it goes by keys."""
    answer = stream.local.call("DescribeStreamSummary", StreamName=stream.name)
    return str(answer["StreamDescriptionSummary"].get("RecordDistributionStrategy", "USER_PARTITION_KEY"))


def entries(stream: Stream) -> dict[str, list[Json]]:
    """All entries of the stream by shard."""
    found = {}
    for shard in stream.local.call("ListShards", StreamName=stream.name)["Shards"]:
        iterator = stream.local.call(
            "GetShardIterator",
            StreamName=stream.name,
            ShardId=shard["ShardId"],
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        read: list[Json] = []
        while True:
            page = stream.local.call("GetRecords", ShardIterator=iterator)
            if not page["Records"]:
                break
            read += page["Records"]
            iterator = page["NextShardIterator"]
        found[shard["ShardId"]] = read
    return found


def shards_of_keys(stream: Stream) -> dict[str, set[str]]:
    """In which shards each partition key is found."""
    found: dict[str, set[str]] = defaultdict(set)
    for shard, records in entries(stream).items():
        for record in records:
            found[record["PartitionKey"]].add(shard)
    return found


def settled_retries(daemon: Daemon) -> float:
    """How many records were sent once more, some reports of the workers later."""
    time.sleep(1)
    return daemon.counter("tickerd_record_retries_total")


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_switch_to_auto_and_back_loses_nothing_and_stores_nothing_again(
    host: Host, local: Local, mode: str
) -> None:
    stream = local.create()
    daemon = host.run(**stream.settings | {"rate__records_per_second": 2000} | MODES[mode])
    daemon.until_acked(4000)
    if mode == "none":
        assert {len(shards) for shards in shards_of_keys(stream).values()} == {1}
    assert distribution(stream) == "USER_PARTITION_KEY"
    local.faults(auto=True)
    assert distribution(stream) == "AUTO"
    acked = daemon.status()["totals"]["acked"]
    daemon.until_acked(acked + 20_000)
    if mode == "none":
        assert max(len(shards) for shards in shards_of_keys(stream).values()) == 4  # keys are ignored
    local.faults(auto=False)
    assert distribution(stream) == "USER_PARTITION_KEY"
    acked = daemon.status()["totals"]["acked"]
    daemon.until_acked(acked + 10_000)
    retries = settled_retries(daemon)
    assert daemon.stop() == 0
    report = host.verify(stream)
    totals = report["totals"]
    assert report["code"] == totals["lost"] == totals["altered"] == totals["foreign"] == 0
    assert totals["duplicates"] <= retries
    if mode != "kpl-key":  # whose aggregates have to be taken apart
        assert retries == 0  # nothing failed, so nothing was a reason to send again


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_is_resharded_all_the_time_is_not_asked_all_the_time(
    host: Host, local: Local, mode: str
) -> None:
    stream = local.create(shards=2)
    daemon = host.run(**stream.settings | {"rate__records_per_second": 2000} | MODES[mode])
    daemon.until_acked(2000)
    before = local.stats()["operations"]
    for shards in range(3, 3 + RESHARDS):
        local.call(
            "UpdateShardCount", StreamName=stream.name, TargetShardCount=shards, ScalingType="UNIFORM_SCALING"
        )
        time.sleep(RESHARD_S)
    after = local.stats()["operations"]
    for operation in ("ListShards", "DescribeStreamSummary", "DescribeStream"):
        calls = after.get(operation, 0) - before.get(operation, 0)
        assert calls <= 2 * LOOKS_AT_A_RESHARD_MAX * RESHARDS, operation
    retries = settled_retries(daemon)
    assert daemon.stop() == 0
    totals = host.verify(stream)["totals"]
    assert totals["lost"] == totals["altered"] == totals["foreign"] == 0
    assert totals["duplicates"] <= retries
    if mode != "kpl-key":  # whose aggregates have to be regrouped when a split comes between
        assert retries == 0
