"""How fast a counter grows, over the last few seconds; how busy the busiest worker is."""

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


class BusyShare:
    """The busiest worker's CPU seconds per second between two looks, taken no more often than each second."""

    def __init__(self) -> None:
        self._looked_s = time.monotonic()
        self._cpu_s: list[float] = []
        self._share = 0.0

    def of(self, cpu_s: list[float]) -> float:
        """The share, from the CPU seconds of each worker up to now."""
        elapsed_s = time.monotonic() - self._looked_s
        if elapsed_s >= 1 or not self._cpu_s:
            last = self._cpu_s or [0.0] * len(cpu_s)  # the first look is back to the beginning
            spent = [now - before for now, before in zip(cpu_s, last, strict=False)]
            self._share = min(1.0, max(spent, default=0.0) / max(elapsed_s, 1.0))
            self._looked_s, self._cpu_s = time.monotonic(), cpu_s
        return self._share
