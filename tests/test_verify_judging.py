"""What `verify` makes of the records that it read: by settling, and by an account."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tickerd.reading.account_file import Account, AccountedSource, Owed
from tickerd.reading.get_records import Entry
from tickerd.reading.judging import Cut, accounted_bounds, judge
from tickerd.reading.report import Report, SourceReport, render, report_json
from tickerd.reading.stream import StreamShard, parents_first
from tickerd.reading.tally import Tally
from tickerd.records import Forex

START = datetime(2026, 11, 24, 16, tzinfo=UTC)
SOURCE = "i-0abc123-0-k7m2qx4d"
OTHER = "i-0abc123-1-zzzzzzzz"
WHOLE = Cut()
SNAPSHOT = "i-0abc123-logs-k7m2qx4d"


def record(seq: int, source: str = SOURCE, pair: str = "EUR/USD", rate: float = 1.1) -> bytes:
    """One record a second, counted from START."""
    time = (START + timedelta(seconds=seq)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode(Forex(pair, rate, rate, rate, time, source, seq))


def records(seqs: Iterable[int], source: str = SOURCE) -> list[bytes]:
    return [record(seq, source) for seq in seqs]


def judged(
    *shards: Sequence[bytes],
    account: Account | None = None,
    settle_s: float = 0,
    cut: Cut = WHOLE,
    only: Sequence[str] = (),
    parents: Sequence[tuple[str, ...]] = (),
) -> Report:
    """The report of shards that were read one after the other, and one entry a page."""
    tally = Tally(accounted_bounds(account, cut, settle_s) if account else {}, settle_s, only)
    for number, shard in enumerate(shards):
        listed = StreamShard(name(number), parents[number] if parents else (), is_open=True)
        tally.add(listed, [])
        for at, data in enumerate(shard):
            arrival_s = (START + timedelta(seconds=at)).timestamp()
            tally.add(listed, [Entry(str(at), data, arrival_s)])
    return judge("s", tally, account, settle_s)


def name(number: int) -> str:
    return f"shardId-{number:012}"


def accounted(first_seq: int, next_seq: int, *owed: tuple[int, int], source: str = SOURCE) -> Account:
    frames = tuple(Owed(0, 1, first, after) for first, after in owed)
    first_time = START + timedelta(seconds=first_seq)
    return Account("d", (AccountedSource(source, first_seq, next_seq, first_time, (), frames),))


def row(report: Report, source: str = SOURCE) -> SourceReport:
    (found,) = [line for line in report.sources if line.source == source]
    return found


def test_a_whole_stream_has_nothing_lost() -> None:
    report = judged(records(range(0, 10, 2)), records(range(1, 10, 2)))
    assert report.exit_code == 0
    assert (row(report).first_seq, row(report).next_seq, row(report).records) == (0, 10, 10)
    assert report.totals.lost == report.totals.duplicates == report.totals.altered == 0


def test_a_missing_record_is_lost_and_named() -> None:
    report = judged(records(seq for seq in range(10) if seq not in {4, 6, 7}))
    assert report.totals.lost == row(report).lost == 3
    assert report.exit_code == 1
    assert f"lost of {SOURCE}: 4, 6 to 7\n" in render(report)


def test_only_the_first_lost_ranges_are_listed() -> None:
    report = judged(records(range(0, 15, 2)))
    assert report.totals.lost == 7
    assert f"lost of {SOURCE}: 1, 3, 5, 7, 9, and 2 more ranges\n" in render(report)


def test_a_doubled_record_is_a_duplicate_and_no_failure() -> None:
    report = judged([*records(range(5)), record(3)])
    assert (report.totals.records, report.totals.duplicates, report.totals.altered) == (6, 1, 0)
    assert report.exit_code == 0


def test_a_seq_with_two_contents_is_altered_and_fails() -> None:
    report = judged([*records(range(5)), record(3, rate=1.2)])
    assert (report.totals.records, report.totals.duplicates, report.totals.altered) == (6, 0, 1)
    assert report.exit_code == 1


def test_reordered_records_are_counted_and_no_failure() -> None:
    report = judged(records([0, 2, 1, 3]))
    assert report.totals.out_of_order == 1
    assert report.exit_code == 0


def test_a_child_goes_on_in_the_order_of_its_parent() -> None:
    assert judged(records([0, 1]), records([2, 3]), parents=[(), (name(0),)]).totals.out_of_order == 0
    assert judged(records([2, 3]), records([0, 1]), parents=[(), (name(0),)]).totals.out_of_order == 2


def test_an_instrument_on_two_shards_has_an_order_on_each_and_none_over_both() -> None:
    report = judged(records([2, 3, 7]), records([0, 1, 5, 4]))
    assert report.totals.out_of_order == 1
    assert report.spread == {SOURCE}
    assert "out of order means nothing where it is -" in render(report)
    line = next(line for line in render(report).splitlines() if line.startswith(SOURCE))
    assert line.split()[-5] == "-"
    assert "out of order -," in render(report)


def test_an_instrument_that_moves_to_a_child_is_not_spread() -> None:
    family = [(), (name(0),), (name(0),), (name(1), name(2)), (name(3),)]
    stay = records([0]), records([1]), [record(2, pair="USD/JPY")], records([3]), records([4])
    report = judged(*stay, parents=family)
    assert (report.spread, report.totals.out_of_order) == (set(), 0)
    assert "means nothing" not in render(report)


def test_a_corrupt_entry_fails_and_is_located() -> None:
    report = judged([*records(range(5)), record(5)[:20]])
    assert (report.totals.corrupt, report.shards[0].corrupt) == (1, 1)
    assert report.exit_code == 1
    assert 'corrupt in shardId-000000000000, sequence number 5: b\'{"type"' in render(report)


def test_foreign_entries_alone_do_not_fail() -> None:
    report = judged([*records(range(5)), b"hello", b'{"user":"x"}'])
    assert (report.totals.foreign, report.shards[0].foreign, report.totals.records) == (2, 2, 5)
    assert report.exit_code == 0


def test_other_sources_than_the_one_asked_for_are_not_looked_at() -> None:
    report = judged([*records(range(10)), *records([3, 6], OTHER)], only=[SOURCE])
    assert [line.source for line in report.sources] == [SOURCE]
    assert (report.totals.records, report.totals.lost, report.shards[0].records) == (10, 0, 10)


def test_a_source_that_is_not_there_leaves_nothing_to_judge() -> None:
    assert judged(records(range(10)), only=[OTHER]).exit_code == 1


@pytest.mark.parametrize(("missing", "lost"), [(2, 0), (3, 0), (4, 1), (6, 1), (7, 0)])
def test_holes_count_between_the_first_and_the_last_settled_record(missing: int, lost: int) -> None:
    # Records 0 to 10, a second apart, settling 3 s: 3 to 7 are judged; a hole at their edge cannot be told
    # from a later start or an earlier end.
    report = judged(records(seq for seq in range(11) if seq != missing), settle_s=3)
    assert report.totals.lost == lost
    assert row(report).first_seq == 3 + (missing == 3)
    assert row(report).next_seq == 8 - (missing == 7)


def test_exactly_twice_the_settling_leaves_one_record() -> None:
    assert judged(records(range(11)), settle_s=5).seqs_judged == 1
    assert judged(records(range(11)), settle_s=5).exit_code == 0


def test_nothing_left_to_judge_fails_and_says_what_to_do() -> None:
    report = judged(records(range(13)), settle_s=60)
    reason = (
        "nothing to judge: the stream holds 12 s of records, --settle 60 leaves none; "
        "use --settle 3 or --account FILE"
    )
    assert report.exit_code == 1
    assert render(report).endswith(reason + "\n")
    assert judged(records(range(13)), settle_s=3).exit_code == 0


def test_an_empty_stream_has_nothing_to_judge() -> None:
    report = judged([])
    assert report.exit_code == 1
    assert report.nothing_judged == "nothing to judge: stream s holds no records of tickerd's workers"


def test_each_source_is_judged_over_its_own_seqs() -> None:
    report = judged([*records(range(10)), *records([3, 4, 6], OTHER)])
    assert row(report).lost == 0
    assert (row(report, OTHER).first_seq, row(report, OTHER).next_seq) == (3, 7)
    assert row(report, OTHER).lost == 1


def test_snapshots_on_demand_stand_apart_and_are_not_judged() -> None:
    report = judged([*records(range(10)), *records([100, 300], SNAPSHOT)])
    assert report.exit_code == 0
    assert row(report, SNAPSHOT).lost == 0
    assert row(report, SNAPSHOT).first_seq == row(report, SNAPSHOT).next_seq
    assert "not judged for loss" in render(report)
    assert row(report).next_seq == 10  # a snapshot's times do not settle the workers'


def test_a_snapshot_alone_leaves_nothing_to_judge() -> None:
    assert judged(records([0, 1], SNAPSHOT)).exit_code == 1


@pytest.mark.parametrize(("missing", "lost"), [(0, 1), (1, 1), (9, 1), (10, 0)])
def test_an_account_judges_heads_and_tails_without_settling(missing: int, lost: int) -> None:
    report = judged(
        records(seq for seq in range(11) if seq != missing), account=accounted(0, 10), settle_s=60
    )
    assert report.totals.lost == lost
    assert report.exit_code == lost
    assert (row(report).first_seq, row(report).next_seq) == (0, 10)


@pytest.mark.parametrize(("missing", "lost"), [(3, 1), (4, 0), (5, 0), (6, 1), (7, 1), (8, 0), (9, 0)])
def test_what_is_owed_need_not_be_there(missing: int, lost: int) -> None:
    account = accounted(0, 10, (8, 10), (4, 6))
    report = judged(records(seq for seq in range(10) if seq != missing), account=account)
    assert report.totals.lost == lost
    assert report.seqs_judged == 6


def test_owed_seqs_that_arrived_all_the_same_are_neither_lost_nor_wrong() -> None:
    assert judged(records(range(10)), account=accounted(0, 10, (8, 10))).exit_code == 0


def test_a_source_of_which_nothing_arrived_is_lost_whole() -> None:
    report = judged([], account=accounted(5, 10))
    assert (row(report).lost, row(report).records, row(report).delay_p50_s) == (5, 0, None)
    assert report.exit_code == 1


def test_records_beyond_the_account_are_mentioned() -> None:
    report = judged(records(range(12)), account=accounted(0, 10))
    assert report.exit_code == 0
    assert f"{SOURCE}: 2 records beyond the account's end, not judged" in report.notes


def test_a_source_that_the_account_does_not_name_is_judged_by_its_gaps() -> None:
    stream = [*records(range(20)), *records((seq for seq in range(20) if seq not in {1, 9}), OTHER)]
    report = judged(stream, account=accounted(0, 20), settle_s=3)
    assert (row(report).lost, row(report, OTHER).lost) == (0, 1)
    assert f"{OTHER}: not in the account, judged by its gaps only" in report.notes


def test_an_account_of_nothing_proves_nothing() -> None:
    report = judged(records(range(10)), account=Account("d", ()), settle_s=60)
    assert report.exit_code == 1
    assert "the account promises no records" in report.nothing_judged


def test_a_head_that_the_stream_has_forgotten_is_not_lost() -> None:
    cut = Cut(START + timedelta(seconds=4))
    report = judged(records(range(5, 20)), account=accounted(0, 20), settle_s=2, cut=cut)
    assert report.exit_code == 0
    assert (row(report).first_seq, row(report).next_seq) == (6, 20)
    assert f"{SOURCE}: began before what could be read; judged from seq 6 on" in report.notes
    tail_lost = judged(records(range(5, 19)), account=accounted(0, 20), settle_s=2, cut=cut)
    assert tail_lost.totals.lost == 1


def test_a_source_that_began_after_the_horizon_keeps_its_head() -> None:
    cut = Cut(START + timedelta(seconds=4))
    assert judged(records(range(5, 9)), account=accounted(4, 9), cut=cut).totals.lost == 1


def test_a_tail_that_was_not_asked_for_is_not_lost() -> None:
    cut = Cut(None, START + timedelta(seconds=12))
    report = judged(records(range(12)), account=accounted(0, 20), settle_s=2, cut=cut)
    assert report.exit_code == 0
    assert (row(report).first_seq, row(report).next_seq) == (0, 11)
    assert judged(records(range(1, 12)), account=accounted(0, 20), settle_s=2, cut=cut).totals.lost == 1


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_a_report_does_not_depend_on_how_many_entries_were_read_at_once(size: int) -> None:
    shards = [[*records([0, 2, 1, 5]), record(2), record(5, rate=1.3)], records([4, 3])]
    entries = [
        [Entry(str(at), data, (START + timedelta(seconds=at)).timestamp()) for at, data in enumerate(shard)]
        for shard in shards
    ]
    tally = Tally()
    for number, shard in enumerate(entries):
        for at in range(0, len(shard), size):
            tally.add(StreamShard(name(number), (), is_open=True), shard[at : at + size])
    assert judge("s", tally, None, 0) == judged(*shards)


def test_the_json_has_the_shape_of_the_contract() -> None:
    shown = msgspec.json.decode(report_json(judged([*records(range(3)), b"x"], [])))
    counts = {"records", "lost", "duplicates", "altered", "out_of_order", "corrupt", "foreign"}
    assert set(shown) == {"totals", "sources", "shards"}
    assert set(shown["totals"]) == counts
    assert set(shown["sources"][0]) == counts | {
        "source", "first_seq", "next_seq", "delay_p50_s", "delay_p99_s",
    }  # fmt: skip
    assert set(shown["shards"][0]) == {
        "shard_id", "parent_shard_id", "adjacent_parent_shard_id", "open",
        "records", "corrupt", "foreign", "discarded",
    }  # fmt: skip
    assert shown["shards"][0]["records"] == 3
    assert shown["shards"][1]["open"] is True


def test_a_source_without_records_has_null_delays_in_json() -> None:
    shown = msgspec.json.decode(report_json(judged([], account=accounted(0, 1))))
    assert shown["sources"][0]["delay_p99_s"] is None


def test_parents_come_before_children_whatever_the_list_says() -> None:
    tree = {"a": (), "b": (), "c": ("a", "b"), "d": ("c",), "e": ("c",), "f": ("expired",), "g": ("d", "e")}
    shards = [StreamShard(name, parents, is_open=True) for name, parents in tree.items()]
    for listed in (shards, shards[::-1], shards[3:] + shards[:3]):
        ordered = [shard.shard_id for shard in parents_first(listed)]
        assert sorted(ordered) == sorted(tree)
        for name, parents in tree.items():
            assert all(ordered.index(parent) < ordered.index(name) for parent in parents if parent in tree)
