"""CBOR (RFC 8949) as Kinesis speaks it: the heads of items that are put together by hand, and whole values.

What others send is decoded within bounds: maps of texts, a few levels deep, no tags but that of a time, and
not many items, so that no input becomes one of the library's own types, or much larger than it is.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeVar

import cbor2
import msgspec
import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")

DEPTH_MAX = 8  # the replies of DescribeStream have five levels
UNCOUNTED_BYTES, ITEMS_MAX = 2**20, 20_000
"""An item of one byte becomes 64, and a full PutRecords has 4,000: what is small may be anything, and in what
is large, as a call of many records hardly ever is, items are counted."""
TIME = 1  # the tag of a time since 1970
UNSIGNED, BYTES, TEXT, ARRAY, MAP = (major << 5 for major in (0, 2, 3, 4, 5))
# Those that the library knows; whatever other tags there are come to its hook.
OTHER_TAGS = (0, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
LENGTHS_KEPT = 4096  # longer than almost every record: their heads are looked up, not made


def head(major: int, length: int) -> bytes:
    """How an item begins: its kind, and its length, how many items are in it, or, of a number, what it is."""
    if length < 24:
        return bytes([major | length])
    for more, width in enumerate((1, 2, 4, 8)):
        if length < 1 << 8 * width:
            return bytes([major | 24 + more]) + length.to_bytes(width)
    raise ValueError(f"CBOR has no item of the length {length}")


def text(characters: str) -> bytes:
    """A text string."""
    encoded = characters.encode()
    return head(TEXT, len(encoded)) + encoded


_BYTES_HEADS = np.array([head(BYTES, length) for length in range(LENGTHS_KEPT)], dtype=object)


def heads_of_bytes(lengths: NDArray[np.int32]) -> list[bytes]:
    """What stands before byte strings of these lengths."""
    if int(lengths.max(initial=0)) < LENGTHS_KEPT:
        heads: list[bytes] = _BYTES_HEADS.take(lengths).tolist()
        return heads
    return [head(BYTES, length) for length in lengths.tolist()]


def is_cbor(body: bytes) -> bool:
    """Whether a map in one of the two formats is in CBOR: nothing in JSON begins with such a byte."""
    return body[:1] >= b"\xa0"


def decode(body: bytes, kind: type[Value]) -> Value:
    """A body as a value of this type; ValueError or msgspec.ValidationError when it is none.

    A time that is an integer has milliseconds, as Amazon's SDKs write it, whatever RFC 8949 says; any other
    has seconds. The value has seconds.
    """
    if len(body) > UNCOUNTED_BYTES:
        _check_items(body)
    file = BytesIO(body)
    decoder = cbor2.CBORDecoder(
        file,
        semantic_decoders=_TAGS,
        tag_hook=_refuse,
        max_depth=DEPTH_MAX,
        strict_hashable_types=True,
        read_size=len(body) + 1,  # at once: in pieces it takes half as long again
    )
    try:
        value = decoder.decode()
    except cbor2.CBORDecodeError as error:
        raise ValueError(str(error)) from None
    if file.tell() < len(body):
        raise ValueError("something follows the value")
    return msgspec.convert(value, kind, builtin_types=(bytes,))


def _check_items(body: bytes) -> None:
    """ValueError when there are too many; they are passed over without being made."""
    at = items = 0
    while at < len(body):
        items += 1
        if items > ITEMS_MAX:
            raise ValueError(f"more than {ITEMS_MAX} items")
        major, length = body[at] & 0xE0, body[at] & 0x1F
        at += 1
        if 24 <= length < 28:
            width = 1 << (length - 24)
            length = int.from_bytes(body[at : at + width])
            at += width
        elif length >= 28:  # open, or an end
            length = 0
        if major in (BYTES, TEXT):
            at += length


def encode(value: object) -> bytes:
    """A value of maps, lists, texts, bytes, integers and Structs; a float in it is a time in seconds."""
    return cbor2.dumps(value, encoders={float: _write_time}, default=_write_struct)


def _write_time(encoder: cbor2.CBOREncoder, seconds: float) -> None:
    encoder.encode(cbor2.CBORTag(TIME, round(seconds * 1000)))


def _write_struct(encoder: cbor2.CBOREncoder, struct: object) -> None:
    encoder.encode(msgspec.to_builtins(struct, builtin_types=(bytes,)))


def _refuse(_value: object, _immutable: bool) -> Any:
    raise ValueError("a tag that Kinesis does not use")


def _read_time(value: object, _immutable: bool) -> float:
    match value:
        case int():
            return value / 1000
        case float():
            return value
    raise ValueError("a time that is no number")


_TAGS: dict[int, Callable[[Any, bool], Any]] = {**dict.fromkeys(OTHER_TAGS, _refuse), TIME: _read_time}
