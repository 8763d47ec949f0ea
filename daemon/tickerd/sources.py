"""The sources of one worker: its own and the retired ones it finishes, opened from their checkpoints.

Knows in which cadence the own one goes; how a source's frames are given out is source.py's business.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from tickerd import checkpoint
from tickerd.checkpoint import Checkpoint
from tickerd.market import MODEL_VERSION
from tickerd.market.hours import Hours
from tickerd.market.universe import Universe
from tickerd.observe.counters import Report
from tickerd.recipe import snapshot_cadence
from tickerd.records import RECORD_VERSION
from tickerd.schedule import Cadence, RatePlan, Segment, SnapshotCadence, split
from tickerd.source import Source
from tickerd.spec import WorkerSpec

log = logging.getLogger("tickerd.worker")


class Sources:
    """Those that `spec` names. `use` comes before `open`; `before_save` is called before each checkpoint."""

    def __init__(self, spec: WorkerSpec, report: Report, before_save: Callable[[], None]) -> None:
        self._spec = spec
        self._report = report
        self._before_save = before_save
        self._plan, self._mix = spec.plan, spec.settings.rate.mix.weights
        self._universe: Universe | None = None
        self._hours: Hours | None = None
        self._snapshots: SnapshotCadence | None = None

    @property
    def names(self) -> list[str]:
        """In the order in which they are carried: the retired ones, then the own one."""
        return [*self._spec.retired, self._spec.source]

    def use(self, universe: Universe) -> None:
        """The market's instruments, which shape the cadence and say what can be made again."""
        self._universe = universe
        self._hours = Hours(universe) if self._spec.recipe.hours == "market" else None
        if self._spec.settings.rate.mode == "snapshot":
            self._snapshots = snapshot_cadence(self._spec.settings.rate.every_s, universe)

    def replan(self, plan: RatePlan, mix: tuple[float, float, float]) -> None:
        """Frames that are not reserved yet get these rates."""
        self._plan, self._mix = plan, mix

    def owe(self) -> bool:
        """Whether a checkpoint of one of them owes anything."""
        paths = map(self._path, self.names)
        return any(checkpoint.read(path).owes for path in paths if path.exists())

    def open(self, name: str) -> Source | None:
        """The source from its checkpoint, or a new one; None when its records cannot be made any more."""
        assert self._universe is not None, "a universe is used before a source is opened"
        spec, path = self._spec, self._path(name)
        own = name == spec.source
        if path.exists():
            state = checkpoint.read(path)
        else:
            first = Segment.at_cadence(spec.first_frame, 0, self._cadence_at(spec.first_frame), spec.digest)
            state = Checkpoint(
                source=name,
                recipe=spec.recipe,
                first_frame=spec.first_frame,
                lowest_unacknowledged=spec.first_frame,
                begun_below=spec.first_frame,
                segments=[first],
            )
        if (state.recipe.model_version, state.recipe.record_version) != (MODEL_VERSION, RECORD_VERSION) or (
            state.recipe.universe_digest != self._universe.digest
        ):
            log.error("%s still owes records that this version or universe cannot make: they stay owed", path)
            return None
        rate = spec.settings.rate
        source = Source(
            path,
            state,
            self._report,
            before_save=self._before_save,
            cadence_at=self._cadence_at if own else None,
            digest=spec.digest,
            catch_up_factor=rate.catch_up_factor,
            catch_up_max_s=rate.catch_up_max_s,
            counted_below=spec.counted_below if own else 0,
            records_max=spec.records_max if own else None,
            ends_at_seq=spec.ends_at_seq if own else None,
        )
        if own and state.retired:
            source.rejoin(spec.first_frame)
        return source

    def _path(self, name: str) -> Path:
        return checkpoint.path_of(Path(self._spec.state), name)

    def _cadence_at(self, frame: int) -> Cadence:
        spec = self._spec
        if self._snapshots is not None:
            return self._snapshots
        rates = split(self._plan.at(frame), self._mix, spec.workers, spec.worker)
        return rates if self._hours is None else self._hours.rates(rates, frame)
