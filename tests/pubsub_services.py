"""Services of Pub/Sub as processes: Google's emulator, where a machine has it, and the tests' own fake."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon import Destination, Json, dies_with_the_tests, eventually, get, post
from tickerd.pubsub.emulator import emulator_jar

PROJECT = "market-1"
FAKE = Path(__file__).with_name("fake_pubsub.py")


class Topic(Destination):
    """A topic with one subscription; `settings` are those of a daemon that publishes to it."""

    def __init__(self, address: str, topic: str = "market-log", subscription: str = "market-log-all") -> None:
        super().__init__(address, topic)
        self.subscription = subscription

    @property
    def settings(self) -> dict[str, Any]:
        """For `Host.run` and `Host.verify`."""
        return {
            "destination__kind": "pubsub",
            "pubsub__project": PROJECT,
            "pubsub__topic": self.name,
            "pubsub__subscription": self.subscription,
            "pubsub__endpoint": self.url,
        }


class FakePubSub(Topic):
    """`tests/fake_pubsub.py` as it runs."""

    def __init__(self, addresses: Json, *, tls: bool) -> None:
        super().__init__(addresses["grpc"] if tls else f"http://{addresses['grpc']}")
        self.control = addresses["http"]

    def faults(self, **faults: object) -> None:
        """What goes wrong from now on; what is not named stays."""
        post(self.control, "/faults", dict(faults))

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self.faults(error=0.0, lost_ack=0.0, latency_ms=0.0, outage=False, deny="")

    def stats(self) -> Json:
        """What was counted."""
        stats: Json = json.loads(get(self.control, "/stats")[1])
        return stats


@contextmanager
def fake_pubsub(*arguments: str, tls: Sequence[Path] = ()) -> Iterator[FakePubSub]:
    """The fake on any free port. `tls`: the files of a key and its certificate."""
    command = [sys.executable, str(FAKE), *arguments, *(["--tls", *map(str, tls)] if tls else [])]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=dies_with_the_tests,  # noqa: PLW1509 - nothing else runs while one is started
    )
    try:
        assert process.stdout is not None
        with process.stdout:
            yield FakePubSub(json.loads(process.stdout.readline()), tls=bool(tls))
    finally:
        process.kill()
        process.wait()


class Emulator:
    """Google's emulator as it runs."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._made = 0

    def topic(self, *, ordered: bool = False) -> Topic:
        """A new topic with a subscription."""
        self._made += 1
        topic = Topic(f"http://{self.address}", f"topic-{self._made}", f"subscription-{self._made}")
        self.make(f"topics/{topic.name}", {})
        name = f"projects/{PROJECT}/topics/{topic.name}"
        wanted = {"topic": name, "ackDeadlineSeconds": 60, "enableMessageOrdering": ordered}
        self.make(f"subscriptions/{topic.subscription}", wanted)
        return topic

    def make(self, path: str, content: Json) -> None:
        """Make a resource of the project."""
        request = urllib.request.Request(
            f"http://{self.address}/v1/projects/{PROJECT}/{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            pass


def emulator_programs() -> tuple[Path, str]:
    """The emulator's jar, and java; the test is skipped, and says what is missing, where there is none."""
    jar, java = emulator_jar(), shutil.which("java")
    if jar is None or java is None:
        missing = "its jar (google-cloud-cli-pubsub-emulator)" if jar is None else "java on PATH"
        pytest.skip(f"NO EMULATOR OF PUB/SUB HERE: {missing} is missing")
    return jar, java


@contextmanager
def emulator(directory: Path) -> Iterator[Emulator]:
    """Google's emulator on a free port; the test is skipped, and says so, where there is none."""
    jar, java = emulator_programs()
    port = _free_port()
    log = (directory / "emulator.log").open("w")
    command = [java, "-Xmx512m", "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]
    with log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"]},
            preexec_fn=dies_with_the_tests,  # noqa: PLW1509
        )
        try:
            said = directory / "emulator.log"
            eventually("the emulator", lambda: "Server started" in said.read_text(), said.read_text)
            yield Emulator(f"127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
