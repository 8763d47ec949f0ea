"""Frames and counts: rates met exactly, seq in closed form, parts that cover a frame, no holes."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tickerd.schedule import (
    QUIET,
    RECORDS_PER_PART_MAX,
    Part,
    RatePlan,
    Rates,
    Segment,
    Stage,
    Timeline,
    due_at_ns,
    due_below,
    end_ms,
    first_ms,
    split,
)

NOW = 28_728_345_600  # 2026-11-24T12:00:00Z in frames
frames = st.integers(-(10**6), 10**12)
milli_rates = st.one_of(st.integers(0, 3000), st.integers(0, 10**7), st.integers(0, 3 * 10**9))
rates = st.builds(Rates, milli_rates, milli_rates, milli_rates)
weights = st.tuples(*[st.floats(0, 1000, allow_subnormal=False)] * 3).filter(lambda mix: sum(mix) > 1e-6)


def timeline(first_frame: int, of: Rates, first_seq: int = 0) -> Timeline:
    return Timeline([Segment(first_frame, first_seq, of, "digest")])


# Time


@given(frame=frames)
def test_frames_tile_time_in_62_or_63_milliseconds(frame: int) -> None:
    assert end_ms(frame) == first_ms(frame + 1)
    assert end_ms(frame) - first_ms(frame) == (63 if frame % 2 == 0 else 62)
    assert first_ms(frame) - 1 < Fraction(frame * 1000, 16) <= first_ms(frame)


def test_a_second_has_sixteen_frames_and_none_crosses_into_the_next() -> None:
    seconds = [{first_ms(frame) // 1000, (end_ms(frame) - 1) // 1000} for frame in range(NOW, NOW + 48)]
    assert seconds == [{NOW // 16 + i} for i in range(3) for _ in range(16)]


@given(frame=frames)
def test_a_frame_is_due_when_its_sixteenth_has_passed_and_not_a_nanosecond_before(frame: int) -> None:
    due_ns = due_at_ns(frame)
    assert due_ns - 1 < Fraction((frame + 1) * 10**9, 16) <= due_ns
    assert due_below(due_ns) == frame + 1
    assert due_below(due_ns - 1) == frame
    assert (end_ms(frame) - 1) * 1_000_000 < due_ns  # no record comes from the future


# Counts and seq


@given(of=rates, first_frame=frames, seconds=st.integers(0, 10**6))
def test_whole_seconds_have_the_rates_records_to_the_milli_record(
    of: Rates, first_frame: int, seconds: int
) -> None:
    segment = Segment(first_frame, 0, of, "digest")
    before = segment.records_before(first_frame + 16 * seconds)
    assert before == tuple(m * seconds // 1000 for m in (of.forex, of.stock, of.news))


@given(of=rates, first_frame=frames, first_seq=st.integers(0, 10**15), offset=st.integers(0, 10**6))
def test_the_seq_of_a_frame_is_the_sum_of_the_counts_before_it(
    of: Rates, first_frame: int, first_seq: int, offset: int
) -> None:
    segment = Segment(first_frame, first_seq, of, "digest")
    begin = first_frame + offset
    seq = segment.seq(begin)
    for frame in range(begin, begin + 20):
        assert segment.seq(frame) == seq
        counts = segment.counts(frame)
        # A frame differs from the even pace by less than one record a feed.
        for count, milli_rate in zip(counts, (of.forex, of.stock, of.news), strict=True):
            assert abs(count - Fraction(milli_rate, 16_000)) < 1
        seq += sum(counts)
    assert segment.seq(first_frame) == first_seq


def test_one_record_a_second_comes_in_the_sixteenth_frame() -> None:
    segment = Segment(NOW, 5, Rates(1000, 0, 0), "digest")
    assert [segment.counts(NOW + i)[0] for i in range(32)] == ([0] * 15 + [1]) * 2
    assert [segment.seq(NOW + i) for i in (0, 15, 16, 31, 32)] == [5, 5, 6, 6, 7]


# Parts


@given(of=rates, first_seq=st.integers(0, 10**15), offset=st.integers(0, 10**6))
def test_parts_cover_their_frame_exactly_and_each_row_lies_in_its_parts_milliseconds(
    of: Rates, first_seq: int, offset: int
) -> None:
    several = timeline(NOW, of, first_seq)
    frame = NOW + offset
    parts = several.parts(frame)
    milliseconds = end_ms(frame) - first_ms(frame)
    counts = several.segment(frame).counts(frame)
    assert [(part.frame, part.counts) for part in parts] == [(frame, counts)] * len(parts)
    assert _joined([(part.ms_start, part.ms_stop) for part in parts]) == (0, milliseconds)
    for feed, n in enumerate(counts):
        assert _joined([part.rows[feed] for part in parts]) == (0, n)
        for part in parts:
            start, stop = part.rows[feed]
            for row in {start, stop - 1} if start < stop else ():
                assert part.ms_start <= row * milliseconds // n < part.ms_stop
    seq = several.seq(frame)
    for part in parts:
        assert part.first_seq == seq
        assert part.records == sum(stop - start for start, stop in part.rows)
        seq += part.records
    assert seq == several.seq(frame + 1)


def _joined(ranges: list[tuple[int, int]]) -> tuple[int, int]:
    """The range that `ranges` make together when each begins where the one before it ended."""
    for (_, stop), (start, _) in pairwise(ranges):
        assert start == stop
    return ranges[0][0], ranges[-1][1]


@pytest.mark.parametrize(("records", "pieces"), [(0, 1), (1, 1), (15_999, 1), (16_000, 1), (16_001, 2)])
def test_a_frame_is_cut_when_it_has_more_than_a_parts_records(records: int, pieces: int) -> None:
    parts = timeline(NOW, Rates(0, records * 16_000, 0)).parts(NOW)
    assert len(parts) == pieces
    assert sum(part.records for part in parts) == records


@given(of=rates)
def test_parts_are_of_about_the_wanted_size_while_milliseconds_allow(of: Rates) -> None:
    parts = timeline(NOW, of).parts(NOW)
    assert len(parts) <= 63
    if len(parts) < 63:
        assert max(part.records for part in parts) <= 2 * RECORDS_PER_PART_MAX + 3


def test_a_quiet_frame_has_one_part_without_records() -> None:
    assert timeline(NOW, QUIET, 9).parts(NOW + 1) == [
        Part(NOW + 1, 0, 62, (0, 0, 0), ((0, 0), (0, 0), (0, 0)), 9)
    ]


# Segments


def test_other_rates_go_on_with_the_seq_that_the_frames_before_them_reached() -> None:
    several = timeline(NOW, Rates(16_000, 32_000, 0), 100)
    several.append(NOW + 10, Rates(160_000, 0, 0), "digest")
    assert [segment.first_seq for segment in several.segments] == [100, 130]
    assert [several.seq(NOW + i) for i in (0, 9, 10, 11, 20)] == [100, 127, 130, 140, 230]
    assert several.parts(NOW + 9)[0].counts == (1, 2, 0)
    assert several.parts(NOW + 10)[0].counts == (10, 0, 0)


def test_the_same_rates_are_no_new_segment_but_another_digest_is() -> None:
    several = timeline(NOW, Rates(1, 2, 3))
    several.append(NOW + 5, Rates(1, 2, 3), "digest")
    assert len(several.segments) == 1
    several.append(NOW + 5, Rates(1, 2, 3), "other")
    assert [segment.digest for segment in several.segments] == ["digest", "other"]


def test_at_the_last_segments_first_frame_rates_replace_it() -> None:
    several = timeline(NOW, Rates(16_000, 0, 0))
    several.append(NOW + 4, Rates(1, 1, 1), "digest")
    several.append(NOW + 4, Rates(0, 16_000, 0), "digest")
    assert [segment.first_frame for segment in several.segments] == [NOW, NOW + 4]
    assert (several.last.milli_records_per_second, several.last.first_seq) == (Rates(0, 16_000, 0), 4)


def test_a_segment_before_the_last_one_is_refused() -> None:
    several = timeline(NOW, Rates(1, 0, 0))
    several.append(NOW + 4, Rates(2, 0, 0), "digest")
    with pytest.raises(ValueError, match="lies before the last segment"):
        several.append(NOW + 3, Rates(3, 0, 0), "digest")


def test_a_frame_before_the_first_segment_is_refused() -> None:
    several = timeline(NOW, Rates(1, 0, 0))
    assert several.segment(NOW) is several.last
    with pytest.raises(ValueError, match="lies before the first segment"):
        several.segment(NOW - 1)


@given(st.lists(st.tuples(st.integers(1, 1000), rates), min_size=1, max_size=6), rates)
def test_segments_leave_no_holes_in_seq_and_can_be_read_back(
    changes: list[tuple[int, Rates]], first: Rates
) -> None:
    several, frame = timeline(NOW, first), NOW
    for after, of in changes:
        frame += after
        several.append(frame, of, "digest")
    edges = {segment.first_frame + i for segment in several.segments for i in (-1, 0)} - {NOW - 1}
    for edge in edges:
        parts = several.parts(edge)
        assert several.seq(edge) == parts[0].first_seq
        assert several.seq(edge + 1) == parts[-1].first_seq + parts[-1].records
    assert Timeline(several.segments).seq(frame + 99) == several.seq(frame + 99)


@pytest.mark.parametrize(
    "wrong",
    [
        Segment(NOW + 16, 15, QUIET, "digest"),  # a hole or an overlap in seq
        Segment(NOW + 16, 17, QUIET, "digest"),
        Segment(NOW, 0, QUIET, "digest"),  # not after the one before it
        Segment(NOW - 1, 0, QUIET, "digest"),
    ],
)
def test_segments_that_do_not_follow_from_each_other_are_refused(wrong: Segment) -> None:
    first = Segment(NOW, 0, Rates(16_000, 0, 0), "digest")
    assert len(Timeline([first, Segment(NOW + 16, 16, QUIET, "digest")]).segments) == 2
    with pytest.raises(ValueError, match="does not follow from the one before"):
        Timeline([first, wrong])


def test_a_timeline_without_segments_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a segment"):
        Timeline([])


def test_segments_are_forgotten_when_nothing_of_them_is_owed() -> None:
    several = timeline(NOW, Rates(16_000, 0, 0))
    several.append(NOW + 10, Rates(32_000, 0, 0), "digest")
    several.append(NOW + 20, Rates(16_000, 0, 0), "digest")
    several.forget_below(NOW + 9)
    assert len(several.segments) == 3
    several.forget_below(NOW + 10)
    assert [segment.first_frame for segment in several.segments] == [NOW + 10, NOW + 20]
    seq = several.seq(NOW + 500)
    several.forget_below(NOW + 10**6)
    assert [segment.first_frame for segment in several.segments] == [NOW + 20]
    assert several.seq(NOW + 500) == seq == 10 + 20 + 480


def test_a_quiet_segment_is_passed_over_once_it_has_ended() -> None:
    several = timeline(NOW, Rates(16_000, 0, 0))
    several.append(NOW + 10, QUIET, "digest")
    assert several.after_quiet(NOW + 15) == NOW + 15  # it has not ended: its frames have yet to pass
    several.append(NOW + 20, Rates(16_000, 0, 0), "digest")
    assert [several.after_quiet(NOW + i) for i in (9, 10, 19, 20, 30)] == [
        NOW + i for i in (9, 20, 20, 20, 30)
    ]
    assert several.seq(NOW + 20) == several.seq(NOW + 10)


def test_quiet_segments_that_follow_each_other_are_passed_over_together() -> None:
    several = timeline(NOW, QUIET)
    several.append(NOW + 10, QUIET, "other")
    several.append(NOW + 20, Rates(1, 0, 0), "other")
    assert several.after_quiet(NOW) == NOW + 20


# Shares of a host's rate


@given(milli_rate=st.integers(0, 10**13), mix=weights, workers=st.integers(1, 130))
def test_the_shares_of_all_workers_add_up_to_the_hosts_rate(
    milli_rate: int, mix: tuple[float, float, float], workers: int
) -> None:
    shares = [split(milli_rate, mix, workers, worker) for worker in range(workers)]
    assert sum(share.total for share in shares) == milli_rate
    for feed, weight in zip(("forex", "stock", "news"), mix, strict=True):
        of_feed = [getattr(share, feed) for share in shares]
        assert max(of_feed) - min(of_feed) <= 1
        assert min(of_feed) >= 0
        wanted = Fraction(milli_rate) * Fraction(weight) / sum(map(Fraction, mix))
        assert abs(sum(of_feed) - wanted) < 1 + Fraction(1, 100)


@given(milli_rate=st.integers(0, 10**10), worker=st.integers(0, 3))
def test_a_feed_without_weight_gets_nothing(milli_rate: int, worker: int) -> None:
    assume(milli_rate > 3)
    share = split(milli_rate, (0.0, 0.65, 0.0), 4, worker)
    assert (share.forex, share.news) == (0, 0)
    assert share.stock > 0


def test_the_default_mix_of_a_thousand_records_is_exact() -> None:
    assert split(1_000_000, (0.3, 0.65, 0.05), 1, 0) == Rates(300_000, 650_000, 50_000)
    halves = [split(1_000_001, (0.3, 0.65, 0.05), 2, worker) for worker in (0, 1)]
    assert [half.total for half in halves] == [500_001, 500_000]


# Stages


def test_a_stage_ramps_in_steps_of_a_second_and_the_last_one_holds() -> None:
    plan = RatePlan(NOW, 1000, (Stage(4, 5000), Stage(2, 0)))
    assert [plan.at(NOW + 16 * second) for second in range(8)] == [2000, 3000, 4000, 5000, 2500, 0, 0, 0]
    assert plan.at(NOW + 10**9) == 0
    assert [plan.at(NOW + i) for i in (15, 16, 31, 32)] == [2000, 3000, 3000, 4000]


def test_before_its_first_frame_and_without_stages_a_plan_is_constant() -> None:
    assert RatePlan(NOW, 1000, (Stage(4, 5000),)).at(NOW - 1) == 1000
    assert [RatePlan(NOW, 1000).at(NOW + i) for i in (-1, 0, 10**6)] == [1000] * 3


@given(
    start=st.integers(0, 10**9),
    stages=st.lists(st.builds(Stage, st.integers(1, 50), st.integers(0, 10**9)), max_size=4),
)
def test_every_stage_ends_at_its_rate_and_stays_between_its_ends(start: int, stages: list[Stage]) -> None:
    plan = RatePlan(NOW, start, tuple(stages))
    level, second = start, 0
    for stage in stages:
        ramp = [plan.at(NOW + 16 * (second + i)) for i in range(stage.for_s)]
        assert ramp == sorted(ramp, reverse=stage.milli_records_per_second < level)
        low, high = sorted((level, stage.milli_records_per_second))
        assert low <= min(ramp) <= max(ramp) <= high
        assert ramp[-1] == stage.milli_records_per_second
        level, second = stage.milli_records_per_second, second + stage.for_s
    assert plan.at(NOW + 16 * second) == level
