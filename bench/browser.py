"""A real browser for the page: headless Chromium, driven by Playwright; for tests/test_page.py and page.py.

Chromium is the system's own (`apt-get install chromium`): Playwright downloads nothing.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox",  # which root has no use of
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = (1440, 1000), (375, 812)


def chromium() -> str | None:
    """The path of the system's Chromium; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium with a profile of its own, gone at the end."""
    path = chromium()
    if path is None:
        raise SystemExit(f"none of {', '.join(NAMES)} is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, headless=True, args=QUIET)
        try:
            yield running
        finally:
            running.close()
