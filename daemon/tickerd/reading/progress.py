"""Progress of a long reading, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Told = Callable[[int], None]


@contextmanager
def shown(doing: str) -> Iterator[Told | None]:
    """A function to tell how many records were read so far; None where nobody watches."""
    with stages(doing) as (told,):
        yield told


@contextmanager
def stages(*doing: str) -> Iterator[tuple[Told | None, ...]]:
    """For each stage a function to tell how many records it has done; None where nobody watches."""
    if not sys.stderr.isatty():
        yield (None,) * len(doing)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,} records"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield tuple(_stage(progress, each) for each in doing)


def _stage(progress: Progress, doing: str) -> Told:
    """A line that appears with the first record."""
    task = progress.add_task(doing, total=None, start=False, visible=False)

    def told(records: int) -> None:
        if not progress.tasks[task].started:
            progress.start_task(task)
        progress.update(task, completed=records, visible=True)

    return told
