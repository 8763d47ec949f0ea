"""Standard output as a destination: whole lines to whoever reads, and a quiet end when nobody does."""

import fcntl
import json
import select
import signal
import subprocess
import termios
import time
from array import array
from pathlib import Path
from typing import IO

import pytest

from daemon import Host, eventually, killed, tickerd
from disks import small_disk

RUN = ["--set", "destination.kind=stdout", "--set", "database.url=", "--set", "web.listen=127.0.0.1:0"]


def run(host: Host, *arguments: str) -> list[str]:
    return [*tickerd("run"), *RUN, "--set", f"state.directory={host.state}", *arguments]


def is_full(pipe: IO[bytes] | None) -> bool:
    """Whether a pipe takes no more: the largest write to it would not fit."""
    assert pipe is not None
    held, room = array("i", [0]), fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    fcntl.ioctl(pipe, termios.FIONREAD, held)
    return held[0] > room - 2 * select.PIPE_BUF


def test_only_records_are_on_standard_output_and_all_of_them(host: Host, tmp_path: Path) -> None:
    ran = host.tickerd("run", *RUN, "--set", f"state.directory={host.state}", "--records", "5000")
    assert ran.returncode == 0, ran.stderr
    records = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [record["seq"] for record in records] == list(range(len(records)))
    assert all(json.loads(line)["process"] for line in ran.stderr.splitlines())
    (tmp_path / "out.jsonl").write_text(ran.stdout)
    account = str(host.state / "account.json")
    read = host.tickerd("verify", "--path", str(tmp_path / "out.jsonl"), "--account", account)
    assert read.returncode == 0, read.stdout + read.stderr


@pytest.mark.parametrize("rate", [20, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_closed_pipe_ends_it_quietly_and_the_rest_is_made_at_the_next_start(host: Host, rate: int) -> None:
    with subprocess.Popen(
        run(host, "--set", f"rate.records_per_second={rate}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=host.environment,
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stderr is not None
        assert json.loads(daemon.stdout.readline())["seq"] == 0
        daemon.stdout.close()
        said = daemon.stderr.read().decode()
        assert daemon.wait(30) in {0, 75}
    assert "Traceback" not in said
    lines = [json.loads(line) for line in said.splitlines()]
    assert not [line for line in lines if line["level"] == "error"]
    assert sum("nobody reads standard output any more" in line["message"] for line in lines) == 1
    ran = subprocess.run(
        run(host, "--seconds", "1"), capture_output=True, env=host.environment, check=False, timeout=60
    )
    assert ran.returncode == 0
    assert json.loads(ran.stdout.splitlines()[0])["seq"] <= lines[-1].get("seq", 1 << 40)


def test_a_reader_that_is_slow_gets_whole_lines_whoever_is_killed(host: Host) -> None:
    with subprocess.Popen(
        run(host, "--set", "rate.records_per_second=50000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=host.environment,
    ) as daemon:
        assert daemon.stdout is not None
        # The worker waits in the middle of its records then.
        eventually("a full pipe", lambda: is_full(daemon.stdout))
        killed(host.pids("tickerd.worker"))
        time.sleep(2)
        daemon.send_signal(signal.SIGTERM)
        lines = daemon.stdout.read().splitlines()
        assert daemon.wait(60) == 0
    seqs = [json.loads(line)["seq"] for line in lines]
    assert sorted(set(seqs)) == list(range(max(seqs) + 1))


@pytest.mark.slow
def test_a_full_file_is_told_waited_for_and_holds_no_half_line(host: Host, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=256k") as disk:
        kept, log = disk.path / "out.jsonl", tmp_path / "log"
        with kept.open("wb") as out, log.open("wb") as said:
            command = run(host, "--set", "rate.records_per_second=3000")
            with subprocess.Popen(command, stdout=out, stderr=said, env=host.environment) as daemon:
                told = "standard output cannot be written: No space left on device; free some space"
                eventually("the full disk", lambda: told in log.read_text(), log.read_text)
                disk.change("size=64m")
                eventually("records again", lambda: "takes records again" in log.read_text())
                daemon.send_signal(signal.SIGTERM)
                assert daemon.wait(60) == 0
        assert log.read_text().count(told) == 1
        account = str(host.state / "account.json")
        read = host.tickerd("verify", "--path", str(kept), "--account", account)
        assert read.returncode == 0, read.stdout + read.stderr


@pytest.mark.slow
def test_a_reader_that_never_reads_keeps_nobody_from_stopping(host: Host) -> None:
    command = run(host, "--set", "rate.records_per_second=50000", "--set", "source.drain_max_s=1")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=host.environment
    ) as daemon:
        eventually("a full pipe", lambda: is_full(daemon.stdout))
        began_s = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 75
        assert time.monotonic() - began_s < 2.9  # before the supervisor's patience ends
