"""Which seqs were seen, are missing or came with other bytes: against going through them by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.reading.seen import CHUNK, ChunkLimit, Runs, Seen, digests_of, holes

Read = tuple[int, int]  # seq, digest

LAST = 2**63 - 2
few_seqs = st.one_of(
    st.integers(0, 30),
    st.integers(CHUNK - 10, CHUNK + 10),
    st.integers(LAST - 30, LAST),
    st.integers(0, LAST),
)
reads = st.lists(st.tuples(few_seqs, st.integers(1, 3)), min_size=1, max_size=60)
pages = st.lists(reads, max_size=5)


def seen_in(pages: Sequence[Sequence[Read]], chunks_max: int = 1000) -> tuple[Seen, list[tuple[bool, bool]]]:
    """What was seen after these pages, and of each record in turn whether it was fresh and the same."""
    seen = Seen(ChunkLimit(chunks_max))
    found: list[tuple[bool, bool]] = []
    for page in pages:
        columns = np.array(page, np.int64).reshape(-1, 2)
        added = seen.add(columns[:, 0], columns[:, 1])
        found += zip(added.fresh.tolist(), added.same.tolist(), strict=True)
    return seen, found


def by_hand(pages: Sequence[Sequence[Read]]) -> list[tuple[bool, bool]]:
    first: dict[int, int] = {}
    found = []
    for seq, digest in (read for page in pages for read in page):
        fresh = seq not in first
        first.setdefault(seq, digest)
        found.append((fresh, first[seq] == digest))
    return found


def runs_of(numbers: set[int]) -> list[list[int]]:
    starts = sorted(number for number in numbers if number - 1 not in numbers)
    stops = sorted(number + 1 for number in numbers if number + 1 not in numbers)
    return [list(run) for run in zip(starts, stops, strict=True)]


@given(pages)
def test_copies_are_told_from_first_ones_and_from_altered_ones(pages: list[list[Read]]) -> None:
    seen, found = seen_in(pages)
    assert found == by_hand(pages)
    altered = [read for page in pages for read in page]
    assert sorted(seen.mismatched) == sorted(
        read for read, (_, same) in zip(altered, found, strict=True) if not same
    )


@given(pages, st.integers(0, 3))
def test_the_ranges_are_those_of_all_seqs_however_few_chunks_are_kept(
    pages: list[list[Read]], chunks_max: int
) -> None:
    seqs = {seq for page in pages for seq, _ in page}
    assert seen_in(pages, chunks_max)[0].ranges().tolist() == runs_of(seqs)


@given(pages, st.integers(0, 3))
def test_forgotten_digests_make_no_copy_fresh_and_no_copy_altered(
    pages: list[list[Read]], chunks_max: int
) -> None:
    seen, found = seen_in(pages, chunks_max)
    expected = by_hand(pages)
    assert [fresh for fresh, _ in found] == [fresh for fresh, _ in expected]
    wrong = sum(had and not has for (_, has), (_, had) in zip(found, expected, strict=True))
    missed = sum(has and not had for (_, has), (_, had) in zip(found, expected, strict=True))
    assert wrong == 0
    assert missed <= seen.uncompared


def test_a_whole_chunk_that_was_forgotten_costs_nothing_but_its_number() -> None:
    seen, _ = seen_in([[(seq, 1) for seq in range(3 * CHUNK)]], chunks_max=0)
    assert (seen._chunks, seen._partly, seen._whole.runs) == ({}, {}, [(0, 3)])
    assert seen.forgotten == 3 * CHUNK


def test_a_chunk_that_was_forgotten_half_full_is_filled_up() -> None:
    odd, even = ([(seq, 1) for seq in range(start, CHUNK, 2)] for start in (1, 0))
    seen, found = seen_in([odd, even], chunks_max=0)
    assert all(fresh for fresh, _ in found)
    assert seen._whole.runs == [(0, 1)]
    assert seen.ranges().tolist() == [[0, CHUNK]]


@pytest.mark.parametrize("records", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_digests_are_given_back_across_chunks(records: int) -> None:
    seqs = range(CHUNK - 5, CHUNK - 5 + records)
    seen, _ = seen_in([[(seq, seq) for seq in seqs]])
    assert seen.digests(seqs.start, records).tolist() == list(seqs)
    around = seen.digests(seqs.start - 2, records + 4).tolist()
    assert around == [0, 0, *seqs, 0, 0]


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_equal_bytes_have_equal_digests_and_none_is_zero(payloads: list[bytes]) -> None:
    digests = digests_of(payloads).tolist()
    assert 0 not in digests
    assert len(set(digests)) == len(set(payloads))


@given(st.lists(st.integers(0, 40), unique=True))
def test_runs_hold_what_was_added(numbers: list[int]) -> None:
    runs = Runs()
    for number in numbers:
        runs.add(number)
    assert [list(run) for run in runs.runs] == runs_of(set(numbers))
    assert [number in runs for number in range(42)] == [number in numbers for number in range(42)]


@given(st.sets(st.integers(0, 40)), st.lists(st.integers(0, 41), unique=True), st.integers(0, 4))
def test_holes_are_found_as_by_hand(there: set[int], edges: list[int], ranges_max: int) -> None:
    edges = sorted(edges)
    wanted = list(zip(edges[::2], edges[1::2], strict=False))
    missing = [{seq for seq in range(*bounds) if seq not in there} for bounds in wanted]
    gaps = [run for lost in missing for run in runs_of(lost)]
    found = holes(np.array(runs_of(there), np.int64).reshape(-1, 2), wanted, ranges_max)
    assert found.lost == sum(map(len, missing))
    assert found.ranges_total == len(gaps)
    assert [list(run) for run in found.ranges] == gaps[:ranges_max]
