"""systemd as the first process of namespaces of its own, over a copy-on-write view of this machine's files.

Needs root, unshare and nsenter; nothing that happens in there is left on this machine. The network is a
loopback of its own; commands may be run with this machine's network instead, to fetch packages.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon import eventually

BOOT = Path(__file__).parent / "boot.sh"
SYSTEMD = Path("/lib/systemd/systemd")
CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


class Lab:
    """The machine, while it runs."""

    def __init__(self, pid: int, stage: Path) -> None:
        self._pid = pid
        self.stage = stage  # is /opt/stage there

    def command(self, *arguments: str, own_network: bool = True) -> list[str]:
        """The command line that runs these arguments over there."""
        spaces = ["-m", "-p", "-u", "-i", "-C"] + (["-n"] if own_network else [])
        return ["nsenter", "-t", str(self._pid), *spaces, "--", *arguments]

    def try_(self, *arguments: str, own_network: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command over there to its end."""
        return subprocess.run(
            self.command(*arguments, own_network=own_network),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def run(self, *arguments: str, own_network: bool = True) -> str:
        """Run a command that has to succeed; its output."""
        ran = self.try_(*arguments, own_network=own_network)
        assert ran.returncode == 0, f"{arguments} ended with {ran.returncode}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command that goes on; it ends with the machine."""
        return subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, text=True)

    def show(self, name: str, unit: str = "tickerd.service") -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def until(self, what: str, name: str, value: str) -> None:
        """Wait for a property of the service."""
        eventually(what, lambda: self.show(name) == value, self.journal)

    def journal(self, *arguments: str) -> str:
        """What the service said."""
        return self.run("journalctl", "--no-pager", "--output=cat", "-u", "tickerd.service", *arguments)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the daemon; 0 when nobody answers."""
        ran = self.try_("curl", "-sS", "-w", "\n%{http_code}", f"http://127.0.0.1:9631{path}")
        body, _, code = ran.stdout.rpartition("\n")
        return int(code or 0), body

    def status(self) -> dict[str, Any]:
        """`/status`, which has to answer."""
        code, body = self.get("/status")
        assert code == 200, self.journal()
        status: dict[str, Any] = json.loads(body)
        return status

    def processes(self, unit: str = "tickerd.service") -> list[int]:
        """The processes of a service, by its cgroup."""
        group = self.show("ControlGroup", unit)
        listed = self.try_("cat", f"/sys/fs/cgroup{group}/cgroup.procs").stdout if group else ""
        return [int(pid) for pid in listed.split()]


def missing() -> str:
    """What this machine lacks to run systemd in namespaces; empty when nothing."""
    if os.geteuid() != 0:
        return "root"
    needed = ("unshare", "nsenter", "ip", "journalctl", "systemctl", "curl")
    lacking = [program for program in needed if shutil.which(program) is None]
    if not SYSTEMD.exists():
        lacking.append(str(SYSTEMD))
    return ", ".join(lacking)


@contextmanager
def lab(top: Path, stage: Path) -> Iterator[Lab]:
    """A running machine, built in the empty directory `top`; `stage` is /opt/stage over there."""
    if lacking := missing():
        pytest.skip(f"no systemd can be started here: {lacking} is missing")
    top = next(place for place in CGROUPS if (place / "cgroup.procs").exists())
    group = top / f"tickerd-lab-{os.getpid()}"
    group.mkdir(exist_ok=True)
    started = subprocess.Popen(
        [
            *("sh", "-c", 'echo $$ > "$1"; shift; exec "$@"', "sh", str(group / "cgroup.procs"), "setsid"),
            *("unshare", "--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "--net", "--kill-child"),
            *(str(BOOT), str(top), str(stage)),
        ],
        stdin=subprocess.DEVNULL,
        stderr=sys.stderr,
    )
    try:
        made = Lab(_first_process(started.pid), stage)
        eventually("systemd", lambda: "running" in made.try_("systemctl", "is-system-running").stdout)
        yield made
    finally:
        started.send_signal(signal.SIGKILL)  # and with it, by --kill-child, all of the machine
        started.wait()
        _remove(group)


def _first_process(unshare: int) -> int:
    """The process that is systemd, once it is."""

    def found() -> int | None:
        children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        return None

    return eventually("the machine", found)


def _remove(group: Path) -> None:
    """Remove the cgroup and those below, once their processes are gone."""
    deadline = time.monotonic() + 10
    while group.exists() and time.monotonic() < deadline:
        for directory in sorted(group.rglob("*/"), reverse=True):
            with contextlib.suppress(OSError):
                directory.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.05)
