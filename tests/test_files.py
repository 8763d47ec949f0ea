"""Files as a destination: whole lines, whatever kills the writer or fills the disk, and nothing lost."""

import gzip
import http.client
import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import Daemon, Destination, Host, Json, eventually, killed
from disks import small_disk
from tickerd.files import members
from tickerd.files.leftovers import finish_leftovers, lock
from tickerd.files.members import Compression, member
from tickerd.texts import chunk_stops

SMALL: Json = {"rate__records_per_second": 4000, "database__url": ""}
COMPRESSIONS: list[Compression] = ["none", "gzip", "zstd"]


class Files(Destination):
    """A directory as a destination."""

    def __init__(self, directory: Path) -> None:
        super().__init__("", "")
        self.directory = directory

    @property
    def settings(self) -> dict[str, Any]:
        return {"destination__kind": "file", "file__path": str(self.directory)}

    def names(self) -> list[str]:
        return sorted(file.name for file in self.directory.iterdir()) if self.directory.exists() else []


def all_is_there(report: Json) -> bool:
    totals = report["totals"]
    assert report["code"] == 0, report
    wrong = [totals[name] for name in ("lost", "corrupt", "altered", "foreign", "out_of_order")]
    return not any(wrong) and totals["records"] > 0


def errors_told(daemon: Daemon) -> list[Json]:
    return [line for line in daemon.lines() if line["level"] == "error"]


@pytest.mark.parametrize(
    ("compression", "fsync"),
    [
        ("none", "rotate"),
        pytest.param("gzip", "always", marks=pytest.mark.slow),
        ("zstd", "never"),
    ],
)
def test_every_record_is_in_finished_files_that_others_can_read(
    host: Host, tmp_path: Path, compression: Compression, fsync: str
) -> None:
    files = Files(tmp_path / "records")
    most = 200_000 if compression == "none" else 60_000
    how: Json = {"file__compression": compression, "file__rotate_bytes": most, "file__fsync": fsync}
    daemon = host.run("--records", "12000", **files.settings, **how, **SMALL, rate__catch_up_factor=100)
    assert daemon.wait() == 0
    assert all_is_there(host.verify(files))
    found = files.names()
    assert len(found) > 4
    ends = ".jsonl" + members.SUFFIXES[compression]
    assert all(name.endswith(ends) for name in found)
    assert all((files.directory / name).stat().st_size <= most for name in found)
    # Other programs read them, and in the order of their names they are the source's records.
    program = shutil.which({"none": "cat", "gzip": "gzip", "zstd": "zstd"}[compression])
    if program is not None:
        mine = [str(files.directory / name) for name in found if "-0-" in name]
        command = [program, *([] if compression == "none" else ["-dcq"]), *mine]
        lines = subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
        seqs = [int(line.rpartition(b":")[2].rstrip(b"}")) for line in lines]
        assert seqs == list(range(len(seqs)))


@pytest.mark.parametrize(
    "compression", ["none", *(pytest.param(each, marks=pytest.mark.slow) for each in ("gzip", "zstd"))]
)
def test_a_kill_leaves_no_half_line_in_a_finished_file_and_loses_nothing(
    host: Host, tmp_path: Path, compression: Compression
) -> None:
    files = Files(tmp_path / "records")
    how: Json = {"file__compression": compression, "rate__records_per_second": 20_000, "database__url": ""}
    daemon = host.run(**files.settings, **how)
    for kill in range(3):
        daemon.until_acked(8000 * (kill + 1))
        killed([random.choice(daemon.workers())])
    killed([daemon.pid, *daemon.workers()])  # all of it at once, as a host's end would
    daemon.wait()
    assert any(name.endswith(".part") for name in files.names())
    again = host.run(**files.settings, **how)
    again.until_acked(8000)
    assert again.stop() == 0
    assert not any(name.endswith(".part") for name in files.names())
    assert all_is_there(host.verify(files))


@pytest.mark.slow
def test_files_that_are_still_being_written_can_be_verified(host: Host, tmp_path: Path) -> None:
    files = Files(tmp_path / "records")
    daemon = host.run(**files.settings, **SMALL)
    daemon.until_acked(16_000)
    report = host.verify(files, "--settle", "1")
    assert all_is_there(report)
    assert daemon.stop() == 0


@pytest.mark.slow
def test_a_file_is_finished_when_it_is_old(host: Host, tmp_path: Path) -> None:
    files = Files(tmp_path / "records")
    daemon = host.run(**files.settings, **SMALL, file__rotate_s=1)
    eventually("finished files", lambda: len([name for name in files.names() if name.endswith(".jsonl")]) > 3)
    daemon.stop()


def test_a_file_that_somebody_removes_is_replaced_by_a_new_one(host: Host, tmp_path: Path) -> None:
    files = Files(tmp_path / "records")
    daemon = host.run(**files.settings, **SMALL, source__workers=1)
    daemon.until_acked(2000)
    (name,) = files.names()
    (files.directory / name).unlink()
    eventually("another file", files.names)
    assert files.names() != [name]
    assert daemon.logged("taken")
    assert daemon.stop() == 0


@pytest.mark.parametrize("compression", ["none", pytest.param("zstd", marks=pytest.mark.slow)])
def test_a_full_disk_is_told_in_one_line_waited_for_and_loses_nothing(
    host: Host, tmp_path: Path, compression: Compression
) -> None:
    with small_disk(tmp_path / "disk", "size=512k") as disk:
        files = Files(disk.path / "records")
        rates: Json = {"rate__records_per_second": 20_000, "rate__catch_up_factor": 10, "database__url": ""}
        daemon = host.run(**files.settings, **rates, file__compression=compression)
        status = daemon.until("the full disk", lambda status: status["errors"])
        assert status["errors"][0]["code"] == "ENOSPC"
        assert "free some space" in status["errors"][0]["message"]
        assert daemon.counter("tickerd_destination_error", error_code="ENOSPC") >= 1
        time.sleep(2)
        held = daemon.status()["totals"]["acked"]
        disk.change("size=64m")
        daemon.until("records again", lambda now: now["totals"]["acked"] > held and not now["errors"])
        assert daemon.stop() == 0
        (told,) = errors_told(daemon)
        assert "No space left on device; free some space, or set another file.path" in told["message"]
        assert len(daemon.logged("takes records again")) == 1
        assert all_is_there(host.verify(files))
        assert "Traceback" not in daemon.said()


@pytest.mark.slow
def test_a_directory_that_cannot_be_written_is_told_and_taken_when_it_can(host: Host, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=64m,ro") as disk:
        files = Files(disk.path)
        daemon = host.run(**files.settings, **SMALL)
        status = daemon.until("the cause", lambda status: status["errors"])
        assert status["errors"][0]["code"] == "EROFS"
        disk.change("size=64m,rw")
        daemon.until_acked(1000)
        assert daemon.stop() == 0
        assert len(errors_told(daemon)) == 1
        assert all_is_there(host.verify(files))


@pytest.mark.slow
def test_a_path_that_is_no_directory_is_told_and_a_stop_leaves_what_is_owed(
    host: Host, tmp_path: Path
) -> None:
    files = Files(tmp_path / "file" / "below")
    files.directory.parent.write_text("no directory")
    daemon = host.run(**files.settings, **SMALL)
    status = daemon.until("the cause", lambda status: status["errors"])
    assert status["errors"][0]["code"] in {"ENOTDIR", "EEXIST"}
    assert "a directory is needed, or set another file.path" in status["errors"][0]["message"]
    daemon.stop()
    files.directory.parent.unlink()
    again = host.run(**files.settings, **SMALL)
    again.until_acked(1000)
    assert again.stop() == 0
    assert all_is_there(host.verify(files))


@pytest.mark.slow
def test_snapshots_and_what_is_asked_for_go_to_files_too(host: Host, tmp_path: Path) -> None:
    files = Files(tmp_path / "records")
    daemon = host.run(**files.settings, database__url="", rate__mode="snapshot", rate__every_s=1)
    daemon.until_acked(1000)
    token = (host.state / "token").read_text().strip()
    connection = http.client.HTTPConnection(urlsplit(daemon.address).netloc, timeout=30)
    connection.request("POST", "/logs", headers={"Authorization": f"Bearer {token}"})
    assert json.loads(connection.getresponse().read())["records"] == 579
    connection.close()
    assert daemon.stop() == 0
    assert any("-logs-" in name for name in files.names())
    report = host.verify(files)
    assert all_is_there(report)
    assert len(report["sources"]) == 2


LINES = [b'{"seq":%d}\n' % number for number in range(40)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_wherever_a_file_was_cut_short_what_is_whole_stays(tmp_path: Path, compression: Compression) -> None:
    parts = (
        LINES
        if compression == "none"
        else [member(LINES[at : at + 10], compression) for at in (0, 10, 20, 30)]
    )
    whole = b"".join(parts)
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + len(part))
    name = f"s-000000000000000.jsonl{members.SUFFIXES[compression]}"
    for size in range(len(whole) + 1):
        for tail in (b"", b"\0" * 7) if compression == "none" else (b"",):
            (tmp_path / f"{name}.part").write_bytes(whole[:size] + tail)
            assert finish_leftovers(tmp_path) == 1
            kept = max(end for end in ends if end <= size)
            left = list(tmp_path.iterdir())
            assert [file.read_bytes() for file in left] == ([whole[:kept]] if kept else [])
            for file in left:
                file.unlink()


def test_a_damaged_last_member_is_left_out(tmp_path: Path) -> None:
    first, second = member(LINES[:10], "gzip"), bytearray(member(LINES[10:], "gzip"))
    second[-20] ^= 0xFF
    (tmp_path / "s-0.jsonl.gz.part").write_bytes(first + bytes(second))
    finish_leftovers(tmp_path)
    assert gzip.decompress((tmp_path / "s-0.jsonl.gz").read_bytes()) == b"".join(LINES[:10])


def test_a_file_that_has_a_writer_is_left_alone_and_no_name_is_taken_twice(tmp_path: Path) -> None:
    part = tmp_path / "s-0.jsonl.part"
    part.write_bytes(LINES[0])
    fd = os.open(part, os.O_RDWR)
    assert lock(fd)
    finish_leftovers(tmp_path)
    assert part.exists()
    os.close(fd)
    (tmp_path / "s-0.jsonl").write_bytes(LINES[1])
    finish_leftovers(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "s-0.jsonl": LINES[1],
        "s-0-2.jsonl": LINES[0],
    }


@given(st.lists(st.integers(1, 400), max_size=80), st.integers(1, 2000), st.integers(1, 30))
def test_chunks_are_as_large_as_they_may_be_and_no_larger(sizes: list[int], most: int, records: int) -> None:
    stops = chunk_stops(np.array(sizes, np.int32), most, records)
    assert stops == sorted(set(stops))
    assert (stops[-1] if sizes else 0) == len(sizes)
    starts = [0, *stops[:-1]]
    for start, stop in zip(starts, stops, strict=True):
        size = sum(sizes[start:stop])
        assert stop - start <= records
        assert size <= most or stop - start == 1
        more = stop < len(sizes) and stop - start < records
        assert not (more and size + sizes[stop] <= most and max(sizes) * records > most)
