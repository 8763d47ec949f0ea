"""Arithmetic whose every bit is the same on every processor, NumPy and C library: hashes, a bell, exp.

Only integers, and + - * / rint on float64, which IEEE 754 fixes. NumPy's own exp, log, power and sums are not
used anywhere in the market: their last bits depend on the machine's vector instructions.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from tickerd.market import MODEL_VERSION

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd: splitmix64's step
MASK = 2**64 - 1

_STEP = np.uint64(GOLDEN)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31 = np.uint64(30), np.uint64(27), np.uint64(31)
_SHIFT_16, _SHIFT_32, _SHIFT_48 = np.uint64(16), np.uint64(32), np.uint64(48)
_LOW_16 = np.uint64(0xFFFF)

BELL_SD = math.sqrt((2**32 - 1) / 3)
"""Standard deviation of `bell`: four independent uniform draws of 0..65535."""

BELL_MAX = 2 * 65535.0
"""`bell` is never farther from 0."""

_LOG2_E = 1.4426950408889634
# ln 2 in two parts: the first has so few bits that k times it is exact for the exponents that occur.
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
_TAYLOR = [1 / math.factorial(power) for power in range(13, -1, -1)]
_EXPONENT_MAX = 64
_POWERS_OF_2 = np.array([math.ldexp(1.0, k) for k in range(-_EXPONENT_MAX, _EXPONENT_MAX + 1)])


def key(*parts: int | str) -> int:
    """A 64-bit key of the model's version and `parts`; parts must not contain U+001F."""
    text = "\x1f".join(map(str, (MODEL_VERSION, *parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mix64(state: U64) -> U64:
    """splitmix64's output function (Steele, Lea, Flood 2014), element by element: u64[...] to u64[...]."""
    mixed = state >> _SHIFT_30
    mixed ^= state
    mixed *= _FIRST
    mixed ^= mixed >> _SHIFT_27
    mixed *= _SECOND
    mixed ^= mixed >> _SHIFT_31
    return mixed


def draws(of: int, start: int, stop: int) -> U64:
    """Numbers `start` to `stop` (not included) of the splitmix64 sequence of key `of`: u64[stop - start]."""
    state = np.arange(1, stop - start + 1, dtype=np.uint64)
    state *= _STEP
    state += np.uint64((of + start * GOLDEN) & MASK)
    return mix64(state)


def draws_at(keys: U64, numbers: U64) -> U64:
    """Number `numbers` of the sequence of each of `keys`; shapes as in broadcasting."""
    return mix64(keys + (numbers + np.uint64(1)) * _STEP)


def numbers(first: int, count: int) -> U64:
    """`first`, `first` + 1, ... modulo 2**64, so that numbers below zero are numbers too: u64[count]."""
    return np.arange(count, dtype=np.uint64) + np.uint64(first & MASK)


def bell(hashes: U64) -> F64:
    """A bell-shaped draw of each hash: mean 0, standard deviation `BELL_SD`, never beyond `BELL_MAX`."""
    total = hashes & _LOW_16
    total += (hashes >> _SHIFT_16) & _LOW_16
    total += (hashes >> _SHIFT_32) & _LOW_16
    total += hashes >> _SHIFT_48
    return total.astype(np.float64) - BELL_MAX


def exp(x: F64) -> F64:
    """e to the power of each `x` within +-44, to a relative error below 1e-15 (ValueError outside)."""
    exponents = np.rint(x * _LOG2_E)
    if x.size and not -_EXPONENT_MAX <= exponents.min() <= exponents.max() <= _EXPONENT_MAX:
        raise ValueError("exp of a number beyond +-44")
    rest = (x - exponents * _LN2_HIGH) - exponents * _LN2_LOW
    series = np.full_like(rest, _TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        series *= rest
        series += coefficient
    powers = _POWERS_OF_2.take(exponents.astype(np.int64) + _EXPONENT_MAX)
    result: F64 = series * powers
    return result
