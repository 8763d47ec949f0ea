"""One connection: what the library refuses by itself, or fails at, is a problem document like every other.

It promises that such an answer has our headers, and repeats nothing of what was sent.
"""

import asyncio
from http import HTTPStatus

from aiohttp import web
from aiohttp.web_request import BaseRequest

from tickerd.web.access import set_headers
from tickerd.web.problem import ProblemError

HEAD_BYTES_MAX = 8 * 1024
KEEP_ALIVE_S = 15.0
DETAILS = {
    HTTPStatus.BAD_REQUEST: "this is no request in HTTP/1.1, or its head is too large; correct it",
    HTTPStatus.NOT_FOUND: "there is no such path; /openapi.json says which there are",
    HTTPStatus.METHOD_NOT_ALLOWED: "the path has no such method; Allow says which it has",
    HTTPStatus.REQUEST_TIMEOUT: "the body takes too long; send it at once",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is too large; send a smaller one",
    HTTPStatus.EXPECTATION_FAILED: "nothing but 100-continue can be expected; leave Expect out",
    HTTPStatus.INTERNAL_SERVER_ERROR: "a fault of the daemon's own, which its log tells",
}


class Connection(web.RequestHandler):
    """The library's connection, with answers of ours where it would give its own."""

    __slots__ = ()

    def __init__(self, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # which means: none
            max_line_size=HEAD_BYTES_MAX,
            max_field_size=HEAD_BYTES_MAX,
            keepalive_timeout=KEEP_ALIVE_S,
        )

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; one that was raised as the library's exception in our form."""
        if isinstance(resp, web.HTTPException):
            allowed = resp.headers.get("Allow")
            resp = _problem(resp.status)
            if allowed is not None:
                resp.headers["Allow"] = allowed
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be read, or at which a handler failed; the connection ends."""
        super().handle_error(request, status, exc, message)  # which logs it
        answer = _problem(status)
        set_headers(answer)  # which the application does only where a request could be read
        answer.force_close()
        return answer


def _problem(status: int) -> web.Response:
    known = HTTPStatus(status)
    return ProblemError(status, DETAILS.get(known, known.phrase)).response()
