"""Values of currencies and the rates of pairs: each rate is the quotient of two values.

So all crosses agree at any time and there is nothing to gain by going around a triangle. A pegged currency
keeps to its anchor, within its band where it has one.
"""

from collections.abc import Sequence

import numpy as np

from tickerd.market.activity import I64, Activity, profile
from tickerd.market.bridge import FRAMES_PER_BLOCK, FRAMES_PER_YEAR, Bridge, Group
from tickerd.market.exactmath import F64, exp, keys
from tickerd.market.stories import CURRENCY_SHARE, JUMP_UNIT
from tickerd.market.universe import FACTOR_VOL, Currency, Pair

FACTORS = {"europe": "europe", "commodity": "asia", "asia": "asia"}  # and whose day each one keeps
LOG_MAX = 8.0
"""No logarithm of a price is ever farther from its reference: an end to what cannot be excluded."""


class Forex:
    """The rates of `pairs`; `currencies` are all that the pairs and their pegs need."""

    def __init__(
        self, seed: int, activity: Activity, currencies: Sequence[Currency], pairs: Sequence[Pair]
    ) -> None:
        codes = [currency.code for currency in currencies]
        names = [f"currency {code}" for code in codes] + [f"factor {name}" for name in FACTORS]
        self.annual_vol = np.array([currency.annual_vol for currency in currencies])
        self.profiles = np.array([profile(currency.session) for currency in currencies])
        # Stories bring their share of the variance, to those whose prices they move.
        free = np.array([0.0 if currency.peg else CURRENCY_SHARE for currency in currencies])
        vols = np.concatenate([self.annual_vol * np.sqrt(1.0 - free), np.full(len(FACTORS), FACTOR_VOL)])
        profiles = np.concatenate([self.profiles, [profile(day) for day in FACTORS.values()]])
        walks = keys(names, "walk", seed)
        self.bridge = Bridge(Group.of(seed, "forex"), activity, walks, vols, profiles, np.zeros(len(names)))
        self._loadings = [np.array([getattr(each, name) for each in currencies]) for name in FACTORS]
        self._anchor = np.array([codes.index(each.peg) if each.peg else -1 for each in currencies])
        self._band = np.array([each.peg_band for each in currencies])
        self._banded = np.flatnonzero(self._band > 0)
        self._pegged = np.flatnonzero(self._anchor >= 0)
        self._usd_value = np.array([each.usd_value for each in currencies])
        self._base = np.array([codes.index(pair.base) for pair in pairs], dtype=np.int64)
        self._quote = np.array([codes.index(pair.quote) for pair in pairs], dtype=np.int64)

    def mids(self, walks: F64, moves: I64) -> F64:
        """Rates f64[T, pairs] of walks f64[T, currencies + factors] and stories' moves i64[T, currencies]."""
        own = walks[:, : len(self._anchor)] + moves * JUMP_UNIT
        if len(self._banded):
            band, free = self._band[self._banded], own[:, self._banded]
            own[:, self._banded] = free * band / np.sqrt(free * free + band * band)
        for loading, factor in zip(self._loadings, walks.T[len(self._anchor) :], strict=True):
            own += factor[:, None] * loading
        if len(self._pegged):
            own[:, self._pegged] += own[:, self._anchor[self._pegged]]
        values = exp(np.minimum(np.maximum(own, -LOG_MAX), LOG_MAX)) * self._usd_value
        rates: F64 = values.take(self._base, axis=1) / values.take(self._quote, axis=1)
        return rates

    def variances(self, of_block: F64) -> F64:
        """Of each pair's own parts in a block, beside a year's mean: f64[..., pairs] from f64[..., N]."""
        usual = self.annual_vol * self.annual_vol * (FRAMES_PER_BLOCK / FRAMES_PER_YEAR) + 1e-30
        now = of_block[..., : len(usual)]
        result: F64 = (now.take(self._base, axis=-1) + now.take(self._quote, axis=-1)) / (
            usual[self._base] + usual[self._quote]
        )
        return result

    def busy(self, relative: F64) -> F64:
        """The activity of each pair, beside its mean: f64[..., pairs] from f64[..., profiles]."""
        of_currency = relative.take(self.profiles, axis=-1)
        both: F64 = of_currency.take(self._base, axis=-1) + of_currency.take(self._quote, axis=-1)
        return both * 0.5
