"""How many CPUs the cgroups leave this process: what CPU affinity does not say."""

import re
from collections.abc import Iterator
from pathlib import Path


def cgroup_cpus(root: Path) -> float | None:
    """The smallest CPU quota between this process's cgroup and the mount's top, in CPUs; None without one.

    Both versions count: v2 in cpu.max, v1 in cpu.cfs_quota_us and cpu.cfs_period_us (man 7 cgroups). `root`
    is the file system to look in, "/" but in tests.
    """
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for membership in memberships:
        _, controllers, own = membership.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in mounts:
            place, _, rest = mount.partition(" - ")
            kind, _, options = rest.split(" ", 2)
            is_v2 = not controllers and kind == "cgroup2"
            is_v1 = bool(controllers) and kind == "cgroup" and "cpu" in re.split("[ ,]", options)
            if is_v2 or is_v1:
                top, mount_point = place.split(" ")[3:5]
                quotas += _quotas(root / mount_point.lstrip("/"), top, own)
    return min(quotas, default=None)


def _quotas(mount_point: Path, top: str, own: str) -> Iterator[float]:
    """The quotas in CPUs from the cgroup `own` up to `top`, the one that is mounted."""
    inside = Path(own).is_relative_to(top)
    directory = mount_point / Path(own).relative_to(top) if inside else mount_point
    while directory.is_relative_to(mount_point):
        quota, period = (
            _read_words(directory / "cpu.max")
            or (_read_words(directory / "cpu.cfs_quota_us") + _read_words(directory / "cpu.cfs_period_us"))
            or ["max", ""]
        )
        if quota not in {"max", "-1"}:
            yield int(quota) / int(period)
        directory = directory.parent


def _read_words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
