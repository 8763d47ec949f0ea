"""The command line: what can be asked for, and how errors reach people: one line and an exit code.

Each command's work is elsewhere, and is imported only when it is asked for.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence

from tickerd.arguments import parser
from tickerd.config import Loaded, SettingsError, load
from tickerd.market.catalogue import UniverseError
from tickerd.observe import logs
from tickerd.planning import arguments as planning
from tickerd.settings import Settings
from tickerd.settings_text import describe
from tickerd.usage import arguments_error, say

EXIT_FAILED, EXIT_SETTINGS = 1, 78


class Failed(Exception):  # noqa: N818 - it is what happened to the command
    """A command cannot do what was asked; the message is one line for people."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parsed = parser().parse_args(arguments)
    try:
        return COMMANDS[parsed.command](parsed)
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


def _loaded(arguments: argparse.Namespace) -> Loaded:
    loaded = load(arguments.config, arguments.set)
    logs.start(loaded.settings.log.level, loaded.settings.log.format, "tickerd")
    return loaded


def _run(arguments: argparse.Namespace) -> int:
    from tickerd.daemon import run  # noqa: PLC0415 - numpy and the rest take a while to import

    return run(
        _loaded(arguments).settings,
        records=arguments.records,
        seconds=arguments.seconds,
        reread=lambda: load(arguments.config, arguments.set).settings,
    )


def _check(arguments: argparse.Namespace) -> int:
    loaded = _loaded(arguments)
    from tickerd.check import check_universe, destination_line  # noqa: PLC0415

    check_universe(loaded.settings)
    sys.stdout.write("the settings are sound\n")
    sys.stdout.write(destination_line(loaded.settings) + "\n")
    return _check_online(loaded.settings) if arguments.online else 0


def _check_online(settings: Settings) -> int:
    import asyncio  # noqa: PLC0415

    from tickerd.findings import Finding  # noqa: PLC0415
    from tickerd.online import check_online  # noqa: PLC0415
    from tickerd.store.command import look  # noqa: PLC0415

    findings = asyncio.run(check_online(settings))
    if settings.database.url:
        findings.append(Finding(*look(settings)))
    for finding in findings:
        sys.stdout.write(finding.line + "\n") if finding.works else say(finding.line)
    return 0 if all(finding.works for finding in findings) else EXIT_FAILED


def _config(arguments: argparse.Namespace) -> int:
    sys.stdout.write(describe(load(arguments.config, arguments.set)))
    return 0


def _db(arguments: argparse.Namespace) -> int:
    settings = _loaded(arguments).settings
    from tickerd.store.command import DatabaseError, seed, upgrade  # noqa: PLC0415

    try:
        told = (upgrade if arguments.action == "upgrade" else seed)(settings)
    except DatabaseError as error:
        raise Failed(str(error)) from error
    sys.stdout.write(told + "\n")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from tickerd.demo import demo  # noqa: PLC0415
    from tickerd.demo_places import DemoError  # noqa: PLC0415

    try:
        return demo(arguments.rate, arguments.seconds, arguments.destination, arguments.config, arguments.set)
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


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "demo": _demo,
    "local": _local,
    "run": _run,
    "generate": _generate,
    "check": _check,
    "config": _config,
    "db": _db,
    "verify": _verify,
    "tail": _tail,
    "plan": _plan,
}
