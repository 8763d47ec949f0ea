"""Does it look like a market? Draws bench/market/*.png and writes bench/market.md from generated data alone.

`python bench/market_plots.py [--seed 1]` takes a minute or two and needs matplotlib (dependency group
`plots`). Days are made of records (market_days.py), years of mid prices (market_years.py).
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from market_days import INK, PICTURES, RED, forex_day, save, stock_day
from market_page import page
from market_years import (
    PAIRS,
    STEPS_PER_DAY,
    STOCKS,
    Years,
    acf,
    filtered,
    horizon_returns,
    leverage,
    open_returns,
    session,
    years,
)  # fmt: skip


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
        lower.vlines(days[1:][weekdays], 0, returns[weekdays], linewidth=0.7, color=INK)
        lower.set(ylabel="a day, %")
    rows[-1].set_xticks(range(2023, 2028))
    rows[0].set(title="Calm and wild times: prices and daily returns over four years")
    save(figure, "clustering")


def distributions(sample: Years) -> None:
    """Densities of returns by horizon beside the normal one."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    horizons = (("4 minutes", 2, 81), ("1 hour", 28, 61), ("a day", STEPS_PER_DAY, 41))
    for axis, logs, name in zip(axes, (sample.pairs, sample.stocks), ("pairs", "stocks"), strict=True):
        for n, (horizon, steps, count) in enumerate(horizons):
            edges = np.linspace(-10, 10, count)
            middles = (edges[1:] + edges[:-1]) / 2
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
        middles = np.linspace(-5.5, 5.5, 111)
        normal = np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)
        axis.plot(middles, normal, color="black", linewidth=1, linestyle="--", label="normal")
        axis.set(yscale="log", ylim=(1e-6, 3), title=f"Returns of {name}", xlabel="standard deviations")
    axes[0].set(ylabel="density")
    axes[0].legend(fontsize=8)
    save(figure, "distributions")


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
    Path(__file__).with_name("market.md").write_text(page(sample, seed))


if __name__ == "__main__":
    main()
