"""From the entries of a shard to what the account needs of each record in them.

A record that claims to be ours and cannot be read is corrupt; what never was ours is foreign. Lines and
aggregates are taken apart; an aggregate that the Client Library would throw away counts as discarded.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from tickerd.kinesis.kpl import MAGIC
from tickerd.reading.aggregates import members
from tickerd.reading.get_records import Entry
from tickerd.reading.stream import StreamShard

BETWEEN_LINES = b"}\n{"  # never inside one JSON object: strings hold no raw newline


class Unreadable(Enum):
    """Why an entry's bytes are no record."""

    CORRUPT = "corrupt"
    FOREIGN = "foreign"


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


class Unpacked(NamedTuple):
    """The records of some entries: `payloads` and, for each, the number of its entry.

    `damaged`: numbers of entries that are aggregates and cannot be taken apart. `discarded`: the members of
    aggregates of which one lies outside the shard.
    """

    payloads: list[bytes]
    entry_of: list[int]
    damaged: list[int]
    discarded: int


def unpack(entries: Sequence[Entry], shard: StreamShard) -> Unpacked:
    """Take the entries of a shard apart into records, whatever these hold."""
    payloads: list[bytes] = []
    entry_of: list[int] = []
    damaged: list[int] = []
    discarded = 0
    for number, entry in enumerate(entries):
        data = entry.data
        if data.startswith(MAGIC):
            try:
                several, within = members(data, shard.hash_key_start, shard.hash_key_end)
            except ValueError:
                damaged.append(number)
                continue
            if not within:
                discarded += len(several)
                continue
        elif b"\n" in data:
            several = split(data)
        else:
            payloads.append(data)
            entry_of.append(number)
            continue
        payloads += several
        entry_of += [number] * len(several)
    return Unpacked(payloads, entry_of, damaged, discarded)


def split(data: bytes) -> list[bytes]:
    """The records of an entry: its lines where it is newline-delimited JSON, else the entry itself."""
    if data[:1] == b"{" and (BETWEEN_LINES in data or data.endswith(b"\n")):
        return [line for line in data.split(b"\n") if line]
    return [data]


def decode_all(payloads: Sequence[bytes]) -> list[Member | Unreadable]:
    """Each record's common fields, or why it has none."""
    decoder = _msgpack_member if payloads and _is_map(payloads[0]) else _json_member
    try:
        return list(map(decoder.decode, payloads))  # all are records of one format, nearly always
    except (ValueError, RecursionError):
        return list(map(decode, payloads))


def decode(data: bytes) -> Member | Unreadable:
    """One record's common fields, or why it has none."""
    decoder = _msgpack_member if _is_map(data) else _json_member
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError):  # malformed, mistyped, not UTF-8, nested beyond all measure
        return _why(data)


def _is_map(data: bytes) -> bool:
    """Whether a MessagePack map begins here, of at most 15 fields; no JSON begins so."""
    return len(data) > 0 and 0x80 <= data[0] <= 0x8F


def _why(data: bytes) -> Unreadable:
    is_json = data[:1] == b"{"
    if not is_json and not _is_map(data):
        return Unreadable.FOREIGN
    try:
        claim = _json_claim.decode(data) if is_json else _msgpack_claim.decode(data)
    except (ValueError, RecursionError):
        # Truncated or damaged. Other binary formats (PNG among them) share the first byte of a MessagePack
        # map, but a map of ours goes on with the name of a field.
        ours = is_json or len(data) == 1 or 0xA0 <= data[1] <= 0xBF
        return Unreadable.CORRUPT if ours else Unreadable.FOREIGN
    return Unreadable.FOREIGN if claim.source is None or claim.seq is None else Unreadable.CORRUPT
