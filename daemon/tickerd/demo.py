"""`tickerd demo`: a destination, the daemon and the account of what arrived, with nothing installed beside.

The daemon runs as a process of its own, as it would on a host; the demo watches, stops it, reads back what it
has delivered (demo_places.py) and prints what came of it.
"""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

from tickerd.config import PUBSUB_MISSING, has_pubsub, load
from tickerd.demo_places import DemoError, Place, console, fetched, free_port, open_place, process, tickerd
from tickerd.reading import ReadingError
from tickerd.reading.progress import shown
from tickerd.reading.report import Report
from tickerd.reading.verify import verify

WEB_PORT = 9631
POLL_S, DRAIN_POLL_S = 0.5, 0.1


def demo(
    rate: float, seconds: float | None, destination: str, config: Path | None, sets: Sequence[str]
) -> int:
    """Run the demo until Ctrl-C or for so many seconds; 0 when every record generated has arrived."""
    settings = load(config, [*sets, f"rate.records_per_second={rate}"]).settings
    if destination == "pubsub" and not has_pubsub():
        raise DemoError(f"--destination: {PUBSUB_MISSING}")
    with (
        web_port() as port,
        tempfile.TemporaryDirectory(prefix="tickerd-demo-") as directory,
        _stopped_by_signals() as stop,
        open_place(destination, rate, settings, Path(directory)) as place,
    ):
        ours = {
            "rate.records_per_second": rate,
            "web.listen": f"127.0.0.1:{port}",
            "state.directory": str(Path(directory) / "state"),
            **place.settings,
        }
        command = [*tickerd("run"), *(["-c", str(config)] if config else [])]
        for assignment in [*sets, *(f"{key}={json.dumps(value)}" for key, value in ours.items())]:
            command += ["--set", assignment]
        for line in (
            place.told[0],
            f"records  {rate:,.0f} per second: forex, stocks and news",
            *place.told[1:],
            f"page     http://127.0.0.1:{port}/",
        ):
            console.print(line)
        with process(command) as daemon:
            _watch(daemon, f"http://127.0.0.1:{port}/status", seconds, stop)
            code = _drained(daemon, stop)
        if code:
            console.print(f"the daemon ended with exit code {code}; its log stands above")
            return 1
        return _account(place, Path(directory) / "state" / "account.json")


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
            status = fetched(address)
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


def _account(place: Place, account: Path) -> int:
    """Read back what was delivered and print the account."""
    try:
        options = place.options(account)
        with shown("reading back") as progress:
            report: Report = asyncio.run(verify(options, progress))
    except ReadingError as error:
        console.print(f"what was delivered could not be read back: {error}")
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
