"""The settings in force as text: what `tickerd config` prints, and the digest of those that shape records."""

import hashlib
from collections.abc import Iterator
from itertools import groupby

import orjson
from msgspec import Struct
from msgspec.structs import fields

from tickerd.checks import LEAVES, expected, hidden, toml
from tickerd.config import Loaded
from tickerd.settings import Settings

HEAD_WIDTH_MAX = 48  # longer values stand out of the column


def describe(loaded: Loaded) -> str:
    """What `tickerd config` prints: TOML with one aligned line a setting, its origin and what it takes."""
    values = {path: toml(hidden(value)) for path, value in _values(loaded.settings)}
    heads = {path: f"{path.partition('.')[2]} = {value}" for path, value in values.items()}
    head_width = max(len(head) for head in heads.values() if len(head) <= HEAD_WIDTH_MAX)
    origin_width = max(len(origin) for origin in loaded.origins.values())
    sections = []
    for section, paths in groupby(LEAVES, key=lambda path: path.partition(".")[0]):
        lines = [f"[{section}]{_unused(section, loaded.settings)}"]
        for path in paths:
            about = f"{LEAVES[path].about.text}; {expected(LEAVES[path])}"
            lines.append(f"{heads[path]:<{head_width}}  # {loaded.origins[path]:<{origin_width}}  {about}")
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _unused(section: str, settings: Settings) -> str:
    """A remark on the section of a destination that is not the one in force."""
    if section not in {"kinesis", "pubsub", "file"} or section == settings.destination.kind:
        return ""
    return f'  # used when destination.kind = "{section}"'


def _values(settings: Struct, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every setting's path and value, in the order of the tree."""
    for field in fields(settings):
        path, value = prefix + field.name, getattr(settings, field.name)
        if path in LEAVES:
            yield path, value
        else:
            yield from _values(value, f"{path}.")


def settings_digest(settings: Settings) -> str:
    """16 hex digits that differ where records would: market.*, rate.mode and record.format."""
    shaping = {
        path: value
        for path, value in _values(settings)
        if path.startswith("market.") or path in {"rate.mode", "record.format"}
    }
    return hashlib.sha256(orjson.dumps(shaping, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
