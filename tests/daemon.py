"""The daemon as its users have it: `tickerd` processes on free ports, with a state directory of their own.

A `Host` is one machine: what is started on it carries a mark in its environment, by which every descendant is
found again, and killed at the end whatever became of its parents. Nothing here says what tickerd should do.
"""

import contextlib
import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 90.0  # longer than anything that is waited for takes; only what hangs comes this far
POLL_S = 0.05
MARK = "LAB_MARK"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
LIBC = ctypes.CDLL(None)

Counters = dict[str, float]
Json = dict[str, Any]
Value = TypeVar("Value")


def eventually(what: str, condition: Callable[[], Value | None], said: Callable[[], str] = str) -> Value:
    """Wait for the condition and return its first true value; `said` is asked when none comes."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(POLL_S)
    raise AssertionError(f"{what} did not come within {PATIENCE_S:.0f} s\n{said()}")


def get(address: str, path: str, accept: str = "*/*") -> tuple[int, str]:
    """Status and body of a GET; OSError or HTTPException when nobody answers."""
    return _request("GET", address, path, None, {"Accept": accept})


def post(address: str, path: str, content: Json, **headers: str) -> Json:
    """What a POST of JSON is answered with, which is 200."""
    status, answer = _request("POST", address, path, json.dumps(content), headers)
    assert status == 200, answer
    return dict(json.loads(answer)) if answer else {}


def _request(
    method: str, address: str, path: str, body: str | None, headers: dict[str, str]
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def killed(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Send processes a signal; one that has ended meanwhile is none the worse for it."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def dies_with_the_tests() -> None:
    """Have this process killed when the tests are, which then cannot clean up."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A `tickerd` command that runs; its standard error goes to a file."""

    def __init__(
        self, command: list[str], environment: dict[str, str], log: Path, out: int | IO[str]
    ) -> None:
        self.log_file = log
        with log.open("a") as stderr:
            self.popen = subprocess.Popen(
                command,
                env=environment,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=stderr,
                text=True,
                start_new_session=True,  # a signal meant for one process reaches that one alone
                preexec_fn=dies_with_the_tests,  # noqa: PLW1509 - nothing else runs while one is started
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def said(self) -> str:
        """All that stands on standard error."""
        return self.log_file.read_text()

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """The exit code, negative for a signal; the test fails when it does not come."""
        try:
            return self.popen.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.popen.args!r} did not end\n{self.said()}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.send(number)
        return self.wait()


class Local(Process):
    """`tickerd local`."""

    def await_url(self) -> None:
        """Read the line that says where it listens."""
        assert self.popen.stdout is not None
        with self.popen.stdout as stdout:
            line = stdout.readline()
        assert "http://" in line, f"tickerd local did not start: {line}{self.said()}"
        self.url = "http://" + line.partition("http://")[2].split()[0]

    def call(self, operation: str, **fields: object) -> Json:
        """Ask the service for something; no signature is needed here."""
        headers = {
            "X-Amz-Target": f"Kinesis_20131202.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        return post(self.url, "/", fields, **headers)

    def create(self, shards: int = 4) -> "Stream":
        """Create one more stream."""
        stream = Stream(self, f"stream-{uuid.uuid4().hex[:8]}")
        self.call("CreateStream", StreamName=stream.name, ShardCount=shards)
        return stream

    def faults(self, **faults: float | bool) -> None:
        """Change the faults in force; those not named stay."""
        post(self.url, "/_local/faults", dict(faults))

    def no_faults(self) -> None:
        """Heal everything."""
        self.faults(throttled=0, error=0, lost_ack=0, latency_ms=0, deny=False, outage=False, auto=False)

    def stats(self) -> Json:
        """What the endpoint counted, over all streams."""
        stats: Json = json.loads(get(self.url, "/_local/stats")[1])
        return stats


class Destination:
    """A stream of any endpoint, and the settings with which a daemon delivers to it."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name

    @property
    def settings(self) -> dict[str, Any]:
        """For `Host.run`: where it is, and that no ceiling of a shard is kept."""
        return endpoint(self.url, self.name)


class Stream(Destination):
    """A stream of `tickerd local`, whose faults are those of the whole endpoint."""

    def __init__(self, local: Local, name: str) -> None:
        super().__init__(local.url, name)
        self.local = local
        self.faults = local.faults


def endpoint(url: str, name: str) -> dict[str, Any]:
    """The settings of a daemon that delivers to this stream and keeps no ceiling of a shard."""
    return {"kinesis__endpoint_url": url, "kinesis__stream": name, "kinesis__shard_limits": False}


class Daemon(Process):
    """`tickerd run`."""

    def lines(self) -> list[Json]:
        """Its log, every line of which has to be a JSON object."""
        lines = self.said().splitlines()
        return [json.loads(line) for line in lines]

    def logged(self, text: str) -> list[Json]:
        """The log lines with this text in their message."""
        return [line for line in self.lines() if text in line["message"]]

    @property
    def address(self) -> str:
        """Where its web side listens."""

        def listening() -> str | None:
            assert self.popen.poll() is None, f"the daemon ended\n{self.said()}"
            found = [line for line in self.said().splitlines() if '"address"' in line]
            return str(json.loads(found[-1])["address"]) if found else None

        if not hasattr(self, "_address"):
            self._address = eventually("the line that says where the daemon listens", listening, self.said)
        return self._address

    def get(self, path: str, accept: str = "*/*") -> tuple[int, str]:
        """Status and body of a page; status 0 when nobody answers."""
        try:
            return get(self.address, path, accept)
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)

    def status(self) -> Json:
        """`/status`."""
        code, body = self.get("/status")
        assert code == 200, f"/status answers {code}: {body}\n{self.said()}"
        status: Json = json.loads(body)
        return status

    def until(self, what: str, condition: Callable[[Json], object]) -> Json:
        """Wait until the condition holds for `/status`, and return that status."""

        def holds() -> Json | None:
            assert self.popen.poll() is None, f"the daemon ended with {self.popen.returncode}\n{self.said()}"
            status = self.status()
            return status if condition(status) else None

        return eventually(what, holds, lambda: f"{self.said()}\n{self.get('/status')[1]}")

    def until_acked(self, records: int = 1) -> Json:
        """Wait until so many records are acknowledged."""
        return self.until(f"{records} acknowledged", lambda status: status["totals"]["acked"] >= records)

    def until_ready(self) -> None:
        """Wait for `/readyz`."""
        eventually("/readyz", lambda: self.get("/readyz")[0] == 200, self.said)

    def workers(self) -> list[int]:
        """The workers' process ids, of those that have one."""
        return [worker["pid"] for worker in self.status()["workers"] if worker["pid"] is not None]

    def samples(self) -> Counters:
        """Every sample of `/metrics`, by name and labels as they stand there: `name{label="value"}`."""
        code, text = self.get("/metrics")
        assert code == 200, f"/metrics answers {code}: {text}"
        return {
            sample.name
            + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def counters(self) -> Counters:
        """Those of the samples that must never fall."""
        ends = ("_total", "_count", "_sum", "_bucket")
        samples = self.samples().items()
        return {name: value for name, value in samples if name.partition(" ")[0].endswith(ends)}

    def counter(self, name: str, **labels: str) -> float:
        """One metric's sum over all labels but these."""
        wanted = [f" {key}={value}" for key, value in labels.items()]
        return sum(
            value
            for sample, value in self.samples().items()
            if sample.partition(" ")[0] == name and all(label in f"{sample} " for label in wanted)
        )


class Host:
    """One machine for `tickerd`: a directory, a clean environment, and all processes started here."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self._mark = uuid.uuid4().hex
        self._processes: list[Process] = []
        foreign = ("AWS_", "TICKERD_")
        self.environment = {name: os.environ[name] for name in os.environ if not name.startswith(foreign)}
        self.environment |= {MARK: self._mark, "HOME": str(directory), "AWS_EC2_METADATA_DISABLED": "true"}

    def local(self, *arguments: str) -> Local:
        """Start `tickerd local`."""
        command = [*tickerd("local"), "--port", "0", *arguments]
        local = Local(command, self.environment, self.directory / "local.log", subprocess.PIPE)
        self._processes.append(local)
        local.await_url()
        return local

    def run(self, *arguments: str, environment: dict[str, str] | None = None, **settings: object) -> Daemon:
        """Start the daemon, by default with two workers; `kinesis__stream` stands for kinesis.stream."""
        ours: dict[str, object] = {"web__listen": "127.0.0.1:0", "state__directory": str(self.state)}
        sets = _sets(ours | {"source__workers": 2} | settings)
        return self.run_with(*arguments, *sets, environment=environment)

    def run_with(self, *arguments: str, environment: dict[str, str] | None = None) -> Daemon:
        """Start the daemon with these arguments and no others."""
        command = [*tickerd("run"), *arguments]
        log = self.directory / f"daemon-{len(self._processes)}.log"
        daemon = Daemon(command, self.environment | (environment or {}), log, subprocess.DEVNULL)
        self._processes.append(daemon)
        return daemon

    def tickerd(
        self, *arguments: str, environment: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, and return what it said."""
        return subprocess.run(
            [*tickerd(arguments[0]), *arguments[1:]],
            env=self.environment | (environment or {}),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=40 * PATIENCE_S,  # reading tens of millions of records back takes its time
            check=False,
        )

    def verify(self, stream: Destination, *arguments: str) -> Json:
        """`verify --json`, by default with the account that the daemon left; its exit code as `code`."""
        how = arguments or ("--account", str(self.state / "account.json"))
        ran = self.tickerd("verify", "--json", *how, *_sets(stream.settings))
        assert ran.stdout, f"verify said nothing: {ran.stderr}"
        report: Json = json.loads(ran.stdout)
        return report | {"code": ran.returncode}

    def injected(self, code: str) -> dict[str, str]:
        """Variables with which every Python process runs this code before its own."""
        directory = self.directory / "injected"
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")]).rstrip(":")}

    def process(self, command: str, *arguments: str, out: IO[str]) -> Process:
        """Start any command, its standard output going to a file."""
        log = self.directory / f"{command}-{len(self._processes)}.log"
        process = Process([*tickerd(command), *arguments], self.environment, log, out)
        self._processes.append(process)
        return process

    def account(self) -> Json:
        """What `account.json` says."""
        account: Json = json.loads((self.state / "account.json").read_bytes())
        return account

    def checkpoints(self) -> dict[str, Json]:
        """The checkpoints in the state directory, by source."""
        files = (self.state / "checkpoint").glob("[!.]*.json")
        return {file.stem: json.loads(file.read_bytes())["checkpoint"] for file in files}

    def pids(self, word: str = "") -> list[int]:
        """Every living process that descends from what was started here, with `word` in its command line."""
        return [pid for pid, command in _marked(self._mark) if word in command]

    def close(self) -> None:
        """Kill everything that was started here, and all that it started."""
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.popen.wait(0.2)
        for process in self._processes:
            process.popen.wait()


def tickerd(command: str) -> list[str]:
    """The command line of a `tickerd` command."""
    return [sys.executable, "-P", "-m", "tickerd", command]


def _sets(settings: dict[str, object]) -> list[str]:
    pairs = [f"{name.replace('__', '.')}={_toml(value)}" for name, value in settings.items()]
    return [part for pair in pairs for part in ("--set", pair)]


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def _marked(mark: str) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if command:  # a zombie has none
                    yield int(entry.name), command
