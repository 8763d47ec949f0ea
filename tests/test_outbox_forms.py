"""Outboxes fed with records in every form: each goes out with its bytes and key, whatever fails on the way.

Parts of frames as pieces and as whole records, of lengths that base64 and varints find hard, in turns;
answers that lose some, reshards, parking, and a change from one way of sending to another while some wait.
All of it in either format of requests.
"""

import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

import routes
from tickerd.batch import Columns, Interleaved
from tickerd.kinesis.aggregate import KPL, LINES, Aggregator
from tickerd.kinesis.deaggregate import deaggregate
from tickerd.kinesis.lanes import LaneOutbox
from tickerd.kinesis.outbox import Outbox
from tickerd.kinesis.pacing import Pacer
from tickerd.kinesis.plain import PlainOutbox
from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows
from tickerd.market.merging import merged
from tickerd.pieces import Pieces
from tickerd.texts import WholeRecords

SYMBOLS = [*routes.KEYS, *(f"日本{number}" for number in range(6)), *(f"S{number}" for number in range(300))]
NAMES = np.array(SYMBOLS, dtype=object)
SOURCE = "src-é"
WAYS = ("plain", "kpl", "lines")
PIECES = Pieces(NAMES)
STEPS = 40
FIRST_SEQS = (100_000, 999_500, 10**9 - 700, 10**12 - 50)


def rows_of(seed: int, count: int, first_seq: int) -> Interleaved:
    """Rows of all feeds about any symbol, with numbers and headlines of many lengths."""
    rng = np.random.default_rng(seed)

    def numbers(many: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return rng.integers(0, 10 ** int(rng.integers(1, 7)), many) / float(rng.choice([1, 10, 1000, 3]))

    def texts(of: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
        made = np.empty(len(of), dtype=object)
        made[:] = of
        return made

    columns = []
    for feed, many in enumerate(rng.multinomial(count, [0.4, 0.5, 0.1]).tolist()):
        if not many:
            continue
        values: tuple[np.ndarray[tuple[int], np.dtype[np.generic]], ...]
        if feed == 0:
            values = numbers(many), numbers(many), numbers(many)
        elif feed == 1:
            values = numbers(many), rng.integers(0, 10**6, many), numbers(many), numbers(many)
        else:
            headlines = [
                "é\\ж" * int(rng.integers(0, 4)) + "x" * int(rng.choice([1, 40, 5000])) for _ in range(many)
            ]
            values = texts(headlines), texts(["macro"] * many), numbers(many), rng.integers(0, 9, many)
        about = rng.integers(0, len(SYMBOLS), many).astype(np.int32)
        when = np.sort(rng.integers(0, 62, many)).astype(np.uint8)
        columns.append(Columns(feed, about, when, values))  # type: ignore[arg-type]  # as they come
    return merged(columns, NAMES, SOURCE, seed, 1_795_521_600_000, first_seq)


class Sender:
    """A stream without a service: what goes out is taken apart, and answered as chance has it."""

    def __init__(self, seed: int, request: str) -> None:
        self.chance = random.Random(seed)
        self.request = request
        self.even, self.paced = self.chance.random() < 0.4, self.chance.random() < 0.5
        self.shards = routes.equal_shards(self.chance.randint(1, 5))
        self.now_s = 100.0
        self.outbox = self.opened(self.chance.choice(WAYS))
        self.keys: dict[bytes, str] = {}  # of the records that were put
        self.arrived: set[bytes] = set()
        self.flying: list[tuple[object, list[list[bytes]]]] = []

    def route(self) -> Route:
        ids = [shard.shard_id for shard in self.shards.shards]
        pacer = Pacer(ids, self.chance.choice([1, 0.2]), self.now_s) if self.paced else None
        return routes.route(self.shards, SYMBOLS, "even" if self.even else "instrument", pacer, self.request)

    def opened(self, way: str) -> Outbox:
        opening = routes.OPENINGS[self.request]
        if way == "plain":
            return PlainOutbox(opening, self.route(), 2**20, 0.25)
        aggregate_bytes = self.chance.choice([1024, 5000, 51_200, 300_000])
        aggregator = Aggregator(KPL if way == "kpl" else LINES, aggregate_bytes, 2**20)
        return LaneOutbox(opening, self.route(), aggregator, 0.25, in_order=False)

    def put(self, rows: Interleaved) -> None:
        records = [msgspec.json.encode(record) for record in rows.records]
        self.keys |= zip(records, NAMES[rows.instruments], strict=True)
        texts = PIECES.encode(rows) if self.chance.random() < 0.7 else WholeRecords(records)
        keys = self.outbox.route.keys_of(rows.instruments)
        self.outbox.put(Rows.of_frame(texts, keys, rows.feeds, rows.frame), self.now_s)

    def take(self) -> None:
        call = self.outbox.take(self.now_s)
        if call is not None:
            entries = [self.records_of(data, key) for data, key in routes.entries_of(call.body)]
            assert sum(map(len, entries)) == call.records
            self.flying.append((call, entries))

    def records_of(self, data: bytes, entry_key: str) -> list[bytes]:
        """The records of an entry; each has been put, has not arrived, and has its key."""
        if data.startswith(b"\xf3\x89\x9a\xc2"):
            pairs = [(record, key.decode()) for key, _, record in deaggregate(data)]
        elif data.endswith(b"\n"):
            pairs = [(record, "") for record in data.split(b"\n")[:-1]]
        else:
            pairs = [(data, entry_key)]
        for record, key in pairs:
            assert record not in self.arrived
            assert self.even or key in {"", self.keys[record]}
        return [record for record, _ in pairs]

    def answer(self, lost: float) -> None:
        call, entries = self.flying.pop(self.chance.randrange(len(self.flying)))
        missing: list[int] | None = None if self.chance.random() < lost / 2 else []
        if missing is not None:
            missing = [number for number in range(len(entries)) if self.chance.random() < lost]
        throttled = missing or () if self.chance.random() < 0.5 else ()
        settled = self.outbox.settle(call, routes.answer(missing, throttled), set(), self.now_s)
        kept = set(range(len(entries)) if missing is None else missing)
        here = [record for number, entry in enumerate(entries) if number not in kept for record in entry]
        assert (settled.arrived.sizes.tolist() if settled.arrived else []) == list(map(len, here))
        self.arrived.update(here)

    def reshard(self) -> None:
        many = len(self.shards)
        if many < 8 and self.chance.random() < 0.5:
            self.shards = routes.split(self.shards, self.chance.randrange(many))
        elif many > 1:
            self.shards = routes.merged(self.shards, self.chance.randrange(many - 1))
        self.outbox.reroute(self.route())

    def change_way(self) -> None:
        """As delivery does where the stream asks for it."""
        waiting = self.outbox.leave()
        self.outbox = self.opened(self.chance.choice(WAYS))
        for rows in waiting:
            keys = self.outbox.route.keys_of(rows.keys)
            self.outbox.put(rows.with_keys(keys), self.now_s)

    @property
    def waiting_bytes(self) -> int:
        flying = {record for _, entries in self.flying for entry in entries for record in entry}
        return sum(len(record) for record in self.keys.keys() - self.arrived - flying)


@pytest.mark.parametrize("request_", ["json", "cbor"])
@pytest.mark.parametrize("seed", range(24))
def test_each_record_goes_out_with_its_bytes_and_key_whatever_its_form_and_whatever_fails(
    seed: int, request_: str
) -> None:
    sender = Sender(seed, request_)
    seq = sender.chance.choice(FIRST_SEQS)
    for step in range(STEPS):
        match sender.chance.choices(range(5), (35, 35, 20, 6, 4))[0]:
            case 0:
                rows = rows_of(1000 * seed + step, sender.chance.choice([1, 3, 40, 700, 3000]), seq)
                seq += len(rows)
                sender.put(rows)
            case 1:
                sender.now_s += sender.chance.choice([0, 0.01, 0.3, 3])
                sender.take()
            case 2 if sender.flying:
                sender.answer(lost=0.3)
            case 3:
                sender.reshard()
            case 4 if not sender.flying:
                sender.change_way()
        assert sender.outbox.waiting_bytes == sender.waiting_bytes
    sender.outbox.flush()
    for _ in range(20_000):
        if sender.flying:
            sender.answer(lost=0.0)
        elif sender.outbox.empty:
            break
        due_s = sender.outbox.due_s(sender.now_s)
        sender.now_s = max(sender.now_s + 0.001, due_s or 0.0)
        sender.take()
    assert sender.arrived == sender.keys.keys()
