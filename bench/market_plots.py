"""Does it look like a market? Draws bench/market/*.png and writes bench/market.md from generated data alone.

`python bench/market_plots.py [--seed 1]` takes a minute or two and needs matplotlib (dependency group
`plots`). Days are made of records as `tickerd generate` prints them, years of mid prices.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from recorded import commit
from tickerd.config import load
from tickerd.generate import Wanted, stretch
from tickerd.market.prices import Prices
from tickerd.market.stories import Stories
from tickerd.market.universe import Universe
from tickerd.recipe import market_of, recipe_of
from tickerd.stretch import batches

F64 = NDArray[np.float64]
Axes = Any

PAGE = Path(__file__).with_name("market.md")
PICTURES = Path(__file__).with_name("market")
UNIVERSE = Universe.load()
DAY = "2026-11-24"
FIRST_FRAME = round(datetime(2022, 11, 21, tzinfo=UTC).timestamp()) * 16
STEP_LEVEL, STEP_S = 11, 128  # of a history: 2**11 frames
STEPS_PER_DAY = 86_400 // STEP_S
YEARS = 4
INK, LIGHT, RED, GREEN = "#1f4e79", "#9db8d2", "#b5403a", "#3d7a4a"


class Years(NamedTuple):
    """Log prices of some instruments every 128 seconds."""

    times: NDArray[np.int64]  # seconds since 1970
    pairs: F64  # [T, pairs]
    stocks: F64  # [T, stocks]


PAIRS = ("EUR/USD", "USD/JPY", "GBP/USD", "EUR/GBP", "USD/MXN")
STOCKS = tuple(stock.symbol for stock in UNIVERSE.stocks[:120:6])


def records(seed: int, start: str, stop: str, **wanted: Any) -> list[Any]:
    """What `tickerd generate --from START --to STOP ...` makes."""
    settings = load(None, [f"market.seed={seed}"], {}).settings
    recipe = recipe_of(settings, UNIVERSE)
    asked = Wanted(datetime.fromisoformat(start), datetime.fromisoformat(stop), **wanted)
    made = stretch(settings, UNIVERSE, recipe, asked)
    market = market_of(recipe, UNIVERSE, wanted.get("instrument"))
    return [record for records in batches(market, made) for record in records]


def years(seed: int) -> Years:
    """Four years of mid prices."""
    steps = YEARS * 366 * STEPS_PER_DAY
    rows = [UNIVERSE.instruments.index(name) for name in (*PAIRS, *STOCKS)]
    forex = Prices(seed, UNIVERSE, rows[: len(PAIRS)])
    stock = Prices(seed, UNIVERSE, rows[len(PAIRS) :])
    frames, pairs = forex.history(STEP_LEVEL, FIRST_FRAME, steps)
    starts, stocks = stock.history(STEP_LEVEL, FIRST_FRAME, steps)
    shift = round((starts[0] - frames[0]) / 2**STEP_LEVEL)  # the trees of forex and stocks begin elsewhere
    assert shift in {-1, 0, 1}
    return Years(frames // 16, np.log(pairs), np.log(stocks))


def hours_of(made: list[Any]) -> F64:
    """The records' times in hours of their day."""
    texts = [record.time for record in made]
    parts = np.array([[int(text[11:13]), int(text[14:16]), float(text[17:23])] for text in texts])
    hours: F64 = parts[:, 0] + parts[:, 1] / 60 + parts[:, 2] / 3600
    return hours


# Measures.


def kurtosis(returns: F64) -> float:
    """3 for a normal distribution."""
    centred = returns - returns.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def acf(series: F64, lags: NDArray[np.int64]) -> F64:
    """Autocorrelation at some lags."""
    centred = series - series.mean()
    variance = (centred**2).mean()
    return np.array([(centred[:-lag] * centred[lag:]).mean() / variance for lag in lags.tolist()])


def hill(returns: F64) -> float:
    """The tail index by the largest percent (Hill 1975)."""
    largest = np.sort(abs(returns))[::-1][: len(returns) // 100 + 1]
    return float(1 / np.log(largest[:-1] / largest[-1]).mean())


def open_returns(times: NDArray[np.int64], logs: F64, steps: int) -> tuple[F64, NDArray[np.int64]]:
    """Returns over `steps` steps of the forex week, and the second of the day that each begins at."""
    returns = np.diff(logs[::steps])
    begins = times[::steps][:-1]
    weekday, second = (begins // 86_400 + 4) % 7, begins % 86_400
    inside = (weekday > 0) & (weekday < 6) & ((weekday < 5) | (second < 20 * 3600))
    return returns[inside], second[inside]


def session_returns(times: NDArray[np.int64], logs: F64, steps: int) -> F64:
    """Returns within the hours that New York's session has in summer and winter."""
    begins, span = times[::steps][:-1], steps * STEP_S
    weekday, second = (begins // 86_400 + 4) % 7, begins % 86_400
    inside = (weekday > 0) & (weekday < 6) & (second >= 14.5 * 3600) & (second + span <= 20 * 3600)
    returns: F64 = np.diff(logs[::steps])[inside]
    return returns


def filtered(returns: F64, seconds: NDArray[np.int64]) -> F64:
    """Returns in units of the usual size for their quarter of an hour."""
    slot = seconds // 900
    usual = np.bincount(slot, abs(returns)) / np.bincount(slot)
    units: F64 = returns / usual[slot]
    return units


def daily(logs: F64) -> F64:
    """Returns from day to day, weekends left out."""
    returns = np.diff(logs[::STEPS_PER_DAY])
    return returns[np.arange(len(returns)) % 7 < 5]  # the first day is a Monday


# Pictures.


def save(figure: Any, name: str) -> None:
    """Write bench/market/NAME.png."""
    figure.tight_layout()
    figure.savefig(PICTURES / f"{name}.png", dpi=80)
    plt.close(figure)


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
        top.text(opens + 0.1, top.get_ylim()[1], label, va="top", color="#567", fontsize=9)
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
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(11, 7), height_ratios=[4, 2.4])
    top.plot(hours, prices, color=INK, linewidth=0.7)
    name = next(stock.name for stock in UNIVERSE.stocks if stock.symbol == symbol)
    top.set(title=f"{name} ({symbol}) on {day} (UTC): a trade a second, and its news", xlim=(14, 21.5))
    for opens in (14.5, 21):
        top.axvline(opens, color=LIGHT, linewidth=1)
    first = {
        story.story_id: (hour, story)
        for story, hour in reversed(list(zip(stories, hours_of(stories), strict=True)))
    }
    loud = sorted((hour, each) for hour, each in first.values() if each.sentiment and hour > 14.01)[:5]
    down = prices[-1] < prices[0]
    for n, (hour, story) in enumerate(loud):
        color = GREEN if story.sentiment > 0 else RED
        top.axvline(hour, color=color, linewidth=0.9, linestyle=":")
        text = f"{int(hour)}:{hour % 1 * 60:02.0f}  {story.news_item} ({story.sentiment:+.2f})"
        top.text(
            0.99 if down else 0.01,
            0.95 - 0.05 * n,
            text,
            color=color,
            fontsize=8,
            transform=top.transAxes,
            ha="right" if down else "left",
        )
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


def clustering(sample: Years) -> None:
    """Four years, day by day."""
    figure, rows = plt.subplots(4, 1, figsize=(11, 8), sharex=True, height_ratios=[2, 1.2, 2, 1.2])
    for (upper, lower), logs, name in (
        (rows[:2], sample.pairs[:, 0], PAIRS[0]),
        (rows[2:], sample.stocks[:, 0], STOCKS[0]),
    ):
        prices = np.exp(logs[::STEPS_PER_DAY])
        weekdays = np.arange(len(prices) - 1) % 7 < 5
        days = 2022.888 + np.arange(len(prices)) / 365.25
        upper.plot(days, prices, color=INK, linewidth=0.8)
        upper.set(ylabel=name)
        returns = np.diff(logs[::STEPS_PER_DAY]) * 100
        lower.bar(days[1:][weekdays], returns[weekdays], width=0.004, color=INK)
        lower.set(ylabel="a day, %")
    rows[0].set(title="Calm and wild times: prices and daily returns over four years")
    save(figure, "clustering")


def distributions(sample: Years) -> None:
    """Densities of returns by horizon beside the normal one."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    edges = np.linspace(-10, 10, 81)
    middles = (edges[1:] + edges[:-1]) / 2
    horizons = (("4 minutes", 2), ("1 hour", 28), ("a day", STEPS_PER_DAY))
    for axis, logs, name in zip(axes, (sample.pairs, sample.stocks), ("pairs", "stocks"), strict=True):
        for n, (horizon, steps) in enumerate(horizons):
            each = [horizon_returns(sample, name, column, steps) for column in logs.T]
            scaled = np.concatenate([returns / returns.std() for returns in each])
            density = np.histogram(scaled, edges)[0] / len(scaled) / (edges[1] - edges[0])
            density[density == 0] = np.nan
            axis.plot(
                middles,
                density,
                ".-",
                color=plt.cm.viridis(n / 2.6),
                linewidth=0.8,
                markersize=3,
                label=horizon,
            )
        normal = np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)
        axis.plot(middles, normal, color="black", linewidth=1, linestyle="--", label="normal")
        axis.set(yscale="log", ylim=(1e-6, 3), title=f"Returns of {name}", xlabel="standard deviations")
    axes[0].set(ylabel="density")
    axes[0].legend(fontsize=8)
    save(figure, "distributions")


def horizon_returns(sample: Years, kind: str, logs: F64, steps: int) -> F64:
    """Returns of a pair in its week, of a stock in its sessions, or from day to day."""
    if steps == STEPS_PER_DAY:
        return daily(logs)
    if kind == "pairs":
        return open_returns(sample.times, logs, steps)[0]
    return session_returns(sample.times, logs, steps)


def memory(sample: Years) -> None:
    """Autocorrelations of returns and of their sizes, and the leverage effect."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.2))
    lags = np.unique(np.geomspace(1, 20_000, 40).astype(np.int64))
    for logs, label, color in ((sample.pairs, "pairs", INK), (sample.stocks[:, :6], "stocks", RED)):
        units = [filtered(*open_returns(sample.times, column, 2)) for column in logs.T]
        signed = np.mean([acf(each, lags) for each in units], axis=0)
        sizes = np.mean([acf(abs(each), lags) for each in units], axis=0)
        left.semilogx(lags, signed, ".-", color=color, linewidth=0.8, markersize=4, label=label)
        middle.loglog(lags, sizes, ".-", color=color, linewidth=0.8, markersize=4, label=label)
    left.set(title="of returns", ylim=(-0.2, 0.4), xlabel="lag, 4 minutes each")
    guide = 0.42 * lags**-0.27
    middle.loglog(lags, guide, "--", color="#888", linewidth=1, label="power law, exponent 0.27")
    middle.set(title="of sizes of returns", xlabel="lag, 4 minutes each", ylim=(0.005, 1))
    left.legend(fontsize=8)
    middle.legend(fontsize=8)
    offsets = np.arange(-20, 21)
    right.bar(offsets, leverage(sample, offsets), color=INK)
    right.set(title="stocks: return now, squares k later", xlabel="k, 4 minutes each")
    save(figure, "memory")


def leverage(sample: Years, offsets: NDArray[np.int64]) -> F64:
    """Correlation of an equal index's returns with its squares (capped) so many steps of 256 s later."""
    index = np.diff(sample.stocks[::2].mean(axis=1))
    index = index[index != 0]
    returns = np.clip(index, -6 * index.std(), 6 * index.std())
    squares = returns**2
    found = [
        0.0
        if k == 0
        else np.corrcoef(returns[:-k], squares[k:])[0, 1]
        if k > 0
        else np.corrcoef(returns[-k:], squares[:k])[0, 1]
        for k in offsets.tolist()
    ]
    return np.array(found)


def shapes(sample: Years) -> None:
    """How much prices move over the day."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for column, name in ((0, "EUR/USD"), (1, "USD/JPY")):
        returns, seconds = open_returns(sample.times, sample.pairs[:, column], 2)
        slot = seconds // 1800
        sizes = np.bincount(slot, abs(returns)) / np.bincount(slot)
        left.step(np.arange(48) / 2, sizes * 1e4, where="post", label=name, color=(INK, RED)[column])
    left.set(
        title="Pairs: mean size of 4-minute returns",
        xlabel="hour, UTC",
        ylabel="basis points",
        ylim=(0, None),
    )
    left.legend(fontsize=8)
    left.set_xticks(range(0, 25, 4))
    _, sizes = session(sample)
    right.step(9.5 + np.arange(len(sizes)) / 4, sizes / sizes.min(), where="post", color=INK)
    right.set(
        title="Stocks, New York's session: size over the least", xlabel="hour, New York", ylim=(0.8, None)
    )
    save(figure, "day_shapes")


def session(sample: Years) -> tuple[int, F64]:
    """Mean size of the stocks' returns by quarter of an hour of the session, winter days only."""
    returns = abs(np.diff(sample.stocks[::2], axis=0)).mean(axis=1)
    begins = sample.times[::2][:-1]
    months = begins.astype("datetime64[s]").astype("datetime64[M]").astype(int) % 12
    minute = begins % 86_400 // 60 - (14 * 60 + 30)
    weekday = (begins // 86_400 + 4) % 7
    inside = (minute >= 0) & (minute < 390) & np.isin(months, [0, 1, 11]) & (weekday > 0) & (weekday < 6)
    slot = minute[inside] // 15
    return 26, np.bincount(slot, returns[inside]) / np.bincount(slot)


# The page.


def table(sample: Years) -> str:
    """Measured and published numbers, a row each."""
    units = [filtered(*open_returns(sample.times, column, 2)) for column in sample.pairs.T]
    euro = sample.pairs[:, 0]
    horizons = [horizon_returns(sample, "pairs", euro, steps) for steps in (2, 28, 112, STEPS_PER_DAY)]
    by_horizon = " / ".join(f"{kurtosis(each):.1f}" for each in horizons)
    of_stocks = " / ".join(
        f"{np.median([kurtosis(horizon_returns(sample, 'stocks', c, steps)) for c in sample.stocks.T]):.1f}"
        for steps in (2, 28, STEPS_PER_DAY)
    )
    lags = np.array([1, 10, 100, 1000, 3380])
    sizes = np.mean([acf(abs(each), lags) for each in units], axis=0)
    slope = np.polyfit(np.log(lags[1:]), np.log(np.maximum(sizes[1:], 1e-6)), 1)[0]
    signed = np.mean([acf(each, lags[:1]) for each in units])
    days = np.array([daily(column) for column in sample.stocks.T])
    correlation = np.corrcoef(days)
    eigenvalues = np.linalg.eigvalsh(correlation)[::-1]
    off = (correlation.sum() - len(days)) / len(days) / (len(days) - 1)
    ahead, behind = leverage(sample, np.array([1, 2, -1, -2])).reshape(2, 2).mean(axis=1)
    _, shape = session(sample)
    vols = np.array([daily(column).std() * 100 for column in sample.pairs.T])
    targets = UNIVERSE.annual_vols()[[UNIVERSE.instruments.index(pair) for pair in PAIRS]] / 252**0.5 * 100
    rows = [
        (
            "kurtosis of EUR/USD: 4 min / 1 h / 4 h / a day",
            by_horizon,
            "21.5 at 5 min, falling with the horizon (A&B)",
            "3.0",
        ),
        (
            "the same, 5 pairs, time of day filtered, 4 min",
            f"{np.median([kurtosis(each) for each in units]):.1f}",
            "15.8 (A&B)",
            "3.0",
        ),
        (
            "kurtosis of stocks: 4 min / 1 h in sessions / a day",
            of_stocks,
            "falling with the horizon (Cont)",
            "3.0",
        ),
        (
            "tail index of pairs, 4 min",
            f"{np.median([hill(each) for each in units]):.1f}",
            "2 to 5 (Cont)",
            "9",
        ),
        ("autocorrelation of returns, 4 min", f"{signed:.3f}", "about 0, slightly negative (A&B)", "0"),
        (
            "of sizes, lag 1 / 10 / 100 / 1000 / 3380",
            " / ".join(f"{x:.2f}" for x in sizes),
            "0.29 at lag 1 (A&B)",
            "0",
        ),
        ("exponent of its decay, lags 10 to 3380", f"{-slope:.2f}", "0.2 to 0.4 (Cont)", "-"),
        (
            "leverage, 4 and 8 minutes ahead / back",
            f"{ahead:.3f} / {behind:.3f}",
            "negative / 0 (Bouchaud et al.)",
            "0 / 0",
        ),
        (
            "U-shape: open and close over the least",
            f"{shape[0] / shape.min():.1f}, {shape[-1] / shape.min():.1f}",
            "U or J (A&B)",
            "1, 1",
        ),
        (
            "daily correlation of 20 stocks",
            f"{off:.2f}",
            "positive, one common mode (Plerou et al.)",
            "as set",
        ),
        (
            "first two eigenvalues, share of the trace",
            f"{eigenvalues[0] / len(days):.2f}, {eigenvalues[1] / len(days):.2f}",
            "one market mode (Laloux et al.)",
            "-",
        ),
        (
            "daily volatility, %: " + ", ".join(PAIRS),
            ", ".join(f"{x:.2f}" for x in vols),
            "universe: " + ", ".join(f"{x:.2f}" for x in targets),
            "as set",
        ),
    ]
    lines = ["| fact | here | published | Brownian |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


TEXT = """# Does it look like a market?

Drawn by `{command}` at commit {commit} from generated data alone: days from records as `tickerd
generate` prints them, years from mid prices every {step} seconds ({years} years, {pairs} pairs,
{stocks} stocks). Published values: Andersen and Bollerslev, J. Empirical Finance 4 (1997), 115-158
(A&B); Cont, Quantitative Finance 1 (2001), 223-236; Bouchaud, Matacz and Potters, PRL 87 (2001),
228701; Laloux et al. and Plerou et al., PRL 83 (1999). The last column is what geometric Brownian
motion gives, the usual way to make prices up.

{table}

Four years are one sample: daily figures have a standard error of some 0.03 (correlations) to 2
(kurtosis).

## A day of a pair
![EUR/USD over a day](market/forex_day.png)

Calm hours and bursts follow each other; the spread widens with movement and in the quiet hours before
Tokyo opens. Within seconds bid and ask move by single ticks and never cross.

## A day of a stock, with news
![a stock over a day](market/stock_day.png)

Stories that are not neutral, at the time they are first told; below, the price jumps with one and never
before. Trades are at bid or ask, in lots and odd lots. Outside the session, between the blue lines,
little moves (with `market.hours = "market"` nothing is emitted then).

## Calm and wild times
![prices and daily returns over four years](market/clustering.png)

## Distributions by horizon
![densities of returns](market/distributions.png)

Fat tails at minutes, less so at hours, still there at days.

## Memory
![autocorrelations](market/memory.png)

Returns remember nothing, their sizes remember for weeks; after a fall stocks move more, before it they
do not.

## Over the day
![activity over the day](market/day_shapes.png)
"""


def main() -> None:
    """Draw everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    mpl.use("Agg")
    plt.rcParams.update({"axes.grid": True, "grid.alpha": 0.25, "font.size": 9})
    PICTURES.mkdir(exist_ok=True)
    forex_day(seed)
    stock_day(seed)
    sample = years(seed)
    for draw in (clustering, distributions, memory, shapes):
        draw(sample)
    PAGE.write_text(
        TEXT.format(
            command=f"python bench/market_plots.py --seed {seed}",
            commit=commit(),
            step=STEP_S,
            years=YEARS,
            pairs=len(PAIRS),
            stocks=len(STOCKS),
            table=table(sample),
        )
    )


if __name__ == "__main__":
    main()
