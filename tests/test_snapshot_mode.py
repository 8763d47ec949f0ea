"""`rate.mode = "snapshot"`: a record of each instrument at multiples of `every_s`, owed like any other."""

import asyncio
import json
import signal
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import Host, Stream, killed
from reading_back import stored
from test_http_logs import ask
from test_source import NOW_FRAME, SetClock, gapless, taken
from test_source import Lab as SourceLab
from tickerd import checkpoint
from tickerd.checkpoint import Checkpoint
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.schedule import FRAMES_PER_SECOND, QUIET, Rates, Segment, SnapshotCadence, Timeline, first_ms
from tickerd.snapshots import Snapshots
from tickerd.stretch import busy_frames

UNIVERSE = Universe.load()
INSTRUMENTS = len(UNIVERSE.pairs) + len(UNIVERSE.stocks)
EVERY_MINUTE = SnapshotCadence(60, 3, 4)
MINUTE_FRAMES = 60 * FRAMES_PER_SECOND
ON_THE_MINUTE = NOW_FRAME // MINUTE_FRAMES * MINUTE_FRAMES

Json = dict[str, Any]


def segment(first_frame: int, cadence: SnapshotCadence = EVERY_MINUTE, first_seq: int = 0) -> Segment:
    return Segment.at_cadence(first_frame, first_seq, cadence, "digest")


class TestSchedule:
    @given(
        first_frame=st.integers(0, 10**12),
        every_s=st.integers(1, 86_400),
        frames=st.integers(0, 10**8),
    )
    def test_the_seq_of_a_frame_is_that_of_the_snapshots_since_the_segments_begin(
        self, first_frame: int, every_s: int, frames: int
    ) -> None:
        timeline = Timeline([segment(first_frame, SnapshotCadence(every_s, 3, 4), 10)])
        multiples = range(0, first_frame + frames, every_s * FRAMES_PER_SECOND)
        snapshots = len(multiples) - len(range(0, first_frame, every_s * FRAMES_PER_SECOND))
        assert timeline.seq(first_frame + frames) == 10 + 7 * snapshots

    def test_only_the_frame_that_begins_with_the_minute_has_records(self) -> None:
        timeline = Timeline([segment(ON_THE_MINUTE - 5)])
        there = [f for f in range(ON_THE_MINUTE - 5, ON_THE_MINUTE + 2000) if timeline.parts(f)[0].records]
        assert there == [ON_THE_MINUTE, ON_THE_MINUTE + MINUTE_FRAMES, ON_THE_MINUTE + 2 * MINUTE_FRAMES]
        (part,) = timeline.parts(ON_THE_MINUTE)
        assert (part.counts, part.first_seq, part.ms_start) == ((3, 4, 0), 0, 0)
        assert part.is_snapshot
        assert first_ms(ON_THE_MINUTE) % 60_000 == 0

    def test_a_snapshot_of_a_large_universe_is_one_part(self) -> None:
        (part,) = Timeline([segment(ON_THE_MINUTE, SnapshotCadence(60, 2000, 20_000))]).parts(ON_THE_MINUTE)
        assert part.records == 22_000

    def test_a_stream_goes_over_into_snapshots_and_back_without_a_gap(self) -> None:
        timeline = Timeline([Segment(ON_THE_MINUTE - 160, 0, Rates(16_000, 0, 0), "digest")])
        timeline.append(ON_THE_MINUTE, EVERY_MINUTE, "digest")
        timeline.append(ON_THE_MINUTE + 16, QUIET, "digest")
        timeline.append(ON_THE_MINUTE + 32, Rates(16_000, 0, 0), "digest")
        assert [timeline.seq(ON_THE_MINUTE + frame) for frame in (0, 1, 16, 33)] == [160, 167, 167, 168]
        Timeline(timeline.segments)  # which checks that they follow from each other

    def test_segments_of_a_stream_are_written_as_before(self) -> None:
        written = msgspec.json.encode(Segment(1, 2, Rates(3, 4, 5), "d"))
        assert written == (
            b'{"first_frame":1,"first_seq":2,"milli_records_per_second":{"forex":3,"stock":4,"news":5},'
            b'"digest":"d"}'
        )
        again = msgspec.json.decode(msgspec.json.encode(segment(7)), type=Segment)
        assert again == segment(7)

    def test_the_frames_of_snapshots_are_found_without_looking_at_the_others(self) -> None:
        one = segment(ON_THE_MINUTE + 1, SnapshotCadence(1, 3, 4))
        pieces = list(busy_frames(one, ON_THE_MINUTE - 100, ON_THE_MINUTE + 16 * 10_000))
        frames = [frame for piece in pieces for frame in piece.tolist()]
        assert len(pieces) > 1
        assert frames == [ON_THE_MINUTE + 16 * second for second in range(1, 10_000)]


@pytest.fixture
def lab(tmp_path: Path) -> SourceLab:
    return SourceLab(tmp_path)


def begun(first_frame: int, begun_below: int | None = None) -> Checkpoint:
    from test_source import at  # noqa: PLC0415 - its name says nothing here

    one = at(first_frame, begun_below)
    return msgspec.structs.replace(one, segments=[segment(first_frame)])


class TestSource:
    def source(self, lab: SourceLab, begin: Checkpoint, **options: Any) -> Any:
        return lab.source(begin, cadence_at=lambda _frame: EVERY_MINUTE, **options)  # type: ignore[arg-type, return-value]

    def test_missed_snapshots_follow_each_other_at_once(self, lab: SourceLab) -> None:
        begin = begun(NOW_FRAME - 4 * MINUTE_FRAMES)
        source = self.source(lab, begin, catch_up_factor=1.0)
        source.clock = SetClock(NOW_FRAME)
        began_s = time.monotonic()
        parts = [part for part in asyncio.run(taken(source)) if part.records]
        assert time.monotonic() - began_s < 30  # not the four minutes that their frames would take
        assert [part.frame % MINUTE_FRAMES for part in parts] == [0] * 4
        assert gapless(parts)

    def test_those_older_than_catch_up_max_are_skipped_without_a_gap_in_seq(self, lab: SourceLab) -> None:
        begin = begun(NOW_FRAME - 60 * MINUTE_FRAMES)
        source = self.source(lab, begin, catch_up_max_s=300.0)
        parts = [part for part in asyncio.run(taken(source)) if part.records]
        assert len(parts) in {2, 3}  # of the last 150 s
        assert parts[0].first_seq == 0
        assert gapless(parts)

    def test_a_snapshot_that_was_begun_is_made_again_however_old(self, lab: SourceLab) -> None:
        old = ON_THE_MINUTE - 600 * MINUTE_FRAMES
        source = self.source(lab, begun(old, old + 33), catch_up_max_s=300.0)
        parts = [part for part in asyncio.run(taken(source)) if part.records]
        assert parts[0].frame == old
        assert gapless(parts)


def lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_back(stream: Stream) -> list[Json]:
    """Every distinct record of the stream, in the order of source and seq."""
    return [record for _, records in sorted(stored(stream).items()) for record in records]


def snapshot_daemon(host: Host, stream: Stream, **settings: object) -> Any:
    return host.run(**{**stream.settings, "rate__mode": "snapshot", "rate__every_s": 1} | settings)


def test_each_instrument_comes_once_at_each_multiple_and_as_the_market_says(
    host: Host, stream: Stream
) -> None:
    daemon = snapshot_daemon(host, stream, rate__every_s=2)
    status = daemon.until_acked(2 * INSTRUMENTS)
    assert [worker["worker"] for worker in status["workers"]] == [0]
    assert status["rates"]["target"] == pytest.approx(INSTRUMENTS / 2, abs=0.001)
    assert daemon.stop() == 0
    report = host.verify(stream)
    assert (report["code"], report["totals"]["lost"], report["totals"]["altered"]) == (0, 0, 0)
    records = read_back(stream)
    assert [record["seq"] for record in records] == list(range(len(records)))
    by_time: dict[str, list[Json]] = {}
    for record in records:
        by_time.setdefault(record["time"], []).append(record)
    snapshots = Snapshots(Market(1, UNIVERSE))
    for at, found in by_time.items():
        seconds = datetime.fromisoformat(at).timestamp()
        assert seconds % 2 == 0
        rows = snapshots.at(round(seconds * 1000))
        expected = [msgspec.to_builtins(row) for row in [*rows.forex_exchange_rates, *rows.stock_prices]]
        shown = [
            {name: record[name] for name in record if name not in {"type", "source", "seq"}}
            for record in found
        ]
        assert shown == expected


def test_kills_lose_nothing_and_change_nothing(host: Host, stream: Stream) -> None:
    stream.faults(throttled=0.1, lost_ack=0.05)
    daemon = snapshot_daemon(host, stream)
    for number in range(1, 6):
        daemon.until_acked(number * INSTRUMENTS)
        killed(daemon.workers())
    daemon.until_acked(8 * INSTRUMENTS)
    daemon.send(signal.SIGKILL)  # the supervisor, whose worker drains by itself
    daemon.wait()
    stream.local.no_faults()
    daemon = snapshot_daemon(host, stream)
    daemon.until_acked(2 * INSTRUMENTS)
    assert daemon.stop() == 0
    report = host.verify(stream)
    assert report["code"] == 0, report
    assert (report["totals"]["lost"], report["totals"]["altered"]) == (0, 0)
    assert len(report["sources"]) == 1
    times = Counter(record["time"] for record in read_back(stream))
    assert set(times.values()) == {INSTRUMENTS}


def test_what_a_lost_host_owes_is_made_from_its_account(host: Host, stream: Stream) -> None:
    daemon = snapshot_daemon(host, stream, source__drain_max_s=5)  # nothing is taken: it stops in vain
    daemon.until_acked(INSTRUMENTS)
    stream.faults(outage=True)
    daemon.until("owed", lambda status: status["totals"]["owed"] >= INSTRUMENTS)
    daemon.stop()
    (source,) = host.account()["sources"]
    (owed,) = source["owed"]
    settings = ("--set", "rate.mode=snapshot", "--set", "rate.every_s=1", "--set", "source.id=")
    made = host.tickerd(
        "generate", "--account", str(host.state / "account.json"), "--owed", "-o", "owed.jsonl", *settings
    )
    assert made.returncode == 0, made.stderr
    records = lines(host.directory / "owed.jsonl")
    assert [record["seq"] for record in records] == list(range(owed["first_seq"], owed["next_seq"]))
    # The next start delivers the same ones.
    stream.faults(outage=False)
    daemon = snapshot_daemon(host, stream)
    daemon.until_acked(len(records) + INSTRUMENTS)
    assert daemon.stop() == 0
    there = {record["seq"]: record for record in read_back(stream)}
    assert [there[record["seq"]] for record in records] == records
    assert host.verify(stream)["code"] == 0


def test_records_ends_after_the_snapshot_that_reaches_them(host: Host, stream: Stream) -> None:
    daemon = host.run(
        "--records", str(INSTRUMENTS + 1), **{**stream.settings, "rate__mode": "snapshot", "rate__every_s": 1}
    )
    assert daemon.wait() == 0
    assert host.account()["sources"][0]["next_seq"] == 2 * INSTRUMENTS


class TestGenerate:
    def generate(self, host: Host, *arguments: str) -> list[Json]:
        ran = host.tickerd("generate", "--set", "rate.mode=snapshot", *arguments, "-o", "made.jsonl")
        assert ran.returncode == 0, ran.stderr
        return lines(host.directory / "made.jsonl")

    def test_a_stretch_has_a_snapshot_of_each_minute_in_it(self, host: Host) -> None:
        made = self.generate(host, "--from", "2026-11-25T11:59:59Z", "--to", "2026-11-25T12:02:00Z")
        assert Counter(record["time"] for record in made) == {
            "2026-11-25T12:00:00.000Z": INSTRUMENTS,
            "2026-11-25T12:01:00.000Z": INSTRUMENTS,
        }

    def test_a_feed_and_a_number_of_records_may_be_asked_for(self, host: Host) -> None:
        made = self.generate(host, "--from", "2026-11-25T12:00:00Z", "--feed", "forex", "--records", "100")
        assert len(made) == 100
        assert {record["type"] for record in made} == {"forex"}

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--rate", "5"), "--rate: "),
            (("--instrument", "EUR/USD"), "--instrument: "),
            (("--feed", "news"), "--feed: snapshots have no news"),
            (
                ("--records", "9999", "--from", "2026-11-25T12:00:00Z", "--to", "2026-11-25T12:01:00Z"),
                "fewer than 9999; give a longer stretch",
            ),
        ],
    )
    def test_what_snapshots_do_not_have_is_refused(
        self, host: Host, arguments: tuple[str, ...], said: str
    ) -> None:
        ran = host.tickerd("generate", "--set", "rate.mode=snapshot", *arguments)
        assert ran.returncode != 0
        assert said in ran.stderr
        assert ran.stderr.count("\n") == 1


def test_other_seconds_between_snapshots_hold_from_a_reload_on(host: Host, stream: Stream) -> None:
    file = host.directory / "tickerd.toml"

    def write(every_s: int) -> None:
        url, name = stream.settings["kinesis__endpoint_url"], stream.settings["kinesis__stream"]
        file.write_text(
            f'[rate]\nmode = "snapshot"\nevery_s = {every_s}\n[kinesis]\nendpoint_url = "{url}"\n'
            f'stream = "{name}"\nshard_limits = false\n[web]\nlisten = "127.0.0.1:0"\n'
            f'[state]\ndirectory = "{host.state}"\n'
        )

    write(1)
    daemon = host.run_with("-c", str(file))
    daemon.until_acked(INSTRUMENTS)
    write(3)
    daemon.send(signal.SIGHUP)
    daemon.until("the other cadence", lambda status: 0 < status["rates"]["target"] < INSTRUMENTS / 2)
    daemon.until_acked(4 * INSTRUMENTS)
    assert daemon.stop() == 0
    (source,) = host.account()["sources"]
    assert [each["snapshots"]["every_s"] for each in source["segments"]] == [1, 3]
    report = host.verify(stream)
    assert (report["code"], report["totals"]["lost"], report["totals"]["altered"]) == (0, 0, 0)
    state = checkpoint.read(next((host.state / "checkpoint").glob("[!.]*.json")))
    assert state.timeline().last.cadence == SnapshotCadence(3, len(UNIVERSE.pairs), len(UNIVERSE.stocks))


def test_a_reload_goes_over_from_a_stream_to_snapshots_and_back(host: Host, stream: Stream) -> None:
    file = host.directory / "tickerd.toml"

    def write(mode: str) -> None:
        url, name = stream.settings["kinesis__endpoint_url"], stream.settings["kinesis__stream"]
        file.write_text(
            f'[source]\nworkers = 2\n[rate]\nmode = "{mode}"\nevery_s = 1\nrecords_per_second = 100\n'
            f'[kinesis]\nendpoint_url = "{url}"\nstream = "{name}"\nshard_limits = false\n'
            f'[web]\nlisten = "127.0.0.1:0"\n[state]\ndirectory = "{host.state}"\n'
        )

    def runs(daemon: Any, workers: int, target: float) -> None:
        def is_so(status: Json) -> bool:
            running = [each for each in status["workers"] if each["state"] == "running"]
            return len(running) == workers and status["rates"]["target"] == target

        daemon.until(f"{workers} workers at {target} records/s", is_so)
        daemon.until_acked(daemon.status()["totals"]["acked"] + 100)

    write("stream")
    daemon = host.run_with("-c", str(file))
    runs(daemon, 2, 100)
    write("snapshot")
    daemon.send(signal.SIGHUP)
    runs(daemon, 1, INSTRUMENTS)
    token = (host.state / "token").read_text().strip()
    refused = ask(daemon, "/rate", "POST", Authorization=f"Bearer {token}")
    assert refused.status == 409
    write("stream")
    daemon.send(signal.SIGHUP)
    runs(daemon, 2, 100)
    assert daemon.stop() == 0
    report = host.verify(stream, "--settle", "0")
    assert (report["totals"]["lost"], report["totals"]["altered"]) == (0, 0)
    assert len({source["source"].rpartition("-")[2] for source in report["sources"]}) == 3  # runs
