"""What is wrong with a request, as problem details (RFC 9457): one sentence that says what would be right."""

from http import HTTPStatus

import orjson
from aiohttp import web


class ProblemError(Exception):
    """A request that is not answered as it was meant: `status` is 4xx or 5xx."""

    def __init__(self, status: int, detail: str, retry_after_s: int = 0) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s

    def response(self) -> web.Response:
        """The answer."""
        content = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return web.Response(
            body=orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE),
            status=self.status,
            content_type="application/problem+json",
            headers={"Retry-After": str(self.retry_after_s)} if self.retry_after_s else None,
        )
