"""Log lines on standard error: text for people on a terminal, one JSON object a line otherwise.

Call sites use the standard library: `log.info("stream found", extra={"stream": name, "shards": 4})`. A line
is one write to the descriptor, so lines of several processes do not mix; a reader that left stops nothing.
"""

import json
import logging
import os
import socket
import stat
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import orjson

STANDARD_ERROR = 2
JOURNAL = "/run/systemd/journal/"
OWN = "tickerd"
# What every record has; all else was given as `extra`. (The library refuses `extra` keys of these names.)
STANDARD_ATTRIBUTES = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}


def start(level: str, format: Literal["auto", "text", "json"], process: str) -> None:  # noqa: A002 - the setting's name
    """Send the log of this process to standard error from now on; `process` is its name, as in "worker 0".

    `level` holds for tickerd's own lines; libraries are heard from warnings on. May be called again.
    """
    is_text = os.isatty(STANDARD_ERROR) if format == "auto" else format == "text"
    root = logging.getLogger()
    root.handlers[:] = [StandardError(TextLine(process) if is_text else JsonLine(process), is_journal())]
    own = logging.getLogger(OWN)
    own.setLevel(level.upper())
    root.setLevel(max(own.level, logging.WARNING))


def is_journal() -> bool:
    """Whether standard error is a stream to systemd's journal, which reads a priority before each line."""
    try:
        if not stat.S_ISSOCK(os.fstat(STANDARD_ERROR).st_mode):
            return False
        with socket.socket(fileno=os.dup(STANDARD_ERROR)) as stream:
            return str(stream.getpeername()).startswith(JOURNAL)
    except OSError:  # closed, or a socket that leads nowhere
        return False


class StandardError(logging.Handler):
    """Writes each line at once; a line that cannot be written is dropped."""

    def __init__(self, formatter: logging.Formatter, priorities: bool) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._priorities = priorities

    def emit(self, record: logging.LogRecord) -> None:
        """One write for one line."""
        priority = f"<{_priority(record.levelno)}>" if self._priorities else ""
        line = f"{priority}{self.format(record)}\n".encode("utf-8", "backslashreplace")
        with suppress(OSError):  # a closed pipe, a full disk: there is nobody left to tell
            os.write(STANDARD_ERROR, line)


def _priority(level: int) -> int:
    """syslog(3)'s number for a level: 3 error, 4 warning, 6 info, 7 debug."""
    return {logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}.get(level, 3)


class Line(logging.Formatter):
    """What both formats take from a record."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def message(self, record: logging.LogRecord) -> str:
        """The words of the event; those of a library after the library's name."""
        try:
            words = record.getMessage()
        except (TypeError, ValueError, KeyError):  # arguments that do not fit, as libraries sometimes log
            words = str(record.msg)
        words = words.encode("utf-8", "backslashreplace").decode()
        return words if record.name.partition(".")[0] == OWN else f"{record.name}: {words}"

    def values(self, record: logging.LogRecord) -> dict[str, object]:
        """The event's own fields."""
        return {key: value for key, value in vars(record).items() if key not in STANDARD_ATTRIBUTES}


class JsonLine(Line):
    """{"ts", "level", "process", "message"}, then the event's own fields, then "traceback"."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object on one line."""
        ts = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {
            "ts": ts.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self.process,
            "message": self.message(record),
        }
        line = head | self.values(record) | head  # no field takes the place of what every line has
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # integers beyond 64 bits, texts that are no UTF-8
            return orjson.dumps({key: ascii(value) for key, value in line.items()} | head).decode()


class TextLine(Line):
    """`23:04:19 info    worker 0  message  key=value`, in the time of the place; a traceback follows."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, but for a traceback."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        message = self.message(record)
        words = [message if message.isprintable() else json.dumps(message)]
        words += [f"{key}={_word(str(value))}" for key, value in self.values(record).items()]
        line = f"{clock} {record.levelname.lower():<7} {self.process}  {'  '.join(words)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _word(text: str) -> str:
    """A field's value: in quotes where it would not be one word of one line."""
    return text if text and text.isprintable() and " " not in text else json.dumps(text)
