"""What the supervisor tells a worker at its start, and what a worker's exit code tells the supervisor."""

import signal

import msgspec

from tickerd.checkpoint import Recipe
from tickerd.schedule import RatePlan
from tickerd.settings import Settings

EXIT_OWED = 75  # drained as far as possible; the rest stays owed
EXIT_BUG = 70  # an exception
EXIT_NEW_RUN = 76  # the clock was set back too far for this run
EXIT_FINISHED = 77  # by itself: all that `--records` asks for is acknowledged
EXIT_UNREAD = 79  # nobody reads standard output any more

# The supervisor's to answer, though a terminal, or `systemctl kill`, sends them to the whole group.
IGNORED_SIGNALS = frozenset({signal.SIGINT, signal.SIGHUP})

# Blocked by the supervisor around a worker's start, and let through once there are handlers: none is lost,
# and none kills a worker that is still starting.
HELD_SIGNALS = IGNORED_SIGNALS | {signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1}


class WorkerSpec(msgspec.Struct, frozen=True):
    """All that a worker is told at its start. The numbers of file descriptors are inherited ones."""

    worker: int
    workers: int
    settings: Settings
    state: str
    source: str
    retired: list[str]  # sources whose owed frames this worker finishes first
    recipe: Recipe
    digest: str
    plan: RatePlan
    first_frame: int  # where a source begins that has no checkpoint yet
    counted_below: int  # frames below are in the counters already
    records_max: int | None
    ends_at_seq: int | None  # what records_max came to in an earlier process of this slot
    supervisor_pid: int
    slab_fd: int
    orders_fd: int
    requests_fd: int | None  # of worker 0: where snapshots are asked for (on_demand.py)
    alive_fd: int  # the supervisor holds the other end: its end of file is the supervisor's
