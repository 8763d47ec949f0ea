"""`GET /logs` as a client meets it: a real daemon, real HTTP, and what the stream holds to compare with."""

import gzip
import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from daemon import Daemon, Host, Local
from reading_back import stored
from tickerd.history import Cursor
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.snapshots import STORIES_MAX, Snapshots
from tickerd.web.asked import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    PARAMETERS,
    SPAN_DAYS_MAX,
    Asked,
    Instruments,
    asked,
    cursor_of,
    cursor_text,
    milliseconds,
)
from tickerd.web.encoded import coding_for
from tickerd.web.problem import ProblemError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

UNIVERSE = Universe.load()
PAIRS, STOCKS = len(UNIVERSE.pairs), len(UNIVERSE.stocks)
FEEDS = ("forex_exchange_rates", "stock_prices", "stock_news_feed")
HOUR = timedelta(hours=1)
NOW_MS = 1_795_608_000_000

Json = dict[str, Any]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Json:
        return dict(json.loads(self.body))


def ask(daemon: Daemon, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request; `If_None_Match` stands for If-None-Match."""
    connection = http.client.HTTPConnection(urlsplit(daemon.address).netloc, timeout=30)
    try:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def logs(daemon: Daemon, **parameters: str) -> Json:
    """The rows for these parameters; `from_` stands for from."""
    asks = "&".join(f"{name.rstrip('_')}={quote(value)}" for name, value in parameters.items())
    answer = ask(daemon, f"/logs?{asks}")
    assert answer.status == 200, answer.body
    return answer.json()


def text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def an_hour_ago() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - HOUR


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, shared_local: Local) -> Iterator[Daemon]:
    """A daemon without a database."""
    shared_local.no_faults()
    host = Host(tmp_path_factory.mktemp("logs"))
    try:
        running = host.run(
            **shared_local.create().settings,
            source__workers=1,
            database__url="",
            database__snapshot_every_s=60,
        )
        running.until_acked()
        yield running
        assert "Traceback" not in running.said()
    finally:
        host.close()


@pytest.fixture(scope="module")
def snapshots() -> Snapshots:
    return Snapshots(Market(1, UNIVERSE))


class TestNow:
    def test_it_has_every_instrument_at_the_last_whole_second(self, daemon: Daemon) -> None:
        rows = logs(daemon)
        assert [len(rows[feed]) for feed in FEEDS] == [PAIRS, STOCKS, STORIES_MAX]
        (moment,) = {row["time"] for feed in FEEDS[:2] for row in rows[feed]}
        age = datetime.now(UTC) - datetime.fromisoformat(moment)
        assert timedelta(0) <= age < timedelta(seconds=2)
        assert moment.endswith(".000Z")

    def test_what_is_latest_now_is_what_at_says_of_it_later(self, daemon: Daemon) -> None:
        latest = logs(daemon)
        moment = latest["stock_prices"][0]["time"]
        time.sleep(1.1)
        assert logs(daemon, at=moment) == latest
        assert logs(daemon) != latest

    def test_now_an_hour_ago_and_the_stream_agree_to_the_tick(
        self, host: Host, shared_local: Local, daemon: Daemon
    ) -> None:
        """What ran an hour ago put the same bytes into the stream as generate makes now (test_kill.py)."""
        began = an_hour_ago()
        made = host.tickerd(
            *("generate", "--from", text(began), "--to", text(began + timedelta(seconds=1))),
            *("--rate", "3000", "-o", "made.jsonl"),
        )
        assert made.returncode == 0, made.stderr
        records = [json.loads(line) for line in (host.directory / "made.jsonl").read_text().splitlines()]
        priced = [record for record in records if record["type"] != "news"][::150]
        assert len(priced) > 15
        for record in priced:
            symbol = record.get("currency_pair") or record["stock_symbol"]
            rows = logs(daemon, at=record["time"], instrument=symbol)
            (row,) = rows["forex_exchange_rates"] + rows["stock_prices"]
            for field in ("rate", "price", "bid", "ask", "time"):
                assert row.get(field) == record.get(field)
        # And those that were streamed just now.
        local = shared_local.create()
        running = host.run(**local.settings, source__workers=1, database__url="")
        running.until_acked(2000)
        running.stop()
        (streamed,) = stored(local).values()
        some = [record for record in streamed if record["type"] != "news"][::100]
        assert len(some) > 10
        for record in some:
            symbol = record.get("currency_pair") or record["stock_symbol"]
            rows = logs(daemon, at=record["time"], instrument=symbol)
            (row,) = rows["forex_exchange_rates"] + rows["stock_prices"]
            for field in ("rate", "price", "bid", "ask", "time"):
                assert row.get(field) == record.get(field)

    def test_rows_of_one_feed_or_instrument_are_those_of_the_whole(self, daemon: Daemon) -> None:
        moment = text(an_hour_ago())
        whole = logs(daemon, at=moment)
        for feed, name in zip(("forex", "stock", "news"), FEEDS, strict=True):
            part = logs(daemon, at=moment, feed=feed)
            assert part[name] == whole[name]
            assert not any(part[other] for other in FEEDS if other != name)
        pair = logs(daemon, at=moment, instrument="EUR/USD")
        assert pair["forex_exchange_rates"] == whole["forex_exchange_rates"][:1]
        symbol = UNIVERSE.stocks[3].symbol
        stock = logs(daemon, at=moment, instrument=symbol)
        assert stock["stock_prices"] == whole["stock_prices"][3:4]
        assert {row["stock_symbol"] for row in stock["stock_news_feed"]} <= {symbol}
        macro = logs(daemon, at=moment, instrument="EUR")
        assert {row["category"] for row in macro["stock_news_feed"]} == {"macro"}
        assert logs(daemon, at=moment, instrument=symbol, feed="news")["stock_prices"] == []

    def test_a_limit_counts_the_rows_of_all_feeds(self, daemon: Daemon) -> None:
        moment = text(an_hour_ago())
        for limit in (1, PAIRS, PAIRS + 1, PAIRS + STOCKS + 3, LIMIT_MAX):
            rows = logs(daemon, at=moment, limit=str(limit))
            expected = min(limit, PAIRS + STOCKS + STORIES_MAX)
            assert sum(len(rows[feed]) for feed in FEEDS) == expected


class TestBytes:
    def test_every_coding_has_the_same_content_and_a_tag_of_its_own(self, daemon: Daemon) -> None:
        path = f"/logs?at={text(an_hour_ago())}"
        plain = ask(daemon, path)
        gzipped = ask(daemon, path, Accept_Encoding="gzip")
        zstded = ask(daemon, path, Accept_Encoding="gzip, deflate, br, zstd")
        assert gzip.decompress(gzipped.body) == zstd.decompress(zstded.body) == plain.body
        assert [each.headers.get("Content-Encoding") for each in (plain, gzipped, zstded)] == [
            None,
            "gzip",
            "zstd",
        ]
        assert len({each.headers["ETag"] for each in (plain, gzipped, zstded)}) == 3
        for each in (plain, gzipped, zstded):
            assert each.headers["Vary"] == "Accept-Encoding"
            assert each.headers["Cache-Control"] == "no-cache"
            assert each.headers["Content-Type"] == "application/json"
            assert each.headers["ETag"].startswith('"')
        assert len(gzipped.body) < len(plain.body) / 4

    def test_who_has_it_already_gets_no_body(self, daemon: Daemon) -> None:
        path = f"/logs?at={text(an_hour_ago())}"
        tag = ask(daemon, path, Accept_Encoding="gzip").headers["ETag"]
        for given_tags in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            again = ask(daemon, path, Accept_Encoding="gzip", If_None_Match=given_tags)
            assert (again.status, again.body) == (304, b"")
            assert again.headers["ETag"] == tag
            assert again.headers["Vary"] == "Accept-Encoding"
        assert ask(daemon, path, Accept_Encoding="zstd", If_None_Match=tag).status == 200
        assert ask(daemon, path, Accept_Encoding="gzip", If_None_Match='"other"').status == 200

    def test_all_who_ask_within_a_second_get_the_same_bytes(self, daemon: Daemon) -> None:
        answers: list[Answer] = []

        def client() -> None:
            answers.extend(ask(daemon, "/logs", Accept_Encoding="zstd") for _ in range(20))

        clients = [threading.Thread(target=client) for _ in range(8)]
        began_s = time.monotonic()
        for each in clients:
            each.start()
        for each in clients:
            each.join()
        bodies = {answer.body for answer in answers}
        assert len(answers) == 160
        assert len(bodies) <= time.monotonic() - began_s + 2
        assert {answer.headers["ETag"] for answer in answers if answer.body in bodies} == {
            answer.headers["ETag"] for answer in answers
        }
        assert len({answer.headers["ETag"] for answer in answers}) == len(bodies)

    def test_head_says_what_get_would(self, daemon: Daemon) -> None:
        path = f"/logs?at={text(an_hour_ago())}"
        head, get = ask(daemon, path, "HEAD"), ask(daemon, path)
        assert head.body == b""
        names = ("ETag", "Content-Length", "Content-Type", "Vary")
        assert [head.headers[name] for name in names] == [get.headers[name] for name in names]

    @pytest.mark.parametrize(
        ("header", "coding"),
        [
            ("", "identity"),
            ("gzip", "gzip"),
            ("zstd, gzip", "zstd"),
            ("gzip, zstd", "zstd"),
            ("gzip;q=1.0, zstd;q=0.5", "gzip"),
            ("zstd;q=0, gzip;q=0.1", "gzip"),
            ("br", "identity"),
            ("*", "zstd"),
            ("*;q=0", "identity"),
            ("gzip;q=0, *", "zstd"),
            ("identity, gzip;q=0.5", "identity"),
            ("identity;q=0, gzip;q=0.5", "gzip"),
            ("GZIP", "gzip"),
            ("x-gzip", "gzip"),
            ("gzip;q=nonsense", "identity"),
            ("gzip;level=9", "gzip"),
            ("g" * 1000, "identity"),
        ],
    )
    def test_the_coding_is_the_best_of_those_that_are_wanted(self, header: str, coding: str) -> None:
        assert coding_for(header) == coding

    @given(st.text(max_size=100))
    def test_no_header_is_too_strange(self, header: str) -> None:
        assert coding_for(header) in {"identity", "gzip", "zstd"}


class TestStretch:
    def test_rows_are_those_of_whole_minutes_in_order(self, daemon: Daemon, snapshots: Snapshots) -> None:
        begin = an_hour_ago().replace(second=30)
        rows = logs(daemon, from_=text(begin), to=text(begin + timedelta(minutes=3)), limit="10000")
        times = sorted({row["time"] for row in rows["stock_prices"]})
        first = begin.replace(second=0) + timedelta(minutes=1)
        assert times == [text(first + timedelta(minutes=number)) for number in range(3)]
        assert len(rows["stock_prices"]) == 3 * STOCKS
        assert len(rows["forex_exchange_rates"]) == 3 * PAIRS
        assert "next" not in rows
        at = logs(daemon, at=times[1])
        of_then = [row for row in rows["stock_prices"] if row["time"] == times[1]]
        assert of_then == sorted(at["stock_prices"], key=lambda row: row["stock_symbol"])
        stories = snapshots.stories(
            round(begin.timestamp() * 1000), round(begin.timestamp() * 1000) + 180_000
        )
        assert [row["story_id"] for row in rows["stock_news_feed"]] == [each.row.story_id for each in stories]

    @pytest.mark.parametrize("limit", ["7", "579", "1000"])
    def test_pages_put_together_are_the_whole(self, daemon: Daemon, limit: str) -> None:
        begin = an_hour_ago()
        stretch = {"from_": text(begin), "to": text(begin + timedelta(minutes=4))}
        if limit == "7":
            stretch["instrument"] = UNIVERSE.stocks[0].symbol
            stretch["to"] = text(begin + timedelta(minutes=40))
        whole = logs(daemon, **stretch, limit="10000")
        assert "next" not in whole
        page, pages = logs(daemon, **stretch, limit=limit), 1
        together = {feed: page[feed] for feed in FEEDS}
        while "next" in page:
            assert sum(len(page[feed]) for feed in FEEDS) == int(limit)
            page, pages = logs(daemon, **stretch, limit=limit, cursor=page["next"]), pages + 1
            together = {feed: together[feed] + page[feed] for feed in FEEDS}
        assert together == {feed: whole[feed] for feed in FEEDS}
        assert pages > 2

    def test_without_a_limit_a_page_is_bounded(self, daemon: Daemon) -> None:
        page = logs(daemon, from_=text(an_hour_ago()))
        assert sum(len(page[feed]) for feed in FEEDS) == LIMIT_DEFAULT
        assert page["next"]

    def test_a_year_of_one_instruments_stories_comes_in_time(self, daemon: Daemon) -> None:
        begin = datetime.now(UTC) - timedelta(days=SPAN_DAYS_MAX) + HOUR
        page = logs(daemon, from_=text(begin), feed="news", instrument="EUR", limit="10000")
        assert len(page["stock_news_feed"]) > 100

    def test_nothing_is_an_empty_answer(self, daemon: Daemon) -> None:
        moment = text(an_hour_ago())
        assert logs(daemon, from_=moment, to=moment) == {feed: [] for feed in FEEDS}

    def test_many_at_once_are_answered_or_told_to_come_back(self, daemon: Daemon) -> None:
        begin = text(datetime.now(UTC) - timedelta(days=SPAN_DAYS_MAX - 1))
        statuses: list[int] = []

        def client() -> None:
            answer = ask(daemon, f"/logs?from={begin}&limit=10000")
            statuses.append(answer.status)
            if answer.status != 200:
                assert int(answer.headers["Retry-After"]) >= 1
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert answer.json()["status"] == 503

        clients = [threading.Thread(target=client) for _ in range(60)]
        for each in clients:
            each.start()
        slowest = 0.0
        while any(each.is_alive() for each in clients):
            began_s = time.monotonic()
            assert ask(daemon, "/livez").status == 200
            assert ask(daemon, "/logs").status == 200  # no other answer keeps the latest waiting
            slowest = max(slowest, time.monotonic() - began_s)
        assert len(statuses) == 60
        assert set(statuses) <= {200, 503}
        assert 503 in statuses
        assert slowest < 2.0
        assert ask(daemon, "/logs").status == 200


INSTRUMENTS = Instruments.of(UNIVERSE)


def request(*parameters: tuple[str, str]) -> Asked:
    return asked(MultiDict(parameters), INSTRUMENTS, NOW_MS)


class TestAsking:
    @pytest.mark.parametrize(
        ("parameters", "detail"),
        [
            ([("fed", "forex")], "'fed': no such parameter; did you mean feed?"),
            (
                [("xyzzy", "1")],
                "'xyzzy': no such parameter; there are feed, instrument, at, from, to, limit and cursor",
            ),
            ([("feed", "forex"), ("feed", "stock")], "feed: given 2 times; give it once"),
            ([("feed", "stocks")], "feed: 'stocks' is none; did you mean stock?"),
            ([("feed", "")], "feed: '' is none; there are forex, stock and news"),
            ([("instrument", "eur/usd")], "instrument: 'eur/usd' is none; did you mean EUR/USD?"),
            ([("instrument", "")], "instrument: '' is none; one such as EUR/USD would be right"),
            (
                [("instrument", "EUR/USD"), ("feed", "news")],
                "instrument: EUR/USD is in forex, not in news; leave feed out",
            ),
            (
                [("instrument", "' OR 1=1; DROP TABLE stock_prices --")],
                'instrument: "\' OR 1=1; DROP TABLE stock_prices --" is none; one such as EUR/USD',
            ),
            (
                [("at", "yesterday")],
                "at: 'yesterday' is no time; give a time such as 2026-11-24T16:00:00Z (RFC 3339)",
            ),
            ([("at", "2026-02-30T00:00:00Z")], "at: '2026-02-30T00:00:00Z' is no time; give a time such as"),
            ([("at", "2026-11-24T16:00:00")], "at: '2026-11-24T16:00:00' is no time; give a time such as"),
            ([("at", "2026-11-24T16:00:00 01:00")], "in a URL, + is written %2B"),
            ([("at", "2099-01-01T00:00:00Z")], "at: '2099-01-01T00:00:00Z' lies in the future"),
            ([("at", "1969-12-31T23:59:59Z")], "at: '1969-12-31T23:59:59Z' lies before 1970"),
            ([("from", "2099-01-01T00:00:00Z")], "from: '2099-01-01T00:00:00Z' lies in the future"),
            (
                [("from", "2026-11-01T00:00:00Z"), ("to", "2099-01-01T00:00:00Z")],
                "to: '2099-01-01T00:00:00Z' lies in the future; give a time up to now",
            ),
            ([("from", "1970-01-01T00:00:00Z")], "from: 20783 days up to now are too many; give at most 366"),
            (
                [("from", "2026-11-02T00:00:00Z"), ("to", "2026-11-01T00:00:00Z")],
                "to: it lies before from; give the earlier time as from",
            ),
            ([("to", "2026-11-01T00:00:00Z")], "to: a stretch needs its begin; give from as well"),
            (
                [("at", "2026-11-01T00:00:00Z"), ("from", "2026-11-01T00:00:00Z")],
                "at: a moment cannot go with from and to; give either a moment or a stretch",
            ),
            ([("limit", "0")], "limit: '0' is not right; give a whole number from 1 to 10000"),
            ([("limit", "10001")], "limit: '10001' is not right"),
            ([("limit", "-1")], "limit: '-1' is not right"),
            ([("limit", "1e3")], "limit: '1e3' is not right"),
            ([("limit", "\u0661")], "limit: '\u0661' is not right"),
            ([("limit", "9" * 5000)], "limit: '" + "9" * 60 + "\u2026' is not right"),
            ([("cursor", "abc")], "cursor: it belongs to a stretch of time"),
            (
                [("cursor", "abc"), ("from", "2026-11-01T00:00:00Z")],
                "cursor: 'abc' is none; give the value of next in the answer before",
            ),
        ],
    )
    def test_what_is_wrong_is_said_in_one_sentence(
        self, parameters: list[tuple[str, str]], detail: str
    ) -> None:
        with pytest.raises(ProblemError) as problem:
            request(*parameters)
        assert detail in problem.value.detail
        assert problem.value.status == 400
        assert "\n" not in problem.value.detail

    def test_it_is_a_problem_on_the_wire(self, daemon: Daemon) -> None:
        answer = ask(daemon, "/logs?limit=many")
        assert answer.status == 400
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json() == {
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "limit: 'many' is not right; give a whole number from 1 to 10000",
        }

    @pytest.mark.parametrize(
        ("time_text", "ms"),
        [
            ("2026-11-25T12:00:00Z", NOW_MS),
            ("2026-11-25t12:00:00z", NOW_MS),
            ("2026-11-25 12:00:00Z", NOW_MS),
            ("2026-11-25T13:00:00+01:00", NOW_MS),
            ("2026-11-25T06:30:00-05:30", NOW_MS),
            ("2026-11-25T12:00:00.5Z", NOW_MS + 500),
            ("2026-11-25T12:00:00.001999Z", NOW_MS + 1),
            ("2026-11-25T12:00:60Z", None),
            ("2026-11-25T24:00:00Z", None),
            ("2026-11-25", None),
            ("2026-11-25T12:00Z", None),
            ("2026-W48-3T12:00:00Z", None),
            ("2026-11-25T12:00:00.Z", None),
            ("2026-11-25T12:00:00+1:00", None),
            ("2026-11-25T12:00:00+25:00", None),
            ("\u0662026-11-25T12:00:00Z", None),
            ("1969-12-31T23:59:59.999Z", -1),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139_000),
            ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
        ],
    )
    def test_times_are_those_of_rfc_3339(self, time_text: str, ms: int | None) -> None:
        assert milliseconds(time_text) == ms

    @given(st.dictionaries(st.sampled_from(PARAMETERS), st.text(max_size=40)))
    def test_whatever_is_given_is_asked_for_or_refused(self, parameters: dict[str, str]) -> None:
        refusal = None
        try:
            request(*parameters.items())
        except ProblemError as problem:
            refusal = problem
        assert refusal is None or (refusal.status == 400 and refusal.detail.isprintable())

    @given(
        ms=st.integers(0, 10**14),
        cursor=st.one_of(
            st.tuples(st.sampled_from([0, 1]), st.sampled_from(UNIVERSE.instruments)),
            st.tuples(st.just(2), st.sampled_from(["QRVA 0000000000000001", "EUR 9999999999999999"])),
        ),
    )
    def test_a_cursor_comes_back_as_it_went(self, ms: int, cursor: tuple[int, str]) -> None:
        there = Cursor(ms, *cursor)
        assert cursor_of(cursor_text(there)) == there

    @given(st.text(max_size=60))
    def test_no_other_text_is_a_cursor(self, given_text: str) -> None:
        with pytest.raises(ProblemError, match=r"cursor: .* is none; give the value of next"):
            cursor_of(given_text)

    def test_the_same_request_a_moment_later_is_the_same_one(self) -> None:
        for parameters in ({}, {"feed": "stock"}, {"instrument": "EUR", "limit": "3"}):
            there = [asked(MultiDict(parameters), INSTRUMENTS, NOW_MS + later) for later in (0, 1)]
            assert there[0] == there[1]

    def test_a_clock_that_is_a_little_ahead_may_ask_up_to_now(self) -> None:
        what = request(("from", "2026-11-25T11:00:00Z"), ("to", "2026-11-25T12:00:05Z"))
        assert what.to_ms == NOW_MS + 1


class TestReadingByToken:
    def test_everything_but_health_needs_it(self, host: Host, shared_local: Local) -> None:
        closed = host.run(
            **shared_local.create().settings,
            source__workers=1,
            web__read_needs_token=True,
            database__url="",
        )
        closed.until_ready()
        for path in ("/livez", "/healthz", "/readyz"):
            assert ask(closed, path).status == 200
        token = (host.state / "token").read_text().strip()
        wrong = (
            "",
            "Bearer",
            "Bearer x",
            f"Bearer {token}x",
            f"Bearer {token[:-1]}",
            f"Basic {token}",
            token,
        )
        for path in ("/logs", "/logs?feed=forex", "/status", "/metrics", "/openapi.json"):
            for method in ("GET", "HEAD"):
                assert ask(closed, path, method).status == 401
            for given_token in wrong:
                answer = ask(closed, path, Authorization=given_token)
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert b"EUR" not in answer.body
            assert ask(closed, path, Authorization=f"Bearer {token}").status == 200
        # Who may not read learns nothing of what would be right either.
        assert ask(closed, "/logs?feed=nonsense").status == 401
