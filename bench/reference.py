"""What speeds are told beside: bare `encode_lines` of the default records, on the core of whoever calls."""

import statistics
import time
from functools import cache

import msgspec

from batches import batches
from tickerd.records import Record

RECORDS = 32_000
TIMES = 150  # as many encodings as take more than a second


def encode_lines(times: int = TIMES) -> float:
    """CPU seconds per million records of the encoder alone: a mean, as a worker's is."""
    encoder, records = msgspec.json.Encoder(), _records()
    took: list[float] = []
    for _ in range(times):
        began = time.process_time()
        encoder.encode_lines(records)
        took.append(time.process_time() - began)
    return statistics.fmean(took) / len(records) * 1e6


@cache
def _records() -> list[Record]:
    return [each for batch in batches(RECORDS) for each in batch.records]
