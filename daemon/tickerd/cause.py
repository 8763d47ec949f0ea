"""Why a destination does not take records: one line that names the remedy, and what to expect of it."""

from typing import NamedTuple

MESSAGE_CHARACTERS_MAX = 1000  # of what others say; it is shown on one line


class Cause(NamedTuple):
    """An error code, a line for people, and whether it stands.

    A permanent cause stands until somebody mends it; any other may pass by itself. `probe_s`: how often to
    look whether it stands still, where that costs nobody anything.
    """

    code: str
    message: str
    permanent: bool
    probe_s: float | None = None


def one_line(text: str) -> str:
    """What others wrote, without its line ends and what cannot be seen, and not all of it."""
    seen = "".join(each if each.isprintable() else " " for each in text[: 2 * MESSAGE_CHARACTERS_MAX])
    return " ".join(seen.split())[:MESSAGE_CHARACTERS_MAX]
