"""The messages of google.pubsub.v1 that are needed, to and from protobuf's wire format.

Requests are joined from pieces that were encoded once: what stands before a record's bytes depends on their
number and on the ordering key alone. Field numbers are those of google/pubsub/v1/pubsub.proto.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickerd.protobuf import read_field, varint
from tickerd.texts import Objects

VARINT, BYTES = 0, 2  # wire types
SIZES_FIRST = 512  # records are smaller, nearly always


def text(field: int, value: bytes) -> bytes:
    """A field of bytes, text or a message; its number is below 16."""
    return b"%c%b%b" % (field << 3 | BYTES, varint(len(value)), value)


class Heads:
    """What stands in a request before a record's bytes, for messages of these ordering keys.

    Without keys there is one, the empty one. The key comes before the data: the order of fields is free.
    """

    def __init__(self, keys: Sequence[bytes] = (b"",)) -> None:
        self._keys = [text(5, key) if key else b"" for key in keys]
        self._widen(SIZES_FIRST)

    def of(self, keys: NDArray[np.intp] | int, sizes: NDArray[np.int32]) -> Objects:
        """[records] the heads for records of these keys, by number, and bytes."""
        largest = int(sizes.max(initial=0))
        if largest >= self._width:
            self._widen(2 * largest)
        places = keys * self._width + sizes
        new = places[~self._known.take(places)]
        if len(new):
            for place in np.unique(new).tolist():
                key, size = divmod(place, self._width)
                self._table[place] = self._head(self._keys[key], size)
            self._known[new] = True
        return self._table.take(places)

    def _widen(self, width: int) -> None:
        """Have room for records below so many bytes, of which nothing is known yet."""
        self._width = width
        self._table = np.empty(width * len(self._keys), dtype=object)
        self._known = np.zeros(width * len(self._keys), dtype=np.bool_)

    def _head(self, key: bytes, size: int) -> bytes:
        data = b"\x0a" + varint(size)
        return b"\x12" + varint(len(key) + len(data) + size) + key + data


def message_head(size: int, attributes: Mapping[str, str], ordering_key: bytes) -> bytes:
    """What stands in a request before the data of a message, of which there are so many bytes."""
    parts = [text(5, ordering_key)] if ordering_key else []
    parts += [text(2, text(1, name.encode()) + text(2, value.encode())) for name, value in attributes.items()]
    parts += [b"\x0a", varint(size)]
    return b"".join([b"\x12", varint(sum(map(len, parts)) + size), *parts])


def publish_request(topic: bytes, messages: Iterable[bytes]) -> bytes:
    """A PublishRequest of messages that are encoded already, as `Heads` and `message_head` begin them."""
    return b"".join([text(1, topic), *messages])


def messages_acknowledged(reply: bytes) -> int:
    """How many ids a PublishResponse has; -1 when it is none."""
    # Ids are mostly of one length: then it is told by looking at every so-manieth byte.
    if len(reply) >= 2 and reply[1] < 0x80:
        step = 2 + reply[1]
        many, left = divmod(len(reply), step)
        if not left and reply[::step] == b"\x0a" * many and reply[1::step] == reply[1:2] * many:
            return many
    try:
        return sum(field == 1 and isinstance(value, bytes) for field, value in fields(reply))
    except ValueError:
        return -1


def fields(content: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message, as they come, but for those of a fixed width; ValueError when it is none."""
    position = 0
    while position < len(content):
        try:
            tag, number, value, position = read_field(content, position)
        except IndexError:
            raise ValueError("a field longer than its message") from None
        if tag & 7 == VARINT:
            yield tag >> 3, number
        elif tag & 7 == BYTES:
            yield tag >> 3, value


def texts_of(content: bytes, wanted: int) -> list[str]:
    """The values of a repeated field of text."""
    return [
        value.decode() for field, value in fields(content) if field == wanted and isinstance(value, bytes)
    ]


class Received(NamedTuple):
    """A message as it is pulled; `published_s` in seconds since 1970."""

    ack_id: bytes
    data: bytes
    attributes: dict[str, str]
    message_id: str
    published_s: float
    ordering_key: str


def received(reply: bytes) -> list[Received]:
    """The messages of a PullResponse; ValueError when it is none."""
    return [_received(value) for field, value in fields(reply) if field == 1 and isinstance(value, bytes)]


def _received(content: bytes) -> Received:
    ack_id, inner = b"", b""
    for field, value in fields(content):
        if field == 1 and isinstance(value, bytes):
            ack_id = value
        elif field == 2 and isinstance(value, bytes):
            inner = value
    data, message_id, ordering_key, published_s = b"", b"", b"", 0.0
    attributes: dict[str, str] = {}
    for field, value in fields(inner):
        match field, value:
            case 1, bytes():
                data = value
            case 2, bytes():
                entry = dict(fields(value))
                attributes[_text(entry.get(1))] = _text(entry.get(2))
            case 3, bytes():
                message_id = value
            case 4, bytes():
                stamp = dict(fields(value))
                published_s = int(stamp.get(1, 0)) + int(stamp.get(2, 0)) / 1e9
            case 5, bytes():
                ordering_key = value
    return Received(ack_id, data, attributes, message_id.decode(), published_s, ordering_key.decode())


def _text(value: bytes | int | None) -> str:
    return value.decode() if isinstance(value, bytes) else ""


def pull_request(subscription: str, messages_max: int) -> bytes:
    """A PullRequest."""
    return text(1, subscription.encode()) + b"\x18" + varint(messages_max)


def acknowledge_request(subscription: str, ack_ids: Iterable[bytes]) -> bytes:
    """An AcknowledgeRequest."""
    return b"".join([text(1, subscription.encode()), *(text(2, ack_id) for ack_id in ack_ids)])


def named_request(name: str) -> bytes:
    """A GetTopicRequest or a GetSubscriptionRequest."""
    return text(1, name.encode())


def permissions_request(resource: str, *permissions: str) -> bytes:
    """A google.iam.v1.TestIamPermissionsRequest."""
    return text(1, resource.encode()) + b"".join(text(2, each.encode()) for each in permissions)
