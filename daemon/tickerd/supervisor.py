"""Decides when workers run: starts them, stops them within one deadline, reloads, answers signals.

It makes no records. Signals are queued by their handlers and acted on in the loop, which also tells the
service manager how things stand. The processes are crew.py's.
"""

import asyncio
import faulthandler
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable

from tickerd import reload
from tickerd.config import SettingsError
from tickerd.crew import Crew, universe_of
from tickerd.host.notify import Notifier
from tickerd.market.catalogue import UniverseError
from tickerd.observe import logs
from tickerd.observe.causes import Causes
from tickerd.observe.counters import Counts, Slab
from tickerd.observe.embedded import EmbeddedMetrics
from tickerd.observe.rates import Rate
from tickerd.runs import Run
from tickerd.settings import Settings
from tickerd.slot import Slot
from tickerd.spec import EXIT_OWED
from tickerd.state import StateDirectory, StateError
from tickerd.store.store import Store

CHECK_S = 0.25
QUICK_S = 2.0
EXTEND_S = 10.0  # how much more time a drain asks the service manager for, again and again

log = logging.getLogger(__name__)


class Supervisor:
    """The daemon. `run` returns its exit code; `drain` and `undrain` are for who controls it.

    `reread` reads the settings again for a reload; `notifier` is the line to the service manager;
    `instance_id` is EC2's name of this host, where it has one; `store` is the database.
    """

    def __init__(
        self,
        settings: Settings,
        state: StateDirectory,
        *,
        records: int | None,
        seconds: float | None,
        reread: Callable[[], Settings] | None = None,
        notifier: Notifier | None = None,
        instance_id: str = "",
        store: Store | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.holds: dict[str, str] = {}  # who wants nothing to be generated, and why
        self.doubts: dict[str, str] = {}  # why this host is not ready though it goes on
        self.ready_since_s: float | None = None
        self.address = ""  # of the web side, once it listens
        self.generated_rate = Rate()
        self.acked_rate = Rate()
        self._causes = Causes()
        self.reloads: Counter[str] = Counter()
        self.refreshers: list[Callable[[], None]] = []  # what a reload reads again beside the settings
        self.notifier = notifier or Notifier()
        self.embedded = EmbeddedMetrics()
        self._reread = reread if records is None else None
        self._warned = False
        self._seconds = float("inf") if seconds is None else seconds
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._woken = asyncio.Event()
        self._exiting = False
        self._told_ready = False
        self._stop_deadline_s = float("inf")
        self.crew = Crew(settings, state, records, self._woken.set, instance_id)

    @property
    def workers(self) -> int:
        """How many workers there are to be."""
        return self.crew.workers

    @property
    def slots(self) -> list[Slot]:
        """The workers' slots, those included that a reload has emptied."""
        return self.crew.slots

    @property
    def slab(self) -> Slab:
        """Where the workers publish their reports."""
        return self.crew.slab

    @property
    def current_run(self) -> Run:
        """The run that the sources are named by."""
        return self.crew.run

    def total(self) -> Counts:
        """What all workers have counted."""
        return self.crew.total()

    @property
    def draining(self) -> bool:
        """Whether nothing is to be generated."""
        return self._exiting or bool(self.holds)

    @property
    def ready(self) -> bool:
        """At least half of the workers beat, all have once, none is asked to stop, and nobody has doubts."""
        beating = sum(slot.beats for slot in self.slots)
        up = self.ready_since_s is not None and beating * 2 >= self.workers
        return up and not self.draining and not self.doubts

    def drain(self, who: str, why: str) -> None:
        """Generate nothing until `undrain` and deliver what has begun; the process stays."""
        if who not in self.holds:
            log.info("draining", extra={"who": who, "why": why})
        if not self.draining:
            self._stop_workers(signal.SIGTERM, self.settings.source.drain_max_s + QUICK_S)
        self.holds[who] = why

    def undrain(self, who: str) -> None:
        """Go on, unless somebody else holds it."""
        if self.holds.pop(who, None) is not None:
            log.info("no longer drained", extra={"who": who, "still_held_by": sorted(self.holds)})

    def stop(self, reason: str, *, quick: bool = False) -> None:
        """Drain and end; asked again, or `quick`: at once."""
        quick, self._exiting = quick or self._exiting, True
        log.info("stopping %s(%s)", "at once " if quick else "", reason)
        self.notifier.stopping()
        patience_s = QUICK_S if quick else self.settings.source.drain_max_s + QUICK_S
        self._stop_workers(signal.SIGQUIT if quick else signal.SIGTERM, patience_s)

    def _stop_workers(self, number: signal.Signals, patience_s: float) -> None:
        self._stop_deadline_s = time.monotonic() + patience_s
        self.crew.stop(number)

    async def run(self) -> int:
        """Run until told to stop, or until there is no more to do."""
        self._handle_signals()
        while not self._ended():
            self.crew.start_due(held=self.draining)
            await self._wait(CHECK_S)
            # First the signals: whoever stops the whole group stops the workers too, which have not died.
            await self._act_on_signals()
            self.crew.check(held=self.draining)
            self._watch()
            self._tell()
        total = self.total()
        owed = self.current_run.close(sum(total.records_generated), sum(total.records_acked))
        if self.crew.failed:
            return 1
        return EXIT_OWED if owed else 0

    def _ended(self) -> bool:
        stuck = self.crew.idle and self.crew.stuck
        return stuck or (self.crew.idle and self._exiting)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        faulthandler.enable()

        def queue(number: signal.Signals) -> Callable[[], None]:
            def handler() -> None:
                self._signals.put_nowait(number)
                self._woken.set()

            return handler

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
            loop.add_signal_handler(number, queue(number))

    async def _wait(self, seconds: float) -> None:
        """Until a signal comes or a worker may have died; for the interval of the checks at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def _act_on_signals(self) -> None:
        wanted = False
        while not self._signals.empty():
            number = self._signals.get_nowait()
            match number:
                case signal.SIGTERM | signal.SIGINT:
                    self.stop(number.name)
                case signal.SIGQUIT:
                    self.stop(number.name, quick=True)
                case signal.SIGUSR1:
                    faulthandler.dump_traceback(all_threads=True)
                    for slot in self.slots:
                        slot.send(number)
                case _:
                    wanted = True  # several in a row are one
        if wanted and not self._exiting:
            self.notifier.reloading()
            await self.reload()
            if self._told_ready:
                self.notifier.ready()

    async def reload(self) -> None:
        """Read the settings again: all of them are right, or none is taken."""
        try:
            if self._reread is None:
                raise SettingsError(["not read again with --records"])  # noqa: TRY301 - one way out
            settings = await asyncio.to_thread(self._reread)
            if self.store is not None:
                settings = await self.store.catalogued(settings)
            found = reload.changes(self.settings, settings)
            universe = self.crew.universe
            if found.together:
                universe = await asyncio.to_thread(universe_of, found.settings)
            for refresh in self.refreshers:
                refresh()
            self.current_run.replan(found.settings)
        except (SettingsError, StateError, UniverseError, OSError) as error:
            for problem in str(error).splitlines():
                log.error("the settings stay as they were: %s", problem)
            self.reloads["failed"] += 1
            return
        self.settings = found.settings
        logs.start(found.settings.log.level, found.settings.log.format, "tickerd")
        self.crew.reload(found, universe)
        self.reloads["applied"] += 1
        reload.tell(found)

    def _watch(self) -> None:
        """What time brings: readiness, the end of `--seconds`, the end of patience."""
        now_s = time.monotonic()
        total = self.total()
        self.generated_rate.add(sum(total.records_generated))
        self.acked_rate.add(sum(total.records_acked))
        self._warn_above_ceiling()
        self._causes.look(slot.report for slot in self.slots)
        if self.settings.log.embedded_metrics:
            self.embedded.tell(self.slots, self.settings.destination_name, ready=self.ready)
        if self.crew.failed and not self._exiting:
            self.stop("a worker could not start")
        if self.crew.unread and not self._exiting:
            self.stop("nobody reads standard output any more")
        beaten = all(slot.report.beat_s for slot in self.slots[: self.workers])
        if self.ready_since_s is None and beaten and not self._exiting:
            self.ready_since_s = now_s
            log.info("ready", extra={"workers": self.workers, "run": self.current_run.identity.run})
        elif not self._exiting and now_s >= (self.ready_since_s or now_s) + self._seconds:
            self.stop("--seconds")
        if self.crew.idle or not self.draining:
            self._stop_deadline_s = float("inf")
        elif now_s > self._stop_deadline_s:
            for slot in self.slots:
                slot.send(signal.SIGKILL)

    def _tell(self) -> None:
        """Let the service manager know that the loop turns, and how things stand."""
        manager = self.notifier
        manager.alive()
        if not self._told_ready and (self.ready_since_s is not None or (self.holds and self.crew.idle)):
            self._told_ready = True
            manager.ready()
            if self.store is not None:  # only now: until here the workers need the cores more
                self.store.follow(lambda: (self.current_run.recipe, self.crew.universe))
        if self._exiting:
            manager.extend(EXTEND_S)  # the deadline above bounds how often
        owed = sum(slot.report.owed for slot in self.slots)
        lag_s = max((slot.report.lag_s for slot in self.slots), default=0.0)
        if self.draining:
            left_s = max(0.0, self._stop_deadline_s - time.monotonic())
            held = f"held by {', '.join(self.holds)}" if self.holds and not self._exiting else ""
            manager.status(
                held if self.crew.idle else f"draining, {left_s:.0f} s left, {owed:,} records owed"
            )
        elif self.ready_since_s is None:
            manager.status("starting")
        else:
            beating = sum(slot.beats for slot in self.slots)
            rate = self.acked_rate.per_second()
            manager.status(
                f"{beating} of {self.workers} workers, {rate:,.0f} records/s acknowledged, lag {lag_s:.1f} s"
            )

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
