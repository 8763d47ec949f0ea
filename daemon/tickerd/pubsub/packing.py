"""From the records of a part of a frame to blocks in lanes, and from a lane's blocks to a request.

Packing "none" makes a message of each record, "lines" of many, with attributes that say what is in it.
"""

import sys
import zlib
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tickerd.arrivals import load_of
from tickerd.batch import Batch, Interleaved
from tickerd.pubsub.lanes import Block, Lane, Request
from tickerd.pubsub.limits import (
    MESSAGES_PER_REQUEST_MAX,
    ORDERING_KEY_BYTES_MAX,
    REQUEST_BYTES_AIMED,
    REQUEST_BYTES_MAX,
)
from tickerd.pubsub.wire import Heads, message_head, publish_request
from tickerd.settings import PubSub
from tickerd.texts import Numbers, Texts, chunk_stops

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMAT = "ndjson"
GZIP_LEVEL, ZSTD_LEVEL = 1, 1
HEAD_BYTES_MAX = ORDERING_KEY_BYTES_MAX + 16  # of a message of one record


class Packing(Protocol):
    """One source's way to make requests."""

    lanes: Sequence[Lane]

    def put(self, batch: Batch | Interleaved, texts: Texts, now_s: float) -> None:
        """Take a batch's records, given as `texts`, into the lanes."""

    def is_full(self, lane: Lane) -> bool:
        """Whether a whole request waits in a lane."""

    def request(self, lane: Lane) -> Request:
        """The first of what waits in a lane, where something does."""


def lanes_of(source: str, settings: PubSub) -> list[Lane]:
    """A lane for each ordering key of a source; one without a key where no order is promised."""
    if settings.order == "relaxed":
        return [Lane(b"")]
    lanes = [Lane(f"{source}-{number:04}".encode()) for number in range(settings.ordering_keys)]
    assert all(len(lane.key) <= ORDERING_KEY_BYTES_MAX for lane in lanes)
    return lanes


class _Dealt:
    """The records of a batch in the order of their lanes, and of their seq within each."""

    def __init__(self, batch: Batch | Interleaved, lanes: Sequence[Lane]) -> None:
        self.order: Numbers = np.arange(len(batch.feeds))
        self.lanes: NDArray[np.intp] | int = 0  # [records] or of all: the number of the lane
        self.ends = [len(self.order)]  # of each lane's records
        if len(lanes) > 1:
            numbers = (batch.instruments % len(lanes)).astype(np.uint16)
            self.order = np.argsort(numbers, kind="stable")
            self.lanes = numbers[self.order].astype(np.intp)
            self.ends = np.cumsum(np.bincount(numbers, minlength=len(lanes))).tolist()


class Plain:
    """A message a record. Requests are as full as they may be: a call costs as much as 700 records."""

    def __init__(self, topic: str, lanes: Sequence[Lane]) -> None:
        self.lanes = lanes
        self._topic = topic.encode()
        self._heads = Heads([lane.key for lane in lanes])

    def put(self, batch: Batch | Interleaved, texts: Texts, now_s: float) -> None:
        """Take a batch's records, cut where requests become full."""
        dealt = _Dealt(batch, self.lanes)
        stops: list[int] = []
        owners: list[Lane] = []
        start = 0
        for lane, end in zip(self.lanes, dealt.ends, strict=True):
            room = MESSAGES_PER_REQUEST_MAX - lane.waiting_records % MESSAGES_PER_REQUEST_MAX
            while start < end:
                start = min(start + room, end)
                stops.append(start)
                owners.append(lane)
                room = MESSAGES_PER_REQUEST_MAX
        sizes, feeds = texts.sizes()[dealt.order], batch.feeds[dealt.order]
        before = self._heads.of(dealt.lanes, sizes)
        start = 0
        runs = texts.runs(dealt.order, stops, before, lines=False)
        for data, lane, stop in zip(runs, owners, stops, strict=True):
            load = load_of(batch.frame, feeds[start:stop], sizes[start:stop])
            lane.put(Block(data, batch.first_seq + int(dealt.order[start]), load), now_s)
            start = stop

    def is_full(self, lane: Lane) -> bool:
        """Whether as many records wait as a request may have."""
        return lane.waiting_records >= MESSAGES_PER_REQUEST_MAX

    def request(self, lane: Lane) -> Request:
        """The first records of a lane."""
        blocks = lane.take(REQUEST_BYTES_MAX - len(self._topic) - HEAD_BYTES_MAX, MESSAGES_PER_REQUEST_MAX)
        records = sum(block.load.total for block in blocks)
        body = publish_request(self._topic, [block.data for block in blocks])
        return Request(body, records, None, [block.load for block in blocks], records, lane)


class Lines:
    """Many records a message, of one ordering key."""

    def __init__(self, topic: str, source: str, lanes: Sequence[Lane], settings: PubSub) -> None:
        self.lanes = lanes
        self._topic = topic.encode()
        self._source = source
        self._bytes_max = settings.message_bytes_max
        self._compression = settings.compression

    def put(self, batch: Batch | Interleaved, texts: Texts, now_s: float) -> None:
        """Take a batch's records, cut where messages become full."""
        dealt = _Dealt(batch, self.lanes)
        sizes, feeds = (texts.sizes() + 1)[dealt.order], batch.feeds[dealt.order]
        stops: list[int] = []
        owners: list[Lane] = []
        start = 0
        for lane, end in zip(self.lanes, dealt.ends, strict=True):
            if start < end:
                found = chunk_stops(sizes[start:end], self._bytes_max, len(sizes))
                stops += [start + stop for stop in found]
                owners += [lane] * len(found)
            start = end
        start = 0
        runs = texts.runs(dealt.order, stops, None, lines=True)
        for data, lane, stop in zip(runs, owners, stops, strict=True):
            load = load_of(batch.frame, feeds[start:stop], sizes[start:stop])
            lane.put(Block(data, batch.first_seq + int(dealt.order[start]), load), now_s)
            start = stop

    def is_full(self, lane: Lane) -> bool:
        """Whether as much waits as makes a large request."""
        return lane.waiting_bytes >= REQUEST_BYTES_AIMED

    def request(self, lane: Lane) -> Request:
        """Messages of the first records of a lane."""
        pieces: list[bytes] = []  # joined once, as all of a request is copied by that
        entries: list[int] = []
        taken: list[Block] = []
        size = 0
        while lane.blocks and len(entries) < MESSAGES_PER_REQUEST_MAX:
            if entries and size + min(lane.waiting_bytes, self._bytes_max) > REQUEST_BYTES_AIMED:
                break
            blocks = lane.take(self._bytes_max, sys.maxsize)
            count = sum(block.load.total for block in blocks)
            message = self._message(blocks, count, lane.key)
            pieces += message
            size += sum(map(len, message))
            entries.append(count)
            taken += blocks
        body = publish_request(self._topic, pieces)
        return Request(body, len(entries), entries, [block.load for block in taken], sum(entries), lane)

    def _message(self, blocks: Sequence[Block], count: int, key: bytes) -> list[bytes]:
        """The pieces of a message of these blocks."""
        attributes = {
            "format": FORMAT,
            "count": str(count),
            "first_seq": str(min(block.first_seq for block in blocks)),
            "source": self._source,
        }
        data = [block.data for block in blocks]
        if self._compression != "none":
            attributes["content-encoding"] = self._compression
            data = [compressed(b"".join(data), self._compression)]
        return [message_head(sum(map(len, data)), attributes, key), *data]


def compressed(data: bytes, compression: Literal["gzip", "zstd"]) -> bytes:
    """The data, which a standard gunzip or unzstd gives back."""
    if compression == "zstd":
        return zstd.compress(data, ZSTD_LEVEL)
    return zlib.compress(data, GZIP_LEVEL, wbits=16 + zlib.MAX_WBITS)


def packing_of(source: str, topic: str, settings: PubSub) -> Packing:
    """What the settings ask for, for one source."""
    lanes = lanes_of(source, settings)
    if settings.packing == "none":
        return Plain(topic, lanes)
    return Lines(topic, source, lanes, settings)
