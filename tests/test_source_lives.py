"""Whole lives of a source, one after another, over kills, outages, full disks and set clocks, by Hypothesis.

What must hold over all of them: a seq belongs to one frame for ever, no seq is left out, nothing comes from
the future or is given out that is not reserved durably, and what was begun is made again until it arrives.
"""

import asyncio
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_checkpoint import RECIPE, SOURCE
from tickerd import checkpoint
from tickerd.checkpoint import Checkpoint, path_of, reservation
from tickerd.clock import STEP_S, ClockSteppedBackError
from tickerd.observe.counters import Report
from tickerd.schedule import FRAMES_PER_SECOND, Part, Rates, Segment, due_below
from tickerd.source import Source

FACTOR = 2.0
CATCH_UP_MAX_S = 20.0
START_NS = 1_795_000_000 * 10**9


@dataclass(frozen=True)
class Life:
    """What happens to one process, in seconds of its time."""

    away_s: float  # before it starts
    lasts_s: float
    killed: bool
    rate: int  # records per second at its first frame
    ramp: int  # more of them with each second
    refused_s: float  # for so long nothing is acknowledged
    full_disk_from_s: float
    full_disk_s: float
    clock_set_s: float  # how far, halfway through


lives = st.builds(
    Life,
    away_s=st.sampled_from([0.0, 0.3, 3.0, 15.0, 60.0, 500.0]),
    lasts_s=st.integers(1, 25),
    killed=st.booleans(),
    rate=st.integers(0, 100),
    ramp=st.sampled_from([0, 0, 7]),
    refused_s=st.sampled_from([0.0, 0.0, 5.0, 100.0]),
    full_disk_from_s=st.integers(0, 10),
    full_disk_s=st.sampled_from([0.0, 0.0, 2.0, 15.0]),
    clock_set_s=st.sampled_from([0.0, 0.0, 0.2, 8.0, 100.0, -0.2, -5.0, -9.5]),
)


@dataclass
class World:
    """Time, which passes only where somebody waits, and the machine's disk."""

    directory: Path
    now_ns: int = 5_000_000_000  # monotonic
    set_ns: int = START_NS  # what the system's clock is ahead of it
    seen: dict[int, Part] = field(default_factory=dict)  # every part ever given out, by its first seq
    arrived: set[int] = field(default_factory=set)  # the same of those acknowledged
    _read: tuple[object, Checkpoint] | None = None

    @property
    def clocks(self) -> SimpleNamespace:
        """In place of the module `time`."""
        return SimpleNamespace(
            monotonic_ns=lambda: self.now_ns,
            monotonic=lambda: self.now_ns / 1e9,
            time_ns=lambda: self.now_ns + self.set_ns,
            time=lambda: (self.now_ns + self.set_ns) / 1e9,
        )

    def due(self) -> int:
        return due_below(self.now_ns + self.set_ns)

    @property
    def path(self) -> Path:
        return path_of(self.directory, SOURCE)

    def on_disk(self) -> Checkpoint:
        """What a process that started now would find."""
        version = self.path.stat().st_ino, self.path.stat().st_mtime_ns
        if self._read is None or version != self._read[0]:
            self._read = version, checkpoint.read(self.path)
        return self._read[1]


class Living(Source):
    """A source in that world: it sleeps at once, and is saved every second as a worker does."""

    def live(self, world: World, life: Life) -> None:
        self.world, self.life, self.born_ns = world, life, world.now_ns
        self.saved_s, self.clock_is_set = 0.0, False

    @property
    def age_s(self) -> float:
        return (self.world.now_ns - self.born_ns) / 1e9

    def disk(self) -> None:
        full = 0 <= self.age_s - self.life.full_disk_from_s < self.life.full_disk_s
        self._path = self.world.directory / "gone" / SOURCE if full else self.world.path

    async def _sleep(self, seconds: float) -> None:
        self.world.now_ns += max(1_000_000, int(seconds * 1e9))
        if self.age_s > self.life.lasts_s / 2 and not self.clock_is_set:
            self.clock_is_set = True
            self.world.set_ns += int(self.life.clock_set_s * 1e9)
        self.disk()
        if self.age_s - self.saved_s >= 1:
            self.saved_s = self.age_s
            await self.save()
        if self.age_s > self.life.lasts_s:
            self.stop()
        await asyncio.sleep(0)


def begin(world: World, cadence_at: Callable[[int], Rates]) -> Checkpoint:
    if world.path.exists():
        return checkpoint.read(world.path)
    first = world.due()
    return Checkpoint(
        source=SOURCE,
        recipe=RECIPE,
        first_frame=first,
        lowest_unacknowledged=first,
        begun_below=first,
        segments=[Segment(first, 0, cadence_at(first), "digest")],
    )


async def lived(world: World, life: Life, order: random.Random) -> None:
    world.now_ns += int(life.away_s * 1e9)
    born = world.due()

    def cadence_at(frame: int) -> Rates:
        rate = life.rate + life.ramp * max(0, (frame - born) // FRAMES_PER_SECOND)
        return Rates(rate * 700, rate * 300, 0)

    state = begin(world, cadence_at)
    source = Living(
        world.path,
        state,
        Report(),
        before_save=lambda: None,
        cadence_at=cadence_at,
        digest="digest",
        catch_up_factor=FACTOR,
        catch_up_max_s=CATCH_UP_MAX_S,
    )
    source.live(world, life)
    source.disk()
    waiting: list[Part] = []
    try:
        async for part in source.parts():
            check(world, source, state, part)
            waiting += [part] if part.records else []
            order.shuffle(waiting)
            while waiting and source.age_s >= life.refused_s and order.random() < 0.7:
                arrives(world, source, waiting.pop())
    except ClockSteppedBackError:
        world.set_ns += int(20e9)  # a new run begins; here the clock is mended, and the old one goes on
        return
    if life.killed:
        return
    while waiting and life.refused_s < 100:
        arrives(world, source, waiting.pop())
    if await source.finish():
        assert checkpoint.read(world.path).owes >= bool(waiting)


def arrives(world: World, source: Source, part: Part) -> None:
    source.progress.acknowledge(part.frame, part.records)
    world.arrived.add(part.first_seq)


def check(world: World, source: Source, state: Checkpoint, part: Part) -> None:
    on_disk = world.on_disk()
    assert part.frame < due_below(world.now_ns + world.set_ns + int(STEP_S * 1e9))
    assert on_disk.lowest_unacknowledged <= part.frame < on_disk.begun_below
    ahead = on_disk.begun_below - source.progress.next_frame
    assert ahead <= reservation(FACTOR) or on_disk.begun_below == state.begun_below
    if part.records:
        assert world.seen.setdefault(part.first_seq, part) == part


def seqs(parts: Iterator[Part]) -> Iterator[int]:
    for part in parts:
        yield from range(part.first_seq, part.first_seq + part.records)


LAST = Life(0, 120, False, 10, 0, 0, 0, 0, 0)


@settings(max_examples=30)
@given(stories=st.lists(lives, min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_no_record_is_ever_lost_or_changed(
    tmp_path_factory: pytest.TempPathFactory, stories: list[Life], seed: int
) -> None:
    order = random.Random(seed)
    world = World(tmp_path_factory.mktemp("lives"))
    (world.directory / "checkpoint").mkdir()
    clocks = world.clocks
    try:
        with (
            patch("tickerd.source.time", clocks),
            patch("tickerd.clock.time", clocks),
            patch("tickerd.checkpoint.os.fsync"),  # no machine loses its power here
        ):
            for life in [*stories, LAST]:
                asyncio.run(lived(world, life, order))
        assert not checkpoint.read(world.path).owes
        assert list(seqs(world.seen[first] for first in sorted(world.seen))) == list(
            range(sum(part.records for part in world.seen.values()))
        )
        assert world.arrived == set(world.seen)
    finally:
        shutil.rmtree(world.directory)
