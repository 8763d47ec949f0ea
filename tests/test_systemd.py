"""The units as shipped, with a real systemd: installed by install.sh, delivering to `tickerd local`."""

import json
import shutil
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import eventually
from systemd_lab.lab import Lab, lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]
UNITS = "/etc/systemd/system"
SETTINGS = "/etc/tickerd/tickerd.toml"
LOCAL = 'endpoint_url = "http://127.0.0.1:4567"\nshard_limits = false\n'
PROBES = """
import http.client, json, time
counts = {"answered": 0, "refused": 0, "broken": 0}
end = time.monotonic() + 15
while time.monotonic() < end:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 9631, timeout=20)
        connection.request("GET", "/livez")
        counts["answered"] += connection.getresponse().status == 200
    except ConnectionRefusedError:
        counts["refused"] += 1
    except (OSError, http.client.HTTPException):
        counts["broken"] += 1
    connection.close()
    time.sleep(0.01)
print(json.dumps(counts))
"""


def settings(machine: Lab, rate: int = 800, more: str = "", drain_max_s: int = 60) -> None:
    """Write the settings' file."""
    text = f"[kinesis]\n{LOCAL}[rate]\nrecords_per_second = {rate}\n"
    text += f"[source]\nworkers = 2\ndrain_max_s = {drain_max_s}\n{more}"
    machine.run("sh", "-c", f"printf '%s' '{text}' > {SETTINGS}")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an operator has: the wheel, the lock, and systemd/."""
    directory = tmp_path_factory.mktemp("stage")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "-q", "--wheel", "--out-dir", directory / "dist", ROOT], check=True)
    shutil.copytree(ROOT / "systemd", directory / "systemd")
    shutil.copy(ROOT / "requirements.lock", directory)
    (directory / "probes.py").write_text(PROBES)
    return directory


def installing(
    machine: Lab, *arguments: str, own_network: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run install.sh with the wheel, as a root whose files are its own alone."""
    (wheel,) = (machine.stage / "dist").glob("*.whl")
    there = f"/opt/stage/dist/{wheel.name}"
    command = ["/opt/stage/systemd/install.sh", "--wheel", there, "--python", "/usr/bin/python3", *arguments]
    return machine.try_("sh", "-c", 'umask 077; exec "$@"', "sh", *command, own_network=own_network)


def install(machine: Lab, *arguments: str) -> str:
    """Run install.sh, which has to succeed; what it said."""
    ran = installing(machine, *arguments)
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, stage: Path) -> Iterator[Lab]:
    """The machine after install.sh, the daemon not started yet."""
    with lab(tmp_path_factory.mktemp("machine"), stage) as machine:
        # Somebody has tried it by hand, as root.
        machine.run("sh", "-c", "umask 077; mkdir -p /var/lib/tickerd/checkpoint")
        said = install(machine, "--no-start")
        assert "is installed in /opt/tickerd/releases/" in said
        local = "/opt/tickerd/current/bin/tickerd local --port 4567 --no-shard-limits"
        machine.run("systemd-run", "--quiet", "--unit=local", *local.split())
        # The watchdog of the unit as shipped takes 15 s; nothing else is changed.
        machine.run("mkdir", "-p", f"{UNITS}/tickerd.service.d")
        machine.run(
            "sh", "-c", f"printf '[Service]\\nWatchdogSec=4s\\n' > {UNITS}/tickerd.service.d/90-test.conf"
        )
        settings(machine)
        yield machine


@pytest.fixture
def machine(installed: Lab) -> Lab:
    """The machine with the daemon running as if it had just been installed."""
    settings(installed)
    installed.run("systemctl", "daemon-reload")
    installed.run("systemctl", "stop", "tickerd.service")
    installed.run("systemctl", "reset-failed")
    installed.run("systemctl", "start", "tickerd.socket", "tickerd.service")
    return installed


def acked(machine: Lab) -> int:
    """Records acknowledged since the daemon's start."""
    return int(machine.status()["totals"]["acked"])


def lost_nothing(machine: Lab) -> None:
    """Stop the daemon and read the stream back: everything is there, and nothing is owed."""
    machine.run("systemctl", "stop", "tickerd.service")
    assert machine.show("Result") == "success", machine.journal()
    assert machine.processes() == []
    command = (
        "/opt/tickerd/current/bin/tickerd verify --json --account /var/lib/tickerd/account.json --config"
    )
    ran = machine.try_(*command.split(), SETTINGS)
    totals = json.loads(ran.stdout)["totals"]
    assert totals["records"] > 0
    assert (totals["lost"], totals["altered"], totals["corrupt"]) == (0, 0, 0), ran.stdout
    account = json.loads(machine.run("cat", "/var/lib/tickerd/account.json"))
    assert [source["owed"] for source in account["sources"]] == [[] for _ in account["sources"]]


def test_the_units_are_sound_and_sealed_off(installed: Lab) -> None:
    metrics = "/opt/stage/systemd/ec2/tickerd-metrics.service"
    for unit in (f"{UNITS}/tickerd.service", f"{UNITS}/tickerd.socket", metrics):
        verified = installed.try_("systemd-analyze", "verify", "--man=no", unit)
        assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    score = ("systemd-analyze", "security", "--offline=true")
    installed.run(*score, "--threshold=12", f"{UNITS}/tickerd.service")
    # The strict network makes it less still.
    strict = "/opt/stage/systemd/dropins/20-network.conf"
    installed.run("sh", "-c", f"cat {UNITS}/tickerd.service {strict} > /tmp/strict.service")
    installed.run(*score, "--threshold=11", "/tmp/strict.service")  # noqa: S108 - that machine's


def test_installing_again_changes_nothing_and_keeps_the_settings(installed: Lab) -> None:
    before = installed.run("readlink", "/opt/tickerd/current")
    settings(installed, 123)
    install(installed, "--no-start")
    assert installed.run("readlink", "/opt/tickerd/current") == before
    assert "records_per_second = 123" in installed.run("cat", SETTINGS)
    assert installed.run("ls", "/opt/tickerd/releases").split() == [Path(before.strip()).name]


def test_installing_again_leaves_a_daemon_at_work_alone(machine: Lab) -> None:
    before = machine.processes()
    assert "nothing has changed: it goes on running" in install(machine)
    assert machine.processes() == before
    machine.run("systemctl", "stop", "tickerd.service")
    install(machine)
    assert machine.show("ActiveState") == "active"


def test_settings_that_do_not_suit_a_version_change_nothing(machine: Lab) -> None:
    before, unit = machine.processes(), f"{UNITS}/tickerd.service"
    shipped = machine.run("cat", unit)
    machine.run("sh", "-c", f"echo '# of the version that runs' >> {unit}")
    variable = "TICKERD_RATE__RECORDS_PER_SECOND"
    spoilt = {
        "no such section": "printf '[nonsense]\\nx = 1\\n' >> /etc/tickerd/tickerd.toml",
        variable: f"echo '{variable}=lots' > /etc/tickerd/tickerd.env",
        "Permission denied": "chown root:root /etc/tickerd/tickerd.toml; chmod 600 /etc/tickerd/tickerd.toml",
    }
    for words, spoil in spoilt.items():
        machine.run("sh", "-c", spoil)
        try:
            ran = installing(machine)
        finally:
            machine.run("rm", "-f", "/etc/tickerd/tickerd.env")
            machine.run("sh", "-c", f"chown root:tickerd {SETTINGS}; chmod 640 {SETTINGS}")
            settings(machine)
        assert ran.returncode == 1
        assert words in ran.stderr
        assert "do not suit this version; nothing was changed" in ran.stderr
        assert machine.processes() == before
        assert machine.run("cat", unit) == f"{shipped}# of the version that runs\n"
    machine.run("sh", "-c", f"sed -i '$d' {unit}")


def test_a_wheel_that_is_none_and_several_wheels_are_refused(machine: Lab) -> None:
    before = machine.processes(), machine.run("ls", "/opt/tickerd/releases")
    (wheel,) = (machine.stage / "dist").glob("*.whl")
    broken = machine.stage / "tickerd-9.9.9-py3-none-any.whl"
    broken.write_bytes(wheel.read_bytes()[:50_000])
    there = f"/opt/stage/{broken.name}"
    command = ["/opt/stage/systemd/install.sh", "--python", "/usr/bin/python3", "--wheel", there]
    assert machine.try_(*command, own_network=False).returncode == 1
    ran = machine.try_(*command, f"/opt/stage/dist/{wheel.name}")
    assert ran.returncode == 1
    assert "--wheel takes one file" in ran.stderr
    assert (machine.processes(), machine.run("ls", "/opt/tickerd/releases")) == before


def test_an_upgrade_can_be_rolled_back(installed: Lab) -> None:
    settings(installed)
    first = installed.run("readlink", "/opt/tickerd/current")
    # Another lock is another release; a comment is enough.
    lock = installed.stage / "other.lock"
    lock.write_text((ROOT / "requirements.lock").read_text() + "# another\n")
    install(installed, "--no-start", "--lock", "/opt/stage/other.lock")
    second = installed.run("readlink", "/opt/tickerd/current")
    assert second != first
    rollback = ("/opt/stage/systemd/install.sh", "--rollback", "--no-start")
    installed.run(*rollback)
    assert installed.run("readlink", "/opt/tickerd/current") == first
    installed.run(*rollback)
    assert installed.run("readlink", "/opt/tickerd/current") == second
    installed.run(*rollback)


def test_it_is_ready_when_all_workers_are_up(machine: Lab) -> None:
    assert machine.show("ActiveState") == "active"  # `systemctl start` has waited for READY
    assert machine.get("/readyz")[0] == 200
    pids = [worker["pid"] for worker in machine.status()["workers"]]
    assert all(pids)
    assert {*pids, int(machine.show("MainPID"))} == set(machine.processes())
    eventually("the status line", lambda: "2 of 2 workers" in machine.show("StatusText"))
    eventually("records", lambda: acked(machine) > 500)
    lost_nothing(machine)


def test_a_reload_takes_up_new_rates_and_refuses_wrong_settings(machine: Lab) -> None:
    pids = machine.processes()
    settings(machine, 1600)
    machine.run("systemctl", "reload", "tickerd.service")
    eventually("the new rate", lambda: machine.status()["rates"]["target"] == 1600)
    settings(machine, 1600, '[log]\nlevel = "loud"\n')
    machine.run("systemctl", "reload", "tickerd.service")
    eventually("the refusal", lambda: "stay as they were: log.level" in machine.journal())
    assert machine.show("ActiveState") == "active"
    settings(machine, 1600)
    machine.run("systemctl", "kill", "--signal=HUP", "tickerd.service")  # to the workers, too
    eventually("the reload", lambda: machine.journal().count('"message":"the settings are read again"') >= 2)
    assert machine.processes() == pids
    lost_nothing(machine)


def test_a_drain_may_take_longer_than_the_units_time_out(machine: Lab) -> None:
    settings(machine, drain_max_s=14)
    machine.run(
        "sh", "-c", f"printf '[Service]\\nTimeoutStopSec=3s\\n' > {UNITS}/tickerd.service.d/91-test.conf"
    )
    faults = ["curl", "-sS", "http://127.0.0.1:4567/_local/faults", "-d"]
    try:
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "tickerd.service")
        eventually("records", lambda: acked(machine) > 500)
        machine.run(*faults, '{"outage": true}')
        eventually("a backlog", lambda: machine.status()["totals"]["owed"] > 500)
        stopping = machine.start("systemctl", "stop", "tickerd.service")
        time.sleep(5)
        assert machine.show("ActiveState") == "deactivating"
        assert machine.show("StatusText").startswith("draining, ")
        assert machine.get("/readyz")[0] == 503
        machine.run(*faults, '{"outage": false}')
        stopping.communicate()
        assert (machine.show("Result"), machine.show("ExecMainStatus")) == ("success", "0")
    finally:
        machine.run(*faults, '{"outage": false}')
        machine.run("rm", f"{UNITS}/tickerd.service.d/91-test.conf")
        machine.run("systemctl", "daemon-reload")
    lost_nothing(machine)


def test_a_supervisor_that_hangs_is_replaced_and_its_workers_drain(machine: Lab) -> None:
    eventually("records", lambda: acked(machine) > 500)
    machine.run("kill", "-STOP", machine.show("MainPID"))
    machine.until("the restart by the watchdog", "NRestarts", "1")
    machine.until("the service", "ActiveState", "active")
    assert "Watchdog timeout" in machine.run("journalctl", "--no-pager", "-u", "tickerd.service")
    eventually("records", lambda: acked(machine) > 500)
    lost_nothing(machine)


def test_workers_drain_by_themselves_when_the_supervisor_is_killed(machine: Lab) -> None:
    eventually("records", lambda: acked(machine) > 500)
    before = machine.processes()
    machine.run("kill", "-KILL", machine.show("MainPID"))
    machine.until("the restart", "NRestarts", "1")
    machine.until("the service", "ActiveState", "active")
    assert not set(before) & set(machine.processes())
    # Nothing had to be made again: each worker had delivered what it had begun.
    text = machine.get("/metrics")[1]
    again = [line for line in text.splitlines() if line.startswith("tickerd_frames_regenerated_total{")]
    assert [line.split()[1] for line in again] == ["0.0", "0.0"]
    lost_nothing(machine)


def test_no_probe_is_refused_over_two_restarts(machine: Lab) -> None:
    probes = machine.start("/usr/bin/python3", "/opt/stage/probes.py")
    for _ in range(2):
        machine.run("systemctl", "restart", "tickerd.service")
    said, _ = probes.communicate()
    counts = json.loads(said)
    assert counts["refused"] == 0
    assert counts["answered"] > 100
    assert counts["broken"] <= 4  # requests that were being answered when the daemon ended


def test_wrong_settings_are_not_tried_again_and_again(machine: Lab) -> None:
    machine.run("systemctl", "stop", "tickerd.service")
    settings(machine, more="[nonsense]\nx = 1\n")
    assert machine.try_("systemctl", "start", "tickerd.service").returncode != 0
    assert machine.show("ActiveState") == "failed"
    assert (machine.show("NRestarts"), machine.show("ExecMainStatus")) == ("0", "78")


def test_the_journal_has_json_with_priorities(machine: Lab) -> None:
    settings(machine, more='[log]\nlevel = "loud"\n')
    machine.run("systemctl", "reload", "tickerd.service")
    eventually("the refusal", lambda: "stay as they were" in machine.journal("--priority=err"))
    settings(machine)
    machine.run("kill", "-KILL", machine.show("MainPID"))  # so that the workers have something to say
    machine.until("the restart", "NRestarts", "1")
    machine.until("the service", "ActiveState", "active")
    lines = machine.run("journalctl", "--no-pager", "-u", "tickerd.service", "--output=json").splitlines()
    ours = [line for line in map(json.loads, lines) if line["_PID"] != "1" and line["_COMM"] != "systemd"]
    assert {json.loads(line["MESSAGE"])["process"] for line in ours} == {"tickerd", "worker 0", "worker 1"}
    levels = {"3": "error", "4": "warning", "6": "info"}
    for line in ours:
        assert json.loads(line["MESSAGE"])["level"] == levels[line["PRIORITY"]]


def test_the_drop_ins_work(machine: Lab) -> None:
    drop_ins = f"{UNITS}/tickerd.service.d"
    machine.run(
        "sh", "-c", "printf 'a-token-of-some-length\\n' > /etc/tickerd/token && chmod 600 /etc/tickerd/token"
    )
    machine.run("sh", "-c", f"cp /opt/stage/systemd/dropins/[2-5]*.conf {drop_ins}/")
    machine.run("sed", "-i", "s/^CPUAffinity=.*/CPUAffinity=0/", f"{drop_ins}/30-cpus.conf")
    try:
        verified = machine.try_("systemd-analyze", "verify", "--man=no", f"{UNITS}/tickerd.service")
        assert (verified.stdout, verified.stderr) == ("", "")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "tickerd.service")
        assert machine.status()["limits"]["cpus"] == 1
        eventually("records", lambda: acked(machine) > 500)
        post = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"]
        bearer = ["-H", "Authorization: Bearer a-token-of-some-length"]
        url = "http://127.0.0.1:9631/drain"
        assert machine.run(*post, url) == "401"
        assert machine.run(*post, *bearer, url) == "200"
        socket = ["--unix-socket", "/run/tickerd/control.sock", "http://localhost/undrain"]
        assert machine.run(*post, *socket) == "200"
        eventually("it goes on", lambda: machine.get("/readyz")[0] == 200)
        assert "a-token-of-some-length" not in machine.journal()
    finally:
        machine.run("sh", "-c", f"rm {drop_ins}/[2-5]*.conf")
        machine.run("systemctl", "daemon-reload")
    lost_nothing(machine)


def test_removing_it_leaves_settings_and_state(installed: Lab) -> None:
    installed.run("/opt/stage/systemd/install.sh", "--uninstall")
    assert installed.try_("ls", "/opt/tickerd").returncode != 0
    assert installed.run("ls", "/var/lib/tickerd").split()
    assert installed.run("cat", SETTINGS)


USER_DATA = {
    "BundleBucket": "bucket",
    "BundleKey": "tickerd/bundle.tar.gz",
    "Stream": "market-log",
    "LogGroup": "/tickerd/ticks",
    "AWS::Region": "eu-central-1",
    "RecordsPerSecond": "700",
    "FleetRecordsPerSecond": "0",
    "Database": "",
}
DNF = """#!/bin/sh
# Nothing is installed but the agent, as far as it is needed: it tells what it was asked for.
mkdir -p /opt/aws/amazon-cloudwatch-agent/bin /opt/aws/amazon-cloudwatch-agent/etc
ctl=/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl
printf '#!/bin/sh\\necho "$@" > /run/agent\\n' > $ctl
chmod +x $ctl
"""
AWS = """#!/bin/sh
for last; do :; done
cp /opt/stage/bundle.tar.gz "$last"
"""


def test_the_user_data_of_the_template_installs_without_an_index_and_its_metrics_arrive(
    installed: Lab,
) -> None:
    machine, stage = installed, installed.stage
    install(machine, "--no-start")
    pip = ["/opt/tickerd/current/bin/pip", "download", "--quiet", "--require-hashes"]
    there = ["--requirement", "/opt/stage/requirements.lock", "--dest", "/opt/stage/wheelhouse"]
    machine.run(*pip, *there, own_network=False)
    bundled = ["dist", "requirements.lock", "systemd", "wheelhouse"]
    with tarfile.open(stage / "bundle.tar.gz", "w:gz") as bundle:
        for name in bundled:
            bundle.add(stage / name, name)
    machine.run("/opt/stage/systemd/install.sh", "--uninstall")
    machine.run("rm", "-rf", "/etc/tickerd", "/var/lib/tickerd")
    template = (ROOT / "systemd" / "ec2" / "template.yaml").read_text()
    script = textwrap.dedent(
        template.split("Fn::Sub:\n              - |\n")[1].split("\n              - Database:")[0]
    )
    for name, value in USER_DATA.items():
        script = script.replace(f"${{{name}}}", value)
    assert "${" not in script
    (stage / "user-data").write_text(script + "\n")
    for name, text in (("dnf", DNF), ("aws", AWS)):
        (stage / name).write_text(text)
        machine.run("install", f"/opt/stage/{name}", f"/usr/local/sbin/{name}")
    path = "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    for _ in range(2):  # the second time as with an image that has it already
        machine.run("env", path, "bash", "/opt/stage/user-data")
        assert machine.status()["version"]
    units = ("tickerd.socket", "tickerd.service", "tickerd-metrics.service")
    assert machine.run("systemctl", "is-active", *units).split() == ["active"] * 3
    assert "0.0.0.0:9631" in machine.run("ss", "-ltn")
    assert "tickerd.json" in machine.run("cat", "/run/agent")
    metrics = "/run/tickerd-metrics/metrics.log"
    line = eventually("the first minute's metrics", lambda: machine.try_("cat", metrics).stdout)
    assert json.loads(line)["_aws"]["CloudWatchMetrics"]
