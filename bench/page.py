"""How does the page look? Pictures of it: desktop in light and dark, a phone, and without its server.

To be looked at by people. `--readme` renews bench/results/page.png, which the README shows.
"""

import argparse
import os
import signal
import subprocess
import time
from pathlib import Path

from playwright.sync_api import Browser, Page

from browser import DESKTOP, PHONE, browser
from processes import TICKERD, free_port, local, wait_for_acks
from recorded import RESULTS

RATE, SHARDS = 6_000, 12
LIGHT, DARK = "light", "dark"


def open_page(running: Browser, address: str, size: tuple[int, int], scheme: str, scale: float = 1) -> Page:
    """The page, with its first events in it."""
    context = running.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == DARK else "light",
        device_scale_factor=scale,
    )
    page = context.new_page()
    page.on("console", lambda line: print(f"console: {line.type}: {line.text}"))
    page.on("pageerror", lambda error: print(f"error: {error}"))
    page.goto(address)
    page.wait_for_selector(".tile")
    page.wait_for_selector(".spark path[d^=M]", state="attached")
    # A stock that the news has moved says more than a quiet one.
    moved = page.locator("#news li[data-moves=true]").first
    if moved.count():
        moved.locator(".headline").click()
    page.wait_for_timeout(2500)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(300)
    return page


def pictures(running: Browser, address: str, into: Path, process: "subprocess.Popen[bytes]") -> None:
    """All of them; ends the daemon for the last."""
    light = open_page(running, address, DESKTOP, LIGHT)
    light.screenshot(path=into / "light.png", full_page=True)
    dark = open_page(running, address, DESKTOP, DARK)
    dark.screenshot(path=into / "dark.png", full_page=True)
    phone = open_page(running, address, PHONE, LIGHT, scale=2)
    phone.screenshot(path=into / "phone.png", full_page=True)
    process.send_signal(signal.SIGTERM)
    process.wait()
    light.wait_for_timeout(6000)
    light.screenshot(path=into / "disconnected.png", full_page=True)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description="pictures of the page")
    parser.add_argument("--into", type=Path, default=Path("page"), help="a directory for them")
    parser.add_argument("--warm-s", type=float, default=60, help="how long the daemon runs before")
    parser.add_argument("--readme", action="store_true", help="renew the README's picture")
    chosen = parser.parse_args()
    chosen.into.mkdir(parents=True, exist_ok=True)
    with local("--shards", str(SHARDS)) as (endpoint, _):
        port = free_port()
        settings = {
            "kinesis.endpoint_url": endpoint,
            "web.listen": f"127.0.0.1:{port}",
            "state.directory": str((chosen.into / f"state-{os.getpid()}").resolve()),
            "rate.records_per_second": str(RATE),
            "source.workers": "2",
            "log.level": "error",
        }
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        process = subprocess.Popen([*TICKERD, "run", *sets])
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for_acks(address)
            time.sleep(chosen.warm_s)
            with browser() as running:
                pictures(running, address, chosen.into, process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if chosen.readme:
        (RESULTS / "page.png").write_bytes((chosen.into / "light.png").read_bytes())


if __name__ == "__main__":
    main()
