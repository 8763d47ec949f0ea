"""From the bytes of a stream's entry to what the account needs of each record in it.

A record that claims to be ours and cannot be read is corrupt; what never was ours is foreign. Aggregates of
the Kinesis Producer Library are recognised, not yet taken apart.
"""

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec

AGGREGATE_MAGIC = b"\xf3\x89\x9a\xc2"
BETWEEN_LINES = b"}\n{"  # never inside one JSON object: strings hold no raw newline


class Unreadable(Enum):
    """Why an entry's bytes are no record."""

    CORRUPT = "corrupt"
    FOREIGN = "foreign"
    AGGREGATE = "aggregate"


class Member(msgspec.Struct, gc=False):
    """The fields that all records have, and the instrument under whichever of its two names."""

    type: Literal["forex", "stock", "news"]
    source: Annotated[str, msgspec.Meta(min_length=1)]
    seq: Annotated[int, msgspec.Meta(ge=0, lt=2**63 - 1)]
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    currency_pair: str = ""
    stock_symbol: str = ""


class _Claim(msgspec.Struct):
    """What an object says of itself, whatever the types."""

    source: Any = None
    seq: Any = None


_json_member = msgspec.json.Decoder(Member)
_json_claim = msgspec.json.Decoder(_Claim)
_msgpack_member = msgspec.msgpack.Decoder(Member)
_msgpack_claim = msgspec.msgpack.Decoder(_Claim)


def split(data: bytes) -> list[bytes]:
    """The records of an entry: its lines where it is newline-delimited JSON, else the entry itself."""
    if data[:1] == b"{" and (BETWEEN_LINES in data or data.endswith(b"\n")):
        return [line for line in data.split(b"\n") if line]
    return [data]


def decode(data: bytes) -> Member | Unreadable:
    """One record's common fields, or why it has none."""
    first = data[0] if data else 0
    try:
        if first == ord("{"):
            return _json_member.decode(data)
        if 0x80 <= first <= 0x8F:  # a MessagePack map of at most 15 fields
            return _msgpack_member.decode(data)
    except (ValueError, RecursionError):  # malformed, mistyped, not UTF-8, nested beyond all measure
        return _why(data)
    return Unreadable.AGGREGATE if data.startswith(AGGREGATE_MAGIC) else Unreadable.FOREIGN


def _why(data: bytes) -> Unreadable:
    is_json = data[0] == ord("{")
    try:
        claim = _json_claim.decode(data) if is_json else _msgpack_claim.decode(data)
    except (ValueError, RecursionError):
        # Truncated or damaged. Other binary formats (PNG among them) share the first byte of a MessagePack
        # map, but a map of ours goes on with the name of a field.
        ours = is_json or len(data) == 1 or 0xA0 <= data[1] <= 0xBF
        return Unreadable.CORRUPT if ours else Unreadable.FOREIGN
    return Unreadable.FOREIGN if claim.source is None or claim.seq is None else Unreadable.CORRUPT
