"""What a run's records depend on besides segment, source and frame, and the digest that names it.

The supervisor, `generate` and who else makes records again use the same one.
"""

import hashlib

from tickerd.checkpoint import Recipe
from tickerd.market import MODEL_VERSION
from tickerd.market.hours import Hours
from tickerd.market.market import Market
from tickerd.market.universe import Universe
from tickerd.records import RECORD_VERSION
from tickerd.schedule import SnapshotCadence
from tickerd.settings import Settings
from tickerd.settings_text import settings_digest


def recipe_of(settings: Settings, universe: Universe) -> Recipe:
    """The recipe of a run with these settings."""
    return Recipe(
        settings.market.seed,
        settings.market.universe,
        universe.digest,
        settings.record.format,
        MODEL_VERSION,
        RECORD_VERSION,
        settings.market.hours,
    )


def run_digest(settings: Settings, recipe: Recipe) -> str:
    """16 hex digits that stand in every segment of a run."""
    return hashlib.sha256(f"{settings_digest(settings)} {recipe}".encode()).hexdigest()[:16]


def snapshot_cadence(every_s: int, universe: Universe) -> SnapshotCadence:
    """How snapshots of all pairs and stocks come, with `rate.mode = "snapshot"`."""
    return SnapshotCadence(every_s, len(universe.pairs), len(universe.stocks))


def market_digest(recipe: Recipe, snapshot_every_s: int) -> str:
    """16 hex digits that name a market and its snapshots' step: the database's `market`.

    With the step, so that all between the first and the last snapshot of one name is there.
    """
    named = (recipe.model_version, recipe.seed, recipe.universe_digest, recipe.hours, snapshot_every_s)
    return hashlib.sha256(repr(named).encode()).hexdigest()[:16]


def market_of(recipe: Recipe, universe: Universe, only: str | None = None) -> Market:
    """The market whose records the recipe describes; UniverseError when the universe cannot be used."""
    hours = Hours(universe) if recipe.hours == "market" else None
    return Market(recipe.seed, universe, hours, only)
