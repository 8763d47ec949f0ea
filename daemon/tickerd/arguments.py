"""What can be asked for on the command line: commands, their options, and the values that these take."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Never

from tickerd import __version__
from tickerd.planning import arguments as planning
from tickerd.schedule import RECORDS_PER_PART_MAX
from tickerd.usage import arguments_error

FEEDS = ("forex", "stock", "news")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with arguments in one line; its parsers of commands do so too."""

    def error(self, message: str) -> Never:
        """Name the fault and where to read on."""
        arguments_error(f"{message}; usage: {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="tickerd",
        description="Market log data, generated and delivered in real time to a stream, a topic or files.",
    )
    top.add_argument("--version", action="version", version=f"tickerd {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=name)
        command.add_argument("-c", "--config", type=Path, metavar="FILE", help="settings file (TOML)")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be given again"
        )
        return command

    demo = add("demo", "the whole thing on this machine: a local stream, the daemon, the account")
    demo.add_argument("--seconds", type=positive, help="stop after so long (default: at Ctrl-C)")
    demo.add_argument("--rate", type=positive, default=2000.0, help="records per second (2000)")
    demo.add_argument(
        "--destination",
        choices=("kinesis", "pubsub", "file"),
        default="kinesis",
        help="a local stream (default), Google's emulator of Pub/Sub, or files",
    )

    local = add("local", "a Kinesis endpoint in memory, to develop against")
    local.add_argument("--port", type=port, default=4567, help="port on 127.0.0.1, 0 for any (4567)")
    local.add_argument("--shards", type=count, default=4, help="shards of the stream (4)")
    local.add_argument("--faults", default="", help="throttled=0.1,error=0.05,lost_ack=0.02,latency_ms=20")
    local.add_argument("--no-shard-limits", action="store_true", help="keep no limits of a shard")
    local.add_argument("--retention-mb", type=count, default=1024, help="memory for records (1024)")
    local.add_argument(
        "--discard", action="store_true", help="acknowledge truly, keep nothing: for measuring"
    )

    run = add("run", "the daemon, in the foreground")
    run.add_argument("--seconds", type=positive, help="drain and stop after so long")
    run.add_argument("--records", type=count, help="stop after the first whole frame that reaches so many")

    generate = add("generate", "records of any stretch of time, to a file or standard output")
    _add_what_to_generate(generate)

    check = add("check", "whether the settings are sound, and with --online whether they would work")
    check.add_argument("--online", action="store_true", help="ask the service too; nothing is written")
    add("config", "the settings in force and where each came from")
    database = add("db", "the database: its tables (upgrade), its catalogue of instruments (seed)")
    database.add_argument("action", choices=("upgrade", "seed"), help="what to do with it")

    verify = add("verify", "read a stream back and say what was lost, doubled or altered")
    verify.add_argument("--stream", help="name or ARN (default: what the settings deliver to)")
    verify.add_argument("--subscription", metavar="S", help="of Pub/Sub; what is read is gone from it")
    verify.add_argument(
        "--path", action="append", default=[], type=Path, metavar="P", help="a file, or a directory of them"
    )
    verify.add_argument("--json", action="store_true", help="the report as JSON on standard output")
    verify.add_argument("--from", type=moment, dest="from_time", metavar="T", help="arrived at T or later")
    verify.add_argument("--to", type=moment, dest="to_time", metavar="T", help="arrived before T")
    verify.add_argument("--source", action="append", default=[], metavar="S", help="this source alone")
    verify.add_argument(
        "--settle", type=not_negative, default=60.0, help="seconds left out at both ends (60)"
    )
    verify.add_argument(
        "--account", type=Path, metavar="FILE", help="account.json: judge heads, tails and contents too"
    )
    verify.add_argument("--follow", action="store_true", help="read on, and report from time to time")

    tail = add("tail", "show a stream's records as they arrive")
    tail.add_argument("--stream", help="name or ARN (default: what the settings deliver to)")
    tail.add_argument("--subscription", metavar="S", help="of Pub/Sub; what is shown is gone from it")
    tail.add_argument("--from", type=moment, dest="from_time", metavar="T", help="from this arrival on (now)")
    tail.add_argument("--source", action="append", default=[], metavar="S", help="this source alone")
    tail.add_argument("--feed", action="append", default=[], choices=FEEDS, help="this feed alone")

    planning.add_to(add("plan", "shards, hosts and monthly cost for a wanted rate"))
    return top


def _add_what_to_generate(generate: argparse.ArgumentParser) -> None:
    generate.add_argument("--from", type=moment, dest="start", metavar="T", help="first moment (now)")
    generate.add_argument("--to", type=moment, dest="stop", metavar="T", help="end (a minute later)")
    generate.add_argument(
        "--records", type=count, help="exactly so many, at the smallest rate that makes them before --to"
    )
    generate.add_argument("--rate", type=positive, help="records per second (rate.records_per_second)")
    generate.add_argument("--feed", choices=FEEDS, help="this feed alone")
    generate.add_argument("--instrument", metavar="I", help="this pair, stock or currency alone")
    generate.add_argument("--seed", type=seed, help="the market's seed (market.seed)")
    generate.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    generate.add_argument(
        "--chunk",
        type=count,
        default=RECORDS_PER_PART_MAX,
        metavar="N",
        help="records made at once (no byte changes)",
    )
    generate.add_argument("--account", type=Path, metavar="FILE", help="account.json; needs --owed")
    generate.add_argument("--owed", action="store_true", help="what the account's sources still owe")


def positive(text: str) -> float:
    """A number above 0."""
    number = not_negative(text)
    if number == 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def not_negative(text: str) -> float:
    """A number from 0 up."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return number


def count(text: str) -> int:
    """A whole number above 0."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**15):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seed(text: str) -> int:
    """A seed of the market."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**63 - 1}")
    return int(text)


def port(text: str) -> int:
    """A port number, or 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number from 0 to 65535")
    return int(text)


def moment(text: str) -> datetime:
    """An RFC 3339 time; UTC when it names no zone."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-24T16:00:00Z") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
