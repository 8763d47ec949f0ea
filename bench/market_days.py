"""Pictures of days, of a pair and of a stock with its news, from records as `tickerd generate` makes them."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from market_years import F64, UNIVERSE
from tickerd.config import load
from tickerd.generate import Wanted, stretch
from tickerd.market.stories import Stories
from tickerd.recipe import market_of, recipe_of
from tickerd.stretch import batches

Axes = Any

PICTURES = Path(__file__).with_name("market")
DAY = "2026-11-24"
INK, LIGHT, RED, GREEN = "#1f4e79", "#9db8d2", "#b5403a", "#3d7a4a"


def save(figure: Any, name: str) -> None:
    """Write bench/market/NAME.png."""
    figure.tight_layout()
    figure.savefig(PICTURES / f"{name}.png", dpi=80)
    plt.close(figure)


def records(seed: int, start: str, stop: str, **wanted: Any) -> list[Any]:
    """What `tickerd generate --from START --to STOP ...` makes."""
    settings = load(None, [f"market.seed={seed}"], {}).settings
    recipe = recipe_of(settings, UNIVERSE)
    asked = Wanted(datetime.fromisoformat(start), datetime.fromisoformat(stop), **wanted)
    made = stretch(settings, UNIVERSE, recipe, asked)
    market = market_of(recipe, UNIVERSE, wanted.get("instrument"))
    return [record for records in batches(market, made) for record in records]


def hours_of(made: list[Any]) -> F64:
    """The records' times in hours of their day."""
    texts = [record.time for record in made]
    parts = np.array([[int(text[11:13]), int(text[14:16]), float(text[17:23])] for text in texts])
    hours: F64 = parts[:, 0] + parts[:, 1] / 60 + parts[:, 2] / 3600
    return hours


def forex_day(seed: int) -> None:
    """A day of EUR/USD: quotes, and how wide they are."""
    made = records(seed, f"{DAY}T00:00:00Z", f"{DAY}T23:59:59Z", records_per_second=1.0, instrument="EUR/USD")
    hours = hours_of(made)
    bids, asks = (np.array([getattr(each, side) for each in made]) for side in ("bid", "ask"))
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(11, 7), height_ratios=[4, 1.3, 2.2])
    top.plot(hours, (bids + asks) / 2, color=INK, linewidth=0.7)
    top.set(title=f"EUR/USD on {DAY} (UTC), one quote a second", xlim=(0, 24), xticks=range(0, 25, 2))
    for opens, label in ((0, "Tokyo"), (8, "London"), (14.5, "New York")):
        top.axvline(opens, color=LIGHT, linewidth=1)
        top.text(opens + 0.1, 0.02, label, color="#567", fontsize=9, transform=top.get_xaxis_transform())
    spreads = (asks - bids) * 1e4
    quarters = (hours * 4).astype(int)
    mean = np.bincount(quarters, spreads) / np.bincount(quarters)
    middle.step(np.arange(len(mean)) / 4, mean, where="post", color=RED, linewidth=1.1)
    middle.set(ylabel="spread, pips", xlim=(0, 24), xticks=range(0, 25, 2), ylim=(0, None))
    part = (hours >= 15) & (hours < 15 + 2 / 60)
    seconds = (hours[part] - 15) * 3600
    bottom.step(seconds, asks[part], where="post", color=RED, linewidth=0.9, label="ask")
    bottom.step(seconds, bids[part], where="post", color=GREEN, linewidth=0.9, label="bid")
    bottom.set(xlabel="two minutes from 15:00, seconds", xlim=(0, 120))
    bottom.legend(loc="upper left", fontsize=8)
    bottom.ticklabel_format(useOffset=False)
    save(figure, "forex_day")


def eventful(seed: int) -> tuple[str, str]:
    """The stock, of the 150 most traded, and the day of November with the story that moves a price most."""
    stocks = UNIVERSE.stocks[:150]
    stories = Stories(seed, stocks, ())
    strongest: tuple[int, str, str] = (0, "", "")
    for day in (*range(2, 6), *range(9, 13), *range(16, 20), 23, 24, 25):
        date = f"2026-11-{day:02d}"
        midnight = round(datetime.fromisoformat(f"{date}T00:00:00Z").timestamp())
        told = stories.day(midnight // 86_400)
        seconds = told.frames // 16 - midnight
        during = told.exists & (seconds > 15.5 * 3600) & (seconds < 19 * 3600)
        moves = np.where(during, abs(told.slopes), 0)
        row = int(moves.max(axis=0).argmax())
        strongest = max(strongest, (int(moves.max()), stocks[row].symbol, date))
    return strongest[1:]


def stock_day(seed: int) -> None:
    """A day of a stock, trades and news."""
    symbol, day = eventful(seed)
    start, stop = f"{day}T14:00:00Z", f"{day}T21:30:00Z"
    trades = records(seed, start, stop, records_per_second=1.0, instrument=symbol)
    stories = records(seed, start, stop, records_per_second=0.5, instrument=symbol, feed="news")
    hours, prices = hours_of(trades), np.array([each.price for each in trades])
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(11, 8), height_ratios=[4, 1.4, 2.4])
    top.plot(hours, prices, color=INK, linewidth=0.7)
    name = next(stock.name for stock in UNIVERSE.stocks if stock.symbol == symbol)
    top.set(title=f"{name} ({symbol}) on {day} (UTC): a trade a second, and its news", xlim=(14, 21.5))
    for axis in (top, middle):
        for opens in (14.5, 21):
            axis.axvline(opens, color=LIGHT, linewidth=1)
    loud = [each for each in first_told(stories) if each[0] > 14.01][:5]
    down = prices[-1] < prices[0]
    mark(top, loud, right=down)
    middle.step(*traded(seed, symbol, start, stop), where="post", color=INK, linewidth=1)
    middle.set(ylabel="of 1,000\ntrades", xlim=(14, 21.5), ylim=(0, None))
    begin = loud[0][0] - 1 / 60 if loud else 15.5
    part = (hours >= begin) & (hours < begin + 3 / 60)
    seconds = (hours[part] - begin) * 3600
    quotes = [each for each, inside in zip(trades, part, strict=True) if inside]
    bottom.step(seconds, [each.ask for each in quotes], where="post", color=RED, linewidth=0.9, label="ask")
    bottom.step(seconds, [each.bid for each in quotes], where="post", color=GREEN, linewidth=0.9, label="bid")
    sizes = np.array([each.size for each in quotes])
    bottom.scatter(seconds, prices[part], s=4 + sizes / 25, color=INK, alpha=0.45, label="trade (area: size)")
    label = (
        f"three minutes from {int(begin)}:{begin % 1 * 60:02.0f}, seconds; the first story breaks after 60"
    )
    bottom.set(xlabel=label, xlim=(0, 180))
    bottom.legend(loc="upper right" if down else "upper left", fontsize=8)
    save(figure, "stock_day")


def first_told(stories: list[Any]) -> list[tuple[float, Any]]:
    """The stories that are not neutral, in order: the hour when each is first told, and its record."""
    first = {
        story.story_id: (hour, story)
        for story, hour in reversed(list(zip(stories, hours_of(stories), strict=True)))
    }
    return sorted((each for each in first.values() if each[1].sentiment), key=lambda each: each[0])


def mark(axis: Axes, told: list[tuple[float, Any]], right: bool) -> None:
    """A line where each story is first told, and what it says."""
    for n, (hour, story) in enumerate(told):
        color = GREEN if story.sentiment > 0 else RED
        axis.axvline(hour, color=color, linewidth=0.9, linestyle=":")
        text = f"{int(hour)}:{hour % 1 * 60:02.0f}  {story.news_item} ({story.sentiment:+.2f})"
        place = {"x": 0.99, "ha": "right"} if right else {"x": 0.01, "ha": "left"}
        axis.text(y=0.94 - 0.05 * n, s=text, color=color, fontsize=8, transform=axis.transAxes, **place)


def traded(seed: int, symbol: str, start: str, stop: str) -> tuple[F64, F64]:
    """How many of 1,000 records of the stock feed are about a stock, by hour of the day, every 32 seconds."""
    settings = load(None, [f"market.seed={seed}"], {}).settings
    market = market_of(recipe_of(settings, UNIVERSE), UNIVERSE)
    first, end = (round(datetime.fromisoformat(each).timestamp()) * 16 for each in (start, stop))
    frames = range(first, end, 512)
    row = UNIVERSE.instruments.index(symbol)
    shares = [(market.choices(1, frame) == row).mean() * 1000 for frame in frames]
    return np.array(frames) / 16 % 86_400 / 3600, np.array(shares)
