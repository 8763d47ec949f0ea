"""A lane outbox under any sequence of answers and reshards, against a model of the service.

The service stores an entry by the hash of its key under the map of that moment, and consumers drop an
aggregate that does not lie whole in its shard.
"""

from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import routes
from tickerd.kinesis.aggregate import KPL, LINES, Aggregation, Aggregator
from tickerd.kinesis.lane import LaneCall
from tickerd.kinesis.lanes import LaneOutbox
from tickerd.kinesis.pacing import Pacer
from tickerd.kinesis.route import Route
from tickerd.kinesis.shards import Shard

AGGREGATE_BYTES = 400
LINGER_S = 0.25
EXAMPLES = 50
BITS = st.integers(0, 2**12 - 1)  # which entries of a call


class Kind(NamedTuple):
    aggregation: Aggregation
    in_order: bool
    even: bool
    paced: bool

    def __str__(self) -> str:
        words = ["kpl" if self.aggregation is KPL else "lines"]
        return " ".join(words + [name for name in ("in_order", "even", "paced") if getattr(self, name)])


KINDS = [
    Kind(aggregation, in_order, even, paced)
    for aggregation in (KPL, LINES)
    for in_order in (True, False)
    for even in (True, False)
    for paced in (True, False)
    if not in_order or (aggregation is KPL and not even)
]


class Lanes(RuleBasedStateMachine):
    """Records carry their seq and key in their bytes; the model remembers what the service holds of a key."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.seq = 0
        self.put_bytes = self.arrived_bytes = 0
        self.arrived: set[int] = set()
        self.stored: dict[str, list[int]] = {}  # by instrument: first copies of what consumers see
        self.seen: set[int] = set()
        self.flying: list[
            tuple[LaneCall, list[Shard] | None]
        ] = []  # calls, and where their entries were stored

    kind: Kind

    @initialize(shards=st.integers(1, 4))
    def open(self, shards: int) -> None:
        kind = self.kind
        self.true = routes.equal_shards(shards)
        self.known = {shard.shard_id: shard for shard in self.true.shards}
        self.outbox = LaneOutbox(
            routes.OPENING,
            self.route(None),
            Aggregator(kind.aggregation, AGGREGATE_BYTES, 1024),
            LINGER_S,
            in_order=kind.in_order,
        )

    def route(self, before: Route | None) -> Route:
        pacer = None
        if self.kind.paced:
            ids = [shard.shard_id for shard in self.true.shards]
            old = before.pacer if before else None
            parents = {}
            if before:
                parents = {
                    shard.shard_id: before.shard_map.shards[
                        before.shard_map.shard_of(shard.hash_key_start)
                    ].shard_id
                    for shard in self.true.shards
                }
            pacer = Pacer(ids, 0.01, self.now_s, old, parents)
        return routes.route(self.true, partition_key="even" if self.kind.even else "instrument", pacer=pacer)

    @rule(instruments=st.lists(st.integers(0, 7), min_size=1, max_size=25), pad=st.integers(0, 500))
    def put(self, instruments: list[int], pad: int) -> None:
        data = []
        for number, instrument in enumerate(instruments):
            size = pad if number == 0 else 20
            data.append(f"{self.seq} {routes.KEYS[instrument]} ".encode().ljust(size, b"."))
            self.seq += 1
        self.put_bytes += sum(map(len, data))
        self.outbox.put(routes.rows(data, instruments, to=self.outbox.route), self.now_s)

    @rule(stored=st.booleans(), seconds=st.sampled_from([0.0, 0.1, 0.3, 3.0]))
    def take(self, stored: bool, seconds: float) -> None:
        """The next call, and whether it is stored now or when it is answered."""
        self.now_s += seconds
        call = self.outbox.take(self.now_s)
        if call is None:
            return
        entries = routes.entries_of(call.body)
        assert [data for data, _ in entries] == [entry.data for entry in call.entries]
        assert 1 <= len(call) <= 500
        for entry, shard, (_, key) in zip(call.entries, call.shards(len(call)), entries, strict=True):
            assert entry.size <= AGGREGATE_BYTES or len(entry.rows) == 1
            assert set(call.route.key_shards[entry.rows.keys].tolist()) == {shard}
            assert key == call.route.keys[entry.key]
            assert self.arrived.isdisjoint(seq for seq, _ in self.records(entry))
        self.flying.append((call, self.store(call) if stored else None))
        on_their_way = [
            seq for call, _ in self.flying for entry in call.entries for seq, _ in self.records(entry)
        ]
        assert len(on_their_way) == len(set(on_their_way))
        if self.kind.in_order:
            shards = [
                call.route.shard_map.shards[n] for call, _ in self.flying for n in call.shards(len(call))
            ]
            assert len(shards) == len(set(shards))

    def records(self, entry: Any) -> list[tuple[int, str]]:
        pieces = self.kind.aggregation.split(entry.data, len(entry.rows))
        return [
            (int(seq), key)
            for seq, key in (piece.decode().rstrip(".").strip().split(" ", 1) for piece in pieces)
        ]

    def store(self, call: LaneCall) -> list[Shard]:
        """What the service does with a call now."""
        landed = []
        for number, entry in enumerate(call.entries):
            shard = self.true.shards[self.true.shard_of(call.route.key_hashes[entry.key])]
            landed.append(shard)
            if call.must_land and not call.is_legal_in(number, shard):
                continue
            for seq, key in self.records(entry):
                if seq not in self.seen:
                    self.seen.add(seq)
                    self.stored.setdefault(key, []).append(seq)
        return landed

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 100), failed=BITS, lost=st.integers(0, 3))
    def answered(self, which: int, failed: int, lost: int) -> None:
        """Stored before, its answer arrives or is lost; else some entries fail, or all do."""
        call, landed = self.flying.pop(which % len(self.flying))
        missing = [number for number in range(len(call)) if failed >> number % 12 & 1]
        if lost == 0:
            self.settle(call, landed, None)
        elif landed is not None:
            self.settle(call, landed, [])
        else:
            self.settle(call, self.store_some(call, missing), missing)

    def store_some(self, call: LaneCall, missing: list[int]) -> list[Shard]:
        entries = [entry for number, entry in enumerate(call.entries) if number not in missing]
        kept = LaneCall(call.route, entries, [], call.must_land, b"")
        landed = iter(self.store(kept))
        return [next(landed) if number not in missing else self.true.shards[0] for number in range(len(call))]

    def settle(self, call: LaneCall, landed: list[Shard] | None, missing: list[int] | None) -> None:
        misplaced: set[int] = set()
        if landed is not None and missing is not None and call.must_land:
            foreseen = [call.route.shard_map.shards[shard] for shard in call.shards(len(call))]
            strange = [n for n in range(len(call)) if n not in missing and landed[n] != foreseen[n]]
            if strange:
                self.refresh()  # as delivery does before it judges
            misplaced = {number for number in strange if not call.is_legal_in(number, landed[number])}
        settled = self.outbox.settle(call, routes.answer(missing), misplaced, self.now_s)
        kept = misplaced.union(range(len(call)) if missing is None else missing)
        arrived = [entry for number, entry in enumerate(call.entries) if number not in kept]
        assert settled.entries == [len(entry.rows) for entry in arrived]
        assert sum(settled.entries) == (len(settled.arrived) if settled.arrived else 0)
        for entry in arrived:
            seqs = {seq for seq, _ in self.records(entry)}
            assert self.arrived.isdisjoint(seqs)
            self.arrived |= seqs
            self.arrived_bytes += entry.record_bytes

    @rule(position=st.integers(0, 100), up=st.booleans())
    def reshard(self, position: int, up: bool) -> None:
        """The stream changes; the outbox hears of it later."""
        if up and len(self.true) < 8:
            self.true = routes.split(self.true, position % len(self.true))
        elif not up and len(self.true) > 1:
            self.true = routes.merged(self.true, position % (len(self.true) - 1))
        self.known |= {shard.shard_id: shard for shard in self.true.shards}

    @rule()
    def refresh(self) -> None:
        if self.outbox.route.shard_map != self.true:
            self.outbox.reroute(self.route(self.outbox.route))

    @rule()
    def flush(self) -> None:
        self.outbox.flush()

    @invariant()
    def what_waits_is_what_was_put_and_is_not_elsewhere(self) -> None:
        if self.put_bytes:
            flying = sum(entry.record_bytes for call, _ in self.flying for entry in call.entries)
            assert self.outbox.waiting_bytes == self.put_bytes - self.arrived_bytes - flying
            assert self.outbox.empty == (self.outbox.waiting_bytes == 0)
            if not self.outbox.empty and not self.flying:
                assert self.outbox.due_s(self.now_s) is not None  # nothing waits for ever

    @invariant()
    def first_copies_of_a_key_are_in_order(self) -> None:
        if self.seq and self.kind.in_order:
            assert all(seqs == sorted(seqs) for seqs in self.stored.values())

    def teardown(self) -> None:
        if not self.seq:
            return
        rounds = 0
        while not self.outbox.empty or self.flying:
            rounds += 1
            assert rounds < 20_000, "it never becomes empty"
            while self.flying:
                call, landed = self.flying.pop(0)
                self.settle(call, landed or self.store(call), [])
            due_s = self.outbox.due_s(self.now_s)
            if due_s is not None:
                self.now_s = max(self.now_s + 0.001, due_s)
            self.take(stored=True, seconds=0.0)
            self.what_waits_is_what_was_put_and_is_not_elsewhere()
        assert self.outbox._queued_bytes == self.outbox.waiting_bytes == 0
        assert not self.outbox.ready
        assert self.arrived == set(range(self.seq))
        assert self.seen == set(range(self.seq))  # what counts as delivered, consumers see
        self.first_copies_of_a_key_are_in_order()


@pytest.mark.parametrize("kind", KINDS, ids=Kind.__str__)
def test_any_sequence_of_answers_and_reshards_keeps_every_record_and_the_order_of_a_key(kind: Kind) -> None:
    machine = type("LanesOfKind", (Lanes,), {"kind": kind})
    examples = settings(max_examples=EXAMPLES, stateful_step_count=50)
    run_state_machine_as_test(machine, settings=examples)
