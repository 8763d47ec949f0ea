"""When markets are open: known days, daylight saving, the forex week, and feeds that pause with it."""

import zlib
from datetime import UTC, datetime
from importlib.resources import files
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickerd.market.hours import EXCHANGES, FRAMES_PER_MINUTE, Hours, minutes_of
from tickerd.market.universe import Universe
from tickerd.schedule import FRAMES_PER_SECOND, QUIET, Rates

DEFAULT = Universe.load()
PAIR, CURRENCY = DEFAULT.instruments[0], DEFAULT.currencies[0].code


def universe_of(*exchanges: str) -> Universe:
    """The default universe with one stock on each exchange, whose symbol is the exchange's code."""
    first = DEFAULT.stocks[0]
    stocks = [msgspec.structs.replace(first, symbol=code, exchange=code) for code in exchanges]
    return Universe(DEFAULT.currencies, DEFAULT.pairs, stocks, DEFAULT.headlines, DEFAULT.phrases)


WORLD = universe_of(*EXCHANGES)
HOURS = Hours(WORLD)


def frame_of(text: str) -> int:
    """The frame that begins at a time, UTC when it names no zone."""
    time = datetime.fromisoformat(text)
    return round(time.replace(tzinfo=time.tzinfo or UTC).timestamp()) * FRAMES_PER_SECOND


def is_open(instrument: str, frame: int) -> bool:
    return bool(HOURS.open(frame)[WORLD.instruments.index(instrument)])


@pytest.mark.parametrize(
    ("exchange", "opens", "closes"),
    [
        ("XNYS", "2026-11-24T14:30", "2026-11-24T21:00"),
        ("XNYS", "2026-07-15T13:30", "2026-07-15T20:00"),
        ("XNYS", "2026-03-06T14:30", "2026-03-06T21:00"),  # the Friday before clocks change
        ("XNYS", "2026-03-09T13:30", "2026-03-09T20:00"),  # the Monday after
        ("XNAS", "2026-11-27T14:30", "2026-11-27T18:00"),  # the day after Thanksgiving
        ("XLON", "2026-03-27T08:00", "2026-03-27T16:30"),
        ("XLON", "2026-03-30T07:00", "2026-03-30T15:30"),
        ("XETR", "2026-10-26T08:00", "2026-10-26T16:30"),
        ("XTKS", "2026-11-24T00:00", "2026-11-24T02:30"),  # up to lunch
        ("XTKS", "2026-11-24T03:30", "2026-11-24T06:30"),
        ("XTKS", "2024-11-01T03:30", "2024-11-01T06:00"),  # before its hours were longer
        ("XHKG", "2026-11-24T01:30", "2026-11-24T04:00"),
        ("XASX", "2026-01-15T23:00", "2026-01-16T05:00"),  # summer, south of the equator
        ("XASX", "2026-07-15T00:00", "2026-07-15T06:00"),
        ("XNYS", "2060-11-24T14:30", "2060-11-24T21:00"),  # beyond the baked years
        ("XNYS", "1990-11-23T14:30", "1990-11-23T21:00"),
    ],
)
def test_a_session_opens_and_closes_with_these_frames(exchange: str, opens: str, closes: str) -> None:
    first, end = frame_of(opens), frame_of(closes)
    assert [is_open(exchange, frame) for frame in (first - 1, first, end - 1, end)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("exchange", "day"),
    [
        ("XNYS", "2026-11-26"),  # Thanksgiving
        ("XNYS", "2026-07-03"),  # Independence Day, observed
        ("XNYS", "2026-04-03"),  # Good Friday
        ("XNYS", "2025-01-09"),  # a day of mourning
        ("XLON", "2026-05-04"),  # early May bank holiday
        ("XETR", "2026-05-01"),
        ("XTKS", "2026-01-02"),
        ("XHKG", "2026-02-17"),  # lunar new year
        ("XNYS", "2026-11-28"),  # a Saturday
    ],
)
def test_an_exchange_is_closed_for_the_whole_of_a_holiday(exchange: str, day: str) -> None:
    frames = frame_of(day) + FRAMES_PER_MINUTE * np.arange(-60 * 3, 60 * 24)
    column = WORLD.instruments.index(exchange)
    assert not HOURS.open_frames(frames)[:, column].any()


@pytest.mark.parametrize(
    ("opens", "closes"),
    [
        ("2026-11-22T22:00", "2026-11-27T22:00"),
        ("2026-07-12T21:00", "2026-07-17T21:00"),
        ("2026-03-08T21:00", "2026-03-13T21:00"),  # clocks went ahead in the night before
        ("2026-12-27T22:00", "2027-01-01T22:00"),  # from one year into the next
    ],
)
def test_the_forex_week_lasts_from_sunday_to_friday_five_in_the_afternoon_in_new_york(
    opens: str, closes: str
) -> None:
    first, end = frame_of(opens), frame_of(closes)
    for instrument in (PAIR, CURRENCY):
        frames = (first - 1, first, (first + end) // 2, end - 1, end)
        assert [is_open(instrument, frame) for frame in frames] == [False, True, True, True, False]


@settings(max_examples=200)
@given(
    moment=st.datetimes(datetime(2008, 1, 1), datetime(2037, 12, 1)),  # noqa: DTZ001 - made UTC below
    exchange=st.sampled_from(["XNYS", "XLON", "XETR", "XTKS", "XASX"]),
)
def test_what_is_open_is_open_by_the_local_clock_of_the_time_zone_database(
    moment: datetime, exchange: str
) -> None:
    zones = {
        "XNYS": ("America/New_York", 9 * 60 + 30, 16 * 60),
        "XLON": ("Europe/London", 8 * 60, 16 * 60 + 30),
        "XETR": ("Europe/Berlin", 9 * 60, 17 * 60 + 30),
        "XTKS": ("Asia/Tokyo", 9 * 60, 15 * 60 + 30),
        "XASX": ("Australia/Sydney", 10 * 60, 16 * 60),
    }
    zone, opens, closes = zones[exchange]
    utc = moment.replace(tzinfo=UTC, microsecond=0)
    local = utc.astimezone(ZoneInfo(zone))
    minute = local.hour * 60 + local.minute
    frame = round(utc.timestamp()) * FRAMES_PER_SECOND
    if is_open(exchange, frame):
        assert local.weekday() < 5
        assert opens <= minute < closes
    elif local.weekday() in {1, 2} and opens <= minute < closes:
        # Closed in the week's middle: a holiday, an early close or lunch, never for more than five days.
        column = WORLD.instruments.index(exchange)
        days = frame + 86_400 * FRAMES_PER_SECOND * np.arange(-7, 8)
        hours = days[:, None] + FRAMES_PER_MINUTE * 60 * np.arange(-2, 3)
        assert HOURS.open_frames(hours.ravel())[:, column].any()


@settings(max_examples=60)
@given(st.integers(frame_of("2014-06-01"), frame_of("2042-06-01")))
def test_nothing_changes_before_the_next_change_and_something_does_with_it(frame: int) -> None:
    change = HOURS.next_change(frame)
    assert change > frame
    assert change % FRAMES_PER_MINUTE == 0
    between = np.linspace(frame, change - 1, 20).astype(np.int64)
    assert (HOURS.open_frames(between) == HOURS.open(frame)).all()
    # Two markets may change at once, but one that closes while another opens leaves another set.
    assert not np.array_equal(HOURS.open(change), HOURS.open(frame))


def test_many_frames_at_once_are_answered_as_one_by_one() -> None:
    frames = np.linspace(frame_of("2019-12-20"), frame_of("2031-01-10"), 300).astype(np.int64)
    one_by_one = np.array([HOURS.open(frame) for frame in frames.tolist()])
    assert np.array_equal(HOURS.open_frames(frames), one_by_one)
    for feed in range(3):
        singly = [HOURS.feed_open(feed, frame) for frame in frames.tolist()]
        assert HOURS.feed_open_frames(feed, frames).tolist() == singly


def test_a_feed_is_open_while_any_of_its_instruments_is() -> None:
    hours = Hours(DEFAULT)
    states = {
        time: [hours.feed_open(feed, frame_of(time)) for feed in range(3)]
        for time in ("2026-11-24T15:00", "2026-11-24T03:00", "2026-11-28T15:00", "2026-11-29T22:00")
    }
    assert list(states.values()) == [
        [True, True, True],
        [True, False, True],
        [False, False, False],
        [True, False, True],
    ]


def test_rates_of_closed_feeds_are_zero_and_those_of_open_ones_are_untouched() -> None:
    hours, rates = Hours(DEFAULT), Rates(300, 650, 50)
    weekend, week = frame_of("2026-11-28T15:00"), frame_of("2026-11-24T15:00")
    close = frame_of("2026-11-24T21:00")
    assert hours.rates(rates, weekend) == QUIET
    assert hours.rates(rates, week) == rates
    assert hours.rates(rates, close - 1) == rates
    assert hours.rates(rates, close) == Rates(300, 0, 50)
    assert hours.rates(rates, week) == rates


def test_hours_of_one_instrument_hold_for_every_feed() -> None:
    hours = Hours(DEFAULT, DEFAULT.stocks[0].symbol)
    frame = frame_of("2026-11-24T21:00")
    assert [hours.feed_open(feed, frame - 1) for feed in range(3)] == [True] * 3
    assert [hours.feed_open(feed, frame) for feed in range(3)] == [False] * 3
    assert hours.next_change(frame) == frame_of("2026-11-25T14:30")


def test_hours_are_minutes_since_midnight() -> None:
    assert minutes_of("") == ()
    assert minutes_of("09:00-11:30 12:30-15:00") == (540, 690, 750, 900)


def test_the_baked_file_is_the_one_that_this_model_version_was_made_with() -> None:
    # Another one changes what was generated with market.hours = "market": raise MODEL_VERSION with it.
    content = (files("tickerd.market") / "sessions.csv").read_bytes()
    assert f"{zlib.crc32(content):08x}" == "9650dd9c"
    days = [line.split(b",")[1] for line in content.splitlines()[1:]]
    assert (min(days)[:4], max(days)[:4]) == (b"2015", b"2040")
