"""Where the demo's records go, and how they are read back: a local stream, Google's emulator, or files."""

import contextlib
import ctypes
import functools
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from tickerd.check import hottest_key_ceiling
from tickerd.config import pubsub_emulator
from tickerd.kinesis.ceiling import shares_by_shard
from tickerd.kinesis.limits import HASH_KEY_END, SHARD_ENTRIES_PER_SECOND
from tickerd.kinesis.shards import Shard, ShardMap
from tickerd.market.universe import Universe
from tickerd.pubsub.emulator import EmulatorError, emulator_command, make_topic
from tickerd.reading.account_file import load_account
from tickerd.reading.verify import VerifyOptions
from tickerd.settings import PubSub, Settings

SHARDS_MIN = 4
SHARD_SHARE_MAX = 0.8  # of a shard's capacity: so much do the shards of the demo get at most
CEILING_SHARE_MAX = 0.8  # above this part of the ceiling of instrument keys, even keys are used
SETTLE_S = 2.0  # behind where a full memory begins
PROJECT, TOPIC, SUBSCRIPTION = "tickerd-demo", "market-log", "market-log-demo"
PR_SET_PDEATHSIG = 1

console = Console(stderr=True, highlight=False)


class DemoError(Exception):
    """The demo cannot begin; the message is one line."""


class Place(NamedTuple):
    """Settings of a daemon that delivers there, what people are told, and how an account is read back."""

    settings: dict[str, object]
    told: list[str]
    options: Callable[[Path], VerifyOptions]


@contextlib.contextmanager
def open_place(kind: str, rate: float, settings: Settings, directory: Path) -> Iterator[Place]:
    """The place of a kind, "kinesis", "pubsub" or "file", for as long as the demo lasts."""
    with _PLACES[kind](rate, settings, directory) as place:
        yield place


@contextlib.contextmanager
def _stream(rate: float, settings: Settings, _directory: Path) -> Iterator[Place]:
    partition_key, shards = stream_for(rate, settings)
    with _local(shards) as endpoint:
        told = [f"stream   market-log at {endpoint}: {shards} shards, in memory"]
        if partition_key == "even":
            even = 'with kinesis.partition_key = "even": EUR/USD alone would be too much for a shard'
            told.append(f"         {even}")

        def options(account: Path) -> VerifyOptions:
            return VerifyOptions(
                "market-log",
                endpoint_url=endpoint,
                account=load_account(account),
                from_time=_kept_from(endpoint),
                settle_s=SETTLE_S,
            )

        ours: dict[str, object] = {
            "destination.kind": "kinesis",
            "kinesis.stream": "market-log",
            "kinesis.partition_key": partition_key,
            "kinesis.endpoint_url": endpoint,
        }
        yield Place(ours, told, options)


@contextlib.contextmanager
def _topic(_rate: float, _settings: Settings, directory: Path) -> Iterator[Place]:
    with _emulator(directory) as host:
        ours: dict[str, object] = {
            "destination.kind": "pubsub",
            "pubsub.project": PROJECT,
            "pubsub.topic": TOPIC,
            "pubsub.subscription": SUBSCRIPTION,
            "pubsub.endpoint": f"http://{host}",
        }
        read = PubSub(project=PROJECT, subscription=SUBSCRIPTION, endpoint=f"http://{host}")
        yield Place(
            ours,
            [f"topic    {TOPIC} at {host}: Google's emulator, in memory"],
            lambda account: VerifyOptions("", account=load_account(account), pubsub=read),
        )


@contextlib.contextmanager
def _files(_rate: float, _settings: Settings, directory: Path) -> Iterator[Place]:
    records = directory / "records"
    told = [f"files    in {records}, until the end of the demo"]
    ours: dict[str, object] = {"destination.kind": "file", "file.path": str(records)}
    yield Place(
        ours, told, lambda account: VerifyOptions("", account=load_account(account), paths=(records,))
    )


_PLACES = {"kinesis": _stream, "pubsub": _topic, "file": _files}


@contextlib.contextmanager
def _emulator(directory: Path) -> Iterator[str]:
    """Host and port of an emulator that has the topic: the one that the environment names, or a new one."""
    try:
        if running := pubsub_emulator():
            make_topic(running, PROJECT, TOPIC, SUBSCRIPTION, None)
            yield running
            return
        port = free_port(0)
        command, host = emulator_command(port), f"127.0.0.1:{port}"
        with (
            (directory / "emulator.log").open("w") as log,
            process(command, stdout=log, stderr=log) as started,
        ):
            make_topic(host, PROJECT, TOPIC, SUBSCRIPTION, started)
            yield host
    except EmulatorError as error:
        raise DemoError(str(error)) from error


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


def free_port(port: int) -> int:
    """This port of 127.0.0.1, or any for 0; OSError where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def tickerd(command: str) -> list[str]:
    """The command line of a command of this program."""
    return [sys.executable, "-P", "-m", "tickerd", command]


@contextlib.contextmanager
def process(command: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
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
    command = [*tickerd("local"), "--port", "0", "--shards", str(shards)]
    with process(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        if "http://" not in line:
            raise DemoError(f"a local stream of {shards:,} shards did not start")
        with running.stdout:
            yield "http://" + line.partition("http://")[2].split()[0]


def _kept_from(endpoint: str) -> datetime | None:
    """The time from which on the stream, its memory being bounded, has every record; None: has them all."""
    stats = fetched(f"{endpoint}/_local/stats")
    if not stats or not stats["dropped_records"]:
        return None
    moment = datetime.fromtimestamp(stats["dropped_before_ms"] / 1000, UTC)
    console.print(f"the stream's memory was full: what arrived before {moment:%H:%M:%S} UTC is not read back")
    return moment


def fetched(address: str) -> dict[str, Any] | None:
    """The JSON object at an address; None while nobody answers."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - our own address
            fetched: dict[str, Any] = json.load(answer)
            return fetched
    except OSError:
        return None  # not up yet, or gone
