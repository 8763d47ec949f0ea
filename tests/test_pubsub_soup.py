"""Two minutes of everything that can go wrong on the way to Pub/Sub, kills included; then what verify finds.

In turns of the seed: a worker, or the whole daemon, is killed every ten seconds; the service refuses, loses
acknowledgements, is slow, and is away for a while. Against Google's emulator there are the kills alone.
"""

import random
import time
from pathlib import Path

import pytest

from daemon import Daemon, Host, Json, killed
from pubsub_services import FakePubSub, Topic, emulator, fake_pubsub

SECONDS = 120
KILL_S = 10
RATE = 3000  # what the services, written in Python and Java, take besides on two cores
MODES: dict[str, Json] = {
    "none": {},
    "none-key": {"pubsub__order": "key"},
    "lines-key": {"pubsub__order": "key", "pubsub__packing": "lines", "pubsub__compression": "gzip"},
}
FAULTS = {"error": 0.1, "lost_ack": 0.03, "latency_ms": 30}
AWAY = (50, 60)  # seconds from the beginning


class Soup:
    """A daemon and a topic while time goes by."""

    def __init__(self, host: Host, topic: Topic, mode: str, seed: int) -> None:
        self.host = host
        self.topic = topic
        self.random = random.Random(seed)
        self.settings = {
            **topic.settings,
            **MODES[mode],
            "rate__records_per_second": RATE,
            "database__url": "",
        }
        self.kills = 0

    def cook(self) -> Json:
        """Let it all happen, end well, and read back."""
        daemon = self.host.run(**self.settings)
        daemon.until_acked()
        fake = self.topic if isinstance(self.topic, FakePubSub) else None
        if fake:
            fake.faults(**FAULTS)
        began_s = time.monotonic()
        for at_s in range(KILL_S, SECONDS, KILL_S):
            time.sleep(max(0.0, began_s + at_s - time.monotonic()))
            if fake and at_s in AWAY:
                fake.faults(outage=at_s == AWAY[0])
            daemon = self.kill(daemon)
        time.sleep(max(0.0, began_s + SECONDS - time.monotonic()))
        if fake:
            fake.heal()
        daemon.until(
            "an end of the lag", lambda status: status["totals"]["acked"] and status["lag_seconds"] < 2
        )
        assert daemon.stop() == 0
        said = "".join(file.read_text() for file in self.host.directory.glob("daemon-*.log"))
        assert "Traceback" not in said
        return self.host.verify(self.topic)

    def kill(self, daemon: Daemon) -> Daemon:
        """Kill a worker, or from time to time all there is, which is then started again."""
        self.kills += 1
        workers = daemon.workers()
        if self.kills % 3:
            if workers:
                killed([self.random.choice(workers)])
            return daemon
        killed(self.host.pids("tickerd"))
        daemon.wait()
        again = self.host.run(**self.settings)
        again.until_ready()
        return again


def judged(report: Json, *, in_order: bool) -> None:
    totals = report["totals"]
    assert report["code"] == 0, report
    assert [totals[name] for name in ("lost", "altered", "corrupt", "foreign")] == [0, 0, 0, 0]
    assert totals["records"] > SECONDS * RATE / 2
    assert totals["duplicates"] > 0
    if in_order:
        assert totals["out_of_order"] == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_lost_when_everything_goes_wrong(
    host: Host, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake_pubsub() as fake:
        soup = Soup(host, fake, mode, random.randrange(2**32))
        report = soup.cook()
        stats = fake.stats()
    with capsys.disabled():
        print(f"\n{mode}: {report['totals']}, {soup.kills} kills, {stats['codes']}")  # noqa: T201 - CI shows it
    judged(report, in_order="key" in mode)
    assert stats["limits"] == []
    assert {"UNAVAILABLE", "RESOURCE_EXHAUSTED"} <= stats["codes"].keys()
    assert soup.kills == SECONDS // KILL_S - 1
    if "key" in mode:
        assert stats["most_of_a_key"] <= 2  # one of a worker, and one that was killed with it under way


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["none", "lines-key"])
def test_nothing_is_lost_on_googles_emulator_whoever_is_killed(host: Host, tmp_path: Path, mode: str) -> None:
    directory = tmp_path / "emulator"
    directory.mkdir()
    with emulator(directory) as google:
        soup = Soup(host, google.topic(ordered="key" in mode), mode, random.randrange(2**32))
        judged(soup.cook(), in_order="key" in mode)
