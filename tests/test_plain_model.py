"""A plain outbox under any sequence of answers and reshards: a record is in one place, and arrives once."""

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
from test_plain import NOW_S, data_of, outbox
from tickerd.kinesis.limits import ENTRIES_PER_CALL_MAX
from tickerd.kinesis.pacing import Pacer
from tickerd.kinesis.plain import PlainCall
from tickerd.kinesis.route import Route


class Plain(RuleBasedStateMachine):
    """Records are 7 bytes, which tell their seq."""

    even: bool
    is_paced: bool

    @initialize(shards=st.integers(1, 4))
    def open(self, shards: int) -> None:
        self.now_s = NOW_S
        self.map = routes.equal_shards(shards)
        self.box = outbox(self.route())
        self.seq = 0
        self.flying: list[PlainCall] = []
        self.arrived: set[bytes] = set()

    def route(self) -> Route:
        pacer = (
            Pacer([each.shard_id for each in self.map.shards], 0.05, self.now_s) if self.is_paced else None
        )
        return routes.route(self.map, partition_key="even" if self.even else "instrument", pacer=pacer)

    @rule(records=st.lists(st.integers(0, 23), min_size=1, max_size=300))
    def put(self, records: list[int]) -> None:
        data = [b"%07d" % (self.seq + number) for number in range(len(records))]
        self.seq += len(records)
        self.box.put(routes.rows(data, records, to=self.box.route), self.now_s)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 3.0]))
    def take(self, seconds: float) -> None:
        self.now_s += seconds
        if (call := self.box.take(self.now_s)) is not None:
            assert 1 <= len(call) <= ENTRIES_PER_CALL_MAX
            assert [key for _, key in routes.entries_of(call.body)] == [
                call.route.keys[key] for key in call.rows.keys.tolist()
            ]
            self.flying.append(call)

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 100), share=st.integers(1, 5), lost=st.booleans(), throttled=st.booleans())
    def answered(self, which: int, share: int, lost: bool, throttled: bool) -> None:
        call = self.flying.pop(which % len(self.flying))
        missing = list(range(0, len(call), share)) if share < 5 else []
        kept = set(range(len(call)) if lost else missing)
        outcome = routes.answer(None if lost else missing, missing if throttled and not lost else [])
        settled = self.box.settle(call, outcome, set(), self.now_s)
        arrived = [data for number, data in enumerate(data_of(call)) if number not in kept]
        assert (len(settled.arrived) if settled.arrived else 0) == len(arrived)
        assert self.arrived.isdisjoint(arrived)
        self.arrived |= set(arrived)

    @rule(position=st.integers(0, 100), up=st.booleans())
    def reshard(self, position: int, up: bool) -> None:
        if up and len(self.map) < 8:
            self.map = routes.split(self.map, position % len(self.map))
        elif len(self.map) > 1:
            self.map = routes.merged(self.map, position % (len(self.map) - 1))
        self.box.reroute(self.route())

    @rule()
    def hand_over(self) -> None:
        """As when the aggregation changes: nothing is on its way."""
        while self.flying:
            self.answered(0, 2, lost=False, throttled=False)
        pieces = self.box.leave()
        assert self.box.empty
        self.box = outbox(self.route())
        for rows in pieces:
            self.box.put(rows.with_keys(self.box.route.keys_of(rows.keys)), self.now_s)

    @invariant()
    def what_waits_is_what_was_put_and_is_not_elsewhere(self) -> None:
        flying = sum(map(len, self.flying))
        assert self.box.waiting_bytes == 7 * (self.seq - flying - len(self.arrived))
        assert self.box.empty == (self.box.waiting_bytes == 0)
        if not self.box.empty:
            assert self.box.due_s(self.now_s) is not None or self.box.ready

    def teardown(self) -> None:
        if not hasattr(self, "box"):
            return
        while not self.box.empty or self.flying:
            while self.flying:
                self.answered(0, 5, lost=False, throttled=False)
            self.now_s = max(self.now_s + 0.01, self.box.due_s(self.now_s) or 0)
            self.take(0.0)
            assert self.now_s < NOW_S + 10_000, "it never becomes empty"
        assert self.arrived == {b"%07d" % number for number in range(self.seq)}


@pytest.mark.parametrize("is_paced", [False, True])
@pytest.mark.parametrize("even", [False, True])
def test_any_sequence_of_answers_and_reshards_keeps_every_record_once(*, even: bool, is_paced: bool) -> None:
    machine = type("PlainOfKind", (Plain,), {"even": even, "is_paced": is_paced})
    examples = settings(max_examples=40, stateful_step_count=40)
    run_state_machine_as_test(machine, settings=examples)
