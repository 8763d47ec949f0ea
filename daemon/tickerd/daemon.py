"""`tickerd run`: takes the state directory and the port, then hands over to the supervisor."""

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

import uvloop

from tickerd.checkpoint import CheckpointError
from tickerd.config import state_directory, surroundings
from tickerd.cores import limits
from tickerd.host.imds import Metadata, is_ec2
from tickerd.host.notify import Notifier
from tickerd.settings import Settings
from tickerd.state import StateDirectory, StateError
from tickerd.store.store import Store
from tickerd.supervisor import Supervisor
from tickerd.web.app import serve
from tickerd.web.listening import ListenError

log = logging.getLogger(__name__)


def run(
    settings: Settings,
    *,
    records: int | None,
    seconds: float | None,
    reread: Callable[[], Settings] | None = None,
) -> int:
    """Run the daemon until it is told to stop; its exit code (contract, "Commands").

    `reread` reads the settings again, for a reload.
    """
    try:
        state = StateDirectory(state_directory(settings))
        state.lock()
        return uvloop.run(_run(settings, state, records, seconds, reread))
    except (StateError, CheckpointError, ListenError) as error:
        log.error("%s", error)
        return 1
    except OSError as error:  # a full disk, no more processes or descriptors: none of it is ours to mend
        what = f"{error.filename}: " if error.filename else ""
        log.error("the daemon cannot go on: %s%s; see to the host, then start it again", what, error.strerror)
        return 1


async def _run(
    settings: Settings,
    state: StateDirectory,
    records: int | None,
    seconds: float | None,
    reread: Callable[[], Settings] | None,
) -> int:
    around = surroundings()
    async with AsyncExitStack() as stack:
        metadata = None
        if around.has_metadata and (around.metadata_url or is_ec2()):
            metadata = await stack.enter_async_context(Metadata(around.metadata_url))
        instance_id = await metadata.instance_id() if metadata else ""
        store = Store(settings, state.path)
        stack.push_async_callback(store.aclose)
        settings = await store.catalogued_at_start(settings)
        notifier = Notifier(around.notify_socket)
        stack.callback(notifier.close)
        supervisor = Supervisor(
            settings,
            state,
            records=records,
            seconds=seconds,
            reread=reread,
            notifier=notifier,
            instance_id=instance_id,
            store=store,
        )
        web = await serve(supervisor, around.listeners)
        stack.push_async_callback(web.cleanup)
        place: dict[str, object] = {"address": supervisor.address, "state": str(state.path)}
        found: dict[str, object] = {name: limit for name, limit in limits().items() if limit is not None}
        log.info("listening", extra=place | found)
        if metadata:
            from tickerd.host.ec2 import follow  # noqa: PLC0415 - botocore takes a while to import

            await follow(supervisor, metadata, instance_id, stack)
        elif settings.rate.fleet_records_per_second:
            log.error(
                "rate.fleet_records_per_second: this is no instance of an autoscaling group, so nothing is "
                "generated; set rate.records_per_second"
            )
        return await supervisor.run()
