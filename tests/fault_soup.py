"""The fault soup: a daemon under load and everything that can go wrong at once, then what `verify` finds.

Everything goes through the front door: `tickerd local`, `tickerd run`, control calls by botocore, signals,
`tickerd verify`. What happens when is settled by the seed; nothing here judges the result.
"""

import contextlib
import itertools
import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from daemon import Host, Json, Stream

MODES: dict[str, dict[str, object]] = {
    "none": {},
    "kpl-key": {"kinesis__aggregation": "kpl", "kinesis__order": "key"},
    "lines": {"kinesis__aggregation": "lines"},
    "even": {"kinesis__partition_key": "even"},
}
FAULTS = {"throttled": 0.1, "error": 0.05, "lost_ack": 0.02}
KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}  # any will do
RESHARD_S, KILL_S, OUTAGE_S = 5, 20, 10
SHARDS, SHARDS_ADDED_MAX = 8, 8
# With limits. Of "none" so many that hardly two busy instruments meet in one; of the others as many as carry
# 12,000 records/s: the endpoint still holds all of them when, half an hour later, it all has caught up.
SHARDS_WITH_LIMITS = {"none": 128, "even": 16, "kpl-key": 3, "lines": 3}
CEILING_SHARE = 0.8
POLL_S = 0.1
CAUGHT_UP_LAG_S = 2.0


def assignments(mode: str) -> list[str]:
    """The mode for `--set`."""
    return [f"{name.replace('__', '.')}={value}" for name, value in MODES[mode].items()]


@dataclass(frozen=True)
class Soup:
    """What to cook. With `limits` the rate is 80 % of the ceiling by `check` or `/status`."""

    mode: str
    seconds: int = 600
    records_per_second: float = 30_000
    limits: bool = False
    outages: int = 3
    seed: int = 0
    request: str = "json"
    catch_up_max_s: float = 1800.0  # 0: it is stopped when the faults end, and delivers what it owes

    @property
    def drain_max_s(self) -> int:
        """How long stopping may take. With limits records wait for a full shard."""
        return 1800 if self.limits else 60

    def events(self) -> list[tuple[float, str]]:
        """What happens after how many seconds, in order."""
        events = [(float(at), "reshard") for at in range(RESHARD_S, self.seconds, RESHARD_S)]
        events += [(float(at), "kill") for at in range(KILL_S, self.seconds, KILL_S)]
        for number in range(self.outages):
            begins = self.seconds * (number + 1) / (self.outages + 1)
            events += [(begins, "outage"), (begins + OUTAGE_S, "no outage")]
        return sorted(events)


class Kitchen:
    """One soup on one host."""

    def __init__(self, host: Host, soup: Soup) -> None:
        self.host = host
        self.soup = soup
        self.random = random.Random(soup.seed)
        shards, rate = self._size()
        limits = [] if soup.limits else ["--no-shard-limits"]
        self.local = host.local("--retention-mb", "8192", "--shards", str(shards), *limits)
        self.stream = Stream(self.local, "market-log")
        self.settings = self.stream.settings | {
            "kinesis__shard_limits": soup.limits,
            "rate__records_per_second": rate,
            "kinesis__request": soup.request,
            "source__drain_max_s": soup.drain_max_s,
            **MODES[soup.mode],
        }
        self.figures: dict[str, Any] = {"shards": shards, "records_per_second": rate}
        self.counts = dict.fromkeys(("kills", "restarts", "reshards", "reshards_failed", "looks"), 0)
        self.control = botocore.session.get_session().create_client(
            "kinesis",
            "us-east-1",
            endpoint_url=self.local.url,
            config=Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1}),
            **KEYS,
        )
        self.ranges = [low for low, _ in self._open_shards()]  # where the first shards begin
        if soup.limits and self._is_aggregated:
            self._go_by_status()

    def cook(self) -> Json:
        """Run it all: load with faults, none, catching up, a clean end, `verify`."""
        self.daemon = self.host.run(**self.settings)
        self.daemon.until_acked()
        self.local.faults(**FAULTS)
        began_s, before = time.monotonic(), self.local.stats()
        actions: dict[str, Callable[[], None]] = {
            "reshard": self._reshard,
            "kill": self._kill,
            "outage": lambda: self.local.faults(outage=True),
            "no outage": lambda: self.local.faults(outage=False),
        }
        for at_s, what in self.soup.events():
            self._watch(began_s + at_s - time.monotonic())
            actions[what]()
        self._watch(began_s + self.soup.seconds - time.monotonic())
        lasted_s, after = time.monotonic() - began_s, self.local.stats()
        self.local.no_faults()
        self._calls(before, after, lasted_s / 60)
        if self.soup.catch_up_max_s:
            self._catch_up()
        self._drain()
        self.control.close()
        return self.figures | self.counts | self._verified()

    @property
    def _is_aggregated(self) -> bool:
        return "kinesis__aggregation" in MODES[self.soup.mode]

    def _go_by_status(self) -> None:
        """Set the rate by the ceiling of this map of shards, which a daemon that runs for a moment tells."""
        daemon = self.host.run(**self.settings)
        status = daemon.until_acked()
        assert daemon.stop() == 0
        rate = round(CEILING_SHARE * status["stream"]["ceiling_records_per_second"])
        self.settings["rate__records_per_second"] = self.figures["records_per_second"] = rate

    def _size(self) -> tuple[int, float]:
        soup = self.soup
        if not soup.limits:
            return SHARDS, soup.records_per_second
        if self._is_aggregated:
            return SHARDS_WITH_LIMITS[soup.mode], 1000.0  # until the ceiling is known
        sets = [part for each in assignments(soup.mode) for part in ("--set", each)]
        said = self.host.tickerd("check", *sets).stdout
        (ceiling,) = re.findall(r"([\d,]+) records/s", said)[:1]
        takes = CEILING_SHARE * float(ceiling.replace(",", ""))
        shards = SHARDS_WITH_LIMITS[soup.mode]
        return shards, round(takes * shards if soup.mode == "even" else takes)

    def _watch(self, seconds: float) -> None:
        """Let time pass, and start a supervisor that has ended again, as systemd does."""
        deadline = time.monotonic() + seconds
        while True:
            if self.daemon.popen.poll() is not None:
                self.counts["restarts"] += 1
                self.daemon = self.host.run(**self.settings)
            if (left_s := deadline - time.monotonic()) <= 0:
                return
            time.sleep(min(POLL_S, left_s))

    def _kill(self) -> None:
        """`kill -9` of one process of the daemon, whichever it is."""
        victims = sorted({self.daemon.pid, *self.host.pids("tickerd.worker")})
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.random.choice(victims), signal.SIGKILL)
            self.counts["kills"] += 1

    def _reshard(self) -> None:
        """Split a shard in its middle, or merge two; an outage or another fault may be in the way."""
        try:
            shards = self._open_shards()
            added = len(shards) - len(self.ranges)
            pairs = [(a, b) for (low, a), (high, b) in itertools.pairwise(shards) if self._may_merge(high)]
            if pairs and added > 0 and (added >= SHARDS_ADDED_MAX or self.random.random() < 0.5):
                low_id, high_id = self.random.choice(pairs)
                self.control.merge_shards(
                    StreamName=self.stream.name, ShardToMerge=low_id, AdjacentShardToMerge=high_id
                )
            else:
                place = self.random.randrange(len(shards))
                ends = [low for low, _ in shards[1:]] + [2**128]
                middle = (shards[place][0] + ends[place]) // 2
                self.control.split_shard(
                    StreamName=self.stream.name,
                    ShardToSplit=shards[place][1],
                    NewStartingHashKey=str(middle),
                )
            self.counts["reshards"] += 1
        except (BotoCoreError, ClientError):
            self.counts["reshards_failed"] += 1

    def _may_merge(self, high: int) -> bool:
        """With limits only what was split: other pairs may hold more than one shard takes."""
        return not self.soup.limits or high not in self.ranges

    def _open_shards(self) -> list[tuple[int, str]]:
        """(first hash key, shard) of every open shard, in the order of the keys."""
        answer = self.control.list_shards(StreamName=self.stream.name, ShardFilter={"Type": "AT_LATEST"})
        self.counts["looks"] += 1  # the endpoint counts none that an outage cuts
        return sorted(
            (int(shard["HashKeyRange"]["StartingHashKey"]), shard["ShardId"]) for shard in answer["Shards"]
        )

    def _calls(self, before: Json, after: Json, minutes: float) -> None:
        """What the endpoint counted while the faults were on; the soup's own looks are taken off."""

        def a_minute(operation: str, ours: int = 0) -> float:
            calls = after["operations"].get(operation, 0) - before["operations"].get(operation, 0)
            return round(float(calls - ours) / minutes, 1)

        looks = self.counts.pop("looks") - 1  # the first was before the faults
        throttled, entries = (after[name] - before[name] for name in ("throttled", "entries"))
        self.figures |= {
            "list_shards_per_minute": a_minute("ListShards", looks),
            "describes_per_minute": a_minute("DescribeStreamSummary"),
            "put_records_per_minute": a_minute("PutRecords"),
            "throttled_share": round(throttled / max(1, entries), 4),
        }

    def _catch_up(self) -> None:
        """Wait until the lag is gone; the figures tell it when it does not go."""
        began_s = time.monotonic()
        status: Json = {}
        while time.monotonic() - began_s < self.soup.catch_up_max_s:
            self._watch(1.0)
            self.daemon.until_ready()
            status = self.daemon.status()
            acked = any(worker["acked"] for worker in status["workers"])
            if acked and not status["errors"] and status["lag_seconds"] < CAUGHT_UP_LAG_S:
                break
        skipped = self.daemon.counter("tickerd_frames_skipped_total")
        self.figures |= {
            "caught_up_after_s": round(time.monotonic() - began_s, 1),
            "lag_seconds": status.get("lag_seconds"),
            "frames_skipped": skipped,
        }

    def _drain(self) -> None:
        """Stop it: no new frames, and all that is owed delivered."""
        began_s = time.monotonic()
        self.daemon.send(signal.SIGTERM)
        self.figures["exit_code"] = self.daemon.wait(self.soup.drain_max_s + 60)
        self.figures["drained_after_s"] = round(time.monotonic() - began_s, 1)

    def _verified(self) -> Json:
        dropped = self.local.stats()["dropped_records"]
        began_s = time.monotonic()
        report = self.host.verify(self.stream)
        said = "".join(file.read_text() for file in self.host.directory.glob("daemon-*.log"))
        return {
            **report["totals"],
            "sources": len(report["sources"]),
            "verify_code": report["code"],
            "verify_s": round(time.monotonic() - began_s, 1),
            "dropped_records": dropped,
            "tracebacks": said.count("Traceback"),
        }
