"""Where connections go: names with several addresses, IPv6, URLs, TLS."""

import asyncio
import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from raw_http import Names, Reader, Run, Writer, connections, echo, saying, serving
from tickerd.kinesis.http import Endpoint


def test_the_next_address_of_a_name_is_tried(run: Run) -> None:
    """The first one refuses, and the second one never answers."""

    async def story() -> None:
        with socket.socket() as refusing, socket.socket() as deaf:
            refusing.bind(("127.0.0.1", 0))
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            fillers = [socket.socket() for _ in range(4)]  # of its backlog
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
            async with serving(echo) as (_, url):
                port = Endpoint.of(url).port
                places = [refusing.getsockname(), deaf.getsockname(), ("127.0.0.1", port)]
                names = Names(*places)
                async with connections("http://kinesis.test:80", connect_max_s=1.5, look_up=names) as made:
                    assert await made.post({}, b"x") == (200, b"x")
                    assert names.asked == ["kinesis.test"]
            for filler in fillers:
                filler.close()

    run(story())


def test_a_name_is_looked_up_for_every_new_connection(run: Run) -> None:
    async def story() -> None:
        closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
        async with serving(saying(closing)) as (_, url):
            names = Names(("127.0.0.1", Endpoint.of(url).port))
            async with connections("http://kinesis.test", look_up=names) as made:
                for _ in range(3):
                    await made.post({}, b"x")
            assert names.asked == ["kinesis.test"] * 3

    run(story())


def test_an_endpoint_that_nobody_listens_at_is_named(run: Run) -> None:
    async def story() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
            async with connections(f"http://127.0.0.1:{port}") as made:
                with pytest.raises(ConnectionError, match=f":{port}: Connection refused"):
                    await made.post({}, b"x")

    run(story())


def test_an_address_of_version_6_works(run: Run) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")

    async def story() -> None:
        async with serving(echo, "::1") as (_, url), connections(url) as made:
            assert await made.post({}, b"x") == (200, b"x")

    run(story())


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://Host", (False, "host", 80, "host", "/")),
        ("https://host:443/", (True, "host", 443, "host", "/")),
        ("http://host:443", (False, "host", 443, "host:443", "/")),
        ("http://[::1]:4567/a%20b//c?q#f", (False, "::1", 4567, "[::1]:4567", "/a%20b/c")),
        ("https://user:secret@host", (True, "host", 443, "host", "/")),
    ],
)
def test_an_endpoint_is_read_off_its_url(url: str, endpoint: tuple[bool, str, int, str, str]) -> None:
    assert Endpoint.of(url) == endpoint


@pytest.mark.parametrize("url", ["ftp://host", "host", "http://", "http://host:x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"http\(s\)|port|Port"):
        Endpoint.of(url)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for `localhost` and 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def server_side(authority: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)
    return context


def test_calls_go_by_tls(run: Run, authority: tuple[Path, Path]) -> None:
    async def story() -> None:
        secure = ssl.create_default_context(cafile=authority[0])
        async with (
            serving(echo, tls=server_side(authority)) as (server, url),
            connections(url, secure=secure) as made,
        ):
            for body in (b"x", b"y" * 1_000_000):
                assert await made.post({}, body) == (200, body)
            assert server.connections == 1

    run(story())


def test_a_certificate_of_nobody_we_know_is_refused(run: Run, authority: tuple[Path, Path]) -> None:
    async def story() -> None:
        async with (
            serving(echo, tls=server_side(authority)) as (_, url),
            connections(url, secure=ssl.create_default_context()) as made,
        ):
            with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                await made.post({}, b"x")

    run(story())


def test_a_certificate_for_another_name_is_refused(run: Run, authority: tuple[Path, Path]) -> None:
    async def story() -> None:
        secure = ssl.create_default_context(cafile=authority[0])
        async with serving(echo, tls=server_side(authority)) as (_, url):
            port = Endpoint.of(url).port
            names = Names(("127.0.0.1", port))
            async with connections(f"https://kinesis.test:{port}", secure=secure, look_up=names) as made:
                with pytest.raises(ConnectionError, match=r"kinesis\.test"):
                    await made.post({}, b"x")

    run(story())


def test_a_server_that_does_not_finish_the_handshake_is_a_timeout(run: Run) -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        await reader.read()

    async def story() -> None:
        async with serving(silent) as (server, url):
            secure = ssl.create_default_context()
            async with connections("https" + url[4:], secure=secure, connect_max_s=0.3) as made:
                with pytest.raises(TimeoutError, match="no connection"):
                    await made.post({}, b"x")
            while server.open:
                await asyncio.sleep(0.01)

    run(story())
