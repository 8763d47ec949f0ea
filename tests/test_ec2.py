"""An EC2 instance's life as the daemon meets it: metadata with tokens, notices, warm pools, fleet rates."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from daemon import Daemon, Host, Stream, eventually
from fake_aws import GROUP, INSTANCE, FakeAws, fake_aws
from tickerd.host.ec2 import Instance
from tickerd.host.imds import Metadata, MetadataError, is_ec2
from tickerd.settings import Rate, Settings, Source
from tickerd.state import StateDirectory
from tickerd.supervisor import Supervisor

SPOT = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"
TARGET = "autoscaling/target-lifecycle-state"


@pytest.fixture
def aws() -> Iterator[FakeAws]:
    with fake_aws() as fake:
        yield fake
        assert fake.problems == []


def start(host: Host, stream: Stream, aws: FakeAws, **settings: object) -> Daemon:
    more: dict[str, object] = {**stream.settings, "source__workers": 1, **settings}
    sets = [part for key, value in more.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]
    listen = ["--set", "web.listen=127.0.0.1:0", "--set", f"state.directory={host.state}"]
    sets = [part.replace("=False", "=false") for part in sets]
    return host.run_with(*sets, *listen, environment=aws.environment())


def whole(host: Host, stream: Stream) -> bool:
    report = host.verify(stream)
    totals = report["totals"]
    return bool(report["code"] == 0 and totals["records"] > 0 and totals["lost"] == 0)


# --- the metadata service


def test_it_is_asked_with_a_token_that_is_renewed_when_it_is_refused(aws: FakeAws) -> None:
    async def story() -> None:
        async with Metadata(aws.url) as metadata:
            assert await metadata.instance_id() == INSTANCE
            aws.forget_tokens()
            assert await metadata.get("placement/region") == "eu-central-1"
            assert await metadata.get("nothing/such") is None

    asyncio.run(story())
    assert aws.untokened == 1


@pytest.mark.parametrize(
    "answer", ["", "i-", "i-xyz", "<html>", "i-0123456789abcdef0; rm -rf /", "x" * 10_000]
)
def test_what_is_no_instance_id_is_none(aws: FakeAws, answer: str) -> None:
    aws.pages["instance-id"] = answer

    async def story() -> str:
        async with Metadata(aws.url) as metadata:
            return await metadata.instance_id()

    assert asyncio.run(story()) == ""


def test_a_service_that_does_not_answer_is_said_in_one_line() -> None:
    async def story() -> None:
        async with Metadata("http://127.0.0.1:9") as metadata:
            await metadata.get("instance-id")

    with pytest.raises(MetadataError, match="does not answer") as error:
        asyncio.run(story())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "is_one"),
    [
        ("sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2\n", True),
        ("sys/devices/virtual/dmi/id/sys_vendor", "Google\n", False),
        ("sys/hypervisor/uuid", "ec2f0000-1234\n", True),
        ("sys/hypervisor/uuid", "abcd\n", False),
        ("nothing", "", False),
    ],
)
def test_ec2_is_told_by_its_firmware(tmp_path: Path, file: str, content: str, is_one: bool) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(content)
    assert is_ec2(tmp_path) is is_one


# --- a daemon on an instance


def test_a_life_from_launch_to_termination(host: Host, stream: Stream, aws: FakeAws) -> None:
    daemon = start(host, stream, aws)
    daemon.until_acked(300)
    assert daemon.status()["workers"][0]["source"].startswith(f"{INSTANCE}-0-")
    daemon.until_ready()
    assert aws.actions == []
    # A recommendation: no more trust, but it works on.
    aws.pages[REBALANCE] = '{"noticeTime": "2026-11-24T08:22:00Z"}'
    eventually("not ready", lambda: daemon.get("/readyz")[0] == 503)
    now = daemon.status()
    assert (now["state"], now["draining"]) == ("running", False)
    daemon.until_acked(now["totals"]["acked"] + 300)
    # The spot notice, and the group's wish.
    aws.pages[SPOT] = '{"action": "terminate", "time": "2026-11-24T08:24:00Z"}'
    aws.pages[TARGET] = "Terminated"
    status = daemon.until("that it is drained", lambda status: status["state"] == "drained")
    assert status["totals"]["owed"] == 0
    eventually("the group to be told", lambda: "CompleteLifecycleAction" in aws.actions)
    (completed,) = [fields for name, fields in aws.calls if name == "CompleteLifecycleAction"]
    assert completed == {
        "AutoScalingGroupName": GROUP,
        "LifecycleHookName": "tickerd-drain",
        "InstanceId": INSTANCE,
        "LifecycleActionResult": "CONTINUE",
    }
    assert "terminate this spot instance" in daemon.get("/readyz?verbose")[1]
    assert daemon.get("/livez")[0] == 200  # it is systemd that ends it
    assert daemon.stop() == 0
    assert whole(host, stream)
    assert aws.actions.count("CompleteLifecycleAction") == 1
    for secret in ("planted-role-secret", "planted-session-token"):
        assert secret not in daemon.said()


def test_a_notice_that_is_taken_back_is_over(host: Host, stream: Stream, aws: FakeAws) -> None:
    """As for an instance that was stopped or hibernated, and comes back."""
    aws.pages[SPOT] = '{"action": "hibernate", "time": "2026-11-24T08:24:00Z"}'
    aws.pages[REBALANCE] = '{"noticeTime": "2026-11-24T08:22:00Z"}'
    daemon = start(host, stream, aws)
    daemon.until("that it idles", lambda status: status["state"] == "drained")
    del aws.pages[SPOT]
    daemon.until_acked(300)
    assert "rebalance: EC2 recommends" in daemon.get("/readyz?verbose")[1]
    del aws.pages[REBALANCE]
    daemon.until_ready()
    assert daemon.stop() == 0
    assert whole(host, stream)


def test_while_a_drain_takes_long_the_group_is_asked_to_wait(
    host: Host, stream: Stream, aws: FakeAws
) -> None:
    daemon = start(host, stream, aws, source__drain_max_s=20)
    daemon.until_acked(300)
    stream.faults(outage=True)
    daemon.until("records that wait", lambda status: status["totals"]["owed"] > 100)
    aws.pages[TARGET] = "Terminated"
    eventually("the heartbeat", lambda: "RecordLifecycleActionHeartbeat" in aws.actions)
    assert "CompleteLifecycleAction" not in aws.actions
    stream.faults(outage=False)
    eventually("the end", lambda: "CompleteLifecycleAction" in aws.actions)
    assert daemon.stop() in {0, 75}


def test_a_group_that_cannot_be_told_is_told_later(host: Host, stream: Stream, aws: FakeAws) -> None:
    daemon = start(host, stream, aws)
    daemon.until_acked(300)
    aws.failing = True
    aws.pages[TARGET] = "Terminated"
    eventually("a try", lambda: "CompleteLifecycleAction" in aws.actions)
    eventually("the line about it", lambda: daemon.logged("InternalFailure"))
    assert daemon.popen.poll() is None
    aws.failing = False
    eventually("the all-clear", lambda: daemon.logged("has been told"))
    assert len([line for line in daemon.lines() if line["level"] == "error"]) == 1
    assert daemon.stop() == 0


def test_in_a_warm_pool_it_idles_and_works_when_it_is_put_in_service(
    host: Host, stream: Stream, aws: FakeAws
) -> None:
    aws.pages[TARGET] = "Warmed:Stopped"
    daemon = start(host, stream, aws)
    status = daemon.until("that it idles", lambda status: status["state"] == "drained")
    assert [worker["pid"] for worker in status["workers"]] == [None]
    assert "warm pool" in daemon.get("/readyz?verbose")[1]
    assert daemon.get("/readyz")[0] == 503
    aws.pages[TARGET] = "InService"
    daemon.until_acked(300)
    daemon.until_ready()
    # Back into the pool: that is a life-cycle action as well.
    aws.pages[TARGET] = "Warmed:Stopped"
    daemon.until("that it idles again", lambda status: status["state"] == "drained")
    eventually("the group to be told", lambda: "CompleteLifecycleAction" in aws.actions)
    assert daemon.stop() == 0
    assert whole(host, stream)


def test_the_fleets_rate_is_shared_by_the_groups_size(host: Host, stream: Stream, aws: FakeAws) -> None:
    daemon = start(host, stream, aws, rate__fleet_records_per_second=1000)
    daemon.until("a quarter", lambda status: status["rates"]["target"] == 250)
    daemon.until_acked(100)
    assert aws.actions == ["DescribeAutoScalingGroups"]
    assert daemon.stop() == 0
    assert whole(host, stream)


class Polled:
    """An instance whose polls the test makes, with a supervisor that starts no worker."""

    def __init__(self, directory: Path, aws: FakeAws, fleet_records_per_second: float) -> None:
        self._aws = aws
        rate = Rate(fleet_records_per_second=fleet_records_per_second)
        settings = msgspec.structs.replace(Settings(), source=Source(workers=1), rate=rate)
        self.supervisor = Supervisor(settings, StateDirectory(directory), records=None, seconds=None)

    def settled(self, *steps: Callable[[], None]) -> list[float]:
        """The host's rate after the poll that follows each step, in records per second."""

        async def story() -> list[float]:
            async with Metadata(self._aws.url) as metadata:
                instance = Instance(self.supervisor, metadata, INSTANCE)
                rates = []
                for step in steps:
                    step()
                    await instance.poll()
                    rates.append(self.supervisor.crew.plan().milli_records_per_second / 1000)
                return rates

        return asyncio.run(story())


@pytest.fixture
def on_ec2(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is on the instance, too."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("on_ec2")
def test_a_share_follows_the_groups_size_and_the_settings(
    tmp_path: Path, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickerd.host.ec2.CAPACITY_S", 0.0)
    polled = Polled(tmp_path, aws, 1000)

    def desired(hosts: int) -> Callable[[], None]:
        return lambda: setattr(aws, "desired", hosts)

    # A group of nobody, as it is for a moment when it ends, is one of us alone.
    assert polled.settled(*map(desired, (4, 5, 1, 3, 0))) == [250, 200, 1000, 333.333, 1000]


@pytest.mark.usefixtures("on_ec2")
def test_a_fleets_rate_that_is_changed_by_a_reload_is_shared_at_once(tmp_path: Path, aws: FakeAws) -> None:
    polled = Polled(tmp_path, aws, 1000)

    def reloaded() -> None:
        settings = polled.supervisor.settings
        rate = Rate(fleet_records_per_second=300)
        polled.supervisor.settings = msgspec.structs.replace(settings, rate=rate)

    assert polled.settled(lambda: None, reloaded) == [250, 75]
    assert aws.actions == ["DescribeAutoScalingGroups"]  # its size is known


@pytest.mark.usefixtures("on_ec2")
def test_a_group_that_does_not_answer_is_asked_less_and_less_often(
    tmp_path: Path, aws: FakeAws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tickerd.host.ec2.POLL_S", 0.2)
    aws.failing = True
    polls = [lambda: time.sleep(0.1)] * 40
    rates = Polled(tmp_path, aws, 1000).settled(*polls)
    assert rates == [0] * 40  # and nothing is generated
    calls = len(aws.actions) // 2  # each is tried twice
    assert 3 <= calls <= 8
    assert len([line for line in caplog.messages if "InternalFailure" in line]) == 1


def test_without_knowing_its_share_a_host_adds_no_load(host: Host, stream: Stream, aws: FakeAws) -> None:
    del aws.pages["tags/instance/aws:autoscaling:groupName"]
    daemon = start(host, stream, aws, rate__fleet_records_per_second=1000)
    daemon.until_ready()
    (line,) = daemon.logged("rate.fleet_records_per_second")
    assert "InstanceMetadataTags: enabled" in line["message"]
    assert daemon.status()["totals"]["generated"] == 0
    aws.pages["tags/instance/aws:autoscaling:groupName"] = GROUP
    daemon.until_acked(100)
    assert daemon.stop() == 0


def test_a_metadata_service_that_is_gone_changes_nothing(host: Host, stream: Stream, aws: FakeAws) -> None:
    daemon = start(host, stream, aws)
    acked = daemon.until_acked(300)["totals"]["acked"]
    saved, aws.pages = aws.pages, {}
    aws.forget_tokens()
    daemon.until_acked(acked + 1500)
    assert daemon.get("/readyz")[0] == 200
    aws.pages = saved
    assert daemon.stop() == 0
    assert whole(host, stream)


def test_elsewhere_nothing_is_asked_and_a_fleets_rate_is_refused_in_words(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, rate__fleet_records_per_second=1000)
    daemon.until_ready()
    (line,) = daemon.logged("rate.fleet_records_per_second")
    assert "set rate.records_per_second" in line["message"]
    assert daemon.status()["totals"]["generated"] == 0
    assert daemon.stop() == 0
