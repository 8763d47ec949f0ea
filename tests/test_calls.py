"""Requests are as full as the service's limits allow, and no fuller."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import routes
from tickerd.kinesis.calls import fitting
from tickerd.kinesis.limits import CALL_BYTES_MAX, ENTRIES_PER_CALL_MAX


@given(st.lists(st.integers(1, CALL_BYTES_MAX), min_size=1, max_size=1500))
def test_a_call_is_never_too_large_and_never_emptier_than_needed(sizes: list[int]) -> None:
    fit = fitting(np.array(sizes, np.int64))
    assert 1 <= fit <= ENTRIES_PER_CALL_MAX
    assert sum(sizes[:fit]) <= CALL_BYTES_MAX
    whole = fit == len(sizes) or fit == ENTRIES_PER_CALL_MAX
    assert whole or sum(sizes[: fit + 1]) > CALL_BYTES_MAX


@pytest.mark.parametrize(("entries", "fit"), [(499, 499), (500, 500), (501, 500)])
def test_a_call_has_500_entries_at_most(entries: int, fit: int) -> None:
    assert fitting(np.ones(entries, np.int64)) == fit


@pytest.mark.parametrize(("over", "fit"), [(-1, 11), (0, 11), (1, 10)])
def test_a_call_has_10_mib_and_no_byte_more(over: int, fit: int) -> None:
    sizes = [1024 * 1024 - 10] * 10 + [100 + over]
    assert fitting(np.array(sizes, np.int64)) == fit


@pytest.mark.parametrize("key", ["", "k" * 257])
def test_a_key_that_the_service_refuses_is_refused_before(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 256 characters"):
        routes.route(keys=(key,))
