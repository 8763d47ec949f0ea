"""How fast a counter grows, over the last few seconds."""

import time
from collections import deque

WINDOW_S = 5.0


class Rate:
    """Fed with the counter's value a few times a second."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, value: float) -> None:
        """The counter's value now."""
        now_s = time.monotonic()
        self._samples.append((now_s, value))
        while now_s - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()

    def per_second(self) -> float:
        """Growth per second over the window, 0 before there is one."""
        if len(self._samples) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return round((last - first) / (last_s - first_s), 1)
