"""Reports reach the supervisor whole, over a death while writing too, and what they count only grows."""

import subprocess
import sys
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.observe.counters import (
    COUNT_BUCKETS,
    ERROR_CODES,
    NO_FRAME,
    ROW_BYTES,
    Counts,
    Problem,
    Report,
    Slab,
    empty_histogram,
    error_label,
)

WRITER = """
import sys
from tickerd.observe.counters import Report, Slab
slab, report, number = Slab(int(sys.argv[1]), 2), Report(), 0
while True:
    number += 1
    report.counts.entries_acked = report.owed = report.counts.record_retries = number
    report.source = "x" * (number % 500)
    slab.publish(1, report)
"""


def test_a_row_is_empty_before_its_first_report_and_for_the_next_process() -> None:
    slab = Slab.create(2)
    assert slab.read(0) is None
    slab.publish(0, Report(source="a"))
    assert slab.read(1) is None
    slab.clear(0)
    assert slab.read(0) is None


def test_a_report_is_read_as_it_was_published() -> None:
    slab = Slab.create(3)
    report = Report(source="s", problems=[Problem("NoRegion", "set one", 1.5, 3)], owed=7)
    report.counts.put_errors["KMS"] = 2
    report.counts.record_delay_s.observe(0.3, 10)
    slab.publish(2, report)
    assert slab.read(2) == report


def test_a_report_that_does_not_fit_is_an_error_of_ours_and_leaves_the_last_one() -> None:
    slab = Slab.create(1)
    slab.publish(0, Report(source="small"))
    with pytest.raises(ValueError, match="does not fit"):
        slab.publish(0, Report(source="x" * ROW_BYTES))
    last = slab.read(0)
    assert last is not None
    assert last.source == "small"


def test_a_reader_never_sees_half_a_report_and_loses_none_when_the_writer_is_killed() -> None:
    slab = Slab.create(2)
    last = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(slab.fd)], pass_fds=[slab.fd]) as writer:
            deadline = time.monotonic() + 60
            seen = 0
            while seen < 2000 and time.monotonic() < deadline:
                report = slab.read(1)
                if report is None or report.owed == last:
                    continue
                assert report.owed == report.counts.entries_acked == report.counts.record_retries
                assert len(report.source) == report.owed % 500
                last, seen = report.owed, seen + 1
            writer.kill()
        report = slab.read(1)
        assert report is not None
        assert report.owed == report.counts.entries_acked == report.counts.record_retries


def test_the_frame_being_made_outlives_the_process_that_made_it() -> None:
    slab = Slab.create(2)
    assert slab.made(1) == NO_FRAME
    slab.making(1, 28_727_000_123)
    slab.publish(1, Report())
    assert slab.made(1) == 28_727_000_123
    assert slab.made(0) == NO_FRAME
    slab.clear(1)
    assert slab.made(1) == NO_FRAME


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_a_histogram_counts_a_value_in_the_first_bucket_that_holds_it(values: list[float]) -> None:
    histogram = empty_histogram(COUNT_BUCKETS)
    for value in values:
        histogram.observe(value)
    for number, bound in enumerate(histogram.bounds):
        assert sum(histogram.counts[: number + 1]) == sum(value <= bound for value in values)
    assert sum(histogram.counts) == len(values)
    assert histogram.sum == pytest.approx(sum(values))


def test_counts_of_several_processes_add_up() -> None:
    one, other = Counts(), Counts()
    one.records_acked, other.records_acked = [1, 2, 3], [10, 20, 30]
    one.put_errors, other.put_errors = {"KMS": 1}, {"KMS": 2, "Timeout": 5}
    one.cpu_s, other.cpu_s = 0.5, 0.25
    other.entries_per_request.observe(500, 4)
    one.add(other)
    assert one.records_acked == [11, 22, 33]
    assert one.put_errors == {"KMS": 3, "Timeout": 5}
    assert one.cpu_s == 0.75
    assert sum(one.entries_per_request.counts) == 4


def test_counts_know_how_to_add_every_field_that_they_have() -> None:
    total, each = Counts(), Counts()
    for name in Counts.__struct_fields__:
        value = getattr(each, name)
        if isinstance(value, int | float):
            setattr(each, name, type(value)(1))
    total.add(each)
    total.add(each)
    doubled = msgspec.to_builtins(total)
    assert all(doubled[name] == 2 for name in doubled if isinstance(doubled[name], int | float))


@pytest.mark.parametrize(
    ("code", "label"),
    [("Timeout", "Timeout"), ("KMSDisabledException", "KMS"), ("SomethingNew", "other"), ("", "other")],
)
def test_error_labels_are_a_closed_set(code: str, label: str) -> None:
    assert error_label(code) == label
    assert label in ERROR_CODES
