"""Open while the destination takes records. While it is closed, one call at a time goes through: a probe.

A permanent cause (a missing stream, a denied permission, a full disk) is probed every 10 s by one worker of a
host; an endpoint that does not answer more often. The cause stands in the report; the supervisor logs it.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from tickerd.cause import Cause
from tickerd.observe.counters import Problem, Report

PROBE_PERMANENT_S = 10.0
PROBE_UNREACHABLE_FIRST_S, PROBE_UNREACHABLE_MAX_S = 0.25, 5.0
POLL_S = 0.5
MESSAGE_CHARACTERS_MAX = 1000  # of a cause in the report, whose room is bounded

log = logging.getLogger(__name__)


class Gate:
    """One for a worker. `may_probe` says whether it is this worker's turn to probe for its host."""

    def __init__(self, report: Report, may_probe: Callable[[], bool]) -> None:
        self.cause: Cause | None = None
        self.refusals = 0  # how often `close` was called
        self._report = report
        self._may_probe = may_probe
        self._opened = asyncio.Event()
        self._probing = False
        self._probes = 0  # since this cause began
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """The end is near: make the next probe at once, without waiting for a turn."""
        self._hurry.set()

    async def passage(self) -> bool:
        """Return at once while open. While closed return True to one caller when a probe is due.

        That caller must say what came of it by `open`, `close` or `give_up`; the others wait for that.
        """
        while self.cause is not None:
            if self._probing:
                await self._opened.wait()
            else:
                self._probing = True
                try:
                    if await self._until_probe(self.cause):
                        return True
                except asyncio.CancelledError:
                    self.give_up()
                    raise
        return False

    def close(self, cause: Cause, *, probed: bool) -> None:
        """The destination takes no records, and this is why; `probed` when a probe has found that out."""
        self.refusals += 1
        if self.cause is None or self.cause.code != cause.code:
            log.debug("the gate is closed: %s", cause.message, extra={"error_code": cause.code})
            self._report.problems = [
                Problem(cause.code[:100], cause.message[:MESSAGE_CHARACTERS_MAX], time.time(), 0)
            ]
            self._probes = 0
        self.cause = cause
        self._report.problems[0].count += 1
        if probed:
            self._probing = False
            self._wake()  # one of those who wait becomes the next probe

    def open(self) -> None:
        """The destination has taken records."""
        self._probing = False
        if self.cause is not None:
            since = self._report.problems[0].since
            log.debug("the gate is open again", extra={"after_s": round(time.time() - since, 1)})
            self.cause = None
            self._report.problems = []
            self._wake()

    def give_up(self) -> None:
        """Whoever was to be the probe has gone away: somebody else is."""
        self._probing = False
        self._wake()

    def _wake(self) -> None:
        self._opened.set()
        self._opened = asyncio.Event()

    async def _until_probe(self, cause: Cause) -> bool:
        """Wait until a probe is due; False when a call that was still on its way has opened the gate."""
        pause_s = cause.probe_s or PROBE_PERMANENT_S
        if not cause.permanent:
            pause_s = min(PROBE_UNREACHABLE_FIRST_S * 2**self._probes, PROBE_UNREACHABLE_MAX_S)
        self._probes += 1
        due = time.monotonic() + pause_s
        while (left := due - time.monotonic()) > 0 or not self._may_probe():
            try:
                async with asyncio.timeout(min(left, POLL_S) if left > 0 else POLL_S):
                    await self._hurry.wait()
            except TimeoutError:
                if self.cause is None:
                    return False
                continue
            self._hurry.clear()
            break
        return True
