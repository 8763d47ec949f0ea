"""Bounded random walks in continuous time: one a key, each a pure function of key and frame.

A walk is a sum of Brownian bridges halved down from 97 days to 1/16 s (Paul Lévy's construction, with hashes
for draws) between independent knots around 0: over short times it spreads like a random walk, over years it
stays. Drawing on a hash for each node makes any stretch of time as cheap as any other.
"""

import math

import numpy as np

from tickerd.market.exactmath import BELL_MAX, BELL_SD, F64, U64, bell, draws_at, mix64, numbers
from tickerd.schedule import FRAMES_PER_SECOND

BLOCK_LEVEL = 6
FRAMES_PER_BLOCK = 1 << BLOCK_LEVEL
ROOT_LEVEL = 27  # intervals of 2**27 frames: 97 days
FRAMES_PER_YEAR = 31_557_600 * FRAMES_PER_SECOND

_COARSE_LEVELS = range(ROOT_LEVEL, BLOCK_LEVEL, -1)


class Walks:
    """Walks of N keys (u64[N]) with standard deviations of `annual_vol` (f64[N]) over a year."""

    def __init__(self, keys: U64, annual_vol: F64) -> None:
        levels = np.arange(ROOT_LEVEL + 2, dtype=np.uint64)
        self._keys = mix64(keys ^ mix64(levels)[:, None])  # [levels, N]; the last level's are the knots'
        # The middle of a Brownian bridge over T years has a standard deviation of vol * sqrt(T) / 2.
        per_level = [
            math.sqrt((1 << level) / FRAMES_PER_YEAR) / 2 / BELL_SD for level in range(ROOT_LEVEL + 1)
        ]
        # Knots T apart differ by 2 of their variances, which is to be T, as in a random walk.
        per_level.append(math.sqrt((1 << ROOT_LEVEL) / FRAMES_PER_YEAR / 2) / BELL_SD)
        self._scale = np.array(per_level)[:, None] * annual_vol  # [levels, N]
        self.reach: F64 = math.fsum(per_level) * BELL_MAX * annual_vol
        """[N] no walk is ever farther from 0."""

    def block(self, number: int) -> F64:
        """The walks at the boundaries of block `number`'s frames: f64[FRAMES_PER_BLOCK + 1, N].

        The last row has the same bits as the next block's first.
        """
        walks = np.empty((FRAMES_PER_BLOCK + 1, self._keys.shape[1]))
        walks[0], walks[-1] = self._boundary(number), self._boundary(number + 1)
        for level in range(BLOCK_LEVEL, 0, -1):
            step = 1 << level
            count = FRAMES_PER_BLOCK // step
            bumps = self._draw(level, numbers(number * count, count)[:, None])
            walks[step // 2 :: step] = (walks[:-1:step] + walks[step::step]) * 0.5 + bumps
        return walks

    def _draw(self, level: int, nodes: U64) -> F64:
        """The displacements of nodes (u64[n, 1]) of one level: f64[n, N]."""
        bumps: F64 = bell(draws_at(self._keys[level], nodes)) * self._scale[level]
        return bumps

    def _boundary(self, number: int) -> F64:
        """The walks at the first boundary of a block: f64[N]."""
        frame = number * FRAMES_PER_BLOCK
        knots = self._draw(ROOT_LEVEL + 1, numbers(frame >> ROOT_LEVEL, 2)[:, None])
        part = _part(frame, ROOT_LEVEL)
        walks = knots[0] * (1.0 - part) + knots[1] * part
        nodes = np.concatenate([numbers(frame >> level, 1) for level in _COARSE_LEVELS])
        keys, scale = self._keys[ROOT_LEVEL:BLOCK_LEVEL:-1], self._scale[ROOT_LEVEL:BLOCK_LEVEL:-1]
        bumps = bell(draws_at(keys, nodes[:, None])) * scale
        for level, bump in zip(_COARSE_LEVELS, bumps, strict=True):
            hat = 1.0 - abs(2.0 * _part(frame, level) - 1.0)  # 0 at the ends of the interval, 1 in its middle
            walks += hat * bump
        result: F64 = walks
        return result


def _part(frame: int, level: int) -> float:
    """How much of its interval has passed at a frame's start: exact in a float64."""
    length = 1 << level
    return (frame & (length - 1)) / length
