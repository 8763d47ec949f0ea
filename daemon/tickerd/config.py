"""Where the settings' values come from: a TOML file, then the environment, then `--set`.

Everything given is checked, every problem is reported at once, and what comes out is frozen and sound. No
other file of the package reads the environment. A table is short for its keys: `rate.mix = { news = 1 }` sets
rate.mix.news and leaves the other weights what they were. A list is replaced whole.
"""

import difflib
import importlib.util
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_origin

from msgspec import Struct, convert
from msgspec.structs import fields

from tickerd.checks import (
    LEAVES,
    TABLES,
    Leaf,
    bare_key,
    contradictions,
    escaped,
    faults,
    shown,
)
from tickerd.cores import cgroup_cpus
from tickerd.settings import Settings

FILE_DEFAULT = Path("/etc/tickerd/tickerd.toml")
LISTENER_NAME = "http"  # FileDescriptorName in tickerd.socket
STATE_DIRECTORY_FALLBACK = "./tickerd-state"
VARIABLE_PREFIX = "TICKERD_"

# Kubernetes puts these into every container beside a service that is named tickerd.
SERVICE_VARIABLE = re.compile(
    r"TICKERD_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_[0-9]+_(TCP|UDP)(_[A-Z]+)?)?)"
)


PUBSUB_MISSING = '"pubsub" needs grpcio and google-auth: pip install "tickerd[pubsub]"'


class SettingsError(Exception):
    """The settings are wrong; `problems` has one line for each thing that is."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class Loaded(NamedTuple):
    """Settings in force, and by path ("rate.mix.news") where each value came from."""

    settings: Settings
    origins: dict[str, str]


class Surroundings(NamedTuple):
    """What those who start the daemon tell it by its environment, beside settings."""

    notify_socket: str = ""  # of the service manager (sd_notify(3))
    listeners: Sequence[int] = ()  # inherited descriptors of the web side's sockets (sd_listen_fds(3))
    metadata_url: str = ""  # of the instance metadata service, where it is not at its usual place
    has_metadata: bool = True  # False: whoever started us wants the service not to be asked


class Given(NamedTuple):
    """A value as somebody wrote it; `text` is what stood there before it was read as TOML."""

    path: str
    value: object
    origin: str
    text: str | None = None


def load(file: Path | None, sets: Sequence[str], environ: Mapping[str, str] | None = None) -> Loaded:
    """The settings in force: the file (without one the default file, if there is one), environment, `--set`.

    `sets` are KEY=VALUE texts; `environ` stands in for the process's environment. A value that a later
    source overrides is not checked. SettingsError with every problem there is.
    """
    problems: list[str] = []
    given: dict[str, Given] = {}
    for layer in (_from_file(file, problems), _from_environment(environ), _from_sets(sets, problems)):
        for item in layer:
            _spread(item, given, problems)
    origins = {path: given[path].origin if path in given else "default" for path in LEAVES}
    values: dict[str, object] = {path: leaf.default for path, leaf in LEAVES.items()}
    faulty: set[str] = set()
    for path, item in given.items():
        leaf = LEAVES[path]
        value = _value(item, leaf)
        found = faults(path, value, leaf)
        if found:
            faulty.add(path)
            problems += [f"{escaped(where)} ({item.origin}): {fault}" for where, fault in found]
        else:
            values[path] = convert(value, leaf.kind) if isinstance(value, list) else value
    if "state.directory" not in given and not _can_be_written(Path(str(values["state.directory"]))):
        origins["state.directory"] = f"default, as {values['state.directory']} is not writable"
        values["state.directory"] = STATE_DIRECTORY_FALLBACK
    settings: Settings = _build(Settings, "", values)
    for rule in contradictions(settings):
        if faulty.isdisjoint(rule.paths):  # else the rule may only be broken because a default stands in
            origin = next(given[path].origin for path in rule.paths if path in given)
            problems.append(f"{rule.paths[0]} ({origin}): {rule.text}")
    if settings.destination.kind == "pubsub" and not faulty and not has_pubsub():
        problems.append(f"destination.kind ({origins['destination.kind']}): {PUBSUB_MISSING}")
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))
    return Loaded(settings, origins)


def _build(kind: type[Struct], prefix: str, values: Mapping[str, object]) -> Any:
    """The struct, and those within it, from values by path."""
    return kind(
        **{
            field.name: values[path]
            if (path := prefix + field.name) in values
            else _build(type(field.default), f"{path}.", values)
            for field in fields(kind)
        }
    )


def _from_file(file: Path | None, problems: list[str]) -> Iterator[Given]:
    name = escaped(str(file or FILE_DEFAULT))
    table: dict[str, Any] = {}
    try:
        table = tomllib.loads((file or FILE_DEFAULT).read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problems.append(f"file {name}, line {line}: is not UTF-8; settings are TOML in UTF-8")
    except OSError as error:
        if file is not None or not isinstance(error, FileNotFoundError):
            problems.append(f"file {name}: {error.strerror}; settings are a TOML file that can be read")
    except (ValueError, RecursionError) as error:
        # Beside errors of syntax: integers of more digits than Python reads, tables nested too deep.
        problems.append(f"file {name}: is not TOML: {escaped(str(error))}")
    for key, value in table.items():
        yield Given(bare_key(key), value, f"file {name}")


def _from_environment(environ: Mapping[str, str] | None) -> Iterator[Given]:
    variables = os.environ if environ is None else environ
    for name in sorted(variables):  # a table's variable comes before those of its keys, which then win
        if name.startswith(VARIABLE_PREFIX) and not SERVICE_VARIABLE.fullmatch(name):
            path = name.removeprefix(VARIABLE_PREFIX).lower().replace("__", ".")
            text = variables[name].strip()
            yield Given(path, _parsed(text), f"environment {escaped(name)}", text)


def _from_sets(sets: Sequence[str], problems: list[str]) -> Iterator[Given]:
    for argument in sets:
        key, equals, text = (part.strip() for part in argument.partition("="))
        if equals and key:
            yield Given(key, _parsed(text), "--set", text)
        else:
            problems.append(
                f"--set {shown(argument)}: not an assignment; KEY=VALUE, such as rate.mix.news=0.1"
            )


def _parsed(text: str) -> object:
    """What the text is in TOML; the text itself when it is none."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # as in a file
        return text
    return table["value"] if len(table) == 1 else text


def _spread(item: Given, given: dict[str, Given], problems: list[str]) -> None:
    """Note one value, taking tables apart into the settings that they hold."""
    if item.path in LEAVES:
        given[item.path] = item
    elif item.path not in TABLES:
        problems.append(f"{escaped(item.path)} ({item.origin}): no such {_nearest(item)}")
    elif isinstance(item.value, dict):
        for key, value in item.value.items():
            _spread(Given(f"{item.path}.{bare_key(key)}", value, item.origin), given, problems)
    else:
        names = [path.removeprefix(f"{item.path}.") for path in LEAVES if path.startswith(f"{item.path}.")]
        fault = f"{shown(item.value)} is not a table; its keys are {', '.join(names)}"
        problems.append(f"{item.path} ({item.origin}): {fault}")


def _nearest(item: Given) -> str:
    """What there is no such thing of, setting or section, and the name that was probably meant."""
    kind, known = "setting", list(LEAVES)
    if isinstance(item.value, dict) and "." not in item.path:
        kind, known = "section", [table for table in TABLES if "." not in table]
    last = item.path.rpartition(".")[2]
    same_key = [path for path in known if path.rpartition(".")[2] == last]
    # Far longer texts resemble no name, and comparing takes the square of their length.
    near = difflib.get_close_matches(item.path[:100], same_key or known, 1, 0 if same_key else 0.6)
    if not near:
        return f"{kind}; `tickerd config` shows all there are"
    if item.origin.startswith("environment"):
        return f"{kind}; did you mean {VARIABLE_PREFIX}{near[0].upper().replace('.', '__')}?"
    return f"{kind}; did you mean {near[0]}?"


def _value(item: Given, leaf: Leaf) -> object:
    """The value to check: for a setting that is text, `--set kinesis.stream=2024` means the text."""
    is_text = leaf.kind is str or get_origin(leaf.kind) is Literal
    return item.text if is_text and item.text is not None and not isinstance(item.value, str) else item.value


def state_directory(settings: Settings) -> Path:
    """The state directory, absolute. `load` has already replaced a default that cannot be written."""
    return Path(settings.state.directory).absolute()


def surroundings(environ: Mapping[str, str] | None = None) -> Surroundings:
    """What the service manager and the AWS variables say; nothing of it is a setting of tickerd."""
    variables = os.environ if environ is None else environ
    listeners: list[int] = []
    if variables.get("LISTEN_PID") == str(os.getpid()):  # not meant for another process before us
        names = variables.get("LISTEN_FDNAMES", "").split(":")
        listeners = [3 + number for number, name in enumerate(names) if name == LISTENER_NAME]
    return Surroundings(
        variables.get("NOTIFY_SOCKET", ""),
        listeners,
        variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/"),
        variables.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true",
    )


def has_pubsub() -> bool:
    """Whether the libraries of the extra are there; nothing of them is imported."""
    try:
        return all(importlib.util.find_spec(name) is not None for name in ("grpc", "google.auth"))
    except ModuleNotFoundError:  # not even `google`
        return False


def quiet_grpc() -> None:
    """Keep gRPC from writing lines of its own to standard error, unless somebody asks for them."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def pubsub_emulator(environ: Mapping[str, str] | None = None) -> str:
    """Host and port of an emulator of Pub/Sub, where Google's variable names one."""
    return (os.environ if environ is None else environ).get("PUBSUB_EMULATOR_HOST", "").strip()


def google_project(environ: Mapping[str, str] | None = None) -> str:
    """The project that Google's variable names, for an emulator, which has no credentials that name one."""
    return (os.environ if environ is None else environ).get("GOOGLE_CLOUD_PROJECT", "").strip()


def _can_be_written(directory: Path) -> bool:
    """Whether a directory can be written, or made; nothing is made here."""
    while not os.access(directory, os.F_OK) and directory != directory.parent:
        directory = directory.parent
    return os.access(directory, os.W_OK | os.X_OK) and directory.is_dir()


def workers(settings: Settings) -> int:
    """How many worker processes; auto: the smaller of CPU affinity and cgroup quota, rounded up.

    Snapshots are one worker's work: the others would have none. Of several processes that write to standard
    output the lines would mix.
    """
    if settings.rate.mode == "snapshot" or settings.destination.kind == "stdout":
        return 1
    if settings.source.workers != "auto":
        return settings.source.workers
    cpus = len(os.sched_getaffinity(0))
    quota = cgroup_cpus(Path("/"))
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))
