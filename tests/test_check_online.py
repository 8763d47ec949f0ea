"""`tickerd check --online` against our endpoint with faults and against those that others wrote."""

import asyncio
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session
import cbor2
import msgspec
import pytest

import emulators
from daemon import Destination, Host, Stream
from test_emulators_daemon import created
from tickerd.findings import Finding
from tickerd.local import Faults
from tickerd.online import Clock, check_online, described
from tickerd.settings import Kinesis, Settings

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
A_CLOCK_AHEAD = "import time; real = time.time; time.time = lambda: real() + {seconds}"
SUMMARY = {"StreamName": "market-log", "OpenShardCount": 4, "StreamStatus": "ACTIVE"}


def asked(host: Host, *assignments: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    sets = [part for assignment in assignments for part in ("--set", assignment)]
    ran = host.tickerd("check", "--online", *sets, environment=environment)
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


def of(stream: Destination) -> list[str]:
    return [f"kinesis.endpoint_url={stream.url}", f"kinesis.stream={stream.name}"]


def lines(findings: list[Finding], *, works: bool) -> list[str]:
    return [finding.line for finding in findings if finding.works == works]


def test_a_stream_that_would_work_is_0_and_nothing_is_written(host: Host, stream: Stream) -> None:
    before = stream.local.stats()
    code, out, err = asked(host, *of(stream))
    assert (code, err) == (0, "")
    assert f"stream: {stream.name} is ACTIVE, PROVISIONED, 4 open shards, records to 1024 KiB" in out
    for action in ("kinesis:ListShards", "kinesis:PutRecords"):
        assert f"permission: {action} is there" in out
    assert "clock: agrees" in out
    after = stream.local.stats()
    assert after["entries"] == before["entries"]
    assert after["errors"]["PutRecords"]["DryRunOperationException"] >= 1


def test_a_format_of_requests_is_tried_and_nothing_is_written(host: Host, stream: Stream) -> None:
    before = stream.local.stats()
    code, out, err = asked(host, *of(stream), "kinesis.request=cbor")
    assert (code, err) == (0, "")
    assert "kinesis.request: the endpoint reads CBOR" in out
    assert stream.local.stats()["entries"] == before["entries"]
    assert "kinesis.request" not in asked(host, *of(stream))[1]


@contextmanager
def front(url: str, status: int, body: bytes) -> Iterator[str]:
    """Before an endpoint: requests in JSON go on to it, one in CBOR gets this answer; status 0: none."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            if "cbor" in self.headers["Content-Type"]:
                answer = status, body
            else:
                request = urllib.request.Request(url, asked, dict(self.headers))  # noqa: S310 - loopback
                try:
                    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - loopback
                        answer = reply.status, reply.read()
                except urllib.error.HTTPError as error:
                    answer = error.code, error.read()
            if not answer[0]:
                self.close_connection = True
                return
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, cbor2.dumps({"__type": "com.amazon#ValidationException"}), ""),
        (
            400,
            cbor2.dumps({"__type": "com.amazon#SerializationException"}),
            "(HTTP 400 SerializationException); if",
        ),
        (200, b"\xa0", "(HTTP 200 \ufffd); if this"),
        (200, b"\xff\xfe\x00", "HTTP 200"),
        (400, cbor2.dumps({"__type": "Odd\n\x1b[31m" + 500 * "x"}), ""),
        (400, b'{"__type": "Odd\\n' + 500 * b"x" + b'"}', "HTTP 400 Odd x"),
        (
            503,
            b"<html>busy</html>",
            "(HTTP 503 <html>busy</html>); ask again, and if this endpoint does not know CBOR",
        ),
        (0, b"", "kinesis.request: ConnectionError"),
    ],
)
def test_what_an_endpoint_makes_of_cbor_is_told_in_a_line(
    host: Host, stream: Stream, status: int, body: bytes, told: str
) -> None:
    with front(stream.url, status, body) as url:
        code, out, err = asked(
            host, f"kinesis.endpoint_url={url}", f"kinesis.stream={stream.name}", "kinesis.request=cbor"
        )
    found = [line for line in err.splitlines() if "kinesis.request" in line]
    assert (code == 0) == (not told)
    assert bool(found) == bool(told)
    assert ("kinesis.request: the endpoint reads CBOR" in out) == (not told)
    for line in found:
        assert told in line
        assert line.isprintable()
        assert len(line) < 500
        assert status == 0 or 'kinesis.request = "json"' in line


@pytest.mark.parametrize(
    ("start", "reads"),
    [(emulators.kinesalite, True), (emulators.kinesis_local, True), (emulators.moto_server, False)],
)
def test_endpoints_that_others_wrote_are_told_apart_by_what_they_read(
    host: Host, start: Callable[[], AbstractContextManager[str]], reads: bool
) -> None:
    with start() as url:
        _, out, err = asked(host, *of(created(url)), "kinesis.request=cbor", environment=KEYS)
    assert ("kinesis.request: the endpoint reads CBOR" in out) == reads
    told = [line for line in err.splitlines() if "kinesis.request" in line]
    assert bool(told) != reads
    assert all(line.endswith('set kinesis.request = "json"') for line in told)


def test_every_missing_permission_is_named_by_its_iam_action(host: Host, stream: Stream) -> None:
    stream.faults(deny=True)
    code, out, err = asked(host, *of(stream))
    assert code == 1
    assert "the settings are sound" in out
    for line, action in zip(
        err.splitlines(),
        ("kinesis:DescribeStreamSummary", "kinesis:ListShards", "kinesis:PutRecords"),
        strict=True,
    ):
        assert line.startswith(f"tickerd: permission: {action} is missing on {stream.name}; allow it")


def test_a_stream_that_is_missing_is_named_with_the_settings_to_look_at(host: Host, stream: Stream) -> None:
    code, _, err = asked(host, f"kinesis.endpoint_url={stream.url}", "kinesis.stream=nowhere")
    assert code == 1
    assert "kinesis.stream: there is no nowhere" in err
    assert "create it, or correct kinesis.stream or kinesis.region" in err


def test_an_endpoint_that_answers_nothing_is_one_line(host: Host, stream: Stream) -> None:
    stream.faults(outage=True)
    code, _, err = asked(host, *of(stream))
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith(f"tickerd: endpoint: {stream.url} does not answer")
    assert "kinesis.endpoint_url" in line


def test_a_port_where_nobody_listens_is_one_line(host: Host) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{holder.getsockname()[1]}"
        code, _, err = asked(host, f"kinesis.endpoint_url={url}")
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith(f"tickerd: endpoint: {url} does not answer")


def test_credentials_and_a_region_that_are_missing_are_named(host: Host) -> None:
    code, _, err = asked(host, "kinesis.region=eu-west-1")
    assert code == 1
    assert "credentials: none found" in err
    assert "AWS_ACCESS_KEY_ID" in err
    code, _, err = asked(host, environment=KEYS)
    assert code == 1
    assert "kinesis.region: none is known" in err


def test_a_profile_that_does_not_exist_is_one_line(host: Host) -> None:
    code, _, err = asked(host, "kinesis.region=eu-west-1", environment={"AWS_PROFILE": "nobody"})
    assert code == 1
    (line,) = err.splitlines()
    assert "nobody" in line


def test_settings_that_are_wrong_are_78_and_ask_nobody(host: Host, stream: Stream) -> None:
    before = stream.local.stats()["calls"]
    assert asked(host, *of(stream), "rate.records_per_second=-1")[0] == 78
    assert stream.local.stats()["calls"] == before


@pytest.mark.parametrize(
    ("seconds", "code", "told"), [(400, 1, "set it right"), (60, 0, "clock: 60 s ahead")]
)
def test_a_clock_that_is_off_is_told_and_beyond_five_minutes_wrong(
    host: Host, stream: Stream, seconds: int, code: int, told: str
) -> None:
    shifted = host.injected(A_CLOCK_AHEAD.format(seconds=seconds))
    got, out, err = asked(host, *of(stream), environment=shifted)
    assert got == code
    assert told in (err if code else out).replace("59 s", "60 s")


@pytest.mark.parametrize(
    ("host_s", "works", "told"),
    [
        (0.0, True, "agrees"),
        (0.9, True, "agrees"),
        (2.9, True, "2 s ahead of"),
        (-3.0, True, "3 s behind"),
        (301.0, True, "300 s ahead of"),
        (302.0, False, "301 s ahead of"),
        (-300.0, True, "300 s behind"),
        (-301.0, False, "301 s behind"),
    ],
)
def test_a_date_header_tells_no_more_than_whole_seconds(host_s: float, works: bool, told: str) -> None:
    clock = Clock()
    header = {"ResponseMetadata": {"HTTPHeaders": {"date": "Tue, 24 Nov 2026 16:00:00 GMT"}}}
    said_s = 1_795_536_000.0
    clock.heard(header, said_s + host_s, said_s + host_s)
    (finding,) = clock.findings()
    assert finding.works == works
    assert told in finding.line


def test_an_answer_without_a_date_says_nothing_of_the_clock() -> None:
    clock = Clock()
    clock.heard({}, 0, 0)
    clock.heard({"ResponseMetadata": {"HTTPHeaders": {"date": "yesterday"}}}, 0, 0)
    assert list(clock.findings()) == []


def test_on_an_auto_stream_kpl_and_order_by_key_are_refused_and_plain_records_are_not() -> None:
    async def findings(**kinesis: object) -> list[Finding]:
        async with emulators.local_here() as (local, client):
            local.faults = Faults(auto=True)
            url = client.meta.endpoint_url
            made = msgspec.convert({"endpoint_url": url, **kinesis}, Kinesis)
            return await check_online(msgspec.structs.replace(Settings(), kinesis=made))

    kpl = lines(asyncio.run(findings(aggregation="kpl", order="key")), works=False)
    assert [line.partition(":")[0] for line in kpl] == ["kinesis.aggregation", "kinesis.order"]
    assert all("RecordDistributionStrategy AUTO" in line for line in kpl)
    plain = asyncio.run(findings())
    assert lines(plain, works=False) == []
    assert any("does not stay on one shard" in line for line in lines(plain, works=True))
    assert lines(asyncio.run(findings(aggregation="lines")), works=False) == []


@pytest.mark.parametrize(("aggregate_bytes_max", "works"), [(1024 * 1024, True), (1024 * 1024 + 1, False)])
def test_an_aggregate_may_be_as_large_as_the_stream_takes(aggregate_bytes_max: int, works: bool) -> None:
    kinesis = Kinesis(aggregation="kpl", aggregate_bytes_max=aggregate_bytes_max)
    found = list(described({**SUMMARY, "MaxRecordSizeInKiB": 1024}, kinesis, 1000))
    assert all(finding.works for finding in found) == works
    plain = msgspec.structs.replace(kinesis, aggregation="none")
    assert all(finding.works for finding in described(SUMMARY, plain, 1000))


@pytest.mark.parametrize("status", ["CREATING", "DELETING"])
def test_a_stream_that_is_not_there_yet_or_any_more_would_not_work(status: str) -> None:
    wrong = lines(list(described({**SUMMARY, "StreamStatus": status}, Kinesis(), 1)), works=False)
    assert wrong == [f"kinesis.stream: market-log is {status}; wait until it is ACTIVE, or name another"]


def test_a_rate_above_what_the_shards_take_is_told() -> None:
    assert len(list(described(SUMMARY, Kinesis(), 4000))) == 1
    assert "more than the 4,000" in list(described(SUMMARY, Kinesis(), 4001))[1].line


@pytest.mark.slow
@pytest.mark.parametrize("emulator", [emulators.kinesalite, emulators.kinesis_local, emulators.moto_server])
def test_an_emulator_that_knows_no_dry_run_is_said_to_and_gets_no_record(
    host: Host, emulator: Callable[[], AbstractContextManager[str]]
) -> None:
    with emulator() as url:
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        client = botocore.session.get_session().create_client(
            "kinesis", "us-east-1", endpoint_url=url, **keys
        )
        client.create_stream(StreamName="market-log", ShardCount=1)
        client.get_waiter("stream_exists").wait(
            StreamName="market-log", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        code, out, err = asked(host, f"kinesis.endpoint_url={url}")
        assert (code, err) == (0, "")
        assert "kinesis:PutRecords was not tried, as this endpoint knows no DryRun" in out
        (shard,) = client.list_shards(StreamName="market-log")["Shards"]
        iterator = client.get_shard_iterator(
            StreamName="market-log", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        assert client.get_records(ShardIterator=iterator["ShardIterator"])["Records"] == []
        client.close()
