"""Records of the default market as a source makes them, and the account that its daemon would leave."""

import time
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from tickerd.checkpoint import Recipe
from tickerd.config import load
from tickerd.encoding import encoder
from tickerd.market.universe import Universe
from tickerd.reading.account_file import Account, AccountedSource
from tickerd.recipe import market_of, recipe_of, run_digest
from tickerd.records import Forex
from tickerd.schedule import FRAMES_PER_SECOND, Rates, Segment, due_below
from tickerd.settings import Settings
from tickerd.stretch import Stretch, batches

SOURCE = "i-0abc123-0-k7m2qx4d"
RATES = (Rates(300_000, 650_000, 50_000), Rates(90_000, 195_000, 15_000))  # 1,000 and 300 records/s
Keyed = tuple[str, bytes]  # partition key, record


class Made(NamedTuple):
    """`keyed`: each record with its partition key, in the order of seq."""

    settings: Settings
    recipe: Recipe
    source: AccountedSource
    keyed: list[Keyed]

    @property
    def account(self) -> Account:
        """The account of this source alone."""
        return Account("d", (self.source,))

    @property
    def payloads(self) -> list[bytes]:
        """The records."""
        return [data for _, data in self.keyed]


def made(
    records: int,
    segments: int = 1,
    record_format: Literal["json", "msgpack"] = "json",
    source: str = SOURCE,
) -> Made:
    """So many records, of seconds that have just passed; the rate changes every second where told so."""
    settings = load(None, [f"record.format={record_format}"]).settings
    universe = Universe.load()
    recipe = recipe_of(settings, universe)
    digest = run_digest(settings, recipe)
    first = due_below(time.time_ns()) - 100 * FRAMES_PER_SECOND
    rates = [RATES[number % 2] for number in range(segments)]
    timeline = [Segment(first, 0, rates[0], digest)]
    for number in range(1, segments):
        frame = first + number * FRAMES_PER_SECOND
        timeline.append(Segment(frame, timeline[-1].seq(frame), rates[number], digest))
    stretch = Stretch(source, tuple(timeline), first, first + 2**30, records)
    keyed: list[Keyed] = []
    encode = encoder(recipe.format)
    for batch in batches(market_of(recipe, universe), stretch):
        keys = [each.currency_pair if isinstance(each, Forex) else each.stock_symbol for each in batch]
        keyed += zip(keys, encode(batch), strict=True)
    began = datetime.fromtimestamp(first // FRAMES_PER_SECOND, UTC)
    return Made(
        settings,
        recipe,
        AccountedSource(source, 0, records, began, tuple(timeline), (), recipe),
        keyed,
    )


def altered(data: bytes) -> bytes:
    """The same record with another price in it: of the same length, readable, wrong."""
    at = max(data.rfind(b'"bid":'), data.rfind(b'"story_id":'), data.rfind(b'"sentiment":'))
    digit = next(place for place in range(at, len(data)) if data[place : place + 1].isdigit())
    other = b"1" if data[digit : digit + 1] != b"1" else b"2"
    return data[:digit] + other + data[digit + 1 :]
