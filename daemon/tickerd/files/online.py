"""What `tickerd check --online` finds out about a directory for files. Nothing is written."""

import os
import shutil
from pathlib import Path

from tickerd.findings import Finding, fails, works

FEW_BYTES = 1 << 30


def check_directory(directory: Path) -> list[Finding]:
    """Whether files can be written there, and how many."""
    there = directory
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return [fails(f"file.path: {there} is no directory; name one")]
    if not os.access(there, os.W_OK | os.X_OK):
        return [fails(f"file.path: {there} cannot be written by this user; change its mode, or name another")]
    free = shutil.disk_usage(there).free
    made = "" if there == directory else " (it will be made)"
    findings = [works(f"file.path: {directory} can be written{made}")]
    line = f"disk: {free / 1e9:,.1f} GB are free"
    findings.append(works(line) if free > FEW_BYTES else fails(f"{line}; a full disk holds everything up"))
    return findings
