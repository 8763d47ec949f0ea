"""Which seqs must be there, by an account or by settling, and the report that follows from it.

Without an account a reader cannot know what was still on its way at either end of what it read, so only
records that are `settle_s` away from both ends are judged. With one, heads and tails are judged too.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tickerd.reading.account_file import Account, AccountedSource
from tickerd.reading.report import COLUMNS, Report, SourceReport, Totals
from tickerd.reading.seen import Holes, holes
from tickerd.reading.tally import CORRUPT_SHOWN_MAX, Bounds, SourceTally, Tally

Ranges = list[tuple[int, int]]  # of seqs, ascending, as [start, stop)


class Cut(NamedTuple):
    """Where the stream's past and what was asked for end: arrivals before `from_time` and from `to_time` on
    were not read (None: no such end)."""

    from_time: datetime | None = None
    to_time: datetime | None = None

    def bounds(self, settle_s: float) -> Bounds:
        """The times between which all records must have been read, in ms since 1970."""
        low = float("-inf") if self.from_time is None else (self.from_time.timestamp() + settle_s) * 1000
        high = float("inf") if self.to_time is None else (self.to_time.timestamp() - settle_s) * 1000
        return low, high


def accounted_bounds(account: Account, cut: Cut, settle_s: float) -> dict[str, Bounds]:
    """Per source of the account, the times between which it is judged: all of it where nothing is cut off."""
    low, high = cut.bounds(settle_s)
    bounds = {}
    for source in account.sources:
        began = source.first_time  # None: it made nothing
        headless = cut.from_time is not None and began is not None and began < cut.from_time
        bounds[source.source] = (low if headless else float("-inf"), high)
    return bounds


def judge(
    stream: str,
    tally: Tally,
    account: Account | None,
    settle_s: float,
    notes: Sequence[str] = (),
    kind: str = "stream",
) -> Report:
    """The report of what was read; the tally knows the bounds that `accounted_bounds` gave."""
    report = Report(stream, Totals(), [], [shard.report() for shard in tally.shards.values()], kind=kind)
    promised = {source.source: source for source in account.sources} if account else {}
    for name in sorted(tally.sources):
        source = tally.sources[name]
        source.settled.widen(*tally.bounds_of(source))
        if name in promised:
            wanted = _accounted(report, promised[name], source)
        else:
            wanted = [] if source.is_snapshot else _settled(source)
            if account is not None and not source.is_snapshot:
                report.notes.append(f"{name}: not in the account, judged by its gaps only")
        _add_source(report, name, source, wanted)
    report.notes += notes
    _add_up(report, tally)
    if report.seqs_judged == 0:
        report.nothing_judged = _nothing(
            f"{kind} {stream}", account, settle_s, (tally.last_ms - tally.first_ms) / 1000
        )
    return report


def _settled(source: SourceTally) -> Ranges:
    """From the lowest to the highest seq that is far enough from both ends."""
    low, high = source.settled.lowest, source.settled.highest
    return [] if low is None or high is None else [(low, high + 1)]


def _accounted(report: Report, promised: AccountedSource, source: SourceTally) -> Ranges:
    """What the account says was acknowledged, of what could be read; notes what that leaves out."""
    name, wanted = promised.source, promised.acknowledged()
    there = source.seen.ranges()
    beyond = int((there[:, 1] - there[:, 0].clip(promised.next_seq)).clip(0).sum())
    if beyond:
        report.notes.append(f"{name}: {beyond:,} records beyond the account's end, not judged")
    low_ms, high_ms = source.bounds or (0, 0)
    start, stop = promised.first_seq, promised.next_seq
    if low_ms > float("-inf"):
        start = stop if source.settled.lowest is None else source.settled.lowest
        whence = f"from seq {start} on" if any(high > start for _, high in wanted) else "not at all"
        report.notes.append(f"{name}: began before what could be read; judged {whence}")
    if high_ms < float("inf"):
        stop = start if source.settled.highest is None else source.settled.highest + 1
    cut = [(max(start, low), min(stop, high)) for low, high in wanted]
    return [(low, high) for low, high in cut if low < high]


def _add_source(report: Report, name: str, source: SourceTally, wanted: Ranges) -> None:
    there = source.seen.ranges()
    missing: Holes = holes(there, wanted)
    anywhere = int(there[0, 0]) if len(there) else 0
    report.sources.append(
        SourceReport(
            source=name,
            first_seq=wanted[0][0] if wanted else anywhere,
            next_seq=wanted[-1][1] if wanted else anywhere,
            records=source.records,
            lost=missing.lost,
            duplicates=source.duplicates,
            altered=source.altered,
            out_of_order=source.out_of_order,
            corrupt=0,
            foreign=0,
            delay_p50_s=source.delays.quantile_s(0.50),
            delay_p99_s=source.delays.quantile_s(0.99),
        )
    )
    report.seqs_judged += sum(stop - start for start, stop in wanted)
    report.holes[name] = missing
    if source.is_snapshot:
        report.snapshots.add(name)
    if source.spread:
        report.spread.add(name)
    if source.altered:
        more = ", …" if source.altered > len(source.altered_shown) else ""
        report.notes.append(f"altered of {name}: {', '.join(map(str, source.altered_shown))}{more}")
    if source.seen.uncompared:
        report.notes.append(
            f"{name}: {source.seen.uncompared:,} copies came too late for their bytes to be compared"
        )


def _add_up(report: Report, tally: Tally) -> None:
    for name in COLUMNS:
        setattr(report.totals, name, sum(getattr(row, name) for row in report.sources))
    report.totals.corrupt = sum(shard.corrupt for shard in report.shards)
    report.totals.foreign = sum(shard.foreign for shard in report.shards)
    corrupt = [line for shard in tally.shards.values() for line in shard.corrupt]
    report.notes += corrupt[:CORRUPT_SHOWN_MAX]
    report.discarded = sum(shard.discarded for shard in report.shards)


def _nothing(what: str, account: Account | None, settle_s: float, span_s: float) -> str:
    if account is not None:
        return "nothing to judge: the account promises no records that could still be read"
    if span_s < 0:
        return f"nothing to judge: {what} holds no records of tickerd's workers"
    return (
        f"nothing to judge: the stream holds {round(span_s, 1):g} s of records, --settle {settle_s:g} leaves "
        f"none; use --settle {int(span_s / 4)} or --account FILE"
    )
