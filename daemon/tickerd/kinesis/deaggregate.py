"""Takes aggregated records of the Kinesis Producer Library apart, whoever wrote them; `kpl.py` makes ours."""

import hashlib

from tickerd.kinesis.kpl import (
    DATA,
    DIGEST_BYTES,
    HASH_KEY,
    HASH_KEY_INDEX,
    KEY_INDEX,
    MAGIC,
    PARTITION_KEY,
    RECORD,
    USER_TAG,
    USER_TAG_KEY,
)
from tickerd.protobuf import read_field, read_varint


def deaggregate(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """(partition key, explicit hash key or b"", data) of each record, in order.

    Raises ValueError for what is no aggregate (magic, MD5) and for one that is malformed: cut short, a
    required field missing, an index outside its table, a varint above 64 bits, a group, a key that is not
    UTF-8. Fields that the format does not know are skipped.
    """
    body = data[len(MAGIC) : -DIGEST_BYTES]
    if not data.startswith(MAGIC) or not body:
        raise ValueError("not an aggregated record: no magic number, or nothing after it")
    if hashlib.md5(body, usedforsecurity=False).digest() != data[-DIGEST_BYTES:]:
        raise ValueError("damaged aggregated record: its MD5 sum is another")
    try:
        return _take_apart(body)
    except IndexError:
        raise ValueError("malformed aggregated record: cut short, or an index outside its table") from None
    except UnicodeDecodeError:
        raise ValueError("malformed aggregated record: a key that is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"malformed aggregated record: {error}") from None


def _take_apart(body: bytes) -> list[tuple[bytes, bytes, bytes]]:  # noqa: C901, PLR0912  see its comment
    """The records of an AggregatedRecord message."""
    keys: list[bytes] = []
    hash_keys: list[bytes] = []
    records: list[tuple[bytes, bytes, bytes]] = []
    unusual: list[tuple[int, int, int]] = []  # their keys are looked up last: tables may follow records
    position, end = 0, len(body)
    while position < end:
        # A record as `aggregate` writes it is read in line: calls for it would take three times as long.
        # Whatever looks different in any way goes the general way.
        if body[position] == RECORD:
            size, start = body[position + 1], position + 2
            if size > 0x7F:
                size, start = size + (body[start] << 7) - 128, start + 1
                if body[start - 1] > 0x7F:
                    size, start = read_varint(body, position + 1)
            stop = start + size
            if body[start] == KEY_INDEX:
                index, at = body[start + 1], start + 2
                if index > 0x7F:
                    index, at = read_varint(body, start + 1)
                if body[at] == DATA:
                    length, begin = body[at + 1], at + 2
                    if length > 0x7F:
                        length, begin = length + (body[begin] << 7) - 128, begin + 1
                        if body[begin - 1] > 0x7F:
                            length, begin = read_varint(body, at + 1)
                    if begin + length == stop <= end and index < len(keys):
                        records.append((keys[index], b"", body[begin:stop]))
                        position = stop
                        continue
        tag, _, content, position = read_field(body, position)
        if tag == PARTITION_KEY:
            content.decode()
            keys.append(content)
        elif tag == HASH_KEY:
            content.decode()
            hash_keys.append(content)
        elif tag == RECORD:
            key, hash_key, content = _record(content)
            unusual.append((len(records), key, hash_key))
            records.append((b"", b"", content))
    for number, key, hash_key in unusual:
        records[number] = (keys[key], hash_keys[hash_key] if hash_key >= 0 else b"", records[number][2])
    return records


def _record(message: bytes) -> tuple[int, int, bytes]:
    """Index of the partition key, of the explicit hash key or -1, and data of a Record message."""
    key = hash_key = -1
    data: bytes | None = None
    position = 0
    while position < len(message):
        tag, number, content, position = read_field(message, position)
        if tag == KEY_INDEX:
            key = number
        elif tag == HASH_KEY_INDEX:
            hash_key = number
        elif tag == DATA:
            data = content
        elif tag == USER_TAG:
            _check_user_tag(content)
    if key < 0 or data is None:
        raise ValueError("a record without its key's index or without data")
    return key, hash_key, data


def _check_user_tag(message: bytes) -> None:
    position, found = 0, False
    while position < len(message):
        tag, _, _, position = read_field(message, position)
        found |= tag == USER_TAG_KEY
    if not found:
        raise ValueError("a tag without its key")
