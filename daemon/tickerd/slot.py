"""One worker's place in the supervisor: its process, why it died, when the next starts, what they counted."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import msgspec

from tickerd.observe.counters import NO_FRAME, Counts, Report, Slab
from tickerd.spec import (
    EXIT_BUG,
    EXIT_FINISHED,
    EXIT_NEW_RUN,
    EXIT_OWED,
    EXIT_UNREAD,
    HELD_SIGNALS,
    WorkerSpec,
)

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 30.0
BACKOFF_KILLED_MAX_S = 2.0  # whoever sends SIGKILL means this process, not the next
HEALTHY_S = 60.0  # a worker that lived so long begins with the first backoff again
HUNG_S, START_MAX_S = 10.0, 60.0
HUNG_STEP_S = 2.0  # between the stack dump, TERM and KILL
DEATHS_PER_FRAME_MAX = 3
CRASHES_MAX = 10  # in a row, within about a minute: it will not get better here
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL}

log = logging.getLogger(__name__)


class Slot:
    """A worker's slot. The supervisor calls `check` a few times a second."""

    def __init__(self, worker: int, slab: Slab) -> None:
        self.worker = worker
        self.process: subprocess.Popen[bytes] | None = None
        self.report = Report()
        self.restarts: Counter[str] = Counter()
        self.poison_frame: int | None = None
        self.finished = False  # ended by itself with nothing more to do
        self.exit_code: int | None = None  # of the last process, 0 or 75 when it ended well
        self.counted_below = 0
        self.ends_at_seq: int | None = None
        self._slab = slab
        self._ended = Counts()  # what earlier processes of this slot counted
        self._deaths_at: tuple[int, int] = (NO_FRAME, 0)
        self._deaths = 0  # in a row
        self._crashes = 0  # in a row: deaths that nobody asked for
        self._start_due_s = 0.0
        self.started_s = 0.0
        self._hung_steps = 0
        self._looked_s = self._excused_s = 0.0
        self.asked = False  # to end, or to begin anew

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None

    @property
    def beats(self) -> bool:
        """Whether its process is up and its event loop turns."""
        return self.alive and self.report.beat_s > 0 and time.monotonic() - self.report.beat_s < HUNG_S

    @property
    def start_due(self) -> bool:
        """Whether a process may be started now."""
        idle = not self.alive and not self.finished and self.poison_frame is None
        return idle and time.monotonic() >= self._start_due_s

    @property
    def broken(self) -> bool:
        """Whether it crashes again and again. It is tried on, but when all are, the daemon ends."""
        return self._crashes >= CRASHES_MAX

    def counts(self) -> Counts:
        """What all processes of this slot have counted so far."""
        total = msgspec.msgpack.decode(msgspec.msgpack.encode(self._ended), type=Counts)
        total.add(self.report.counts)
        return total

    def start(self, spec: WorkerSpec, *held_fds: int) -> None:
        """Start a process, its signals blocked until it has handlers for them."""
        spec_fd = os.memfd_create("tickerd-worker-spec")
        os.write(spec_fd, msgspec.json.encode(spec))
        os.lseek(spec_fd, 0, os.SEEK_SET)
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", "tickerd.worker", str(spec_fd)],
                stdin=subprocess.DEVNULL,
                # Held is the lock's descriptor: the directory is in use for as long as a worker lives.
                pass_fds=(spec_fd, spec.slab_fd, spec.orders_fd, spec.alive_fd, *held_fds),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
            os.close(spec_fd)
        self.report = Report(source=spec.source)
        self.exit_code = None
        self.started_s = time.monotonic()
        self._hung_steps = 0
        self.asked = False

    def use(self, slab: Slab) -> None:
        """From the next process on its reports are in another slab."""
        self._slab = slab

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask its process to end; the next one may start as soon as it has."""
        self.asked = self.alive
        self.send(number)

    def send(self, number: signal.Signals) -> None:
        """Send its process a signal, if there is one."""
        if self.process is not None:
            self.process.send_signal(number)

    def check(self, *, stopping: bool) -> int | None:
        """Read its report, see whether it hangs; its exit code when it has just died."""
        if self.process is None:
            return None
        code = self.process.poll()
        report = self._slab.read(self.worker)
        if report is not None:
            self.report = report
        if code is None:
            self._end_if_hung()
            return None
        self._died(code, stopping=stopping)
        return code

    def _died(self, code: int, *, stopping: bool) -> None:
        """Keep what it counted, and settle when, and whether, the next process starts."""
        frame = self._slab.made(self.worker)
        self.process = None
        self.exit_code = code
        self.counted_below = max(self.counted_below, self.report.counted_below)
        self.ends_at_seq = (
            self.report.ends_at_seq if self.report.ends_at_seq is not None else self.ends_at_seq
        )
        self._ended.add(self.report.counts)
        self.report = Report(source=self.report.source, state="stopped", owed=self.report.owed)
        self._slab.clear(self.worker)
        if stopping or self.asked or code in {EXIT_NEW_RUN, EXIT_FINISHED, EXIT_UNREAD}:
            return
        reason = self._reason(code)
        log.warning("worker %d died (%s)", self.worker, reason, extra={"exit_code": code})
        self.restarts[reason] += 1
        if time.monotonic() - self.started_s > HEALTHY_S:
            self._deaths = self._crashes = 0
        self._deaths += 1
        self._crashes += reason in {"exception", "signal", "hung"}
        limit_s = BACKOFF_KILLED_MAX_S if code == -signal.SIGKILL else BACKOFF_MAX_S
        backoff_s = min(BACKOFF_FIRST_S * 2 ** (self._deaths - 1), limit_s) * random.uniform(0.5, 1)
        self._start_due_s = time.monotonic() + backoff_s
        if frame != NO_FRAME and (code == EXIT_BUG or -code in CRASHES):
            self._deaths_at = (frame, self._deaths_at[1] + 1 if self._deaths_at[0] == frame else 1)
            if self._deaths_at[1] >= DEATHS_PER_FRAME_MAX:
                self.poison_frame = frame
                log.error(
                    "worker %d is stopped: it died %d times while making frame %d", self.worker, 3, frame
                )

    def _reason(self, code: int) -> str:
        """A label of `worker_restarts_total`, from a closed set."""
        match code:
            case _ if self._hung_steps:
                return "hung"
            case _ if code in {0, EXIT_OWED}:
                return "terminated"
            case _ if code == -signal.SIGKILL:
                return "killed"
            case _ if code < 0:
                return "signal"
        return "exception"

    def _end_if_hung(self) -> None:
        """Stack dump, then TERM, then KILL, when its event loop has not turned for too long."""
        now_s = time.monotonic()
        if now_s - self._looked_s > HUNG_STEP_S:
            self._excused_s = now_s  # it was held up itself, and the whole host may have been
        self._looked_s = now_s
        heard_s = max(self.report.beat_s or self.started_s + START_MAX_S - HUNG_S, self._excused_s)
        step = int((now_s - heard_s - HUNG_S) / HUNG_STEP_S) + 1 if now_s - heard_s > HUNG_S else 0
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL)[self._hung_steps : step]:
            log.error("worker %d hangs: %s", self.worker, number.name)
            self.send(number)
        self._hung_steps = step
