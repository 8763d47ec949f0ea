"""What was read from each shard: columns per source, and the entries that are no records of ours."""

from typing import Any

from tickerd.reading.accounting import Columns
from tickerd.reading.decode import Member, Unreadable, decode, split
from tickerd.reading.report import ShardReport
from tickerd.reading.stream import StreamShard

CORRUPT_SHOWN_MAX = 5


class ShardTally:
    """What was read from one shard, by source."""

    def __init__(self, shard: StreamShard, instruments: dict[str, int]) -> None:
        self.shard = shard
        self.sources: dict[str, Columns] = {}
        self.unreadable = dict.fromkeys(Unreadable, 0)
        self.corrupt: list[str] = []  # the first few, for people
        self._instruments = instruments  # symbol -> number, shared by all shards

    def add(self, entries: list[dict[str, Any]]) -> int:
        """Take in one GetRecords answer; returns how many records it held, readable or not."""
        records = 0
        for entry in entries:
            arrival_ms = round(entry["ApproximateArrivalTimestamp"].timestamp() * 1000)
            for data in split(entry["Data"]):
                records += 1
                member = decode(data)
                if isinstance(member, Member):
                    self._add(member, hash(data), arrival_ms)
                else:
                    self._add_unreadable(member, entry["SequenceNumber"], data)
        return records

    def _add(self, member: Member, content: int, arrival_ms: int) -> None:
        columns = self.sources.get(member.source)
        if columns is None:
            columns = self.sources[member.source] = Columns()
        symbol = member.currency_pair or member.stock_symbol
        instrument = self._instruments.setdefault(symbol, len(self._instruments))
        columns.append(member.seq, content, instrument, round(member.time.timestamp() * 1000), arrival_ms)

    def _add_unreadable(self, why: Unreadable, sequence_number: str, data: bytes) -> None:
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
            records=sum(len(columns) for columns in self.sources.values()),
            corrupt=self.unreadable[Unreadable.CORRUPT],
            foreign=self.unreadable[Unreadable.FOREIGN] + self.unreadable[Unreadable.AGGREGATE],
        )
