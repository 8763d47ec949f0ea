"""`tickerd run`: takes the state directory and the port, then hands over to the supervisor."""

import logging
from collections.abc import Callable

import uvloop

from tickerd.checkpoint import CheckpointError
from tickerd.config import Surroundings, state_directory, surroundings
from tickerd.cores import limits
from tickerd.host.notify import Notifier
from tickerd.settings import Settings
from tickerd.state import StateDirectory, StateError
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
        around = surroundings()
        notifier = Notifier(around.notify_socket)
        supervisor = Supervisor(
            settings, state, records=records, seconds=seconds, reread=reread, notifier=notifier
        )
        return uvloop.run(_run(supervisor, around))
    except (StateError, CheckpointError, ListenError) as error:
        log.error("%s", error)
        return 1
    except OSError as error:  # a full disk, no more processes or descriptors: none of it is ours to mend
        what = f"{error.filename}: " if error.filename else ""
        log.error("the daemon cannot go on: %s%s; see to the host, then start it again", what, error.strerror)
        return 1


async def _run(supervisor: Supervisor, around: Surroundings) -> int:
    web = await serve(supervisor, around.listeners.get("http"))
    state = str(supervisor.crew.state.path)
    log.info("listening", extra={"address": supervisor.address, "state": state, "limits": limits()})
    try:
        return await supervisor.run()
    finally:
        await web.cleanup()
