"""What the database is to hold next, made from the market itself: snapshots, and the stories between them.

A pure function of market and times, for a thread: a snapshot takes some milliseconds. It knows no database.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tickerd.snapshots import Snapshots

DAY_MS = 86_400_000
SNAPSHOTS_MAX = 8  # in one piece, where many are missing

Columns = tuple[object, ...]


class Stretch(NamedTuple):
    """Rows for `tables.OF_MARKET`, in the order of those and of their columns; times in milliseconds."""

    forex: list[Columns]
    stock: list[Columns]
    news: list[Columns]
    times_ms: Sequence[int]  # of the snapshots
    market: str


class Wanted(NamedTuple):
    """The snapshots to make next, the moment whose stories the database has, and what is given up."""

    times_ms: range
    stories_after_ms: int
    skipped: int


def wanted(last_ms: int | None, now_ms: int, every_ms: int, keep_ms: int) -> Wanted:
    """What comes after the last snapshot that is stored (None: there is none) and is due by now.

    Nothing older than `keep_ms` is made: those snapshots are skipped. A market that is not there yet begins
    with the latest multiple of `every_ms`. At most SNAPSHOTS_MAX at once.
    """
    latest = now_ms // every_ms * every_ms
    if last_ms is None:
        return Wanted(range(latest, latest + 1, every_ms), latest - every_ms, 0)
    first = (last_ms // every_ms + 1) * every_ms
    oldest = -(-(now_ms - keep_ms) // every_ms) * every_ms
    skipped = max(0, min(oldest, latest + every_ms) - first) // every_ms
    first += skipped * every_ms
    end = min(latest + 1, first + SNAPSHOTS_MAX * every_ms)
    return Wanted(
        range(first, end, every_ms), max(last_ms, first - every_ms) if skipped else last_ms, skipped
    )


def made(snapshots: Snapshots, market: str, next_: Wanted) -> Stretch:
    """The rows of these snapshots and of the stories up to the last of them."""
    times = next_.times_ms
    prices = snapshots.standing(times)
    pairs, stocks = snapshots.pairs, snapshots.stocks
    forex: list[Columns] = []
    stock: list[Columns] = []
    for number, ms in enumerate(times):
        price, size, bid, ask = (column[number].tolist() for column in prices)
        some = len(pairs)
        forex += [(market, ms, *row) for row in zip(pairs, price[:some], bid[:some], ask[:some], strict=True)]
        stock += [
            (market, ms, *row)
            for row in zip(stocks, price[some:], size[some:], bid[some:], ask[some:], strict=True)
        ]
    stories = snapshots.stories(next_.stories_after_ms + 1, times[-1] + 1)
    news: list[Columns] = [
        (market, row.story_id, row.stock_symbol, row.news_item, row.category, row.sentiment, ms)
        for ms, row in stories
    ]
    return Stretch(forex, stock, news, times, market)
