"""What a worker tells its supervisor: one row of shared memory a worker, published every 250 ms.

The worker keeps plain integers in a `Report` and copies it whole; the copy is also its heartbeat. A reader
never sees half a report. Nothing here is done per record.
"""

import mmap
import os
import struct
from bisect import bisect_left

import msgspec

ROW_BYTES = 32 * 1024
_HALF_BYTES = (
    ROW_BYTES // 2
)  # a report is written beside the last one, so a death while writing loses neither
_VERSION_AT, _FRAME_AT, _LENGTH_AT, _REPORT_AT = (
    0,
    8,
    16,
    24,
)  # offsets; the first two of the row's first half
_INTEGER = struct.Struct("=q")
NO_FRAME = -1

ERROR_CODES = (
    "ProvisionedThroughputExceededException",
    "InternalFailure",
    "ServiceUnavailable",
    "LimitExceededException",
    "ThrottlingException",
    "AccessDeniedException",
    "ResourceNotFoundException",
    "ValidationException",
    "InvalidArgumentException",
    "SerializationException",
    "ExpiredTokenException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "NoCredentials",
    "NoRegion",
    "ConnectionError",
    "ProxyConnectionError",
    "Timeout",
    "ReplyLength",
    "KMS",
    # of Pub/Sub
    *(
        "ABORTED",
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
        "UNKNOWN",
    ),
    *("FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED"),
    "NoProject",
    # of files
    *("EACCES", "EDQUOT", "EIO", "ENOENT", "ENOSPC", "ENOTDIR", "EPERM", "EROFS"),
    "other",
)
"""The label values of `error_code`: a closed set, so that no answer can grow the number of series."""


def error_label(code: str) -> str:
    """The label for an error code: itself, "KMS" for that family, or "other"."""
    if code.startswith("KMS"):
        return "KMS"
    return code if code in ERROR_CODES else "other"


SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
LOOP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
COUNT_BUCKETS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 300.0, 400.0, 499.0, 500.0, 1000.0, 5000.0)


class Histogram(msgspec.Struct):
    """Counts per bucket (the last one is +Inf) and the sum of what was observed."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, `times` times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def add(self, other: "Histogram") -> None:
        """Add the counts of another one with the same bounds."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


def empty_histogram(bounds: tuple[float, ...]) -> Histogram:
    """A histogram with nothing in it yet."""
    return Histogram(bounds, [0] * (len(bounds) + 1))


class Problem(msgspec.Struct):
    """A cause that stands in the way; `since` in seconds (UTC, since 1970)."""

    code: str
    message: str
    since: float
    count: int


class StreamReport(msgspec.Struct):
    """The stream as the worker last described it."""

    name: str
    shards: int
    distribution: str
    ceiling_records_per_second: float
    aggregation: str = "none"  # in force, which the distribution may keep from being what is set
    order: str = "relaxed"


class ShardCounts(msgspec.Struct):
    """What the shards of one map took from this process, since it first used that map.

    `counts` are float64[3, buckets]: records, their bytes with keys, throttled entries. A bucket is a shard,
    or some neighbouring ones where there are many (`kinesis/by_shard.py`).
    """

    shards: int
    counts: bytes


class Counts(msgspec.Struct):
    """What only grows: kept over the deaths of workers. Lists are per feed, in the order of `FEEDS`."""

    records_generated: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    records_acked: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    bytes_acked: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    entries_acked: int = 0
    record_retries: int = 0
    frames_regenerated: int = 0
    frames_skipped: int = 0
    cpu_s: float = 0.0
    put_requests: dict[str, int] = msgspec.field(default_factory=dict)
    put_errors: dict[str, int] = msgspec.field(default_factory=dict)
    put_request_duration_s: Histogram = msgspec.field(
        default_factory=lambda: empty_histogram(SECONDS_BUCKETS)
    )
    record_delay_s: Histogram = msgspec.field(default_factory=lambda: empty_histogram(SECONDS_BUCKETS))
    event_loop_lag_s: Histogram = msgspec.field(default_factory=lambda: empty_histogram(LOOP_BUCKETS))
    records_per_entry: Histogram = msgspec.field(default_factory=lambda: empty_histogram(COUNT_BUCKETS))
    entries_per_request: Histogram = msgspec.field(default_factory=lambda: empty_histogram(COUNT_BUCKETS))

    def add(self, other: "Counts") -> None:
        """Add what another process of the same slot has counted."""
        for name in self.__struct_fields__:
            mine, its = getattr(self, name), getattr(other, name)
            if isinstance(mine, Histogram):
                mine.add(its)
            elif isinstance(mine, dict):
                for label, count in its.items():
                    mine[label] = mine.get(label, 0) + count
            elif isinstance(mine, list):
                setattr(self, name, [a + b for a, b in zip(mine, its, strict=True)])
            else:
                setattr(self, name, mine + its)


class Report(msgspec.Struct):
    """All that a worker publishes of itself."""

    source: str = ""
    state: str = "starting"  # starting, waiting (for the stream), running, draining, stopped
    beat_s: float = 0.0  # monotonic clock
    counts: Counts = msgspec.field(default_factory=Counts)
    counted_below: int = 0  # frames below this one are in records_generated
    ends_at_seq: int | None = None  # with --records: where the worker is finished
    owed: int = 0  # records generated and not acknowledged
    requests_in_flight: int = 0
    lag_s: float = 0.0
    target_milli_records_per_second: int = 0
    last_ack_s: float = 0.0
    resident_bytes: int = 0
    problems: list[Problem] = msgspec.field(default_factory=list)  # what stands in the way of delivery
    notices: list[Problem] = msgspec.field(default_factory=list)  # what is not done as it was set, and why
    unsaved: Problem | None = None  # why the checkpoint cannot be written
    stream: StreamReport | None = None
    shards: ShardCounts | None = None


class Slab:
    """The rows of all workers in one anonymous file, mapped by the supervisor and by each worker."""

    def __init__(self, fd: int, workers: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, workers * ROW_BYTES)

    @classmethod
    def create(cls, workers: int) -> "Slab":
        """A new slab with empty rows; pass its `fd` to the workers."""
        fd = os.memfd_create("tickerd-reports")
        os.ftruncate(fd, workers * ROW_BYTES)
        slab = cls(fd, workers)
        for worker in range(workers):
            slab.clear(worker)
        return slab

    def close(self) -> None:
        """Give the memory back; workers that still map it keep theirs."""
        self._memory.close()
        os.close(self.fd)

    def clear(self, worker: int) -> None:
        """Empty a row, for the slot's next process."""
        self._put(worker * ROW_BYTES + _VERSION_AT, 0)
        self._put(worker * ROW_BYTES + _FRAME_AT, NO_FRAME)

    def publish(self, worker: int, report: Report) -> None:
        """Write the worker's report into the half that is not in use, then bring that half into use."""
        packed = msgspec.msgpack.encode(report)
        if len(packed) > _HALF_BYTES - _REPORT_AT:
            raise ValueError(f"a report of {len(packed)} bytes does not fit its {_HALF_BYTES - _REPORT_AT}")
        row = worker * ROW_BYTES
        version = self._get(row + _VERSION_AT) + 1
        half = row + version % 2 * _HALF_BYTES
        self._memory[half + _REPORT_AT : half + _REPORT_AT + len(packed)] = packed
        self._put(half + _LENGTH_AT, len(packed))
        self._put(row + _VERSION_AT, version)

    def read(self, worker: int) -> Report | None:
        """The worker's last whole report, or None before its first."""
        row = worker * ROW_BYTES
        while version := self._get(row + _VERSION_AT):
            half = row + version % 2 * _HALF_BYTES
            packed = self._memory[half + _REPORT_AT : half + _REPORT_AT + self._get(half + _LENGTH_AT)]
            if self._get(row + _VERSION_AT) == version:  # else two reports were written meanwhile: once more
                return msgspec.msgpack.decode(packed, type=Report)
        return None

    def making(self, worker: int, frame: int) -> None:
        """Say which frame is being made (or `NO_FRAME`): what a crash leaves behind as its likely cause."""
        self._put(worker * ROW_BYTES + _FRAME_AT, frame)

    def made(self, worker: int) -> int:
        """The frame that the worker was making when it was last heard of, or `NO_FRAME`."""
        return self._get(worker * ROW_BYTES + _FRAME_AT)

    def _get(self, offset: int) -> int:
        value: int = _INTEGER.unpack_from(self._memory, offset)[0]
        return value

    def _put(self, offset: int, value: int) -> None:
        _INTEGER.pack_into(self._memory, offset, value)
