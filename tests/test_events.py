"""/events and /chart over real connections: an event a second for all, bounded for each, refused in words."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import uvloop

from test_web import WORKERS, Page, closed, request, sent, served
from test_web import Host as WebHost
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.observe.counters import Histogram, Report, ShardCounts, StreamReport, empty_histogram
from tickerd.recipe import recipe_of
from tickerd.settings import Market as MarketSettings
from tickerd.settings import Settings, Source, Web
from tickerd.web import events, figures, instruments
from tickerd.web.figures import Figures, percentiles
from tickerd.web.instruments import Instruments
from tickerd.web.pages import CONNECTIONS_MAX

Json = dict[str, Any]


@pytest.fixture
def host(tmp_path: Path) -> Any:
    made = WebHost(tmp_path)
    try:
        made.up()
        yield made
    finally:
        made.close()


class Ear:
    """A connection to /events, after its head."""

    def __init__(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head, self.reader, self.writer = head, reader, writer

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    async def block(self) -> dict[str, str]:
        """The next event's fields, a comment's text under ""; of a chunked answer."""
        text = b""
        while b"\n\n" not in text:
            size = int(await self.reader.readline(), 16)
            if size == 0:
                raise EOFError
            text += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        lines = text.decode().rstrip("\n").split("\n")
        return {field: value.removeprefix(" ") for field, _, value in (line.partition(":") for line in lines)}

    async def next(self) -> dict[str, str] | None:
        """The next event; None when the stream has ended."""
        try:
            return await self.block()
        except EOFError:  # IncompleteReadError is one
            return None

    async def event(self) -> tuple[str, Json]:
        fields = await self.block()
        return fields["event"], json.loads(fields["data"])


async def listen(port: int, *headers: str) -> Ear:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/events", "GET", *headers))
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    return Ear(head, reader, writer)


@asynccontextmanager
async def listening(port: int, many: int = 1) -> AsyncIterator[list[Ear]]:
    ears = [await listen(port) for _ in range(many)]
    try:
        yield ears
    finally:
        await closed(ear.writer for ear in ears)


def played(host: WebHost, story: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Play a story with the port of the running web side."""

    async def run() -> None:
        async with asyncio.timeout(120), served(host) as port:
            await story(port)

    uvloop.run(run())


def test_who_comes_is_told_all_and_then_each_second_what_is_new(host: WebHost) -> None:
    async def story(port: int) -> None:
        async with listening(port) as [ear]:
            assert "Content-Type: text/event-stream" in ear.head
            assert "Cache-Control: no-store" in ear.head
            first = await ear.block()
            assert first["retry"].isdecimal()
            hello = json.loads(first["data"])
            market = hello["market"]
            assert first["event"] == "hello"
            assert len(market["instruments"]) == len(market["midnight"]) == 579
            assert market["instruments"][0]["symbol"] == "EUR/USD"
            heard = [(await ear.event(), time.monotonic()) for _ in range(3)]
            assert [kind for (kind, _), _ in heard] == ["tick"] * 3
            assert heard[2][1] - heard[0][1] == pytest.approx(2, abs=1)
            ticks = [tick for (_, tick), _ in heard]
            assert len(ticks[0]["prices"]) == 579
            assert ticks[0]["prices"] != ticks[2]["prices"]
            assert ticks[0]["status"]["state"] == "running"
            assert len(ticks[0]["status"]["workers"]) == WORKERS

    played(host, story)


def test_prices_are_the_markets_own(host: WebHost) -> None:
    async def story(port: int) -> None:
        async with listening(port) as [ear]:
            await ear.event()
            _, tick = await ear.event()
        wanted = Market(1, host.supervisor.crew.universe).quotes(tick["time_ms"]).price
        assert tick["prices"] == wanted.tolist()

    played(host, story)


def test_an_event_is_made_once_for_all(host: WebHost) -> None:
    async def story(port: int) -> None:
        async with listening(port, 20) as ears:
            for ear in ears:
                await ear.event()
            first = [await ear.block() for ear in ears]
            assert all(block == first[-1] for block in first) or len({block["data"] for block in first}) <= 2

    played(host, story)


def test_who_does_not_read_misses_the_oldest_and_holds_up_nobody(
    host: WebHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.01)
    monkeypatch.setattr(events, "WRITE_MAX_S", 1.5)

    async def story(port: int) -> None:
        async with listening(port) as [quick], listening(port) as [slow]:
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
            dropped, listeners = 0.0, 2.0
            while dropped < 10 or listeners > 1:
                await quick.block()
                page = await sent(port, request("/metrics"))
                dropped = metric(page, "tickerd_events_dropped_total")
                listeners = metric(page, "tickerd_event_listeners")
            began = time.monotonic()
            await quick.block()
            assert time.monotonic() - began < 1

    played(host, story)


def metric(page: Page, name: str) -> float:
    return next(float(line.split()[1]) for line in page[1].splitlines() if line.startswith(f"{name} "))


def test_too_many_are_refused_and_those_who_listen_stay(
    host: WebHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LISTENERS_MAX", 3)

    async def story(port: int) -> None:
        async with listening(port, 3) as ears:
            refused = await listen(port)
            assert refused.status == 503
            assert "Retry-After: 30" in refused.head
            await closed([refused.writer])
            # However many others come: they only take each other's places.
            others = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX + 6)]
            assert (await sent(port, request("/livez"))) == (200, "ok\n")
            for ear in ears:
                await ear.event()
                assert (await ear.event())[0] == "tick"
            await closed(writer for _, writer in others)
        await asyncio.sleep(0.2)
        async with listening(port, 3) as ears:
            assert [ear.status for ear in ears] == [200] * 3

    played(host, story)


def test_a_silent_connection_says_that_it_lives(host: WebHost, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(port: int) -> None:
        monkeypatch.setattr(events, "SILENCE_MAX_S", 0.2)
        monkeypatch.setattr(events, "EVERY_S", 60.0)
        async with listening(port) as [ear]:
            await ear.event()
            found = [await ear.block() for _ in range(3)]
            assert {"": "nothing new"} in found

    played(host, story)


def test_the_end_of_the_daemon_ends_every_stream_at_once(host: WebHost) -> None:
    async def story() -> None:
        async with served(host) as port:
            ears = [await listen(port) for _ in range(3)]
            for ear in ears:
                await ear.event()
            began = time.monotonic()
        assert time.monotonic() - began < 3
        for ear in ears:
            while (event := await ear.next()) is not None:
                assert event["event"] == "tick"
        await closed(ear.writer for ear in ears)

    uvloop.run(story())


def test_where_reading_needs_the_token_events_and_charts_do_too_and_the_page_does_not(tmp_path: Path) -> None:
    host = WebHost(tmp_path)
    settings = msgspec.structs.replace(
        Settings(), source=Source(workers=WORKERS), web=Web(listen="127.0.0.1:0", read_needs_token=True)
    )
    host.supervisor.settings = settings

    async def story(port: int) -> None:
        token = (tmp_path / "token").read_text().strip()
        for path in ("/events", "/chart?instrument=EUR/USD", "/status"):
            assert (await sent(port, request(path)))[0] == 401
        assert (await sent(port, request("/")))[0] == 200
        assert (await sent(port, request("/control"))).json() == {"trusted": False, "read_needs_token": True}
        trusted = (await sent(port, request("/control", "GET", f"Authorization: Bearer {token}"))).json()
        assert trusted == {
            "trusted": True,
            "read_needs_token": True,
            "records_per_second": 1000,
            "draining": False,
        }
        ear = await listen(port, f"Authorization: Bearer {token}")
        assert (await ear.event())[0] == "hello"
        await closed([ear.writer])

    try:
        played(host, story)
    finally:
        host.close()


def test_a_chart_is_the_market_at_its_times(host: WebHost) -> None:
    async def story(port: int) -> None:
        chart = (await sent(port, request("/chart?instrument=EUR/USD&span_s=7200&points=60"))).json()
        assert len(chart["seconds"]) == len(chart["prices"]["EUR/USD"]) == 61
        assert {
            after - before for before, after in zip(chart["seconds"], chart["seconds"][1:], strict=False)
        } == {120}
        assert time.time() - chart["seconds"][-1] < 30
        market = Market(1, host.supervisor.crew.universe)
        for second, price in list(zip(chart["seconds"], chart["prices"]["EUR/USD"], strict=True))[::10]:
            assert market.at("EUR/USD", second * 1000).price == price

    played(host, story)


SATURDAY_MS = 1_795_867_200_000  # 2026-11-28T12:00:00Z: no exchange is open, nor the currency market


def test_what_is_closed_stands_still_at_its_last_price() -> None:
    settings = Settings(market=MarketSettings(hours="market"))
    universe = Universe.load()

    async def story() -> None:
        shown = Instruments(recipe_of(settings, universe), universe)
        try:
            times = (SATURDAY_MS, SATURDAY_MS + 3_600_000)
            moments = [await shown.moment(ms, ms) for ms in times]
            assert moments[0]["closed"] == moments[1]["closed"] == list(range(579))
            assert moments[0]["prices"] == moments[1]["prices"]
            wednesday_ms = SATURDAY_MS - 3 * 86_400_000 + 4 * 3_600_000
            wednesday = await shown.moment(wednesday_ms, wednesday_ms)
            names = [*universe.instruments[:579]]
            assert {names[place] for place in wednesday["closed"]}.isdisjoint({"EUR/USD", "QRVA"})
            assert len(wednesday["closed"]) < 579
        finally:
            shown.close()

    asyncio.run(story())


def test_several_charts_at_once_are_those_of_each_alone(host: WebHost) -> None:
    async def story(port: int) -> None:
        names = ("QRVA", "EUR/USD", "USD/JPY")
        query = "&".join(f"instrument={name}" for name in names)
        together = (await sent(port, request(f"/chart?{query}&span_s=86400&points=48"))).json()
        assert list(together["prices"]) == list(names)
        for name in names:
            alone = (await sent(port, request(f"/chart?instrument={name}&span_s=86400&points=48"))).json()
            if alone["seconds"] == together["seconds"]:
                assert alone["prices"][name] == together["prices"][name]

    played(host, story)


def test_a_chart_names_the_stories_that_moved_its_price(host: WebHost) -> None:
    async def story(port: int) -> None:
        chart = (await sent(port, request("/chart?instrument=EUR/USD&span_s=604800"))).json()
        assert {each["symbol"] for each in chart["stories"]} == {"EUR", "USD"}
        for each in chart["stories"]:
            assert chart["seconds"][0] * 1000 <= each["time_ms"] <= chart["seconds"][-1] * 1000
            assert np.sign(each["move_percent"]) in {0, np.sign(each["sentiment"])}

    played(host, story)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", "instrument"),
        ("instrument=", "instrument: '' is no currency pair"),
        ("instrument=NOPE", "'NOPE' is no currency pair"),
        ("instrument=EUR", "'EUR' is no currency pair"),
        ("instrument=EUR/UDS", "did you mean EUR/USD?"),
        ("instrument=" + "x" * 5000, f"'{'x' * 60}…' is no currency pair"),
        ("instrument=EUR/USD&span=60", "'span': no such parameter; did you mean span_s?"),
        ("instrument=EUR/USD&" + "x" * 5000 + "=1", f"'{'x' * 60}…': no such parameter"),
        ("instrument=EUR/USD&span_s=60&span_s=90", "span_s: given 2 times; give it once"),
        ("instrument=EUR/USD&points=60&points=60", "points: given 2 times; give it once"),
        ("instrument=EUR/USD&span_s=59", "span_s: expected a whole number from 60"),
        ("instrument=EUR/USD&span_s=-1", "span_s"),
        ("instrument=EUR/USD&span_s=1e9", "span_s"),
        ("instrument=EUR/USD&span_s=%D9%A3%D9%A3%D9%A3", "span_s"),
        ("instrument=EUR/USD&span_s=99999999999999999999", "span_s"),
        ("instrument=EUR/USD&points=601", "points"),
        ("instrument=EUR/USD&points=1", "points"),
        ("&".join(f"instrument=I{number}" for number in range(41)), "instrument: give 1 to 40"),
        ("instrument=%27%3B%20DROP%20TABLE%20instruments%3B--", "is no currency pair"),
    ],
)
def test_a_chart_of_nothing_is_refused_in_one_line(host: WebHost, query: str, named: str) -> None:
    async def story(port: int) -> None:
        page = await sent(port, request(f"/chart?{query}"))
        assert page[0] == 400
        assert named in page.json()["detail"]
        assert "\n" not in page.json()["detail"]
        assert len(page.json()["detail"]) < 300

    played(host, story)


def test_too_many_charts_at_once_are_refused_and_asked_for_again(
    host: WebHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "CHARTS_WAITING_MAX", 2)

    async def story(port: int) -> None:
        paths = [f"/chart?instrument=EUR/USD&span_s={span}&points=600" for span in range(3600, 3624)]
        pages = await asyncio.gather(*(sent(port, request(path)) for path in paths))
        assert {page[0] for page in pages} == {200, 503}
        assert (await sent(port, request(paths[0])))[0] == 200

    played(host, story)


def change_market(host: WebHost, seed: int) -> None:
    """As a reload does: the run has another market from now on."""
    run = host.supervisor.current_run
    run.recipe = msgspec.structs.replace(run.recipe, seed=seed)


def test_charts_that_wait_while_the_market_changes_are_answered(
    host: WebHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.02)

    async def story(port: int) -> None:
        async with listening(port) as [ear]:
            await ear.event()
            paths = [f"/chart?instrument=EUR/USD&span_s={span}&points=600" for span in range(3600, 3624)]
            charts = [asyncio.create_task(sent(port, request(path))) for path in paths]
            await asyncio.wait(charts, return_when=asyncio.FIRST_COMPLETED)
            change_market(host, 2)
            assert {page[0] for page in await asyncio.gather(*charts)} == {200}

    played(host, story)


def test_the_page_goes_on_however_often_and_whenever_the_market_changes(
    host: WebHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.02)

    async def story(port: int) -> None:
        async with listening(port) as [ear]:
            for seed in range(2, 40):
                change_market(host, seed)
                assert (await sent(port, request("/chart?instrument=EUR/USD&points=2")))[0] == 200
                await asyncio.sleep(0.003 * (seed % 5))
            newest = host.supervisor.current_run.recipe.seed
            universe = host.supervisor.crew.universe
            async with asyncio.timeout(20):
                while True:
                    kind, tick = await ear.event()
                    if kind == "tick":
                        price = Market(newest, universe).quotes(tick["time_ms"]).price
                        if tick["prices"] == price.tolist():
                            break

    played(host, story)
    assert [line for line in caplog.records if line.levelname == "ERROR"] == []


def test_who_comes_after_a_change_of_the_market_is_told_the_new_one(
    host: WebHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.02)

    async def story(port: int) -> None:
        async with listening(port) as [ear]:
            _, old = await ear.event()
            change_market(host, 2)
            new = old
            while new["market"]["midnight"] == old["market"]["midnight"]:
                kind, content = await ear.event()
                new = content if kind == "hello" else new
            async with listening(port) as [another]:  # mostly in the same second
                _, hello = await another.event()
            assert hello["market"]["midnight"] == new["market"]["midnight"]

    played(host, story)


def test_an_event_that_cannot_be_made_is_told_once_and_the_next_ones_come(
    host: WebHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.02)

    async def story(port: int) -> None:
        async with listening(port) as [ear]:
            await ear.event()
            host.supervisor.holds["test"] = object()  # type: ignore[assignment] # no JSON can be made of it
            await asyncio.sleep(1)
            del host.supervisor.holds["test"]
            for _ in range(events.QUEUE_MAX + 2):  # more than waited before
                await ear.event()

    played(host, story)
    errors = [line.message for line in caplog.records if line.levelname == "ERROR"]
    assert errors == ["the page misses events; tried again each second"]


# What the events are made of.


def test_percentiles_are_those_of_what_came_between_two_looks() -> None:
    before = empty_histogram((0.1, 0.2, 0.4))
    now = Histogram(before.bounds, list(before.counts))
    assert percentiles(before, now) == [None, None, None]
    now.observe(0.15, 50)
    now.observe(0.3, 50)
    p50, p95, p99 = percentiles(before, now)
    assert (p50, p95, p99) == (0.2, 0.38, 0.396)
    assert percentiles(now, now) == [None, None, None]
    later = Histogram(now.bounds, list(now.counts))
    later.observe(7.0, 10)
    assert percentiles(now, later) == [0.4, 0.4, 0.4]


def test_shards_are_those_of_all_workers_over_the_last_seconds(host: WebHost) -> None:
    looked = Figures(host.supervisor)
    stream = StreamReport("market-log", 2, "USER_PARTITION_KEY", 1000.0)
    assert looked.shards() is None

    def say(*records: tuple[float, float]) -> None:
        for worker, each in enumerate(records):
            counts = np.array([each, (0, 0), (0, each[1] / 10)], dtype=float)
            report = Report(state="running", stream=stream, shards=ShardCounts(2, counts.tobytes()))
            host.says(worker, report)
        looked.sample(time.time())

    say((100, 0), (100, 0))
    time.sleep(0.5)
    say((250, 50), (250, 50))
    found = looked.shards()
    assert found is not None
    assert found["shards"] == 2
    assert found["share"] == [0.75, 0.25]
    assert found["load"][0] == pytest.approx(300 / 0.5 / figures.SHARD_RECORDS_PER_SECOND, rel=0.3)
    assert found["throttled"][0] == 0 < found["throttled"][1]


def test_a_worker_that_began_anew_is_counted_from_its_beginning(host: WebHost) -> None:
    looked = Figures(host.supervisor)
    stream = StreamReport("market-log", 1, "USER_PARTITION_KEY", 1000.0)
    for records in (1000.0, 10.0):
        counts = np.array([[records], [0.0], [0.0]])
        host.says(0, Report(state="running", stream=stream, shards=ShardCounts(1, counts.tobytes())))
        looked.sample(time.time())
        time.sleep(0.1)
    found = looked.shards()
    assert found is not None
    assert 0 < found["load"][0] < 1


def test_of_an_auto_stream_no_shards_are_told(host: WebHost) -> None:
    looked = Figures(host.supervisor)
    counts = np.ones((3, 1))
    stream = StreamReport("market-log", 1, "AUTO", 1000.0)
    for _ in range(2):
        host.says(0, Report(state="running", stream=stream, shards=ShardCounts(1, counts.tobytes())))
        looked.sample(time.time())
    assert looked.shards() is None
