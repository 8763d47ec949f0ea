"""Arithmetic with the same bits everywhere: hashes and exp against others', and a search for what is not."""

import ast
import math
import re
from importlib.resources import files
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.market import MODEL_VERSION, exactmath
from tickerd.market.exactmath import (
    NORMAL_MAX,
    NORMALS,
    draws,
    draws_at,
    exp,
    key,
    lognormal_table,
    normal,
    numbers,
)

# Functions of NumPy whose last bits depend on the processor, the C library or the order of additions.
FORBIDDEN = re.compile(
    "exp|exp2|expm1|log|log2|log10|log1p|power|float_power|pow|cbrt|hypot|(arc)?(sin|cos|tan)h?|arctan2|"
    "interp|(nan)?(sum|mean|std|var|prod)|average|cumprod|v?dot|inner|outer|matmul|einsum|tensordot|trace|"
    "convolve|correlate|trapezoid|polyval|gradient|random|linalg|fft|reduce|reduceat|float32|float16|longdouble|"
    "argpartition|argsort|sort|lexsort|default_rng|numba"
)

MATH_ALLOWED = {"sqrt", "fsum", "factorial", "ldexp"}  # rounded correctly, or exact


def test_draws_are_splitmix64() -> None:
    # The sequence of seed 1234567 as published with Java's and other implementations of splitmix64.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert draws(1234567, 0, 5).tolist() == published
    assert draws_at(np.array([1234567], dtype=np.uint64), numbers(0, 5)).tolist() == published


@given(of=st.integers(0, 2**64 - 1), start=st.integers(0, 10**9), length=st.integers(0, 50))
def test_any_stretch_of_draws_is_the_same_as_in_the_whole(of: int, start: int, length: int) -> None:
    keys = np.array([of], dtype=np.uint64)
    assert draws(of, start, start + length).tolist() == draws_at(keys, numbers(start, length)).tolist()
    assert draws(of, start, start + length).tolist()[1:] == draws(of, start + 1, start + length).tolist()


@given(first=st.integers(-(2**70), 2**70))
def test_numbers_below_zero_count_on_too(first: int) -> None:
    assert numbers(first, 4).tolist() == [(first + i) % 2**64 for i in range(4)]


def test_keys_depend_on_every_part_and_on_the_models_version(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key("walk", 1, "EUR"), key("walk", 2, "EUR"), key("walk", 1, "USD"), key("side", 1, "EUR")}
    monkeypatch.setattr(exactmath, "MODEL_VERSION", MODEL_VERSION + 1)
    keys.add(key("walk", 1, "EUR"))
    assert len(keys) == 5
    assert all(0 <= each < 2**64 for each in keys)


def test_normals_have_the_quantiles_of_the_normal_distribution() -> None:
    wanted = NormalDist()
    for i in (0, 1, 100, 20_000, 40_000, 65_000, 65_535):
        assert NORMALS[i] == pytest.approx(wanted.inv_cdf((i + 0.5) / 65_536), abs=2e-3, rel=1e-4)
    assert np.all(np.diff(NORMALS) > 0)
    assert NORMALS.tolist() == (-NORMALS[::-1]).tolist()
    assert NORMALS.std() == pytest.approx(1, abs=1e-12)


def test_normal_draws_have_the_spread_and_the_bounds_that_they_name() -> None:
    values = normal(draws(1, 0, 400_000))
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.01)
    extremes = normal(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert extremes.tolist() == [-NORMAL_MAX, NORMAL_MAX]


def test_lognormals_have_the_spread_that_was_asked_for() -> None:
    logs = np.log(lognormal_table(0.7, 12))
    assert logs.mean() == pytest.approx(0, abs=1e-12)
    assert logs.std() == pytest.approx(0.7, abs=1e-12)


@given(st.lists(st.floats(-44, 44), max_size=20))
def test_exp_is_that_of_the_c_library_to_its_last_bits(numbers_given: list[float]) -> None:
    ours = exp(np.array(numbers_given, dtype=np.float64))
    assert ours.tolist() == pytest.approx([math.exp(x) for x in numbers_given], rel=1e-15, abs=0)


@pytest.mark.parametrize("x", [45.0, -45.0, math.inf])
def test_exp_refuses_what_it_was_not_made_for(x: float) -> None:
    with pytest.raises(ValueError, match="beyond"):
        exp(np.array([0.0, x]))


def complaints(source: str) -> list[str]:
    """Uses of forbidden arithmetic in a program."""
    found = []
    stable = set()  # sorts whose ties are in an order that is promised
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name("math"), attr=name) if name not in MATH_ALLOWED:
                found.append(f"line {node.lineno}: math.{name}")
            case ast.Call(func=ast.Attribute(attr="argsort"), keywords=given) if any(
                ast.unparse(each) == "kind='stable'" for each in given
            ):
                stable.add(id(node.func))
            case ast.Attribute(value=value, attr=name) if id(node) in stable:
                pass
            case ast.Attribute(value=value, attr=name) if FORBIDDEN.fullmatch(name) and not (
                isinstance(value, ast.Name) and value.id == "math"
            ):
                found.append(f"line {node.lineno}: .{name}")
            case ast.Call(func=ast.Name("sum" | "pow" as name)):
                found.append(f"line {node.lineno}: {name}()")
            case ast.BinOp(op=ast.MatMult()):
                found.append(f"line {node.lineno}: @")
            case ast.BinOp(left=left, op=ast.Pow()) if not (
                isinstance(left, ast.Constant) and isinstance(left.value, int)
            ):
                found.append(f"line {node.lineno}: **")
            case ast.ImportFrom(module="math" | "numpy" as name):
                found.append(f"line {node.lineno}: names of {name} must be seen where they are used")
    return found


def test_the_market_uses_no_arithmetic_that_differs_between_machines() -> None:
    sources = [file for file in files("tickerd.market").iterdir() if file.name.endswith(".py")]
    assert {file.name for file in sources} >= {
        "activity.py",
        "bridge.py",
        "stories.py",
        "feed.py",
        "choice.py",
    }
    for file in sources:
        assert complaints(file.read_text(encoding="utf-8")) == [], file.name


@pytest.mark.parametrize(
    "line",
    ["np.exp(x)", "x.sum()", "x @ y", "x ** 2", "math.tanh(x)", "sum(x)", "np.random.default_rng()",
     "from math import exp", "np.add.reduce(x).mean()", "np.add.reduce(x)", "x ** y", "np.sort(x)",
     "x.argsort()", "np.float32(x)"],
)  # fmt: skip
def test_the_search_finds_such_arithmetic(line: str) -> None:
    assert complaints(line) != []
