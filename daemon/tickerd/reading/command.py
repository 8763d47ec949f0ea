"""`verify` and `tail` as commands: the loop, signals, what goes to standard output and the exit code."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import uvloop

from tickerd.config import PUBSUB_MISSING, has_pubsub, state_directory
from tickerd.destination import file_directory
from tickerd.reading import ReadingError
from tickerd.reading.account_file import load_account
from tickerd.reading.places import Place
from tickerd.reading.progress import shown, stages
from tickerd.reading.report import Report, render, report_json, summary
from tickerd.reading.tail import TailOptions, show
from tickerd.reading.verify import VerifyOptions, follow
from tickerd.reading.verify import verify as read_and_judge
from tickerd.settings import Settings

REPORT_EVERY_S = 10.0

Result = TypeVar("Result")


def verify(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run `tickerd verify`; the exit code. ReadingError where the stream cannot be read."""
    place = _place(arguments, settings)
    options = VerifyOptions(
        stream=place.stream,
        region=place.region,
        endpoint_url=place.endpoint_url,
        role_arn=place.role_arn,
        paths=place.paths,
        pubsub=place.pubsub,
        from_time=arguments.from_time,
        to_time=arguments.to_time,
        sources=tuple(arguments.source),
        settle_s=arguments.settle,
        account=load_account(arguments.account) if arguments.account else None,
        settings=settings,
    )
    if arguments.follow:
        report = _followed(options, as_json=arguments.json)
    else:
        with stages("reading", "comparing") as (reading, comparing):
            report = _run(read_and_judge(options, reading, comparing))
    if arguments.json:
        sys.stdout.buffer.write(report_json(report) + b"\n")
    else:
        sys.stdout.write(render(report) + "\n")
    return report.exit_code


def _followed(options: VerifyOptions, *, as_json: bool) -> Report:
    """The last report of a reading that a signal ends; those before it are written as they come."""

    def told(report: Report) -> None:
        if as_json:
            sys.stdout.buffer.write(report_json(report) + b"\n")
        else:
            now = datetime.now(UTC).strftime("%H:%M:%SZ")
            sys.stdout.write(f"{now}  {report.totals.records:,} records; {summary(report)}\n")
        sys.stdout.flush()

    with shown("reading") as progress:
        return _run(_until_signal(lambda stop: follow(options, REPORT_EVERY_S, told, stop, progress)))


def tail(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run `tickerd tail` until a signal, or until nobody reads it any more; 0."""
    place = _place(arguments, settings)
    if place.paths:
        raise ReadingError("tail: files are shown by other programs, such as tail -F")
    options = TailOptions(
        stream=place.stream,
        region=place.region,
        endpoint_url=place.endpoint_url,
        role_arn=place.role_arn,
        pubsub=place.pubsub,
        from_time=arguments.from_time,
        sources=tuple(arguments.source),
        feeds=tuple(arguments.feed),
    )
    _run(_until_signal(lambda stop: show(options, stop)))
    return 0


def _place(arguments: argparse.Namespace, settings: Settings) -> Place:
    """What the arguments name, else what the settings deliver to; ReadingError where that cannot be read."""
    paths = tuple(getattr(arguments, "path", ()))
    if paths:
        return Place(paths=paths)
    kind = settings.destination.kind
    if arguments.subscription or (kind == "pubsub" and not arguments.stream):
        subscription = arguments.subscription or settings.pubsub.subscription
        if not subscription:
            raise ReadingError(
                "pubsub.subscription: none is set; name one, from which the messages will be gone"
            )
        if not has_pubsub():
            raise ReadingError(f"a subscription: {PUBSUB_MISSING}")
        return Place(pubsub=msgspec.structs.replace(settings.pubsub, subscription=subscription))
    if kind == "file" and not arguments.stream:
        return Place(paths=(file_directory(settings, state_directory(settings)),))
    if kind in {"stdout", "null"} and not arguments.stream:
        raise ReadingError(
            f'destination.kind = "{kind}": keeps nothing; name what to read: --path, --stream, --subscription'
        )
    kinesis = settings.kinesis
    stream = arguments.stream or kinesis.stream
    return Place(stream, kinesis.region, kinesis.endpoint_url, kinesis.role_arn)


async def _until_signal(work: Callable[[asyncio.Event], Coroutine[Any, Any, Result]]) -> Result:
    """Do the work; the event that it is given is set by INT and TERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await work(stop)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
