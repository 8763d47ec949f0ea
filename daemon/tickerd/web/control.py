"""What can be changed over HTTP: the rate, and whether anything is generated. access.py lets it through."""

import asyncio
import logging
import math
import time

import msgspec
import orjson
from aiohttp import web

from tickerd.checks import LEAVES, faults
from tickerd.schedule import due_below
from tickerd.supervisor import Supervisor
from tickerd.web.access import Access
from tickerd.web.problem import ProblemError

BODY_MAX_S = 5.0
OPERATOR = "operator"  # who holds it, in `Supervisor.holds`
RATE = "rate.records_per_second"

log = logging.getLogger(__name__)


class RateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /rate`."""

    records_per_second: float


def add_control(app: web.Application, supervisor: Supervisor, access: Access) -> None:
    """Add `POST /rate`, `/drain` and `/undrain`, and `GET /control`, by which a token can be tried."""

    async def control(request: web.Request) -> web.Response:
        trusted = access.trusts(request)
        content: dict[str, object] = {"trusted": trusted, "read_needs_token": access.read_needs_token}
        if trusted:
            content["records_per_second"] = supervisor.crew.plan().at(due_below(time.time_ns())) / 1000
            content["draining"] = supervisor.draining
        return _answer(content)

    async def rate(request: web.Request) -> web.Response:
        body = await read_body(request)
        if supervisor.settings.rate.mode == "snapshot":
            return _refused(409, "there is no rate to set: rate.mode is snapshot, once in rate.every_s")
        try:
            wanted = _rate_of(body)
        except ValueError as error:
            return _refused(400, str(error))
        _log(request, "rate")
        supervisor.crew.set_rate(round(wanted * 1000))
        return _answer({"records_per_second": wanted})

    async def drain(request: web.Request) -> web.Response:
        await read_body(request)
        _log(request, "drain")
        supervisor.drain(OPERATOR, "asked to over HTTP")
        return _answer({"draining": True})

    async def undrain(request: web.Request) -> web.Response:
        await read_body(request)
        _log(request, "undrain")
        supervisor.undrain(OPERATOR)
        if supervisor.draining:
            others = [f"{who}: {why}" for who, why in supervisor.holds.items()] or ["the daemon ends"]
            return _refused(409, f"it goes on draining; {'; '.join(others)}")
        return _answer({"draining": False})

    app.router.add_get("/control", control)
    app.router.add_post("/rate", rate)
    app.router.add_post("/drain", drain)
    app.router.add_post("/undrain", undrain)


def _rate_of(body: bytes) -> float:
    """The rate that a body asks for; ValueError, which says what would be right, when it is none."""
    try:
        wanted = msgspec.json.decode(body, type=RateRequest).records_per_second
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f'{error}; {{"records_per_second": 5000}} would be right') from None
    if math.isclose(wanted, near := round(wanted, 3), rel_tol=1e-12):
        wanted = near  # 1001 * 0.001 is 1.0009999999999999
    if found := faults(RATE, wanted, LEAVES[RATE]):
        raise ValueError("; ".join(f"records_per_second: {fault}" for _, fault in found))
    return wanted


async def read_body(request: web.Request) -> bytes:
    """The body, which is small and comes at once, or is refused."""
    try:
        async with asyncio.timeout(BODY_MAX_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


def _log(request: web.Request, action: str) -> None:
    log.info("control request", extra={"action": action, "from": request.remote or "control socket"})


def _answer(content: dict[str, object]) -> web.Response:
    body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=body, content_type="application/json")


def _refused(status: int, why: str) -> web.Response:
    return ProblemError(status, why).response()
