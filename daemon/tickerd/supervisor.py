"""Starts the workers, watches them, starts them again, stops them within one deadline; owns the web side.

It makes no records. Signals are queued by their handlers and acted on in the loop.
"""

import asyncio
import faulthandler
import logging
import os
import resource
import signal
import time
from collections.abc import Callable

import msgspec

from tickerd.checkpoint import replace_durably
from tickerd.config import workers as worker_count
from tickerd.market.universe import Universe
from tickerd.observe.causes import Causes
from tickerd.observe.counters import Counts, Slab
from tickerd.observe.rates import Rate
from tickerd.recipe import market_of, recipe_of
from tickerd.runs import Run
from tickerd.settings import Settings
from tickerd.slot import Slot
from tickerd.spec import EXIT_FINISHED, EXIT_NEW_RUN, EXIT_OWED, WorkerSpec
from tickerd.state import StateDirectory

CHECK_S = 0.25
QUICK_S = 2.0


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
        self.address = ""  # of the web side, once it listens
        self.generated_rate = Rate()
        self.acked_rate = Rate()
        self._causes = Causes()
        self._warned = False
        self._records = records
        self._seconds = float("inf") if seconds is None else seconds
        self._universe = Universe.load(settings.market.universe)
        # A market that cannot be made is known before anything is written, and before any worker.
        market_of(recipe_of(settings, self._universe), self._universe)
        self.current_run = self._run(anew=False)
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._woken = asyncio.Event()
        self._renewing_run = False
        self._failed = False
        self._stop_deadline_s = float("inf")
        # The workers see the end of this pipe when the supervisor is gone, however it went.
        self._alive_fd, self._alive_end_fd = os.pipe()

    def _run(self, *, anew: bool) -> Run:
        return Run(self.settings, self.state, self._universe, self.workers, anew=anew)

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
        while not self._ended():
            self._start_workers()
            await self._wait(CHECK_S)
            # First the signals: whoever stops the whole group stops the workers too, and those have not died.
            while not self._signals.empty():
                self._act_on_signal(self._signals.get_nowait())
            for slot in self.slots:
                self._act_on_death(slot, slot.check(stopping=self.draining or self._renewing_run))
            self._watch()
        return self._account()

    def stop(self, reason: str) -> None:
        """Drain; asked again: at once."""
        drain_s = QUICK_S if self.draining else self.settings.source.drain_max_s + QUICK_S
        self._stop_deadline_s = time.monotonic() + drain_s
        log.info("stopping %s(%s)", "at once " if self.draining else "", reason)
        for slot in self.slots:
            slot.send(signal.SIGQUIT if self.draining else signal.SIGTERM)
        self.draining = True

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
            self.current_run = self._run(anew=True)
            for slot in self.slots:
                slot.ends_at_seq = None
                slot.counted_below = 0  # that was the old run's; the new one's frames may lie before it
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
            case _ if code == EXIT_FINISHED:
                slot.finished = True
            case 1:  # its checkpoint is damaged: the next process would find it no better
                self._failed = True
                if not self.draining:
                    self.stop("a worker could not start")

    def _watch(self) -> None:
        """What time brings: readiness, the end of `--seconds`, the end of patience."""
        now_s = time.monotonic()
        total = self.total()
        self.generated_rate.add(sum(total.records_generated))
        self.acked_rate.add(sum(total.records_acked))
        self._warn_above_ceiling()
        self._causes.look(slot.report for slot in self.slots)
        if self.ready_since_s is None and all(slot.report.beat_s for slot in self.slots):
            self.ready_since_s = now_s
            log.info("ready", extra={"workers": self.workers, "run": self.current_run.identity.run})
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

    def _spec(self, slot: Slot) -> WorkerSpec:
        run, records = self.current_run, self._records
        share = None if records is None else records // self.workers + (slot.worker < records % self.workers)
        return WorkerSpec(
            worker=slot.worker,
            workers=self.workers,
            settings=self.settings,
            state=str(self.state.path),
            source=run.identity.source(slot.worker),
            retired=run.retired[slot.worker],
            recipe=run.recipe,
            digest=run.identity.digest,
            plan=run.plan,
            first_frame=run.first_frame,
            counted_below=slot.counted_below,
            records_max=share,
            ends_at_seq=slot.ends_at_seq,
            supervisor_pid=os.getpid(),
            slab_fd=self.slab.fd,
            alive_fd=self._alive_fd,
        )

    def _account(self) -> int:
        """Say what the run came to, write its account, and return the exit code."""
        account = self.current_run.account()
        total = self.total()
        owed = [(source, part) for source in account.sources for part in source.owed]
        owed_records = sum(part.next_seq - part.first_seq for _, part in owed)
        log.info(
            "generated %d, acknowledged %d, owed %d records",
            sum(total.records_generated),
            sum(total.records_acked),
            owed_records,
        )
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
        replace_durably(self.state.path / "account.json", msgspec.json.encode(account))
        if self._failed:
            return 1
        return EXIT_OWED if owed_records else 0


def limits() -> dict[str, int]:
    """The limits that this process found in force, not those that were asked for."""
    return {
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "cpus": len(os.sched_getaffinity(0)),
    }
