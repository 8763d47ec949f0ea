"""What `GET /logs` is asked for: its parameters, each checked; the first that is wrong is told.

How it is told is the same for other requests with parameters (chart.py).
"""

import base64
import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

from multidict import MultiMapping

from tickerd.history import Cursor, FeedName
from tickerd.market.universe import Universe
from tickerd.records import FEEDS
from tickerd.web.problem import ProblemError

PARAMETERS = ("feed", "instrument", "at", "from", "to", "limit", "cursor")
LIMIT_DEFAULT, LIMIT_MAX = 1000, 10_000  # rows of a page of history
SPAN_DAYS_MAX = 366
TO_TOLERANCE_MS = 10_000  # by which the clock of whoever asks may be ahead
SHOWN_MAX = 60  # characters of a wrong value that its problem repeats

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_RIGHT_TIME = "a time such as 2026-11-24T16:00:00Z (RFC 3339)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(\d{1,15})\.([012])\.([^\x00-\x1f]{1,300})", re.ASCII)


class Instruments(NamedTuple):
    """The names of a universe by feed; news by its subjects."""

    by_feed: Mapping[str, frozenset[str]]
    names: Sequence[str]  # all of them

    @classmethod
    def of(cls, universe: Universe) -> "Instruments":
        """Those of a universe."""
        pairs = frozenset(pair.pair for pair in universe.pairs)
        stocks = frozenset(stock.symbol for stock in universe.stocks)
        currencies = frozenset(currency.code for currency in universe.currencies)
        by_feed = dict(zip(FEEDS, (pairs, stocks, stocks | currencies), strict=True))
        return cls(by_feed, universe.instruments)


class Asked(NamedTuple):
    """A request that can be answered: a moment (`at_ms` None: now), or from `from_ms` on a stretch."""

    feed: FeedName | None
    instrument: str | None
    at_ms: int | None
    from_ms: int | None
    to_ms: int
    limit: int | None
    after: Cursor | None


LATEST = Asked(None, None, None, None, 0, None, None)
"""No parameter at all."""


def asked(query: MultiMapping[str], instruments: Instruments, now_ms: int) -> Asked:
    """The request that the parameters make; ProblemError when they make none."""
    check_names(query, PARAMETERS)
    feed, instrument = _subject(query, instruments)
    at_ms, from_ms, to_ms = _times(query, now_ms)
    limit = _limit(query)
    after = None
    if "cursor" in query:
        if from_ms is None:
            raise wrong("cursor: it belongs to a stretch of time; give the from and to that it came with")
        after = cursor_of(query["cursor"])
    if from_ms is None:  # the same request is equal to itself a moment later
        return Asked(feed, instrument, at_ms, None, 0, limit, None)
    return Asked(feed, instrument, at_ms, from_ms, to_ms, limit or LIMIT_DEFAULT, after)


def check_names(query: MultiMapping[str], parameters: Sequence[str], several: str = "") -> None:
    """ProblemError for a parameter that there is not, or that is given twice and is not `several`."""
    for name in query:
        if name not in parameters:
            raise wrong(f"{shown(name)}: no such parameter; {nearest(name, parameters)}")
        if name != several and len(query.getall(name)) > 1:
            raise wrong(f"{name}: given {len(query.getall(name))} times; give it once")


def cursor_text(cursor: Cursor) -> str:
    """A cursor as it goes over the wire: nothing to rely on but that it comes back."""
    text = f"{cursor.ms}.{cursor.feed}.{cursor.name}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def cursor_of(text: str) -> Cursor:
    """The cursor of such a text; ProblemError for any other."""
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        plain = ""
    match = _CURSOR.fullmatch(plain)
    if match is None or (match[2] == "2" and not re.fullmatch(r".* \d{16}", match[3], re.ASCII)):
        raise wrong(f"cursor: {shown(text)} is none; give the value of next in the answer before")
    return Cursor(int(match[1]), int(match[2]), match[3])


def _subject(query: MultiMapping[str], instruments: Instruments) -> tuple[FeedName | None, str | None]:
    feed, name = query.get("feed"), query.get("instrument")
    if feed is not None and feed not in FEEDS:
        raise wrong(f"feed: {shown(feed)} is none; {nearest(feed, FEEDS)}")
    if name is None:
        return cast("FeedName | None", feed), None
    feeds = [each for each in FEEDS if name in instruments.by_feed[each]]
    if not feeds:
        raise wrong(f"instrument: {shown(name)} is none; {nearest(name, instruments.names)}")
    if feed is not None and feed not in feeds:
        raise wrong(f"instrument: {name} is in {' and '.join(feeds)}, not in {feed}; leave feed out")
    return cast("FeedName | None", feed), name


def _times(query: MultiMapping[str], now_ms: int) -> tuple[int | None, int | None, int]:
    """at, from and to; milliseconds since 1970."""
    at_ms = _time(query, "at", now_ms) if "at" in query else None
    from_ms = _time(query, "from", now_ms) if "from" in query else None
    to_ms = min(_time(query, "to", now_ms + TO_TOLERANCE_MS), now_ms + 1) if "to" in query else now_ms + 1
    if at_ms is not None and ("from" in query or "to" in query):
        raise wrong("at: a moment cannot go with from and to; give either a moment or a stretch")
    if from_ms is None and "to" in query:
        raise wrong("to: a stretch needs its begin; give from as well")
    if from_ms is not None and to_ms < from_ms:
        raise wrong("to: it lies before from; give the earlier time as from")
    if from_ms is not None and to_ms - from_ms > SPAN_DAYS_MAX * 86_400_000 + 1:
        days = -((from_ms - to_ms) // 86_400_000)
        until = "to" if "to" in query else "now"
        raise wrong(f"from: {days} days up to {until} are too many; give at most {SPAN_DAYS_MAX}")
    return at_ms, from_ms, to_ms


def _time(query: MultiMapping[str], name: str, latest_ms: int) -> int:
    text = query[name]
    ms = milliseconds(text)
    if ms is None:
        hint = "; in a URL, + is written %2B" if re.search(r" \d\d:\d\d$", text) else ""
        raise wrong(f"{name}: {shown(text)} is no time; give {_RIGHT_TIME}{hint}")
    if ms < 0:
        raise wrong(f"{name}: {shown(text)} lies before 1970; give a later time")
    if ms > latest_ms:
        raise wrong(f"{name}: {shown(text)} lies in the future; give a time up to now")
    return ms


def milliseconds(text: str) -> int | None:
    """An RFC 3339 time in milliseconds since 1970, what is finer cut off; None for any other text."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        time = datetime.fromisoformat(f"{day}T{clock}{zone.upper().replace('Z', '+00:00')}")
    except ValueError:  # such as the 31st of February
        return None
    return (time - _EPOCH) // timedelta(milliseconds=1) + int((fraction or "0")[:3].ljust(3, "0"))


def _limit(query: MultiMapping[str]) -> int | None:
    text = query.get("limit")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not 1 <= int(text) <= LIMIT_MAX:
        raise wrong(f"limit: {shown(text)} is not right; give a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def nearest(wrong: str, names: Sequence[str]) -> str:
    """Which name was probably meant, or which there are, or one of them."""
    by_lower = {name.lower(): name for name in names}
    if near := difflib.get_close_matches(wrong[:SHOWN_MAX].lower(), by_lower, 1):
        return f"did you mean {by_lower[near[0]]}?"
    if len(names) > len(PARAMETERS):
        return f"one such as {names[0]} would be right"
    return f"there are {', '.join(names[:-1])} and {names[-1]}"


def shown(text: str) -> str:
    """A wrong value on one line: cut when it is long, escaped where it cannot be printed."""
    cut = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
    return repr(cut)


def wrong(detail: str) -> ProblemError:
    """A request with this fault, told in one sentence that says what would be right."""
    return ProblemError(400, detail)
