"""What happens: prices, quotes, trades and stories as a pure function of seed, instrument and time.

It knows no clock, no file but the universe's, and nothing of where its records go.
"""

MODEL_VERSION = 2
"""Raised when the same (seed, symbol, millisecond) would get another price; every hash begins with it."""
