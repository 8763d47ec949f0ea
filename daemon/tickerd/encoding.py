"""Records to bytes, a list at a time: the bytes that are stored, and that a record can be made to again."""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from tickerd.records import Record

Encode = Callable[[Sequence[Record]], list[bytes]]


def encoder(format: Literal["json", "msgpack"]) -> Encode:  # noqa: A002 - the setting's name
    """A function from [records] to [records] encoded ones, in the same order."""
    return _json if format == "json" else _msgpack


_json_encoder = msgspec.json.Encoder()
_msgpack_encoder = msgspec.msgpack.Encoder()


def _json(records: Sequence[Record]) -> list[bytes]:
    # One call for all and one split cost less than a call for each; JSON never holds a bare newline.
    lines = _json_encoder.encode_lines(records).split(b"\n")
    lines.pop()  # what follows the last newline: nothing
    return lines


def _msgpack(records: Sequence[Record]) -> list[bytes]:
    return list(map(_msgpack_encoder.encode, records))
