"""The monitoring kit: its rules are right, its names exist, and a real Prometheus sees what it should."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon import Daemon, Host, Local, dies_with_the_tests, eventually
from programs import program

KIT = Path(__file__).parents[1] / "systemd" / "observability"
FASTER = 30  # so many times: what takes minutes in the rules as shipped takes seconds here


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, shared_local: Local) -> Iterator[Daemon]:
    """A daemon that delivers."""
    shared_local.no_faults()
    host = Host(tmp_path_factory.mktemp("observed"))
    try:
        running = host.run(**shared_local.create().settings)
        running.until_acked(500)
        yield running
    finally:
        shared_local.no_faults()
        host.close()


def promtool(*arguments: str) -> str:
    command = [program("promtool", "prometheus"), *arguments]
    ran = subprocess.run(command, cwd=KIT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_rules_are_sound() -> None:
    assert "SUCCESS: 15 rules found" in promtool("check", "rules", "alerts.yml")
    promtool("check", "rules", "rules.yml")


def test_every_alert_fires_and_clears_as_its_tests_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")
    alerts = set(re.findall(r"- alert: (\w+)", (KIT / "alerts.yml").read_text()))
    fired = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", (KIT / "alerts_test.yml").read_text()))
    assert fired == alerts


def test_every_metric_that_the_kit_names_is_in_a_scrape(daemon: Daemon) -> None:
    text = daemon.get("/metrics")[1]
    families = list(text_string_to_metric_families(text))
    here = {sample.name for family in families for sample in family.samples}
    here |= {family.name for family in families}  # one without a sample yet, such as an error
    here |= {f"{family.name}_total" for family in families if family.type == "counter"}
    for file in KIT.iterdir():
        named = set(re.findall(r"(?<![:\w])(?:tickerd|process)_[a-z_]+(?![a-z_:])", file.read_text()))
        assert named <= here, f"{file.name}: {named - here}"
    assert any("tickerd_lag_seconds" in file.read_text() for file in KIT.iterdir())


def test_no_metric_of_the_scrape_is_forgotten_by_the_dashboard(daemon: Daemon) -> None:
    shown = (KIT / "dashboard.json").read_text()
    for family in text_string_to_metric_families(daemon.get("/metrics")[1]):
        if family.name.startswith("tickerd_"):
            assert family.name in shown, family.name


def test_the_dashboards_panels_are_whole_and_do_not_overlap() -> None:
    board = json.loads((KIT / "dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["title"]
        assert panel["description"]
        assert all(target["expr"] for target in panel["targets"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[str]:
    """A real Prometheus that scrapes the target each second, with the kit's rules made faster."""
    server = program("prometheus", "prometheus")

    def shorter(match: "re.Match[str]") -> str:
        return f"{max(2, int(match[1]) * (3600 if match[2] == 'h' else 60) // FASTER)}s"

    for name in ("alerts.yml", "rules.yml"):
        text = re.sub(r"(?<=[\[ ])(\d+)([mh])(?=[\]\n])", shorter, (KIT / name).read_text())
        (directory / name).write_text(text)
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yml, rules.yml]\n"
        f"scrape_configs: [{{job_name: tickerd, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    port_file = directory / "out"
    with port_file.open("w") as out:
        process = subprocess.Popen(
            [
                server,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=out,
            stderr=out,
            preexec_fn=dies_with_the_tests,  # noqa: PLW1509 - nothing else runs while one is started
        )

    def address() -> str | None:
        found = re.search(r"Listening on\" address=(127\.0\.0\.1:\d+)", port_file.read_text())
        return f"http://{found[1]}" if found else None

    try:
        yield eventually("prometheus", address, port_file.read_text)
    finally:
        process.terminate()
        process.wait()


def api(url: str, path: str, **parameters: str) -> Any:
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{query}", timeout=30) as answer:  # noqa: S310 - loopback
        return json.load(answer)["data"]


@pytest.mark.slow
def test_a_real_prometheus_sees_delivery_stop_and_go_on(
    tmp_path: Path, daemon: Daemon, shared_local: Local
) -> None:
    with prometheus(tmp_path, daemon.address.removeprefix("http://")) as url:

        def firing(name: str) -> bool:
            alerts = api(url, "alerts")["alerts"]
            return any(a["labels"]["alertname"] == name and a["state"] == "firing" for a in alerts)

        def rate() -> bool:
            found = api(url, "query", query="instance:tickerd_records_acked:rate1m")["result"]
            return bool(found) and float(found[0]["value"][1]) > 100

        eventually("a rate by the recording rule", rate)
        assert not firing("TickerdDeliveryStopped")
        shared_local.faults(deny=True)
        eventually("the alert", lambda: firing("TickerdDeliveryStopped"))
        eventually("its cause", lambda: firing("TickerdDestinationError"))
        shared_local.no_faults()
        eventually("the all-clear", lambda: not firing("TickerdDeliveryStopped"))
        eventually("that of its cause", lambda: not firing("TickerdDestinationError"))
        (target,) = api(url, "targets")["activeTargets"]
        assert target["health"] == "up"
