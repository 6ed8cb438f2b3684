"""Which numbers of a JSON Schema an answer can be held to: llguidance misreads or refuses the others."""

from decimal import Decimal
from typing import Any

# Larger whole numbers change: llguidance computes with doubles.
MAX_WHOLE = 2**53
# Fractions are read with fifteen digits, and rounded beyond that.
MAX_FRACTION = 10**14
# The time to compile a factor grows with its digits, zeros at either end not counted.
MAX_FACTOR_DIGITS = 3
MIN_FACTOR, MAX_FACTOR = 1e-9, 10**9
# Factors are kept as whole numbers of 32 bits with a power of ten below them.
WHOLE_FACTORS = 2**32

BOUND = f"a number from -{MAX_WHOLE} to {MAX_WHOLE}, a whole one beyond {MAX_FRACTION} either way"
FACTOR = (
    f"a number from {MIN_FACTOR} to {MAX_FACTOR} of {MAX_FACTOR_DIGITS} digits at most beside zeros; "
    "some fractions, such as 0.07, cannot be used: choose another, or a pattern"
)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_bound(value: Any) -> bool:
    return is_number(value) and abs(value) <= MAX_WHOLE and (value % 1 == 0 or abs(value) < MAX_FRACTION)


def is_factor(value: Any) -> bool:
    in_range = is_number(value) and MIN_FACTOR <= value <= MAX_FACTOR
    return in_range and _digits(value) <= MAX_FACTOR_DIGITS and _is_read(value)


def _digits(value: float) -> int:
    return len(Decimal(str(value)).normalize().as_tuple().digits)


def _is_read(factor: float) -> bool:
    """llguidance multiplies the double by ten until it is whole, and 0.07 has sixteen digits then."""
    while factor % 1:
        factor *= 10
    return factor < WHOLE_FACTORS
