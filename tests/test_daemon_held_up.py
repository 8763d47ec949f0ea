"""What stands between daemon and stream: it stays, is ready, says why once, and recovers by itself."""

import signal
import socket
from collections.abc import Iterator

import pytest

from daemon import Daemon, Host, Json, Stream, endpoint, eventually
from tickerd.observe.counters import error_label


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else can."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def held_up(daemon: Daemon, code: str) -> Json:
    """Wait until the cause holds both workers up; assert that it is told everywhere, once in each log."""
    eventually(
        f"the cause {code}",
        lambda: daemon.counter("tickerd_destination_error", error_code=error_label(code)) == 2,
        lambda: f"{daemon.said()}{daemon.get('/status')[1]}",
    )
    (error,) = daemon.status()["errors"]
    assert error["code"] == code
    assert error["count"] >= 1
    assert "\n" not in error["message"]
    assert daemon.get("/readyz")[0] == 200
    assert f"destination: {error['message']}" in daemon.get("/readyz?verbose")[1]
    said = daemon.said()
    assert "Traceback" not in said
    lines = [line for line in daemon.lines() if line["level"] == "error"]
    assert [line["error_code"] for line in lines] == [code]  # one for the host, whichever worker found it
    return dict(error)


def recovered(daemon: Daemon, host: Host, stream: Stream) -> Json:
    """Wait until records flow and no cause is left, then stop; what `verify` says."""
    daemon.until("recovery", lambda status: not status["errors"] and status["rates"]["acked"] > 0)
    daemon.until("an end of catching up", lambda status: status["lag_seconds"] < 1)
    assert len(daemon.logged("the destination takes records again")) == 1
    assert daemon.stop() == 0
    report = host.verify(stream)
    assert report["code"] == report["totals"]["lost"] == report["totals"]["altered"] == 0
    return report


@pytest.mark.slow
def test_a_missing_stream_is_waited_for_and_used_once_it_is_created(host: Host, stream: Stream) -> None:
    missing = Stream(stream.local, f"{stream.name}-later")
    daemon = host.run(**missing.settings)
    daemon.until_ready()
    error = held_up(daemon, "ResourceNotFoundException")
    assert missing.name in error["message"]
    assert "create the stream, or correct kinesis.stream or kinesis.region" in error["message"]
    assert daemon.status()["state"] == "waiting"
    stream.local.call("CreateStream", StreamName=missing.name, ShardCount=2)
    assert recovered(daemon, host, missing)["totals"]["duplicates"] == 0


@pytest.mark.slow
def test_a_permission_that_is_taken_and_given_back_loses_nothing(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked(100)
    stream.faults(deny=True)
    assert "kinesis:PutRecords" in held_up(daemon, "AccessDeniedException")["message"]
    stream.faults(deny=False)
    assert recovered(daemon, host, stream)["totals"]["duplicates"] == 0


def test_an_outage_of_a_few_seconds_loses_nothing(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked(100)
    stream.faults(outage=True)
    held_up(daemon, "ConnectionError")
    daemon.until("seconds of it", lambda status: status["lag_seconds"] > 3)
    stream.faults(outage=False)
    recovered(daemon, host, stream)


def test_a_stream_that_disappears_makes_the_daemon_wait_and_its_stop_say_what_is_owed(
    host: Host, stream: Stream
) -> None:
    daemon = host.run(**stream.settings)
    daemon.until_acked(100)
    stream.local.call("DeleteStream", StreamName=stream.name)
    held_up(daemon, "ResourceNotFoundException")
    assert daemon.stop() == 75  # at once: it is plain that nobody takes the rest
    assert len(daemon.logged(" owes frames ")) == 2


def test_a_wrong_port_is_told_with_the_settings_to_look_at(host: Host, closed_port: int) -> None:
    daemon = host.run(**endpoint(f"http://127.0.0.1:{closed_port}", "market-log"))
    daemon.until_ready()
    message = held_up(daemon, "ConnectionError")["message"]
    assert "kinesis.endpoint_url" in message
    assert str(closed_port) in message
    assert daemon.stop() == 0  # nothing was generated yet, so nothing is owed


def test_credentials_that_are_missing_are_named(host: Host, closed_port: int) -> None:
    # An address that is not taken for this machine's own, and is all the same.
    daemon = host.run(**endpoint(f"http://0.0.0.0:{closed_port}", "market-log"), kinesis__region="eu-west-1")
    daemon.until_ready()
    assert "AWS_ACCESS_KEY_ID" in held_up(daemon, "NoCredentials")["message"]
    assert daemon.stop(signal.SIGINT) == 0


def test_a_region_that_is_missing_is_named(host: Host, closed_port: int) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    daemon = host.run(environment=keys, **endpoint("", "market-log"))
    daemon.until_ready()
    assert "kinesis.region" in held_up(daemon, "NoRegion")["message"]
    assert daemon.stop() == 0


def test_a_region_that_does_not_exist_is_waited_for(host: Host, closed_port: int) -> None:
    # The proxy keeps the attempt on this machine.
    proxy = {"HTTPS_PROXY": f"http://127.0.0.1:{closed_port}"}
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    daemon = host.run(environment=keys | proxy, **endpoint("", "market-log"), kinesis__region="nowhere-1")
    daemon.until_ready()
    assert "proxy" in held_up(daemon, "ProxyConnectionError")["message"]
    assert daemon.stop() == 0
