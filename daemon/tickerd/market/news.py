"""Stories: one at a time about each stock and currency, from templates, told again in updates while it lives.

A story is a pure function of seed, symbol and time; neither source nor row changes a word of it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.market.exactmath import draws_at, key, numbers
from tickerd.market.universe import Headline, Universe

BLOCKS_PER_STORY = 256  # of 64 frames: 17 minutes
TAKES = ("", "Update 1: ", "Update 2: ", "Update 3: ")
"""What the takes of a story begin with; each holds for a quarter of the story's time."""

Objects = NDArray[np.object_]


class Stories(NamedTuple):
    """The live story of each subject, as columns of Python objects: [stocks + currencies] each."""

    news_item: Objects
    category: Objects
    sentiment: Objects  # float from -1 to 1, two decimals
    story_id: Objects  # int below 2**52, so that every JSON reader keeps it whole


class Newsroom:
    """Writes the stories of all subjects: stocks first, then currencies."""

    def __init__(self, seed: int, universe: Universe) -> None:
        macro = [headline for headline in universe.headlines if headline.category == "macro"]
        company = [headline for headline in universe.headlines if headline.category != "macro"]
        stocks = [(stock.symbol, stock.name, company) for stock in universe.stocks]
        currencies = [(currency.code, currency.name, macro) for currency in universe.currencies]
        subjects = stocks + currencies
        self._names = [name for _, name, _ in subjects]
        self._templates = [templates for _, _, templates in subjects]
        self._keys = np.array([key("story", seed, symbol) for symbol, _, _ in subjects], dtype=np.uint64)
        # Every subject's stories begin at other times.
        self._offsets = [key("begin", seed, symbol) % BLOCKS_PER_STORY for symbol, _, _ in subjects]

    def stories(self, block: int) -> Stories:
        """The stories that are live in block `block`."""
        times = [divmod(block + offset, BLOCKS_PER_STORY) for offset in self._offsets]
        slots = np.concatenate([numbers(slot, 1) for slot, _ in times])
        hashes = draws_at(self._keys, slots).tolist()
        takes = [TAKES[elapsed * len(TAKES) // BLOCKS_PER_STORY] for _, elapsed in times]
        rows = list(map(_tell, hashes, self._names, self._templates, takes))
        return Stories(*(_objects(column) for column in zip(*rows, strict=True)))


def _tell(story: int, name: str, templates: list[Headline], take: str) -> tuple[str, str, float, int]:
    """One row of `Stories`; the bits of `story` choose template, number and the sentiment's last digits."""
    template = templates[(story & 0xFFFF) * len(templates) >> 16]
    number = 2 + (story >> 16) % 14
    hundredths = round(template.sentiment * 100) + (story >> 32) % 21 - 10
    hundredths = max(-100, min(100, hundredths))
    return (
        take + template.text.format(name=name, number=number),
        template.category,
        hundredths / 100,
        story >> 12,
    )


def _objects(column: tuple[object, ...]) -> Objects:
    objects = np.empty(len(column), dtype=object)
    objects[:] = column
    return objects
