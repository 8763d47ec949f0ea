"""Years of generated prices, and what is measured of them: kurtosis, memory, tails, leverage, shapes.

Returns are of log mid prices; f64 arrays throughout. The published values beside them are in market_page.py.
"""

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.market.prices import Prices
from tickerd.market.universe import Universe

F64 = NDArray[np.float64]

UNIVERSE = Universe.load()
FIRST_FRAME = round(datetime(2022, 11, 21, tzinfo=UTC).timestamp()) * 16
STEP_LEVEL, STEP_S = 11, 128  # of a history: 2**11 frames
STEPS_PER_DAY = 86_400 // STEP_S
YEARS = 4
PAIRS = ("EUR/USD", "USD/JPY", "GBP/USD", "EUR/GBP", "USD/MXN")
STOCKS = tuple(stock.symbol for stock in UNIVERSE.stocks[:120:6])


class Years(NamedTuple):
    """Log prices of some instruments every 128 seconds."""

    times: NDArray[np.int64]  # seconds since 1970
    pairs: F64  # [T, pairs]
    stocks: F64  # [T, stocks]


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


def horizon_returns(sample: Years, kind: str, logs: F64, steps: int) -> F64:
    """Returns of a pair in its week, of a stock in its sessions, or from day to day."""
    if steps == STEPS_PER_DAY:
        return daily(logs)
    if kind == "pairs":
        return open_returns(sample.times, logs, steps)[0]
    return session_returns(sample.times, logs, steps)


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
