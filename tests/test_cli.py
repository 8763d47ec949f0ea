"""The command line as people use it: exit codes, one line an error, never a traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import tickerd
from daemon import Host, Stream

COMMANDS = ("demo", "local", "run", "check", "config", "verify")


def lines(ran: "subprocess.CompletedProcess[str]") -> list[str]:
    """What a command said on standard error, which has no traceback."""
    assert "Traceback" not in ran.stderr
    return ran.stderr.splitlines()


def test_the_console_script_and_the_module_are_the_same_command(host: Host) -> None:
    script = Path(sys.executable).with_name("tickerd")
    said = {
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        for command in ([str(script), "--version"], [sys.executable, "-P", "-m", "tickerd", "--version"])
    }
    assert said == {f"tickerd {tickerd.__version__}\n"}


def test_help_names_every_command_and_says_what_each_does(host: Host) -> None:
    ran = host.tickerd("--help")
    assert ran.returncode == 0
    for command in COMMANDS:
        assert f"\n    {command} " in ran.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_takes_settings(host: Host, command: str) -> None:
    ran = host.tickerd(command, "--help")
    assert ran.returncode == 0
    for option in ("-c FILE", "--set KEY=VALUE"):
        assert option in ran.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["run", "--nothing"],
        ["run", "--records", "0"],
        ["run", "--records", "1.5"],
        ["run", "--seconds", "0"],
        ["run", "--seconds", "nan"],
        ["run", "--set"],
        ["local", "--port", "65536"],
        ["local", "--shards", "0"],
        ["local", "--faults", "throtled=0.1"],
        ["local", "--faults", "throttled=2"],
        ["demo", "--rate", "-1"],
        ["demo", "--seconds", "soon"],
        ["verify", "--from", "yesterday"],
        ["verify", "--settle", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(host: Host, arguments: list[str]) -> None:
    ran = host.tickerd(*arguments)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert len(lines(ran)) == 1


def test_no_command_is_wrong_usage() -> None:
    command = [sys.executable, "-P", "-m", "tickerd"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 2
    assert "usage: tickerd" in lines(ran)[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_settings_are_78_with_one_line_each(host: Host, command: str) -> None:
    wrong = ["--set", "rate.records_per_sec=1", "--set", "log.level=loud", "--set", "source.workers=0"]
    ran = host.tickerd(command, *wrong)
    assert ran.returncode == 78
    assert ran.stdout == ""
    said = lines(ran)
    assert len(said) == 3
    for start in ("rate.records_per_sec ", "log.level ", "source.workers "):
        assert any(line.startswith(f"tickerd: {start}") for line in said)
    assert any("did you mean rate.records_per_second?" in line for line in said)


def test_a_settings_file_that_is_missing_is_78(host: Host) -> None:
    ran = host.tickerd("run", "-c", "nowhere.toml")
    assert ran.returncode == 78
    (line,) = lines(ran)
    assert "nowhere.toml" in line


def test_file_environment_and_set_reach_the_daemon_in_their_order(host: Host, stream: Stream) -> None:
    file = host.directory / "tickerd.toml"
    file.write_text(
        f'[kinesis]\nendpoint_url = "{stream.url}"\nstream = "wrong"\n'
        "[rate]\nrecords_per_second = 160\n[source]\nid = 'from-file'\n"
    )
    environment = {"TICKERD_KINESIS__STREAM": "wrong-too", "TICKERD_RATE__RECORDS_PER_SECOND": "320"}
    arguments = ["-c", str(file), "--records", "40"]
    daemon = host.run(*arguments, environment=environment, kinesis__stream=stream.name)
    assert daemon.wait() == 0
    sources = host.account()["sources"]
    assert [source["source"].rpartition("-")[0] for source in sources] == ["from-file-0", "from-file-1"]
    rates = [sum(source["segments"][0]["milli_records_per_second"].values()) for source in sources]
    assert rates == [160_000, 160_000]


def test_check_says_that_the_settings_are_sound_and_the_ceiling(host: Host) -> None:
    ran = host.tickerd("check", "--set", "rate.records_per_second=50000")
    assert ran.returncode == 0
    assert ran.stdout.startswith("the settings are sound\n")
    assert 'is above that: set kinesis.partition_key = "even"' in ran.stdout
    assert lines(ran) == []


def test_config_shows_what_is_in_force_and_where_it_came_from(host: Host) -> None:
    environment = {"TICKERD_MARKET__SEED": "7"}
    ran = host.tickerd("config", "--set", "rate.records_per_second=5", environment=environment)
    assert ran.returncode == 0
    assert "records_per_second = 5 " in ran.stdout
    assert "# --set" in ran.stdout
    assert "# environment TICKERD_MARKET__SEED" in ran.stdout


def test_a_reader_that_leaves_ends_a_command_quietly(host: Host) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-P", "-m", "tickerd", "config"]
    with os.fdopen(write_end, "w") as closed:
        ran = subprocess.run(
            command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert ran.returncode in {0, 1}
    assert ran.stderr == ""


def test_local_on_a_port_in_use_is_one_line(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = host.tickerd("local", "--port", str(port))
    assert ran.returncode == 1
    (line,) = lines(ran)
    assert f"port {port}" in line
    assert "in use" in line


def test_local_with_more_shards_than_there_can_be_is_one_line(host: Host) -> None:
    ran = host.tickerd("local", "--port", "0", "--shards", "10001")
    assert ran.returncode in {1, 2}
    (line,) = lines(ran)
    assert "10000" in line


def test_verify_of_a_stream_that_is_missing_is_one_line(host: Host, stream: Stream) -> None:
    ran = host.tickerd("verify", "--stream", "nowhere", "--set", f"kinesis.endpoint_url={stream.url}")
    assert ran.returncode == 1
    (line,) = lines(ran)
    assert "stream nowhere" in line


def test_verify_of_nothing_is_1_and_says_so(host: Host, stream: Stream) -> None:
    arguments = ["--stream", stream.name, "--set", f"kinesis.endpoint_url={stream.url}"]
    ran = host.tickerd("verify", *arguments)
    assert ran.returncode == 1
    assert "nothing to judge" in ran.stdout


def test_verify_with_an_account_that_is_none_is_one_line(host: Host, stream: Stream) -> None:
    ran = host.tickerd("verify", "--account", "nowhere.json")
    assert ran.returncode == 1
    (line,) = lines(ran)
    assert "nowhere.json" in line
