"""Metrics as log lines: what CloudWatch's format asks for, and that the numbers are the minute's."""

import json
import os
import signal

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped] # moto brings it

from daemon import Host, Stream, eventually
from tickerd.observe.counters import Report, Slab
from tickerd.observe.embedded import EVERY_S, EmbeddedMetrics
from tickerd.slot import Slot

# Written from the specification's text: what a target member, a directive and a metric have to be.
SCHEMA = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer", "minimum": 1_600_000_000_000},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "properties": {
                            "Namespace": {"type": "string", "minLength": 1, "maxLength": 1024},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {"type": "array", "maxItems": 30, "items": {"type": "string"}},
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "properties": {"Unit": {"enum": ["Count", "Bytes", "Seconds", "None"]}},
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}


def test_a_line_is_what_the_format_asks_for_and_sums_are_the_minutes() -> None:
    slab = Slab.create(1)
    slot, report, metrics = Slot(0, slab), Report(), EmbeddedMetrics()
    try:
        metrics.group = "fleet"
        lines = []
        for records in (300, 1000):
            report.counts.records_acked = [records, 0, 0]
            slot.report = report
            lines.append(json.loads(json.dumps(metrics.line([slot], "market-log", ready=True))))
    finally:
        slab.close()
    for line in lines:
        Draft7Validator(SCHEMA).validate(line)
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [["stream"], ["AutoScalingGroupName"]]
        for name in [metric["Name"] for metric in directive["Metrics"]]:
            assert isinstance(line[name], int | float)
        assert (line["stream"], line["AutoScalingGroupName"]) == ("market-log", "fleet")
    assert [line["records_acked"] for line in lines] == [300, 700]


@pytest.mark.slow
def test_a_daemon_writes_the_line_each_minute_among_the_others(host: Host, stream: Stream) -> None:
    daemon = host.run(**stream.settings, log__embedded_metrics=True, log__level="error")
    workers = eventually("the workers", lambda: host.pids("tickerd.worker"))
    os.kill(workers[0], signal.SIGKILL)
    line = eventually(
        f"the line after {EVERY_S:.0f} s",
        lambda: next((line for line in daemon.lines() if "_aws" in line), None),
        daemon.said,
    )
    Draft7Validator(SCHEMA).validate(line)
    assert line["records_acked"] > 10_000
    assert line["worker_restarts"] == 1
    assert 0 < line["utilization_ratio"] <= 1
    # What a group scales by is written though the level leaves everything else out.
    assert {each["level"] for each in daemon.lines() if "_aws" not in each} <= {"error"}
    assert daemon.stop() == 0
