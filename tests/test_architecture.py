"""The shape that the design promises: who may import whom, and who may look at the environment."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import tickerd

PACKAGE = Path(tickerd.__file__).parent
DESTINATIONS = {"kinesis", "pubsub", "files"}
# The only files that know the market and where its records go.
BOTH = {"worker.py", "pipeline.py", "snapshot_now.py", "check.py", "demo_places.py"}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: a relative import, which the tests here would not understand"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def rooms_of(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(file) if name.startswith("tickerd.")}


def test_the_market_and_the_destinations_never_import_each_other() -> None:
    for file in (PACKAGE / "market").glob("*.py"):
        assert not rooms_of(file) & {*DESTINATIONS, "destination"}, file.name
    for room in DESTINATIONS:
        for file in (PACKAGE / room).glob("*.py"):
            assert not rooms_of(file) & {*DESTINATIONS - {room}, "market"}, file.name


def test_only_the_pipeline_and_its_process_know_both() -> None:
    going = {*DESTINATIONS, "destination"}
    knowing = {
        file.name for file in PACKAGE.glob("*.py") if "market" in rooms_of(file) and rooms_of(file) & going
    }
    assert knowing <= BOTH
    assert {"worker.py", "pipeline.py"} <= knowing


def test_one_file_chooses_the_destination() -> None:
    for name in ("worker.py", "pipeline.py", "snapshot_now.py"):
        assert not rooms_of(PACKAGE / name) & DESTINATIONS, name


def test_the_data_plane_knows_nothing_of_the_supervisor_and_the_web() -> None:
    planes = [
        *(PACKAGE / "market").glob("*.py"),
        *(file for room in DESTINATIONS for file in (PACKAGE / room).glob("*.py")),
        PACKAGE / "pipeline.py",
    ]
    for file in planes:
        assert not rooms_of(file) & {"supervisor", "slot", "web", "cli", "daemon", "local", "reading"}, (
            file.name
        )


def test_only_the_settings_file_looks_at_the_environment() -> None:
    looking = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"})
        or (isinstance(node, ast.alias) and node.name in {"environ", "environb", "getenv"})
    }
    assert looking == {"config.py"}


def test_no_file_has_a_name_that_says_nothing() -> None:
    names = {file.stem for file in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "helpers", "base", "common", "manager", "util", "helper", "misc"}


def test_the_supervisor_starts_without_what_only_workers_need() -> None:
    for name in ("supervisor.py", "slot.py", "daemon.py", "runs.py"):
        assert not rooms_of(PACKAGE / name) & {*DESTINATIONS, "destination", "worker", "pipeline"}, name


def defined_in(file: Path) -> set[str]:
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if hasattr(item, "name")} | {node.name}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_every_step_of_the_walk_is_where_architecture_says() -> None:
    text = (Path(__file__).parents[1] / "daemon" / "ARCHITECTURE.md").read_text()
    places = re.findall(r"`([a-z_/]+\.py): ([A-Za-z_.]+)`", text)
    assert len(places) > 20
    for file, name in places:
        assert name in defined_in(PACKAGE / file), f"{file}: {name}"


def test_every_file_that_architecture_maps_exists() -> None:
    text = (Path(__file__).parents[1] / "daemon" / "ARCHITECTURE.md").read_text()
    block = text.split("```")[1]
    mapped = set(re.findall(r"\b(\w+\.py)\b", block))
    here = {file.name for room in (".", *DESTINATIONS) for file in (PACKAGE / room).glob("*.py")} - {
        "__init__.py"
    }
    assert here <= mapped
    assert mapped <= {file.name for file in PACKAGE.rglob("*.py")}
