"""`tickerd local` as a process: its one line, its end, and a port that another one has."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import msgspec
import pytest

from tickerd.local import LocalOptions

RUN = (
    "import sys, msgspec; from tickerd.local import LocalOptions, run;"
    "sys.exit(run(msgspec.json.decode(sys.argv[1], type=LocalOptions)))"
)


def start(options: LocalOptions) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-c", RUN, msgspec.json.encode(options).decode()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_with_0_on_a_signal(number: signal.Signals) -> None:
    with start(LocalOptions(port=0, shards=6, stream="ticks")) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split()[2]
        assert line == f"tickerd local: {url} stream ticks, 6 shards\n"
        with urllib.request.urlopen(f"{url}/_local/stats", timeout=10) as answer:  # noqa: S310  loopback
            assert json.load(answer)["calls"] == 0
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_it_ends_while_a_client_holds_a_connection_and_a_call_waits() -> None:
    with start(LocalOptions(port=0)) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[2].rpartition(":")[2])
        body = b'{"latency_ms": 60000}'
        head = (
            b"POST %s HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\n"
            b"Content-Length: %d\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port)) as idle:
            idle.sendall(head % (b"/_local/faults", len(body)) + body)
            assert idle.recv(4096).startswith(b"HTTP/1.1 200")
            with socket.create_connection(("127.0.0.1", port)) as waiting:
                waiting.sendall(head % (b"/", 2) + b"{}")
                process.terminate()
                assert process.wait(timeout=20) == 0


def test_a_port_in_use_is_one_line_and_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with start(LocalOptions(port=port)) as process:
            out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert out == ""
    assert err == f"tickerd local: port {port} on 127.0.0.1 is in use: choose another --port\n"


def test_an_address_of_another_machine_is_one_line_and_1() -> None:
    with start(LocalOptions(host="192.0.2.1", port=0)) as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert out == ""
    assert err.startswith("tickerd local: port 0 on 192.0.2.1 cannot be listened on: ")
    assert err.count("\n") == 1


def test_more_shards_than_a_stream_can_have_are_one_line_and_1() -> None:
    with start(LocalOptions(port=0, shards=10_001)) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert err == "tickerd local: 10001 shards; the limit is 10000.\n"
