"""Frames whose records are made together have the bytes that each has when it is made by itself."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickerd.market.market import FRAMES_AT_ONCE, Market
from tickerd.market.universe import Universe
from tickerd.records import Record
from tickerd.schedule import Rates, Segment, Timeline
from tickerd.stretch import Stretch, batches

SOURCE = "i-0abc123def4567890-0-k7m2qx4d"
NOW = 28_728_345_600  # 2026-11-24T12:00:00Z in frames
UNIVERSE = Universe.load()
STOCK = UNIVERSE.stocks[7].symbol


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(1, UNIVERSE)


def one_by_one(market: Market, segment: Segment, first: int, end: int) -> list[Record]:
    """What a daemon makes: part by part of each frame."""
    timeline = Timeline([segment])
    return [
        record
        for frame in range(first, end)
        for part in timeline.parts(frame)
        for record in market.records(SOURCE, part).records
    ]


def frame_of(timeline: Timeline, seq: int, first: int, end: int) -> int:
    """The frame that holds a seq."""
    while end - first > 1:
        middle = (first + end) // 2
        first, end = (middle, end) if timeline.seq(middle) <= seq else (first, middle)
    return first


def encoded(records: list[Record]) -> bytes:
    return msgspec.json.Encoder().encode_lines(records)


@settings(max_examples=40)
@given(
    rates=st.tuples(*[st.sampled_from([0, 1, 777, 16_000, 33_333, 400_000])] * 3),
    start=st.integers(0, 70),
    frames=st.integers(1, 200),
    at_once=st.sampled_from([1, 7, 64, 16_000]),
)
def test_a_stretch_has_the_bytes_of_its_frames_whatever_is_made_at_once(
    market: Market, rates: tuple[int, int, int], start: int, frames: int, at_once: int
) -> None:
    segment = Segment(NOW - 5, 100, Rates(*rates), "digest")
    first = NOW + start
    wanted = one_by_one(market, segment, first, first + frames)
    stretch = Stretch(SOURCE, (segment,), first, first + frames, 10**9)
    pieces = list(batches(market, stretch, at_once))
    assert encoded([record for records in pieces for record in records]) == encoded(wanted)


@pytest.mark.parametrize(
    ("only", "rates"),
    [
        ("EUR/USD", Rates(3, 0, 0)),
        ("USD/HKD", Rates(40_000, 0, 0)),
        (STOCK, Rates(0, 3, 0)),
        (STOCK, Rates(0, 25_000, 0)),
        (STOCK, Rates(0, 0, 9)),
        (STOCK, Rates(0, 7000, 2000)),
        ("EUR", Rates(0, 0, 40)),
    ],
)
def test_one_instrument_alone_has_the_same_records_over_near_and_far_frames(only: str, rates: Rates) -> None:
    segment = Segment(NOW, 0, rates, "digest")
    count = 300
    milli = max(rates.forex, rates.stock, rates.news)
    end = NOW + count * 16_000 // milli + 1
    stretch = Stretch(SOURCE, (segment,), NOW, end, 10**9)
    together = [record for records in batches(Market(1, UNIVERSE, only=only), stretch) for record in records]
    assert len(together) >= count
    timeline = Timeline([segment])
    apart = Market(1, UNIVERSE, only=only)
    for record in together[:: len(together) // 23]:
        frame = frame_of(timeline, record.seq, NOW, end)
        assert record in [
            each for part in timeline.parts(frame) for each in apart.records(SOURCE, part).records
        ]


def test_the_frames_of_one_block_are_near_and_those_of_one_instrument_alone_however_far() -> None:
    frames = NOW + np.array([0, 63, 64, 10**9])
    assert Market(1, UNIVERSE).spans(frames, news=False).tolist() == (frames // 64).tolist()
    alone = Market(1, UNIVERSE, only=STOCK)
    assert alone.spans(frames, news=True).tolist() == (frames // 64).tolist()
    many = NOW + np.arange(FRAMES_AT_ONCE + 1) * 10**4
    assert alone.spans(many, news=False).tolist() == [0] * FRAMES_AT_ONCE + [1]
