"""`POST /logs`: a snapshot into the stream, acknowledged before the answer comes, or refused."""

import json
import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest

from daemon import Daemon, Host, Local, Stream, eventually
from reading_back import stored
from test_http_logs import Answer, ask, logs
from tickerd.market.universe import Universe

UNIVERSE = Universe.load()
INSTRUMENTS = len(UNIVERSE.pairs) + len(UNIVERSE.stocks)
SOURCE = re.compile(r"box-logs-[a-z2-7]{8}")


def started(host: Host, stream: Stream, **settings: object) -> Daemon:
    small = {"source__id": "box", "rate__records_per_second": 20, "database__url": ""}
    daemon = host.run(**{**stream.settings, **small, **settings})
    daemon.until("all workers", lambda status: {each["state"] for each in status["workers"]} == {"running"})
    return daemon


def snapshot(daemon: Daemon, host: Host) -> Answer:
    token = (host.state / "token").read_text().strip()
    return ask(daemon, "/logs", "POST", Authorization=f"Bearer {token}")


def test_the_answer_comes_when_every_instrument_is_in_the_stream(host: Host, stream: Stream) -> None:
    daemon = started(host, stream)
    answers = [snapshot(daemon, host) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    told = [answer.json() for answer in answers]
    assert [each["records"] for each in told] == [INSTRUMENTS] * 3
    # The account and the stream are compared below: every source has records in both then.
    daemon.until("records of every worker", lambda status: all(one["acked"] for one in status["workers"]))
    there = stored(stream)
    assert len({each["source"] for each in told}) == 3
    for each in told:
        assert SOURCE.fullmatch(each["source"])
        records = there[each["source"]]
        assert [record["seq"] for record in records] == list(range(INSTRUMENTS))
        assert {record["time"] for record in records} == {each["time"]}
        rows = logs(daemon, at=each["time"])
        shown = rows["forex_exchange_rates"] + rows["stock_prices"]
        assert [
            {k: v for k, v in record.items() if k not in {"type", "source", "seq"}} for record in records
        ] == shown
    assert daemon.stop() == 0
    # They are reported apart, and count neither as lost nor in the account.
    report = host.verify(stream)
    assert (report["code"], report["totals"]["lost"]) == (0, 0)
    assert {source["source"] for source in host.account()["sources"]} == {
        name for name in there if "-logs-" not in name
    }
    printed = host.tickerd("verify", "--account", str(host.state / "account.json"), *[
        f"--set={k.replace('__', '.')}={json.dumps(v)}" for k, v in stream.settings.items()
    ]).stdout  # fmt: skip
    assert "snapshot on demand (not judged for loss)" in printed


def test_it_goes_as_all_else_does_whatever_aggregation_and_format(host: Host, stream: Stream) -> None:
    daemon = started(host, stream, kinesis__aggregation="kpl", kinesis__order="key", record__format="msgpack")
    told = snapshot(daemon, host).json()
    assert daemon.stop() == 0
    report = host.verify(stream)
    assert (report["code"], report["totals"]["corrupt"]) == (0, 0)
    counts = {source["source"]: source["records"] for source in report["sources"]}
    assert counts[told["source"]] == INSTRUMENTS


def test_its_entries_are_sent_again_until_they_have_arrived(host: Host, stream: Stream) -> None:
    daemon = started(host, stream)
    stream.faults(throttled=0.3, error=0.1, lost_ack=0.1)
    told = snapshot(daemon, host)
    stream.local.no_faults()
    assert told.status == 200
    assert len(stored(stream)[told.json()["source"]]) == INSTRUMENTS


@pytest.mark.parametrize("rate", [20, 0])
def test_a_destination_that_takes_nothing_is_told_soon_and_tried_again(
    host: Host, stream: Stream, rate: int
) -> None:
    daemon = started(host, stream, rate__records_per_second=rate)
    stream.faults(outage=True)
    for attempt in range(3):
        began_s = time.monotonic()
        refused = snapshot(daemon, host)
        assert time.monotonic() - began_s < (14 if attempt == 0 else 8)
        assert refused.status == 503, refused.body
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert int(refused.headers["Retry-After"]) >= 1
        assert "the destination takes no records" in refused.json()["detail"]
    stream.local.no_faults()
    eventually("a snapshot", lambda: snapshot(daemon, host).status == 200, daemon.said)
    acked = daemon.status()["totals"]["acked"]
    daemon.until_acked(acked + rate)  # nothing has kept the stream's own records from going on
    assert daemon.stop() == 0
    if rate:
        assert host.verify(stream)["code"] == 0


def test_a_slow_destination_is_given_up_after_seconds(host: Host, stream: Stream) -> None:
    daemon = started(host, stream)
    stream.faults(latency_ms=15_000)
    began_s = time.monotonic()
    late = snapshot(daemon, host)
    assert 8 < time.monotonic() - began_s < 14
    assert late.status == 504
    assert "did not acknowledge all of it in 10 s" in late.json()["detail"]
    stream.local.no_faults()
    eventually("a snapshot", lambda: snapshot(daemon, host).status == 200, daemon.said)


def test_many_at_once_are_bounded_and_the_stream_goes_on(host: Host, stream: Stream) -> None:
    daemon = started(host, stream)
    stream.faults(latency_ms=700)
    answers: list[Answer] = []
    clients = [threading.Thread(target=lambda: answers.append(snapshot(daemon, host))) for _ in range(12)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) == 4
    assert all("under way already" in each.json()["detail"] for each in answers if each.status == 503)
    stream.local.no_faults()
    acked = daemon.status()["totals"]["acked"]
    daemon.until_acked(acked + 20)


def test_a_killed_worker_makes_it_fail_and_not_happen_later(host: Host, stream: Stream) -> None:
    daemon = started(host, stream)
    stream.faults(latency_ms=3000)
    answers: list[Answer] = []
    client = threading.Thread(target=lambda: answers.append(snapshot(daemon, host)))
    client.start()
    time.sleep(1)
    first = daemon.status()["workers"][0]["pid"]
    os.kill(first, signal.SIGKILL)
    client.join()
    assert [answer.status for answer in answers] == [503]
    assert "worker 0" in answers[0].json()["detail"]
    stream.local.no_faults()
    eventually("a snapshot by the next process", lambda: snapshot(daemon, host).status == 200, daemon.said)
    assert daemon.stop() in {0, 75}  # what the killed process left may not be made again yet
    assert host.verify(stream)["code"] == 0


def test_a_drained_daemon_sends_none(host: Host, stream: Stream) -> None:
    daemon = started(host, stream)
    token = (host.state / "token").read_text().strip()
    assert ask(daemon, "/drain", "POST", Authorization=f"Bearer {token}").status == 200
    refused = snapshot(daemon, host)
    assert refused.status == 503
    assert "draining" in refused.json()["detail"]
    assert ask(daemon, "/logs").status == 200  # reading is not affected
    assert ask(daemon, "/undrain", "POST", Authorization=f"Bearer {token}").status == 200
    eventually("a snapshot", lambda: snapshot(daemon, host).status == 200, daemon.said)


def posted_body(daemon: Daemon, token: str) -> tuple[int, str]:
    """Status and detail of the answer to a `POST /logs` with a body."""
    asked = urllib.request.Request(  # noqa: S310 - of the daemon
        f"{daemon.address}/logs", b'{"feed":"stock"}', {"Authorization": f"Bearer {token}"}, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=30)  # noqa: S310
    with refused.value as answer:
        return answer.code, json.load(answer)["detail"]


def test_without_the_token_nothing_is_sent(host: Host, stream: Stream) -> None:
    daemon = started(host, stream)
    assert ask(daemon, "/logs", "POST").status == 401
    assert ask(daemon, "/logs", "POST", Authorization="Bearer wrong-token-of-some-length").status == 401
    token = (host.state / "token").read_text().strip()
    refused = ask(daemon, "/logs?feed=stock", "POST", Authorization=f"Bearer {token}")
    assert (refused.status, refused.json()["detail"]) == (
        400,
        "POST /logs takes no parameters; leave them out",
    )
    assert posted_body(daemon, token) == (400, "POST /logs takes no body; leave it out")
    assert daemon.stop() == 0
    assert not any("-logs-" in source for source in stored(stream))


def test_it_works_beside_snapshots_on_a_schedule(host: Host, stream: Stream) -> None:
    daemon = started(host, stream, rate__mode="snapshot", rate__every_s=1)
    assert snapshot(daemon, host).status == 200
    assert daemon.stop() == 0
    assert host.verify(stream)["code"] == 0


def test_a_missing_stream_is_told(host: Host, shared_local: Local) -> None:
    daemon = host.run(
        kinesis__endpoint_url=shared_local.url, kinesis__stream="nobody-made-it", database__url=""
    )
    daemon.until("the cause", lambda status: status["errors"])
    refused = snapshot(daemon, host)
    assert refused.status == 503
    assert "worker 0 is not sending" in refused.json()["detail"]
