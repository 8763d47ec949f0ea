"""`tickerd demo`: a local stream, the daemon and the account of what arrived, with nothing installed beside.

Both run as processes of their own, as they would on a host; the demo watches, stops the daemon, reads the
stream back and prints what came of it.
"""

import asyncio
import contextlib
import ctypes
import functools
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tickerd.check import hottest_key_ceiling
from tickerd.config import load
from tickerd.kinesis.ceiling import shares_by_shard
from tickerd.kinesis.limits import HASH_KEY_END, SHARD_ENTRIES_PER_SECOND
from tickerd.kinesis.shards import Shard, ShardMap
from tickerd.market.universe import Universe
from tickerd.reading import ReadingError
from tickerd.reading.account_file import load_account
from tickerd.reading.progress import shown
from tickerd.reading.report import Report
from tickerd.reading.verify import VerifyOptions, verify
from tickerd.settings import Settings

SHARDS_MIN = 4
SHARD_SHARE_MAX = 0.8  # of a shard's capacity: so much do the shards of the demo get at most
CEILING_SHARE_MAX = 0.8  # above this part of the ceiling of instrument keys, even keys are used
WEB_PORT = 9631
POLL_S, DRAIN_POLL_S = 0.5, 0.1
SETTLE_S = 2.0  # behind where a full memory begins
PR_SET_PDEATHSIG = 1


class DemoError(Exception):
    """The demo cannot begin; the message is one line."""


console = Console(stderr=True, highlight=False)


def demo(rate: float, seconds: float | None, config: Path | None, sets: Sequence[str]) -> int:
    """Run the demo until Ctrl-C or for so many seconds; 0 when every record generated has arrived."""
    settings = load(config, [*sets, f"rate.records_per_second={rate}"]).settings
    partition_key, shards = stream_for(rate, settings)
    with (
        web_port() as port,
        tempfile.TemporaryDirectory(prefix="tickerd-demo-") as directory,
        _stopped_by_signals() as stop,
    ):
        ours = {
            "rate.records_per_second": rate,
            "kinesis.stream": "market-log",
            "kinesis.partition_key": partition_key,
            "web.listen": f"127.0.0.1:{port}",
            "state.directory": str(Path(directory) / "state"),
        }
        with _local(shards) as endpoint:
            ours["kinesis.endpoint_url"] = endpoint
            command = [*_tickerd("run"), *(["-c", str(config)] if config else [])]
            for assignment in [*sets, *(f"{key}={json.dumps(value)}" for key, value in ours.items())]:
                command += ["--set", assignment]
            _introduce(rate, shards, partition_key, endpoint, port)
            with _process(command) as daemon:
                _watch(daemon, f"http://127.0.0.1:{port}/status", seconds, stop)
                code = _drained(daemon, stop)
            if code:
                console.print(f"the daemon ended with exit code {code}; its log stands above")
                return 1
            return _account(endpoint, Path(directory) / "state" / "account.json")


def stream_for(rate: float, settings: Settings) -> tuple[str, int]:
    """The partition keys and the number of shards with which a stream takes so many records per second."""
    _, _, ceiling = hottest_key_ceiling(settings)
    if rate > CEILING_SHARE_MAX * ceiling:
        return "even", max(SHARDS_MIN, int(np.ceil(rate / (SHARD_ENTRIES_PER_SECOND * SHARD_SHARE_MAX))))
    universe = Universe.load(settings.market.universe)
    shares = universe.shares(settings.rate.mix.weights)
    shards = SHARDS_MIN
    # Instruments fall into shards by hash, not evenly: add shards until the busiest has room.
    while rate * busiest(shares, universe.instruments, shards) > SHARD_ENTRIES_PER_SECOND * CEILING_SHARE_MAX:
        shards += 1
    return "instrument", shards


def busiest(shares: "np.typing.NDArray[np.float64]", instruments: Sequence[str], shards: int) -> float:
    """The share of all records that the busiest of so many equal shards gets."""
    starts = [HASH_KEY_END * shard // shards for shard in range(shards + 1)]
    equal = ShardMap(Shard(str(n), starts[n], starts[n + 1] - 1) for n in range(shards))
    return float(shares_by_shard(shares, equal.shards_of(instruments), shards).max())


@contextlib.contextmanager
def web_port() -> Iterator[int]:
    """The usual port of the web side, or any other where that is taken, or soon will be by another demo."""
    # The daemon listens seconds later: until then a name that only one process can have keeps others away.
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0tickerd-demo-{WEB_PORT}")
            port = free_port(WEB_PORT)
        except OSError:
            port = free_port(0)
        yield port


def free_port(port: int) -> int:
    """This port of 127.0.0.1, or any for 0; OSError where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def _introduce(rate: float, shards: int, partition_key: str, endpoint: str, port: int) -> None:
    console.print(f"stream   market-log at {endpoint}: {shards} shards, in memory")
    console.print(f"records  {rate:,.0f} per second: forex, stocks and news")
    if partition_key == "even":
        console.print(
            '         with kinesis.partition_key = "even": EUR/USD alone would be too much for a shard'
        )
    console.print(f"page     http://127.0.0.1:{port}/")


def _tickerd(command: str) -> list[str]:
    return [sys.executable, "-P", "-m", "tickerd", command]


@contextlib.contextmanager
def _process(command: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A process in a session of its own, so that Ctrl-C reaches the demo alone; it dies with the demo.

    It is killed then: what it could still drain has nowhere to go.
    """
    dies_with_us = functools.partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, signal.SIGKILL)
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        preexec_fn=dies_with_us,  # noqa: PLW1509 - the demo has no threads
        **options,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def _local(shards: int) -> Iterator[str]:
    """`tickerd local` on any free port; its address."""
    command = [*_tickerd("local"), "--port", "0", "--shards", str(shards)]
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "http://" not in line:
            raise DemoError(f"a local stream of {shards:,} shards did not start")
        with process.stdout:
            yield "http://" + line.partition("http://")[2].split()[0]


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """A list that becomes non-empty with the first INT or TERM."""
    seen: list[int] = []
    before = [
        (number, signal.signal(number, lambda number, _frame: seen.append(number)))
        for number in (signal.SIGINT, signal.SIGTERM)
    ]
    try:
        yield seen
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _watch(daemon: "subprocess.Popen[str]", address: str, seconds: float | None, stop: list[int]) -> None:
    """Show what the daemon does until it is to stop or has died."""
    began: float | None = None
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not stop and daemon.poll() is None:
            time.sleep(POLL_S)
            status = _fetched(address)
            if status is None or status["state"] == "starting":
                continue
            began = began or time.monotonic()
            if console.is_terminal:
                live.update(_picture(status), refresh=True)
            if seconds is not None and time.monotonic() - began >= seconds:
                return


def _drained(daemon: "subprocess.Popen[str]", stop: list[int]) -> int:
    """Let the daemon drain, and pass on every further signal, which makes it quick; its exit code."""
    daemon.send_signal(signal.SIGINT)
    passed_on = len(stop)
    while daemon.poll() is None:
        time.sleep(DRAIN_POLL_S)
        if len(stop) > passed_on:
            passed_on = len(stop)
            daemon.send_signal(signal.SIGINT)
    return daemon.returncode


def _fetched(address: str) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - our own address
            fetched: dict[str, Any] = json.load(answer)
            return fetched
    except OSError:
        return None  # not up yet, or gone


def _picture(status: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    rates, totals = status["rates"], status["totals"]
    table.add_row("", "records", "per second")
    table.add_row("generated", f"{totals['generated']:,}", f"{rates['generated']:,.0f}")
    table.add_row("acknowledged", f"{totals['acked']:,}", f"{rates['acked']:,.0f}")
    table.add_row("owed", f"{totals['owed']:,}", f"lag {status['lag_seconds']:.1f} s")
    for error in status["errors"]:
        table.add_row("held up", error["message"])
    return table


def _kept_from(endpoint: str) -> datetime | None:
    """The time from which on the stream, its memory being bounded, has every record; None: has them all."""
    stats = _fetched(f"{endpoint}/_local/stats")
    if not stats or not stats["dropped_records"]:
        return None
    moment = datetime.fromtimestamp(stats["dropped_before_ms"] / 1000, UTC)
    console.print(f"the stream's memory was full: what arrived before {moment:%H:%M:%S} UTC is not read back")
    return moment


def _account(endpoint: str, account: Path) -> int:
    """Read the stream back and print the account."""
    try:
        kept_from = _kept_from(endpoint)
        options = VerifyOptions(
            "market-log",
            endpoint_url=endpoint,
            account=load_account(account),
            from_time=kept_from,
            settle_s=SETTLE_S,
        )
        with shown("reading back") as progress:
            report: Report = asyncio.run(verify(options, progress))
    except ReadingError as error:
        console.print(f"the stream could not be read back: {error}")
        return 1
    sources = options.account.sources if options.account else ()
    generated = sum(source.next_seq for source in sources)
    owed = sum(part.next_seq - part.first_seq for source in sources for part in source.owed)
    totals = report.totals
    sys.stdout.write(
        f"generated     {generated:>12,}\n"
        f"acknowledged  {generated - owed:>12,}\n"
        f"read back     {totals.records:>12,}  ({totals.duplicates:,} of them again)\n"
        f"lost          {totals.lost:>12,}\n"
    )
    return report.exit_code
