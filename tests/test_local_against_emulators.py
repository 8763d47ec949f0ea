"""The same client calls get the same answers from `tickerd local` and from emulators that others wrote.

One script of calls is run against each; every answer that differs must stand in KNOWN beside the reason why
the other one is wrong or silent, and nothing may stand there that does not differ.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from botocore.exceptions import ClientError

import emulators
from cbor_front import in_cbor
from tickerd.local import LocalOptions

Answers = dict[str, object]
KEYS = [f"key-{i}" for i in range(24)]
MIB = 1024 * 1024

NO_SCALING = "does not offer UpdateShardCount"
LIMIT = "the API reference has LimitExceededException for more than double and less than half"
MODEL = "breaks a bound of the API model, which the service answers with ValidationException"
TAKEN = "breaks a bound of the API model, and is taken"
FAILS = "the emulator fails inside"
INTO_CLOSED = "puts records into closed shards"
OFF_BY_ONE = "its ranges begin a hash key too early: it divides 2^128 - 1, not 2^128"
UNEVEN = "does not make the ranges uniform"

KNOWN: dict[str, dict[str, str]] = {
    "kinesalite": {
        "describe no stream": "knows no StreamARN, so that the name is required",
        "put to no stream": "knows no StreamARN, so that the name is required",
        "list shards by ARN": "knows no StreamARN",
        "hash key -1": "its pattern lacks brackets and lets the sign through to the range check",
        "a call over 10 MiB": "takes bodies up to 7 MiB only",
        "open shards": "ignores ShardFilter",
        "scale to 6": NO_SCALING,
        "ranges at 6": NO_SCALING,
        "more than double": NO_SCALING,
        "less than half": NO_SCALING,
    },
    "kinesis_local": {
        "create with no shards": MODEL,
        "create with a wrong name": MODEL,
        "describe": OFF_BY_ONE,
        f"hash key {2**127 - 1}": OFF_BY_ONE,
        "a closed shard to its end": OFF_BY_ONE,
        "501 entries": TAKEN,
        "no entries": TAKEN,
        "data over 1 MiB": TAKEN,
        "a call over 10 MiB": TAKEN,
        "a key of 257": MODEL,
        "an empty key": MODEL,
        "hash key -1": MODEL,
        "no data": MODEL,
        "no key": MODEL,
        "read 0": MODEL,
        "read 10001": MODEL,
        "read with a wrong iterator": FAILS,
        "LATEST with a number": "ignores the number, which the service refuses",
        "a wrong iterator type": MODEL,
        "a number of another shard": "looks for the record, where the service looks at the number",
        "ranges at 6": UNEVEN,
        "more than double": LIMIT,
        "less than half": LIMIT,
        "split at its start": "makes an empty shard, which the service refuses",
    },
    "moto_server": {
        "create with no shards": FAILS,
        "create with a wrong name": TAKEN,
        "describe no stream": "takes the missing name for one that does not exist",
        "put to no stream": "takes the missing name for one that does not exist",
        "list shards by ARN": "its account is another one, and so are its ARNs",
        "the next page": "wants no token beside no name",
        "a name beside a token": "takes both, which the service refuses",
        f"hash key {2**127 - 1}": "leaves a gap of one hash key between its shards, and fails there",
        f"hash key {2**128 - 1}": "leaves a gap of one hash key between its shards, and fails there",
        "no entries": TAKEN,
        "a key of 257": MODEL,
        "an empty key": TAKEN,
        "hash key -1": FAILS,
        "no data": TAKEN,
        "no key": MODEL,
        "read 0": TAKEN,
        "read 10001": TAKEN,
        "read with a wrong iterator": FAILS,
        "AT without a number": FAILS,
        "LATEST with a number": "ignores the number, which the service refuses",
        "a wrong iterator type": MODEL,
        "a number of another shard": "does not look which shard a number is of",
        "put after the split": INTO_CLOSED,
        "put after the merge": INTO_CLOSED,
        "a closed shard to its end": INTO_CLOSED,
        "open shards": "ignores ShardFilter",
        "ranges at 6": UNEVEN,
        "more than double": "keeps no limit",
        "less than half": "keeps no limit",
    },
}


class Script:
    """Runs calls in order and notes their answers, normalised, by the sentence that asks."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.answers: Answers = {}

    async def ask(self, question: str, call: Awaitable[Any], wanted: Callable[[Any], object]) -> Any:
        """Note `wanted` of the answer, or the error's code."""
        try:
            answer = await call
        except ClientError as error:
            self.answers[question] = error.response["Error"]["Code"]
            return None
        self.answers[question] = wanted(answer)
        return answer

    async def active(self, name: str = "s") -> None:
        """Wait until the stream is ACTIVE: emulators take their time for a reshard."""
        for _ in range(200):
            summary = await self.client.describe_stream_summary(StreamName=name)
            if summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE":
                return
            await asyncio.sleep(0.02)
        pytest.fail("the stream did not become ACTIVE")

    async def iterator(self, shard: str, kind: str = "TRIM_HORIZON", **more: object) -> str:
        """Return a new iterator."""
        answer = await self.client.get_shard_iterator(
            StreamName="s", ShardId=shard, ShardIteratorType=kind, **more
        )
        return str(answer["ShardIterator"])


async def run_script(url: str, pages: bool) -> Answers:
    """Return the answers of the endpoint at `url`."""
    async with emulators.client_of(url) as client:
        script = Script(client)
        await streams(script)
        if pages:
            await paging(script)
        await putting(script)
        await refused_puts(script)
        await reading(script)
        await resharding(script)
        await deleting(script)
    return script.answers


async def streams(script: Script) -> None:
    client = script.client
    await script.ask("create", client.create_stream(StreamName="s", ShardCount=4), bool)
    await script.active()
    await script.ask("create it again", client.create_stream(StreamName="s", ShardCount=4), bool)
    await script.ask(
        "list streams", client.list_streams(), lambda a: ("s" in a["StreamNames"], a["HasMoreStreams"])
    )
    await script.ask("create with no shards", client.create_stream(StreamName="t", ShardCount=0), bool)
    await script.ask("create with a wrong name", client.create_stream(StreamName="a b", ShardCount=1), bool)
    await script.ask("describe", client.describe_stream(StreamName="s"), described)
    await script.ask("describe summary", client.describe_stream_summary(StreamName="s"), summarised)
    await script.ask("describe a missing stream", client.describe_stream(StreamName="no"), bool)
    await script.ask("describe no stream", client.describe_stream(), bool)
    await script.ask("list shards", client.list_shards(StreamName="s"), shard_ids)
    await script.ask("list shards of a missing stream", client.list_shards(StreamName="no"), bool)
    arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
    await script.ask("list shards by ARN", client.list_shards(StreamARN=arn), shard_ids)


async def paging(script: Script) -> None:
    client = script.client
    page = await script.ask("a page of shards", client.list_shards(StreamName="s", MaxResults=3), shard_ids)
    token = (page or {}).get("NextToken", "none")
    await script.ask("the next page", client.list_shards(NextToken=token), shard_ids)
    both = client.list_shards(StreamName="s", NextToken="x")
    await script.ask("a name beside a token", both, bool)


def described(answer: Any) -> object:
    stream = answer["StreamDescription"]
    shards = [(shard["ShardId"], str(shard["HashKeyRange"])) for shard in stream["Shards"]]
    return (stream["StreamName"], stream["StreamStatus"], stream["RetentionPeriodHours"], shards)


def summarised(answer: Any) -> object:
    stream = answer["StreamDescriptionSummary"]
    return (stream["StreamName"], stream["StreamStatus"], stream["OpenShardCount"])


def shard_ids(answer: Any) -> object:
    return [shard["ShardId"] for shard in answer["Shards"]]


def entries(keys: list[str], **more: str) -> list[dict[str, object]]:
    return [{"Data": b"x", "PartitionKey": key, **more} for key in keys]


def placed(answer: Any) -> object:
    return (answer["FailedRecordCount"], [record.get("ShardId") for record in answer["Records"]])


async def putting(script: Script) -> None:
    client = script.client
    for data in (b"one", b"two", b"three"):
        put = client.put_record(StreamName="s", Data=data, PartitionKey="k1")
        await script.ask(f"put {data.decode()}", put, lambda a: a["ShardId"])
    await script.ask("put many keys", client.put_records(StreamName="s", Records=entries(KEYS)), placed)
    unicode = client.put_records(StreamName="s", Records=entries(["ключ", "鍵", "🔑"]))
    await script.ask("put keys beyond ASCII", unicode, placed)
    for hash_key in ("0", str(2**127), str(2**127 - 1), str(2**128 - 1)):
        records = entries(["k"], ExplicitHashKey=hash_key)
        await script.ask(f"hash key {hash_key}", client.put_records(StreamName="s", Records=records), placed)
    full = client.put_records(StreamName="s", Records=entries(["k"] * 500))
    await script.ask("500 entries", full, lambda a: (a["FailedRecordCount"], len(a["Records"])))
    await script.ask("a key of 256", client.put_records(StreamName="s", Records=entries(["k" * 256])), placed)


async def refused_puts(script: Script) -> None:
    client = script.client
    # A stream apart, so that an emulator that takes what it should refuse differs in nothing else.
    await client.create_stream(StreamName="r", ShardCount=1)
    await script.active("r")
    nearly: dict[str, object] = {"Data": b"x" * (MIB - 1), "PartitionKey": "k"}
    wrong: dict[str, list[dict[str, object]]] = {
        "501 entries": entries(["k"] * 501),
        "no entries": [],
        "a key of 257": entries(["k" * 257]),
        "an empty key": entries([""]),
        "hash key 2^128": entries(["k"], ExplicitHashKey=str(2**128)),
        "hash key -1": entries(["k"], ExplicitHashKey="-1"),
        "data over 1 MiB": [{"Data": b"x" * (MIB + 1), "PartitionKey": "k"}],
        "a call over 10 MiB": [nearly] * 10 + entries(["k"]),
        "no data": [{"PartitionKey": "k"}],
        "no key": [{"Data": b"x"}],
    }
    for question, records in wrong.items():
        await script.ask(question, client.put_records(StreamName="r", Records=records), bool)
    await script.ask(
        "put to a missing stream", client.put_records(StreamName="no", Records=entries(["k"])), bool
    )
    await script.ask("put to no stream", client.put_records(Records=entries(["k"])), bool)


def read(answer: Any) -> object:
    return [(record["Data"], record["PartitionKey"]) for record in answer["Records"]]


async def reading(script: Script) -> None:
    client = script.client
    first = await client.put_record(StreamName="s", Data=b"first", PartitionKey="order")
    shard = first["ShardId"]
    latest = await script.iterator(shard, "LATEST")
    second = await client.put_record(StreamName="s", Data=b"second", PartitionKey="order")
    await client.put_record(StreamName="s", Data=b"third", PartitionKey="order")
    await script.ask("read LATEST", client.get_records(ShardIterator=latest), read)
    at = await script.iterator(shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=second["SequenceNumber"])
    await script.ask("read AT_SEQUENCE_NUMBER", client.get_records(ShardIterator=at), read)
    after = await script.iterator(
        shard, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=second["SequenceNumber"]
    )
    await script.ask("read AFTER_SEQUENCE_NUMBER", client.get_records(ShardIterator=after), read)
    begin = await script.iterator("shardId-000000000002")
    answer = await script.ask("read two", client.get_records(ShardIterator=begin, Limit=2), read)
    following = client.get_records(ShardIterator=answer["NextShardIterator"], Limit=1)
    await script.ask("read the next one", following, read)
    await script.ask("read 0", client.get_records(ShardIterator=begin, Limit=0), bool)
    await script.ask("read 10001", client.get_records(ShardIterator=begin, Limit=10_001), bool)
    await script.ask("read with a wrong iterator", client.get_records(ShardIterator="abcd"), bool)
    ask = client.get_shard_iterator
    place = {"StreamName": "s", "ShardId": shard}
    await script.ask("AT without a number", ask(**place, ShardIteratorType="AT_SEQUENCE_NUMBER"), bool)
    number = {"StartingSequenceNumber": first["SequenceNumber"]}
    await script.ask("LATEST with a number", ask(**place, ShardIteratorType="LATEST", **number), bool)
    await script.ask("a wrong iterator type", ask(**place, ShardIteratorType="SOMEWHERE"), bool)
    elsewhere = {"StreamName": "s", "ShardId": "shardId-000000000000", **number}
    await script.ask(
        "a number of another shard", ask(**elsewhere, ShardIteratorType="AT_SEQUENCE_NUMBER"), bool
    )
    missing = {"StreamName": "s", "ShardId": "shardId-000000000099"}
    await script.ask("an iterator of no shard", ask(**missing, ShardIteratorType="LATEST"), bool)
    nowhere = {"StreamName": "no", "ShardId": shard}
    await script.ask("an iterator of no stream", ask(**nowhere, ShardIteratorType="LATEST"), bool)


def lineage(answer: Any) -> object:
    return [
        (s["ShardId"], rounded(s), s.get("ParentShardId"), s.get("AdjacentParentShardId"), closed(s))
        for s in answer["Shards"]
    ]


def rounded(shard: Any) -> tuple[int, int]:
    start, end = (int(shard["HashKeyRange"][f"{which}HashKey"]) for which in ("Starting", "Ending"))
    return (round(start / 2**100), round(end / 2**100))  # "describe" compares them to the last digit


def closed(shard: Any) -> bool:
    return "EndingSequenceNumber" in shard["SequenceNumberRange"]


async def resharding(script: Script) -> None:
    client = script.client
    zero, one, two = (f"shardId-{i:012d}" for i in range(3))

    async def split(shard: str, at: int) -> None:
        await client.split_shard(StreamName="s", ShardToSplit=shard, NewStartingHashKey=str(at))

    async def merge(low: str, high: str) -> None:
        await client.merge_shards(StreamName="s", ShardToMerge=low, AdjacentShardToMerge=high)

    await script.ask("split", split(zero, 2**125), str)
    await script.active()
    await script.ask("shards after the split", client.list_shards(StreamName="s"), lineage)
    await script.ask("put after the split", client.put_records(StreamName="s", Records=entries(KEYS)), placed)
    await script.ask("merge", merge("shardId-000000000005", one), str)
    await script.active()
    await script.ask("shards after the merge", client.list_shards(StreamName="s"), lineage)
    await script.ask("put after the merge", client.put_records(StreamName="s", Records=entries(KEYS)), placed)
    await script.ask("a closed shard to its end", to_the_end(script, one), lambda a: a)
    open_only = client.list_shards(StreamName="s", ShardFilter={"Type": "AT_LATEST"})
    await script.ask("open shards", open_only, shard_ids)
    await script.ask("split outside", split(two, 2**126), bool)
    await script.ask("split a missing shard", split("shardId-000000000077", 5), bool)
    await script.ask("merge strangers", merge("shardId-000000000004", two), bool)
    scale = client.update_shard_count(StreamName="s", TargetShardCount=6, ScalingType="UNIFORM_SCALING")
    await script.ask("scale to 6", scale, lambda a: (a["CurrentShardCount"], a["TargetShardCount"]))
    await script.active()
    await script.ask("ranges at 6", client.list_shards(StreamName="s"), open_ranges)
    last = client.update_shard_count(StreamName="s", TargetShardCount=13, ScalingType="UNIFORM_SCALING")
    await script.ask("more than double", last, bool)
    await script.active()
    last = client.update_shard_count(StreamName="s", TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    await script.ask("less than half", last, bool)
    await script.active()
    await script.ask("split at its start", split_at_start(script), bool)
    await script.active()


async def split_at_start(script: Script) -> Any:
    shards = (await script.client.list_shards(StreamName="s"))["Shards"]
    shard = next(shard for shard in shards if not closed(shard))
    start = shard["HashKeyRange"]["StartingHashKey"]
    return await script.client.split_shard(
        StreamName="s", ShardToSplit=shard["ShardId"], NewStartingHashKey=start
    )


def open_ranges(answer: Any) -> object:
    return sorted(rounded(shard) for shard in answer["Shards"] if not closed(shard))


async def to_the_end(script: Script, shard: str) -> tuple[int, bool]:
    """Return how many records a closed shard has, and whether its end is told."""
    iterator, count = await script.iterator(shard), 0
    for _ in range(10):
        answer = await script.client.get_records(ShardIterator=iterator)
        count += len(answer["Records"])
        if "NextShardIterator" not in answer:
            return count, True
        iterator = answer["NextShardIterator"]
    return count, False


async def deleting(script: Script) -> None:
    await script.ask("delete", script.client.delete_stream(StreamName="s"), bool)
    await asyncio.sleep(0.3)  # emulators delete a little later
    await script.ask("describe what is deleted", script.client.describe_stream(StreamName="s"), bool)
    await script.ask("delete it again", script.client.delete_stream(StreamName="s"), bool)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's, of the client
@pytest.mark.parametrize("start", [emulators.kinesalite, emulators.kinesis_local, emulators.moto_server])
def test_the_same_calls_get_the_same_answers(start: Callable[[], AbstractContextManager[str]]) -> None:
    pages = start is not emulators.kinesalite  # whose process dies of a NextToken
    with start() as url:
        theirs = asyncio.run(run_script(url, pages))
    with emulators.local(LocalOptions(shard_limits=False)) as url:
        ours = asyncio.run(run_script(url, pages))
    known = KNOWN.get(start.__name__, {})
    differing = {q: (ours[q], theirs[q]) for q in ours if ours[q] != theirs[q]}
    unexplained = {q: answers for q, answers in differing.items() if q not in known}
    assert not unexplained
    assert set(known) == set(differing)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's, of client and front
def test_the_same_calls_in_cbor_get_the_same_answers() -> None:
    async def asked_in_cbor(url: str) -> Answers:
        async with in_cbor(url) as front:
            return await run_script(front, pages=True)

    with emulators.local(LocalOptions(shard_limits=False)) as url:
        in_json = asyncio.run(run_script(url, pages=True))
    with emulators.local(LocalOptions(shard_limits=False)) as url:
        assert asyncio.run(asked_in_cbor(url)) == in_json
