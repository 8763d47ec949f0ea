"""What `tickerd check --online` has to say, whatever it asked."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One line about one thing; `works` is False where the daemon would not work like that."""

    works: bool
    line: str


def works(line: str) -> Finding:
    """A thing that is as it should be, or at least no hindrance."""
    return Finding(True, line)


def fails(line: str) -> Finding:
    """A thing that has to be mended."""
    return Finding(False, line)
