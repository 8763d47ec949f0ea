"""What `verify` found, as a table for people and as the JSON of the contract."""

from collections.abc import Collection, Sequence

import msgspec

from tickerd.reading.seen import Holes

SPREAD = (
    "out of order means nothing where it is -: an instrument's records lie on several shards (even keys, or "
    "the stream places them itself), which have no order among them, or come without an ordering key"
)
DISCARDED = (
    "in aggregates of which a member lies outside the shard; the Client Library throws them away whole"
)
COLUMNS = ("records", "lost", "duplicates", "altered", "out_of_order")


class Totals(msgspec.Struct):
    """Counts of the whole stream: those of its sources, and the entries that belong to none."""

    records: int = 0
    lost: int = 0
    duplicates: int = 0
    altered: int = 0
    out_of_order: int = 0
    corrupt: int = 0
    foreign: int = 0


class SourceReport(msgspec.Struct):
    """One source. [first_seq, next_seq) are the seqs judged for loss (empty: none); the rest counts all read.

    An unreadable entry has no source, so `corrupt` and `foreign` are counted in the totals and by shard.
    """

    source: str
    first_seq: int
    next_seq: int
    records: int
    lost: int
    duplicates: int
    altered: int
    out_of_order: int
    corrupt: int
    foreign: int
    delay_p50_s: float | None
    delay_p99_s: float | None


class ShardReport(msgspec.Struct):
    """One shard: `records` counts what could be read as records, copies too.

    `discarded` are the members of aggregates that the Client Library throws away whole, since one of their
    hash keys lies outside the shard: they count as not stored, and nowhere else.
    """

    shard_id: str
    parent_shard_id: str | None
    adjacent_parent_shard_id: str | None
    open: bool
    records: int
    corrupt: int
    foreign: int
    discarded: int


class Report(msgspec.Struct):
    """The whole account of a stream; `nothing_judged` says why where there was nothing to judge.

    `kind`: "stream", "files" or "subscription". `snapshots`: the sources that are one-off snapshots, reported
    apart. `spread`: those of which instruments lie on several shards at once, so that only the order within a
    shard could be counted.
    """

    stream: str
    totals: Totals
    sources: list[SourceReport]
    shards: list[ShardReport]
    snapshots: set[str] = msgspec.field(default_factory=set)
    spread: set[str] = msgspec.field(default_factory=set)
    holes: dict[str, Holes] = msgspec.field(default_factory=dict)  # by source
    notes: list[str] = msgspec.field(default_factory=list)
    seqs_judged: int = 0
    discarded: int = 0
    nothing_judged: str = ""
    kind: str = "stream"

    @property
    def exit_code(self) -> int:
        """0 when everything judged is there and whole; 1 when not, and when nothing was judged."""
        totals = self.totals
        return int(bool(totals.lost or totals.altered or totals.corrupt or self.nothing_judged))


def report_json(report: Report) -> bytes:
    """The contract's `{totals, sources, shards}`, without a newline at its end."""
    return msgspec.json.encode({"totals": report.totals, "sources": report.sources, "shards": report.shards})


def render(report: Report) -> str:
    """The report for people: a table of the sources, the first ranges that are lost, notes, one last line."""
    totals = report.totals
    shards = f"{len(report.shards)} shard" + "s" * (len(report.shards) != 1)
    parts = f"{shards}, " if report.kind == "stream" else ""
    paragraphs = [f"{report.kind} {report.stream}: {parts}{totals.records:,} records"]
    judged = [row for row in report.sources if row.source not in report.snapshots]
    apart = [row for row in report.sources if row.source in report.snapshots]
    paragraphs += [_table("source", judged, report.spread)] if judged else []
    paragraphs += [_table("snapshot on demand (not judged for loss)", apart, report.spread)] if apart else []
    lines = [line for source, found in report.holes.items() for line in _lost(source, found)]
    if report.spread:
        lines.append(SPREAD)
    if report.discarded:
        lines.append(f"discarded: {report.discarded:,} records {DISCARDED}")
    lines += report.notes
    paragraphs += ["\n".join(lines)] if lines else []
    return "\n\n".join([*paragraphs, _verdict(report)]) + "\n"


def summary(report: Report) -> str:
    """All counts in one line."""
    shown = {name: f"{getattr(report.totals, name):,}" for name in Totals.__struct_fields__[1:]}
    if report.spread and report.spread >= {row.source for row in report.sources} - report.snapshots:
        shown["out_of_order"] = "-"
    counts = [f"{name.replace('_', ' ')} {number}" for name, number in shown.items()]
    return f"{report.seqs_judged:,} seqs judged: " + ", ".join(counts)


def _verdict(report: Report) -> str:
    line = summary(report)
    return f"{line}\n{report.nothing_judged}" if report.nothing_judged else line


def _table(title: str, rows: Sequence[SourceReport], spread: Collection[str]) -> str:
    head = [title, "judged seqs", *(name.replace("_", " ") for name in COLUMNS), "delay p50", "p99"]
    cells = [head]
    for row in rows:
        seqs = f"{row.first_seq} to {row.next_seq - 1}" if row.next_seq > row.first_seq else "none"
        counts = [f"{getattr(row, name):,}" for name in COLUMNS]
        if row.source in spread:
            counts[COLUMNS.index("out_of_order")] = "-"
        cells.append([row.source, seqs, *counts, _seconds(row.delay_p50_s), _seconds(row.delay_p99_s)])
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in cells
    )


def _lost(source: str, found: Holes) -> list[str]:
    if not found.lost:
        return []
    ranges = [str(start) if stop == start + 1 else f"{start} to {stop - 1}" for start, stop in found.ranges]
    more = found.ranges_total - len(found.ranges)
    ranges += [f"and {more:,} more range" + "s" * (more != 1)] if more else []
    return [f"lost of {source}: {', '.join(ranges)}"]


def _seconds(delay_s: float | None) -> str:
    return "-" if delay_s is None else f"{delay_s:.3f} s"
