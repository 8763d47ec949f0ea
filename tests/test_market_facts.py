"""The market behaves like published ones, on seeds that nobody has seen; noise does not pass for one."""

import random
import sys

import numpy as np
import pytest

from stylised import BOUNDS, F64, LONG_LEVEL, Sample, measured, model, not_shown
from tickerd.market.universe import Universe

UNIVERSE = Universe.load()
NOW = 28_728_345_600  # 2026-11-24T12:00:00Z in frames


@pytest.mark.parametrize("run", range(3))
def test_the_market_shows_the_stylised_facts_on_any_seed(run: int) -> None:
    seed, first = random.getrandbits(62), NOW + random.randint(-(10**10), 10**10)
    shown = [f"run {run}: seed {seed}, first frame {first}"]
    sample = model(seed, UNIVERSE, first)
    for name, value in measured(sample).items():
        shown.append(f"{name}: {value:.4f}, expected {BOUNDS[name]}")
    sys.stdout.write("\n".join(shown) + "\n")
    assert not_shown(sample) == {}, (seed, first)


@pytest.fixture(scope="module")
def market() -> Sample:
    return model(1, UNIVERSE, NOW)


def like(market: Sample, forex: F64, stocks: F64, long: F64) -> Sample:
    return market._replace(forex=forex, stocks=stocks, long=long)


def walks(steps: F64) -> F64:
    return np.concatenate([steps[:1] * 0, np.cumsum(steps, axis=0)])


def test_geometric_brownian_motion_fails(market: Sample) -> None:
    # With the right volatilities and correlations: it differs in nothing but what makes a market.
    noise = np.random.default_rng(1)

    def brownian(logs: F64, vols: F64) -> F64:
        common, own = noise.standard_normal((2, len(logs) - 1, logs.shape[1]))
        return walks((0.45 * common[:, :1] + 0.89 * own) * vols)

    forex = brownian(market.forex, np.full(market.forex.shape[1], 0.08 / 351))
    stocks = brownian(market.stocks, market.annual_vols / 351)
    long = brownian(market.long, market.annual_vols * ((1 << LONG_LEVEL) / 16 / 31_557_600) ** 0.5)
    missing = not_shown(like(market, forex, stocks, long))
    assert len(missing) >= 8
    assert {
        "kurtosis of forex, 256 s",
        "autocorrelation of sizes, an hour apart",
        "leverage",
    } <= missing.keys()
    assert "volatility over the universe's" not in missing


def test_a_uniform_random_walk_fails(market: Sample) -> None:
    noise = np.random.default_rng(2)
    forex, stocks, long = (
        walks(noise.uniform(-0.001, 0.001, (len(logs) - 1, logs.shape[1])))
        for logs in (market.forex, market.stocks, market.long)
    )
    assert len(not_shown(like(market, forex, stocks, long))) >= 10


def test_independent_prices_fail(market: Sample) -> None:
    # What generators of samples do: random() * 100 at every tick.
    noise = np.random.default_rng(3)
    forex, stocks, long = (
        np.log(noise.uniform(0.0, 100.0, logs.shape)) for logs in (market.forex, market.stocks, market.long)
    )
    missing = not_shown(like(market, forex, stocks, long))
    assert len(missing) >= 8
    assert {"autocorrelation of returns", "volatility over the universe's"} <= missing.keys()
