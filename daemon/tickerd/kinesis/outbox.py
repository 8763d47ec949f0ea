"""What delivery needs of whatever holds the records that wait to be sent, plain or aggregated.

Whatever was put stays until an answer has acknowledged it, or is handed over to another outbox.
"""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tickerd.kinesis.route import Route
from tickerd.kinesis.rows import Rows
from tickerd.kinesis.settle import Outcome

RETRY_FIRST_S, RETRY_MAX_S = 0.05, 2.0  # full jitter below this, doubled with every try
NEVER_S = float("inf")


def retry_pause_s(tries: int) -> float:
    """How long to wait before a try that follows so many failed ones (exponential back-off, full jitter)."""
    return random.uniform(0, min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(tries - 1, 16)))


def tell_pacer(
    route: Route, keys: NDArray[np.int64], sizes: NDArray[np.int64], outcome: Outcome, now_s: float
) -> None:
    """Let the route's pacer learn from the answer to a call. [entries] their keys, and bytes with keys."""
    if route.pacer is None or outcome.unacknowledged is None:
        return
    shards, many = route.key_shards[keys], len(route.shard_map)
    throttled = np.array(outcome.throttled, np.intp)
    route.pacer.answered(
        np.bincount(shards, minlength=many),
        np.bincount(shards[throttled], minlength=many),
        np.bincount(shards[throttled], sizes[throttled], many).astype(np.int64),
        now_s,
    )


class Settled(NamedTuple):
    """What has arrived of an answered call."""

    arrived: Rows | None  # their data may be missing
    entries: Sequence[int] | None  # how many records each entry of theirs held; None: one each


class Outbox(Protocol):
    """Holds records, and says which may go now."""

    route: Route
    waiting_bytes: int  # of the records that are held and not on their way

    def put(self, rows: Rows, now_s: float) -> None:
        """Take records addressed by the current route, in the order of their seq; at least one."""

    def take(self, now_s: float) -> Any | None:
        """The next call (`calls.Call`) that may go now; None when there is none."""

    def due_s(self, now_s: float) -> float | None:
        """When `take` may have a call though nothing else happens; None: never."""

    @property
    def ready(self) -> bool:
        """Whether a whole call waits for nothing but its turn."""

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""

    def flush(self) -> None:
        """From now on nothing waits for company."""

    def reroute(self, route: Route) -> None:
        """From now on use another route, for what waits as well."""

    def settle(self, call: Any, outcome: Outcome, misplaced: set[int], now_s: float) -> Settled:
        """Take the answer to a call of this outbox into account, and keep what has not arrived.

        `misplaced` are entries that were acknowledged where a consumer will not take them.
        """

    def leave(self) -> list[Rows]:
        """Hand over all that waits, in order. There must be nothing on its way."""
