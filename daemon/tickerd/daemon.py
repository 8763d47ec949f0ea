"""`tickerd run`: takes the state directory and the port, then hands over to the supervisor."""

import logging

import uvloop

from tickerd.checkpoint import CheckpointError
from tickerd.config import state_directory
from tickerd.settings import Settings
from tickerd.state import StateDirectory, StateError
from tickerd.supervisor import Supervisor
from tickerd.web.app import ListenError, serve

log = logging.getLogger(__name__)


def run(settings: Settings, *, records: int | None, seconds: float | None) -> int:
    """Run the daemon until it is told to stop; its exit code (contract, "Commands")."""
    try:
        state = StateDirectory(state_directory(settings))
        state.lock()
        return uvloop.run(_run(settings, state, records, seconds))
    except (StateError, CheckpointError, ListenError) as error:
        log.error("%s", error)
        return 1
    except OSError as error:  # a full disk, no more processes or descriptors: none of it is ours to mend
        what = f"{error.filename}: " if error.filename else ""
        log.error("the daemon cannot go on: %s%s; see to the host, then start it again", what, error.strerror)
        return 1


async def _run(settings: Settings, state: StateDirectory, records: int | None, seconds: float | None) -> int:
    supervisor = Supervisor(settings, state, records=records, seconds=seconds)
    web = await serve(supervisor)
    log.info("listening", extra={"address": supervisor.address, "state": str(state.path)})
    try:
        return await supervisor.run()
    finally:
        await web.cleanup()
