"""Which frames a source gives out, and when: due, reserved durably before, never twice, never with a gap."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from test_checkpoint import SOURCE, state
from tickerd import checkpoint
from tickerd.checkpoint import Checkpoint, path_of
from tickerd.clock import Clock, ClockSteppedBackError
from tickerd.observe.counters import Report
from tickerd.schedule import FRAMES_PER_SECOND, Part, Rates, due_at_ns, due_below
from tickerd.source import SAVE_PAUSE_S, Pace, Source

NOW_FRAME = 28_727_000_000
RATES = Rates(160_000, 160_000, 0)  # 20 records a frame


class SetClock(Clock):
    """A clock that stands where it is put."""

    def __init__(self, frame: int) -> None:
        super().__init__()
        self.frame = frame

    def now_ns(self) -> int:
        return due_at_ns(self.frame - 1)


class Impatient(Source):
    """Ends where it would wait for a frame that is not due, or for a disk that takes no checkpoint."""

    async def _sleep(self, seconds: float) -> None:
        waits_for_frame = self.progress.next_frame >= due_below(self.clock.now_ns())
        if (waits_for_frame and seconds > 0) or seconds == SAVE_PAUSE_S:
            self.stop()
            self._regenerate_below = 0  # nor does it wait for what is owed: its clock stands
        await super()._sleep(seconds)


def at(frame: int, begun_below: int | None = None, rates: Rates = RATES) -> Checkpoint:
    first = msgspec.structs.replace(state(rates=rates).segments[0], first_frame=frame)
    return msgspec.structs.replace(
        state(),
        first_frame=frame,
        lowest_unacknowledged=frame,
        begun_below=frame if begun_below is None else begun_below,
        segments=[first],
    )


class Lab:
    """A source over a state directory, at a time of one's choice."""

    def __init__(self, directory: Path) -> None:
        (directory / "checkpoint").mkdir()
        self.path = path_of(directory, SOURCE)
        self.report = Report()
        self.saves = 0

    def source(
        self,
        begin: Checkpoint,
        now_frame: int = NOW_FRAME,
        cadence_at: Callable[[int], Rates] | None = lambda _frame: RATES,
        kind: type[Source] = Impatient,
        **options: Any,
    ) -> Source:
        options.setdefault("catch_up_factor", 100.0)
        made = kind(
            self.path,
            begin,
            self.report,
            before_save=self.saved,
            cadence_at=cadence_at,
            digest="digest",
            **options,
        )
        made.clock = SetClock(now_frame)
        return made

    def saved(self) -> None:
        self.saves += 1

    def begun_below_on_disk(self) -> int:
        return checkpoint.read(self.path).begun_below if self.path.exists() else 0


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def taken(
    source: Source, limit: int = 100_000, each: Callable[[Part], None] | None = None
) -> list[Part]:
    """The parts that are due; a source that waits for the next frame is stopped."""
    parts: list[Part] = []
    async for part in source.parts():
        parts.append(part)
        if each:
            each(part)
        source.progress.acknowledge(part.frame, part.records) if part.records else None
        if len(parts) >= limit:
            source.stop()
    return parts


def gapless(parts: list[Part]) -> bool:
    ends = [part.first_seq + part.records for part in parts]
    return all(part.first_seq == end for part, end in zip(parts[1:], ends, strict=False))


def test_due_frames_are_given_out_once_in_order_and_none_of_the_future(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 40))
    parts = asyncio.run(taken(source))
    assert [part.frame for part in parts] == list(range(NOW_FRAME - 40, NOW_FRAME))
    assert [part.records for part in parts] == [20] * 40
    assert parts[0].first_seq == 0
    assert gapless(parts)


def test_no_frame_is_given_out_before_its_reservation_is_durable(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 3000))
    below: list[bool] = []
    asyncio.run(taken(source, each=lambda part: below.append(part.frame < lab.begun_below_on_disk())))
    assert len(below) == 3000
    assert all(below)
    assert lab.saves < len(below) / 10  # reserved by the second, not by the frame


def test_no_more_is_reserved_than_a_second_at_the_fastest_pace_however_often_it_is_saved(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 10), catch_up_factor=2.0)

    async def held_up() -> None:
        for _ in range(10):
            assert await source.save()

    asyncio.run(held_up())
    assert lab.begun_below_on_disk() == NOW_FRAME - 10 + 33


def test_what_waited_for_the_stream_beyond_the_maximum_is_skipped(lab: Lab) -> None:
    """As in an outage: frames are reserved and saved, but none is taken for longer than is caught up."""
    source = lab.source(at(NOW_FRAME - 10), catch_up_factor=2.0, catch_up_max_s=10.0)

    async def outage() -> list[Part]:
        for second in range(60):
            assert await source.save()
            source.clock = SetClock(NOW_FRAME + FRAMES_PER_SECOND * second)
        return await taken(source, limit=34)

    parts = asyncio.run(outage())
    now = NOW_FRAME + FRAMES_PER_SECOND * 59
    assert [part.frame for part in parts] == [*range(NOW_FRAME - 10, NOW_FRAME + 23), now - 80]
    assert gapless(parts)


def test_reports_are_published_before_every_checkpoint(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 10))
    on_disk_when_published: list[int] = []
    source._before_save = lambda: on_disk_when_published.append(lab.begun_below_on_disk())
    asyncio.run(taken(source))
    assert on_disk_when_published == [0]
    assert lab.begun_below_on_disk() > NOW_FRAME


def test_frames_owed_are_made_again_with_the_same_counts_and_counted(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 30, begun_below=NOW_FRAME - 10))
    parts = asyncio.run(taken(source))
    assert [part.frame for part in parts] == list(range(NOW_FRAME - 30, NOW_FRAME))
    assert lab.report.counts.frames_regenerated == 20
    assert sum(lab.report.counts.records_generated) == 30 * 20


def test_a_source_that_is_stopped_at_once_still_finishes_what_is_owed(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 30, begun_below=NOW_FRAME - 10))
    source.stop()
    parts = asyncio.run(taken(source))
    assert [part.frame for part in parts] == list(range(NOW_FRAME - 30, NOW_FRAME - 10))
    assert not lab.path.exists()  # nothing new was reserved


def test_a_stopped_source_waits_for_owed_frames_that_are_due_soon_but_not_for_a_clock_set_back(
    lab: Lab,
) -> None:
    class Passing(SetClock):
        def now_ns(self) -> int:
            self.frame += 1
            return super().now_ns()

    source = lab.source(at(NOW_FRAME - 1, begun_below=NOW_FRAME + 20), kind=Source)
    source.clock = Passing(NOW_FRAME)
    source.stop()
    assert len(asyncio.run(taken(source))) == 21
    source = lab.source(at(NOW_FRAME + 3000, begun_below=NOW_FRAME + 3020), kind=Source)
    source.stop()
    assert asyncio.run(taken(source)) == []


def test_frames_counted_by_a_dead_worker_are_not_counted_as_generated_again(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 30, begun_below=NOW_FRAME - 10), counted_below=NOW_FRAME - 12)
    asyncio.run(taken(source))
    assert sum(lab.report.counts.records_generated) == 12 * 20
    assert lab.report.counted_below == NOW_FRAME


def test_the_rates_of_new_frames_begin_a_segment_where_nothing_was_reserved(lab: Lab) -> None:
    begin = at(NOW_FRAME - 30, begun_below=NOW_FRAME - 10)
    source = lab.source(begin, cadence_at=lambda _frame: Rates(16_000, 0, 0))
    parts = asyncio.run(taken(source))
    assert [part.records for part in parts] == [20] * 20 + [1] * 10
    assert gapless(parts)


def test_stages_become_segments_while_running(lab: Lab) -> None:
    def rising(frame: int) -> Rates:
        return Rates(16_000 * (1 + (frame - (NOW_FRAME - 64)) // FRAMES_PER_SECOND), 0, 0)

    source = lab.source(at(NOW_FRAME - 64), cadence_at=rising)
    parts = asyncio.run(taken(source))
    assert [part.records for part in parts] == [1] * 16 + [2] * 16 + [3] * 16 + [4] * 16
    assert gapless(parts)


def test_frames_older_than_the_maximum_are_skipped_up_to_half_of_it(lab: Lab) -> None:
    old = NOW_FRAME - 1000 * FRAMES_PER_SECOND
    source = lab.source(at(old - 20, begun_below=old), catch_up_max_s=10.0)
    parts = asyncio.run(taken(source))
    frames = [part.frame for part in parts]
    assert frames == [*range(old - 20, old), *range(NOW_FRAME - 5 * FRAMES_PER_SECOND, NOW_FRAME)]
    assert gapless(parts)
    assert lab.report.counts.frames_skipped == NOW_FRAME - 5 * FRAMES_PER_SECOND - old


def test_frames_of_a_rate_of_0_are_skipped_too(lab: Lab) -> None:
    none = Rates(0, 0, 0)
    old = NOW_FRAME - 1000 * FRAMES_PER_SECOND
    source = lab.source(at(old, rates=none), cadence_at=lambda _frame: none, catch_up_max_s=10.0)
    parts = asyncio.run(taken(source))
    assert [part.frame for part in parts] == list(range(NOW_FRAME - 80, NOW_FRAME))


def test_frames_just_young_enough_are_not_skipped(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 10 * FRAMES_PER_SECOND), catch_up_max_s=10.0)
    assert len(asyncio.run(taken(source))) == 10 * FRAMES_PER_SECOND
    assert lab.report.counts.frames_skipped == 0


def test_frames_that_may_have_begun_are_never_skipped(lab: Lab) -> None:
    old = NOW_FRAME - 1000 * FRAMES_PER_SECOND
    source = lab.source(at(old, begun_below=old + 33), catch_up_max_s=1.0)
    parts = asyncio.run(taken(source))
    assert [part.frame for part in parts][:33] == list(range(old, old + 33))


def test_after_a_crash_within_a_skip_the_same_frames_have_the_same_seqs(lab: Lab) -> None:
    old = NOW_FRAME - 1000 * FRAMES_PER_SECOND
    source = lab.source(at(old), catch_up_max_s=10.0)
    first = asyncio.run(taken(source, limit=10))
    again = lab.source(checkpoint.read(lab.path), catch_up_max_s=10.0)
    second = asyncio.run(taken(again))
    assert second[: len(first)] == first
    assert gapless(second)


def test_a_clean_end_owes_nothing_and_the_next_start_goes_on(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 30))

    async def to_the_end() -> list[Part]:
        parts = await taken(source)
        await source.finish()
        return parts

    parts = asyncio.run(to_the_end())
    last = checkpoint.read(lab.path)
    assert (last.lowest_unacknowledged, last.begun_below, last.owes) == (NOW_FRAME, NOW_FRAME, False)
    following = asyncio.run(taken(lab.source(last, now_frame=NOW_FRAME + 5)))
    assert [part.frame for part in following] == list(range(NOW_FRAME, NOW_FRAME + 5))
    assert gapless([*parts, *following])


def test_a_clean_end_amid_a_ramp_is_gone_on_from(lab: Lab) -> None:
    def rising(frame: int) -> Rates:
        return Rates(16_000 * (1 + (frame - (NOW_FRAME - 60)) // FRAMES_PER_SECOND), 0, 0)

    async def to_the_end(source: Source) -> list[Part]:
        parts = await taken(source)
        await source.finish()
        return parts

    before = asyncio.run(to_the_end(lab.source(at(NOW_FRAME - 60), cadence_at=rising)))
    last = checkpoint.read(lab.path)
    after = asyncio.run(to_the_end(lab.source(last, now_frame=NOW_FRAME + 20, cadence_at=rising)))
    frames = [part.frame for part in [*before, *after]]
    assert frames == list(range(NOW_FRAME - 60, NOW_FRAME + 20))
    assert [part.records for part in [*before, *after]] == [1 + at // 16 for at in range(80)]
    assert gapless([*before, *after])


def test_a_retired_source_gives_out_what_it_owes_at_once_and_ends(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 70, begun_below=NOW_FRAME - 50), cadence_at=None)

    async def to_the_end() -> list[Part]:
        parts = [part async for part in source.parts()]
        for part in parts:
            source.progress.acknowledge(part.frame, part.records)
        await source.finish()
        return parts

    parts = asyncio.run(to_the_end())
    assert [part.frame for part in parts] == list(range(NOW_FRAME - 70, NOW_FRAME - 50))
    last = checkpoint.read(lab.path)
    assert last.retired
    assert not last.owes


def test_a_source_that_joins_again_leaves_out_the_time_when_others_had_its_share(lab: Lab) -> None:
    begin = msgspec.structs.replace(at(NOW_FRAME - 1000), retired=True)
    source = lab.source(begin)
    source.rejoin(NOW_FRAME - 20)
    parts = asyncio.run(taken(source))
    assert [part.frame for part in parts] == list(range(NOW_FRAME - 20, NOW_FRAME))
    assert parts[0].first_seq == 0
    assert not checkpoint.read(lab.path).retired


@pytest.mark.parametrize(("records", "frames"), [(1, 1), (19, 1), (20, 1), (21, 2), (100, 5)])
def test_a_number_of_records_ends_with_the_first_whole_frame_that_reaches_it(
    lab: Lab, records: int, frames: int
) -> None:
    source = lab.source(at(NOW_FRAME - 40), records_max=records)
    assert len(asyncio.run(taken(source))) == frames


def test_a_frame_without_records_is_an_empty_part(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 5, rates=Rates(0, 0, 0)), cadence_at=lambda _frame: Rates(0, 0, 0))
    assert [part.records for part in asyncio.run(taken(source))] == [0] * 5
    assert source.progress.lowest_unacknowledged == NOW_FRAME


def test_big_frames_come_in_parts_which_are_larger_when_they_are_late(lab: Lab) -> None:
    large = Rates(800_000_000, 0, 0)  # 50,000 records a frame
    source = lab.source(at(NOW_FRAME - 3, rates=large), cadence_at=lambda _frame: large)
    parts = asyncio.run(taken(source))
    frames = [part.frame for part in parts]
    assert [frames.count(frame) for frame in range(NOW_FRAME - 3, NOW_FRAME)] == [4, 4, 7]
    assert sum(part.records for part in parts) == 150_000
    assert gapless(parts)


def test_a_directory_that_cannot_be_written_holds_generation_back(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 5))
    source._path = lab.path.parent / "gone" / lab.path.name
    assert asyncio.run(taken(source)) == []


def test_what_keeps_a_checkpoint_from_being_written_is_told_once_until_it_is_mended(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    source = lab.source(at(NOW_FRAME - 5))
    gone = lab.path.parent / "gone" / lab.path.name
    file = lab.path.parent / "file"
    file.touch()

    async def story() -> None:
        source._path = gone
        for count in (1, 2, 3):
            assert not await source.save()
            assert lab.report.unsaved is not None
            assert (lab.report.unsaved.code, lab.report.unsaved.count) == ("ENOENT", count)
            assert str(gone) in lab.report.unsaved.message
            assert "state.directory" in lab.report.unsaved.message
        source._path = file / lab.path.name
        assert not await source.save()
        assert lab.report.unsaved is not None
        assert lab.report.unsaved.code == "ENOTDIR"
        source._path = lab.path
        assert await source.save()
        assert lab.report.unsaved is None

    with caplog.at_level("INFO", "tickerd.source"):
        asyncio.run(story())
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"]


def test_a_plan_that_could_not_be_written_is_made_anew_when_it_can_be(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, amid a ramp, for longer than is caught up: what was never durable has never been."""
    monkeypatch.setattr("tickerd.source.SKIP_PAUSE_S", 0.0)
    old = NOW_FRAME - 60 * FRAMES_PER_SECOND

    def rising(frame: int) -> Rates:
        return Rates(16_000 * (1 + (frame - old) // FRAMES_PER_SECOND), 0, 0)

    source = lab.source(at(old), cadence_at=rising, catch_up_factor=2.0, catch_up_max_s=10.0)
    source._path = lab.path.parent / "gone" / lab.path.name

    async def full_for_a_while() -> list[Part]:
        for second in range(3):
            source.clock = SetClock(NOW_FRAME + FRAMES_PER_SECOND * second)
            assert not await source.save()
        assert lab.report.counts.frames_skipped == 0
        source._path = lab.path
        return await taken(source, limit=10)

    parts = asyncio.run(full_for_a_while())
    target = NOW_FRAME + 2 * FRAMES_PER_SECOND - 80
    assert [part.frame for part in parts] == list(range(target, target + 10))
    assert parts[0].first_seq == 0
    assert gapless(parts)
    assert lab.report.counts.frames_skipped == target - old


def test_a_cancelled_write_is_waited_for(lab: Lab) -> None:
    source = lab.source(at(NOW_FRAME - 5))

    async def cancel() -> None:
        saving = asyncio.create_task(source.save())
        await asyncio.sleep(0)
        saving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await saving
        assert lab.begun_below_on_disk() == source.progress.begun_below or lab.begun_below_on_disk() == 0

    asyncio.run(cancel())


def test_late_frames_follow_each_other_at_the_factor_and_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(10_001))
    monkeypatch.setattr("tickerd.source.time.monotonic", lambda: next(moments) / 1000)
    pace = Pace(2.0)
    begun = sum(pace.take() for _ in range(10_000))
    assert 10 * 32 - 1 <= begun <= 10 * 32 + 1


def test_a_stepped_clock_is_followed_and_a_slewed_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"wall": 1_000_000_000_000, "monotonic": 5_000_000_000}
    monkeypatch.setattr("tickerd.clock.time.time_ns", lambda: times["wall"])
    monkeypatch.setattr("tickerd.clock.time.monotonic_ns", lambda: times["monotonic"])
    clock = Clock()
    times["wall"] += 1_100_000_000
    times["monotonic"] += 1_000_000_000
    assert clock.now_ns() == 1_001_000_000_000  # 0.1 s apart: slewing
    times["wall"] += 3600 * 10**9
    assert clock.now_ns() == times["wall"]  # an hour ahead: followed
    times["wall"] -= 9 * 10**9
    assert clock.now_ns() == times["wall"]  # nine seconds back: waited out
    times["wall"] -= 11 * 10**9
    with pytest.raises(ClockSteppedBackError, match=r"set back by 11\.0 s"):
        clock.now_ns()


def test_a_process_held_up_while_it_reads_the_clock_sees_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped for 20 s between two readings, which would look like a step ahead and then a new run."""
    now_ns = 5_000_000_000
    held_up_after = -1
    readings = 0

    def read() -> int:
        nonlocal now_ns, readings
        readings += 1
        now_ns += 20_000_000_000 if readings == held_up_after else 1000
        return now_ns

    monkeypatch.setattr("tickerd.clock.time.monotonic_ns", read)
    monkeypatch.setattr("tickerd.clock.time.time_ns", lambda: 10**18 + read())
    clock = Clock()
    for later in range(1, 6):
        held_up_after = readings + later
        for _ in range(3):
            assert abs(clock.now_ns() - 10**18 - now_ns) < 1_000_000


def test_a_frame_is_due_when_its_sixteenth_has_passed() -> None:
    for frame in (NOW_FRAME, NOW_FRAME + 1, 7):
        assert due_below(due_at_ns(frame)) == frame + 1
        assert due_below(due_at_ns(frame) - 1) == frame
