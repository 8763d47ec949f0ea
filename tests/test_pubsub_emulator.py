"""Against Google's emulator and with Google's own subscriber: what others make of what tickerd publishes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from daemon import Host, Json
from pubsub_services import PROJECT, Emulator, emulator, emulator_programs

SMALL: Json = {"rate__records_per_second": 4000, "database__url": ""}
SUBSCRIBER = """
import json, sys, threading
from google.cloud import pubsub_v1
project, subscription, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
found, done = [], threading.Event()
def take(message):
    found.append((message.ordering_key, dict(message.attributes), message.data.decode()))
    message.ack()
    if sum(data.count('"seq":') for _, _, data in found) >= wanted:
        done.set()
subscriber = pubsub_v1.SubscriberClient()
future = subscriber.subscribe(subscriber.subscription_path(project, subscription), take)
done.wait(60)
future.cancel()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.mark.parametrize("packing", [pytest.param("none", marks=pytest.mark.slow), "lines"])
def test_googles_own_subscriber_reads_every_record(host: Host, google: Emulator, packing: str) -> None:
    topic = google.topic(ordered=True)
    how: Json = {"pubsub__packing": packing, "pubsub__order": "key", "pubsub__ordering_keys": 4}
    assert host.run("--records", "3000", **topic.settings, **SMALL, **how).wait() == 0
    made = sum(source["next_seq"] for source in host.account()["sources"])
    ran = subprocess.run(
        [sys.executable, "-c", SUBSCRIBER, PROJECT, topic.subscription, str(made)],
        env=host.environment | {"PUBSUB_EMULATOR_HOST": google.address},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[Any] = json.loads(ran.stdout)
    records = []
    for key, attributes, data in found:
        lines = [json.loads(line) for line in data.splitlines()]
        records += lines
        assert key.startswith(lines[0]["source"])
        if packing == "lines":
            assert attributes["count"] == str(len(lines))
            assert attributes["first_seq"] == str(lines[0]["seq"])
            assert attributes["source"] == lines[0]["source"]
    assert len({(record["source"], record["seq"]) for record in records}) == made
    # An instrument's records come in the order of their seq.
    last: dict[tuple[str, str], int] = {}
    for record in records:
        of = record["source"], record.get("currency_pair") or record["stock_symbol"]
        assert last.get(of, -1) < record["seq"]
        last[of] = record["seq"]


@pytest.mark.slow
def test_the_variable_of_the_emulator_is_honoured(host: Host, google: Emulator) -> None:
    topic = google.topic()
    settings = {**topic.settings, "pubsub__endpoint": ""}
    host.environment["PUBSUB_EMULATOR_HOST"] = google.address
    daemon = host.run("--records", "2000", **settings, **SMALL)
    assert daemon.wait() == 0
    report = host.verify(topic)
    assert report["code"] == 0
    assert report["totals"]["lost"] == 0


@pytest.mark.slow
def test_a_topic_that_is_not_there_is_told_and_taken_when_it_is_made(host: Host, google: Emulator) -> None:
    topic = google.topic()
    missing = topic.settings | {"pubsub__topic": "missing"}
    daemon = host.run(**missing, **SMALL)
    status = daemon.until("the cause", lambda status: status["errors"])
    assert status["errors"][0]["code"] == "NOT_FOUND"
    assert "create the topic" in status["errors"][0]["message"]
    google.make("topics/missing", {})
    assert daemon.stop() == 0


@pytest.mark.slow
def test_the_demo_shows_it(host: Host) -> None:
    emulator_programs()
    ran = host.tickerd("demo", "--destination", "pubsub", "--seconds", "3")
    assert ran.returncode == 0, ran.stderr
    account = {line.split()[0]: line.split()[1].replace(",", "") for line in ran.stdout.splitlines()}
    assert account["lost"] == "0"
    assert int(account["generated"]) == int(account["acknowledged"]) > 3000
    assert not host.pids()
