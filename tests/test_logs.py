"""Log lines as a reader of standard error gets them, from real processes."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest

START = """
import logging, sys
from tickerd.observe import logs
log = logging.getLogger("tickerd.worker")
logs.start({level!r}, {format!r}, "worker 0")
"""


def program(body: str, level: str = "info", output: str = "json") -> list[str]:
    return [sys.executable, "-c", START.format(level=level, format=output) + body]


def written(body: str, level: str = "info", output: str = "json") -> str:
    """What a process that ends well has written to a standard error that is no terminal."""
    done = subprocess.run(program(body, level, output), capture_output=True, check=True)
    assert done.stdout == b"", "the log has standard output for nobody"
    return done.stderr.decode()


def events(body: str, level: str = "info") -> list[dict[str, object]]:
    return [json.loads(line) for line in written(body, level, "auto").split("\n")[:-1]]


def test_a_line_for_machines_has_time_level_process_message_and_the_fields_in_this_order() -> None:
    (event,) = events('log.info("stream found", extra={"stream": "market-log", "shards": 4})')
    ts = event.pop("ts")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(ts))
    assert list(event.items()) == [
        ("level", "info"),
        ("process", "worker 0"),
        ("message", "stream found"),
        ("stream", "market-log"),
        ("shards", 4),
    ]


def test_a_line_for_people_is_short_and_quotes_only_what_needs_it() -> None:
    body = 'log.warning("stream %s", "found", extra={"shards": 4, "cause": "no such stream", "region": ""})'
    line = written(body, output="text")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d warning worker 0  "
        r'stream found  shards=4  cause="no such stream"  region=""\n',
        line,
    )


def test_on_a_terminal_people_are_written_to() -> None:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(program('log.info("hello")', output="auto"), stderr=theirs, check=True)
        assert os.read(ours, 1000).endswith(b" info    worker 0  hello\r\n")
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_lines_below_the_level_are_not_written(level: str, heard: list[str]) -> None:
    body = "for level in 'debug', 'info', 'warning', 'error': getattr(log, level)('x')"
    assert [event["level"] for event in events(body, level)] == heard


@pytest.mark.parametrize(("level", "heard"), [("debug", ["warning", "error"]), ("error", ["error"])])
def test_libraries_are_heard_from_warnings_on_and_named(level: str, heard: list[str]) -> None:
    body = "log = logging.getLogger('botocore.x')\n"
    body += "for level in 'debug', 'info', 'warning', 'error': getattr(log, level)('y')"
    found = events(body, level)
    assert [event["level"] for event in found] == heard
    assert {event["message"] for event in found} == {"botocore.x: y"}


def test_a_traceback_is_a_field_of_its_one_line() -> None:
    body = "try: 1 / 0\nexcept ZeroDivisionError: log.exception('the worker dies')"
    (event,) = events(body)
    assert event["message"] == "the worker dies"
    assert str(event["traceback"]).startswith("Traceback (most recent call last):\n")
    assert str(event["traceback"]).endswith("ZeroDivisionError: division by zero")


def test_people_see_the_traceback_below_the_line() -> None:
    body = "try: 1 / 0\nexcept ZeroDivisionError: log.exception('the worker dies')"
    first, *others = written(body, output="text").splitlines()
    assert first.endswith("error   worker 0  the worker dies")
    assert others[-1] == "ZeroDivisionError: division by zero"


def test_a_field_cannot_take_the_place_of_what_every_line_has() -> None:
    (event,) = events("log.info('x', extra={'level': 'none', 'ts': 0, 'code': 1})")
    assert (event["level"], event["message"], event["code"]) == ("info", "x", 1)
    assert event["ts"] != 0


@pytest.mark.parametrize(
    "value",
    ["10**40", "'\\udc80'", "{1: 2}", "float('nan')", "object()", "b'x'", "[[1]]", "None", "'a\\nb\\u2028c'"],
)
@pytest.mark.parametrize("output", ["json", "text"])
def test_any_value_makes_one_line(value: str, output: str) -> None:
    (line, end) = written(f"log.info('odd', extra={{'value': {value}}})", output=output).split("\n")
    assert end == ""
    assert "value" in (json.loads(line) if output == "json" else line)


@pytest.mark.parametrize("output", ["json", "text"])
def test_a_message_of_several_lines_or_of_broken_text_stays_one_line(output: str) -> None:
    assert len(written("log.info('a\\nb\\r\\udc80')", output=output).splitlines()) == 1


def test_arguments_that_do_not_fit_the_message_stop_nothing() -> None:
    assert [event["message"] for event in events("log.info('%d of', 'x'); log.info('%s %s', 1)")] == [
        "%d of",
        "%s %s",
    ]


def test_starting_again_changes_level_and_process_and_doubles_no_line() -> None:
    body = "logs.start('error', 'json', 'supervisor'); log.info('x'); log.error('y')"
    assert [(event["process"], event["message"]) for event in events(body)] == [("supervisor", "y")]


@pytest.mark.parametrize("output", ["json", "text"])
def test_a_reader_that_went_away_does_not_end_the_process(output: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        body = "for _ in range(1000): log.error('x' * 1000)\nprint('alive')"
        done = subprocess.run(program(body, output=output), stdout=subprocess.PIPE, stderr=theirs, check=True)
    finally:
        os.close(theirs)
    assert done.stdout == b"alive\n"


def test_a_standard_error_that_is_closed_does_not_end_the_process() -> None:
    body = "import os; os.close(2); log.error('x'); print('alive')"
    done = subprocess.run(program(body), stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"alive\n"


def test_lines_of_several_processes_do_not_mix() -> None:
    ours, theirs = os.pipe()
    writers = [
        subprocess.Popen(
            program("for n in range(300): log.info('x', extra={'n': n, 'text': 'y' * 500})"), stderr=theirs
        )
        for _ in range(2)
    ]
    os.close(theirs)
    with os.fdopen(ours) as lines:
        numbers = [json.loads(line)["n"] for line in lines]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(numbers) == sorted(2 * list(range(300)))
