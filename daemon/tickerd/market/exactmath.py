"""Arithmetic whose every bit is the same on every processor, NumPy and C library: hashes, normals, exp.

Only integers, and + - * / sqrt rint on float64, which IEEE 754 fixes. NumPy's own exp, log, power and sums
are not used anywhere in the market: their last bits depend on the machine's vector instructions.
"""

import hashlib
import math
from collections.abc import Iterable
from functools import cache

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
_SHIFT_48 = np.uint64(48)

EXP_MAX = 44.0
"""`exp` is made for numbers of at most this size."""

_STEPS_BITS = 8  # exp looks up the part of its argument that is a whole number of (ln 2) / 256
_STEPS_PER_1 = 256 * 1.4426950408889634
# (ln 2) / 256 in two parts: the first has so few bits that the multiples that occur are exact.
_STEP_HIGH, _STEP_LOW = float.fromhex("0x1.62e42fee00000p-9"), float.fromhex("0x1.a39ef35793c76p-41")
_TAYLOR = [1 / math.factorial(power) for power in range(5, -1, -1)]
_EXPONENT_MAX = 64
_POWERS_OF_2 = np.array([math.ldexp(1.0, k) for k in range(-_EXPONENT_MAX, _EXPONENT_MAX + 1)])


def _exp_table() -> F64:
    """2 to the power of i / 256 for the 256 first i, by Taylor's series."""
    x = np.arange(1 << _STEPS_BITS) * (_STEP_HIGH + _STEP_LOW)
    series = np.ones_like(x)
    for power in range(20, 0, -1):
        series = series * x / power + 1.0
    return series


_EXP_TABLE = _exp_table()


def key(*parts: int | str) -> int:
    """A 64-bit key of the model's version and `parts`; parts must not contain U+001F."""
    text = "\x1f".join(map(str, (MODEL_VERSION, *parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def keys(last: Iterable[int | str], *parts: int | str) -> U64:
    """`key(*parts, each)` for each of `last`, at less than half the cost: u64[last]."""
    prefix = "\x1f".join(map(str, (MODEL_VERSION, *parts, "")))
    digests = [hashlib.blake2b(f"{prefix}{each}".encode(), digest_size=8).digest() for each in last]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


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


def exp(x: F64) -> F64:
    """e to the power of each `x` within +-`EXP_MAX`, to a relative error below 1e-15 (ValueError outside)."""
    steps = np.rint(x * _STEPS_PER_1)
    if x.size and not -_EXPONENT_MAX * 256 < steps.min() <= steps.max() < _EXPONENT_MAX * 256:
        raise ValueError("exp of a number beyond +-44")
    rest = x - steps * _STEP_HIGH
    rest -= steps * _STEP_LOW
    whole = steps.astype(np.int64)
    series = rest * _TAYLOR[0]
    for coefficient in _TAYLOR[1:-1]:
        series += coefficient
        series *= rest
    series += 1.0
    series *= _EXP_TABLE.take(whole & 255)
    whole >>= _STEPS_BITS
    whole += _EXPONENT_MAX
    series *= _POWERS_OF_2.take(whole)
    return series


@cache
def _normal_quantiles(bits: int) -> F64:
    """The normal distribution's quantiles at the middles of 2**bits equal shares: mean 0, variance 1."""
    steps_per_1, reach = 2048, 6
    z = np.arange(-reach * steps_per_1, reach * steps_per_1 + 1) / steps_per_1
    below = np.cumsum(exp(z * z * -0.5))  # additions one after the other: no sum in another order
    below /= below[-1]
    wanted = (np.arange(1 << bits) + 0.5) / (1 << bits)
    right = np.searchsorted(below, wanted)
    left = right - 1
    part = (wanted - below[left]) / (below[right] - below[left])
    quantiles = z[left] + part / steps_per_1
    quantiles = (quantiles - quantiles[::-1]) * 0.5
    variance = float(np.cumsum(quantiles * quantiles)[-1]) / (1 << bits)
    result: F64 = quantiles / math.sqrt(variance)
    return result


NORMALS = _normal_quantiles(16)
"""[65,536] equally likely values of a standard normal variable, lowest first; the largest is 4.3."""
NORMAL_MAX = float(NORMALS[-1])


def normal(hashes: U64) -> F64:
    """A standard normal draw by the highest 16 bits of each hash."""
    return NORMALS.take((hashes >> _SHIFT_48).view(np.int64))


def lognormal_table(sd: float, bits: int) -> F64:
    """exp(sd * z) for the 2**bits normal quantiles z: f64[2**bits], lowest first."""
    return exp(_normal_quantiles(bits) * sd)
