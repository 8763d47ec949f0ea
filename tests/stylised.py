"""Stylised facts of prices, and which of them a sample of prices does not show.

Published values: Andersen and Bollerslev, J. Empirical Finance 4 (1997); Cont, Quantitative Finance 1 (2001).
The bounds are those of 300 seeds, widened to one false alarm in 10,000; they tell markets from noise.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.market.prices import Prices
from tickerd.market.universe import Universe

F64 = NDArray[np.float64]

LEVEL = 12  # nodes of 2**12 frames: 256 s
STEPS = 1 << 17  # 1.06 years of them
LONG_LEVEL, LONG_STEPS = 18, 1 << 14  # 8.5 years of 4.6 hours
PAIRS = ["EUR/USD", "USD/JPY", "GBP/USD", "AUD/USD", "EUR/GBP"]
STOCKS = 26
STEPS_PER_DAY, STEPS_PER_HOUR = 337, 14
SECONDS_PER_YEAR = 31_557_600


class Sample(NamedTuple):
    """Log prices f64[T, pairs] and f64[T, stocks] at times in seconds; `long`: of stocks over 8.5 years."""

    forex_times: NDArray[np.int64]
    forex: F64
    stock_times: NDArray[np.int64]
    stocks: F64
    long: F64
    annual_vols: F64  # that the long ones should have
    long_forex: F64
    forex_vols: F64


def model(seed: int, universe: Universe, first: int) -> Sample:
    """The market of a seed from a frame on."""
    pair_rows = [universe.instruments.index(pair) for pair in PAIRS]
    pairs = Prices(seed, universe, pair_rows)
    rows = [len(universe.pairs) + i * len(universe.stocks) // STOCKS for i in range(STOCKS)]
    stocks = Prices(seed, universe, rows)
    forex_frames, forex = pairs.history(LEVEL, first, STEPS)
    stock_frames, of_stocks = stocks.history(LEVEL, first, STEPS)
    _, long = stocks.history(LONG_LEVEL, first, LONG_STEPS)
    _, long_forex = pairs.history(LONG_LEVEL, first, LONG_STEPS)
    vols = universe.annual_vols()
    return Sample(
        forex_frames // 16,
        np.log(forex),
        stock_frames // 16,
        np.log(of_stocks),
        np.log(long),
        vols[rows],
        np.log(long_forex),
        vols[pair_rows],
    )


def measured(sample: Sample) -> dict[str, float]:
    """The facts of a sample, a number each."""
    forex = _weekdays(sample.forex_times, sample.forex)
    stocks = np.diff(sample.stocks, axis=0)
    daily = np.diff(sample.stocks[::STEPS_PER_DAY], axis=0)
    index = np.diff(sample.stocks.mean(axis=1))
    years = np.diff(sample.long[::5], axis=0)  # 23 hours apart
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(years.T))[::-1] / STOCKS
    sizes = abs(forex)
    return {
        "kurtosis of forex, 256 s": _median(_kurtosis, forex),
        "kurtosis of stocks, 256 s": _median(_kurtosis, stocks),
        "kurtosis of stocks, a day": _median(_kurtosis, daily),
        "kurtosis of 256 s over that of a day": _median(_kurtosis, stocks) / _median(_kurtosis, daily),
        "autocorrelation of returns": _median(lambda r: _autocorrelation(r, 1), forex),
        "autocorrelation of sizes, 256 s apart": _median(lambda r: _autocorrelation(r, 1), sizes),
        "autocorrelation of sizes, an hour apart": _median(lambda r: _autocorrelation(r, 14), sizes),
        "autocorrelation of sizes, ten hours apart": _median(lambda r: _autocorrelation(r, 140), sizes),
        "tail index of stocks": _median(_hill, stocks),
        "leverage": _leverage(index),
        "leverage backwards": _leverage(index[::-1]),
        "opening over noon": _opening(sample.stock_times, stocks),
        "correlation of stocks": float((np.corrcoef(years.T).sum() - STOCKS) / STOCKS / (STOCKS - 1)),
        "first eigenvalue": float(eigenvalues[0]),
        "second over first eigenvalue": float(eigenvalues[1] / eigenvalues[0]),
        "volatility over the universe's": _volatility(sample.long, sample.annual_vols),
        "volatility of forex over the universe's": _volatility(sample.long_forex, sample.forex_vols),
    }


BOUNDS = {
    "kurtosis of forex, 256 s": (4.5, 60.0),
    "kurtosis of stocks, 256 s": (10.0, 400.0),
    "kurtosis of stocks, a day": (3.8, 25.0),
    "kurtosis of 256 s over that of a day": (2.0, 50.0),
    "autocorrelation of returns": (-0.03, 0.03),
    "autocorrelation of sizes, 256 s apart": (0.15, 0.5),
    "autocorrelation of sizes, an hour apart": (0.08, 0.4),
    "autocorrelation of sizes, ten hours apart": (0.02, 0.35),
    "tail index of stocks": (2.2, 4.0),
    "leverage": (-0.12, -0.006),
    "leverage backwards": (-0.03, 0.03),
    "opening over noon": (1.05, 2.2),
    "correlation of stocks": (0.12, 0.35),
    "first eigenvalue": (0.15, 0.4),
    "second over first eigenvalue": (0.0, 0.5),
    "volatility over the universe's": (0.85, 1.15),
    "volatility of forex over the universe's": (0.85, 1.15),
}


def not_shown(sample: Sample) -> dict[str, float]:
    """The facts that are out of bounds."""
    return {
        name: value
        for name, value in measured(sample).items()
        if not BOUNDS[name][0] <= value <= BOUNDS[name][1]
    }


def _weekdays(times: NDArray[np.int64], logs: F64) -> F64:
    """Returns from Monday to Friday, in units of the usual size for their half hour of the day."""
    returns = np.diff(logs, axis=0)
    weekday = (times[:-1] // 86_400 + 4) % 7
    inside = (weekday > 0) & (weekday < 6) & ((weekday < 5) | (times[:-1] % 86_400 < 20 * 3600))
    half_hour = (times[:-1] % 86_400 // 1800)[inside]
    returns = returns[inside]
    counts = np.bincount(half_hour)
    usual = np.stack([np.bincount(half_hour, abs(of_pair)) / counts for of_pair in returns.T], axis=1)
    filtered: F64 = returns / usual[half_hour]
    return filtered


def _median(measure: Callable[[F64], float], columns: F64) -> float:
    return float(np.median([measure(column) for column in columns.T]))


def _volatility(logs: F64, annual_vols: F64) -> float:
    """The median instrument's volatility beside the one that it should have."""
    years = LONG_STEPS * (1 << LONG_LEVEL) / 16 / SECONDS_PER_YEAR
    realised = np.sqrt((np.diff(logs, axis=0) ** 2).sum(axis=0) / years)
    return float(np.median(realised / annual_vols))


def _kurtosis(returns: F64) -> float:
    centred = returns - returns.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def _autocorrelation(series: F64, lag: int) -> float:
    centred = series - series.mean()
    return float((centred[:-lag] * centred[lag:]).mean() / (centred**2).mean())


def _hill(returns: F64) -> float:
    """Hill's estimate of the tail index from the largest percent."""
    largest = np.sort(abs(returns))[::-1][: len(returns) // 100 + 1]
    return float(1 / np.log(largest[:-1] / largest[-1]).mean())


def _leverage(index: F64) -> float:
    """Correlation of returns with the squares (capped) of the two after them."""
    capped = np.minimum(abs(index), 6 * index.std()) ** 2
    returns = np.clip(index, -6 * index.std(), 6 * index.std())
    return float(np.mean([np.corrcoef(returns[:-lag], capped[lag:])[0, 1] for lag in (1, 2)]))


def _opening(times: NDArray[np.int64], returns: F64) -> float:
    """Size of returns in New York's first half hour over those at noon, in winter."""
    second = times[:-1] % 86_400
    weekday = (times[:-1] // 86_400 + 4) % 7
    winter = ((times[:-1] // 86_400) % 365.2425 < 60) & (weekday > 0) & (weekday < 6)
    opening = winter & (second >= 14.5 * 3600) & (second < 15 * 3600)
    noon = winter & (second >= 16.5 * 3600) & (second < 18.5 * 3600)
    return float(abs(returns[opening]).mean() / abs(returns[noon]).mean())
