"""Work of some milliseconds for the web side, in threads beside its loop: bounded in number and time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from tickerd.web.problem import ProblemError

ANSWER_S = 2.0  # that an answer may take, waiting for a thread included

Of = ParamSpec("Of")
Made = TypeVar("Made")


class Computing:
    """So many threads, for which so many may wait. `close` after use."""

    def __init__(self, threads: int, waiting_max: int) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="logs")
        self._waiting_max = threads + waiting_max
        self._under_way = 0

    async def made(self, make: Callable[Of, Made], *of: Of.args, **more: Of.kwargs) -> Made:
        """What `make` makes; ProblemError when it takes too long, or too many wait already."""
        if self._under_way >= self._waiting_max:
            raise ProblemError(503, "too many requests are being computed; ask again later", 1)
        self._under_way += 1
        working = asyncio.get_running_loop().run_in_executor(self.pool, lambda: make(*of, **more))
        working.add_done_callback(self._done)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await working
        except TimeoutError:
            raise ProblemError(503, "the answer takes too long to compute; ask again later", 1) from None

    def close(self) -> None:
        """Let the threads end."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, _working: object) -> None:
        self._under_way -= 1
