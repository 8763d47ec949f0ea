"""A topic as a destination: one channel a worker, one delivery a source.

It is not asked for before there are records: who may publish to a topic need not be allowed to look at it.
"""

from tickerd.checkpoint import Progress
from tickerd.gate import Gate
from tickerd.observe.counters import Report
from tickerd.pubsub.cause import NotReadyError
from tickerd.pubsub.client import PubSubClient
from tickerd.pubsub.delivery import Delivery
from tickerd.settings import PubSub


class PubSubDestination:
    """`open` waits until there are credentials and a project."""

    def __init__(self, settings: PubSub, gate: Gate) -> None:
        self._settings = settings
        self._gate = gate
        self._client = PubSubClient(settings)

    async def open(self) -> None:
        """Find the credentials, and wait through whatever stands in the way of that."""
        while True:
            try:
                await self._client.open()
                break
            except NotReadyError as error:
                self._gate.close(error.cause, probed=True)
                await self._gate.passage()
        self._gate.open()

    def deliver(self, source: str, progress: Progress, report: Report) -> Delivery:
        """A delivery to the topic."""
        return Delivery(self._client, self._gate, source, progress, report, self._settings)

    async def close(self) -> None:
        """Close the channel."""
        await self._client.close()
