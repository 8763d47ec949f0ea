"""Workers that do not get better: the daemon ends when all of them crash again and again, and not before."""

import pytest

from daemon import Host, Stream
from tickerd.slot import CRASHES_MAX

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CRASHES = """
import sys
if "tickerd.worker" in sys.orig_argv and {condition}:
    __import__("os")._exit(70)
"""
OF_WORKER_1 = "b'\"worker\":1' in __import__('os').pread(int(sys.orig_argv[-1]), 1000, 0)"


def test_when_every_worker_crashes_again_and_again_the_daemon_ends(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, environment=host.injected(CRASHES.format(condition="True")))
    assert daemon.wait() == 1
    for worker in (0, 1):
        died = [line for line in daemon.logged("died") if f"worker {worker} died" in line["message"]]
        assert len(died) >= CRASHES_MAX
    assert "Traceback" not in daemon.said()


def test_one_worker_that_crashes_leaves_the_others_at_work(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, environment=host.injected(CRASHES.format(condition=OF_WORKER_1)))
    broken = daemon.until(
        "a broken worker", lambda status: [w["state"] for w in status["workers"]] == ["running", "broken"]
    )
    daemon.until_acked(broken["totals"]["acked"] + 500)
    assert daemon.stop() == 0
