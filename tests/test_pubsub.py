"""Pub/Sub as a destination, against a service that fails on demand, keeps the limits and asks for a token."""

import datetime
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from daemon import Host, Json, eventually, post
from pubsub_services import FakePubSub, fake_pubsub

SMALL: Json = {"rate__records_per_second": 4000, "database__url": ""}


@pytest.fixture
def fake() -> Iterator[FakePubSub]:
    with fake_pubsub() as running:
        yield running


def nothing_is_wrong(report: Json) -> bool:
    totals = report["totals"]
    wrong = [totals[name] for name in ("lost", "corrupt", "altered", "foreign", "out_of_order")]
    return report["code"] == 0 and not any(wrong) and totals["records"] > 0


@pytest.mark.parametrize(
    "how",
    [
        {"pubsub__packing": "lines", "pubsub__compression": "zstd", "pubsub__order": "key"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"pubsub__order": "key", "record__format": "msgpack"}, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_lost_while_requests_fail_and_acknowledgements_do_not_come(
    host: Host, fake: FakePubSub, how: Json
) -> None:
    fake.faults(error=0.2, lost_ack=0.1, latency_ms=5)
    daemon = host.run(**fake.settings, **SMALL, **how)
    daemon.until_acked(12_000)

    def went_wrong() -> bool:
        stats = fake.stats()
        return stats["lost_acks"] > 0 and len(stats["codes"]) > 2

    eventually("a lost acknowledgement, and errors of several kinds", went_wrong)
    fake.heal()
    assert daemon.stop() == 0
    report = host.verify(fake)
    assert nothing_is_wrong(report)
    assert report["totals"]["duplicates"] > 0
    stats = fake.stats()
    assert stats["limits"] == []
    if "pubsub__order" in how:
        assert stats["most_of_a_key"] == 1
    if "pubsub__packing" in how:
        assert set(stats["attributes"]) == {"format", "count", "first_seq", "source", "content-encoding"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("NOT_FOUND", "create the topic, or correct pubsub.topic or pubsub.project"),
        ("PERMISSION_DENIED", "give the service account roles/pubsub.publisher on the topic"),
    ],
)
def test_what_somebody_has_to_mend_is_told_in_one_line_and_the_daemon_goes_on(
    host: Host, fake: FakePubSub, code: str, remedy: str
) -> None:
    fake.faults(deny=code)
    daemon = host.run(**fake.settings, **SMALL, source__workers=1)
    status = daemon.until("the cause", lambda status: status["errors"])
    assert status["errors"][0]["code"] == code
    assert status["errors"][0]["message"].endswith(remedy)
    assert daemon.counter("tickerd_destination_error", error_code=code) == 1
    asked = fake.stats()["requests"]
    time.sleep(2)
    assert fake.stats()["requests"] <= asked + 1  # a probe in ten seconds
    fake.heal()
    assert daemon.stop() == 0  # a drain probes at once
    assert len([line for line in daemon.lines() if line["level"] == "error"]) == 1
    assert nothing_is_wrong(host.verify(fake))


@pytest.mark.slow
def test_an_outage_is_waited_out(host: Host, fake: FakePubSub) -> None:
    fake.faults(outage=True)
    daemon = host.run(**fake.settings, **SMALL)
    status = daemon.until("the cause", lambda status: status["errors"])
    assert status["errors"][0]["code"] == "UNAVAILABLE"
    fake.heal()
    daemon.until("an end of it", lambda status: status["totals"]["acked"] > 4000 and not status["errors"])
    assert daemon.stop() == 0
    assert nothing_is_wrong(host.verify(fake))


def test_the_supervisor_never_loads_grpc(host: Host, fake: FakePubSub) -> None:
    daemon = host.run(**fake.settings, **SMALL)
    daemon.until_acked(100)
    loaded = {
        pid: "cygrpc" in Path(f"/proc/{pid}/maps").read_text() for pid in [daemon.pid, *daemon.workers()]
    }
    assert loaded.pop(daemon.pid) is False
    assert all(loaded.values())
    daemon.stop()


WITHOUT_GRPC = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc" or name.startswith("grpc."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


def test_without_the_extra_one_line_says_what_to_install_and_all_else_works(host: Host) -> None:
    environment = host.injected(WITHOUT_GRPC)
    for command in ("run", "check"):
        ran = host.tickerd(command, "--set", "destination.kind=pubsub", environment=environment)
        assert ran.returncode == 78
        (line,) = ran.stderr.splitlines()
        assert '"pubsub" needs grpcio and google-auth: pip install "tickerd[pubsub]"' in line
    ran = host.tickerd("verify", "--subscription", "abc", environment=environment)
    assert ran.returncode == 1
    assert 'pip install "tickerd[pubsub]"' in ran.stderr
    daemon = host.run("--records", "100", destination__kind="null", environment=environment, **SMALL)
    assert daemon.wait() == 0


def certificate(directory: Path) -> tuple[Path, Path]:
    """A key, and a certificate of 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "key.pem", directory / "certificate.pem"
    files[0].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    files[1].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return files


def service_account(directory: Path, token_uri: str) -> Path:
    """The key file of a service account whose tokens come from there."""
    key = rsa.generate_private_key(65_537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    content = {
        "type": "service_account",
        "project_id": "market-1",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "tickerd@market-1.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
    file = directory / "account-key.json"
    file.write_text(json.dumps(content))
    return file


@pytest.mark.slow
def test_tls_and_tokens_of_a_service_account_which_are_renewed_when_they_are_refused(
    host: Host, tmp_path: Path
) -> None:
    key, made = certificate(tmp_path)
    with fake_pubsub("--token", "first", tls=(key, made)) as fake:
        account = service_account(tmp_path, f"{fake.control}/token")
        environment = {
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(made),
            "GOOGLE_APPLICATION_CREDENTIALS": str(account),
        }
        port = fake.url.rpartition(":")[2]
        of_account = fake.settings | {"pubsub__endpoint": f"localhost:{port}", "pubsub__project": ""}
        daemon = host.run(**of_account, **SMALL, environment=environment)
        daemon.until_acked(1000)
        post(fake.control, "/change-token", {"token": "second"}, **{"Content-Type": "application/json"})
        acked = daemon.status()["totals"]["acked"]
        daemon.until_acked(acked + 10_000)
        assert daemon.stop() == 0
        assert fake.stats()["tokens"] == ["Bearer first", "Bearer second"]
        assert "Traceback" not in daemon.said()
        host.environment |= environment
        sets = [f"{name.replace('__', '.')}={value}" for name, value in of_account.items()]
        arguments = [part for each in sets for part in ("--set", each)]
        ran = host.tickerd("verify", "--account", str(host.state / "account.json"), *arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_missing_credentials_are_told_in_one_line_and_waited_for(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "missing.json"
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    daemon = host.run(
        destination__kind="pubsub", pubsub__endpoint="localhost:9", **SMALL, environment=environment
    )
    status = daemon.until("the cause", lambda status: status["errors"])
    assert status["state"] == "waiting"
    assert status["errors"][0]["code"] == "NoCredentials"
    assert "GOOGLE_APPLICATION_CREDENTIALS" in status["errors"][0]["message"]
    daemon.stop()
    assert "Traceback" not in daemon.said()


@pytest.mark.slow
def test_tail_shows_what_it_reads_of_a_subscription(host: Host, fake: FakePubSub) -> None:
    host.run("--records", "500", **fake.settings, **SMALL, pubsub__packing="lines").wait()
    sets = [f"{name.replace('__', '.')}={value}" for name, value in fake.settings.items()]
    with (tmp := host.directory / "tail.out").open("w") as out:
        tail = host.process("tail", *[part for each in sets for part in ("--set", each)], out=out)
    eventually("500 records", lambda: len(tmp.read_text().splitlines()) >= 500, tail.said)
    assert {"source", "seq"} <= json.loads(tmp.read_text().splitlines()[0]).keys()
    assert tail.stop() == 0


@pytest.mark.slow
def test_a_snapshot_is_published_on_demand(host: Host, fake: FakePubSub) -> None:
    daemon = host.run(**fake.settings, **SMALL)
    daemon.until_acked(100)
    token = (host.state / "token").read_text().strip()
    connection = http.client.HTTPConnection(urlsplit(daemon.address).netloc, timeout=30)
    connection.request("POST", "/logs", headers={"Authorization": f"Bearer {token}"})
    assert json.loads(connection.getresponse().read())["records"] == 579
    connection.close()
    assert daemon.stop() == 0
    assert nothing_is_wrong(host.verify(fake))


@pytest.mark.slow
def test_an_endpoint_without_tls_is_told_and_every_line_of_the_log_stays_json(
    host: Host, tmp_path: Path
) -> None:
    with fake_pubsub("--token", "first") as fake:
        account = service_account(tmp_path, f"{fake.control}/token")
        port = fake.url.rpartition(":")[2]
        daemon = host.run(
            **fake.settings | {"pubsub__endpoint": f"localhost:{port}"},
            **SMALL,
            environment={"GOOGLE_APPLICATION_CREDENTIALS": str(account)},
        )
        status = daemon.until("the cause", lambda status: status["errors"])
        assert status["errors"][0]["code"] == "UNAVAILABLE"
        assert len([line for line in daemon.lines() if line["level"] == "error"]) == 1
