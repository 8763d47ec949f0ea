"""Settings: where values come from, what is refused and in which words, and what is printed."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import tickerd
from tickerd import config
from tickerd.about import listen_address
from tickerd.checks import LEAVES, contradictions, redacted
from tickerd.config import Loaded, SettingsError, load, state_directory, workers
from tickerd.cores import cgroup_cpus
from tickerd.settings import (
    Database,
    Kinesis,
    Market,
    Mix,
    Rate,
    RateStage,
    RecordFormat,
    Settings,
    Source,
    Web,
)
from tickerd.settings_text import describe, settings_digest

CONTRACT = """
[source]
id = ""
workers = "auto"
drain_max_s = 60
[market]
seed = 1
universe = "default"
hours = "continuous"
[rate]
records_per_second = 1000
mix = { forex = 0.3, stock = 0.65, news = 0.05 }
mode = "stream"
every_s = 60
stages = []
catch_up_max_s = 300
catch_up_factor = 2
fleet_records_per_second = 0
[record]
format = "json"
[destination]
kind = "kinesis"
[kinesis]
stream = "market-log"
region = ""
endpoint_url = ""
role_arn = ""
aggregation = "none"
order = "relaxed"
partition_key = "instrument"
linger_ms = 250
aggregate_bytes_max = 51200
request = "json"
shard_limits = true
calls_in_flight_max = 32
backlog_bytes_max = 67108864
[pubsub]
project = ""
topic = "market-log"
subscription = ""
endpoint = ""
packing = "none"
order = "relaxed"
ordering_keys = 32
compression = "none"
message_bytes_max = 65536
linger_ms = 250
requests_in_flight_max = 16
backlog_bytes_max = 67108864
[file]
path = ""
rotate_bytes = 268435456
rotate_s = 3600
compression = "none"
fsync = "rotate"
[web]
listen = "127.0.0.1:9631"
control_socket = ""
token_file = ""
read_needs_token = false
tls_certificate = ""
tls_key = ""
[database]
url = "sqlite:///tickerd.db"
tls_ca_file = ""
iam = false
snapshot_every_s = 60
keep_days = 7
[state]
directory = "/var/lib/tickerd"
[log]
level = "info"
format = "auto"
embedded_metrics = false
"""


@pytest.fixture(autouse=True)
def _no_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "FILE_DEFAULT", tmp_path / "default.toml")


def given_sets(*sets: str) -> Settings:
    return load(None, sets, {}).settings


def problems(*sets: str, environ: dict[str, str] | None = None, file: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(file, sets, environ or {})
    assert all(problem.isprintable() for problem in caught.value.problems), "each problem is one line"
    return caught.value.problems


def problem(*sets: str) -> str:
    found = problems(*sets)
    assert len(found) == 1, found
    return found[0]


def toml_file(directory: Path, text: str | bytes) -> Path:
    file = directory / "tickerd.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


class TestSources:
    def test_the_defaults_are_the_contracts_and_so_are_the_names(self, tmp_path: Path) -> None:
        loaded = load(toml_file(tmp_path, CONTRACT), [], {})
        assert loaded.settings == Settings()
        assert {origin.partition(" ")[0] for origin in loaded.origins.values()} == {"file"}, (
            "no name is left out"
        )

    def test_without_anything_given_every_value_is_a_default(self) -> None:
        loaded = load(None, ["state.directory=x"], {})
        assert set(loaded.origins.values()) == {"default", "--set"}
        assert loaded.settings.rate == Rate()

    def test_the_environment_beats_the_file_and_set_beats_both(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, "[rate]\nrecords_per_second = 1\nevery_s = 1\ncatch_up_max_s = 1\n")
        environ = {"TICKERD_RATE__RECORDS_PER_SECOND": "2", "TICKERD_RATE__EVERY_S": "2", "RATE": "9"}
        loaded = load(file, ["rate.records_per_second=3"], environ)
        rate = loaded.settings.rate
        assert (rate.records_per_second, rate.every_s, rate.catch_up_max_s) == (3, 2, 1)
        assert loaded.origins["rate.records_per_second"] == "--set"
        assert loaded.origins["rate.every_s"] == "environment TICKERD_RATE__EVERY_S"
        assert loaded.origins["rate.catch_up_max_s"] == f"file {file}"
        assert loaded.origins["rate.mode"] == "default"

    def test_without_a_file_named_the_default_file_counts_when_it_exists(self, tmp_path: Path) -> None:
        (tmp_path / "default.toml").write_text("[market]\nseed = 5\n")
        assert given_sets().market.seed == 5
        assert load(toml_file(tmp_path, ""), [], {}).settings.market.seed == 1

    def test_the_process_environment_is_read_where_no_other_is_given(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TICKERD_MARKET__SEED", "7")
        assert load(None, []).settings.market.seed == 7

    def test_the_last_of_two_sets_of_one_key_wins_even_over_a_wrong_one(self) -> None:
        assert given_sets("market.seed=oops", "market.seed=2", "market.seed=3").market.seed == 3

    def test_a_table_is_short_for_its_keys_and_leaves_the_others_what_they_were(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, "[rate.mix]\nforex = 5\n")
        loaded = load(file, ["rate.mix={news=1}"], {"TICKERD_RATE__MIX": "{stock=2, news=3}"})
        assert loaded.settings.rate.mix == Mix(forex=5, stock=2, news=1)
        assert given_sets("rate={mix={news=1}, every_s=5}").rate == Rate(mix=Mix(news=1), every_s=5)

    def test_the_variable_of_a_key_beats_the_variable_of_its_table(self) -> None:
        environ = {
            "TICKERD_RATE__MIX__NEWS": "0.5",
            "TICKERD_RATE__MIX": "{news=1}",
            "TICKERD_RATE": "{mix={news=2}}",
        }
        assert load(None, [], environ).settings.rate.mix == Mix(news=0.5)

    def test_a_list_is_replaced_whole(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, "[[rate.stages]]\nfor_s = 1\nrecords_per_second = 1\n")
        loaded = load(file, ["rate.stages=[{for_s=60, records_per_second=0.5}]"], {})
        assert loaded.settings.rate.stages == (RateStage(60, 0.5),)
        assert loaded.settings.rate.stages[0].milli_records_per_second == 500

    @pytest.mark.parametrize("value", ["2024", "true", "1.5", "2024-01-01", "a=b", "ab#c", '"2024"', "inf"])
    def test_a_setting_that_is_text_takes_what_toml_would_read_as_something_else(self, value: str) -> None:
        assert given_sets(f"file.path={value}").file.path == value.strip('"')

    def test_spaces_around_key_and_value_and_an_empty_value_are_understood(self) -> None:
        assert given_sets(" kinesis.stream = orders ", "source.id=").kinesis.stream == "orders"

    def test_what_kubernetes_says_of_a_service_named_tickerd_is_not_ours(self) -> None:
        environ = dict.fromkeys(
            [
                "TICKERD_SERVICE_HOST",
                "TICKERD_SERVICE_PORT",
                "TICKERD_SERVICE_PORT_HTTP",
                "TICKERD_PORT",
                "TICKERD_PORT_9631_TCP",
                "TICKERD_PORT_9631_TCP_ADDR",
            ],
            "tcp://10.0.0.1:9631",
        )
        assert load(None, [], environ).settings.web == Web()

    def test_a_file_may_begin_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, b"\xef\xbb\xbf[market]\nseed = 2\n")
        assert load(file, [], {}).settings.market.seed == 2

    def test_only_config_reads_the_environment(self) -> None:
        package = Path(tickerd.__file__).parent
        readers = {
            file.name
            for file in package.rglob("*.py")
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"}
        }
        assert readers == {"config.py"}

    def test_settings_travel_to_other_processes_unchanged(self) -> None:
        settings = given_sets("rate.stages=[{for_s=1, records_per_second=2}]", "source.workers=3")
        assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


class TestProblems:
    def test_an_unknown_key_names_the_nearest_known_one(self) -> None:
        assert problem("rate.record_per_second=5") == (
            "rate.record_per_second (--set): no such setting; did you mean rate.records_per_second?"
        )

    @pytest.mark.parametrize(
        ("key", "meant"),
        [
            ("records_per_second", "rate.records_per_second"),
            ("kinesis.records_per_second", "rate.records_per_second"),
            ("rate.mix.new", "rate.mix.news"),
            ("kineses.region", "kinesis.region"),
            ("web.listen.port", "web.listen"),
            ("pubsub.ordr", "pubsub.order"),
        ],
    )
    def test_a_key_without_its_section_or_in_another_is_recognised(self, key: str, meant: str) -> None:
        assert problem(f"{key}=1") == f"{key} (--set): no such setting; did you mean {meant}?"

    def test_an_unknown_key_that_resembles_nothing_points_to_the_list(self) -> None:
        assert problem("qqq=1") == "qqq (--set): no such setting; `tickerd config` shows all there are"

    def test_an_unknown_section_is_named_once(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, "[kineses]\nregion = 'x'\nstream = 'y'\n")
        assert problems(file=file) == [f"kineses (file {file}): no such section; did you mean kinesis?"]

    def test_a_quoted_key_is_not_taken_apart_at_its_dots(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, '"market.seed" = 5\n')
        assert problems(file=file)[0].startswith(f'"market.seed" (file {file}): no such setting')

    def test_a_variable_with_one_underscore_is_shown_the_two(self) -> None:
        name = "TICKERD_RATE_RECORDS_PER_SECOND"
        (line,) = problems(environ={name: "5"})
        assert line.startswith(f"rate_records_per_second (environment {name}): no such setting; ")
        assert line.endswith("did you mean TICKERD_RATE__RECORDS_PER_SECOND?")

    def test_a_value_out_of_range_says_what_would_be_right(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, "[kinesis]\nlinger_ms = 0\n")
        assert problems(file=file) == [
            f"kinesis.linger_ms (file {file}): 0 is out of range; an integer from 1 to 10000 (ms)"
        ]

    @pytest.mark.parametrize(
        ("assignment", "right"),
        [
            ("market.seed=true", "an integer from 0 to 9223372036854775807"),
            ("market.seed=1.0", "an integer from 0 to 9223372036854775807"),
            ("market.seed=one", "an integer from 0 to 9223372036854775807"),
            ("market.seed=", "an integer from 0 to 9223372036854775807"),
            ("market.seed=[1]", "an integer from 0 to 9223372036854775807"),
            ("market.seed=2024-01-01", "an integer from 0 to 9223372036854775807"),
            ("source.workers=1.5", '"auto" or an integer from 1 to 1024'),
            ("source.workers=true", '"auto" or an integer from 1 to 1024'),
            ("source.workers=many", '"auto" or an integer from 1 to 1024'),
            ("source.workers=0", '"auto" or an integer from 1 to 1024'),
            ("source.workers=1025", '"auto" or an integer from 1 to 1024'),
            ("rate.catch_up_factor=true", "a number from 1 to 100"),
            ("rate.catch_up_factor=nan", "a number from 1 to 100"),
            ("rate.catch_up_factor=inf", "a number from 1 to 100"),
            ("rate.catch_up_factor=0.99", "a number from 1 to 100"),
            ("rate.catch_up_factor=100.01", "a number from 1 to 100"),
            ("rate.catch_up_factor=1" + 400 * "0", "a number from 1 to 100"),
            ("rate.mix.news=-0.001", "a number from 0 to 1000000"),
            ("rate.mix.news=nan", "a number from 0 to 1000000"),
            ("kinesis.shard_limits=1", "true or false"),
            ("kinesis.shard_limits=yes", "true or false"),
            ("kinesis.partition_key=1", '"instrument" or "even"'),
            ("rate.records_per_second=0.0005", "in steps of 0.001 (records/s)"),
            ("rate.records_per_second=-1", "in steps of 0.001 (records/s)"),
            ("rate.stages=5", "a list of up to 1000 tables { for_s = 60, records_per_second = 5000 }"),
            ("kinesis.linger_ms=0x" + 5000 * "F", "an integer from 1 to 10000 (ms)"),
            ("kinesis.linger_ms=" + 5000 * "9", "an integer from 1 to 10000 (ms)"),
            ("kinesis.linger_ms=" + 5000 * "[", "an integer from 1 to 10000 (ms)"),
        ],
    )
    def test_a_value_of_another_kind_is_refused(self, assignment: str, right: str) -> None:
        key, _, value = assignment.partition("=")
        line = problem(assignment)
        assert line.startswith(f"{key} (--set): ")
        assert line.endswith(right)
        assert len(line) < 300
        assert len(value) > 80 or value in line or value == ""

    @pytest.mark.parametrize(
        ("assignment", "right"),
        [
            ("log.format=txt", '"auto", "text" or "json"; did you mean "text"?'),
            ("log.format=JSON", '"auto", "text" or "json"; did you mean "json"?'),
            ("record.format=xyz", '"json" or "msgpack"'),
        ],
    )
    def test_a_wrong_choice_names_the_nearest(self, assignment: str, right: str) -> None:
        key, _, value = assignment.partition("=")
        assert problem(assignment) == f'{key} (--set): "{value}" is none of its values; {right}'

    @pytest.mark.parametrize(
        ("assignment", "fault"),
        [
            ("rate.mix=1", "rate.mix (--set): 1 is not a table; its keys are forex, stock, news"),
            ("rate.stages=[1]", "rate.stages[0] (--set): 1 is not a table; {"),
            (
                "rate.stages=[{for_s=1}]",
                "rate.stages[0].records_per_second (--set): is missing; a number from 0",
            ),
            (
                "rate.stages=[{records_per_second=1, for_s=1.5}]",
                "rate.stages[0].for_s (--set): 1.5 is not of",
            ),
            (
                "rate.stages=[{for_s=1, records_per_second=0}, {for_s=0, records_per_second=0}]",
                "rate.stages[1].for_s",
            ),
            (
                "rate.stages=[{for_s=1, records_per_second=0, x=1}]",
                "rate.stages[0].x (--set): no such setting; a st",
            ),
        ],
    )
    def test_a_table_or_a_stage_says_which_part_is_wrong(self, assignment: str, fault: str) -> None:
        assert problem(assignment).startswith(fault)

    @pytest.mark.parametrize(("count", "is_sound"), [(999, True), (1000, True), (1001, False)])
    def test_there_are_at_most_a_thousand_stages(self, count: int, is_sound: bool) -> None:
        stages = f"rate.stages=[{','.join(count * ['{for_s=1, records_per_second=0}'])}]"
        if is_sound:
            assert len(given_sets(stages).rate.stages) == count
        else:
            assert "1001 of them are too many" in problem(stages)

    @pytest.mark.parametrize("argument", ["rate", "=5", "", "=", "  = x"])
    def test_a_set_that_assigns_nothing_is_refused(self, argument: str) -> None:
        assert (
            problem(argument)
            == f"--set {json.dumps(argument)}: not an assignment; KEY=VALUE, such as rate.mix.news=0.1"
        )

    def test_every_problem_of_every_source_is_found_at_once(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, "[market]\nseed = -1\nsed = 1\n[nothing]\n")
        found = problems(
            "log.level=loud", "nokey", file=file, environ={"TICKERD_WEB__LISTEN": "x", "TICKERD_X": "1"}
        )
        assert len(found) == 7
        for part in (
            "market.seed",
            "market.sed",
            "nothing",
            "log.level",
            "nokey",
            "TICKERD_WEB__LISTEN",
            "TICKERD_X",
        ):
            assert sum(part in line for line in found) >= 1, part

    def test_text_with_characters_that_cannot_be_printed_is_refused(self) -> None:
        assert "cannot be printed" in problem("state.directory=a\x00b")
        assert "cannot be printed" in problem("state.directory=a\udc80b")
        assert "cannot be printed" in problem('state.directory="a\\nb"')

    def test_a_value_cannot_bring_further_keys_with_it(self) -> None:
        assert problem("market.seed=2\nworkers=3").startswith("market.seed (--set): ")

    def test_lists_are_refused_at_every_depth(self) -> None:
        for depth in range(1, 520):
            assert problem(f"market.seed={depth * '['}{depth * ']'}").startswith("market.seed (--set): ")


class TestFiles:
    def test_an_error_of_syntax_names_the_file_and_the_line(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, "[rate]\nrecords_per_second = \n")
        (line,) = problems(file=file)
        assert line.startswith(f"file {file}: is not TOML: ")
        assert "line 2" in line

    def test_a_key_given_twice_is_an_error_of_the_file(self, tmp_path: Path) -> None:
        (line,) = problems(file=toml_file(tmp_path, "[market]\nseed = 1\nseed = 2\n"))
        assert "is not TOML" in line

    def test_a_file_that_is_not_utf_8_names_the_line(self, tmp_path: Path) -> None:
        file = toml_file(tmp_path, b"[source]\nid = '\xff'\n")
        assert problems(file=file) == [f"file {file}, line 2: is not UTF-8; settings are TOML in UTF-8"]

    def test_a_missing_file_a_directory_and_a_path_through_a_file_are_one_line_each(
        self, tmp_path: Path
    ) -> None:
        wrong = {
            tmp_path / "none.toml": "No such file or directory",
            tmp_path: "Is a directory",
            toml_file(tmp_path, "") / "x": "Not a directory",
        }
        for file, why in wrong.items():
            assert problems(file=file) == [f"file {file}: {why}; settings are a TOML file that can be read"]

    def test_a_default_file_that_cannot_be_read_is_not_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "default.toml").mkdir()
        assert problems() == [
            f"file {tmp_path / 'default.toml'}: Is a directory; settings are a TOML file that can be read"
        ]

    def test_a_file_that_cannot_be_read_does_not_hide_other_problems(self, tmp_path: Path) -> None:
        assert len(problems("market.seed=-1", file=tmp_path)) == 2

    @pytest.mark.parametrize("text", ["a = " + 9999 * "[", "a = " + 5000 * "9", "a." * 5000 + "b = 1"])
    def test_monstrous_files_are_refused_like_others(self, tmp_path: Path, text: str) -> None:
        assert problems(file=toml_file(tmp_path, text))

    @examples(max_examples=60)
    @given(content=st.binary(max_size=60) | st.text(alphabet="[]{}=.,'\"\n#ab1 ").map(str.encode))
    def test_no_content_of_a_file_raises_anything_else(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes
    ) -> None:
        attempt(toml_file(tmp_path_factory.getbasetemp(), content), [], {})


ANY_TEXT = st.text(st.characters(codec=None), max_size=40)
KEYS = st.sampled_from([*LEAVES, "rate", "rate.mix", "kinesis", "rate.mix.", ".rate", "rate..mix"])
TOML_LIKE = st.text(alphabet="[]{}=.,'\"-+_ \n\\#abeinfru01x:T", max_size=30)


def attempt(file: Path | None, sets: list[str], environ: dict[str, str]) -> None:
    """Whatever is wrong is said in lines; any other exception fails the test."""
    lines = ["sound"]
    try:
        load(file, sets, environ)
    except SettingsError as error:
        lines = error.problems
    assert lines
    assert all(line.isprintable() and len(line) < 1200 for line in lines)


class TestGarbage:
    @examples(max_examples=150)
    @given(st.lists(ANY_TEXT | st.tuples(KEYS, ANY_TEXT | TOML_LIKE).map("=".join), min_size=1, max_size=4))
    def test_no_set_raises_anything_but_a_settings_error(self, sets: list[str]) -> None:
        attempt(None, sets, {})

    @examples(max_examples=100)
    @given(st.dictionaries(KEYS | ANY_TEXT, ANY_TEXT | TOML_LIKE, max_size=3))
    def test_no_variable_raises_anything_but_a_settings_error(self, values: dict[str, str]) -> None:
        environ = {f"TICKERD_{key.upper().replace('.', '__')}": value for key, value in values.items()}
        attempt(None, [], environ)


NUMBERS = [
    ("source.workers", 1, 1024),
    ("source.drain_max_s", 0, 3600),
    ("market.seed", 0, 2**63 - 1),
    ("rate.records_per_second", 0, 100_000_000),
    ("rate.every_s", 1, 86_400),
    ("rate.catch_up_max_s", 1, 86_400),
    ("rate.catch_up_factor", 1, 100),
    ("kinesis.linger_ms", 1, 10_000),
    ("kinesis.aggregate_bytes_max", 1024, 10_485_760),
    ("kinesis.calls_in_flight_max", 1, 1024),
    ("kinesis.backlog_bytes_max", 10_485_760, 1 << 40),
    ("file.rotate_bytes", 1024, 1 << 40),
    ("file.rotate_s", 1, 2_592_000),
    ("database.snapshot_every_s", 1, 86_400),
    ("database.keep_days", 1, 3660),
]


class TestBounds:
    @pytest.mark.parametrize(("key", "low", "high"), NUMBERS)
    def test_both_edges_are_right_and_one_beyond_is_not(self, key: str, low: int, high: int) -> None:
        section, name = key.split(".")
        for value in (low, low + 1, high - 1, high):
            assert getattr(getattr(given_sets(f"{key}={value}"), section), name) == value
        for value in (low - 1, high + 1):
            assert f"{value} is out of range" in problem(f"{key}={value}")

    def test_no_number_is_without_an_upper_bound(self) -> None:
        numbers = [leaf for leaf in LEAVES.values() if leaf.kind in {int, float}]
        assert len(numbers) > 15
        assert all(leaf.about.low >= 0 and leaf.about.high < 1e20 for leaf in numbers)

    @pytest.mark.parametrize("rate", ["0", "0.001", "0.1", "33.333", "99999999.999", "1e3"])
    def test_rates_are_whole_milli_records(self, rate: str) -> None:
        settings = given_sets(f"rate.records_per_second={rate}")
        assert settings.rate.milli_records_per_second == round(float(rate) * 1000)

    @pytest.mark.parametrize("rate", ["0.0001", "0.0015", "1.00001", "1e-9"])
    def test_a_rate_finer_than_a_milli_record_is_refused(self, rate: str) -> None:
        assert "in steps of 0.001" in problem(f"rate.records_per_second={rate}")

    @pytest.mark.parametrize(
        ("listen", "address"),
        [
            ("127.0.0.1:9631", ("127.0.0.1", 9631)),
            ("localhost:0", ("localhost", 0)),
            ("0.0.0.0:65535", ("0.0.0.0", 65535)),  # noqa: S104 - an address to parse
            ("[::1]:80", ("::1", 80)),
            ("[::]:80", ("::", 80)),
        ],
    )
    def test_addresses_to_listen_at(self, listen: str, address: tuple[str, int]) -> None:
        assert listen_address(given_sets(f"web.listen={listen}").web.listen) == address

    @pytest.mark.parametrize(
        "listen",
        [
            "",
            "9631",
            ":9631",
            "host",
            "host:",
            "host:65536",
            "host:-1",
            "::1:80",
            "[::1]",
            "[::1",
            "[x]:80",
            "a b:80",
            "host:٣",
            "http://host:80",
            "[127.0.0.1]:80",
        ],
    )
    def test_what_is_no_address_is_refused(self, listen: str) -> None:
        assert problem(f'web.listen="{listen}"').endswith(
            'host:port, such as "127.0.0.1:9631" or "[::1]:9631"'
        )

    @pytest.mark.parametrize(
        ("key", "good", "bad"),
        [
            (
                "kinesis.stream",
                ["a", 128 * "a", "arn:aws:kinesis:eu-west-1:123456789012:stream/a.b"],
                ["", 129 * "a", "a/b", "a b", "arn:aws:sqs:eu-west-1:123456789012:a"],
            ),
            ("kinesis.region", ["", "eu-central-1", "us-gov-west-1"], ["EU", "eu central", "-x", 33 * "a"]),
            (
                "kinesis.endpoint_url",
                [
                    "",
                    "http://localhost:4567",
                    "https://[::1]:1/",
                    "https://kinesis.eu-west-1.amazonaws.com",
                    "HTTP://a/b",
                ],
                [
                    "localhost:4567",
                    "ftp://a",
                    "http://",
                    "http://a:99999",
                    "http://a:0",
                    "http://[::1",
                    "http://a b",
                    "http://u@a",
                    "http://a?x=1",
                    "http://a#x",
                    "http://é",
                    "//a",
                ],
            ),
            (
                "kinesis.role_arn",
                ["", "arn:aws:iam::123456789012:role/path/x"],
                ["role", "arn:aws:iam::1:role/x"],
            ),
            ("source.id", ["", "i-0abc", 64 * "a", "host.example"], ["-a", 65 * "a", "a/b", "..", "a b"]),
            (
                "database.url",
                [
                    "",
                    "sqlite:///a.db",
                    "sqlite:////var/a.db",
                    "postgresql://u:p@h:5432/d",
                    "postgresql://h/d",
                ],
                ["a.db", "://x", "sqlite:a", "sqlite://", "sqlite:///:memory:", "postgresql+psycopg://h/d"],
            ),
            ("state.directory", ["x", "/a b"], [""]),
        ],
    )
    def test_what_a_text_must_look_like(self, key: str, good: list[str], bad: list[str]) -> None:
        section, name = key.split(".")
        for text in good:
            settings = given_sets(f"{key}={json.dumps(text)}")
            assert getattr(getattr(settings, section), name) == text
        for text in bad:
            line = problem(f"{key}={json.dumps(text)}")
            assert line.startswith(f"{key} (--set): ")
            assert line.endswith(LEAVES[key].about.right)


class TestRules:
    @pytest.mark.parametrize(
        ("settings", "key"),
        [
            (Settings(kinesis=Kinesis(order="key")), "kinesis.order"),
            (Settings(kinesis=Kinesis(order="key", aggregation="lines")), "kinesis.order"),
            (
                Settings(kinesis=Kinesis(order="key", aggregation="kpl", partition_key="even")),
                "kinesis.order",
            ),
            (
                Settings(kinesis=Kinesis(aggregation="lines"), record=RecordFormat(format="msgpack")),
                "kinesis.aggregation",
            ),
            (Settings(database=Database(tls_ca_file="a.pem")), "database.tls_ca_file"),
            (Settings(database=Database("postgresql://h/d", iam=True)), "database.iam"),
            (Settings(web=Web(tls_certificate="a")), "web.tls_certificate"),
            (Settings(web=Web(tls_key="a")), "web.tls_key"),
            (Settings(rate=Rate(mix=Mix(0, 0, 0))), "rate.mix"),
        ],
    )
    def test_what_contradicts_itself_breaks_one_rule(self, settings: Settings, key: str) -> None:
        assert [rule.paths[0] for rule in contradictions(settings)] == [key]

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(),
            Settings(kinesis=Kinesis(order="key", aggregation="kpl")),
            Settings(kinesis=Kinesis(aggregation="lines")),
            Settings(kinesis=Kinesis(aggregation="kpl"), record=RecordFormat(format="msgpack")),
            Settings(database=Database("postgresql://h/d", tls_ca_file="a.pem", iam=True)),
            Settings(web=Web(tls_certificate="a", tls_key="b")),
            Settings(rate=Rate(mix=Mix(0, 0, 0.001))),
        ],
    )
    def test_what_agrees_breaks_none(self, settings: Settings) -> None:
        assert contradictions(settings) == []

    def test_weights_that_are_all_zero_are_one_problem(self) -> None:
        assert problem("rate.mix={forex=0, stock=0, news=0}") == (
            "rate.mix (--set): the weights add up to nothing; one of them must be above zero"
        )
        assert "add up to nothing" in problem("rate.mix={forex=0, stock=0, news=5e-324}")

    def test_order_by_key_needs_aggregates_of_the_library(self) -> None:
        assert problem("kinesis.order=key").startswith(
            'kinesis.order (--set): "key" needs kinesis.aggregation = "kpl"'
        )
        assert given_sets("kinesis.order=key", "kinesis.aggregation=kpl").kinesis.order == "key"
        assert given_sets("kinesis.aggregation=lines").kinesis.aggregation == "lines"

    def test_a_rule_is_not_said_to_be_broken_because_of_a_value_that_is_itself_wrong(self) -> None:
        line = problem('web.tls_certificate="a\\nb"', "web.tls_key=k")
        assert line.startswith("web.tls_certificate (--set): ")
        assert problem("web.tls_key=k") == "web.tls_key (--set): needs web.tls_certificate as well"

    def test_a_format_of_requests_that_is_none_is_answered_with_those_there_are(self) -> None:
        line = problem("kinesis.request=cbro")
        assert line == (
            'kinesis.request (--set): "cbro" is none of its values; "json" or "cbor"; did you mean "cbor"?'
        )


class TestDescribe:
    def test_it_is_toml_that_gives_the_same_settings(self, tmp_path: Path) -> None:
        sets = [
            "rate.mix.news=0.125",
            "rate.stages=[{for_s=1, records_per_second=2.5}]",
            "state.directory=/é",
        ]
        sets += ["source.workers=2", "rate.records_per_second=0.001", "kinesis.shard_limits=false"]
        loaded = load(None, sets, {})
        again = load(toml_file(tmp_path, describe(loaded)), [], {})
        assert again.settings == loaded.settings
        assert {origin.partition(" ")[0] for origin in again.origins.values()} == {"file"}, (
            "no setting is left out"
        )

    @examples(max_examples=60)
    @given(st.text().filter(str.isprintable), st.floats(0, 1e6, exclude_min=True))
    def test_no_text_and_no_number_breaks_it(self, text: str, weight: float) -> None:
        value = json.dumps(text, ensure_ascii=False)
        settings = given_sets(f"file.path={value}", f"rate.mix.forex={weight!r}")
        printed = tomllib.loads(describe(Loaded(settings, dict.fromkeys(LEAVES, "--set"))))
        assert printed["file"]["path"] == redacted(text)
        assert printed["rate"]["mix"]["forex"] == weight

    def test_a_line_has_value_origin_and_what_would_be_right(self) -> None:
        lines = describe(load(None, ["kinesis.linger_ms=5"], {})).splitlines()
        (line,) = [line for line in lines if line.startswith("linger_ms = 5 ")]
        assert line.startswith("linger_ms = 5 ")
        assert "# --set" in line
        assert line.endswith("an integer from 1 to 10000 (ms)")

    def test_the_sections_stand_in_the_contracts_order(self) -> None:
        printed = tomllib.loads(describe(load(None, [], {})))
        contract = tomllib.loads(CONTRACT)
        assert list(printed) == list(contract)
        assert [list(section) for section in printed.values()] == [
            list(section) for section in contract.values()
        ]

    def test_what_other_destinations_use_is_marked(self) -> None:
        assert '[file]  # used when destination.kind = "file"\n' in describe(load(None, [], {}))
        to_files = describe(load(None, ["destination.kind=file"], {}))
        assert "[file]\n" in to_files
        assert '[kinesis]  # used when destination.kind = "kinesis"\n' in to_files
        assert "[database]\n" in describe(load(None, [], {}))

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://me:s3cret@db:5432/x", "postgresql://me:***@db:5432/x"),
            ("postgresql://me:s3c@r/e:t@db/x", "postgresql://me:***@db/x"),
            ("postgresql://:s3cret@db/x", "postgresql://:***@db/x"),
            (
                "postgresql://db/x?user=me&password=s3cret&sslmode=on",
                "postgresql://db/x?user=me&password=***&sslmode=on",
            ),
            ("postgresql://me@db:5432/x", "postgresql://me@db:5432/x"),
            ("sqlite:///tickerd.db", "sqlite:///tickerd.db"),
        ],
    )
    def test_passwords_are_never_shown(self, url: str, shown: str) -> None:
        loaded = load(None, [f"database.url={url}"], {})
        assert loaded.settings.database.url == url
        assert f'url = "{shown}"' in describe(loaded)

    @pytest.mark.parametrize(
        "argument",
        [
            "database.url=pg://u:s3cret@h/a b",
            "database.url=['pg://u:s3cret@h']",
            "database.url:pg://u:s3cret@h",
            "kinesis.endpoint_url=http://u:s3cret@h",
            "database.url={x='pg://u:s3cret@h'}",
            "database.urls=pg://u:s3cret@h",
            "web=pg://u:s3cret@h",
            "database.url=pg://u:s3cret\x00@h",
            "database.url=pg://u:s3cret\nx@h",
            # URLs that are none, and are repeated as what is wrong.
            "database.url=pg//u:s3cret@h/db",
            "database.url=pg:/u:s3c@ret/s3cret@h",
            "database.url=u:s3cret@h/db",
            "database.url:pg//u:s3cret@h",
            "kinesis.endpoint_url=https://s3cret@h",
            "kinesis.role_arn=s3cret@h",
        ],
    )
    def test_problems_do_not_show_passwords_either(self, argument: str) -> None:
        assert "s3cret" not in problem(argument)


class TestFunctions:
    def test_the_digest_changes_with_what_shapes_records_and_with_nothing_else(self) -> None:
        plain = settings_digest(Settings())
        assert len(plain) == 16
        assert int(plain, 16) >= 0
        shaped = {
            settings_digest(settings)
            for settings in (
                Settings(market=Market(seed=2)),
                Settings(market=Market(universe="other")),
                Settings(market=Market(hours="market")),
                Settings(rate=Rate(mode="snapshot")),
                Settings(record=RecordFormat(format="msgpack")),
            )
        }
        assert len(shaped | {plain}) == 6
        assert settings_digest(Settings(rate=Rate(5, every_s=1), kinesis=Kinesis(stream="x"))) == plain

    def test_the_digest_is_the_same_in_another_process_and_version(self) -> None:
        assert settings_digest(Settings()) == "20cfa11e0e654bb3", "a change starts a new run on every host"

    def test_a_state_directory_that_was_given_is_never_replaced(self, tmp_path: Path) -> None:
        unusable = toml_file(tmp_path, "") / "state"
        assert state_directory(given_sets(f"state.directory={unusable}")) == unusable

    @pytest.mark.skipif(
        os.geteuid() != 0, reason="root is missing: its rights are dropped, to have what may not be written"
    )
    def test_the_default_state_directory_gives_way_when_it_cannot_be_written(self) -> None:
        program = (
            "import os; from tickerd.config import load, state_directory; os.setuid(65534);"
            "loaded = load(None, [], {}); print(loaded.origins['state.directory']);"
            "print(state_directory(loaded.settings).relative_to(os.getcwd()));"
            "print(load(None, ['state.directory=/var/lib/tickerd'], {}).settings.state.directory)"
        )
        printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert printed.stdout.splitlines() == [
            "default, as /var/lib/tickerd is not writable",
            "tickerd-state",
            "/var/lib/tickerd",
        ]

    def test_workers_are_as_many_as_given(self) -> None:
        assert workers(Settings(source=Source(workers=7))) == 7

    def test_automatic_workers_are_no_more_than_the_affinity_allows(self) -> None:
        program = (
            "import os; from tickerd.config import workers; from tickerd.settings import Settings;"
            "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(workers(Settings()))"
        )
        printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert printed.stdout == "1\n"
        assert 1 <= workers(Settings()) <= len(os.sched_getaffinity(0))


V2 = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 32 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct"
V1_SET = "34 32 0:30 / /sys/fs/cgroup/cpuset rw,nosuid - cgroup cgroup rw,cpuset"


def machine(root: Path, membership: str, mounts: str, files: dict[str, str]) -> Path:
    """A file system as a container or a host would see it."""
    content = {"proc/self/cgroup": membership, "proc/self/mountinfo": mounts} | files
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


class TestQuota:
    def test_without_cgroups_there_is_no_quota(self, tmp_path: Path) -> None:
        assert cgroup_cpus(tmp_path) is None

    @pytest.mark.parametrize(
        ("files", "cpus"),
        [
            ({}, None),
            ({"a/b/cpu.max": "max 100000"}, None),
            ({"a/b/cpu.max": "150000 100000"}, 1.5),
            ({"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
            ({"a/b/cpu.max": "100000 100000", "a/cpu.max": "400000 100000"}, 1.0),
            ({"a/b/cpu.max": "400000 100000", "a/cpu.max": "100000 50000"}, 2.0),
            ({"cpu.max": "300000 100000"}, 3.0),
            ({"other/cpu.max": "100000 100000"}, None),
        ],
    )
    def test_the_smallest_quota_of_version_2_on_the_way_up_counts(
        self, tmp_path: Path, files: dict[str, str], cpus: float | None
    ) -> None:
        placed = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
        assert cgroup_cpus(machine(tmp_path, "0::/a/b", V2.format(top="/"), placed)) == cpus

    @pytest.mark.parametrize(
        ("quota", "above", "cpus"), [("-1", "-1", None), ("250000", "-1", 2.5), ("-1", "100000", 1.0)]
    )
    def test_version_1_has_its_quota_in_two_files(
        self, tmp_path: Path, quota: str, above: str, cpus: float | None
    ) -> None:
        mount = "sys/fs/cgroup/cpu,cpuacct"
        files = {
            f"{mount}/a/cpu.cfs_quota_us": quota,
            f"{mount}/a/cpu.cfs_period_us": "100000",
            f"{mount}/cpu.cfs_quota_us": above,
            f"{mount}/cpu.cfs_period_us": "100000",
            f"{mount}/loose/cpu.cfs_quota_us": "1000",  # where the process is in another hierarchy only
            f"{mount}/loose/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpuset/loose/cpu.cfs_quota_us": "1000",
            "sys/fs/cgroup/cpuset/loose/cpu.cfs_period_us": "100000",
        }
        membership = "5:cpuset:/loose\n4:cpu,cpuacct:/a\n1:name=systemd:/loose\n0::/loose"
        root = machine(tmp_path, membership, f"{V1_SET}\n{V1.format(top='/')}", files)
        assert cgroup_cpus(root) == cpus

    @pytest.mark.parametrize(
        ("own", "top"),
        [("/pod/box", "/pod/box"), ("/", "/"), ("/", "/pod/box"), ("/../other", "/")],
    )
    def test_a_container_sees_its_own_cgroup_at_the_mount(self, tmp_path: Path, own: str, top: str) -> None:
        files = {"sys/fs/cgroup/cpu.max": "200000 100000"}
        assert cgroup_cpus(machine(tmp_path, f"0::{own}", V2.format(top=top), files)) == 2.0
