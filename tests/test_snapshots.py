"""Snapshots are the market's own: the same numbers as in the stream, whatever else is asked for."""

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from tickerd.market.hours import Hours
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.records import News, Record, Stock
from tickerd.schedule import Part, Rates, Segment, Timeline, first_ms, frame_of
from tickerd.snapshots import STORIES_MAX, Snapshots

NOON_MS = 1_795_608_000_000  # Wednesday 2026-11-25, 12:00 UTC
MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
SATURDAY_MS = NOON_MS + 3 * DAY_MS


@pytest.fixture(scope="module")
def universe() -> Universe:
    return Universe.load()


@pytest.fixture(scope="module")
def snapshots(universe: Universe) -> Snapshots:
    return Snapshots(Market(1, universe))


@pytest.fixture(scope="module")
def with_hours(universe: Universe) -> Snapshots:
    return Snapshots(Market(1, universe, Hours(universe)))


def streamed(universe: Universe, frames: range) -> Iterator[Record]:
    """What a source sends in these frames."""
    market = Market(1, universe)
    timeline = Timeline([Segment(frames.start, 0, Rates(0, 600_000, 200_000), "")])
    for frame in frames:
        for part in timeline.parts(frame):
            yield from market.records("host-0-aaaaaaaa", part).records


def test_a_snapshot_has_one_row_of_each_pair_and_stock(snapshots: Snapshots, universe: Universe) -> None:
    rows = snapshots.at(NOON_MS)
    assert [row.currency_pair for row in rows.forex_exchange_rates] == [pair.pair for pair in universe.pairs]
    assert [row.stock_symbol for row in rows.stock_prices] == [stock.symbol for stock in universe.stocks]
    times = {row.time for row in rows.forex_exchange_rates} | {row.time for row in rows.stock_prices}
    assert times == {"2026-11-25T12:00:00.000Z"}


def test_a_snapshot_agrees_with_what_was_streamed_at_its_millisecond(
    snapshots: Snapshots, universe: Universe
) -> None:
    compared = 0
    for record in streamed(universe, range(frame_of(NOON_MS), frame_of(NOON_MS) + 8)):
        if isinstance(record, Stock):
            ms = NOON_MS + int(record.time[17:19]) * 1000 + int(record.time[20:23])
            row = next(r for r in snapshots.at(ms).stock_prices if r.stock_symbol == record.stock_symbol)
            assert (row.price, row.bid, row.ask, row.time) == (
                record.price,
                record.bid,
                record.ask,
                record.time,
            )
            compared += 1
    assert compared == 300


def test_many_times_together_are_the_same_as_each_alone(snapshots: Snapshots) -> None:
    times = [NOON_MS - 7 * DAY_MS, NOON_MS - 1, NOON_MS, NOON_MS + 61]
    together = snapshots.standing(times)
    for number, ms in enumerate(times):
        for column, alone in zip(together, snapshots.standing([ms]), strict=True):
            assert column[number].tolist() == alone[0].tolist()


def test_an_instrument_alone_is_the_same_as_among_all(snapshots: Snapshots, universe: Universe) -> None:
    times = [NOON_MS + number * MINUTE_MS for number in range(5)]
    for name in ("EUR/USD", universe.stocks[7].symbol):
        every, alone = snapshots.standing(times), snapshots.standing(times, name)
        row = universe.instruments.index(name)
        for whole, column in zip(every, alone, strict=True):
            assert whole[:, row].tolist() == column[:, 0].tolist()


def test_sizes_depend_on_instrument_and_time_alone(universe: Universe, snapshots: Snapshots) -> None:
    few = Universe(
        universe.currencies, universe.pairs[:1], universe.stocks[5:7], universe.headlines, universe.phrases
    )
    there = {row.stock_symbol: row.size for row in snapshots.at(NOON_MS).stock_prices}
    for row in Snapshots(Market(1, few)).at(NOON_MS).stock_prices:
        assert row.size == there[row.stock_symbol]
    assert len(set(there.values())) > 20
    assert min(there.values()) >= 1


def test_what_is_closed_stands_at_its_last_price(with_hours: Snapshots, snapshots: Snapshots) -> None:
    names = [*with_hours.pairs, *with_hours.stocks]
    open_, closed = with_hours.standing([NOON_MS, SATURDAY_MS])[0]
    always = snapshots.standing([NOON_MS])[0][0]
    hours = Hours(Universe.load())
    is_open = hours.open(frame_of(NOON_MS))[: len(names)]
    assert 0 < is_open.sum() < len(names)
    assert open_[is_open].tolist() == always[is_open].tolist()
    # On a Saturday all are: EUR/USD since Friday 17:00 in New York.
    friday_ms = NOON_MS + 2 * DAY_MS + 10 * 60 * MINUTE_MS - 1
    last = snapshots.standing([friday_ms], "EUR/USD")[0][0][0]
    assert closed[names.index("EUR/USD")] == last
    assert with_hours.standing([SATURDAY_MS + DAY_MS // 4])[0][0].tolist() == closed.tolist()


def test_when_an_instrument_was_last_open_follows_the_sessions(universe: Universe) -> None:
    hours = Hours(universe)
    times = np.arange(NOON_MS - 3 * DAY_MS, NOON_MS + 4 * DAY_MS, 17 * MINUTE_MS + 1)
    last = hours.last_open_ms(times)
    opened = hours.open_frames(frame_of(times))
    assert (last[opened] == np.broadcast_to(times[:, None], last.shape)[opened]).all()
    assert (last <= times[:, None]).all()
    shown = hours.open_frames(frame_of(last.min(axis=1)))
    assert shown.any(axis=1).all()
    row = universe.instruments.index(next(s.symbol for s in universe.stocks if s.exchange == "XNYS"))
    saturday = int(np.searchsorted(times, SATURDAY_MS))
    assert (
        last[saturday, row] == NOON_MS + 2 * DAY_MS + 6 * 60 * MINUTE_MS - 1
    )  # half a day after Thanksgiving


def test_stories_come_once_each_and_agree_with_what_is_told_of_them(
    snapshots: Snapshots, universe: Universe
) -> None:
    stories = snapshots.stories(NOON_MS - DAY_MS, NOON_MS)
    ids = [story.row.story_id for story in stories]
    assert len(ids) == len(set(ids)) > 100
    assert [story.ms for story in stories] == sorted(story.ms for story in stories)
    by_id = {story.row.story_id: story for story in stories}
    told = list(streamed(universe, range(frame_of(NOON_MS) - 80, frame_of(NOON_MS))))
    found = [record for record in told if isinstance(record, News) and record.story_id in by_id]
    assert len({record.story_id for record in found}) > 50
    for record in found:
        row = by_id[record.story_id].row
        assert (row.stock_symbol, row.category, row.sentiment) == (
            record.stock_symbol,
            record.category,
            record.sentiment,
        )
        assert record.news_item.endswith(row.news_item)
        assert row.time <= record.time


def test_stories_of_adjoining_stretches_are_those_of_the_whole(snapshots: Snapshots) -> None:
    whole = snapshots.stories(NOON_MS - DAY_MS, NOON_MS)
    cut = whole[len(whole) // 2].ms
    assert snapshots.stories(NOON_MS - DAY_MS, cut) + snapshots.stories(cut, NOON_MS) == whole
    assert snapshots.stories(cut, cut + 1) == [story for story in whole if story.ms == cut]
    assert snapshots.stories(cut, cut) == []


def test_a_snapshot_tells_the_latest_stories_newest_first(snapshots: Snapshots) -> None:
    news = snapshots.at(NOON_MS).stock_news_feed
    assert len(news) == STORIES_MAX
    assert [row.time for row in news] == sorted((row.time for row in news), reverse=True)
    assert (
        news
        == [story.row for story in reversed(snapshots.stories(NOON_MS - DAY_MS, NOON_MS + 1))][:STORIES_MAX]
    )


@pytest.mark.parametrize("hours", [False, True])
def test_records_of_a_snapshot_have_the_numbers_of_its_rows(
    hours: bool, snapshots: Snapshots, with_hours: Snapshots, universe: Universe
) -> None:
    ms = NOON_MS + 1234
    frame = frame_of(ms)
    offset = ms - first_ms(frame)
    counts = (len(universe.pairs), len(universe.stocks), 0)
    part = Part(
        frame, offset, offset + 1, counts, ((0, counts[0]), (0, counts[1]), (0, 0)), 7, is_snapshot=True
    )
    market = Market(1, universe, Hours(universe) if hours else None)
    records = market.records("host-logs-aaaaaaaa", part).records
    rows = (with_hours if hours else snapshots).at(ms)
    expected = [*rows.forex_exchange_rates, *rows.stock_prices]
    assert [record.seq for record in records] == list(range(7, 7 + len(expected)))
    for record, row in zip(records, expected, strict=True):
        fields, shown = msgspec.to_builtins(record), msgspec.to_builtins(row)
        assert {name: fields[name] for name in shown} == shown
