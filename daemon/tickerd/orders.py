"""What the supervisor asks of all workers while they run: the rates from now on, and how much is logged.

One order at a time in an anonymous file that workers look at four times a second: a state, not messages, so
none is lost, and a worker that starts later finds the same. Only the supervisor writes.
"""

import mmap
import os
import struct
from typing import Literal

import msgspec

from tickerd.schedule import RatePlan

HALF_BYTES = 256 * 1024  # 1,000 stages take some 50,000
_HEAD = struct.Struct("<qq")  # versions at the file's start; lengths at the start of each half
_FILE_BYTES = _HEAD.size + 2 * HALF_BYTES


class Order(msgspec.Struct, frozen=True):
    """What holds for all workers from now on."""

    plan: RatePlan
    mix: tuple[float, float, float]  # weights in the order of `records.FEEDS`
    log_level: str
    log_format: Literal["auto", "text", "json"]


class Orders:
    """The order in force: mapped by the supervisor and by each worker, by an inherited descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, _FILE_BYTES)
        self._read_version = 0

    @classmethod
    def create(cls) -> "Orders":
        """A file without an order; pass its `fd` to the workers."""
        fd = os.memfd_create("tickerd-orders")
        os.ftruncate(fd, _FILE_BYTES)
        return cls(fd)

    def close(self) -> None:
        """Give the memory back; who else maps it keeps theirs."""
        self._memory.close()
        os.close(self.fd)

    def publish(self, order: Order) -> None:
        """Write the order into the half that is not in use, then bring that half into use."""
        packed = msgspec.json.encode(order)
        if len(packed) > HALF_BYTES - _HEAD.size:
            raise ValueError(f"an order of {len(packed)} bytes does not fit its {HALF_BYTES}")
        version = self._version() + 1
        start = self._half(version)
        self._memory[start + _HEAD.size : start + _HEAD.size + len(packed)] = packed
        _HEAD.pack_into(self._memory, start, version, len(packed))
        _HEAD.pack_into(self._memory, 0, version, 0)

    def new(self) -> Order | None:
        """The order, when it is another one than at the last call."""
        while (version := self._version()) != self._read_version:
            start = self._half(version)
            _, length = _HEAD.unpack_from(self._memory, start)
            packed = self._memory[start + _HEAD.size : start + _HEAD.size + length]
            if self._version() == version:  # else it may have been written over meanwhile: once more
                self._read_version = version
                return msgspec.json.decode(packed, type=Order)
        return None

    def _version(self) -> int:
        version: int = _HEAD.unpack_from(self._memory, 0)[0]
        return version

    @staticmethod
    def _half(version: int) -> int:
        return _HEAD.size + version % 2 * HALF_BYTES
