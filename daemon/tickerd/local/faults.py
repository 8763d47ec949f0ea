"""The faults that `tickerd local` can be asked for, and their two written forms.

Owns names and bounds; the text form is for the command line, the JSON form for `POST /_local/faults`.
It does not inject anything: putting.py and server.py do.
"""

import difflib

import msgspec


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong on purpose. Shares are probabilities from 0 to 1.

    throttled: share of entries that fail; nine in ten with ProvisionedThroughputExceededException, the rest
    with InternalFailure, as the two codes that the service gives to an entry.
    error: share of PutRecord and PutRecords calls answered 5xx, nothing stored.
    lost_ack: share of PutRecord and PutRecords calls stored whole and then cut off without an answer.
    latency_ms: added before every answer. deny: AccessDeniedException to everything. outage: every call is
    cut off unanswered. auto: every stream distributes records itself (RecordDistributionStrategy AUTO).
    """

    throttled: float = 0.0
    error: float = 0.0
    lost_ack: float = 0.0
    latency_ms: float = 0.0
    deny: bool = False
    outage: bool = False
    auto: bool = False


SHARES = ("throttled", "error", "lost_ack")
LATENCY_MS_MAX = 600_000.0  # ten minutes: longer than any client waits
TEXT_NAMES = (*SHARES, "latency_ms")


def parse_faults(text: str) -> Faults:
    """Read `throttled=0.1,error=0.05,lost_ack=0.02,latency_ms=20`; names left out are 0, "" is no fault.

    Raises ValueError with one line that names the wrong name or value and what would be right.
    """
    given: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        name = name.strip()
        _check_name(name, TEXT_NAMES)
        if name in given:
            raise ValueError(f"fault {name} is given twice")
        try:
            given[name] = float(value)
        except ValueError:
            wrong = repr(value.strip()) if equals else "nothing"
            raise ValueError(f"fault {name} = {wrong} is not a number: {_right(name)}") from None
    return _checked(msgspec.structs.replace(Faults(), **given))


def merge_faults(faults: Faults, body: bytes) -> Faults:
    """Return `faults` with the names of a JSON object put over them; names left out stay as they were.

    Raises ValueError with one line, as parse_faults does.
    """
    try:
        changes = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise ValueError(f'faults must be a JSON object such as {{"throttled": 0.1}}: {error}') from None
    for name, value in changes.items():
        _check_name(name, Faults.__struct_fields__)
        number = not isinstance(value, bool) and isinstance(value, int | float)
        if number == isinstance(getattr(Faults(), name), bool):
            raise ValueError(f"fault {name} = {msgspec.json.encode(value).decode()} is wrong: {_right(name)}")
    return _checked(msgspec.structs.replace(faults, **changes))


def _check_name(name: str, names: tuple[str, ...]) -> None:
    if name in names:
        return
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(names)}"
    raise ValueError(f"unknown fault {name!r}: {hint}")


def _checked(faults: Faults) -> Faults:
    for name in TEXT_NAMES:
        value = getattr(faults, name)
        if not 0 <= value <= (1 if name in SHARES else LATENCY_MS_MAX):  # false for NaN as well
            raise ValueError(f"fault {name} = {value:g} is out of range: {_right(name)}")
    return faults


def _right(name: str) -> str:
    if name in SHARES:
        return "a share from 0 to 1 is right"
    if name == "latency_ms":
        return f"milliseconds from 0 to {LATENCY_MS_MAX:.0f} are right"
    return "true or false is right"
