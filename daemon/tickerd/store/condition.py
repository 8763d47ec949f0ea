"""How the database is, told once for each change: "off", "waiting", "up", "down" or "unusable"."""

import logging
import time
from collections import Counter

from tickerd.store.faults import Fault

log = logging.getLogger(__name__)


class Condition:
    """`state`, why, and since when (UTC, seconds since 1970); `errors` counts all faults by code.

    "waiting": for the workers. "unusable": as the settings stand, or by a bug; it stays so.
    """

    def __init__(self, state: str) -> None:
        self.state, self.message, self.since_s = state, "", time.time()
        self.errors: Counter[str] = Counter()

    def up(self) -> None:
        """It answers."""
        if self.state == "down":
            log.info("the database is there again", extra={"away_s": round(time.time() - self.since_s, 1)})
        self._set("up", "")

    def down(self, fault: Fault) -> None:
        """It does not, and why: told once for each cause, the attempts that follow are only counted."""
        self.errors[fault.code] += 1
        if (self.state, self.message) != ("down", fault.message):
            log.error("%s; streaming goes on without it", fault.message)
        self._set("down", fault.message)

    def unusable(self, message: str) -> None:
        """It will not be tried again; whoever says so has logged why."""
        self._set("unusable", message)

    def _set(self, state: str, message: str) -> None:
        if state != self.state:
            self.since_s = time.time()
        self.state, self.message = state, message
