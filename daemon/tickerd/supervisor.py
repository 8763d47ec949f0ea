"""Starts the workers, watches them, starts them again, stops them within one deadline; owns the web side.

It makes no records. Signals are queued by their handlers and acted on in the loop.
"""

import asyncio
import faulthandler
import hashlib
import logging
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tickerd import checkpoint
from tickerd.checkpoint import Checkpoint, Recipe, replace_durably
from tickerd.config import settings_digest
from tickerd.config import workers as worker_count
from tickerd.market.universe import Universe
from tickerd.observe.counters import Counts, Slab
from tickerd.observe.rates import Rate
from tickerd.recipe import market_of, recipe_of, run_digest
from tickerd.schedule import FRAMES_PER_SECOND, RatePlan, Stage, due_below
from tickerd.settings import Settings
from tickerd.slot import Slot
from tickerd.state import Account, Identity, StateDirectory, account_of, host_id, new_run
from tickerd.worker import EXIT_NEW_RUN, EXIT_OWED, WorkerSpec

CHECK_S = 0.25
QUICK_S = 2.0
CLOCK_BACKWARD_WAITED_FRAMES = 10 * FRAMES_PER_SECOND

log = logging.getLogger(__name__)


class Supervisor:
    """The daemon. `run` returns its exit code."""

    def __init__(
        self, settings: Settings, state: StateDirectory, *, records: int | None, seconds: float | None
    ) -> None:
        self.settings = settings
        self.state = state
        self.workers = worker_count(settings)
        self.slab = Slab.create(self.workers)
        self.slots = [Slot(worker, self.slab) for worker in range(self.workers)]
        self.draining = False
        self.ready_since_s: float | None = None
        self.identity: Identity
        self.address = ""  # of the web side, once it listens
        self.generated_rate = Rate()
        self.acked_rate = Rate()
        self._warned = False
        self._records = records
        self._seconds = float("inf") if seconds is None else seconds
        self._universe = Universe.load(settings.market.universe)
        market_of(self._recipe(), self._universe)  # a market that cannot be made is known before any worker
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._woken = asyncio.Event()
        self._renewing_run = False
        self._failed = False
        self._stop_deadline_s = float("inf")
        # The workers see the end of this pipe when the supervisor is gone, however it went.
        self._alive_fd, self._alive_end_fd = os.pipe()
        self._retired: dict[int, list[str]] = {}

    @property
    def ready(self) -> bool:
        """At least half of the workers beat, all have once, and none is asked to stop."""
        beating = sum(slot.beats for slot in self.slots)
        return self.ready_since_s is not None and not self.draining and beating * 2 >= self.workers

    def total(self) -> Counts:
        """What all workers have counted."""
        total = Counts()
        for slot in self.slots:
            total.add(slot.counts())
        return total

    async def run(self) -> int:
        """Run until told to stop, or until there is no more to do."""
        self._handle_signals()
        self._begin_run(again=False)
        while not self._ended():
            self._start_workers()
            await self._wait(CHECK_S)
            for slot in self.slots:
                self._act_on_death(slot, slot.check(stopping=self.draining or self._renewing_run))
            while not self._signals.empty():
                self._act_on_signal(self._signals.get_nowait())
            self._watch()
        return self._account()

    def stop(self, reason: str) -> None:
        """Drain; asked again: at once."""
        drain_s = QUICK_S if self.draining else self.settings.source.drain_max_s + QUICK_S
        self._stop_deadline_s = time.monotonic() + drain_s
        log.info("stopping %s(%s)", "at once " if self.draining else "", reason)
        self.draining = True
        for slot in self.slots:
            slot.send(signal.SIGTERM)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        faulthandler.enable()

        def queue(number: signal.Signals) -> Callable[[], None]:
            def handler() -> None:
                self._signals.put_nowait(number)
                self._woken.set()

            return handler

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            loop.add_signal_handler(number, queue(number))

    def _act_on_signal(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self.stop(number.name)
            case signal.SIGUSR1:
                faulthandler.dump_traceback(all_threads=True)
                for slot in self.slots:
                    slot.send(number)
            case _:
                log.warning("%s: settings cannot be changed while running in this version", number.name)

    async def _wait(self, seconds: float) -> None:
        """Until a signal comes or a worker may have died; for the interval of the checks at most."""
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return
        self._woken.clear()

    def _ended(self) -> bool:
        if any(slot.alive for slot in self.slots):
            return False
        stuck = all(slot.finished or slot.poison_frame is not None for slot in self.slots)
        self._failed |= stuck and any(slot.poison_frame is not None for slot in self.slots)
        return self.draining or self._failed or stuck

    def _start_workers(self) -> None:
        if self._renewing_run and not any(slot.alive for slot in self.slots):
            self._renewing_run = False
            self._begin_run(again=True)
        if self.draining or self._renewing_run:
            return
        for slot in self.slots:
            if slot.start_due:
                slot.start(self._spec(slot), self.state.lock_fd)
                assert slot.process is not None
                self._wake_on_exit(slot.process.pid)

    def _wake_on_exit(self, pid: int) -> None:
        loop, pid_fd = asyncio.get_running_loop(), os.pidfd_open(pid)

        def exited() -> None:
            loop.remove_reader(pid_fd)
            os.close(pid_fd)
            self._woken.set()

        loop.add_reader(pid_fd, exited)

    def _act_on_death(self, slot: Slot, code: int | None) -> None:
        match code:
            case None:
                return
            case _ if code == EXIT_NEW_RUN and not self.draining:
                self._renewing_run = True
                for other in self.slots:
                    other.send(signal.SIGTERM)
            case 0 if self._records is not None:
                slot.finished = True
            case 1:  # its checkpoint is damaged: the next process would find it no better
                self._failed = True
                self.stop("a worker could not start")

    def _watch(self) -> None:
        """What time brings: readiness, the end of `--seconds`, the end of patience."""
        now_s = time.monotonic()
        total = self.total()
        self.generated_rate.add(sum(total.records_generated))
        self.acked_rate.add(sum(total.records_acked))
        self._warn_above_ceiling()
        if self.ready_since_s is None and all(slot.report.beat_s for slot in self.slots):
            self.ready_since_s = now_s
            log.info("ready", extra={"workers": self.workers, "run": self.identity.run})
        elif (
            self.ready_since_s is not None
            and not self.draining
            and now_s >= self.ready_since_s + self._seconds
        ):
            self.stop("--seconds")
        if now_s > self._stop_deadline_s:
            for slot in self.slots:
                slot.send(signal.SIGKILL)

    def _warn_above_ceiling(self) -> None:
        """Say once that the stream cannot take the rate with these keys, and what would help."""
        stream = next((slot.report.stream for slot in self.slots if slot.report.stream), None)
        if self._warned or stream is None or not self.settings.kinesis.shard_limits:
            return
        target = sum(slot.report.target_milli_records_per_second for slot in self.slots) / 1000
        if target > stream.ceiling_records_per_second:
            self._warned = True
            log.warning(
                "rate.records_per_second: %.0f is above the %.0f records/s that %d shards of %s take with "
                'kinesis.partition_key = "%s"; add shards, use "even" keys, or lower the rate',
                target,
                stream.ceiling_records_per_second,
                stream.shards,
                stream.name,
                self.settings.kinesis.partition_key,
            )

    def _begin_run(self, *, again: bool) -> None:
        """Settle the run's identity and who finishes what retired sources owe."""
        settings, now_frame = self.settings, due_below(time.time_ns())
        digest = run_digest(settings, self._recipe())
        plan = hashlib.sha256(
            repr((settings.rate.records_per_second, settings.rate.stages)).encode()
        ).hexdigest()
        host = host_id(settings.source.id)
        states = {path.stem: checkpoint.read(path) for path in self._checkpoints()}
        last = self.state.identity()
        if (
            again
            or last is None
            or (last.host, last.digest) != (host, digest)
            or self._from_the_future(last, states)
        ):
            self.identity = Identity(host, new_run(), digest, plan[:16], now_frame)
            log.info("a new run begins", extra={"run": self.identity.run, "host": host})
        elif last.plan != plan[:16]:
            self.identity = msgspec.structs.replace(last, plan=plan[:16], plan_first_frame=now_frame)
        else:
            self.identity = last
        self.state.save_identity(self.identity)
        own = [self.identity.source(worker) for worker in range(self.workers)]
        self._retired = {worker: [] for worker in range(self.workers)}
        for number, (name, state) in enumerate(sorted(states.items())):
            if name in own:
                continue
            of_this_run = name.endswith(f"-{self.identity.run}")
            if state.owes or (of_this_run and not state.retired):
                self._retired[number % self.workers].append(name)
            elif not of_this_run:
                checkpoint.path_of(self.state.path, name).unlink()
        going_on = [states[name].begun_below for name in own if name in states and not states[name].retired]
        self._first_frame = max(going_on, default=now_frame)

    def _recipe(self) -> Recipe:
        return recipe_of(self.settings, self._universe)

    def _from_the_future(self, last: Identity, states: dict[str, Checkpoint]) -> bool:
        """Whether the clock was set back by more than can be waited out since the run's last checkpoint."""
        latest = due_below(time.time_ns()) + CLOCK_BACKWARD_WAITED_FRAMES
        latest += checkpoint.reservation(self.settings.rate.catch_up_factor)
        return any(state.begun_below > latest for name, state in states.items() if name.endswith(last.run))

    def _checkpoints(self) -> list[Path]:
        return sorted((self.state.path / "checkpoint").glob("[!.]*.json"))

    def _spec(self, slot: Slot) -> WorkerSpec:
        rate = self.settings.rate
        stages = tuple(Stage(stage.for_s, stage.milli_records_per_second) for stage in rate.stages)
        records_max = None
        if self._records is not None:
            records_max = self._records // self.workers + (slot.worker < self._records % self.workers)
        return WorkerSpec(
            worker=slot.worker,
            workers=self.workers,
            settings=self.settings,
            state=str(self.state.path),
            source=self.identity.source(slot.worker),
            retired=self._retired[slot.worker],
            recipe=self._recipe(),
            digest=self.identity.digest,
            plan=RatePlan(self.identity.plan_first_frame, round(rate.records_per_second * 1000), stages),
            first_frame=self._first_frame,
            counted_below=slot.counted_below,
            records_max=records_max,
            supervisor_pid=os.getpid(),
            slab_fd=self.slab.fd,
            alive_fd=self._alive_fd,
        )

    def _account(self) -> int:
        """Write the account, say what the run came to, and return the exit code."""
        states = [checkpoint.read(path) for path in self._checkpoints()]
        sources = [
            account_of(state) for state in states if state.owes or state.source.endswith(self.identity.run)
        ]
        account = Account(settings_digest(self.settings), sources)
        replace_durably(self.state.path / "account.json", msgspec.json.encode(account))
        total = self.total()
        owed = sum(owed.next_seq - owed.first_seq for source in sources for owed in source.owed)
        log.info(
            "generated %d, acknowledged %d, owed %d records",
            sum(total.records_generated),
            sum(total.records_acked),
            owed,
        )
        for source in sources:
            for part in source.owed:
                log.warning(
                    "%s owes frames %d to %d (seq %d to %d) of segment %s: they are made at the next start",
                    source.source,
                    part.first_frame,
                    part.end_frame - 1,
                    part.first_seq,
                    part.next_seq - 1,
                    [segment.first_frame for segment in source.segments],
                )
        if self._failed:
            return 1
        return EXIT_OWED if owed else 0


def limits() -> dict[str, int]:
    """The limits that this process found in force, not those that were asked for."""
    return {
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "cpus": len(os.sched_getaffinity(0)),
    }
