"""The market: parts of frames to records. A pure function of seed, universe, source and part.

The blocks that it keeps only save work: the same arguments give the same bytes in any process and any order.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.batch import Batch
from tickerd.market.feed import Feed
from tickerd.market.news import Newsroom, Stories
from tickerd.market.prices import Block, Prices
from tickerd.market.universe import Universe
from tickerd.records import FEEDS, Record
from tickerd.schedule import Part, end_ms, first_ms

BLOCKS_KEPT = 4  # of 4 seconds: the one that is live, and one each for sources that catch up

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTIONS = [f".{millisecond:03d}Z" for millisecond in range(1000)]


class BlockState(NamedTuple):
    """All that the feeds need to know about walk.FRAMES_PER_BLOCK frames."""

    prices: Block
    stories: Stories


class Market:
    """The market of a seed."""

    def __init__(self, seed: int, universe: Universe) -> None:
        self.seed = seed
        self.universe = universe
        self.prices = Prices(seed, universe)
        self.newsroom = Newsroom(seed, universe)
        self.block = lru_cache(maxsize=BLOCKS_KEPT)(self._block)
        self.feeds = [Feed(self, kind) for kind in range(len(FEEDS))]

    def records(self, source: str, part: Part) -> Batch:
        """The records of a part, by millisecond, then feed, then row; their seqs count on from its first."""
        columns = [
            feed.columns(source, part.frame, start, stop, n)
            for feed, (start, stop), n in zip(self.feeds, part.rows, part.counts, strict=True)
        ]
        order = np.argsort(np.concatenate([each.milliseconds for each in columns]), kind="stable")
        seqs = np.empty(len(order), dtype=np.int64)
        seqs[order] = np.arange(part.first_seq, part.first_seq + len(order))

        times = timestamps(part.frame)
        unordered: list[Record] = []
        for feed, each in zip(self.feeds, columns, strict=True):
            done = len(unordered)
            unordered += feed.records(each, source, times, seqs[done : done + len(each.instruments)])
        kinds = np.repeat(np.arange(len(FEEDS), dtype=np.uint8), [len(each.instruments) for each in columns])
        return Batch(
            frame=part.frame,
            first_seq=part.first_seq,
            records=list(map(unordered.__getitem__, order.tolist())),
            instruments=np.concatenate([each.instruments for each in columns])[order],
            feeds=kinds[order],
        )

    def _block(self, number: int) -> BlockState:
        return BlockState(self.prices.block(number), self.newsroom.stories(number))


def timestamps(frame: int) -> NDArray[np.object_]:
    """The frame's milliseconds as RFC 3339 strings in UTC; ValueError or OverflowError beyond year 9999."""
    begin = first_ms(frame)
    second, millisecond = divmod(begin, 1000)  # frames do not cross seconds
    prefix = (_EPOCH + timedelta(seconds=second)).isoformat()[:19]
    fractions = _FRACTIONS[millisecond : millisecond + end_ms(frame) - begin]
    return np.array([prefix + fraction for fraction in fractions], dtype=object)
