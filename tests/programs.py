"""Programs from the distribution that tests use as oracles."""

import shutil

import pytest


def program(name: str, package: str) -> str:
    """Its path; the test is skipped, and says what is missing, where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on PATH: the Debian package {package} has it")
    return path
