"""What the news feed tells: stories in takes, updates and repetitions, and routine items in between.

A story is told from the frame on in which it breaks and its price begins to move, never before. Neither
source nor row changes a word of it.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.market.activity import FRAMES_PER_DAY, FRAMES_PER_MINUTE, I64
from tickerd.market.choice import HOTTEST_MAX, choices
from tickerd.market.exactmath import F64, GOLDEN, U64, keys, mix64
from tickerd.market.stories import Stories
from tickerd.market.universe import CHOICES, Universe

FRAMES_PER_EPOCH = 1 << 11  # 128 s: for so long the same take of each story is told
TAKES = ("", "Update 1: ", "Update 2: ", "Update 3: ")
"""What the takes of a story begin with."""

_TAKE_FRAMES = np.array([5, 40, 180]) * FRAMES_PER_MINUTE  # how old a story is when its updates come, about
_TOLD_FRAMES = FRAMES_PER_DAY  # for so long a story is told
_HALF_FRAMES = 30.0 * FRAMES_PER_MINUTE  # after which it is told half as often
_ROUTINE_FRAMES = 120 * FRAMES_PER_EPOCH  # 4 hours 16 minutes
_ROUTINE_SHARE = 0.3  # of the records; the others are about stories

Objects = NDArray[np.object_]


class Epoch(NamedTuple):
    """What can be told in an epoch, [items] each: a routine item of each subject, then the stories."""

    subjects: I64  # stocks, then currencies
    begins: I64  # first frame in which it may be told
    news_item: Objects
    category: Objects
    sentiment: F64  # from -1 to 1, two decimals
    story_id: I64  # below 2**52, so that every JSON reader keeps it whole


class Newsroom:
    """Tells the stories of all subjects: stocks first, then currencies."""

    def __init__(self, seed: int, universe: Universe, stories: Stories) -> None:
        subjects = [(stock.symbol, stock.name) for stock in universe.stocks]
        subjects += [(currency.code, currency.name) for currency in universe.currencies]
        self._universe, self._stories = universe, stories
        self._stocks = len(universe.stocks)
        self._names = [name for _, name in subjects]
        self._keys = keys([symbol for symbol, _ in subjects], "routine", seed)
        self._shift = (self._keys >> np.uint64(40)).view(np.int64) % 120 * FRAMES_PER_EPOCH
        self._share = universe.chances[2, len(universe.pairs) :] / CHOICES
        self._share_max = float(self._share.max()) * HOTTEST_MAX
        self.epoch = lru_cache(maxsize=4)(self._epoch)
        self._headline = lru_cache(maxsize=1 << 14)(self._write)

    def choices(self, first: int, end: int, is_open: NDArray[np.bool_] | None) -> NDArray[np.int32]:
        """The items of rows in the frames from `first` to before `end`: i32[CHOICES] in the epoch's items.

        `is_open` (bool[subjects]) leaves out those that are about others. A story that is still to break
        stands for its subject's routine item until it does.
        """
        epoch = self.epoch(first // FRAMES_PER_EPOCH)
        age = np.maximum(end - epoch.begins, 0)
        fresh = (age > 0) / (age / _HALF_FRAMES + 1.0)
        weights = self._share.take(epoch.subjects) * fresh
        if is_open is not None and (weights * is_open.take(epoch.subjects)).any():
            weights *= is_open.take(epoch.subjects)
        weights[: len(self._names)] = _scaled(weights[: len(self._names)], _ROUTINE_SHARE)
        weights[len(self._names) :] = _scaled(weights[len(self._names) :], 1.0 - _ROUTINE_SHARE)
        # A subject of several stories is not told of more often than the most told one of usual times.
        for _ in range(4):  # what is taken from it goes to the others, which may then have too much
            told = np.bincount(epoch.subjects, weights).astype(np.float64)
            told /= float(np.cumsum(told)[-1])
            weights *= (np.minimum(told, self._share_max) / np.maximum(told, 1e-30)).take(epoch.subjects)
        return choices(weights, 1.0)

    def broken(self, first: int, end: int, subject: int | None = None) -> Epoch:
        """The stories that break from frame `first` to before `end`, in their first take, in order.

        About one subject, or all.
        """
        days = [self._stories.day(day) for day in range(first // FRAMES_PER_DAY, -(-end // FRAMES_PER_DAY))]
        meant = np.arange(len(self._names)) == subject if subject is not None else True
        found = [(day, day.exists & (day.frames >= first) & (day.frames < end) & meant) for day in days]
        begins = np.concatenate([day.frames[broken] for day, broken in found])
        subjects = np.concatenate([np.nonzero(broken)[1] for _, broken in found])
        sentiment = np.concatenate([day.sentiment[broken] for day, broken in found])
        hashes = np.concatenate([day.hashes[broken] for day, broken in found])
        order = np.argsort(begins, kind="stable")
        return self._tell(begins[order], subjects[order], begins[order], sentiment[order], [hashes[order]])

    def _epoch(self, number: int) -> Epoch:
        frame = number * FRAMES_PER_EPOCH
        slots = (frame - self._shift) // _ROUTINE_FRAMES
        hashes = [mix64(self._keys + slots.view(np.uint64) * np.uint64(GOLDEN))]
        count = len(self._names)
        subjects, begins = [np.arange(count)], [np.full(count, frame - 16 * 60 * 60)]
        sentiments = [np.zeros(count)]
        day = frame // FRAMES_PER_DAY
        for each in (self._stories.day(day - 1), self._stories.day(day)):
            told = each.exists & (each.frames < frame + FRAMES_PER_EPOCH)
            told &= each.frames >= frame - _TOLD_FRAMES
            subjects.append(np.nonzero(told)[1])
            begins.append(each.frames[told])
            sentiments.append(each.sentiment[told])
            hashes.append(each.hashes[told])
        begin = np.concatenate(begins)
        return self._tell(frame, np.concatenate(subjects), begin, np.concatenate(sentiments), hashes)

    def _tell(self, frame: int | I64, subjects: I64, begins: I64, sentiments: F64, parts: list[U64]) -> Epoch:
        hashes = np.concatenate(parts)
        # Updates come after half to one and a half of the time that they usually take.
        pace = 0.5 + (hashes & np.uint64(0xFF)).view(np.int64) / 256.0
        takes = ((frame - begins)[:, None] >= _TAKE_FRAMES * pace[:, None]).view(np.int8)
        take = takes[:, 0] + takes[:, 1] + takes[:, 2]
        take[: len(self._names)] = 0
        told = list(map(self._headline, subjects.tolist(), sentiments.tolist(), hashes.tolist()))
        texts = [TAKES[number] + text for number, (text, _) in zip(take.tolist(), told, strict=True)]
        return Epoch(
            subjects=subjects,
            begins=begins,
            news_item=_objects(texts),
            category=_objects([category for _, category in told]),
            sentiment=sentiments,
            story_id=(hashes >> np.uint64(12)).view(np.int64),
        )

    def _write(self, subject: int, sentiment: float, story: int) -> tuple[str, str]:
        return self._universe.headline(subject >= self._stocks, sentiment, self._names[subject], story)


def _scaled(weights: F64, total: float) -> F64:
    sum_ = float(np.cumsum(weights)[-1]) if len(weights) else 0.0
    return weights * (total / sum_) if sum_ > 0 else weights


def _objects(column: list[str]) -> Objects:
    objects = np.empty(len(column), dtype=object)
    objects[:] = column
    return objects
