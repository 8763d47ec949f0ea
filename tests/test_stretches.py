"""Which snapshots come next: from the last stored one on, up to now, none left out."""

from hypothesis import given
from hypothesis import strategies as st

from tickerd.store.stretches import DAY_MS, SNAPSHOTS_MAX, wanted

MINUTE = 60_000
NOW = 1_795_716_387_123
LATEST = NOW // MINUTE * MINUTE
WEEK = 7 * DAY_MS


def test_a_market_that_is_not_there_yet_begins_with_the_latest_snapshot() -> None:
    assert wanted(None, NOW, MINUTE, WEEK) == (range(LATEST, LATEST + 1, MINUTE), LATEST - MINUTE, 0)


def test_nothing_is_due_before_the_next_multiple() -> None:
    assert not wanted(LATEST, LATEST + MINUTE - 1, MINUTE, WEEK).times_ms
    assert list(wanted(LATEST, LATEST + MINUTE, MINUTE, WEEK).times_ms) == [LATEST + MINUTE]


def test_what_is_missing_comes_in_order_and_in_pieces() -> None:
    first = wanted(LATEST - 20 * MINUTE, NOW, MINUTE, WEEK)
    assert list(first.times_ms) == [LATEST - n * MINUTE for n in range(19, 19 - SNAPSHOTS_MAX, -1)]
    assert first.stories_after_ms == LATEST - 20 * MINUTE


def test_what_is_older_than_is_kept_is_skipped_and_counted() -> None:
    next_ = wanted(LATEST - 3 * DAY_MS, LATEST, MINUTE, DAY_MS)
    assert next_.times_ms[0] == LATEST - DAY_MS
    assert next_.skipped == 2 * 24 * 60 - 1
    assert next_.stories_after_ms == LATEST - DAY_MS - MINUTE


def test_a_clock_that_was_set_back_makes_nothing_due() -> None:
    assert not wanted(LATEST + WEEK, NOW, MINUTE, WEEK).times_ms


@given(
    last=st.integers(0, 2_000),
    now=st.integers(0, 2_000),
    every=st.integers(1, 60),
    keep=st.integers(1, 2_000),
)
def test_all_is_stored_or_skipped_whatever_was_last(last: int, now: int, every: int, keep: int) -> None:
    stored, skipped = [last], 0
    while (next_ := wanted(stored[-1], now, every, keep)).times_ms:
        assert len(next_.times_ms) <= SNAPSHOTS_MAX
        assert next_.stories_after_ms >= stored[-1], "a story would be stored twice"
        if not next_.skipped:
            assert next_.stories_after_ms == stored[-1], "a story would be left out"
        skipped += next_.skipped
        stored += next_.times_ms
    due = [ms for ms in range(last + 1, now + 1) if ms % every == 0]
    assert stored[1:] == [ms for ms in due if ms >= now - keep]
    if stored[1:]:
        assert skipped == len([ms for ms in due if ms < now - keep])
