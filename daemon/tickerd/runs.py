"""Which run a start of the daemon belongs to, which sources it has, and what they came to.

A run ends, and another begins, when the bytes of its records would change: other settings of the market or
the record, another host, a clock set far back, a state directory that was lost.
"""

import hashlib
import logging
import time
from pathlib import Path

import msgspec

from tickerd import checkpoint
from tickerd.checkpoint import Checkpoint, replace_durably
from tickerd.market.universe import Universe
from tickerd.recipe import recipe_of, run_digest
from tickerd.schedule import FRAMES_PER_SECOND, RatePlan, Stage, due_below
from tickerd.settings import Rate, Settings
from tickerd.settings_text import settings_digest
from tickerd.state import Account, Identity, StateDirectory, account_of, new_run

CLOCK_BACKWARD_WAITED_FRAMES = 10 * FRAMES_PER_SECOND

log = logging.getLogger(__name__)


class Run:
    """The run of this state directory, settled at its construction and durable after it.

    `retired`: for each worker, the sources that nobody has any more and whose owed frames it finishes.
    `first_frame`: where a source begins that is new in this run, or joins it again.
    """

    def __init__(
        self,
        settings: Settings,
        state: StateDirectory,
        universe: Universe,
        workers: int,
        *,
        anew: bool,
        host: str,
    ) -> None:
        self._settings = settings
        self._host = host
        self._state = state
        self._workers = workers
        self.recipe = recipe_of(settings, universe)
        states = {each.source: each for each in self._checkpoints()}
        now_frame = due_below(time.time_ns())
        self.identity = self._identity(states, now_frame, anew=anew)
        state.save_identity(self.identity)
        own = [self.identity.source(worker) for worker in range(workers)]
        self.retired = self._share_retired([each for name, each in states.items() if name not in own])
        going_on = [states[name].begun_below for name in own if name in states and not states[name].retired]
        self.first_frame = max(going_on, default=now_frame)

    @property
    def plan(self) -> RatePlan:
        """The host's rate over time."""
        rate = self._settings.rate
        stages = tuple(Stage(stage.for_s, stage.milli_records_per_second) for stage in rate.stages)
        return RatePlan(self.identity.plan_first_frame, rate.milli_records_per_second, stages)

    def replan(self, settings: Settings) -> None:
        """Other settings of the rate hold from now on; durable when it returns, OSError when it cannot be."""
        plan = plan_digest(settings.rate)
        if plan != self.identity.plan:
            identity = replaced_plan(self.identity, plan, due_below(time.time_ns()))
            self._state.save_identity(identity)
            self.identity = identity
        self._settings = settings

    def close(self, generated: int, acked: int) -> int:
        """Say what the run came to, write its account; how many records it owes."""
        account = self.account()
        owed = [(source, part) for source in account.sources for part in source.owed]
        owed_records = sum(part.next_seq - part.first_seq for _, part in owed)
        log.info("generated %d, acknowledged %d, owed %d records", generated, acked, owed_records)
        for source, part in owed:
            log.warning(
                "%s owes frames %d to %d (seq %d to %d) of segment %s: they are made at the next start",
                source.source,
                part.first_frame,
                part.end_frame - 1,
                part.first_seq,
                part.next_seq - 1,
                [segment.first_frame for segment in source.segments],
            )
        # Last, so that what the disk may not take has at least been said.
        replace_durably(self._state.path / "account.json", msgspec.json.encode(account))
        return owed_records

    def account(self) -> Account:
        """What the run's sources came to, and those of older runs that still owe."""
        states = [each for each in self._checkpoints() if each.owes or self._has(each)]
        return Account(settings_digest(self._settings), [account_of(state) for state in states])

    def _has(self, state: Checkpoint) -> bool:
        return state.source.endswith(f"-{self.identity.run}")

    def _checkpoints(self) -> list[Checkpoint]:
        return [checkpoint.read(path) for path in sorted(self._paths().glob("[!.]*.json"))]

    def _paths(self) -> Path:
        return self._state.path / "checkpoint"

    def _identity(self, states: dict[str, Checkpoint], now_frame: int, *, anew: bool) -> Identity:
        """The last run's identity, or that of a new one."""
        digest, plan = run_digest(self._settings, self.recipe), plan_digest(self._settings.rate)
        host = self._host
        last = self._state.identity()
        if last and not anew and (last.host, last.digest) == (host, digest):
            # Frames that lie so far ahead were reserved by a clock that has been set back since.
            waited = CLOCK_BACKWARD_WAITED_FRAMES
            ahead = now_frame + waited + checkpoint.reservation(self._settings.rate.catch_up_factor)
            if all(each.begun_below <= ahead for each in states.values() if each.source.endswith(last.run)):
                return last if last.plan == plan else replaced_plan(last, plan, now_frame)
        identity = Identity(host, new_run(), digest, plan, now_frame)
        log.info("a new run begins", extra={"run": identity.run, "host": host})
        return identity

    def _share_retired(self, others: list[Checkpoint]) -> dict[int, list[str]]:
        """Share out what is to be finished; forget sources of older runs that owe nothing."""
        shares: dict[int, list[str]] = {worker: [] for worker in range(self._workers)}
        for number, state in enumerate(others):
            if state.owes or (self._has(state) and not state.retired):
                shares[number % self._workers].append(state.source)
            elif not self._has(state):
                checkpoint.path_of(self._state.path, state.source).unlink()
        return shares


def plan_digest(rate: Rate) -> str:
    """16 hex digits of the rate and its stages: with another plan the stages begin anew."""
    return hashlib.sha256(repr((rate.records_per_second, rate.stages)).encode()).hexdigest()[:16]


def replaced_plan(identity: Identity, plan: str, first_frame: int) -> Identity:
    """The same run with another plan of rates."""
    return msgspec.structs.replace(identity, plan=plan, plan_first_frame=first_frame)
