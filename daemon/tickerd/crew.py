"""The workers of this host as a whole: their slots, what each is told at its start, who starts when.

Owns the run, the shared memory and the pipe by which workers notice the supervisor's end. When to hold, to
drain or to end is the supervisor's decision.
"""

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from typing import Literal

from tickerd.config import workers as worker_count
from tickerd.market.universe import Universe
from tickerd.observe.counters import Counts, Slab
from tickerd.on_demand import SnapshotsOnDemand
from tickerd.orders import Order, Orders
from tickerd.recipe import market_of, recipe_of
from tickerd.reload import Changes
from tickerd.runs import Run
from tickerd.schedule import RatePlan
from tickerd.settings import Settings
from tickerd.slot import Slot
from tickerd.spec import EXIT_FINISHED, EXIT_NEW_RUN, EXIT_UNREAD, WorkerSpec
from tickerd.state import StateDirectory, host_id

log = logging.getLogger(__name__)


def universe_of(settings: Settings) -> Universe:
    """The universe of the settings; UniverseError when it, or a market of it, cannot be made."""
    universe = Universe.load(settings.market.universe)
    market_of(recipe_of(settings, universe), universe)
    return universe


class Crew:
    """All workers. `woken` is called when one of them has ended."""

    def __init__(
        self,
        settings: Settings,
        state: StateDirectory,
        records: int | None,
        woken: Callable[[], None],
        instance_id: str,
    ) -> None:
        self.settings = settings
        self.state = state
        # A market that cannot be made is known before anything is written, and before any worker.
        self.universe = universe_of(settings)
        self.workers = worker_count(settings)
        self.slab = Slab.create(self.workers)
        self.orders = Orders.create()
        self.on_demand = SnapshotsOnDemand()
        self.slots = [Slot(worker, self.slab) for worker in range(self.workers)]
        self._instance_id = instance_id
        self.run = self._settled_run(anew=False)
        self.rate_set: int | None = None  # milli-records per second, in place of the settings' rate
        self.fleet_share: int | None = None  # the same, of this host in its fleet, once it is known
        self.renewing: Literal["", "run", "settings"] = ""  # why all are to end and begin again
        self.unread = False  # nobody reads standard output any more
        self.failed = False  # there is no use in starting workers
        self._records = records
        self._woken = woken
        # To be started anew, one after the other, and when the process started that is to end.
        self._rolling: deque[tuple[Slot, float]] = deque()
        # The workers see the end of this pipe when the supervisor is gone, however it went.
        self._alive_fd, self._alive_end_fd = os.pipe()
        self.publish_order()

    @property
    def idle(self) -> bool:
        """Whether no worker runs."""
        return not any(slot.alive for slot in self.slots)

    @property
    def stuck(self) -> bool:
        """Whether no worker will ever run again, or none runs for long."""
        useless = [slot.poison_frame is not None or slot.broken for slot in self.slots]
        stuck = all(slot.finished or bad for slot, bad in zip(self.slots, useless, strict=True))
        self.failed |= stuck and any(useless)
        return self.failed or stuck

    def total(self) -> Counts:
        """What all workers have counted."""
        total = Counts()
        for slot in self.slots:
            total.add(slot.counts())
        return total

    def plan(self) -> RatePlan:
        """The host's rate over time: as it was set, as its share of the fleet's, or as the settings say."""
        if self.rate_set is not None:
            return RatePlan(0, self.rate_set)
        if self.settings.rate.fleet_records_per_second:
            return RatePlan(0, self.fleet_share or 0)
        return self.run.plan

    def set_rate(self, milli_records_per_second: int) -> None:
        """Another rate, until the restart or until a reload brings another one."""
        self.rate_set = milli_records_per_second
        self.publish_order()
        log.info("the rate is set", extra={"records_per_second": milli_records_per_second / 1000})

    def share_fleet(self, milli_records_per_second: int) -> None:
        """This host's share of the fleet's rate."""
        if milli_records_per_second != self.fleet_share:
            self.fleet_share = milli_records_per_second
            self.publish_order()
            log.info(
                "a share of the fleet's rate", extra={"records_per_second": milli_records_per_second / 1000}
            )

    def publish_order(self) -> None:
        """Let the workers know what holds from now on."""
        rate, logging_ = self.settings.rate, self.settings.log
        self.orders.publish(Order(self.plan(), rate.mix.weights, logging_.level, logging_.format))

    def start_due(self, *, held: bool) -> None:
        """Start whoever is due, unless nothing is to be generated."""
        if self.renewing and self.idle:
            self._begin_again()
        if held or self.renewing:
            return
        self._roll()
        for slot in self.slots:
            if slot.start_due:
                self._start(slot)

    def _start(self, slot: Slot) -> None:
        """Start a slot's process; that of worker 0 has the line on which snapshots are asked for."""
        if slot.worker == 0:
            with self.on_demand.line() as line:
                slot.start(self._spec(slot, line.fileno()), self.state.lock_fd, line.fileno())
        else:
            slot.start(self._spec(slot), self.state.lock_fd)
        assert slot.process is not None
        self._wake_on_exit(slot.process.pid)

    def stop(self, number: signal.Signals) -> None:
        """Ask all to end: by TERM to drain, by QUIT at once."""
        for slot in self.slots:
            slot.stop(number)

    def roll(self) -> None:
        """Start every worker anew with the settings in force, one after the other."""
        self._rolling = deque((slot, slot.started_s) for slot in self.slots if slot.alive)

    def renew(self, reason: Literal["run", "settings"]) -> None:
        """Have all end together, and begin again: with a new run, or with other settings."""
        self.renewing = "run" if "run" in {self.renewing, reason} else "settings"
        self._rolling.clear()
        self.stop(signal.SIGTERM)

    def reload(self, found: Changes, universe: Universe) -> None:
        """Other settings hold from now on, and this universe."""
        self.settings, self.universe = found.settings, universe
        if any(path.startswith("rate.") for path in found.at_once):
            self.rate_set = None
        self.publish_order()
        if found.together:
            self.renew("settings")
        elif found.rolling:
            self.roll()

    def check(self, *, held: bool) -> None:
        """Look at everyone's report, and at who has died."""
        for slot in self.slots:
            match slot.check(stopping=held or bool(self.renewing)):
                case None:
                    pass
                case code if code == EXIT_NEW_RUN and not held:
                    self.renew("run")
                case code if code == EXIT_FINISHED:
                    slot.finished = True
                case code if code == EXIT_UNREAD:
                    slot.finished = self.unread = True
                case 1:  # its checkpoint is damaged: the next process would find it no better
                    self.failed = True

    def _roll(self) -> None:
        """The first of those to be started anew ends; when it is back, the next one does."""
        while self._rolling:
            slot, started_s = self._rolling[0]
            if slot.started_s == started_s and not slot.finished and slot.poison_frame is None:
                if not slot.asked:
                    slot.stop()
                return
            if slot.alive and not slot.beats:
                return
            self._rolling.popleft()

    def _settled_run(self, *, anew: bool) -> Run:
        host = host_id(self.settings.source.id, self._instance_id)
        return Run(self.settings, self.state, self.universe, self.workers, anew=anew, host=host)

    def _begin_again(self) -> None:
        """Settle the run anew, with as many slots as the settings want workers."""
        anew, last, before = self.renewing == "run", self.run.identity.run, self.workers
        self.renewing = ""
        self.workers = worker_count(self.settings)
        self.run = self._settled_run(anew=anew)
        if self.workers != before:
            self.slab.close()
            self.slab = Slab.create(self.workers)
        for worker in range(len(self.slots), self.workers):
            self.slots.append(Slot(worker, self.slab))
        for slot in self.slots:
            slot.use(self.slab)
            slot.ends_at_seq = None
            if self._records is None:  # what a slot counted stays, though it has no worker any more
                slot.finished = slot.worker >= self.workers
            if self.run.identity.run != last:
                slot.counted_below = 0  # that was the old run's; the new one's frames may lie before it
        self.publish_order()

    def _wake_on_exit(self, pid: int) -> None:
        loop, pid_fd = asyncio.get_running_loop(), os.pidfd_open(pid)

        def exited() -> None:
            loop.remove_reader(pid_fd)
            os.close(pid_fd)
            self._woken()

        loop.add_reader(pid_fd, exited)

    def _spec(self, slot: Slot, requests_fd: int | None = None) -> WorkerSpec:
        run, records = self.run, self._records
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
            plan=self.plan(),
            first_frame=run.first_frame,
            counted_below=slot.counted_below,
            records_max=share,
            ends_at_seq=slot.ends_at_seq,
            supervisor_pid=os.getpid(),
            slab_fd=self.slab.fd,
            orders_fd=self.orders.fd,
            requests_fd=requests_fd,
            alive_fd=self._alive_fd,
        )
