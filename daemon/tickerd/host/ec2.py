"""An EC2 instance's life: notices of its end, warm pools, its share of a fleet's rate.

Polled by the supervisor alone, which drains and idles accordingly; the group hears when the drain is done.
"""

import asyncio
import logging
import random
import time
from contextlib import AsyncExitStack

import msgspec

from tickerd.host.group import Group, GroupError
from tickerd.host.imds import Metadata, MetadataError
from tickerd.supervisor import Supervisor

POLL_S = 2.0
HEARTBEAT_S = 30.0  # a fraction of the hook's time-out
CAPACITY_S = 30.0
FIRST_POLL_MAX_S = 5.0
TAG = "tags/instance/aws:autoscaling:groupName"

# Who holds it, in `Supervisor.holds`.
SPOT, ENDING, WARM = "spot", "autoscaling", "warm pool"
REBALANCE = "rebalance"  # in `Supervisor.doubts`

log = logging.getLogger(__name__)


async def follow(supervisor: Supervisor, metadata: Metadata, instance_id: str, stack: AsyncExitStack) -> None:
    """Look once before anything is generated, and then until the stack is closed."""
    instance = Instance(supervisor, metadata, instance_id)
    await instance.begin()
    following = asyncio.create_task(instance.run())

    async def end() -> None:
        following.cancel()
        await asyncio.wait({following})

    stack.push_async_callback(end)


class Notice(msgspec.Struct):
    """`spot/instance-action`."""

    action: str
    time: str


class Instance:
    """This instance. `run` polls until it is cancelled."""

    def __init__(self, supervisor: Supervisor, metadata: Metadata, instance_id: str) -> None:
        self._supervisor = supervisor
        self._metadata = metadata
        self._id = instance_id
        self._group: Group | None = None
        self._served = False  # it has been in service, so that leaving it is a life-cycle action
        self._completes = False  # the group waits for us
        self._heartbeat_s = 0.0
        self._capacity: int | None = None  # how many instances the group is to have, once it is known
        self._capacity_due_s = 0.0
        self._capacity_failures = 0  # in a row
        self._told: dict[str, str] = {}  # the last trouble of each kind, so that it is logged once

    async def begin(self) -> None:
        """Look once before anything is generated: an instance in a warm pool idles."""
        try:
            async with asyncio.timeout(FIRST_POLL_MAX_S):
                await self.poll()
        except TimeoutError:
            log.warning("the instance metadata service takes too long: starting without it")

    async def run(self) -> None:
        """Poll every two seconds."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.poll()

    async def poll(self) -> None:
        """Look at what is announced, and act on it. Nothing that fails here ends anything."""
        for step in (self._look, self._tell_group, self._share_fleet):
            try:
                if await step():
                    self._told.pop(step.__name__, None)
            except (MetadataError, GroupError) as error:
                self._trouble(step.__name__, str(error))

    async def _look(self) -> bool:
        """Look at the metadata; True, or MetadataError."""
        supervisor = self._supervisor
        if self._group is None and (name := await self._metadata.get(TAG)):
            region = await self._metadata.get("placement/region") or ""
            self._group = Group(region.strip(), name.strip(), self._id)
            supervisor.embedded.group = self._group.name
            log.info("in an autoscaling group", extra={"group": self._group.name, "instance": self._id})
        if text := await self._metadata.get("spot/instance-action"):
            supervisor.drain(SPOT, _spot_reason(text))
        else:  # none, or one that is over: the instance was stopped or hibernated, and is back
            supervisor.undrain(SPOT)
        if not await self._metadata.get("events/recommendations/rebalance"):
            supervisor.doubts.pop(REBALANCE, None)
        elif REBALANCE not in supervisor.doubts:
            # The group brings another instance up, then ends this one by its target state: so it works on.
            supervisor.doubts[REBALANCE] = "EC2 recommends to replace this instance"
            log.warning("not ready any more: EC2 recommends to replace this instance")
        self._act_on(((await self._metadata.get("autoscaling/target-lifecycle-state")) or "").strip())
        return True

    def _act_on(self, target: str) -> None:
        """The state that the group wants this instance in; empty outside of a group."""
        supervisor = self._supervisor
        if target in {"Terminated", "Warmed:Terminated"}:
            self._completes |= ENDING not in supervisor.holds
            supervisor.drain(ENDING, "the group ends this instance")
        elif target.startswith("Warmed:"):
            self._completes |= self._served and WARM not in supervisor.holds
            supervisor.drain(WARM, f"this instance waits in the warm pool ({target})")
        else:
            supervisor.undrain(ENDING)
            supervisor.undrain(WARM)
            self._completes = False
        self._served |= target == "InService"

    async def _tell_group(self) -> bool:
        """While the group waits for us: a heartbeat now and then; once all is delivered, that we are done.

        Whether the group was told something.
        """
        supervisor = self._supervisor
        if not self._completes:
            return False
        if self._group is None:
            raise GroupError(
                "the group's name is not known, so its hook has to time out; "
                "the launch template needs InstanceMetadataTags: enabled"
            )
        if supervisor.crew.idle:
            total = supervisor.total()
            supervisor.current_run.close(sum(total.records_generated), sum(total.records_acked))
            await self._group.complete()
            self._completes = False
            log.info("the group has been told that this instance has drained")
            return True
        if time.monotonic() - self._heartbeat_s < HEARTBEAT_S:
            return False
        self._heartbeat_s = time.monotonic()
        await self._group.heartbeat()
        return True

    async def _share_fleet(self) -> bool:
        """This host's share of the fleet's rate: less for each when the group grows.

        Whether the group was asked for its size. One that does not answer is asked less and less often:
        there may be a hundred of us.
        """
        fleet = round(self._supervisor.settings.rate.fleet_records_per_second * 1000)
        if not fleet:
            return False
        if self._capacity is not None:  # the fleet's rate may have been changed by a reload
            self._supervisor.crew.share_fleet(share_of(fleet, self._capacity))
        if time.monotonic() < self._capacity_due_s:
            return False
        if self._group is None:
            raise GroupError(
                "rate.fleet_records_per_second: this instance's group is not known, so nothing is generated; "
                "set rate.records_per_second, or InstanceMetadataTags: enabled in the launch template"
            )
        try:
            self._capacity = await self._group.desired_capacity()
        except GroupError:
            pause_s = min(POLL_S * 2**self._capacity_failures, CAPACITY_S)
            self._capacity_due_s = time.monotonic() + pause_s * random.uniform(0.5, 1)
            self._capacity_failures += 1
            raise
        self._capacity_failures = 0
        self._capacity_due_s = time.monotonic() + CAPACITY_S
        self._supervisor.crew.share_fleet(share_of(fleet, self._capacity))
        return True

    def _trouble(self, kind: str, what: str) -> None:
        """Log a trouble when it is another one than before."""
        if what != self._told.get(kind):
            log.error("%s", what)
        self._told[kind] = what


def share_of(fleet_milli_records_per_second: int, capacity: int) -> int:
    """One host's share: rounded down, so that all shares together are never more than the fleet's rate."""
    return fleet_milli_records_per_second // max(1, capacity)


def _spot_reason(text: str) -> str:
    try:
        notice = msgspec.json.decode(text, type=Notice)
    except (msgspec.MsgspecError, UnicodeError):
        return "EC2 takes this spot instance back"
    return f"EC2 will {notice.action[:20]} this spot instance at {notice.time[:30]}"
