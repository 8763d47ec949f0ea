"""What this process may use: its limits, and the CPUs that cgroups leave it, which affinity does not say."""

import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path


def limits() -> dict[str, float | None]:
    """The limits that this process found in force, not those asked for; None where there is none."""
    return {
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "processes": _bounded(resource.getrlimit(resource.RLIMIT_NPROC)[0]),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_quota": cgroup_cpus(Path("/")),
        "memory_bytes": cgroup_memory_bytes(Path("/")),
    }


def _bounded(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit


def cgroup_cpus(root: Path) -> float | None:
    """The smallest CPU quota between this process's cgroup and the mount's top, in CPUs; None without one.

    Both versions count: v2 in cpu.max, v1 in cpu.cfs_quota_us and cpu.cfs_period_us (man 7 cgroups). `root`
    is the file system to look in, "/" but in tests.
    """
    quotas: list[float] = []
    for directory in _cgroups(root, "cpu"):
        quota, period = (
            _read_words(directory / "cpu.max")
            or (_read_words(directory / "cpu.cfs_quota_us") + _read_words(directory / "cpu.cfs_period_us"))
            or ["max", ""]
        )
        if quota not in {"max", "-1"}:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def cgroup_memory_bytes(root: Path) -> int | None:
    """The smallest memory limit in the same way: memory.max, or memory.limit_in_bytes; None without one."""
    bounds: list[int] = []
    for directory in _cgroups(root, "memory"):
        words = _read_words(directory / "memory.max") or _read_words(directory / "memory.limit_in_bytes")
        # Version 1 writes "none" as the largest multiple of a page.
        bounds += [int(word) for word in words if word.isdigit() and int(word) < 1 << 62]
    return min(bounds, default=None)


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The directories of this process's cgroups for a controller, from its own up to the mounts' tops."""
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return
    for membership in memberships:
        _, controllers, own = membership.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in mounts:
            place, _, rest = mount.partition(" - ")
            kind, _, options = rest.split(" ", 2)
            is_v2 = not controllers and kind == "cgroup2"
            is_v1 = bool(controllers) and kind == "cgroup" and controller in re.split("[ ,]", options)
            if is_v2 or is_v1:
                top, mount_point = place.split(" ")[3:5]
                yield from _upwards(root / mount_point.lstrip("/"), top, own)


def _upwards(mount_point: Path, top: str, own: str) -> Iterator[Path]:
    """From the cgroup `own` up to `top`, the one that is mounted."""
    inside = Path(own).is_relative_to(top)
    directory = mount_point / Path(own).relative_to(top) if inside else mount_point
    while directory.is_relative_to(mount_point):
        yield directory
        directory = directory.parent


def _read_words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
