"""What the rows of a feed are about: tables of 65,536 slots, as many for each instrument as its weight."""

import numpy as np
from numpy.typing import NDArray

from tickerd.market.exactmath import F64
from tickerd.market.universe import CHOICES

HOTTEST_MAX = 1.5
"""No instrument has more of its feed in any block than this times the hottest one's average share."""

TURNOVER_MIN, TURNOVER_MAX = 0.1, 3.0  # beside an instrument's average


def turnover(variances: F64, busy: F64) -> F64:
    """How much is traded beside the average: as busy as the hour is, and more where prices are wild.

    `variances` of the block beside a year's mean, `busy` the hour's activity beside its mean.
    """
    result: F64 = np.minimum(
        np.maximum(np.sqrt(np.sqrt(variances / busy)) * busy, TURNOVER_MIN), TURNOVER_MAX
    )
    return result


def choices(weights: F64, share_max: float) -> NDArray[np.int32]:
    """i32[CHOICES] rows of `weights` (not all 0), each as often as its weight but for `share_max` at most."""
    total = float(np.cumsum(weights)[-1])
    capped = np.minimum(weights, share_max * total)
    edges = np.cumsum(capped)
    slots = np.rint(edges * (CHOICES / edges[-1])).astype(np.int64)
    counts = np.diff(slots, prepend=0)
    return np.repeat(np.arange(len(weights), dtype=np.int32), counts)
