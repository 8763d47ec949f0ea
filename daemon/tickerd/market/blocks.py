"""Blocks of prices: kept while they are of use, and made ahead in pieces, so that no call makes a whole one.

What is kept or made ahead changes no byte of any block.
"""

from collections.abc import Iterator
from typing import TypeVar

from tickerd.market.bridge import FRAMES_PER_BLOCK
from tickerd.market.prices import Block, Prices

BLOCKS_KEPT = 6  # of 4 seconds: the one that is live, the next, and some for sources that catch up
AHEAD_MAX = 3  # blocks that are being made ahead at once: one for each place in time that is at work
READY_FRAMES = 56  # of a block's 64, after which the next one is ready


class Blocks:
    """The blocks of `prices`, by their numbers."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._kept: dict[int, Block] = {}
        self._ahead: dict[int, tuple[Iterator[Block | None], int]] = {}

    def kept(self, number: int) -> Block | None:
        """A block, if it is there."""
        return self._kept.get(number)

    def block(self, number: int) -> Block:
        """A block, made at once when it is not there."""
        block = self._kept.get(number)
        if block is None:
            steps, _ = self._ahead.pop(number, (self._prices.steps(number), 0))
            block = self._keep(number, next(block for block in steps if block is not None))
        return block

    def work_ahead(self, frame: int) -> bool:
        """Make a piece of the block after that of `frame`; whether it is whole."""
        number, row = divmod(frame, FRAMES_PER_BLOCK)
        number += 1
        if number in self._kept:
            return True
        if number - 1 in self._kept:
            steps, done = self._ahead.get(number) or (self._prices.steps(number), 0)
            wanted = min(self._prices.step_count, (row + 1) * self._prices.step_count // READY_FRAMES)
            block = None
            while done < wanted and block is None:
                block, done = next(steps), done + 1
            if block is None:
                keep(self._ahead, number, (steps, done), AHEAD_MAX)
            else:
                self._ahead.pop(number, None)
                self._keep(number, block)
        return False

    def _keep(self, number: int, block: Block) -> Block:
        self._kept.pop(number - 2, None)  # time goes on: whoever asks for the next has done with it
        return keep(self._kept, number, block, BLOCKS_KEPT)


Key = TypeVar("Key")
Value = TypeVar("Value")


def keep(kept: dict[Key, Value], at: Key, value: Value, most: int) -> Value:
    """`value`, kept at `at` while there are not `most` newer ones."""
    kept.pop(at, None)
    while len(kept) >= most:
        del kept[next(iter(kept))]
    kept[at] = value
    return value
