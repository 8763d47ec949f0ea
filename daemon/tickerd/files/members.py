"""Compressed files as rows of members that stand for themselves, so that what is whole stays readable.

A member is a gzip member (RFC 1952) or a zstd frame (RFC 8878); any gunzip or unzstd reads a row of them. The
gzip header says in an extra field how long its member is, so that the end of the last whole one is found
without decompressing what comes before.
"""

import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from mmap import mmap
from typing import Literal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Compression = Literal["none", "gzip", "zstd"]

SUFFIXES: dict[Compression, str] = {"none": "", "gzip": ".gz", "zstd": ".zst"}
GZIP_LEVEL, ZSTD_LEVEL = 1, 1  # of what a daemon writes for hours, the time counts
_LENGTH_FIELD = b"TK"  # the extra field's id: of one number, the bytes of the whole member
_HEAD = struct.Struct(
    "<4sIBBH2sHI"
)  # magic, method and flags; time; flags; system; extra: bytes, id, bytes, it
_TAIL = struct.Struct("<II")  # of the content: its sum, its bytes modulo 2^32
_MAGIC = b"\x1f\x8b\x08\x04"  # gzip, deflate, with an extra field
_UNKNOWN_SYSTEM = 255


def member(content: Sequence[bytes], compression: Compression) -> bytes:
    """The content, in one piece or several, as one member."""
    if compression == "zstd":
        options = {
            int(zstd.CompressionParameter.compression_level): ZSTD_LEVEL,
            int(zstd.CompressionParameter.checksum_flag): 1,
        }
        return zstd.compress(b"".join(content), options=options)
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    total = sum(map(len, content))
    crc, parts = 0, [b""]
    for piece in content:
        crc = zlib.crc32(piece, crc)
        parts.append(compressor.compress(piece))
    parts += [compressor.flush(), _TAIL.pack(crc, total & 0xFFFFFFFF)]
    size = _HEAD.size + sum(map(len, parts))
    parts[0] = _HEAD.pack(_MAGIC, 0, 0, _UNKNOWN_SYSTEM, 8, _LENGTH_FIELD, 4, size)
    return b"".join(parts)


def whole_bytes(content: mmap, compression: Compression) -> int:
    """How much of a file there is up to the end of its last whole line, or of its last whole member."""
    if compression == "none":
        return content.rfind(b"\n") + 1
    starts = [0, *(_gzip_ends(content) if compression == "gzip" else _zstd_ends(content))]
    while len(starts) > 1 and not _is_sound(content[starts[-2] : starts[-1]], compression):
        starts.pop()
    return starts[-1]


def _gzip_ends(content: mmap) -> Iterator[int]:
    end = 0
    while end + _HEAD.size <= len(content):
        magic, _, _, _, _, field, _, size = _HEAD.unpack_from(content, end)
        if (magic, field) != (_MAGIC, _LENGTH_FIELD) or size <= _HEAD.size or end + size > len(content):
            return
        end += size
        yield end


def _zstd_ends(content: mmap) -> Iterator[int]:
    end = 0
    with memoryview(content) as view:
        while end < len(content):
            try:
                with view[end:] as rest:
                    end += zstd.get_frame_size(rest)
            except zstd.ZstdError:
                return
            yield end


def _is_sound(piece: bytes, compression: Compression) -> bool:
    try:
        if compression == "zstd":
            zstd.decompress(piece)
        else:
            zlib.decompress(piece, wbits=16 + zlib.MAX_WBITS)
    except (zstd.ZstdError, zlib.error):
        return False
    return True
