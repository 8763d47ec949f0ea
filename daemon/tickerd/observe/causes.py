"""Says what stands in the way of delivery: one line a host when a cause appears, and one when it is gone.

The workers report causes; which of them met one first does not matter to who reads the log.
"""

import logging
import time
from collections.abc import Iterable

from tickerd.observe.counters import Problem, Report

log = logging.getLogger(__name__)


class Causes:
    """What has been said."""

    def __init__(self) -> None:
        self._problems: dict[str, Problem] = {}
        self._notices: dict[str, Problem] = {}

    def look(self, reports: Iterable[Report]) -> None:
        """Say what is new in these reports, and what is gone."""
        reports = list(reports)
        problems = {problem.code: problem for report in reports for problem in report.problems}
        notices = {notice.code: notice for report in reports for notice in report.notices}
        for code in problems.keys() - self._problems.keys():
            message = problems[code].message
            log.error("the destination takes no records: %s", message, extra={"error_code": code})
        for code in notices.keys() - self._notices.keys():
            log.warning("%s", notices[code].message, extra={"error_code": code})
        delivering = any(report.state == "running" and not report.problems for report in reports)
        if self._problems and not problems and delivering:
            since = min(problem.since for problem in self._problems.values())
            log.info("the destination takes records again", extra={"after_s": round(time.time() - since, 1)})
        if problems or delivering:  # a worker that has just died says nothing, which means nothing
            self._problems = problems
        for code in self._notices.keys() - notices.keys() if delivering else ():
            log.info("that is over: %s", code, extra={"error_code": code})
        self._notices = notices if delivering else self._notices | notices
