"""The page's files as they are served: policy, caching, and what lies in the package."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from raw_http import ask
from test_web import Host, served
