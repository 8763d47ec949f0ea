"""Which seqs of a source were seen, with 8 bytes of digest each, so that copies with other bytes stand out.

Digests lie in chunks of 4,096 seqs. Of all sources together only so many chunks are kept: of older ones it
is remembered which seqs were seen (a bit each, and of whole chunks nothing but that), no longer their bytes.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK_BITS = 12
CHUNK = 1 << CHUNK_BITS
CHUNK_BYTES = 8 * CHUNK
MISMATCHED_KEPT_MAX = 100_000

Seqs = NDArray[np.int64]
Digests = NDArray[np.int64]  # never 0
Flags = NDArray[np.bool_]


def digests_of(payloads: Sequence[bytes]) -> Digests:
    """[payloads] a 64-bit keyed hash (SipHash) of each; never 0. Good within this process only."""
    digests = np.fromiter(map(hash, payloads), np.int64, len(payloads))
    digests[digests == 0] = 1
    return digests


class ChunkLimit:
    """How many chunks of digests all sources may hold together; the oldest gives way."""

    def __init__(self, chunks_max: int) -> None:
        self._chunks_max = chunks_max
        self._held: deque[tuple[Seen, int]] = deque()

    def hold(self, seen: "Seen", number: int) -> None:
        """One chunk more."""
        self._held.append((seen, number))
        if len(self._held) > self._chunks_max:
            oldest, forgotten = self._held.popleft()
            oldest.forget(forgotten)


class Added(NamedTuple):
    """[records] what became of each: the first of its seq; else, whether its bytes are the first one's."""

    fresh: Flags
    same: Flags  # also of those that could not be compared any more


class Seen:
    """One source's seqs, in the order in which they are added."""

    def __init__(self, limit: ChunkLimit) -> None:
        self._limit = limit
        self._chunks: dict[int, Digests] = {}
        self._partly: dict[int, NDArray[np.uint8]] = {}  # forgotten chunks, a bit for each seq
        self._whole = Runs()  # numbers of forgotten chunks without a hole
        self.uncompared = 0  # later copies whose first one's bytes were forgotten
        self.mismatched: list[tuple[int, int]] = []  # (seq, digest) of later copies with other bytes

    def add(self, seq: Seqs, digest: Digests) -> Added:
        """Add [records] in the order of reading, at least one."""
        order = np.argsort(seq, kind="stable")  # stable: among equals the one read first comes first
        ordered, digests = seq[order], digest[order]
        fresh = np.ones(len(seq), np.bool_)
        np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
        same = np.ones(len(seq), np.bool_)
        numbers = ordered >> CHUNK_BITS
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(seq)], strict=True):
            places = ordered[start:stop] & (CHUNK - 1)
            self._add(int(numbers[start]), places, digests[start:stop], fresh[start:stop], same[start:stop])
        altered = ~same
        if altered.any() and len(self.mismatched) < MISMATCHED_KEPT_MAX:
            self.mismatched += zip(ordered[altered].tolist(), digests[altered].tolist(), strict=True)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return Added(fresh[back], same[back])

    def _add(self, number: int, places: Seqs, digests: Digests, fresh: Flags, same: Flags) -> None:
        """Add what belongs to one chunk; `fresh` is narrowed to what is new, `same` is set."""
        chunk = self._chunks.get(number)
        new = chunk is None
        if chunk is None:
            if number in self._partly or number in self._whole:
                self._add_to_forgotten(number, places, fresh)
                return
            chunk = self._chunks[number] = np.zeros(CHUNK, np.int64)
        fresh &= chunk[places] == 0
        chunk[places[fresh]] = digests[fresh]
        np.equal(chunk[places], digests, out=same)
        if new:
            self._limit.hold(self, number)

    def _add_to_forgotten(self, number: int, places: Seqs, fresh: Flags) -> None:
        if number in self._whole:
            fresh[:] = False
        else:
            there = np.unpackbits(self._partly[number]).astype(np.bool_)
            fresh &= ~there[places]
            there[places] = True
            self._remember(number, there)
        self.uncompared += len(places) - int(np.count_nonzero(fresh))

    def forget(self, number: int) -> None:
        """Keep of this chunk only which seqs were seen."""
        self._remember(number, self._chunks.pop(number) != 0)

    def _remember(self, number: int, there: Flags) -> None:
        if there.all():
            self._partly.pop(number, None)
            self._whole.add(number)
        else:
            self._partly[number] = np.packbits(there)

    def digests(self, first_seq: int, records: int) -> Digests:
        """[records] the digests from `first_seq` on; 0 where there is none or where it was forgotten."""
        found = np.zeros(records, np.int64)
        at = 0
        while at < records:
            number, place = divmod(first_seq + at, CHUNK)
            size = min(CHUNK - place, records - at)
            chunk = self._chunks.get(number)
            if chunk is not None:
                found[at : at + size] = chunk[place : place + size]
            at += size
        return found

    @property
    def forgotten(self) -> int:
        """Of how many seqs that were seen the bytes were forgotten."""
        bits = sum(int(np.unpackbits(partly).sum()) for partly in self._partly.values())
        return bits + CHUNK * sum(stop - start for start, stop in self._whole.runs)

    def ranges(self) -> NDArray[np.int64]:
        """[ranges, 2] the seqs that were seen, as ascending [start, stop) that do not touch."""
        edges = [
            *(self._edges(number, chunk != 0) for number, chunk in self._chunks.items()),
            *(self._edges(number, np.unpackbits(bits) != 0) for number, bits in self._partly.items()),
            np.array(self._whole.runs, np.int64).reshape(-1, 2) << CHUNK_BITS,
        ]
        found = np.concatenate(edges)
        found = found[np.argsort(found[:, 0], kind="stable")]
        if not len(found):
            return found
        apart = found[1:, 0] != found[:-1, 1]
        return np.column_stack((found[np.r_[True, apart], 0], found[np.r_[apart, True], 1]))

    @staticmethod
    def _edges(number: int, there: Flags) -> NDArray[np.int64]:
        steps = np.diff(there.view(np.int8), prepend=0, append=0)
        return np.flatnonzero(steps).reshape(-1, 2) + (number << CHUNK_BITS)


class Runs:
    """Numbers, kept as ascending [start, stop) that do not touch."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self.runs, (number + 1, 0)) - 1
        return at >= 0 and number < self.runs[at][1]

    def add(self, number: int) -> None:
        """Add a number that is not there."""
        at = bisect_left(self.runs, (number, 0))
        start, stop = number, number + 1
        if at < len(self.runs) and self.runs[at][0] == stop:
            stop = self.runs.pop(at)[1]
        if at and self.runs[at - 1][1] == start:
            at -= 1
            start = self.runs.pop(at)[0]
        self.runs.insert(at, (start, stop))


class Holes(NamedTuple):
    """Seqs that should be there and are not: how many, and the first few ranges [start, stop)."""

    lost: int
    ranges: list[tuple[int, int]]
    ranges_total: int


def holes(there: NDArray[np.int64], wanted: list[tuple[int, int]], ranges_max: int = 5) -> Holes:
    """What of the `wanted` seqs (ranges as [start, stop), apart) is missing in `there` ([ranges, 2])."""
    found: list[tuple[int, int]] = []
    lost = ranges_total = 0
    for start, stop in wanted:
        low, high = _gaps(there, start, stop)
        lost += int((high - low).sum())
        ranges_total += len(low)
        more = ranges_max - len(found)
        found += zip(low[:more].tolist(), high[:more].tolist(), strict=True)
    return Holes(lost, found, ranges_total)


def _gaps(there: NDArray[np.int64], start: int, stop: int) -> tuple[Seqs, Seqs]:
    """[gaps] where what is missing of [start, stop) begins, and where it ends."""
    within = there[np.searchsorted(there[:, 1], start, "right") : np.searchsorted(there[:, 0], stop)]
    low = np.maximum(np.r_[start, within[:, 1]], start)
    high = np.minimum(np.r_[within[:, 0], stop], stop)
    gap = low < high
    return low[gap], high[gap]
