"""Whether records have the bytes that they were made with: all are made again, and their digests compared.

Records of which the account no longer has the segments, or whose digests had to be forgotten, are left out,
and said to be.
"""

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np

from tickerd.checkpoint import Recipe
from tickerd.encoding import encoder
from tickerd.market import MODEL_VERSION
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.reading.account_file import Account, AccountedSource
from tickerd.reading.seen import Digests, digests_of
from tickerd.reading.tally import SourceTally, Tally
from tickerd.recipe import market_of, recipe_of, run_digest
from tickerd.records import RECORD_VERSION
from tickerd.schedule import Timeline
from tickerd.settings import Settings
from tickerd.stretch import Stretch, batches

FRAMES_MAX = 1 << 40  # more than two thousand years of them


class NotComparedError(ValueError):
    """Why a source's records cannot be made again."""


class Comparison:
    """One account's sources against what was read of them.

    `settings` are of use for accounts that do not say what their records are made of.
    """

    def __init__(
        self, account: Account, settings: Settings | None, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        self.notes: list[str] = []
        self.compared = 0
        self._account = account
        self._settings = settings
        self._progress = progress
        self._markets: dict[Recipe, Market] = {}

    async def run(self, tally: Tally) -> None:
        """Add to `altered` of every source the records with other bytes than were made."""
        for source in self._account.sources:
            found = tally.sources[source.source]
            if not found.records:
                continue
            try:
                await self._compare(source, found)
            except ValueError as error:  # a universe that is not there, segments that do not follow
                self.notes.append(f"{source.source}: contents not compared: {error}")

    async def _compare(self, source: AccountedSource, found: SourceTally) -> None:
        recipe = self._recipe(source)
        timeline = Timeline(source.segments)
        there = found.seen.ranges()
        first_seq = timeline.segments[0].first_seq
        left_out = int((there.clip(max=first_seq)[:, 1] - there.clip(max=first_seq)[:, 0]).sum())
        if left_out:
            self.notes.append(
                f"{source.source}: contents of {left_out:,} records not compared: "
                f"the account no longer has the segments below seq {first_seq}"
            )
        if found.seen.forgotten:
            self.notes.append(
                f"{source.source}: contents of {found.seen.forgotten:,} records not compared: "
                "so many do not fit into the memory for them; verify them in pieces with --from and --to"
            )
        start, stop = max(first_seq, int(there[0, 0])), min(source.next_seq, int(there[-1, 1]))
        if start >= stop:
            return
        frames = range(timeline.segments[0].first_frame, timeline.segments[0].first_frame + FRAMES_MAX)
        first_frame = frames[bisect_right(frames, start, key=timeline.seq) - 1]
        end_frame = frames[min(bisect_left(frames, stop, key=timeline.seq), FRAMES_MAX - 1)]
        seq = timeline.seq(first_frame)
        stretch = Stretch(source.source, source.segments, first_frame, end_frame, stop - seq)
        encode, later = encoder(recipe.format), sorted(found.seen.mismatched)
        for records in batches(self._markets[recipe], stretch):
            made = digests_of(encode(records))
            following = seq + len(made)
            copies = later[bisect_left(later, (seq,)) : bisect_left(later, (following,))]
            self._judge(found, seq, made, copies)
            seq = following
            self.compared += len(records)
            self._progress(self.compared)
            await asyncio.sleep(0)  # so that Ctrl-C is heard

    @staticmethod
    def _judge(found: SourceTally, first_seq: int, made: Digests, later: list[tuple[int, int]]) -> None:
        """Compare with the records from `first_seq` on as they were made.

        `later`: (seq, digest) of copies of these that differ from the first ones, already counted as altered.
        """
        first_copies = found.seen.digests(first_seq, len(made))
        wrong = np.flatnonzero((first_copies != 0) & (first_copies != made))
        # A copy that differs from a wrong first one may be right itself.
        right = [seq for seq, digest in later if made[seq - first_seq] == digest]
        found.altered += len(wrong) - len(right)
        found.duplicates += len(right) - len(set(right))
        found.show_altered((wrong + first_seq).tolist())

    def _recipe(self, source: AccountedSource) -> Recipe:
        """What the source's records are made of; its market is in `_markets` then."""
        if not source.segments:
            raise NotComparedError("the account has no segments of it")
        recipe = source.recipe
        if recipe is None:
            recipe = self._recipe_of_settings({segment.digest for segment in source.segments})
        if (recipe.model_version, recipe.record_version) != (MODEL_VERSION, RECORD_VERSION):
            raise NotComparedError("it was made by another version of tickerd")
        if recipe not in self._markets:
            universe = Universe.load(recipe.universe)
            if universe.digest != recipe.universe_digest:
                raise NotComparedError(f"universe {recipe.universe} is not the one that it was made with")
            self._markets[recipe] = market_of(recipe, universe)
        return recipe

    def _recipe_of_settings(self, digests: set[str]) -> Recipe:
        settings = self._settings
        if settings is not None:
            recipe = recipe_of(settings, Universe.load(settings.market.universe))
            if digests == {run_digest(settings, recipe)}:
                return recipe
        raise NotComparedError(
            "the account does not say how its records are made; give the daemon's settings with -c or --set"
        )
