"""One worker process: start up, run, drain. Started by the supervisor with a `WorkerSpec`, never by hand.

It ends by itself on SIGTERM and when its supervisor disappears. An exception kills it; the supervisor starts
it again from its checkpoint.
"""

import asyncio
import contextlib
import ctypes
import faulthandler
import functools
import gc
import logging
import os
import resource
import signal
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from tickerd import checkpoint
from tickerd.clock import ClockSteppedBackError
from tickerd.destination import Destination, NoReaderError, destination_of, load_room
from tickerd.encoding import rows_encoder
from tickerd.gate import Gate
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.observe import logs
from tickerd.observe.counters import Report, Slab
from tickerd.on_demand import NotSentError, Sent, answer_requests
from tickerd.orders import Orders
from tickerd.pipeline import Pipeline
from tickerd.recipe import market_of
from tickerd.schedule import due_at_ns
from tickerd.snapshot_now import send_snapshot
from tickerd.source import Source
from tickerd.sources import Sources
from tickerd.spec import (
    EXIT_BUG,
    EXIT_FINISHED,
    EXIT_NEW_RUN,
    EXIT_OWED,
    EXIT_UNREAD,
    HELD_SIGNALS,
    IGNORED_SIGNALS,
    WorkerSpec,
)

PUBLISH_S = 0.25
COLLECT_S = 60.0
ORPHAN_DRAIN_S = 8.0  # shorter than a new supervisor waits for the lock
BEAT_FRESH_S = 5.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = logging.getLogger("tickerd.worker")  # this module runs as __main__


class Worker:
    """The worker while it runs."""

    def __init__(self, spec: WorkerSpec) -> None:
        load_room(spec.settings)
        self.spec = spec
        self.report = Report(source=spec.source, counted_below=spec.counted_below)
        self.slab = Slab(spec.slab_fd, spec.workers)
        self.orders = Orders(spec.orders_fd)
        self.gate = Gate(self.report, self._may_probe)
        self.sources = Sources(spec, self.report, self._publish)
        self._source: Source | None = None
        self._snapshotted: tuple[Market, Destination] | None = None  # once the own source is carried
        self._unread = False  # nobody reads standard output any more
        self._stopping = asyncio.Event()
        self._drain_max_s = float(spec.settings.source.drain_max_s)

    async def run(self) -> int:
        """Start up, run, drain; the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGQUIT, self._stop_at_once)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
        loop.add_reader(self.spec.alive_fd, self._orphaned)
        self._publish()  # up: the supervisor waits for it
        answering = None
        if self.spec.requests_fd is not None:
            answering = asyncio.create_task(answer_requests(self.spec.requests_fd, self._send_snapshot))
        ticks = asyncio.create_task(self._tick(answering))
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({ticks, work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if ticks.done():
                ticks.result()  # which raises: it never ends by itself
            await self._drained(work)
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            stop.cancel()
            ticks.cancel()
            if answering is not None:
                answering.cancel()
        self._publish("stopped")
        if self._unread:
            return EXIT_UNREAD
        if self.sources.owe():
            return EXIT_OWED
        return 0 if self._stopping.is_set() else EXIT_FINISHED

    def stop(self) -> None:
        """Begin no more frames, and drain. Being asked again changes nothing.

        TERM comes from the supervisor, from whoever signals the whole group (as systemd does), and with the
        supervisor's death: often from two of them.
        """
        self._stopping.set()
        self.report.state = "draining"
        if self._source is not None:
            self._source.stop()

    def _stop_at_once(self) -> None:
        self._drain_max_s = 0.0
        self.stop()

    def _orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(self.spec.alive_fd)
        log.warning("the supervisor is gone: draining")
        self._drain_max_s = min(self._drain_max_s, ORPHAN_DRAIN_S)
        self.stop()

    async def _drained(self, work: asyncio.Task[None]) -> None:
        """Give the work its time to end; less when it is plain that the rest will not be taken."""
        if self._source is None and not self.sources.owe():
            return  # nothing has begun, so there is nothing to wait for
        refusals = self.gate.refusals
        began = time.monotonic()
        if (
            self._drain_max_s > 0
        ):  # else the work is cancelled now, and would miss that in waking from its wait
            self.gate.hurry()
        while not work.done() and time.monotonic() - began < self._drain_max_s:
            await asyncio.wait({work}, timeout=0.1)
            cause = self.gate.cause
            if cause is not None and cause.permanent and self.gate.refusals > refusals:
                break

    async def _work(self) -> None:
        """Carry the retired sources' owed frames, then the own ones; when it is to stop, what is owed."""
        spec = self.spec
        universe = Universe.load(spec.settings.market.universe)
        self.sources.use(universe)
        destination = destination_of(
            spec.settings,
            Path(spec.state),
            universe.instruments,
            universe.shares(spec.settings.rate.mix.weights),
            spec.workers,
            self.gate,
            self.report,
        )
        try:
            if not self._stopping.is_set():
                self.report.state = "waiting"
            await destination.open()
            gc.collect()
            gc.freeze()  # what exists now stays; a collection looks only at what came later
            gc.disable()
            for name in self.sources.names:
                source = self.sources.open(name)
                if source is not None and (source.owes or not self._stopping.is_set()):
                    market = market_of(source.recipe, universe)
                    self._snapshotted = (market, destination) if name == spec.source else None
                    await self._carry(source, market, destination)
        finally:
            await destination.close()

    async def _carry(self, source: Source, market: Market, destination: Destination) -> None:
        """Run one source to its end, or until cancelled; its last checkpoint then says what it owes."""
        self._source = source
        if self._stopping.is_set():
            source.stop()
        else:
            self.report.state = "running"
        delivery = destination.deliver(source.name, source.progress, self.report)
        encode = rows_encoder(source.recipe.format)
        making = functools.partial(self.slab.making, self.spec.worker)
        ended = asyncio.Event()
        saving = asyncio.create_task(source.save_each_second(ended))
        try:
            await Pipeline(source, market, encode, delivery, making).run()
        except asyncio.CancelledError:
            log.debug("stopped before all was acknowledged")
        except NoReaderError:
            self._unread = True
            self.stop()
        finally:
            await delivery.abandon()
            ended.set()
            await saving
        await source.finish()

    async def _send_snapshot(self, source: str) -> Sent:
        """Have a snapshot of now sent as that source."""
        if self._snapshotted is None or self._source is None or self._stopping.is_set():
            raise NotSentError("worker 0 is not sending; see /status")
        ms = self._source.clock.now_ns() // 1_000_000
        market, destination = self._snapshotted
        return await send_snapshot(source, ms, self.spec.recipe, market, destination, self.gate)

    async def _tick(self, answering: asyncio.Task[None] | None) -> None:
        """Publish the report, which is the heartbeat, and measure how late the event loop is for it."""
        due = collected = time.monotonic()
        while True:
            due += PUBLISH_S
            await asyncio.sleep(due - time.monotonic())
            late = time.monotonic() - due
            self.report.counts.event_loop_lag_s.observe(max(0.0, late))
            if late > PUBLISH_S:
                due += late
            self._obey()
            self._publish()
            if answering is not None and answering.done():
                answering.result()  # which raises when it has failed
            if due - collected > COLLECT_S:
                gc.collect()
                collected = due

    def _obey(self) -> None:
        """Take up what the supervisor asks for: frames not reserved yet get the new rates."""
        order = self.orders.new()
        if order is not None:
            self.sources.replan(order.plan, order.mix)
            logs.start(order.log_level, order.log_format, f"worker {self.spec.worker}")

    def _publish(self, state: str = "") -> None:
        report = self.report
        report.state = state or report.state
        report.beat_s = time.monotonic()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        report.counts.cpu_s = usage.ru_utime + usage.ru_stime
        report.resident_bytes = int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
        if self._source is not None:
            progress = self._source.progress
            report.owed = progress.owed
            waited_ns = time.time_ns() - due_at_ns(progress.lowest_unacknowledged)
            report.lag_s = max(0.0, waited_ns / 1e9)
        self.slab.publish(self.spec.worker, report)

    def _may_probe(self) -> bool:
        """Whether no worker of a lower number is held up as well: that one probes for the host."""
        for worker in range(self.spec.worker):
            other = self.slab.read(worker)
            if other and other.problems and time.monotonic() - other.beat_s < BEAT_FRESH_S:
                return False
        return True


def main() -> int:
    """The process's outermost function: `python -m tickerd.worker SPEC_FD`."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    with open(int(sys.argv[1]), "rb") as file:  # noqa: PTH123 - an inherited descriptor, not a path
        spec = msgspec.json.decode(file.read(), type=WorkerSpec)
    # The signal comes with the death of the supervisor's main thread; the pipe tells it too.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != spec.supervisor_pid:
        return 0
    logs.start(spec.settings.log.level, spec.settings.log.format, f"worker {spec.worker}")
    try:
        return uvloop.run(Worker(spec).run())
    except ClockSteppedBackError as error:
        log.warning("%s: a new run begins", error)
        return EXIT_NEW_RUN
    except checkpoint.CheckpointError as error:
        log.error("%s", error)
        return 1
    except Exception:  # the one place that catches all: the supervisor starts the worker again
        log.exception("the worker dies of an error in tickerd")
        return EXIT_BUG


if __name__ == "__main__":
    sys.exit(main())
