"""The market's bits in other environments: cold, warm, other processes, processors and NumPy versions."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from market_digest import digest

# These change only together with MODEL_VERSION, or with the default universe.
GOLDEN = "3de57d881496742b"

PROGRAM = Path(__file__).parent / "market_digest.py"
ROOT = PROGRAM.parent.parent


def printed(python: str, *arguments: str, **environment: str) -> str:
    """The digest that another process prints."""
    done = subprocess.run(
        [python, str(PROGRAM), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "daemon"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def test_cold_and_warm_the_digest_is_that_of_every_earlier_release() -> None:
    assert (digest(False), digest(True)) == (GOLDEN, GOLDEN)


def test_another_process_prints_the_same() -> None:
    assert printed(sys.executable, PYTHONHASHSEED="4711") == GOLDEN


def features() -> list[str]:
    """The processor's vector extensions that NumPy has other code for."""
    config = np.show_config(mode="dicts")
    assert isinstance(config, dict)
    found: list[str] = config["SIMD Extensions"].get("found", [])
    return found


@pytest.mark.skipif(not features(), reason="NumPy has no other code for this processor: nothing to disable")
def test_without_the_processors_vector_extensions_the_bits_are_the_same() -> None:
    assert printed(sys.executable, NPY_DISABLE_CPU_FEATURES=" ".join(features())) == GOLDEN
    # One step down at a time, as processors without the newest extension do.
    assert printed(sys.executable, NPY_DISABLE_CPU_FEATURES=features()[-1]) == GOLDEN


@pytest.mark.slow
@pytest.mark.parametrize("numpy", ["numpy==2.1.0", "numpy"])  # the oldest that is supported, and the newest
def test_other_versions_of_numpy_compute_the_same(numpy: str, tmp_path: Path) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=sysconfig.get_path("scripts"))
    if uv is None:
        pytest.skip("NOT CHECKED: uv is not there to make an environment with")
    python = tmp_path / "venv" / "bin" / "python"
    for command in (
        ["venv", "-q", "--python", sys.executable, str(tmp_path / "venv")],
        ["pip", "install", "-q", "--upgrade", "--python", str(python), numpy, "msgspec"],
    ):
        done = subprocess.run([uv, *command], capture_output=True, text=True, check=False, timeout=250)
        if done.returncode != 0:
            pytest.skip(f"NOT CHECKED: {numpy} could not be installed: {done.stderr.strip()[-200:]}")
    assert printed(str(python)) == GOLDEN
