"""What is read, counted page by page: per source its seqs, copies, order and delays; per shard its entries.

Memory grows with the sources and with 8 bytes of digest a seq up to a limit, never with the entries read.
"""

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tickerd.reading.decode import Member, Unreadable, decode_all, unpack
from tickerd.reading.delays import Delays
from tickerd.reading.get_records import Entry
from tickerd.reading.order import Order
from tickerd.reading.page import Numbering, Page, page_of
from tickerd.reading.report import ShardReport
from tickerd.reading.seen import CHUNK_BYTES, ChunkLimit, Seen
from tickerd.reading.settled import Settled
from tickerd.reading.stream import StreamShard

CORRUPT_SHOWN_MAX = ALTERED_SHOWN_MAX = 5
DIGEST_BYTES_MAX = 1 << 30  # 134 million seqs
SNAPSHOT_SOURCE = re.compile(r".+-logs-[0-9A-Za-z]{8}")  # one snapshot, asked for over HTTP

Bounds = tuple[float, float]  # the times from which and up to which records are judged, in ms since 1970


class SourceTally:
    """What was read of one source.

    `bounds` as an account sets them, None where settling does. `is_snapshot`: its records are no sequence,
    and their times say nothing of where the workers' begin and end.
    """

    def __init__(self, limit: ChunkLimit, bounds: Bounds | None, *, is_snapshot: bool) -> None:
        self.bounds = bounds
        self.is_snapshot = is_snapshot
        self.seen = Seen(limit)
        self.settled = Settled()
        self.delays = Delays()
        self.records = self.duplicates = self.altered = self.out_of_order = 0
        self.altered_shown: list[int] = []  # the first few seqs
        self.spread = False  # an instrument lies on several shards, so that its order means nothing
        self._shard_of = np.empty(0, np.int32)  # [instruments] the number of its latest shard, -1 for none

    def show_altered(self, seqs: Sequence[int]) -> None:
        """Keep the first few seqs of altered records, for people."""
        shown = {*self.altered_shown, *seqs[:ALTERED_SHOWN_MAX]}
        self.altered_shown = sorted(shown)[:ALTERED_SHOWN_MAX]

    def moved(self, instrument: NDArray[np.int64], shard: int, ancestors: frozenset[int]) -> None:
        """Notice an instrument of [records] that was on a shard from which this one does not descend."""
        if self.spread:
            return
        instruments = np.unique(instrument)
        more = int(instruments[-1]) + 1 - len(self._shard_of)
        if more > 0:
            self._shard_of = np.concatenate((self._shard_of, np.full(more, -1, np.int32)))
        before = {*self._shard_of[instruments].tolist()} - {-1, shard}
        self.spread = not before <= ancestors
        self._shard_of[instruments] = shard


class ShardTally:
    """What was read from one shard. `parents`, where they are read too, have been read to their ends."""

    def __init__(self, shard: StreamShard, number: int, parents: Sequence["ShardTally"]) -> None:
        self.shard = shard
        self.number = number
        self.ancestors: frozenset[int] = frozenset({parent.number for parent in parents}).union(
            *(parent.ancestors for parent in parents)
        )
        self.records = self.discarded = 0
        self.unreadable = dict.fromkeys(Unreadable, 0)
        self.corrupt: list[str] = []  # the first few, for people
        inherited = {source for parent in parents for source in parent.orders}
        self.orders: dict[int, Order] = {  # by the number of the source
            source: Order(*(parent.orders[source] for parent in parents if source in parent.orders))
            for source in inherited
        }

    def note(self, why: Unreadable, sequence_number: str, data: bytes) -> None:
        """Count an entry, or a record in one, that cannot be read."""
        self.unreadable[why] += 1
        if why is Unreadable.CORRUPT and len(self.corrupt) < CORRUPT_SHOWN_MAX:
            at = f"{self.shard.shard_id}, sequence number {sequence_number}"
            self.corrupt.append(f"corrupt in {at}: {data[:40]!r}{'...' if len(data) > 40 else ''}")

    def report(self) -> ShardReport:
        """The shard's line of the report."""
        parent, adjacent = (*self.shard.parents, None, None)[:2]
        return ShardReport(
            shard_id=self.shard.shard_id,
            parent_shard_id=parent,
            adjacent_parent_shard_id=adjacent,
            open=self.shard.is_open,
            records=self.records,
            corrupt=self.unreadable[Unreadable.CORRUPT],
            foreign=self.unreadable[Unreadable.FOREIGN],
            discarded=self.discarded,
        )


class Tally:
    """All that was read so far.

    `bounds`: what is judged of each source of an account; others are judged `settle_s` away from the first
    and the last time of all records. `only`: the sources to count, empty for all.
    """

    def __init__(
        self,
        bounds: Mapping[str, Bounds] | None = None,
        settle_s: float = 0.0,
        only: Collection[str] = (),
        digest_bytes_max: int = DIGEST_BYTES_MAX,
    ) -> None:
        self.sources: dict[str, SourceTally] = {}
        self.shards: dict[str, ShardTally] = {}
        self.first_ms, self.last_ms = float("inf"), float("-inf")
        self.records_read = 0  # whatever became of them
        self._settle_ms = settle_s * 1000
        self._bounds = dict(bounds or {})
        self._only = frozenset(only)
        self._limit = ChunkLimit(digest_bytes_max // CHUNK_BYTES)
        self._source_numbers, self._instrument_numbers = Numbering(), Numbering()
        for name in self._bounds:
            self.source(name)

    def source(self, name: str) -> SourceTally:
        """The tally of a source, a new one where there is none."""
        if name not in self.sources:
            bounds = self._bounds.get(name)
            is_snapshot = bounds is None and SNAPSHOT_SOURCE.fullmatch(name) is not None
            self.sources[name] = SourceTally(self._limit, bounds, is_snapshot=is_snapshot)
        return self.sources[name]

    def shard(self, shard: StreamShard) -> ShardTally:
        """The tally of a shard, a new one where there is none: when its parents have been read."""
        if shard.shard_id not in self.shards:
            parents = [self.shards[parent] for parent in shard.parents if parent in self.shards]
            self.shards[shard.shard_id] = ShardTally(shard, len(self.shards), parents)
        tally = self.shards[shard.shard_id]
        tally.shard = shard  # it may have been closed since
        return tally

    def bounds_of(self, source: SourceTally) -> Bounds:
        """The times between which its records are judged, as far as is known now."""
        return source.bounds or (self.first_ms + self._settle_ms, self.last_ms - self._settle_ms)

    def add(self, shard: StreamShard, entries: Sequence[Entry]) -> None:
        """Take in what one call read from a shard."""
        tally = self.shard(shard)
        payloads, entry_of, damaged, discarded = unpack(entries, shard)
        self.records_read += len(payloads) + len(damaged) + discarded
        tally.discarded += discarded
        for number in damaged:
            tally.note(Unreadable.CORRUPT, entries[number].sequence_number, entries[number].data)
        members: list[Member] = []
        rows: list[int] = []
        for row, member in enumerate(decode_all(payloads)):
            if isinstance(member, Unreadable):
                tally.note(member, entries[entry_of[row]].sequence_number, payloads[row])
            elif not self._only or member.source in self._only:
                members.append(member)
                rows.append(row)
        tally.records += len(members)
        if members:
            arrival_ms = np.array([entry.arrival_ms for entry in entries], np.int64)[entry_of][rows]
            readable = payloads if len(rows) == len(payloads) else [payloads[row] for row in rows]
            numberings = self._source_numbers, self._instrument_numbers
            self._count(tally, page_of(members, readable, arrival_ms, *numberings))

    def _count(self, shard: ShardTally, page: Page) -> None:
        names = list(self._source_numbers)
        for number, part in page.by_source():
            source = self.source(names[number])
            fresh, same = source.seen.add(part.seq, part.digest)
            source.records += len(part.seq)
            source.duplicates += int(np.count_nonzero(same & ~fresh))
            source.altered += int(np.count_nonzero(~same))
            source.show_altered(part.seq[~same].tolist())
            source.moved(part.instrument, shard.number, shard.ancestors)
            first = part.where(fresh)
            if not source.is_snapshot:
                self.first_ms = min(self.first_ms, int(part.time_ms.min()))
                self.last_ms = max(self.last_ms, int(part.time_ms.max()))
            if shard.shard.in_order:
                late = shard.orders.setdefault(number, Order()).late(first.instrument, first.seq)
                source.out_of_order += late
            else:
                source.spread = True
            if len(first.arrival_ms) and first.arrival_ms[0] >= 0:  # files do not tell
                source.delays.add(first.arrival_ms - first.time_ms)
            source.settled.add(part.seq, part.time_ms, *self.bounds_of(source))
