"""What `tickerd plan` may be asked: its options, their bounds, and the question that they make."""

import argparse
from pathlib import Path

from tickerd.planning.question import Wanted
from tickerd.settings import Settings

HOURS_PER_MONTH = 730
REGION = "us-east-1"


def add_to(plan: argparse.ArgumentParser) -> None:
    """Add the options to the command."""
    plan.add_argument("--rate", type=rate, required=True, help="records per second of all hosts")
    plan.add_argument("--record-bytes", type=record_bytes, metavar="B", help="mean size with key (measured)")
    plan.add_argument("--headroom", type=headroom, default=0.25, help="share to be left free (0.25)")
    plan.add_argument(
        "--hours", type=hours, default=float(HOURS_PER_MONTH), help="a month in which records flow (730)"
    )
    plan.add_argument("--region", help=f"whose prices (kinesis.region, else {REGION})")
    plan.add_argument("--instance", metavar="TYPE", help="EC2 instance type (the cheapest)")
    plan.add_argument("--prices", type=Path, metavar="FILE", help="prices of your own (TOML)")
    plan.add_argument("--speed", type=Path, metavar="FILE", help="what bench/host.py --speed FILE measured")
    plan.add_argument("--json", action="store_true", help="the plan as JSON")


def wanted_of(arguments: argparse.Namespace, settings: Settings) -> Wanted:
    """The question."""
    return Wanted(
        arguments.rate,
        arguments.record_bytes,
        arguments.headroom,
        arguments.hours,
        arguments.region or settings.kinesis.region or REGION,
        arguments.instance,
        arguments.speed,
        arguments.prices,
    )


def within(text: str, high: float, what: str, *, zero: bool = False) -> float:
    """A number above 0, or 0 where that may be, and up to high."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= high or (number == 0 and not zero):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return number


def rate(text: str) -> float:
    """A rate of all hosts."""
    return within(text, 1e9, "a number of records/s above 0, up to 1,000,000,000")


def record_bytes(text: str) -> float:
    """A record's size with its key: the service takes no more than 10 MiB."""
    return within(text, 10 * 1024 * 1024, "a number of bytes above 0, up to 10,485,760")


def headroom(text: str) -> float:
    """A share of what shards and hosts can take."""
    return within(text, 0.95, "a share from 0 to 0.95, such as 0.25", zero=True)


def hours(text: str) -> float:
    """Hours of a month."""
    return within(text, 744, "a number of hours above 0, up to 744")
