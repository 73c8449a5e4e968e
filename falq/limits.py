"""The limits of one scope, resolved and validated: what admission is told to hold.

A scope is one queue (a skill and its model) or the whole account. Promise for a queue, over
all processes that share the Redis: in any window of ``t`` seconds at most
``burst + rate_per_min * t / 60`` starts, at least ``start_interval_s`` between two, never
more than ``max_concurrent`` at once.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from falq.errors import ConfigurationError

#: Redis keeps whole microseconds: exact below 2**53 in Lua's doubles.
MICROSECONDS_PER_S = 1_000_000
#: A rate above this is no limit worth keeping, and below one microsecond per start.
MAX_RATE_PER_MIN = 60_000_000
#: A day: a longer interval is a pause, and has a command of its own.
MAX_INTERVAL_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one queue; the defaults are the contract's (design 1.3).

    Args:
        max_concurrent: Jobs at once; 0 admits none.
        start_interval_s: Least time between two starts; 0 for none.
        rate_per_min: Starts per minute in the long run.
        burst: Starts that may come at once after a quiet time.

    Raises:
        ConfigurationError: A value is out of its range, or no number.
    """

    max_concurrent: int = 2
    start_interval_s: float = 1.0
    rate_per_min: float = 10
    burst: int = 5

    def __post_init__(self) -> None:
        _check_whole("max_concurrent", self.max_concurrent, least=0)
        _check_range("start_interval_s", self.start_interval_s, MAX_INTERVAL_S, zero=True)
        _check_range("rate_per_min", self.rate_per_min, MAX_RATE_PER_MIN, zero=False)
        _check_whole("burst", self.burst, least=1)

    @property
    def interval_us(self) -> int:
        """Least time between two starts in microseconds, rounded up."""
        return math.ceil(self.start_interval_s * MICROSECONDS_PER_S)

    @property
    def emission_us(self) -> int:
        """Time in which one permit grows (GCRA), in microseconds, rounded up.

        >>> Limits(rate_per_min=10).emission_us
        6000000
        """
        return math.ceil(60 * MICROSECONDS_PER_S / self.rate_per_min)

    @property
    def config_id(self) -> str:
        """A short name of these values: equal limits have equal names.

        >>> Limits().config_id == Limits(rate_per_min=10.0).config_id
        True
        """
        values = (self.max_concurrent, self.interval_us, self.emission_us, self.burst)
        return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def limit_arguments(limits: Limits) -> list[int | str]:
    """Give limits as scripts take them; an equal last value means equal limits.

    >>> limit_arguments(Limits())[:4]
    [2, 1000000, 6000000, 5]
    """
    return [
        limits.max_concurrent, limits.interval_us, limits.emission_us, limits.burst,
        limits.config_id,
    ]  # fmt: skip


def _check_whole(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1_000_000:
        raise ConfigurationError(
            f"{name} is {value!r}: expected a whole number from {least} to 999999"
        )


def _check_range(name: str, value: float, most: float, *, zero: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= most or (value == 0 and not zero):
        low = "from 0" if zero else "above 0"
        raise ConfigurationError(f"{name} is {value!r}: expected a number {low} to {most:g}")
