"""Arithmetic with the same bits everywhere: hashes and exp against others', and a search for what is not."""

import ast
import math
import re
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickerd.market import MODEL_VERSION, exactmath
from tickerd.market.exactmath import BELL_MAX, BELL_SD, bell, draws, draws_at, exp, key, numbers

# Functions of NumPy whose last bits depend on the processor, the C library or the order of additions.
FORBIDDEN = re.compile(
    "exp|exp2|expm1|log|log2|log10|log1p|power|float_power|pow|cbrt|hypot|(arc)?(sin|cos|tan)h?|arctan2|"
    "interp|(nan)?(sum|mean|std|var|prod)|average|cumprod|v?dot|inner|outer|matmul|einsum|tensordot|trace|"
    "convolve|correlate|trapezoid|polyval|gradient|random|linalg|fft"
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


def test_a_bell_has_the_spread_and_the_bounds_that_it_names() -> None:
    values = bell(draws(1, 0, 400_000)) / BELL_SD
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.01)
    assert (abs(values) < 1).mean() == pytest.approx(0.683, abs=0.02)  # a normal's share
    extremes = bell(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert extremes.tolist() == [-BELL_MAX, BELL_MAX]


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
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name("math"), attr=name) if name not in MATH_ALLOWED:
                found.append(f"line {node.lineno}: math.{name}")
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
    assert len(sources) >= 8
    for file in sources:
        assert complaints(file.read_text(encoding="utf-8")) == [], file.name


@pytest.mark.parametrize(
    "line",
    ["np.exp(x)", "x.sum()", "x @ y", "x ** 2", "math.tanh(x)", "sum(x)", "np.random.default_rng()",
     "from math import exp", "np.add.reduce(x).mean()"],
)  # fmt: skip
def test_the_search_finds_such_arithmetic(line: str) -> None:
    assert complaints(line) != []
