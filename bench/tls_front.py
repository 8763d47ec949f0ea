"""A TLS front for a plain endpoint, in a process of its own on the second core: it decrypts and passes on."""

import asyncio
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from subprocess import PIPE
from types import TracebackType
from urllib.parse import urlsplit

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from processes import on_cores


class Front:
    """A certificate for 127.0.0.1, which AWS_CA_BUNDLE names meanwhile, and fronts that use it."""

    def __enter__(self) -> "Front":
        self._directory = tempfile.TemporaryDirectory()
        path = Path(self._directory.name)
        self._files = [str(path / "certificate.pem"), str(path / "key.pem")]
        _make_certificate(*map(Path, self._files))
        os.environ["AWS_CA_BUNDLE"] = self._files[0]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        del os.environ["AWS_CA_BUNDLE"]
        self._directory.cleanup()

    @contextmanager
    def before(self, endpoint: str) -> Iterator[str]:
        """A front of an endpoint: its URL."""
        with on_cores([1], [sys.executable, __file__, endpoint, *self._files], stdout=PIPE) as process:
            assert process.stdout is not None
            yield f"https://127.0.0.1:{process.stdout.readline().strip()}"


def _make_certificate(certificate: Path, private: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    forms = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(*forms))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(1 << 18):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(endpoint: str, certificate: str, key: str) -> None:
    """Say the port, and pass on until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    parts = urlsplit(endpoint)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
