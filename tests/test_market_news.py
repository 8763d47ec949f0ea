"""Stories: they move their price from their frame on, are told from then on, in takes, and keep their id."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from tickerd.market.activity import FRAMES_PER_DAY
from tickerd.market.market import Market
from tickerd.market.news import FRAMES_PER_EPOCH, TAKES
from tickerd.market.stories import JUMP_UNIT, STOCK_SHARE, Stories
from tickerd.market.universe import Universe
from tickerd.records import News
from tickerd.schedule import Segment, Timeline, split

UNIVERSE = Universe.load()
SUBJECTS = len(UNIVERSE.stocks) + len(UNIVERSE.currencies)
DAY = 20_782  # 2026-11-25, a Wednesday


@pytest.fixture(scope="module")
def stories() -> Stories:
    return Stories(1, UNIVERSE.stocks, UNIVERSE.currencies)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(1, UNIVERSE)


def largest(stories: Stories, day: int) -> tuple[int, int]:
    """Subject and frame of a day's story that moves a stock most."""
    made = stories.day(day)
    moves = np.where(made.exists, abs(made.slopes), 0)[:, : len(UNIVERSE.stocks)]
    slot, subject = np.unravel_index(int(moves.argmax()), moves.shape)
    return int(subject), int(made.frames[slot, subject])


def news(market: Market, frame: int, rate: int = 64_000) -> list[News]:
    rates = split(rate * 1000, (0.0, 0.0, 1.0), 1, 0)
    records = []
    for part in Timeline([Segment(frame, 0, rates, "digest")]).parts(frame):
        records += market.records("source", part).records
    return [record for record in records if isinstance(record, News)]


# What stories do to prices


def test_a_price_jumps_in_its_storys_frame_and_not_before(stories: Stories) -> None:
    for day in range(DAY, DAY + 5):
        subject, frame = largest(stories, day)
        moves = stories.impact(np.arange(frame - 3, frame + 4))[:, subject] * JUMP_UNIT
        jump = moves[4] - moves[3]
        assert abs(jump) > 0.01
        assert np.all(abs(np.diff(moves)[[0, 1, 2, 4, 5]]) < abs(jump) / 1000)


def test_a_move_is_two_thirds_at_once_whole_after_half_an_hour_and_fades_over_a_month(
    stories: Stories,
) -> None:
    subject, frame = largest(stories, DAY)
    symbol = UNIVERSE.stocks[subject]
    alone = Stories(1, [symbol], [])

    def move(days: float) -> float:
        at = frame + 1 + int(days * FRAMES_PER_DAY)
        return float(alone.impact(np.array([at]))[0, 0] - others(at)) * JUMP_UNIT

    def others(at: int) -> float:
        # The symbol's other stories: all but the one that breaks at `frame`.
        total = 0.0
        for day in range(at // FRAMES_PER_DAY - 32, at // FRAMES_PER_DAY + 1):
            made = alone.day(day)
            for slot in range(len(made.exists)):
                begin = int(made.frames[slot, 0])
                if made.exists[slot, 0] and begin < at and begin != frame:
                    total += float(made.slopes[slot, 0]) * ((day + 33) * FRAMES_PER_DAY - at)
                    total -= float(made.later[slot, 0]) * max(28_800 - (at - begin), 0)
        return total

    whole = move(1800 / 86_400)
    assert move(0) / whole == pytest.approx(0.65, abs=0.01)
    assert move(16) / whole == pytest.approx(0.5, abs=0.04)
    assert move(33) == pytest.approx(0, abs=abs(whole) / 1e6)


def test_stories_move_prices_up_for_good_news_and_down_for_bad(stories: Stories) -> None:
    made = stories.day(DAY)
    stocks = made.exists[:, : len(UNIVERSE.stocks)]
    sentiment, slopes = (each[:, : len(UNIVERSE.stocks)][stocks] for each in (made.sentiment, made.slopes))
    assert np.all(np.sign(sentiment) == np.sign(slopes + (slopes == -1)))
    assert 0.05 < (sentiment == 0).mean() < 0.4


def test_stories_add_the_share_of_the_variance_that_bridges_leave_to_them(stories: Stories) -> None:
    daily = np.array([stock.annual_vol for stock in UNIVERSE.stocks]) / np.sqrt(365.25)
    squares = np.zeros(len(daily))
    for day in range(DAY - 3, DAY + 361):
        made = stories.day(day)
        ends = (day + 33) * FRAMES_PER_DAY
        jumps = np.where(made.exists, made.slopes * (ends - made.frames) * JUMP_UNIT, 0.0)
        squares += (jumps[:, : len(daily)] ** 2).sum(axis=0)
    assert np.mean(squares / 364 / daily**2) == pytest.approx(STOCK_SHARE, rel=0.2)


def test_stories_come_at_a_believable_rate_and_rather_on_weekdays(stories: Stories) -> None:
    counts = [stories.day(day).exists.mean() * 2 for day in range(DAY - 3, DAY + 25)]
    weekdays = [count for i, count in enumerate(counts) if i % 7 not in {0, 6}]
    assert 0.6 < np.mean(weekdays) < 1.0
    assert np.mean(counts[::7]) < 0.3


def test_real_companies_and_pegs_have_no_story_that_moves_them() -> None:
    real = [msgspec.structs.replace(stock, invented="no") for stock in UNIVERSE.stocks[:50]]
    assert all(stock.real for stock in real)
    of_real = Stories(1, real, UNIVERSE.currencies)
    for day in range(DAY, DAY + 20):
        made = of_real.day(day)
        assert not made.sentiment[:, :50].any()
        pegged = [50 + i for i, currency in enumerate(UNIVERSE.currencies) if currency.peg]
        assert pegged
        assert not made.slopes[:, [*range(50), *pegged]].any()


def test_of_a_real_company_nothing_but_neutral_news_is_told() -> None:
    real = [msgspec.structs.replace(stock, invented="no") for stock in UNIVERSE.stocks[:20]]
    universe = Universe(UNIVERSE.currencies, UNIVERSE.pairs, real, UNIVERSE.headlines, UNIVERSE.phrases)
    market = Market(1, universe)
    symbols = {stock.symbol for stock in real}
    told = [
        record
        for hour in range(0, 24, 3)
        for record in news(market, DAY * FRAMES_PER_DAY + hour * 57_600, 16_000)
        if record.stock_symbol in symbols
    ]
    assert {record.stock_symbol for record in told} == symbols
    assert {(record.sentiment, record.category) for record in told} == {(0.0, "market")}
    assert len({record.story_id for record in told}) > 40


def test_any_piece_of_a_day_gives_the_same_moves(stories: Stories) -> None:
    for day in (DAY, DAY + 1):
        frames = np.arange(day * FRAMES_PER_DAY, (day + 1) * FRAMES_PER_DAY + 1, 4801 * 2)
        whole = stories.impact(frames)
        cold = Stories(1, UNIVERSE.stocks, UNIVERSE.currencies)
        apart = [cold.impact(frames[i : i + 1])[0] for i in range(0, len(frames), 7)]
        assert np.array(apart).tobytes() == whole[::7].tobytes()
    midnight = np.array([(DAY + 1) * FRAMES_PER_DAY - 5, (DAY + 1) * FRAMES_PER_DAY])
    assert stories.impact(midnight)[1].tobytes() == stories.impact(midnight[1:])[0].tobytes()


# What is told of them


def test_a_story_is_told_in_its_frame_and_never_before(market: Market, stories: Stories) -> None:
    checked = 0
    for day in range(DAY, DAY + 8):
        subject, frame = largest(stories, day)
        made = stories.day(day)
        slot = int(np.flatnonzero(made.frames[:, subject] == frame)[0])
        story = int(made.hashes[slot, subject]) >> 12
        before = {r.story_id for each in (frame - 64, frame - 2, frame - 1) for r in news(market, each)}
        assert story not in before
        after = [r for each in (frame, frame + 1, frame + 64) for r in news(market, each)]
        told = [r for r in after if r.story_id == story]
        checked += len(told)
        assert all(r.sentiment == made.sentiment[slot, subject] for r in told)
        assert all(r.stock_symbol == UNIVERSE.stocks[subject].symbol for r in told)
    assert checked > 50


def test_a_symbol_is_traded_more_after_its_story(market: Market, stories: Stories) -> None:
    ratios = []
    for day in range(DAY, DAY + 8):
        subject, frame = largest(stories, day)
        row = len(UNIVERSE.pairs) + subject
        then, now = (np.mean(market.choices(1, f) == row) for f in (frame - 64, frame + 128))
        ratios.append(now / max(then, 1e-5))
    assert np.median(ratios) > 1.5


def test_stories_are_told_in_takes_that_keep_words_and_id(market: Market) -> None:
    told: dict[int, list[str]] = {}
    said: dict[int, set[tuple[str, str, float]]] = {}
    for i in range(0, 5 * 3600 * 16, 3 * FRAMES_PER_EPOCH):
        for record in news(market, DAY * FRAMES_PER_DAY + 14 * 3600 * 16 + i, 32_000):
            texts = told.setdefault(record.story_id, [])
            if record.news_item not in texts:
                texts.append(record.news_item)
            said.setdefault(record.story_id, set()).add(
                (record.stock_symbol, record.category, record.sentiment)
            )
    assert all(len(each) == 1 for each in said.values())
    whole = [texts for texts in told.values() if len(texts) == len(TAKES)]
    assert len(whole) > 10
    for texts in whole:
        assert texts == [take + texts[0] for take in TAKES]


def test_a_day_has_as_many_stories_as_a_newswire_and_many_headlines(market: Market) -> None:
    ids, texts = set(), set()
    for i in range(0, FRAMES_PER_DAY, 16 * FRAMES_PER_EPOCH):
        epoch = market.news(DAY * FRAMES_PER_DAY + i)
        ids |= set(epoch.story_id.tolist())
        texts |= set(epoch.news_item.tolist())
    assert 2 * SUBJECTS < len(ids) < 10 * SUBJECTS
    assert all(0 <= story < 2**52 for story in ids)
    assert len(texts) > 0.8 * len(ids)


def test_macro_stories_are_about_currencies_and_the_others_about_stocks(market: Market) -> None:
    codes = {currency.code for currency in UNIVERSE.currencies}
    records = [record for day in range(5) for record in news(market, (DAY + day) * FRAMES_PER_DAY)]
    assert {record.stock_symbol in codes for record in records} == {True, False}
    for record in records:
        assert (record.category == "macro") == (record.stock_symbol in codes)
        assert -1 <= record.sentiment <= 1
        assert record.sentiment == round(record.sentiment, 2)
        assert str(record.sentiment) != "-0.0"


def test_a_currencys_story_moves_its_pairs(stories: Stories) -> None:
    first = len(UNIVERSE.stocks)
    codes = [currency.code for currency in UNIVERSE.currencies]
    moved = 0
    market = Market(1, UNIVERSE)
    for day in range(DAY, DAY + 6):
        made = stories.day(day)
        subject = first + codes.index("JPY")
        for slot in np.flatnonzero(made.exists[:, subject] & (made.sentiment[:, subject] != 0)):
            frame = int(made.frames[slot, subject])
            row = UNIVERSE.instruments.index("USD/JPY")
            steps = [market.frame(f).changes[row] for f in range(frame - 3, frame + 3)]
            up = made.sentiment[slot, subject] > 0
            assert (steps[3] < 0) == up  # a stronger yen, fewer of them for a dollar
            moved += abs(steps[3]) > 5 * np.median(np.abs(steps))
    assert moved >= 1


# What is told of them


def test_stories_between_two_frames_are_those_of_their_days_each_once(stories: Stories) -> None:
    first, end = DAY * FRAMES_PER_DAY + 1000, (DAY + 2) * FRAMES_PER_DAY - 1000
    cuts = [first, first + 1, DAY * FRAMES_PER_DAY + 700_000, (DAY + 1) * FRAMES_PER_DAY, end]
    whole = stories.between(first, end)
    assert [each for low, high in pairwise(cuts) for each in stories.between(low, high)] == whole
    days = [stories.day(DAY), stories.day(DAY + 1)]
    told = sum(int((day.exists & (day.frames >= first) & (day.frames < end)).sum()) for day in days)
    assert len(whole) == told > 500
    assert [each.frame for each in whole] == sorted(each.frame for each in whole)
    assert stories.between(whole[0].frame, whole[0].frame) == []


def test_a_storys_move_is_what_it_does_to_the_price(stories: Stories) -> None:
    rise, seen = 30 * 60 * 16, 0
    for day in range(DAY, DAY + 3):
        subject, frame = largest(stories, day)
        about = [each for each in stories.between(frame - rise, frame + rise) if each.subject == subject]
        if len(about) != 1 or (frame + rise) // FRAMES_PER_DAY != day:
            continue  # another one moves it too
        (story,), seen = about, seen + 1
        moves = stories.impact(np.array([frame, frame + rise + 1]))[:, subject] * JUMP_UNIT
        assert moves[1] - moves[0] == pytest.approx(story.move, rel=0.01)
        assert np.sign(story.move) == np.sign(story.sentiment) != 0
    assert seen
