"""The last catalogue that the database gave, as a universe's directory in the state directory.

With it workers, and whoever makes records again, need no database; and a start while that is down goes on
with the instruments of before. Each catalogue has a directory of its own: what an older run owes can be made.
"""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tickerd.checkpoint import replace_durably
from tickerd.market.universe import FILES, Universe
from tickerd.settings import Settings

CATALOGUES_KEPT = 64  # as many as a checkpoint keeps segments


class Last(msgspec.Struct, frozen=True):
    """`catalogue/last.json`: what the database said last about a universe; "" for nothing of its own."""

    universe: str
    directory: str


def keep(state: Path, name: str, universe: Universe | None) -> str:
    """Keep what the database has for the universe `name` (None: nothing); its directory, or "".

    OSError when that cannot be written.
    """
    catalogues = state / "catalogue"
    if universe is None and not catalogues.exists():
        return ""
    catalogues.mkdir(mode=0o750, exist_ok=True)
    directory = ""
    if universe is not None:
        path = catalogues / universe.digest
        if not path.exists():
            _write(path, universe)
        directory = str(path.absolute())
    replace_durably(catalogues / "last.json", msgspec.json.encode(Last(name, directory)))
    ages = sorted(catalogues.glob("*/"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in ages[CATALOGUES_KEPT:]:
        shutil.rmtree(old)
    return directory


def last(state: Path, name: str) -> str:
    """The directory of the last catalogue for the universe `name`; "" when there is none."""
    try:
        kept = msgspec.json.decode((state / "catalogue" / "last.json").read_bytes(), type=Last)
    except (OSError, msgspec.MsgspecError):
        return ""
    return kept.directory if kept.universe == name and Path(kept.directory).is_dir() else ""


def with_universe(settings: Settings, directory: str) -> Settings:
    """The settings with the universe of that directory; as they are without one."""
    if not directory:
        return settings
    market = msgspec.structs.replace(settings.market, universe=directory)
    return msgspec.structs.replace(settings, market=market)


def _write(path: Path, universe: Universe) -> None:
    """Under another name first: a directory that is there is complete."""
    temporary = path.with_name(f".{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o750)
    tables: Sequence[Sequence[msgspec.Struct]] = (
        universe.currencies,
        universe.pairs,
        universe.stocks,
        universe.headlines,
        universe.phrases,
    )
    for file, rows in zip(FILES, tables, strict=True):
        with (temporary / file).open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(rows[0].__struct_fields__)
            writer.writerows(msgspec.structs.astuple(row) for row in rows)
    temporary.rename(path)
