"""UTC as a daemon needs it: even-paced between the steps that others make to the system's clock."""

import time

STEP_S = 0.25  # a smaller difference is left to the slewing of both clocks
BACKWARD_WAITED_S = 10.0
READ_NS_MAX = 10_000_000  # two readings further apart do not belong together


class ClockSteppedBackError(Exception):
    """The system's clock went back by more than can be waited out: a new run has to begin."""


class Clock:
    """Reads a monotonic clock anchored to UTC, and follows the system's clock only when that was stepped."""

    def __init__(self) -> None:
        self._offset_ns = _offset_ns()

    def now_ns(self) -> int:
        """UTC in nanoseconds since 1970; ClockSteppedBackError after a large step backwards."""
        offset_ns = _offset_ns()
        step_s = (offset_ns - self._offset_ns) / 1e9
        if abs(step_s) > STEP_S:
            if step_s < -BACKWARD_WAITED_S:
                raise ClockSteppedBackError(f"the clock was set back by {-step_s:.1f} s")
            self._offset_ns = offset_ns
        return time.monotonic_ns() + self._offset_ns


def _offset_ns() -> int:
    """UTC less the monotonic clock. A process held up between its readings would take that for a step."""
    while True:
        before_ns = time.monotonic_ns()
        utc_ns = time.time_ns()
        if time.monotonic_ns() - before_ns < READ_NS_MAX:
            return utc_ns - before_ns
