"""What holds whatever the destination is: a change of it while running, what check and /status say of it."""

import os
import signal
from pathlib import Path

import pytest

from daemon import Host, Json, Stream
from pubsub_services import fake_pubsub

SMALL: Json = {"rate__records_per_second": 500, "database__url": ""}


@pytest.mark.slow
def test_a_reload_leads_to_another_destination_and_nothing_is_lost_in_either(
    host: Host, stream: Stream, tmp_path: Path
) -> None:
    file, records = tmp_path / "tickerd.toml", tmp_path / "records"
    file.write_text('[destination]\nkind = "kinesis"\n')
    host_settings = {**stream.settings, **SMALL, "file__path": str(records)}
    daemon = host.run("-c", str(file), **host_settings)
    daemon.until_acked(500)
    assert daemon.status()["destination"] == {"kind": "kinesis", "name": stream.name}
    file.write_text('[destination]\nkind = "file"\n')
    daemon.send(signal.SIGHUP)
    daemon.until("the other destination", lambda status: status["destination"]["kind"] == "file")
    acked = daemon.status()["totals"]["acked"]
    status = daemon.until_acked(acked + 500)
    assert status["stream"] is None
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()
    # What went to the stream and what went to files is all there was.
    seqs: dict[str, set[int]] = {}
    for part in records.glob("*.jsonl"):
        for line in part.read_text().splitlines():
            seq = int(line.rpartition(":")[2].rstrip("}"))
            seqs.setdefault(part.name.rpartition("-")[0], set()).add(seq)
    for source in host.account()["sources"]:
        assert source["owed"] == []
        found = seqs[source["source"]]
        assert found == set(range(min(found), source["next_seq"]))
    report = host.verify(stream, "--stream", stream.name, "--settle", "0")
    assert report["totals"]["lost"] == 0
    for source in report["sources"]:
        assert source["records"] == min(seqs[source["source"]])


@pytest.mark.slow
def test_check_says_where_records_would_go(host: Host, tmp_path: Path) -> None:
    def checked(*sets: str, online: bool = False) -> tuple[int, str]:
        arguments = [part for each in ("database.url=", *sets) for part in ("--set", each)]
        ran = host.tickerd("check", *(["--online"] if online else []), *arguments)
        return ran.returncode, ran.stdout + ran.stderr

    assert "topic market-log" in checked("destination.kind=pubsub")[1]
    code, said = checked("destination.kind=pubsub", "pubsub.order=key", "pubsub.ordering_keys=8")
    assert code == 0
    assert "of 8 ordering keys the busiest has" in said
    directory = tmp_path / "new" / "records"
    code, said = checked("destination.kind=file", f"file.path={directory}", online=True)
    assert (code, "can be written (it will be made)" in said) == (0, True)
    assert not directory.parent.exists()
    (tmp_path / "file").write_text("")
    code, said = checked("destination.kind=file", f"file.path={tmp_path / 'file'}", online=True)
    assert (code, "is no directory; name one" in said) == (1, True)
    assert checked("destination.kind=null", online=True)[0] == 0
    with fake_pubsub() as fake:
        topic = [f"{key.replace('__', '.')}={value}" for key, value in fake.settings.items()]
        code, said = checked(*topic, online=True)
        assert (code, "pubsub.topics.publish is there" in said) == (0, True)
        assert fake.stats()["published"] == 0
    code, said = checked(*topic, online=True)
    assert (code, "see pubsub.endpoint and the network" in said) == (1, True)


def test_settings_that_do_not_fit_a_destination_are_refused_in_one_line(host: Host) -> None:
    for sets, told in {
        ("destination.kind=file", "record.format=msgpack"): '"file" and "stdout" need record.format = "json"',
        ("pubsub.packing=lines", "record.format=msgpack"): '"lines" needs record.format = "json"',
        ("pubsub.compression=gzip",): 'needs pubsub.packing = "lines"',
        ("pubsub.topic=goog-x",): "a topic's name",
        ("pubsub.endpoint=https://x",): 'host:port, "http://host:port"',
        ("file.fsync=sometimes",): '"never", "rotate" or "always"',
    }.items():
        arguments = [part for each in sets for part in ("--set", each)]
        ran = host.tickerd("check", *arguments)
        assert ran.returncode == 78
        (line,) = ran.stderr.splitlines()
        assert told in line, line


def test_what_cannot_be_read_back_is_one_line(host: Host, tmp_path: Path) -> None:
    for arguments, told in {
        ("--set", "destination.kind=stdout"): "name what to read: --path, --stream, --subscription",
        ("--set", "destination.kind=pubsub"): "pubsub.subscription: none is set",
        ("--path", str(tmp_path / "nothing")): "no such file or directory",
        ("--path", str(tmp_path)): "holds no files of tickerd",
        ("--path", os.devnull, "--from", "2026-01-01T00:00:00Z"): "files do not tell when a record arrived",
        ("--path", os.devnull, "--follow"): "files are read as they are now",
    }.items():
        ran = host.tickerd("verify", *arguments)
        assert ran.returncode == 1
        assert told in ran.stderr
        assert len(ran.stderr.splitlines()) == 1


def test_null_takes_everything(host: Host) -> None:
    daemon = host.run("--records", "2000", destination__kind="null", **SMALL, rate__catch_up_factor=100)
    assert daemon.wait() == 0
    made = sum(source["next_seq"] for source in host.account()["sources"])
    assert made >= 2000
