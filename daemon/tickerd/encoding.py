"""Records to bytes, a list at a time: the bytes that are stored, and that a record can be made to again.

msgspec's encoding of the Structs is what a record's bytes are; `pieces.py` makes the same ones faster.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from tickerd.batch import Interleaved
from tickerd.piece_texts import SEQ_MIN
from tickerd.pieces import Pieces
from tickerd.records import Record
from tickerd.texts import Texts, WholeRecords

Encode = Callable[[Sequence[Record]], list[bytes]]
EncodeRows = Callable[[Interleaved], Texts]
Format = Literal["json", "msgpack"]

FEW_RECORDS = 4000
"""Below this NumPy's calls for pieces (0.3 ms together) cost more than they save."""
MANY_INSTRUMENTS = 2000
"""Quotes of more repeat too seldom: with 5,000 stocks one of six is new, and pieces save nothing."""


def encoder(format: Format) -> Encode:  # noqa: A002 - the setting's name
    """A function from [records] to [records] encoded ones, in the same order."""
    return _json if format == "json" else _msgpack


def rows_encoder(format: Format) -> EncodeRows:  # noqa: A002 - the setting's name
    """A function from columns to their encoded records, in the order of their seq."""
    encode = encoder(format)
    pieces: Pieces | None = None

    def encode_rows(rows: Interleaved) -> Texts:
        nonlocal pieces
        few = len(rows) < FEW_RECORDS or rows.first_seq < SEQ_MIN
        if format == "msgpack" or few or len(rows.symbols) > MANY_INSTRUMENTS:
            return WholeRecords(encode(rows.records))
        if pieces is None or pieces.symbols is not rows.symbols:
            pieces = Pieces(rows.symbols)
        return pieces.encode(rows)

    return encode_rows


_json_encoder = msgspec.json.Encoder()
_msgpack_encoder = msgspec.msgpack.Encoder()


def _json(records: Sequence[Record]) -> list[bytes]:
    # One call for all and one split cost less than a call for each; JSON never holds a bare newline.
    lines = _json_encoder.encode_lines(records).split(b"\n")
    lines.pop()  # what follows the last newline: nothing
    return lines


def _msgpack(records: Sequence[Record]) -> list[bytes]:
    return list(map(_msgpack_encoder.encode, records))
