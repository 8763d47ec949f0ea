"""One supervisor a state directory; a dead one's workers are waited for; identities are durable."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tickerd.state
from test_checkpoint import SOURCE, state
from tickerd import checkpoint
from tickerd.state import Identity, StateDirectory, StateError, host_id, new_run

HOLDER = """
import sys, subprocess
from pathlib import Path
from tickerd.state import StateDirectory
directory = StateDirectory(Path(sys.argv[1]))
directory.lock()
orphan = ["sleep", sys.argv[2]]
child = subprocess.Popen(orphan, pass_fds=[directory.lock_fd], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
child.wait()
"""


@contextmanager
def holder(directory: Path, orphan_s: float) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A supervisor that holds the lock, with a worker that holds it for so long."""
    command = [sys.executable, "-c", HOLDER, str(directory), str(orphan_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        try:
            yield process, worker
        finally:
            process.kill()
            subprocess.run(["kill", "-9", str(worker)], check=False, stderr=subprocess.DEVNULL)  # noqa: S607


def test_a_second_supervisor_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with (
        holder(tmp_path, 60) as (process, _),
        pytest.raises(StateError, match=f"pid {process.pid};") as refused,
    ):
        StateDirectory(tmp_path).lock()
    assert "\n" not in str(refused.value)
    assert "another directory" in str(refused.value)


def test_the_lock_is_free_again_when_its_holder_is_gone(tmp_path: Path) -> None:
    with holder(tmp_path, 0.1):
        pass
    StateDirectory(tmp_path).lock()


def test_a_dead_supervisors_workers_are_waited_for(tmp_path: Path) -> None:
    with holder(tmp_path, 1.0) as (process, worker):
        process.kill()
        process.wait()
        StateDirectory(tmp_path).lock()
        assert not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text()


def test_workers_that_hang_without_a_supervisor_are_killed_after_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickerd.state, "ORPHANS_WAIT_S", 0.3)
    with holder(tmp_path, 600) as (process, _):
        process.kill()
        process.wait()
        StateDirectory(tmp_path).lock()


def test_a_supervisor_that_waits_for_the_lock_is_not_taken_for_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickerd.state, "ORPHANS_WAIT_S", 0.3)
    waits = 'from tickerd.state import *; StateDirectory(Path(sys.argv[1])); input(print("open", flush=True))'
    with holder(tmp_path, 600) as (process, _):
        command = [sys.executable, "-c", f"import sys; {waits}", str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "open\n"
            process.kill()
            process.wait()
            StateDirectory(tmp_path).lock()
            other.communicate("\n")
            assert other.returncode == 0


def test_what_a_writer_left_that_died_is_cleared_away(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path)
    checkpoint.write(checkpoint.path_of(tmp_path, SOURCE), state())
    (tmp_path / "checkpoint" / f".{SOURCE}.json.4711").write_bytes(b"half")
    (tmp_path / ".identity.json.4711").write_bytes(b"half")
    directory.lock()
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["checkpoint", f"{SOURCE}.json", "lock"]
    assert checkpoint.read(checkpoint.path_of(tmp_path, SOURCE)) == state()


def test_a_pid_that_belongs_to_another_process_by_now_does_not_hold_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickerd.state, "ORPHANS_WAIT_S", 0.3)
    with holder(tmp_path, 600) as (process, _):
        process.kill()
        process.wait()
        (tmp_path / "lock").write_text(f"{os.getpid()} 1\n")  # this process, but not started at tick 1
        StateDirectory(tmp_path).lock()


@pytest.mark.parametrize("name", ["file/inside", "/proc/tickerd"])
def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"state\.directory: .* cannot be written") as refused:
        StateDirectory(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_an_identity_is_read_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path)
    assert directory.identity() is None
    identity = Identity("host", new_run(), "digest", "plan", 5)
    directory.save_identity(identity)
    assert directory.identity() == identity
    for damaged in (b"{", b"null", b'{"host":"\xff"}'):
        (tmp_path / "identity.json").write_bytes(damaged)
        with pytest.raises(StateError, match="move it away to begin a new run"):
            directory.identity()


def test_runs_are_eight_base32_characters_and_differ() -> None:
    runs = {new_run() for _ in range(200)}
    assert len(runs) == 200
    assert all(len(run) == 8 and set(run) <= set("abcdefghijklmnopqrstuvwxyz234567") for run in runs)


def test_a_host_has_the_name_that_the_settings_give() -> None:
    assert host_id("i-0abc") == "i-0abc"
    assert host_id("")


def test_the_account_says_what_arrived_and_what_is_owed() -> None:
    account = tickerd.state.account_of(state(lowest=110, begun_below=120))
    assert (account.source, account.first_seq, account.next_seq) == (SOURCE, 0, 400)
    (owed,) = account.owed
    assert (owed.first_frame, owed.end_frame, owed.first_seq, owed.next_seq) == (110, 120, 200, 400)
    assert account.first_time == "1970-01-01T00:00:06.250Z"
    assert tickerd.state.account_of(state(lowest=120)).owed == []
