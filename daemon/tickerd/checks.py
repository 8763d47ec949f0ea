"""What is right for a setting: one value by its type, bounds and meaning, and the settings among themselves.

Pure functions of the tree in settings.py; where a value came from is config.py's business. Values are shown
in TOML, on one line, without passwords.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from msgspec import Struct, to_builtins
from msgspec.structs import fields

from tickerd.about import About
from tickerd.settings import RateStage, Settings

SHOWN_MAX = 80  # characters of a wrong value that its problem repeats

UNIONS = {Union, UnionType}


class Leaf(NamedTuple):
    """One setting of the tree."""

    kind: Any  # its type: bool, int, float, str, a Literal, or a tuple of structs
    about: About
    default: object


def _leaves(kind: type[Struct], prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """The settings below a struct in the order of its fields, by path."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint, path = hints[field.name], prefix + field.name
        if get_origin(hint) is Annotated:
            base, about = get_args(hint)
            yield path, Leaf(base, about, field.default)
        else:
            yield from _leaves(hint, f"{path}.")


LEAVES = dict(_leaves(Settings))
STAGE_LEAVES = dict(_leaves(RateStage))
TABLES = {path.rpartition(".")[0] for path in LEAVES} | {path.partition(".")[0] for path in LEAVES}


class Rule(NamedTuple):
    """What settings must keep among themselves; the first path is the one that the problem names."""

    paths: tuple[str, ...]
    broken: Callable[[Settings], bool]
    text: str


RULES = (
    Rule(
        ("rate.mix", "rate.mix.forex", "rate.mix.stock", "rate.mix.news"),
        # The smallest sum at which shares of the largest rate are still exact in whole milli-records.
        lambda settings: sum(settings.rate.mix.weights) < 1e-6,
        "the weights add up to nothing; one of them must be above zero",
    ),
    Rule(
        ("kinesis.order", "kinesis.aggregation"),
        lambda settings: settings.kinesis.order == "key" and settings.kinesis.aggregation != "kpl",
        '"key" needs kinesis.aggregation = "kpl"; Kinesis promises no order among the entries of a call',
    ),
    Rule(
        ("kinesis.order", "kinesis.partition_key"),
        lambda settings: settings.kinesis.order == "key" and settings.kinesis.partition_key != "instrument",
        '"key" needs kinesis.partition_key = "instrument"',
    ),
    Rule(
        ("kinesis.aggregation", "record.format"),
        lambda settings: settings.kinesis.aggregation == "lines" and settings.record.format == "msgpack",
        '"lines" needs record.format = "json"; MessagePack has no lines',
    ),
    Rule(
        ("destination.kind", "record.format"),
        lambda settings: (
            settings.destination.kind in {"file", "stdout"} and settings.record.format == "msgpack"
        ),
        '"file" and "stdout" need record.format = "json"; MessagePack has no lines',
    ),
    Rule(
        ("pubsub.packing", "record.format"),
        lambda settings: settings.pubsub.packing == "lines" and settings.record.format == "msgpack",
        '"lines" needs record.format = "json"; MessagePack has no lines',
    ),
    Rule(
        ("pubsub.compression", "pubsub.packing"),
        lambda settings: settings.pubsub.compression != "none" and settings.pubsub.packing == "none",
        'needs pubsub.packing = "lines"; a record by itself is too small',
    ),
    Rule(
        ("web.tls_certificate", "web.tls_key"),
        lambda settings: bool(settings.web.tls_certificate) and not settings.web.tls_key,
        "needs web.tls_key as well",
    ),
    Rule(
        ("web.tls_key", "web.tls_certificate"),
        lambda settings: bool(settings.web.tls_key) and not settings.web.tls_certificate,
        "needs web.tls_certificate as well",
    ),
    Rule(
        ("database.tls_ca_file", "database.url"),
        lambda settings: (
            bool(settings.database.tls_ca_file) and not settings.database.url.startswith("postgresql")
        ),
        "needs a database.url of PostgreSQL; SQLite is a file",
    ),
    Rule(
        ("database.iam", "database.url"),
        lambda settings: settings.database.iam and not settings.database.url.startswith("postgresql"),
        "needs a database.url of PostgreSQL",
    ),
    Rule(
        ("database.iam", "database.tls_ca_file"),
        lambda settings: settings.database.iam and not settings.database.tls_ca_file,
        "needs database.tls_ca_file: a token is only sent to a server that has proven its name",
    ),
    Rule(
        ("rate.fleet_records_per_second", "rate.stages"),
        lambda settings: bool(settings.rate.fleet_records_per_second) and bool(settings.rate.stages),
        "cannot go with rate.stages, whose rates are a single host's",
    ),
    Rule(
        ("rate.mode", "rate.stages", "rate.fleet_records_per_second"),
        lambda settings: (
            settings.rate.mode == "snapshot"
            and bool(settings.rate.stages or settings.rate.fleet_records_per_second)
        ),
        '"snapshot" has no rate: it cannot go with rate.stages or rate.fleet_records_per_second',
    ),
    Rule(
        ("log.embedded_metrics", "log.format"),
        lambda settings: settings.log.embedded_metrics and settings.log.format == "text",
        'needs log.format = "json" or "auto"; metrics are read from JSON lines',
    ),
)


def contradictions(settings: Settings) -> list[Rule]:
    """The rules among settings that these break."""
    return [rule for rule in RULES if rule.broken(settings)]


def faults(path: str, value: object, leaf: Leaf) -> list[tuple[str, str]]:
    """What is wrong with a value, each fault with the path that it is at; empty when nothing is."""
    if get_origin(leaf.kind) is tuple and isinstance(value, list):
        found = [fault for n, stage in enumerate(value) for fault in _stage_faults(f"{path}[{n}]", stage)]
        if not found and not leaf.about.valid(value):
            return [(path, f"{len(value)} of them are too many; {expected(leaf)}")]
        return found
    fault = _fault(value, leaf)
    if not fault:
        return []
    return [(path, f"{shown(value)} {fault}; {expected(leaf)}{_nearest_choice(value, leaf)}")]


def _nearest_choice(value: object, leaf: Leaf) -> str:
    """The choice that was probably meant."""
    if not isinstance(value, str) or get_origin(leaf.kind) is not Literal:
        return ""
    choices = [str(choice) for choice in get_args(leaf.kind)]
    near = difflib.get_close_matches(value[:100].lower(), choices, 1)
    return f"; did you mean {toml(near[0])}?" if near else ""


def _stage_faults(path: str, stage: object) -> list[tuple[str, str]]:
    if not isinstance(stage, dict):
        return [(path, f"{shown(stage)} is not a table; {{ for_s = 60, records_per_second = 5000 }}")]
    found = []
    for key, leaf in STAGE_LEAVES.items():
        if key in stage:
            found += faults(f"{path}.{key}", stage[key], leaf)
        else:
            found.append((f"{path}.{key}", f"is missing; {expected(leaf)}"))
    names = " and ".join(STAGE_LEAVES)
    found += [
        (f"{path}.{bare_key(key)}", f"no such setting; a stage has {names}")
        for key in stage
        if key not in STAGE_LEAVES
    ]
    return found


def _fault(value: Any, leaf: Leaf) -> str:
    """Why a value is not right; empty when it is."""
    kind, about = leaf.kind, leaf.about
    if get_origin(kind) is Literal:
        return "" if isinstance(value, str) and value in get_args(kind) else "is none of its values"
    if get_origin(kind) in UNIONS:  # `source.workers`: a word, or a number
        if value == "auto":
            return ""
        kind = int
    # Not isinstance: True is no integer here, while 5 is a number.
    if type(value) is not kind and not (kind is float and type(value) is int):
        return "is not of the right kind"
    if kind is str and not value.isprintable():
        return "has characters that cannot be printed"
    if kind in {int, float} and not about.low <= value <= about.high:  # NaN is never in range
        return "is out of range"
    return "" if about.valid(value) else "is not right"


def expected(leaf: Leaf) -> str:
    """What would be right, in words: "an integer from 1 to 10000 (ms)"."""
    about, kind = leaf.about, leaf.kind
    if about.right:
        return about.right
    if get_origin(kind) is Literal:
        return one_of(get_args(kind))
    words = {bool: "true or false", float: "a number", str: "text"}.get(kind, "an integer")
    if math.isfinite(about.high):
        words += f" from {toml(about.low)} to {toml(about.high)}"
    if get_origin(kind) in UNIONS:
        words = f'"auto" or {words}'
    return f"{words} ({about.unit})" if about.unit else words


def one_of(values: tuple[object, ...]) -> str:
    """The values in words: "a", "b" or "c"."""
    *others, last = [toml(value) for value in values]
    return f"{', '.join(others)} or {last}" if others else last


def toml(value: object) -> str:
    """A value in TOML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=not value.isprintable())
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, Struct):
        value = to_builtins(value)
    if isinstance(value, dict):
        pairs = ", ".join(f"{bare_key(key)} = {toml(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return str(value)


def bare_key(key: str) -> str:
    """A key of a table as it stands in a path, quoted where TOML asks for it."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else escaped(toml(key))


def escaped(text: str) -> str:
    """What somebody wrote, as part of one line: cut when it is long, escaped where it cannot be printed."""
    text = text if len(text) <= 3 * SHOWN_MAX else f"{text[: 3 * SHOWN_MAX]}…"
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def shown(value: object) -> str:
    """A wrong value as its problem repeats it: TOML, cut when it is long, without passwords."""
    try:
        text = toml(hidden(value))
    except (RecursionError, ValueError):  # nested deeper, or of more digits, than Python will write
        return "a value too large to show"
    # What stands before an @ may be a secret in a URL that is none: `postgresql//user:password@host`.
    text = re.sub(r'^("?(?:[A-Za-z][A-Za-z0-9+.-]*:/*)?).*@', r"\1***@", text, flags=re.DOTALL)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def redacted(text: str) -> str:
    """A text without the passwords of the URLs in it."""
    text = re.sub(r"(://[^:/?#@]*):.*@", r"\1:***@", text, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&]*(?:password|passwd|secret|token)[^=&]*=)[^&]*", r"\1***", text)


def hidden(value: object) -> object:
    """A value with every text in it redacted."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, list | tuple):
        return [hidden(item) for item in value]
    if isinstance(value, dict):
        return {key: hidden(item) for key, item in value.items()}
    return value
