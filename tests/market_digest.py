"""Prints a digest of the market at many times: `python market_digest.py [warm]`, in any environment."""

import hashlib
import sys

import numpy as np

from tickerd.market.market import Market
from tickerd.market.universe import Universe

NOW = 28_728_345_600  # 2026-11-24T12:00:00Z in frames
DAY = 1_382_400
TIMES = [-913 * DAY, -DAY // 2 - 1, -DAY // 2, 0, 1, 63, 64, 5 * DAY, 30 * DAY, 3650 * DAY]
ROWS = 2000


def digest(warm: bool) -> str:
    """All columns of all feeds for two sources, whole blocks, single prices, histories: 16 hex digits."""
    universe = Universe.load()
    market = Market(7, universe)
    hashed = hashlib.sha256()
    for time in TIMES:
        if not warm:
            market = Market(7, universe)
        frame = NOW + time
        for source in ("i-0abc-0-k7m2qx4d", "i-0def-1-zzzzzzzz"):
            for feed in market.feeds:
                columns = feed.columns(source, frame, 0, ROWS, ROWS)
                hashed.update(columns.instruments.tobytes() + columns.milliseconds.tobytes())
                has_text = any(values.dtype == object for values in columns.values)
                for values in columns.values:
                    hashed.update(repr(values.tolist()).encode() if has_text else values.tobytes())
        block = market.block(frame // 64)
        for array in (block.mids, block.halves, block.series, block.variances, block.bursts):
            hashed.update(array.tobytes())
        hashed.update(repr(market.at("EUR/USD", frame * 125 // 2)).encode())
        for column in market.quotes(frame * 125 // 2):
            hashed.update(column.tobytes())
    frames, mids = market.prices.__class__(7, universe, [0, 1, 2]).history(14, NOW, 2000)
    hashed.update(frames.tobytes() + mids.tobytes())
    return hashed.hexdigest()[:16]


if __name__ == "__main__":
    sys.stdout.write(f"{np.__version__} {digest('warm' in sys.argv)}\n")
