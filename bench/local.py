"""How many CPU seconds does `tickerd local --discard` take for a million records?

Sends PutRecords calls built beforehand over several keep-alive connections and reads the CPU time of the
server's process. Prints one JSON line. Run it alone on the machine: `python bench/local.py [--seconds N]`.
"""

import argparse
import base64
import json
import random
import resource
import socket
import subprocess
import sys
import threading
import time

from recorded import record

ENTRIES = 500
KEYS = [f"{random.Random(i).randrange(26**4):x}".upper() for i in range(560)]
SERVER = (
    "import sys; from tickerd.local import LocalOptions, run;"
    "sys.exit(run(LocalOptions(port=0, shards=int(sys.argv[1]), discard=sys.argv[2] == 'discard',"
    " shard_limits=sys.argv[3] == 'limits')))"
)


def body(seed: int) -> bytes:
    """Return the JSON of one PutRecords call of 500 records of about 165 bytes."""
    chosen = random.Random(seed)
    records = []
    for seq in range(seed * ENTRIES, (seed + 1) * ENTRIES):
        key = chosen.choice(KEYS)
        price = round(chosen.uniform(1, 900), 2)
        record = {
            "type": "stock",
            "stock_symbol": key,
            "price": price,
            "size": 100,
            "bid": price - 0.01,
            "ask": price + 0.01,
            "time": "2026-11-24T16:00:00.009Z",
            "source": "i-0abc123-0-k7m2qx4d",
            "seq": seq + 400_000_000,
        }
        data = json.dumps(record, separators=(",", ":")).encode()
        records.append({"Data": base64.b64encode(data).decode(), "PartitionKey": key})
    return json.dumps({"StreamName": "market-log", "Records": records}, separators=(",", ":")).encode()


def http_request(content: bytes) -> bytes:
    """Return a request with the headers that a signing client sends."""
    head = (
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-amz-json-1.1\r\n"
        "X-Amz-Target: Kinesis_20131202.PutRecords\r\nX-Amz-Date: 20261123T000000Z\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=AK/20261123/us-east-1/kinesis/aws4_request, "
        f"SignedHeaders=host;x-amz-date;x-amz-target, Signature={'0' * 64}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def send(port: int, requests: list[bytes], until: float, results: list[tuple[int, int]]) -> None:
    """Send calls over one connection until a monotonic time; append (calls, entries that failed)."""
    calls = failed = 0
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as reader:
        while time.monotonic() < until:
            connection.sendall(requests[calls % len(requests)])
            status = reader.readline()
            if b" 200 " not in status:
                sys.exit(f"bench/local.py: unexpected answer {status!r}")
            length = 0
            while (line := reader.readline()) not in {b"\r\n", b""}:
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            reply = reader.read(length)
            failed += int(reply[: reply.index(b",")].rpartition(b":")[2])
            calls += 1
    results.append((calls, failed))


def main() -> None:
    """Run the server and the senders, and print the result."""
    parser = argparse.ArgumentParser(description="CPU seconds of tickerd local per million records")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--keep", action="store_true", help="hold the records instead of discarding them")
    parser.add_argument("--limits", action="store_true", help="keep the shards' limits, which throttles")
    chosen = parser.parse_args()
    requests = [http_request(body(seed)) for seed in range(40)]
    mode = ["keep" if chosen.keep else "discard", "limits" if chosen.limits else "none"]
    command = [sys.executable, "-c", SERVER, str(chosen.shards), *mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None or not (line := server.stdout.readline()):
            sys.exit("bench/local.py: the server did not start")
        port = int(line.partition("http://127.0.0.1:")[2].split()[0])
        started = time.monotonic()
        results: list[tuple[int, int]] = []
        senders = [
            threading.Thread(target=send, args=(port, requests, started + chosen.seconds, results))
            for _ in range(chosen.connections)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        seconds = time.monotonic() - started
        server.terminate()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)  # start-up of the server is in it
    records = sum(calls for calls, _ in results) * ENTRIES
    record(
        "local",
        cpu_seconds_per_million=round((usage.ru_utime + usage.ru_stime) / records * 1e6, 3),
        records_per_second=round(records / seconds),
        records=records,
        failed=sum(failed for _, failed in results),
        resident_mb=round(usage.ru_maxrss * 1024 / 1e6, 1),
    )


if __name__ == "__main__":
    main()
