"""Many log values as random walks whose volatility clusters: a Brownian bridge in a random trading time.

Time is a tree of halves from 2.1 years down to a frame. Each node's variance is split by its share of
activity and by hashed lognormal ratios, partly common to a group; then its middle is drawn (Lévy, Ciesielski;
Mandelbrot, Fisher, Calvet 1997). Any time costs the same; what is kept only saves work.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from tickerd.market.activity import I64, Activity
from tickerd.market.exactmath import F64, GOLDEN, U64, key, lognormal_table, mix64, normal
from tickerd.schedule import FRAMES_PER_SECOND

BLOCK_LEVEL = 6
FRAMES_PER_BLOCK = 1 << BLOCK_LEVEL
ROOT_LEVEL = 30  # a root is 2**30 frames, 2.13 years
FRAMES_PER_YEAR = 31_557_600 * FRAMES_PER_SECOND

KNOT_SD = 0.6  # of the values at the ends of roots, in annual volatilities: prices stay for ever
GROUP_SHARE = 0.75  # of the cascade's variance that all processes of a group have in common
CASCADE_SD = {"forex": (0.66, 0.70), "stock": (0.66, 0.80)}  # of a ratio's logarithm: fine and coarse nodes
COARSE_FROM = 20  # nodes of 2**20 frames, 18 hours, are coarse
LEVERAGE_ABOVE = BLOCK_LEVEL  # finer nodes do not look at the return before them

_STEP = np.uint64(GOLDEN)
_RATIO_BITS = 12
_RATIO_SHIFT = np.uint64(64 - _RATIO_BITS)
_OWN_SHIFT, _OWN_MASK = np.uint64(20), np.uint64((1 << _RATIO_BITS) - 1)


@cache
def _ratios(sd: float) -> F64:
    return lognormal_table(sd, _RATIO_BITS)


class Nodes(NamedTuple):
    """Consecutive nodes of one level; [...] are no axis, or one of several times."""

    first: I64  # [..., 1] number of the first node; node j spans frames j << level to (j + 1) << level
    values: F64  # [nodes + 1, ..., N] at their boundaries
    variances: F64  # [nodes, ..., N]


class Group(NamedTuple):
    """What processes share: the randomness of their volatility, and where their roots begin."""

    keys: U64  # [levels] of the common ratios
    phase: int  # frames from the begin of a root to 1970, whole blocks
    common_ratios: list[F64]  # [levels] lognormal ratios of halves, by 12 bits of a hash
    own_ratios: list[F64]

    @classmethod
    def of(cls, seed: int, name: str) -> "Group":
        """The group "forex" or "stock"."""
        keys = np.array([key("cascade", seed, name, level) for level in range(ROOT_LEVEL + 1)], dtype="u8")
        phase = key("phase", seed, name) % (1 << (ROOT_LEVEL - BLOCK_LEVEL)) << BLOCK_LEVEL
        fine, coarse = CASCADE_SD[name]
        sds = [coarse if level >= COARSE_FROM else fine for level in range(ROOT_LEVEL + 1)]
        common = [_ratios(sd * math.sqrt(GROUP_SHARE)) for sd in sds]
        return cls(keys, phase, common, [_ratios(sd * math.sqrt(1 - GROUP_SHARE)) for sd in sds])


class Bridge:
    """N processes of one group; `keys` u64[N], `annual_vol` f64[N], `profiles` i64[N], `leverage` f64[N]."""

    def __init__(
        self, group: Group, activity: Activity, keys: U64, annual_vol: F64, profiles: I64, leverage: F64
    ) -> None:
        self._group, self._activity = group, activity
        used = sorted(set(profiles.tolist()))
        self._used, self._leverage = np.array(used, dtype=np.int64), leverage
        self._profiles = np.array([used.index(each) for each in profiles.tolist()], dtype=np.int64)
        self._levered = bool(leverage.any())
        levels = np.arange(ROOT_LEVEL + 2, dtype=np.uint64)
        self._keys = mix64(keys ^ mix64(levels)[:, None])  # [levels, N]; the last level's are the knots'
        self._knot_sd = annual_vol * KNOT_SD
        self._root_variance = annual_vol * annual_vol * ((1 << ROOT_LEVEL) / FRAMES_PER_YEAR)
        self._coarse: list[tuple[int, Nodes] | None] = [None] * (ROOT_LEVEL + 1)

    def prepare(self, number: int) -> None:
        """Do what `block` of this number does first, so that less is left for it."""
        self._coarse_nodes(number * FRAMES_PER_BLOCK + self._group.phase, BLOCK_LEVEL + 1)

    def block(self, number: int) -> tuple[F64, F64]:
        """Block `number`: values f64[FRAMES_PER_BLOCK + 1, N] at its frames' boundaries, variance f64[N].

        The last row has the same bits as the next block's first.
        """
        frame = number * FRAMES_PER_BLOCK + self._group.phase
        level = BLOCK_LEVEL + 1
        nodes = self._coarse_nodes(frame, level)
        nodes = _child(self._split(nodes, level, 1), frame >> BLOCK_LEVEL, 1)
        boundaries = np.arange(FRAMES_PER_BLOCK + 1) + number * FRAMES_PER_BLOCK
        activity = self._activity.cumulative(boundaries, self._used)
        block_variance = nodes.variances[0]
        for fine in range(BLOCK_LEVEL, 0, -1):
            nodes = self._split(nodes, fine, 0, activity[:: 1 << (fine - 1)])
        return nodes.values, block_variance

    def frames(self, frames: I64) -> tuple[F64, F64, F64]:
        """M frames far apart: values f64[M, N] at their begins and at their ends, variance of their blocks.

        The same bits as in `block`.
        """
        moved = (frames + self._group.phase)[:, None]
        nodes = self._roots(moved >> ROOT_LEVEL, 3)
        for level in range(ROOT_LEVEL, BLOCK_LEVEL + 1, -1):
            nodes = _last(self._split(nodes, level, 1), moved >> (level - 1))
        nodes = _only(self._split(nodes, BLOCK_LEVEL + 1, 1), 2, moved >> BLOCK_LEVEL)
        block_variance = nodes.variances[0]
        for level in range(BLOCK_LEVEL, 0, -1):
            nodes = _only(self._split(nodes, level, 0), 0, moved >> (level - 1))
        return nodes.values[0], nodes.values[1], block_variance

    def stretch(self, level: int, first: int, count: int) -> tuple[I64, F64]:
        """Values at `count` + 1 boundaries of nodes of `level` (7 to 30), from that which holds `first` on.

        Frames i64[count + 1] and values f64[count + 1, N], the same bits as in `block` for the same frames.
        """
        start = (first + self._group.phase) >> level
        above = ROOT_LEVEL - level
        nodes = self._roots(np.array([start >> above]), 3 + ((start + count - 1) >> above) - (start >> above))
        for coarse in range(ROOT_LEVEL, level, -1):
            above = coarse - 1 - level
            begin, end = (start >> above) - 2, ((start + count - 1) >> above) + 1
            nodes = _child(self._split(nodes, coarse, 1), begin, end - begin)
        frames = (np.arange(start, start + count + 1) << level) - self._group.phase
        return frames, nodes.values[2:]

    def _coarse_nodes(self, frame: int, level: int) -> Nodes:
        """The node of `level` that holds (moved) `frame`, after the two before it."""
        number = frame >> level
        kept = self._coarse[level]
        if kept is not None and kept[0] == number:
            return kept[1]
        if level == ROOT_LEVEL:
            nodes = self._roots(np.array([number]), 3)
        else:
            parent = self._coarse_nodes(frame, level + 1)
            nodes = _child(self._split(parent, level + 1, 1), number - 2, 3)
        self._coarse[level] = (number, nodes)
        return nodes

    def _roots(self, third: I64, count: int) -> Nodes:
        """`count` roots, of which number `third` ([..., 1]) is the third."""
        places = np.arange(-2, count - 1).reshape(-1, *[1] * third.ndim) + third
        hashes = mix64(self._keys[ROOT_LEVEL + 1] + places.view(np.uint64) * _STEP)
        variances = np.broadcast_to(self._root_variance, (count, *hashes.shape[1:]))
        return Nodes(third - 2, normal(hashes) * self._knot_sd, variances)

    def _split(self, nodes: Nodes, level: int, skip: int, activity: I64 | None = None) -> Nodes:
        """The halves of all nodes but the first `skip`, which are there for their returns.

        `activity` is that at the boundaries and middles of the nodes, computed when it is not given.
        """
        first = nodes.first + skip
        variances = nodes.variances[skip:]
        count = len(variances)
        numbers = np.arange(count).reshape(count, *[1] * first.ndim) + first
        if activity is None:
            half = 1 << (level - 1)
            places = np.arange(2 * count + 1).reshape(-1, *[1] * first.ndim) * half
            places = places + (first << level) - self._group.phase
            activity = self._activity.cumulative(places[..., 0], self._used)
        middle = activity[1::2]
        odds = (middle - activity[:-1:2]) / (activity[2::2] - middle)

        steps = numbers.view(np.uint64) * _STEP
        shared = mix64(steps + self._group.keys[level]) >> _RATIO_SHIFT
        odds *= self._group.common_ratios[level].take(shared.view(np.int64))
        hashes = mix64(self._keys[level] + steps)
        ratio = self._group.own_ratios[level].take(((hashes >> _OWN_SHIFT) & _OWN_MASK).view(np.int64))
        ratio *= odds.take(self._profiles, axis=-1)
        if self._levered and skip:
            before = nodes.values[skip : skip + count] - nodes.values[skip - 1 : skip - 1 + count]
            surprise = before / np.sqrt(before * before + nodes.variances[skip - 1 : skip - 1 + count])
            surprise *= self._leverage
            ratio *= (1.0 - surprise) / (1.0 + surprise)

        values = np.empty((2 * count + 1, *hashes.shape[1:]))
        halves = np.empty((2 * count, *hashes.shape[1:]))
        values[::2] = nodes.values[skip:]
        left = ratio
        left /= left + 1.0
        begin, end = nodes.values[skip:-1], nodes.values[skip + 1 :]
        np.multiply(variances, left, out=halves[::2])
        np.subtract(variances, halves[::2], out=halves[1::2])
        move = np.sqrt(halves[1::2] * left)
        move *= normal(hashes)
        left *= end - begin
        left += begin
        left += move
        values[1::2] = left
        return Nodes(first * 2, values, halves)


def _child(nodes: Nodes, first: int, count: int) -> Nodes:
    """`count` nodes from number `first` on (block: one time)."""
    start = first - int(nodes.first[0])
    return Nodes(
        np.array([first]), nodes.values[start : start + count + 1], nodes.variances[start : start + count]
    )


def _last(nodes: Nodes, last: I64) -> Nodes:
    """Of four nodes the three that end with number `last` ([M, 1])."""
    odd = (last - nodes.first == 3)[None]
    return Nodes(
        last - 2,
        np.where(odd, nodes.values[1:], nodes.values[:-1]),
        np.where(odd, nodes.variances[1:], nodes.variances[:-1]),
    )


def _only(nodes: Nodes, start: int, number: I64) -> Nodes:
    """Of the two nodes from index `start` on the one with `number` ([M, 1])."""
    second = (number - nodes.first == start + 1)[None]
    values, variances = nodes.values[start:], nodes.variances[start:]
    return Nodes(
        number, np.where(second, values[1:3], values[:2]), np.where(second, variances[1:2], variances[:1])
    )
