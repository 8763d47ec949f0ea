"""Which seqs must be there, by an account or by settling, and the report that follows from it.

Without an account a reader cannot know what was still on its way at either end of what it read, so only
records that are `settle_s` away from both ends are judged. With one, heads and tails are judged too.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.reading.account_file import Account, AccountedSource
from tickerd.reading.accounting import Columns, Seqs, copies, delays_s, holes, joined, out_of_order
from tickerd.reading.decode import Unreadable
from tickerd.reading.report import COLUMNS, Report, SourceReport, Totals
from tickerd.reading.tally import CORRUPT_SHOWN_MAX, ShardTally

SNAPSHOT_SOURCE = re.compile(r".+-logs-[0-9A-Za-z]{8}")  # one snapshot, asked for over HTTP

Times = NDArray[np.int64]


class Judged(NamedTuple):
    """The seqs that must be there, as ascending [start, stop) ranges, and what to tell people."""

    wanted: list[tuple[int, int]]
    note: str = ""


def settled(seq: Seqs, time_ms: Times, first_ms: float, last_ms: float) -> Judged:
    """From the lowest to the highest seq whose time is within [first_ms, last_ms]; columns are [records]."""
    within = seq[(time_ms >= first_ms) & (time_ms <= last_ms)]
    return Judged([(int(within.min()), int(within.max()) + 1)] if len(within) else [])


def accounted(
    source: AccountedSource, seq: Seqs, time_ms: Times, cut_at: datetime | None, settle_s: float
) -> Judged:
    """What the account says was acknowledged; `seq` and `time_ms` are [records] of what was read.

    `cut_at` is the moment before which arrivals were not read (forgotten by the stream, or not asked for).
    A source that began before it is judged from its first seq that is `settle_s` younger.
    """
    wanted = source.acknowledged()
    beyond = int(np.count_nonzero(np.unique(seq) >= source.next_seq))
    notes = [f"{source.source}: {beyond:,} records beyond the account's end, not judged"] if beyond else []
    if cut_at is not None and source.first_time is not None and source.first_time < cut_at:
        young = seq[time_ms >= (cut_at.timestamp() + settle_s) * 1000]
        start = int(young.min()) if len(young) else source.next_seq
        wanted = [(max(start, low), high) for low, high in wanted if high > start]
        whence = f"from seq {start} on" if wanted else "not at all"
        notes.append(f"{source.source}: began before what could be read; judged {whence}")
    return Judged(wanted, "; ".join(notes))


def judge(
    stream: str,
    tallies: Sequence[ShardTally],
    account: Account | None,
    settle_s: float,
    cut_at: datetime | None,
) -> Report:
    """The report of what was read; `tallies` stand in the order of reading, parents before children.

    `cut_at` as in `accounted`, and of no use without an account.
    """
    promised = {source.source: source for source in account.sources} if account else {}
    parts = _by_source(tallies, promised)
    snapshots = frozenset(name for name in parts if SNAPSHOT_SOURCE.fullmatch(name)) - promised.keys()
    first_ms, last_ms = _span_ms([columns for name in parts.keys() - snapshots for columns in parts[name]])
    report = Report(stream, Totals(), [], [tally.report() for tally in tallies], snapshots)
    for name in sorted(parts):
        seq = joined([columns.seq for columns in parts[name]])
        time_ms = joined([columns.time_ms for columns in parts[name]])
        if name in promised:
            judged = accounted(promised[name], seq, time_ms, cut_at, settle_s)
        elif name in snapshots:
            judged = Judged([])
        else:
            judged = settled(seq, time_ms, first_ms + settle_s * 1000, last_ms - settle_s * 1000)
            if account is not None:
                judged = Judged(judged.wanted, f"{name}: not in the account, judged by its gaps only")
        _add_source(report, name, parts[name], judged)
    _add_up(report, tallies)
    if report.seqs_judged == 0:
        report.nothing_judged = _nothing(stream, account, settle_s, (last_ms - first_ms) / 1000)
    return report


def _by_source(
    tallies: Sequence[ShardTally], promised: dict[str, AccountedSource]
) -> dict[str, list[Columns]]:
    parts: dict[str, list[Columns]] = {name: [] for name in promised}
    for tally in tallies:
        for name, columns in tally.sources.items():
            parts.setdefault(name, []).append(columns)
    return parts


def _span_ms(parts: Sequence[Columns]) -> tuple[int, int]:
    """The earliest and the latest record time; (0, -1) where there are no records."""
    times = [np.frombuffer(columns.time_ms, np.int64) for columns in parts]
    if not times:
        return 0, -1
    return min(int(time.min()) for time in times), max(int(time.max()) for time in times)


def _add_source(report: Report, name: str, parts: Sequence[Columns], judged: Judged) -> None:
    seq = joined([columns.seq for columns in parts])
    seen = copies(seq, joined([columns.content for columns in parts]))
    missing = holes(seen.distinct, judged.wanted)
    anywhere = int(seen.distinct[0]) if len(seen.distinct) else 0
    p50_s, p99_s = delays_s(
        seen,
        joined([columns.time_ms for columns in parts]),
        joined([columns.arrival_ms for columns in parts]),
    )
    report.sources.append(
        SourceReport(
            source=name,
            first_seq=judged.wanted[0][0] if judged.wanted else anywhere,
            next_seq=judged.wanted[-1][1] if judged.wanted else anywhere,
            records=len(seq),
            lost=missing.lost,
            duplicates=seen.duplicates,
            altered=seen.altered,
            out_of_order=out_of_order(seen, joined([columns.instrument for columns in parts])),
            corrupt=0,
            foreign=0,
            delay_p50_s=p50_s,
            delay_p99_s=p99_s,
        )
    )
    report.seqs_judged += sum(stop - start for start, stop in judged.wanted)
    report.holes[name] = missing
    report.notes += [judged.note] if judged.note else []


def _add_up(report: Report, tallies: Sequence[ShardTally]) -> None:
    for name in COLUMNS:
        setattr(report.totals, name, sum(getattr(row, name) for row in report.sources))
    report.totals.corrupt = sum(shard.corrupt for shard in report.shards)
    report.totals.foreign = sum(shard.foreign for shard in report.shards)
    corrupt = [line for tally in tallies for line in tally.corrupt]
    report.notes += corrupt[:CORRUPT_SHOWN_MAX]
    aggregates = sum(tally.unreadable[Unreadable.AGGREGATE] for tally in tallies)
    if aggregates:
        report.notes.append(f"aggregated records, not taken apart yet and counted as foreign: {aggregates:,}")


def _nothing(stream: str, account: Account | None, settle_s: float, span_s: float) -> str:
    if account is not None:
        return "nothing to judge: the account promises no records that could still be read"
    if span_s < 0:
        return f"nothing to judge: stream {stream} holds no records of tickerd's workers"
    return (
        f"nothing to judge: the stream holds {round(span_s, 1):g} s of records, --settle {settle_s:g} leaves "
        f"none; use --settle {int(span_s / 4)} or --account FILE"
    )
