"""The live page in a real browser, as an operator uses it: headless Chromium, a real daemon, a real stream.

Where there is no Chromium the tests are skipped, and say what is missing; .ci/run installs it.
"""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from browser import DESKTOP, PHONE, browser, chromium
from daemon import Daemon, Host, Local

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="Chromium is missing: apt-get install chromium"),
    pytest.mark.timeout(300),
]
TOKEN = "token-of-the-page-tests"  # noqa: S105 - a test's
UNREACHABLE = re.compile(
    r"Failed to load resource: net::ERR_"
)  # Chromium's own line about a server that is gone
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


class Visit:
    """A tab of its own: the page, and all that the browser had to say about it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.context = context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)

    def _console(self, line: ConsoleMessage) -> None:
        if line.type in {"error", "warning"} and not UNREACHABLE.match(line.text):
            self.said.append(f"{line.type}: {line.text}")

    def live(self) -> "Visit":
        """Wait until events come."""
        expect(self.page.locator("#connection")).to_have_text("Live")
        expect(self.page.locator(".tile")).to_have_count(6)
        return self

    def price(self) -> str:
        """Of the chosen instrument."""
        return self.page.locator("#instrument-price").inner_text()


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, shared_local: Local) -> Iterator[Daemon]:
    host = Host(tmp_path_factory.mktemp("page"))
    try:
        yield started(host, shared_local)
    finally:
        host.close()


def started(host: Host, local: Local, **settings: object) -> Daemon:
    """A daemon whose token is known and that has delivered something."""
    local.no_faults()
    (host.directory / "token").write_text(TOKEN)
    ours: dict[str, object] = local.create().settings | {"rate__records_per_second": 500} | settings
    daemon = host.run(web__token_file=str(host.directory / "token"), **cast("dict[str, Any]", ours))
    if not settings.get("web__read_needs_token"):
        daemon.until_acked()
    return daemon


@pytest.fixture
def visit(running: Browser, daemon: Daemon) -> Iterator[Visit]:
    """The page on a desktop, live; nothing may stand in the console at the end."""
    with visited(running, daemon.address) as found:
        yield found.live()


class visited:  # noqa: N801 - it reads as a verb
    """A visit that ends with its console empty."""

    def __init__(
        self, running: Browser, address: str, size: tuple[int, int] = DESKTOP, **options: object
    ) -> None:
        viewport = {"width": size[0], "height": size[1]}
        self._context = running.new_context(viewport=viewport, **options)  # type: ignore[arg-type]
        self._visit = Visit(self._context, address)

    def __enter__(self) -> Visit:
        return self._visit

    def __exit__(self, kind: object, *_: object) -> None:
        said = list(self._visit.said)
        self._context.close()
        if kind is None:
            assert said == []


def unlock(page: Page, token: str) -> None:
    page.locator("#token").fill(token)
    page.get_by_role("button", name="Unlock", exact=True).click()


def test_it_shows_the_daemon_at_work(visit: Visit, daemon: Daemon) -> None:
    page = visit.page
    stream = daemon.status()["stream"]["name"]
    expect(page.locator("#identity")).to_contain_text(f"{stream}")
    expect(page.locator("#identity")).to_contain_text("4 shards")
    expect(page.locator("#workers tr")).to_have_count(2)
    expect(page.locator("#workers tr").first).to_contain_text("Running")
    expect(page.locator("#shards .cell")).to_have_count(4)
    expect(page.locator("#shards-summary")).to_contain_text("nothing throttled")
    shares = [float(text.split("\u202f")[0]) for text in page.locator("#shards .cell b").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=3)
    expect(page.locator("#news li").first).to_be_visible()
    for chart in ("throughput", "delay", "lag", "instrument"):
        assert page.locator(f"#{chart} canvas").evaluate(IS_PAINTED), chart


IS_PAINTED = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const shades = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3]) shades.add(data.slice(i, i + 3).join());
  return shades.size > 3;
}"""


def test_a_click_chooses_an_instrument_and_its_price_moves(visit: Visit) -> None:
    page = visit.page
    page.locator("#prices").get_by_role("button", name="USD/JPY", exact=True).click()
    expect(page.locator("#instrument-title")).to_have_text("USD/JPY")
    before = visit.price()
    expect(page.locator("#instrument-price")).not_to_have_text(before)
    assert re.fullmatch(r"\d{2,3}\.\d{3}", visit.price())
    page.get_by_role("button", name="1 d", exact=True).click()
    expect(page.get_by_role("button", name="1 d", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#instrument")).to_have_attribute("aria-busy", "false")


def test_a_story_leads_to_its_instrument_where_it_is_marked(visit: Visit) -> None:
    page = visit.page
    story = page.locator("#news li").filter(has=page.locator(".effect:not([data-direction=none])")).first
    number, effect = story.get_attribute("data-story"), story.locator(".effect").inner_text()
    page.locator(f"#news li[data-story='{number}'] .headline").click()
    page.get_by_role("button", name="1 d", exact=True).click()
    marked = page.locator(f"#instrument-stories li[data-story='{number}']")
    expect(marked).to_have_count(1)  # however often it was told
    expect(marked.locator(".effect")).to_have_text(effect)


def test_instruments_are_found_by_name_and_kept_by_the_star(visit: Visit) -> None:
    page = visit.page
    page.locator("#search").fill("sgd")
    expect(page.locator("#prices tr").first).to_contain_text("SGD")
    star = page.locator("#prices tr").first.locator(".star")
    expect(star).to_have_attribute("aria-pressed", "false")
    star.click()
    name = page.locator("#prices tr .symbol").first.inner_text()
    page.reload()
    expect(page.locator("#prices tr", has_text=name).locator(".star")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.locator("#search").fill("no such thing")
    expect(page.locator("#prices-note")).to_have_text("No instrument has such a name.")


def test_without_its_server_it_says_since_when_and_comes_back_by_itself(
    running: Browser, host: Host, shared_local: Local
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    daemon = started(host, shared_local, web__listen=listen)
    with visited(running, daemon.address) as visit:
        page = visit.live().page
        daemon.stop(9)  # type: ignore[arg-type]
        since = re.compile(r"^Disconnected since \d\d:\d\d:\d\d UTC; trying again$")
        expect(page.locator("#connection")).to_have_text(since)
        said = page.locator("#connection").inner_text()
        page.wait_for_timeout(5000)
        assert page.locator("#connection").inner_text() == said  # since then, and not since the last try
        started(host, shared_local, web__listen=listen)
        visit.live()
        before = visit.price()
        expect(page.locator("#instrument-price")).not_to_have_text(before)


def test_control_needs_the_right_token_and_drains_and_goes_on(visit: Visit, daemon: Daemon) -> None:
    page = visit.page
    page.get_by_role("button", name="Control", exact=True).click()
    unlock(page, "a-token-that-is-wrong")
    expect(page.locator("#control-answer")).to_have_text("This token is wrong.")
    expect(page.locator("#drain")).to_be_hidden()
    unlock(page, TOKEN)
    page.get_by_role("button", name="Drain", exact=True).click()
    expect(page.locator("#notices")).to_contain_text("Held by operator")
    daemon.until("drained", lambda status: status["state"] == "drained")
    page.get_by_role("button", name="Undrain", exact=True).click()
    expect(page.locator("#notices")).to_be_empty()
    daemon.until("running", lambda status: status["state"] == "running")
    page.locator("#rate").fill("750")
    page.get_by_role("button", name="Set the rate").click()
    expect(page.locator("#control-answer")).to_contain_text("750 records/s")
    daemon.until("the new rate", lambda status: status["rates"]["target"] == 750)
    assert not any(TOKEN in address for address in visit.asked)
    assert page.evaluate("JSON.stringify(localStorage)").find(TOKEN) < 0
    page.get_by_role("button", name="Forget the token").click()
    expect(page.locator("#token")).to_be_focused()


def test_where_reading_needs_the_token_too_it_asks_for_it_first(
    running: Browser, host: Host, shared_local: Local
) -> None:
    daemon = started(host, shared_local, web__read_needs_token=True)
    with visited(running, daemon.address) as visit:
        page = visit.page
        expect(page.locator("#connection")).to_have_text("Locked: the token is needed")
        unlock(page, "a-token-that-is-wrong")
        expect(page.locator("#control-answer")).to_have_text("This token is wrong.")
        assert page.locator(".tile").count() == 0
        unlock(page, TOKEN)
        visit.live()
        expect(page.locator("#prices tr").first).to_be_visible()
        page.reload()
        visit.live()


def test_what_stands_in_the_way_is_said_in_plain_words(running: Browser, host: Host) -> None:
    own = host.local()
    daemon = started(host, own)
    with visited(running, daemon.address) as visit:
        visit.live()
        own.faults(deny=True)
        expect(visit.page.locator("#notices .notice[data-kind=error]")).to_contain_text("PutRecords")
        own.faults(deny=False)
        expect(visit.page.locator("#notices")).to_be_empty()


def test_everything_can_be_reached_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit.page
    page.locator("#search").wait_for()
    wanted = page.evaluate("""() => [...document.querySelectorAll("button, input, a[href], [tabindex='0']")]
      .filter(each => each.checkVisibility()).length""")
    reached: set[str] = set()
    unseen: list[str] = []
    for _ in range(wanted + 20):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(FOCUSED)
        reached.add(name)
        if name and outline == "none":
            unseen.append(name)
    assert unseen == []
    assert len(reached - {""}) >= wanted - 2, sorted(reached)
    # And used: chosen by Enter, the strip walked by arrows, the dialog closed by Escape.
    page.locator("#prices").get_by_role("button", name="GBP/USD", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#instrument-title")).to_have_text("GBP/USD")
    page.locator("#shards").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#shards-detail")).to_contain_text("Shard 2 of 4")
    page.locator("#control-open").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#token")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#control-open")).to_be_focused()


FOCUSED = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return ["", ""];
  at.dataset.reached ??= String(Math.random());
  return [at.dataset.reached, getComputedStyle(at).outlineStyle];
}"""


TOO_SMALL_TO_TAP = """() => [...document.querySelectorAll("button:not(.symbol, .headline)")]
  .filter(each => each.checkVisibility() && each.getBoundingClientRect().height < 24)
  .map(each => each.textContent)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_scrolls_sideways(running: Browser, daemon: Daemon, scheme: str) -> None:
    options = {"color_scheme": scheme, "has_touch": True, "is_mobile": True}
    with visited(running, daemon.address, PHONE, **options) as visit:
        page = visit.live().page
        expect(page.locator("#prices tr").first).to_be_visible()
        page.get_by_role("button", name="1 w", exact=True).tap()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        page.get_by_role("button", name="Control", exact=True).tap()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        assert page.evaluate(TOO_SMALL_TO_TAP) == []


def test_it_is_light_or_dark_as_the_system_says_or_as_it_is_told(running: Browser, daemon: Daemon) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with visited(running, daemon.address, color_scheme="dark") as visit:
        page = visit.live().page
        dark = page.evaluate(ground)
        switch = page.locator("#theme")
        switch.click()
        light = page.evaluate(ground)
        assert light != dark
        expect(switch).to_have_attribute("title", "Colours: light")
        page.reload()
        assert page.evaluate(ground) == light


def test_who_wants_less_motion_gets_none(running: Browser, daemon: Daemon) -> None:
    with visited(running, daemon.address, reduced_motion="reduce") as visit:
        page = visit.live().page
        expect(page.locator("#prices tr").first).to_be_visible()
        page.wait_for_timeout(2500)
        assert page.evaluate("document.getAnimations().length") == 0


def test_it_asks_nobody_but_its_server(visit: Visit, daemon: Daemon) -> None:
    visit.page.wait_for_timeout(1500)
    assert {address for address in visit.asked if not address.startswith(daemon.address + "/")} == set()
    assert visit.page.evaluate("document.fonts.check('500 14px Inter')")


def test_markup_in_what_the_server_says_stays_text(running: Browser, host: Host, shared_local: Local) -> None:
    name = "<b>bold</b>"
    headlines = Path(__file__).parents[1] / "daemon" / "tickerd" / "market" / "universe" / "stocks.csv"
    universe = host.directory / "universe"
    universe.mkdir()
    rows = headlines.read_text().splitlines()
    first = rows[1].split(",")
    first[rows[0].split(",").index("name")] = name
    (universe / "stocks.csv").write_text("\n".join([rows[0], ",".join(first), *rows[2:]]) + "\n")
    daemon = started(host, shared_local, market__universe=str(universe))
    with visited(running, daemon.address) as visit:
        page = visit.live().page
        page.locator("#search").fill(first[rows[0].split(",").index("symbol")])
        expect(page.locator("#prices tr small").first).to_contain_text(name)
        assert page.locator("#prices b").count() == 0
