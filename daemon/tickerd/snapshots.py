"""The market at a time as rows: one for each pair and stock, and the stories that broke. For whoever serves
or stores them; the same numbers go into the stream (market/snapshot.py). A pure function of market and time.
"""

from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.batch import timestamps
from tickerd.history import ForexRow, NewsRow, Rows, StockRow
from tickerd.market.market import Market
from tickerd.market.snapshot import Standing
from tickerd.schedule import FRAMES_PER_SECOND, MILLI, first_ms

STORIES_MAX = 50  # of a snapshot
STORIES_DAYS_MAX = 7  # as far as a snapshot looks back for them

Times = NDArray[np.int64]


class Story(NamedTuple):
    """A row of the news, its time in milliseconds too."""

    ms: int
    row: NewsRow


class Snapshots:
    """Snapshots of one market. Callable from any thread; calls take turns."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._turn = Lock()
        universe = market.universe
        self.pairs = [pair.pair for pair in universe.pairs]
        self.stocks = [stock.symbol for stock in universe.stocks]
        self.quoted = [*self.pairs, *self.stocks]
        self.subjects = [*self.stocks, *(currency.code for currency in universe.currencies)]

    def standing(self, times_ms: Sequence[int] | Times, instrument: str | None = None) -> Standing:
        """The numbers of all pairs, then stocks, or of one of them, at ascending milliseconds since 1970."""
        row = None if instrument is None else self.quoted.index(instrument)
        with self._turn:
            return self._market.snapshots.at(np.asarray(times_ms, dtype=np.int64), row)

    def at(self, ms: int) -> Rows:
        """Every pair and stock at `ms`, and the latest STORIES_MAX stories until then, newest first."""
        return Rows(*self.rows(ms, self.standing([ms]), 0), self.latest_stories(ms))

    def rows(
        self, ms: int, standing: Standing, number: int, instrument: str | None = None
    ) -> tuple[list[ForexRow], list[StockRow]]:
        """The rows of time number `number` of a standing, which is `ms`; `instrument` as it was asked for."""
        (time,) = timestamps(ms, np.zeros(1, dtype=np.int64))
        pairs, stocks = self.pairs, self.stocks
        if instrument is not None:
            pairs, stocks = ([instrument], []) if instrument in pairs else ([], [instrument])
        price, size, bid, ask = (column[number].tolist() for column in standing)
        some = len(pairs)
        return (
            [ForexRow(*fields, time) for fields in zip(pairs, price, bid, ask, strict=False)],
            [
                StockRow(*fields, time)
                for fields in zip(stocks, price[some:], size[some:], bid[some:], ask[some:], strict=True)
            ],
        )

    def stories(self, from_ms: int, to_ms: int, subject: str | None = None) -> list[Story]:
        """The stories that break in [from_ms, to_ms), by time: each once, at its first millisecond."""
        number = None if subject is None else self.subjects.index(subject)
        first = -(-from_ms * FRAMES_PER_SECOND // MILLI)  # the first frame that begins at from_ms or later
        end = max(first + 1, -(-to_ms * FRAMES_PER_SECOND // MILLI) + 1)
        with self._turn:
            told = self._market.stories(first - 1, end, number)
        begins: Times = first_ms(told.begins)
        found = [
            Story(ms, NewsRow(self.subjects[subject], item, category, sentiment, story_id, time))
            for ms, subject, item, category, sentiment, story_id, time in zip(
                begins.tolist(),
                told.subjects.tolist(),
                told.news_item.tolist(),
                told.category.tolist(),
                told.sentiment.tolist(),
                told.story_id.tolist(),
                timestamps(0, begins),
                strict=True,
            )
            if from_ms <= ms < to_ms
        ]
        return sorted(found, key=lambda story: (story.ms, story.row.stock_symbol, story.row.story_id))

    def latest_stories(self, ms: int, subject: str | None = None) -> list[NewsRow]:
        """The latest stories of `ms` and before, the newest first."""
        day_ms = 86_400_000
        latest: list[NewsRow] = []
        for days in range(STORIES_DAYS_MAX):
            end = ms + 1 - days * day_ms
            stories = self.stories(max(0, end - day_ms), max(0, end), subject)
            latest += [story.row for story in reversed(stories)]
            if len(latest) >= STORIES_MAX or end <= day_ms:
                break
        return latest[:STORIES_MAX]
