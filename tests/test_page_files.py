"""The page's files as they are served: their policy, how long they may be kept, and where they come from."""

import gzip
import http.client
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from daemon import Daemon, Host, Local

PAGE = Path(str(files("tickerd.web"))) / "page"
FILES = sorted(file.relative_to(PAGE).as_posix() for file in PAGE.rglob("*") if file.is_file())
OWN = [name for name in FILES if not name.startswith("vendor/")]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, shared_local: Local) -> Iterator[Daemon]:
    host = Host(tmp_path_factory.mktemp("files"))
    try:
        yield host.run(**shared_local.create().settings, source__workers=1, rate__records_per_second=10)
    finally:
        host.close()


class Answer:
    def __init__(self, daemon: Daemon, path: str, method: str = "GET", **headers: str) -> None:
        connection = http.client.HTTPConnection(daemon.address.removeprefix("http://"), timeout=20)
        connection.request(
            method, path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        answer = connection.getresponse()
        self.status, self.body = answer.status, answer.read()
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        connection.close()


def linked(index: str) -> set[str]:
    return set(re.findall(r'(?:src|href)="(page/[^"]+)"', index))


def test_the_policy_allows_this_server_alone_and_nothing_inline(daemon: Daemon) -> None:
    index = Answer(daemon, "/")
    policy = dict(
        part.strip().partition(" ")[::2] for part in index.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "font-src", "img-src")} == {
        "'self'"
    }
    assert {policy[name] for name in ("frame-ancestors", "base-uri", "form-action")} == {"'none'"}
    assert "unsafe" not in index.headers["content-security-policy"]
    assert index.headers["x-content-type-options"] == "nosniff"
    text = index.body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon[a-z]+=|<style", text)


def test_no_file_of_ours_names_another_host() -> None:
    for name in OWN:
        if name.endswith((".woff2", ".svg")):
            continue
        text = (PAGE / name).read_text()
        assert set(re.findall(r"https?://[^\"'\s)]+", text)) <= {"http://www.w3.org/2000/svg"}, name
        assert "innerHTML" not in text, name


def test_what_the_page_needs_may_be_kept_for_ever_under_its_digest(daemon: Daemon) -> None:
    index = Answer(daemon, "/")
    assert index.headers["cache-control"] == "no-cache"
    found = linked(index.body.decode())
    assert len(found) >= 5
    for path in found:
        answer = Answer(daemon, f"/{path}")
        assert answer.status == 200, path
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.body == (PAGE / path.split("/", 2)[2]).read_bytes()
        again = Answer(daemon, f"/{path}", If_None_Match=answer.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]


def test_every_module_is_found_from_the_first_one(daemon: Daemon) -> None:
    digest = next(iter(linked(Answer(daemon, "/").body.decode()))).split("/")[1]
    waiting, seen = ["app.js"], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        answer = Answer(daemon, f"/page/{digest}/{name}")
        assert answer.status == 200, name
        assert answer.headers["content-type"].startswith("text/javascript"), name
        waiting += re.findall(r'^import .* from "\./([^"]+)";', answer.body.decode(), re.MULTILINE)
    assert seen == {name for name in FILES if name.endswith(".js")} - {"theme.js"}


def test_it_comes_zipped_where_that_is_understood_with_a_tag_of_its_own(daemon: Daemon) -> None:
    plain, zipped = Answer(daemon, "/"), Answer(daemon, "/", Accept_Encoding="gzip")
    assert zipped.headers["content-encoding"] == "gzip"
    assert zipped.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(zipped.body) == plain.body
    assert zipped.headers["etag"] != plain.headers["etag"]
    assert not plain.headers["etag"].startswith("W/")
    assert Answer(daemon, "/", "HEAD").headers["content-length"] == plain.headers["content-length"]


@pytest.mark.parametrize(
    "name", ["app.js", "../app.py", "%2e%2e/app.py", "..%2fapp.py", "no.js", "vendor", ""]
)
def test_nothing_else_is_to_be_had(daemon: Daemon, name: str) -> None:
    digest = next(iter(linked(Answer(daemon, "/").body.decode()))).split("/")[1]
    wrong = "0" * 16 if name == "app.js" else digest
    assert Answer(daemon, f"/page/{wrong}/{name}").status == 404


def test_the_vendored_files_are_what_their_list_says() -> None:
    said = (PAGE / "vendor" / "README.txt").read_text()
    version = re.search(r"uplot (\d+\.\d+\.\d+)", said)
    assert version is not None
    assert f"(v{version[1]})" in (PAGE / "vendor" / "uPlot.js").read_text()[:400]
    for name in FILES:
        if name.startswith("vendor/") and name != "vendor/README.txt":
            assert name.removeprefix("vendor/") in said, name


def test_the_description_names_what_the_page_asks_for(daemon: Daemon) -> None:
    described = json.loads(Answer(daemon, "/openapi.json").body)["paths"]
    assert {"/", "/events", "/chart", "/control"} <= set(described)
