"""The daemon against endpoints that others wrote: every record that it generates is found in each."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import botocore.session
import pytest

import emulators
from daemon import Destination, Host, eventually


def created(url: str) -> Destination:
    """A new stream of 4 shards, once it is active."""
    stream = Destination(url, "market-log")
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    client = botocore.session.get_session().create_client("kinesis", "us-east-1", endpoint_url=url, **keys)
    try:
        client.create_stream(StreamName=stream.name, ShardCount=4)

        def is_active() -> bool:
            answer = client.describe_stream_summary(StreamName=stream.name)
            return bool(answer["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")

        eventually("an active stream", is_active)
    finally:
        client.close()
    return stream


@pytest.mark.slow
@pytest.mark.parametrize("emulator", [emulators.kinesalite, emulators.kinesis_local])
def test_every_record_is_found(host: Host, emulator: Callable[[], AbstractContextManager[str]]) -> None:
    with emulator() as url:
        stream = created(url)
        daemon = host.run(
            "--seconds", "5", **stream.settings, kinesis__region="us-east-1", rate__records_per_second=300
        )
        assert daemon.wait() == 0
        generated = sum(source["next_seq"] for source in host.account()["sources"])
        report = host.verify(stream)
    assert generated >= 300 * 5
    totals = report["totals"]
    assert totals["records"] - totals["duplicates"] == generated
    assert (report["code"], totals["lost"], totals["altered"], totals["foreign"]) == (0, 0, 0, 0)
    assert not daemon.logged("died")
