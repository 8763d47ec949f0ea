"""Requests put together by hand, held against what google-cloud-pubsub's own types read in them."""

import gzip
from typing import Any

import numpy as np
import pytest
from backports import zstd
from google.pubsub_v1 import types
from hypothesis import example, given
from hypothesis import strategies as st

from delivering import INSTRUMENTS
from tickerd.batch import Batch
from tickerd.pubsub import wire
from tickerd.pubsub.lanes import Lane
from tickerd.pubsub.limits import MESSAGES_PER_REQUEST_MAX, REQUEST_BYTES_MAX
from tickerd.pubsub.packing import Packing, packing_of
from tickerd.settings import PubSub
from tickerd.texts import WholeRecords

TOPIC = "projects/p/topics/market-log"
SOURCE = "host-0-k7m2qx4d"
EVERYTHING = {"order": "key", "ordering_keys": 4}


def batch_of(sizes: list[int], first_seq: int = 0, frame: int = 7) -> tuple[Batch, WholeRecords]:
    """Records of so many bytes, each different from the others."""
    texts = [
        b"%d" % (first_seq + n) + b"x" * (size - len(b"%d" % (first_seq + n))) for n, size in enumerate(sizes)
    ]
    instruments = (np.arange(len(sizes), dtype=np.int32) * 7) % len(INSTRUMENTS)
    feeds = np.array([n % 3 for n in range(len(sizes))], np.uint8)
    return Batch(frame, first_seq, [], instruments, feeds), WholeRecords(texts)


def requests(packing: Packing) -> list[tuple[Lane, Any]]:
    """All that waits, as Google's types read it."""
    found = []
    for lane in packing.lanes:
        while lane.blocks:
            request = packing.request(lane)
            decoded = types.PublishRequest.pb().FromString(request.body)
            assert decoded.topic == TOPIC
            assert len(decoded.messages) == request.messages <= MESSAGES_PER_REQUEST_MAX
            assert len(request.body) <= REQUEST_BYTES_MAX
            assert request.records == sum(load.total for load in request.loads)
            assert request.records == (sum(request.entries) if request.entries else request.messages)
            assert decoded.SerializeToString(deterministic=True)
            found.append((lane, decoded))
    return found


@given(st.lists(st.integers(6, 700), min_size=1, max_size=60), st.sampled_from(["relaxed", "key"]))
def test_a_message_holds_a_record_and_its_key_and_nothing_else(sizes: list[int], order: Any) -> None:
    packing = packing_of(SOURCE, TOPIC, PubSub(order=order, ordering_keys=4))
    batch, texts = batch_of(sizes)
    packing.put(batch, texts, 0.0)
    found = requests(packing)
    for lane, request in found:
        # Only these fields are set, so that encoding them anew takes as many bytes.
        wanted = types.PublishRequest(
            topic=TOPIC,
            messages=[
                types.PubsubMessage(data=message.data, ordering_key=lane.key.decode())
                for message in request.messages
            ],
        )
        assert types.PublishRequest.pb(wanted) == request
    sent = [message.data for _, request in found for message in request.messages]
    assert sorted(sent) == sorted(texts.whole)
    if order == "relaxed":
        assert sent == texts.whole
    else:
        of_key: dict[str, set[int]] = {}
        for _, request in found:
            for message in request.messages:
                row = texts.whole.index(message.data)
                of_key.setdefault(message.ordering_key, set()).add(int(batch.instruments[row]) % 4)
        assert all(len(remainders) == 1 for remainders in of_key.values())


@pytest.mark.parametrize(
    "size", [6, 115, 116, 117, 126, 127, 128, 129, 511, 512, 513, 16_250, 16_383, 16_384]
)
def test_sizes_at_which_a_length_takes_another_byte_are_right(size: int) -> None:
    packing = packing_of(SOURCE, TOPIC, PubSub())
    batch, texts = batch_of([size, size + 1])
    packing.put(batch, texts, 0.0)
    ((_, request),) = requests(packing)
    assert [message.data for message in request.messages] == texts.whole


@pytest.mark.parametrize(
    ("records", "sizes"), [(999, [999]), (1000, [1000]), (1001, [1000, 1]), (2500, [1000, 1000, 500])]
)
def test_a_request_has_a_thousand_messages_at_most(records: int, sizes: list[int]) -> None:
    packing = packing_of(SOURCE, TOPIC, PubSub())
    packing.put(*batch_of([150] * records), 0.0)
    assert [len(request.messages) for _, request in requests(packing)] == sizes


def test_small_batches_fill_a_request_exactly() -> None:
    packing = packing_of(SOURCE, TOPIC, PubSub())
    for number in range(30):
        packing.put(*batch_of([150] * 70, 70 * number), 0.0)
    found = [request for _, request in requests(packing)]
    assert [len(request.messages) for request in found] == [1000, 1000, 100]
    assert [len(message.data) for message in found[0].messages] == [150] * 1000


def test_a_request_stays_below_ten_megabytes() -> None:
    packing = packing_of(SOURCE, TOPIC, PubSub(packing="lines", message_bytes_max=9_000_000))
    for number in range(3):
        packing.put(*batch_of([9000] * 900, 900 * number), 0.0)
    assert sum(len(request.messages) for _, request in requests(packing)) == 3


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("order", ["relaxed", "key"])
def test_lines_say_what_they_hold(compression: Any, order: Any) -> None:
    settings = PubSub(
        packing="lines", compression=compression, order=order, ordering_keys=4, message_bytes_max=20_000
    )
    packing = packing_of(SOURCE, TOPIC, settings)
    texts = []
    for number in range(5):
        batch, some = batch_of([150] * 300, 300 * number)
        packing.put(batch, some, 0.0)
        texts += some.whole
    found: list[bytes] = []
    for lane, request in requests(packing):
        for message in request.messages:
            attributes = dict(message.attributes)
            data = message.data
            if compression != "none":
                data = (gzip if compression == "gzip" else zstd).decompress(data)
            assert attributes.pop("content-encoding", "none") == compression
            lines = data.splitlines()
            assert attributes == {
                "format": "ndjson",
                "count": str(len(lines)),
                "first_seq": str(min(int(line.rstrip(b"x")) for line in lines)),
                "source": SOURCE,
            }
            assert data.endswith(b"\n")
            assert len(data) <= 20_000
            assert message.ordering_key == lane.key.decode()
            found += lines
    assert sorted(found) == sorted(texts)
    if order == "relaxed":
        assert found == texts


@given(st.lists(st.text(max_size=200), max_size=50))
def test_the_ids_of_an_answer_are_counted(ids: list[str]) -> None:
    answer = types.PublishResponse.pb()(message_ids=ids).SerializeToString()
    assert wire.messages_acknowledged(answer) == len(ids)


@given(st.binary(max_size=60))
@example(b"\x08\x00")  # the field of the ids as a number, which protobuf puts among the unknown
def test_what_is_no_answer_is_never_taken_for_one_that_is_right(answer: bytes) -> None:
    counted = wire.messages_acknowledged(answer)
    try:
        known = types.PublishResponse.pb().FromString(answer)
    except Exception:  # noqa: BLE001 - whatever protobuf says
        return  # it may be counted wrongly, but only as Google's own server would never answer
    assert counted in {len(known.message_ids), -1}


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=300),
            st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3),
            st.text(max_size=20),
            st.integers(0, 2**33),
            st.integers(0, 999_999_999),
        ),
        max_size=5,
    )
)
def test_pulled_messages_are_what_google_reads(messages: list[tuple[Any, ...]]) -> None:
    answer = types.PullResponse.pb()()
    for number, (data, attributes, key, seconds, nanos) in enumerate(messages):
        lent = answer.received_messages.add(ack_id=f"ack-{number}", delivery_attempt=number)
        lent.message.data, lent.message.ordering_key, lent.message.message_id = data, key, str(number)
        lent.message.attributes.update(attributes)
        lent.message.publish_time.seconds, lent.message.publish_time.nanos = seconds, nanos
    found = wire.received(answer.SerializeToString())
    assert [(each.data, each.attributes, each.ordering_key) for each in found] == [
        (data, attributes, key) for data, attributes, key, *_ in messages
    ]
    for number, each in enumerate(found):
        assert each.ack_id == f"ack-{number}".encode()
        assert each.published_s == pytest.approx(messages[number][3] + messages[number][4] / 1e9)


def test_other_requests_are_what_google_reads() -> None:
    pull = types.PullRequest.pb().FromString(wire.pull_request("projects/p/subscriptions/s", 1000))
    assert (pull.subscription, pull.max_messages) == ("projects/p/subscriptions/s", 1000)
    acknowledge = wire.acknowledge_request("projects/p/subscriptions/s", [b"a", b"b" * 300])
    read = types.AcknowledgeRequest.pb().FromString(acknowledge)
    assert (read.subscription, list(read.ack_ids)) == ("projects/p/subscriptions/s", ["a", "b" * 300])
    assert types.GetTopicRequest.pb().FromString(wire.named_request(TOPIC)).topic == TOPIC
