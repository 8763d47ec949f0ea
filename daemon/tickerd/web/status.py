"""The body of `/status`: the daemon as people and scripts read it."""

from collections.abc import Iterable
from typing import Any

import msgspec

from tickerd import __version__
from tickerd.cores import limits
from tickerd.observe.counters import Problem
from tickerd.slot import Slot
from tickerd.supervisor import Supervisor


def status(supervisor: Supervisor) -> dict[str, Any]:
    """The object that the contract describes, ready to be encoded."""
    slots = supervisor.slots
    total = supervisor.total()
    stream = next((slot.report.stream for slot in slots if slot.report.stream), None)
    return {
        "version": __version__,
        "run": supervisor.current_run.identity.run,
        "state": state(supervisor),
        "draining": supervisor.draining,
        "rates": {
            "target": sum(slot.report.target_milli_records_per_second for slot in slots) / 1000,
            "generated": supervisor.generated_rate.per_second(),
            "acked": supervisor.acked_rate.per_second(),
        },
        "totals": {
            "generated": sum(total.records_generated),
            "acked": sum(total.records_acked),
            "owed": sum(slot.report.owed for slot in slots),
        },
        "lag_seconds": round(max((slot.report.lag_s for slot in slots), default=0.0), 3),
        "destination": {
            "kind": supervisor.settings.destination.kind,
            "name": supervisor.settings.destination_name,
        },
        "stream": stream
        and {
            "name": stream.name,
            "shards": stream.shards,
            "distribution": stream.distribution,
            "ceiling_records_per_second": round(stream.ceiling_records_per_second),
            "aggregation": stream.aggregation,
            "order": stream.order,
        },
        "database": supervisor.store and supervisor.store.describe(),
        "limits": limits(),
        "errors": [msgspec.to_builtins(problem) for problem in [*problems(slots), *notices(slots)]],
        "workers": [_worker(slot) for slot in slots],
    }


def state(supervisor: Supervisor) -> str:
    """One word: starting, waiting (for the stream), running, draining, drained."""
    if supervisor.draining:
        return "drained" if supervisor.crew.idle else "draining"
    if supervisor.ready_since_s is None:
        return "starting"
    states = {slot.report.state for slot in supervisor.slots}
    return "running" if "running" in states else "waiting"


def problems(slots: list[Slot]) -> list[Problem]:
    """What stands in the way of delivery, each cause once: since when, and how often over all workers."""
    return _merged(problem for slot in slots for problem in slot.report.problems)


def notices(slots: list[Slot]) -> list[Problem]:
    """What is not done as it was set, and what keeps checkpoints from being written."""
    reports = [slot.report for slot in slots]
    found = [notice for report in reports for notice in report.notices]
    return _merged([*found, *(report.unsaved for report in reports if report.unsaved is not None)])


def database_lines(supervisor: Supervisor) -> list[str]:
    """How the database is, in one line; none where there is to be none."""
    condition = supervisor.store.condition if supervisor.store else None
    if condition is None or condition.state == "off":
        return []
    return [f"{condition.state}: {condition.message}" if condition.message else condition.state]


def _merged(found: Iterable[Problem]) -> list[Problem]:
    merged: dict[str, Problem] = {}
    for problem in found:
        known = merged.setdefault(problem.code, Problem(problem.code, problem.message, problem.since, 0))
        known.since = min(known.since, problem.since)
        known.count += problem.count
    return list(merged.values())


def _worker(slot: Slot) -> dict[str, Any]:
    counts = slot.counts()
    return {
        "worker": slot.worker,
        "pid": slot.process.pid if slot.process else None,
        "source": slot.report.source,
        "state": "poisoned"
        if slot.poison_frame is not None
        else "broken"
        if slot.broken
        else slot.report.state,
        "generated": sum(counts.records_generated),
        "acked": sum(counts.records_acked),
        "owed": slot.report.owed,
        "lag_seconds": round(slot.report.lag_s, 3),
        "restarts": sum(slot.restarts.values()),
        "poison_frame": slot.poison_frame,
    }
