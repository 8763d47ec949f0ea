"""`tickerd demo` as a newcomer starts it: it ends with an account of nothing lost, and leaves nothing."""

import json
import re
import signal
from collections.abc import Callable

import pytest

from daemon import Host, Process, eventually, get, post


def numbers(out: str) -> dict[str, int]:
    """The account that the demo prints, by the first word of each line."""
    found = re.findall(r"^(\w+)\D*([\d,]+)", out, flags=re.MULTILINE)
    return {word: int(number.replace(",", "")) for word, number in found}


def says_that_all_is_there(out: str) -> bool:
    account = numbers(out)
    return account["lost"] == 0 < account["generated"] == account["acknowledged"] <= account["read"]


def demo(host: Host, *arguments: str) -> tuple[Process, Callable[[], str]]:
    """A demo that runs, and what it has written to standard output."""
    out = host.directory / "demo.out"
    with out.open("w") as stdout:
        process = host.process("demo", *arguments, out=stdout)
    return process, out.read_text


def acked(page: str) -> int:
    """Records acknowledged by the daemon behind a page; 0 while it does not answer."""
    try:
        status, body = get(page, "/status")
    except OSError:
        return 0
    return int(json.loads(body)["totals"]["acked"]) if status == 200 else 0


def until_it_delivers(host: Host, process: Process) -> str:
    """Wait until the demo's daemon delivers; the address of its page."""
    pattern = re.compile(r"^page +(http://\S+)/$", re.MULTILINE)
    page = eventually("the page's address", lambda: pattern.search(process.said()), process.said)[1]
    eventually("records", lambda: acked(page), process.said)
    return page


def test_it_runs_for_its_seconds_and_everything_is_there(host: Host) -> None:
    ran = host.tickerd("demo", "--seconds", "3")
    assert ran.returncode == 0, ran.stderr
    assert says_that_all_is_there(ran.stdout)
    assert numbers(ran.stdout)["generated"] >= 2000 * 3 / 2
    assert "Traceback" not in ran.stderr
    assert not host.pids()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_drains_it_and_prints_the_account(host: Host, number: signal.Signals) -> None:
    process, out = demo(host)
    until_it_delivers(host, process)
    assert process.stop(number) == 0
    assert says_that_all_is_there(out())
    assert "Traceback" not in process.said()
    assert not host.pids()


def test_ctrl_c_at_once_leaves_nothing(host: Host) -> None:
    process, _ = demo(host)
    eventually("the daemon's start", lambda: host.pids("tickerd run"), process.said)
    process.stop(signal.SIGINT)
    assert "Traceback" not in process.said()
    eventually("the end of all", lambda: not host.pids())


@pytest.mark.slow
def test_at_20_000_records_a_second_it_uses_even_keys_and_everything_is_there(host: Host) -> None:
    ran = host.tickerd("demo", "--seconds", "5", "--rate", "20000")
    assert ran.returncode == 0, ran.stderr
    assert 'kinesis.partition_key = "even"' in ran.stderr
    assert says_that_all_is_there(ran.stdout)


@pytest.mark.slow
def test_killing_it_leaves_no_process(host: Host) -> None:
    process, _ = demo(host)
    until_it_delivers(host, process)
    process.stop(signal.SIGKILL)
    eventually("the end of all", lambda: not host.pids())


@pytest.mark.slow
def test_two_demos_that_start_at_the_same_moment_run_side_by_side(
    host: Host, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Host(tmp_path_factory.mktemp("other"))
    try:
        first, _ = demo(host)
        second, _ = demo(other)
        assert until_it_delivers(host, first) != until_it_delivers(other, second)
        assert (first.stop(signal.SIGINT), second.stop(signal.SIGINT)) == (0, 0)
    finally:
        other.close()


def test_a_setting_that_is_wrong_is_told_by_one_line(host: Host) -> None:
    ran = host.tickerd("demo", "--rate", "0.0001", "--seconds", "1")
    assert ran.returncode == 78
    (line,) = ran.stderr.splitlines()
    assert "rate.records_per_second" in line


def test_a_rate_for_which_no_stream_has_the_shards_is_refused(host: Host) -> None:
    ran = host.tickerd("demo", "--rate", "50000000", "--seconds", "1")
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert ran.stderr.splitlines()[-1] == "tickerd: a local stream of 62,500 shards did not start"
    assert not host.pids()


@pytest.mark.slow
def test_a_second_signal_makes_it_quick(host: Host) -> None:
    process, _ = demo(host, "--set", "source.drain_max_s=3600")
    until_it_delivers(host, process)
    local = re.search(r"^stream .* at (http://\S+):", process.said(), re.MULTILINE)
    assert local
    post(local[1], "/_local/faults", {"throttled": 1.0})
    process.send(signal.SIGINT)
    eventually("draining", lambda: "stopping (SIGINT)" in process.said())
    assert process.stop(signal.SIGINT) == 1
    assert "owes frames" in process.said()
    assert not host.pids()
