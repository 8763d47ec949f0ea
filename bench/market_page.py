"""The page bench/market.md: numbers measured over years beside published ones, and what the pictures show."""

import numpy as np

from market_years import (
    PAIRS,
    STEP_S,
    STEPS_PER_DAY,
    STOCKS,
    UNIVERSE,
    YEARS,
    Years,
    acf,
    daily,
    filtered,
    hill,
    horizon_returns,
    kurtosis,
    leverage,
    open_returns,
    session,
)  # fmt: skip
from recorded import commit


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

Drawn by `{command}` at commit {commit}
from generated data alone: days from records as `tickerd generate` prints them, years from mid prices every
{step} seconds ({years} years, {pairs} pairs, {stocks} stocks). Published values: Andersen and
Bollerslev, J. Empirical Finance 4 (1997), 115-158 (A&B); Cont, Quantitative Finance 1 (2001), 223-236;
Bouchaud, Matacz and Potters, PRL 87 (2001), 228701; Laloux et al. and Plerou et al., PRL 83 (1999). The
last column is what geometric Brownian motion gives, the usual way to make prices up.

{table}

Four years are one sample: daily figures have a standard error of some 0.03 (correlations) to 2
(kurtosis).

## A day of a pair
![EUR/USD over a day](market/forex_day.png)

Calm hours and bursts follow each other; the spread widens with movement and in the quiet hours before
Tokyo opens. Within seconds bid and ask move by single ticks and never cross.

## A day of a stock, with news
![a stock over a day](market/stock_day.png)

Stories that are not neutral, at the time they are first told; the middle shows how much of all trading is
in this stock, which rises with its news and falls back over hours; below, the price jumps with the story
and never before. Trades are at bid or ask, in lots and odd lots. Outside the session,
which is between the blue lines, little moves (with `market.hours = "market"` nothing is emitted then).

## Calm and wild times
![prices and daily returns over four years](market/clustering.png)

## Distributions by horizon
![densities of returns](market/distributions.png)

Fat tails at minutes, less so at hours, still there at days.

## Memory
![autocorrelations](market/memory.png)

Returns remember nothing, their sizes remember for weeks; after a fall stocks move more, before it they
do not. The small bars above zero some steps later are the model's: time is a tree of halves, and leverage
works along it.

## Over the day
![activity over the day](market/day_shapes.png)
"""


def page(sample: Years, seed: int) -> str:
    """The page's text."""
    return TEXT.format(
        command=f"python bench/market_plots.py --seed {seed}",
        commit=commit(),
        step=STEP_S,
        years=YEARS,
        pairs=len(PAIRS),
        stocks=len(STOCKS),
        table=table(sample),
    )
