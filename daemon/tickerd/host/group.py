"""The autoscaling group that this instance is in: how many there are to be, and that we have drained.

Calls go through botocore in a thread, so that loading its models and waiting for the service hold nothing up.
"""

import asyncio
import functools
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

HOOK = "tickerd-drain"  # the life-cycle hook of systemd/ec2; another name needs another template
DONE = "CONTINUE"


class GroupError(Exception):
    """The service refused, or could not be asked; the message is one line."""


class Group:
    """One group, asked as one of its instances."""

    def __init__(self, region: str, name: str, instance_id: str) -> None:
        self.name = name
        self._region = region
        self._instance = {
            "AutoScalingGroupName": name,
            "LifecycleHookName": HOOK,
            "InstanceId": instance_id,
        }

    async def desired_capacity(self) -> int:
        """How many instances the group is to have."""
        answer = await self._call("describe_auto_scaling_groups", AutoScalingGroupNames=[self.name])
        groups = answer.get("AutoScalingGroups") or []
        if not groups:
            raise GroupError(f"there is no autoscaling group {self.name}")
        return int(groups[0]["DesiredCapacity"])

    async def complete(self) -> None:
        """This instance has drained: the group may go on with it."""
        await self._call("complete_lifecycle_action", **self._instance, LifecycleActionResult=DONE)

    async def heartbeat(self) -> None:
        """It still drains: the group shall wait for another of the hook's time-outs."""
        await self._call("record_lifecycle_action_heartbeat", **self._instance)

    @functools.cached_property
    def _client(self) -> Any:
        session = botocore.session.get_session()
        session.set_config_variable("ec2_metadata_v1_disabled", True)
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})
        return session.create_client("autoscaling", region_name=self._region, config=config)

    async def _call(self, operation: str, **fields: object) -> dict[str, Any]:
        def call() -> dict[str, Any]:
            answer: dict[str, Any] = getattr(self._client, operation)(**fields)
            return answer

        try:
            return await asyncio.to_thread(call)
        except (ClientError, BotoCoreError) as error:
            raise GroupError(" ".join(str(error).split())) from error
