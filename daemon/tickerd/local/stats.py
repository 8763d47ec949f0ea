"""What `GET /_local/stats` shows: how often each operation was called, and what became of entries.

Owns the counters of one process; they only grow.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Counters. `records` and `bytes` (data and keys) were acknowledged; `throttled`, `failed` not.

    operations: calls by operation; errors: refused calls by operation and code; cut: calls without an answer.
    """

    calls: int = 0
    entries: int = 0
    records: int = 0
    bytes: int = 0
    throttled: int = 0
    failed: int = 0
    cut: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    errors: dict[str, Counter[str]] = field(default_factory=dict)

    def refused(self, operation: str, code: str) -> None:
        """Count a call that was answered with an error."""
        self.errors.setdefault(operation, Counter())[code] += 1
