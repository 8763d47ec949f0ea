"""Processes that the benches measure: `tickerd local` on one core and `tickerd run` on another."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CORES = sorted(os.sched_getaffinity(0))  # before a bench binds itself to one of them
TICKERD = [sys.executable, "-P", "-m", "tickerd"]


@contextmanager
def on_cores(cores: Iterable[int], command: list[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A process bound to some of the cores there are (the last one, where there are fewer)."""
    pinned = ["taskset", "-c", ",".join({str(CORES[min(core, len(CORES) - 1)]) for core in cores}), *command]
    process = subprocess.Popen(pinned, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def local(*options: str, core: int = 1) -> Iterator[tuple[str, int]]:
    """`tickerd local` on the second core, or another: its address and pid."""
    command = [*TICKERD, "local", "--port", "0", *options]
    with on_cores([core], command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield "http://" + process.stdout.readline().partition("http://")[2].split()[0], process.pid


@contextmanager
def run(endpoint: str, **settings: object) -> Iterator[str]:
    """`tickerd run` on the first core, or on as many as `source.workers`: the address of its web side."""
    with tempfile.TemporaryDirectory() as state:
        port = free_port()
        ours = {
            "kinesis.endpoint_url": endpoint,
            "state.directory": state,
            "web.listen": f"127.0.0.1:{port}",
            "source.workers": 1,
            "source.drain_max_s": 2,
            "log.level": "error",
            **settings,
        }
        command = [*TICKERD, "run"]
        for key, value in ours.items():
            command += ["--set", f"{key}={toml(value)}"]
        with on_cores(range(int(str(ours["source.workers"]))), command):
            yield f"http://127.0.0.1:{port}"


def toml(value: object) -> str:
    """A setting's value as TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def metrics(address: str) -> dict[str, float]:
    """The sum of every metric over its labels."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:  # noqa: S310 - our own address
        lines = answer.read().decode().splitlines()
    sums: dict[str, float] = {}
    for line in lines:
        if not line.startswith("#") and "_bucket" not in line:
            name, _, value = line.rpartition(" ")
            sums[name.partition("{")[0]] = sums.get(name.partition("{")[0], 0.0) + float(value)
    return sums


def wait_for_acks(address: str, timeout_s: float = 30) -> float:
    """Seconds until the daemon's first acknowledgement."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        try:
            if metrics(address).get("tickerd_records_acked_total", 0) > 0:
                return time.monotonic() - began
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.02)
    sys.exit("the daemon acknowledged nothing")


def worker_pids(address: str) -> list[int]:
    """The daemon's workers."""
    with urllib.request.urlopen(f"{address}/status", timeout=5) as answer:  # noqa: S310 - our own address
        return [int(worker["pid"]) for worker in json.load(answer)["workers"]]


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Workers that get no CPU meanwhile; a second is nothing that their supervisor minds."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
