"""A disk as small as a test wants it, which can be made larger, or be written no more."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MOUNT, UNMOUNT = (shutil.which(name) or name for name in ("mount", "umount"))


class Disk:
    """A file system in memory, at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def change(self, options: str) -> None:
        """Other options of tmpfs(5) hold from now on: `size=64m`, `ro`."""
        subprocess.run([MOUNT, "-o", f"remount,{options}", str(self.path)], check=True)


@contextmanager
def small_disk(path: Path, options: str) -> Iterator[Disk]:
    """A new one; the test is skipped, and says so, where none can be mounted."""
    path.mkdir()
    command = [MOUNT, "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("NO DISK COULD BE MOUNTED: this test needs root, or CAP_SYS_ADMIN")
    try:
        yield Disk(path)
    finally:
        subprocess.run([UNMOUNT, "-l", str(path)], check=True)
