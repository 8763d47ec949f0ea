"""`tickerd generate`: the records that a daemon emits, exactly as many as asked for, and whole files only."""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickerd import stretch
from tickerd.config import load
from tickerd.generate import GenerateError, Wanted, generate
from tickerd.generate import stretch as described
from tickerd.market.universe import Universe
from tickerd.reading.account_file import load_account
from tickerd.recipe import market_of, recipe_of
from tickerd.schedule import FRAMES_PER_SECOND, MILLI, Rates, Segment, Timeline, first_ms
from tickerd.stretch import Stretch, batches, busy_frames, together

PATIENCE_S = 60.0
START = "2026-01-05T14:30:00Z"
UNIVERSE = Universe.load()
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TICKERD_"))}

Json = dict[str, Any]


def tickerd(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tickerd", *arguments],
        env=ENVIRONMENT | {"AWS_EC2_METADATA_DISABLED": "true"},
        cwd=cwd,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


def records(*arguments: str) -> list[Json]:
    """What `generate` prints, read as JSON; it must say nothing else."""
    ran = tickerd("generate", *arguments)
    assert (ran.returncode, ran.stderr) == (0, b"")
    return [json.loads(line) for line in ran.stdout.splitlines()]


def wanted(start: str, stop: str | None = None, **others: Any) -> Wanted:
    end = datetime.fromisoformat(stop) if stop else None
    return Wanted(datetime.fromisoformat(start), end, **others)


def plan(asked: Wanted, *sets: str) -> Stretch:
    """The stretch that `generate` makes of what is asked for."""
    loaded = load(None, sets, {}).settings
    return described(loaded, UNIVERSE, recipe_of(loaded, UNIVERSE), asked)


# How many, and which.


def test_exactly_as_many_records_as_asked_for_in_order_and_within_the_stretch() -> None:
    made = records("--from", START, "--to", "2026-01-05T14:31:00Z", "--records", "3001")
    assert [record["seq"] for record in made] == list(range(3001))
    assert {record["source"] for record in made} == {made[0]["source"]}
    times = [record["time"] for record in made]
    assert times == sorted(times)
    assert times[0] >= "2026-01-05T14:30:00.000Z"
    assert "2026-01-05T14:30:59.5" < times[-1] < "2026-01-05T14:31:00"
    assert {record["type"] for record in made} == {"forex", "stock", "news"}


@settings(max_examples=60)
@given(count=st.integers(1, 10**7), seconds=st.integers(1, 10**8), feed=st.sampled_from([None, "stock"]))
def test_the_rate_is_the_smallest_that_makes_so_many(count: int, seconds: int, feed: str | None) -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    stop = datetime.fromtimestamp(start.timestamp() + seconds, UTC)
    made = plan(Wanted(start, stop, records=count, feed=feed))
    milli = made.segments[0].milli_records_per_second.total
    assert made.records == count
    assert made.segments[0].seq(made.end_frame) >= count
    if milli > 1:
        slower = plan(Wanted(start, stop, records_per_second=(milli - 1) / MILLI, feed=feed))
        assert slower.records < count


@pytest.mark.parametrize("count", [1, 999, 1000, 1001])
def test_without_an_end_the_records_are_those_of_the_rate_in_the_settings(count: int) -> None:
    made = plan(wanted(START, records=count))
    assert made.segments[0].milli_records_per_second == Rates(300_000, 650_000, 50_000)
    assert (made.records, Timeline(made.segments).seq(made.end_frame) >= count) == (count, True)
    assert Timeline(made.segments).seq(made.end_frame - 1) < count


def test_without_records_and_end_a_minute_is_made() -> None:
    made = plan(wanted(START))
    assert (made.end_frame - made.first_frame, made.records) == (960, 60_000)


def test_a_stretch_holds_the_whole_sixteenths_that_its_times_lie_in() -> None:
    made = plan(wanted("2026-01-05T14:30:00.100Z", "2026-01-05T14:30:00.130Z"))
    assert first_ms(made.first_frame) % 1000 == 63
    assert made.end_frame - made.first_frame == 2


def test_another_stretch_rate_or_seed_is_another_source() -> None:
    asked = wanted(START, "2026-01-05T14:31:00Z", records=10)
    sources = {
        plan(asked).source,
        plan(asked, "market.seed=2").source,
        plan(asked._replace(records=1000)).source,
        plan(asked._replace(feed="stock")).source,
        plan(asked._replace(instrument="QRVA")).source,
        plan(wanted("2026-01-05T14:30:01Z", "2026-01-05T14:31:00Z", records=10)).source,
    }
    assert len(sources) == 6
    assert plan(asked).source in sources
    assert plan(asked, "source.id=here").source.startswith("here-0-")


@pytest.mark.parametrize(
    ("options", "types", "symbols"),
    [
        (("--feed", "news"), {"news"}, None),
        (("--instrument", "EUR/USD"), {"forex"}, {"EUR/USD"}),
        (("--instrument", "QRVA"), {"stock"}, {"QRVA"}),
        (("--instrument", "QRVA", "--feed", "news"), {"news"}, {"QRVA"}),
        (("--instrument", "EUR"), {"news"}, {"EUR"}),
    ],
)
def test_a_feed_or_an_instrument_gets_the_whole_rate(
    options: tuple[str, ...], types: set[str], symbols: set[str] | None
) -> None:
    made = records("--from", START, "--to", "2026-01-05T14:30:10Z", "--rate", "50", *options)
    assert len(made) == 500
    assert {record["type"] for record in made} == types
    named = {record.get("currency_pair", record.get("stock_symbol")) for record in made}
    assert named == symbols or (symbols is None and len(named) > 10)


@pytest.mark.parametrize("instrument", ["EUR/USD", "QRVA"])
def test_prices_of_one_instrument_alone_are_those_of_the_whole_market(instrument: str) -> None:
    loaded = load(None, (), {}).settings
    market = market_of(recipe_of(loaded, UNIVERSE), UNIVERSE)
    stretch = ("--from", START, "--to", "2026-03-05T14:30:00Z", "--records", "60")
    for record in records(*stretch, "--instrument", instrument):
        ms = round(datetime.fromisoformat(record["time"]).timestamp() * 1000)
        quote = market.at(instrument, ms)
        assert (record["bid"], record["ask"]) == (quote.bid, quote.ask)
        assert record.get("rate", record.get("price")) == quote.price


@pytest.mark.parametrize(
    ("rates", "span"),
    [
        (Rates(0, 0, 0), 1000),
        (Rates(7, 0, 3), 10**7),
        (Rates(300, 650, 50), 200_000),
        (Rates(16_000, 1, 0), 9000),
    ],
)
def test_no_frame_with_records_is_passed_over(rates: Rates, span: int) -> None:
    segment = Segment(1_000, 0, rates, "")
    pieces = list(busy_frames(segment, 900, 1_000 + span))
    frames = [frame for piece in pieces for frame in piece.tolist()]
    assert frames == sorted(set(frames))
    assert sum(sum(segment.counts(frame)) for frame in frames) == sum(segment.records_before(1_000 + span))


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_chunks_of_any_size_make_the_same_bytes(form: str, tmp_path: Path) -> None:
    command = ["generate", "--from", START, "--to", "2026-01-05T14:30:02Z", "--set", f"record.format={form}"]
    for chunk in ("1", "100", "16000", "1000000"):
        ran = tickerd(*command, "--records", "9001", "--chunk", chunk, "-o", str(tmp_path / chunk))
        assert (ran.returncode, ran.stderr) == (0, b"")
    made = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(made) == 1
    assert made.pop().count(b"\n" if form == "json" else b"\xa4type") == 9001


def test_pieces_of_frames_of_any_number_make_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(frames: int) -> bytes:
        monkeypatch.setattr(stretch, "FRAMES_AT_ONCE", frames)
        loaded = load(None, (), {}).settings
        asked = plan(wanted(START, "2026-01-05T14:30:02Z", records=50_001))
        market = market_of(recipe_of(loaded, UNIVERSE), UNIVERSE)
        return b"".join(map(together("json"), batches(market, asked)))

    assert made(3).count(b"\n") == 50_001
    assert made(3) == made(4096)


def test_the_same_command_makes_the_same_file_and_another_seed_another(tmp_path: Path) -> None:
    command = ["generate", "--from", START, "--to", "2026-01-05T14:40:00Z", "--records", "2000"]
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert tickerd(*command, "--seed", seed, "-o", str(tmp_path / name)).returncode == 0
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again
    assert first.count(b"\n") == other.count(b"\n") == 2000
    assert first != other


def test_msgpack_is_one_map_after_the_other_with_the_same_fields() -> None:
    command = ["generate", "--from", START, "--to", "2026-01-05T14:30:01Z", "--records", "200"]
    packed = tickerd(*command, "--set", "record.format=msgpack").stdout
    # A map begins with its number of fields, 9, and its first one, "type"; no text holds these bytes.
    head = b"\xa4type"
    maps = [msgspec.msgpack.decode(part[-1:] + head + rest[:-1]) for part, rest in _around(packed, head)]
    assert [record["seq"] for record in maps] == list(range(200))
    fields = {
        record["type"]: list(record) for record in map(json.loads, tickerd(*command).stdout.splitlines())
    }
    assert {record["type"]: list(record) for record in maps} == fields


def _around(packed: bytes, head: bytes) -> list[tuple[bytes, bytes]]:
    """What stands before and after each head; the byte before one belongs to the map that it begins."""
    parts = (packed + b"\x00").split(head)
    return list(pairwise(parts))


# Hours.


def test_while_markets_are_closed_their_feeds_have_no_records() -> None:
    hours = ("--set", "market.hours=market")
    made = records("--from", "2026-11-27T17:59:50Z", "--to", "2026-11-27T18:00:10Z", "--rate", "100", *hours)
    stocks = [record for record in made if record["type"] == "stock"]
    assert max(record["time"] for record in stocks) < "2026-11-27T18:00:00"
    assert [record["seq"] for record in made] == list(range(len(made)))
    assert len(stocks) == 650
    assert len([record for record in made if record["type"] == "forex"]) == 600
    after = [record for record in made if record["time"] >= "2026-11-27T18:00:00"]
    codes = {currency.code for currency in UNIVERSE.currencies}
    assert {record["stock_symbol"] for record in after if record["type"] == "news"} <= codes


def test_records_are_spread_over_the_hours_in_which_markets_are_open() -> None:
    asked = wanted("2026-11-27T00:00:00Z", "2026-11-30T00:00:00Z", records=10_000)
    made = plan(asked, "market.hours=market")
    timeline = Timeline(made.segments)
    assert timeline.seq(made.end_frame) >= 10_000
    assert (
        len(made.segments) == 5
    )  # Asia and Europe; New York; after its early close; weekend; Sunday evening
    assert [segment.milli_records_per_second.stock > 0 for segment in made.segments] == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert made.segments[3].milli_records_per_second.total == 0


def test_an_instrument_whose_market_is_closed_has_no_records() -> None:
    asked = wanted("2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z", records=10, instrument="QRVA")
    with pytest.raises(GenerateError, match="make 0 from 2026-11-28T00:00:00Z to 2026-11-29T00:00:00Z"):
        plan(asked, "market.hours=market")
    monday = wanted("2026-11-28T00:00:00Z", records=10, instrument="QRVA")
    made = plan(monday, "market.hours=market")
    assert Timeline(made.segments).seq(made.end_frame) >= 10
    assert first_ms(made.end_frame) > datetime(2026, 11, 30, 14, 30, tzinfo=UTC).timestamp() * 1000


# What people see.


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (
            ("--instrument", "XXX/YYY"),
            1,
            "--instrument: XXX/YYY is none of the universe's, such as EUR/USD or ",
        ),
        (("--instrument", "QRVA", "--feed", "forex"), 1, "--feed: QRVA is in stock and news, not in forex"),
        (("--rate", "0.0001"), 1, "--rate: 0.0001 is not from 0.001 to 100000000 records/s"),
        (
            ("--to", "2020-01-01"),
            1,
            "--from and --to: expected times from 1970 to 9998, the earlier one first",
        ),
        (("--from", "0001-01-01", "--to", "0001-01-02"), 1, "--from and --to: expected times from 1970"),
        (("--from", "9999-01-01"), 1, "--from and --to: expected times from 1970"),
        (
            ("--from", START, "--to", "2026-01-05T14:30:10Z", "--rate", "10", "--records", "101"),
            1,
            "--records: 10 records/s make 100 from 2026-01-05T14:30:00Z to 2026-01-05T14:30:10Z, fewer than ",
        ),
        (("-o", "/nonexistent/file"), 1, "-o /nonexistent/file: No such file or directory; give a file that"),
        (("-o", "/"), 1, "-o /: Is a directory; give a file that can be written"),
        (("--seed", "-1"), 2, "argument --seed: '-1' is not a whole number from 0 to 9223372036854775807; "),
        (("--chunk", "0"), 2, "argument --chunk: '0' is not a whole number above 0; usage: "),
        (("--from", "noon"), 2, "argument --from: 'noon' is not a time such as 2026-11-24T16:00:00Z; "),
        (("--feed", "bonds"), 2, "argument --feed: invalid choice: 'bonds' (choose from "),
        (("--owed",), 2, "--account FILE and --owed go together, and without options that choose other"),
        (("--account", "x.json", "--owed", "--rate", "3"), 2, "--account FILE and --owed go together"),
        (("--account", "/nonexistent/x", "--owed"), 1, "account /nonexistent/x: No such file or directory"),
        (("--set", "rate.records_per_second=0", "--records", "5"), 1, "--records: 0 records/s make 0 from "),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(options: tuple[str, ...], code: int, line: str) -> None:
    ran = tickerd("generate", *options)
    said = ran.stderr.decode()
    assert (ran.returncode, ran.stdout) == (code, b"")
    assert said.startswith(f"tickerd: {line}")
    assert said.count("\n") == 1


def test_a_full_device_is_one_line_for_a_file_and_for_standard_output() -> None:
    assert tickerd("generate", "--records", "9", "-o", "/dev/full").stderr.startswith(
        b"tickerd: -o /dev/full: No "
    )
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "tickerd", "generate", "--records", "9"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            check=False,
        )
    assert (ran.returncode, ran.stderr.count(b"\n")) == (1, 1)
    assert b"standard output: No space left on device" in ran.stderr


def test_whoever_reads_may_stop_reading_and_nothing_is_said() -> None:
    command = [sys.executable, "-m", "tickerd", "generate", "--rate", "200000", "--to", "2099-01-01"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert json.loads(running.stdout.readline())["seq"] == 0
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(PATIENCE_S) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_file_that_is_not_complete_is_not_there(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "day.jsonl"
    out.write_text("what was there before\n")
    command = [
        sys.executable,
        "-m",
        "tickerd",
        "generate",
        "--rate",
        "200000",
        "--to",
        "2099-01-01",
        "-o",
        str(out),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT) as running:
        _eventually(lambda: any(path.stat().st_size > 0 for path in tmp_path.glob(".day*")))
        running.send_signal(number)
        _, said = running.communicate(timeout=PATIENCE_S)
        assert (running.returncode, said) == (1, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["day.jsonl"]
    assert out.read_text() == "what was there before\n"


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert tickerd("generate", "--records", "3", "-o", str(tmp_path / "link")).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes().count(b"\n") == 3


# Against a daemon.


def _eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Endpoint:
    """A `tickerd local` that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, body: Json, **headers: str) -> Json:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE_S)
        try:
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content
            return dict(json.loads(content)) if content else {}
        finally:
            connection.close()

    def call(self, operation: str, **fields: object) -> Json:
        headers = {
            "X-Amz-Target": f"Kinesis_20131202.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        return self.post("/", fields, **headers)

    def stored(self) -> list[bytes]:
        """All records of the stream."""
        found = []
        for shard in self.call("ListShards", StreamName="market-log")["Shards"]:
            iterator = self.call(
                "GetShardIterator",
                StreamName="market-log",
                ShardId=shard["ShardId"],
                ShardIteratorType="TRIM_HORIZON",
            )["ShardIterator"]
            while True:
                answer = self.call("GetRecords", ShardIterator=iterator)
                found += [base64.b64decode(record["Data"]) for record in answer["Records"]]
                iterator = answer["NextShardIterator"]
                if not answer["Records"] and answer["MillisBehindLatest"] == 0:
                    break
        return found

    def records(self) -> list[Json]:
        """The same, read as JSON."""
        return list(map(json.loads, self.stored()))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    command = [sys.executable, "-m", "tickerd", "local", "--port", "0", "--no-shard-limits"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    ) as running:
        assert running.stdout is not None
        line = running.stdout.readline().decode()
        yield Endpoint("http://" + line.partition("http://")[2].split()[0])
        running.terminate()


def daemon(endpoint: Endpoint, state: Path, *sets: str) -> list[str]:
    given = (
        f"kinesis.endpoint_url={endpoint.url}",
        f"state.directory={state}",
        "web.listen=127.0.0.1:0",
        "kinesis.region=eu-central-1",
        "source.workers=2",
        "rate.records_per_second=1500",
        "kinesis.shard_limits=false",
        *sets,
    )
    return [argument for each in given for argument in ("--set", each)]


@pytest.mark.parametrize("form", ["json", pytest.param("msgpack", marks=pytest.mark.slow)])
def test_what_a_daemon_delivered_is_what_generate_makes(
    endpoint: Endpoint, tmp_path: Path, form: str
) -> None:
    sets = (f"record.format={form}", "market.universe=large", "market.seed=11")
    ran = tickerd("run", "--records", "2000", *daemon(endpoint, tmp_path, *sets))
    assert ran.returncode == 0, ran.stderr.decode()

    loaded = load(None, sets, {}).settings
    universe = Universe.load("large")
    recipe = recipe_of(loaded, universe)
    made: list[bytes] = []
    encode = together(form)
    for source in load_account(tmp_path / "account.json").sources:
        first = source.segments[0].first_frame
        whole = Stretch(source.source, source.segments, first, first + 10**6, source.next_seq)
        for each in batches(market_of(recipe, universe), whole):
            made += [
                encode([record]).rstrip(b"\n") if form == "json" else encode([record]) for record in each
            ]
    assert len(made) >= 2000
    assert sorted(made) == sorted(endpoint.stored())


def owes(state: Path) -> bool:
    """Whether a checkpoint says that more was begun than is acknowledged, by more than its reservation."""
    for file in (state / "checkpoint").glob("[!.]*.json"):
        checkpoint = json.loads(file.read_bytes())["checkpoint"]
        if checkpoint["begun_below"] - checkpoint["lowest_unacknowledged"] > 2 * FRAMES_PER_SECOND:
            return True
    return False


def test_what_a_lost_host_owes_is_made_from_its_account(endpoint: Endpoint, tmp_path: Path) -> None:
    given = daemon(endpoint, tmp_path / "state", "source.drain_max_s=1")
    command = [sys.executable, "-m", "tickerd", "run", *given]
    account = tmp_path / "state" / "account.json"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as running:
        _eventually(lambda: len(endpoint.stored()) > 500)
        endpoint.post("/_local/faults", {"outage": True})
        _eventually(lambda: owes(tmp_path / "state"))
        running.terminate()
        assert running.wait(PATIENCE_S) == 75
    owed = {
        (source.source, seq)
        for source in load_account(account).sources
        for part in source.owed
        for seq in range(part.first_seq, part.next_seq)
    }
    made = records("--account", str(account), "--owed", *given)
    assert owed
    assert len(made) == len(owed)
    assert {(record["source"], record["seq"]) for record in made} == owed

    # The daemon, started again, delivers the same bytes.
    endpoint.post("/_local/faults", {"outage": False})
    patient = [sys.executable, "-m", "tickerd", "run", *given, "--set", "source.drain_max_s=60"]
    with subprocess.Popen(patient, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as running:
        _eventually(lambda: owed <= {(each["source"], each["seq"]) for each in endpoint.records()})
        running.terminate()
        assert running.wait(PATIENCE_S) == 0
    delivered = {(record["source"], record["seq"]): record for record in endpoint.records()}
    assert all(delivered[record["source"], record["seq"]] == record for record in made)
    nothing = tickerd("generate", "--account", str(account), "--owed", *given)
    assert (nothing.returncode, nothing.stdout) == (0, b"")
    assert nothing.stderr == f"tickerd: {account} owes nothing\n".encode()


def test_other_settings_than_the_accounts_are_refused(tmp_path: Path) -> None:
    segment = Segment(1000, 0, Rates(1000, 1000, 1000), "0123456789abcdef")
    owed = {"first_frame": 1000, "end_frame": 1016, "first_seq": 0, "next_seq": 3}
    source = {"source": "a-0-aaaaaaaa", "first_seq": 0, "next_seq": 3, "owed": [owed]}
    content = {"settings_digest": "", "sources": [source | {"segments": [msgspec.to_builtins(segment)]}]}
    (tmp_path / "account.json").write_text(json.dumps(content))
    ran = tickerd("generate", "--account", str(tmp_path / "account.json"), "--owed")
    assert ran.returncode == 1
    assert b"a-0-aaaaaaaa was made by another version or with other settings" in ran.stderr


def test_generate_can_be_called_from_python(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert generate(load(None, (), {}).settings, wanted(START, records=7, output=out)) == 0
    assert out.read_bytes().count(b"\n") == 7
