"""The command line: what can be asked for, and how errors reach people: one line and an exit code.

Each command's work is elsewhere, and is imported only when it is asked for.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Never

from tickerd import __version__
from tickerd.config import Loaded, SettingsError, describe, load
from tickerd.market.catalogue import UniverseError
from tickerd.observe import logs
from tickerd.planning import arguments as planning
from tickerd.schedule import RECORDS_PER_PART_MAX
from tickerd.settings import Settings
from tickerd.usage import CommandParser

FEEDS = ("forex", "stock", "news")
EXIT_FAILED, EXIT_USAGE, EXIT_SETTINGS = 1, 2, 78


class Failed(Exception):  # noqa: N818 - it is what happened to the command
    """A command cannot do what was asked; the message is one line for people."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parsed = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        return command(parsed)
    except SettingsError as error:
        for problem in error.problems:
            say(problem)
        return EXIT_SETTINGS
    except UniverseError as error:
        say(f"market.{error}")
        return EXIT_SETTINGS
    except Failed as error:
        say(str(error))
        return EXIT_FAILED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us is gone; there is nobody to tell
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED


def say(line: str) -> None:
    """One line for people, on standard error."""
    sys.stderr.write(f"tickerd: {line}\n")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with arguments in one line; its parsers of commands do so too."""

    def error(self, message: str) -> Never:
        """Name the fault and where to read on."""
        arguments_error(f"{message}; usage: {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="tickerd", description="Market log data, generated and delivered in real time to a stream."
    )
    top.add_argument("--version", action="version", version=f"tickerd {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=CommandParser)

    def add(name: str, text: str, work: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=work)
        command.add_argument("-c", "--config", type=Path, metavar="FILE", help="settings file (TOML)")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be given again"
        )
        return command

    demo = add("demo", "the whole thing on this machine: a local stream, the daemon, the account", _demo)
    demo.add_argument("--seconds", type=positive, help="stop after so long (default: at Ctrl-C)")
    demo.add_argument("--rate", type=positive, default=2000.0, help="records per second (2000)")

    local = add("local", "a Kinesis endpoint in memory, to develop against", _local)
    local.add_argument("--port", type=port, default=4567, help="port on 127.0.0.1, 0 for any (4567)")
    local.add_argument("--shards", type=count, default=4, help="shards of the stream (4)")
    local.add_argument("--faults", default="", help="throttled=0.1,error=0.05,lost_ack=0.02,latency_ms=20")
    local.add_argument("--no-shard-limits", action="store_true", help="keep no limits of a shard")
    local.add_argument("--retention-mb", type=count, default=1024, help="memory for records (1024)")
    local.add_argument(
        "--discard", action="store_true", help="acknowledge truly, keep nothing: for measuring"
    )

    run = add("run", "the daemon, in the foreground", _run)
    run.add_argument("--seconds", type=positive, help="drain and stop after so long")
    run.add_argument("--records", type=count, help="stop after the first whole frame that reaches so many")

    generate = add("generate", "records of any stretch of time, to a file or standard output", _generate)
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

    check = add("check", "whether the settings are sound, and with --online whether they would work", _check)
    check.add_argument("--online", action="store_true", help="ask the service too; nothing is written")
    add("config", "the settings in force and where each came from", _config)

    verify = add("verify", "read a stream back and say what was lost, doubled or altered", _verify)
    verify.add_argument("--stream", help="name or ARN (default: kinesis.stream)")
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

    tail = add("tail", "show a stream's records as they arrive", _tail)
    tail.add_argument("--stream", help="name or ARN (default: kinesis.stream)")
    tail.add_argument("--from", type=moment, dest="from_time", metavar="T", help="from this arrival on (now)")
    tail.add_argument("--source", action="append", default=[], metavar="S", help="this source alone")
    tail.add_argument("--feed", action="append", default=[], choices=FEEDS, help="this feed alone")

    planning.add_to(add("plan", "shards, hosts and monthly cost for a wanted rate", _plan))
    return top


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


def _loaded(arguments: argparse.Namespace) -> Loaded:
    loaded = load(arguments.config, arguments.set)
    logs.start(loaded.settings.log.level, loaded.settings.log.format, "tickerd")
    return loaded


def _run(arguments: argparse.Namespace) -> int:
    from tickerd.daemon import run  # noqa: PLC0415 - numpy and the rest take a while to import

    return run(_loaded(arguments).settings, records=arguments.records, seconds=arguments.seconds)


def _check(arguments: argparse.Namespace) -> int:
    loaded = _loaded(arguments)
    from tickerd.check import ceiling_line, check_universe  # noqa: PLC0415

    check_universe(loaded.settings)
    sys.stdout.write("the settings are sound\n")
    sys.stdout.write(ceiling_line(loaded.settings) + "\n")
    return _check_online(loaded.settings) if arguments.online else 0


def _check_online(settings: Settings) -> int:
    import asyncio  # noqa: PLC0415

    from tickerd.online import check_online  # noqa: PLC0415

    findings = asyncio.run(check_online(settings))
    for finding in findings:
        sys.stdout.write(finding.line + "\n") if finding.works else say(finding.line)
    return 0 if all(finding.works for finding in findings) else EXIT_FAILED


def _config(arguments: argparse.Namespace) -> int:
    sys.stdout.write(describe(load(arguments.config, arguments.set)))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from tickerd.demo import DemoError, demo  # noqa: PLC0415

    try:
        return demo(arguments.rate, arguments.seconds, arguments.config, arguments.set)
    except DemoError as error:
        raise Failed(str(error)) from error


def _local(arguments: argparse.Namespace) -> int:
    from tickerd.local import LocalOptions, parse_faults, run  # noqa: PLC0415

    loaded = _loaded(arguments)
    try:
        faults = parse_faults(arguments.faults)
    except ValueError as error:
        arguments_error(f"--faults: {error}")
    options = LocalOptions(
        port=arguments.port,
        shards=arguments.shards,
        stream=loaded.settings.kinesis.stream,
        faults=faults,
        shard_limits=not arguments.no_shard_limits,
        retention_mb=arguments.retention_mb,
        discard=arguments.discard,
    )
    return run(options)


def _generate(arguments: argparse.Namespace) -> int:
    from tickerd.generate import GenerateError, Wanted, generate  # noqa: PLC0415
    from tickerd.reading import ReadingError  # noqa: PLC0415

    wanted = Wanted(
        arguments.start,
        arguments.stop,
        arguments.records,
        arguments.rate,
        arguments.feed,
        arguments.instrument,
        arguments.account,
        arguments.output,
        arguments.chunk,
    )
    if arguments.owed != (arguments.account is not None) or (arguments.owed and any(wanted[:6])):
        arguments_error(
            "--account FILE and --owed go together, and without options that choose other records"
        )
    if arguments.seed is not None:
        arguments.set.append(f"market.seed={arguments.seed}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no half-made file stays
    try:
        return generate(_loaded(arguments).settings, wanted)
    except (GenerateError, ReadingError) as error:
        raise Failed(str(error)) from error


def arguments_error(line: str) -> Never:
    """A wrong argument that argparse could not see."""
    say(line)
    raise SystemExit(EXIT_USAGE)


def _verify(arguments: argparse.Namespace) -> int:
    return _reading("verify", arguments)


def _tail(arguments: argparse.Namespace) -> int:
    return _reading("tail", arguments)


def _reading(command: str, arguments: argparse.Namespace) -> int:
    from tickerd.reading import ReadingError  # noqa: PLC0415
    from tickerd.reading.command import tail, verify  # noqa: PLC0415

    settings = _loaded(arguments).settings
    try:
        return (verify if command == "verify" else tail)(arguments, settings)
    except ReadingError as error:
        raise Failed(str(error)) from error


def _plan(arguments: argparse.Namespace) -> int:
    from tickerd.planning.page import PlanError, plan  # noqa: PLC0415

    settings = load(arguments.config, arguments.set).settings
    try:
        sys.stdout.write(plan(settings, planning.wanted_of(arguments, settings), as_json=arguments.json))
    except PlanError as error:
        raise Failed(str(error)) from error
    return 0
