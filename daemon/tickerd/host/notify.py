"""What the service manager is told: ready, reloading, stopping, alive, and one line of status (sd_notify(3)).

Datagrams to the socket that it named; without one nothing is sent. A message that cannot be sent is dropped:
the daemon never waits for its manager.
"""

import contextlib
import socket
import time

PING_S = 1.0  # shorter than half of any sensible watchdog


class Notifier:
    """The line to the service manager; `path` is its socket, empty when there is none."""

    def __init__(self, path: str = "") -> None:
        # A name in the abstract namespace begins with a NUL, which the environment writes as "@".
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._pinged_s = 0.0
        self._status = ""
        self._socket: socket.socket | None = None
        if path:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self) -> None:
        """All workers are up; or a reload has ended."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The settings are read again; `ready` follows, whatever comes of it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon ends."""
        self._send("STOPPING=1")

    def extend(self, seconds: float) -> None:
        """Stopping is under way and may take so much longer from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def status(self, line: str) -> None:
        """What `systemctl status` shows; sent when it has changed."""
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def alive(self) -> None:
        """The supervisor's loop turns; sent about once a second."""
        now_s = time.monotonic()
        if now_s - self._pinged_s >= PING_S:
            self._pinged_s = now_s
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Nothing is sent any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a manager that is restarting, or a full queue
                self._socket.sendto("\n".join(lines).encode(), self._address)
