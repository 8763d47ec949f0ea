"""The two formats of PutRecords requests: what they are called, and how records and keys become a body.

JSON 1.1 is what every endpoint speaks. CBOR has the data as they are, a quarter fewer bytes, and no base64.
What packs records does not know which of them it is. Answers are told apart by themselves (`replies.py`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickerd import cbor
from tickerd.texts import Base64, Texts, WholeRecords, interleaved

Keys = NDArray[np.int64]


class Framing(Protocol):
    """How entries with one shard map's keys stand in a body. What depends on a key alone is made once."""

    def gathered(self, pieces: Sequence[Texts]) -> Texts:
        """The records of all pieces in the form in which they go, and wait when they have to go again."""

    def body(self, opening: bytes, records: Texts, keys: Keys) -> bytes:
        """The body of a request. `opening` comes first; `keys` are the numbers of the entries' keys."""


class Format(NamedTuple):
    """A format of requests. `opening` makes, of the field that names the stream, how a body begins."""

    headers: dict[str, str]
    opening: Callable[[dict[str, str]], bytes]
    framing: Callable[[Sequence[str]], Framing]


class JsonFraming:
    """{"StreamARN":"…","Records":[{"Data":"…","PartitionKey":"…"},…]}."""

    def __init__(self, keys: Sequence[str]) -> None:
        # What stands between the data of one entry and of the next, and after the last, for each key.
        fields = [b'","PartitionKey":' + msgspec.json.encode(key) for key in keys]
        self._joints = np.array([field + b'},{"Data":"' for field in fields], dtype=object)
        self._tails = [field + b"}]}" for field in fields]

    def gathered(self, pieces: Sequence[Texts]) -> Base64:
        """All in base64; what failed once is encoded already."""
        encoded = [piece.base64() for piece in pieces]
        if len(encoded) == 1:
            return encoded[0]
        return Base64(
            [text for each in encoded for text in each.texts],
            [tail for each in encoded for tail in each.tails],
        )

    def body(self, opening: bytes, records: Texts, keys: Keys) -> bytes:
        """With the data in base64."""
        data = records.base64()
        pieces = interleaved([data.texts, data.tails, self._joints.take(keys).tolist()])
        pieces[-1] = self._tails[keys[-1]]
        pieces.insert(0, opening)
        return b"".join(pieces)


class CborFraming:
    """The same map, with the key of an entry before its data."""

    def __init__(self, keys: Sequence[str]) -> None:
        fields = cbor.head(cbor.MAP, 2) + cbor.text("PartitionKey"), cbor.text("Data")
        self._fields = np.array([cbor.text(key).join(fields) for key in keys], dtype=object)

    def gathered(self, pieces: Sequence[Texts]) -> Texts:
        """As they stand, so that new ones are joined from their pieces in the body and nowhere else."""
        if len(pieces) == 1:
            return pieces[0]
        return WholeRecords([record for piece in pieces for record in piece.records()])

    def body(self, opening: bytes, records: Texts, keys: Keys) -> bytes:
        """With the data as they are, behind their lengths."""
        fields = self._fields.take(keys).tolist()
        heads = cbor.heads_of_bytes(records.sizes())
        pieces = interleaved([fields, heads, *records.columns()])
        pieces.insert(0, opening + cbor.head(cbor.ARRAY, len(records)))
        return b"".join(pieces)


def _json_opening(named: dict[str, str]) -> bytes:
    return msgspec.json.encode(named)[:-1] + b',"Records":[{"Data":"'


def _cbor_opening(named: dict[str, str]) -> bytes:
    fields = [cbor.text(part) for field in named.items() for part in field]
    return b"".join([cbor.head(cbor.MAP, len(named) + 1), *fields, cbor.text("Records")])


def _headers(content_type: str) -> dict[str, str]:
    return {"X-Amz-Target": "Kinesis_20131202.PutRecords", "Content-Type": content_type}


JSON = Format(_headers("application/x-amz-json-1.1"), _json_opening, JsonFraming)
CBOR = Format(_headers("application/x-amz-cbor-1.1"), _cbor_opening, CborFraming)
FORMATS = {"json": JSON, "cbor": CBOR}
"""By `kinesis.request`."""
