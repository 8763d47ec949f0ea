"""What a reload of the settings changes, and how far it reaches: pure functions of both.

At once, worker by worker, in all workers together, or not before the daemon is started again.
"""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from tickerd.settings import Settings

AT_ONCE = (
    *("rate.records_per_second", "rate.mix", "rate.stages", "rate.fleet_records_per_second"),
    "log",
)
"""Workers are told while they run; other rates begin a new segment with the next frames reserved."""

TOGETHER = (
    *("source.id", "source.workers", "market", "record", "rate.mode", "rate.every_s"),
    "destination",  # standard output has one worker
)
"""All workers drain, the run is settled anew (a new one where records change), and all start again."""

AT_START = ("web", "state", "database")
"""Sections that are bound to what the supervisor opened when it started; the rest goes worker by worker."""


log = logging.getLogger(__name__)


class Changes(NamedTuple):
    """The settings in force from now on, and the paths that differ, by how far they reach."""

    settings: Settings
    at_once: list[str]
    rolling: list[str]
    together: list[str]
    at_start: list[str]  # these keep their old values


def changes(old: Settings, new: Settings) -> Changes:
    """What differs; `settings` are the new ones with the old values of what needs a start."""
    before, after = dict(_flat(msgspec.to_builtins(old))), dict(_flat(msgspec.to_builtins(new)))
    different = [path for path in after if after[path] != before[path]]
    at_once = [path for path in different if _in(path, AT_ONCE)]
    together = [path for path in different if _in(path, TOGETHER)]
    at_start = [path for path in different if _in(path, AT_START)]
    rolling = [path for path in different if path not in {*at_once, *together, *at_start}]
    kept = msgspec.structs.replace(new, **{section: getattr(old, section) for section in AT_START})
    return Changes(kept, at_once, rolling, together, at_start)


def tell(found: Changes) -> None:
    """One line that says what has been taken up, and one for each setting that has not."""
    groups = {
        "at_once": found.at_once,
        "worker_by_worker": found.rolling,
        "all_workers_together": found.together,
    }
    log.info("the settings are read again", extra={name: paths for name, paths in groups.items() if paths})
    for path in found.at_start:
        log.warning("%s: keeps its old value until the daemon is started again", path)


def _in(path: str, groups: tuple[str, ...]) -> bool:
    return any(path == group or path.startswith(f"{group}.") for group in groups)


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
