"""Where keys go, and what a stream can take."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes import equal_shards
from tickerd.kinesis.ceiling import ceiling_records_per_second, shares_by_shard
from tickerd.kinesis.limits import HASH_KEY_END, SHARD_BYTES_PER_SECOND
from tickerd.kinesis.route import Route
from tickerd.kinesis.shards import Shard, ShardMap, ShardMapError, hash_key


def test_a_hash_key_is_the_md5_sum_as_a_big_endian_integer() -> None:
    assert hash_key("EUR/USD") == int(hashlib.md5(b"EUR/USD", usedforsecurity=False).hexdigest(), 16)


@given(st.integers(1, 200), st.integers(0, HASH_KEY_END - 1))
def test_every_hash_key_has_the_shard_whose_range_holds_it(count: int, key: int) -> None:
    shards = equal_shards(count)
    owner = shards.shards[shards.shard_of(key)]
    assert owner.hash_key_start <= key <= owner.hash_key_end


def test_a_shard_owns_both_ends_of_its_range() -> None:
    shards = equal_shards(3)
    for number, shard in enumerate(shards.shards):
        assert shards.shard_of(shard.hash_key_start) == number
        assert shards.shard_of(shard.hash_key_end) == number


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [(0, 5)],
        [(1, HASH_KEY_END - 1)],
        [(0, 9), (11, HASH_KEY_END - 1)],
        [(0, 10), (10, HASH_KEY_END - 1)],
        [(0, HASH_KEY_END - 1), (5, HASH_KEY_END - 1)],
    ],
)
def test_a_map_with_holes_or_overlaps_is_refused(ranges: list[tuple[int, int]]) -> None:
    with pytest.raises(ShardMapError):
        ShardMap(Shard(str(number), *ends) for number, ends in enumerate(ranges))


@pytest.mark.parametrize("count", [1, 2, 7, 64, 500])
def test_even_keys_are_one_for_each_shard_in_its_order(count: int) -> None:
    shards = equal_shards(count)
    assert [shards.shard_of(hash_key(key)) for key in shards.even_keys()] == list(range(count))


def test_even_keys_are_taken_in_turn_over_batches() -> None:
    route = Route(equal_shards(3), ["A"], np.ones(1), "even", None)
    turns = [route.keys_of(np.zeros(size, np.int64)).tolist() for size in (2, 5, 1)]
    assert turns == [[0, 1], [2, 0, 1, 2, 0], [1]]


def test_an_instrument_keeps_its_key() -> None:
    route = Route(equal_shards(3), ["A", "B", "C"], np.full(3, 1 / 3), "instrument", None)
    rows = np.array([2, 0, 2], np.int64)
    assert route.keys_of(rows) is rows
    assert route.key_shards.tolist() == [route.shard_map.shard_of(hash_key(key)) for key in "ABC"]


def test_the_ceiling_is_a_shards_capacity_over_its_share() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    by_shard = shares_by_shard(shares, np.array([0, 1, 1], np.int64), 2)
    assert by_shard.tolist() == [0.5, 0.5]
    assert ceiling_records_per_second(by_shard, 100) == pytest.approx(2000)
    assert ceiling_records_per_second(by_shard, SHARD_BYTES_PER_SECOND / 500) == pytest.approx(1000)


def test_aggregated_only_bytes_are_a_limit() -> None:
    by_shard = np.array([0.5, 0.5])
    assert ceiling_records_per_second(by_shard, 128, aggregated=True) == pytest.approx(2 * 8192)
    assert ceiling_records_per_second(by_shard, 2048, aggregated=True) == pytest.approx(2 * 512)


def test_a_shard_of_any_map_is_asked_whether_it_holds_all_keys() -> None:
    one, two = Route(equal_shards(1), ["A", "B"], np.ones(2), "instrument", None), equal_shards(2)
    assert sorted(two.shard_of(hash_key(key)) for key in "AB") == [0, 1]
    both, upper = np.array([0, 1, 0], np.int64), np.array([1], np.int64)
    assert one.holds(one.shard_map.shards[0], both)
    assert not any(one.holds(shard, both) for shard in two.shards)
    assert [one.holds(shard, upper) for shard in two.shards].count(True) == 1


def test_the_ceiling_of_even_keys_grows_with_the_shards() -> None:
    ceilings = [
        Route(equal_shards(count), ["A"], np.ones(1), "even", None).ceiling_records_per_second(
            100, aggregated=False
        )
        for count in (1, 4, 20)
    ]
    assert ceilings == pytest.approx([1000, 4000, 20_000])
