"""Values that people and programs give: numbers within bounds, yes or no. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

#: Longer times are slips, as no job waits or runs for a month.
MAX_SECONDS = 31 * 86_400.0
MAX_COUNT = 999_999


class _InvalidError(ValueError):
    """A value that does not fit; the caller knows its name and place."""


def whole_number(value: Any, least: int) -> int:
    """Check a whole number from YAML or a program; a boolean is none.

    Raises:
        ValueError: It is none or lies outside ``least`` to ``MAX_COUNT``.
    """
    number = _finite(value)
    if number != int(number) or not least <= number <= MAX_COUNT:
        raise _InvalidError
    return int(number)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _InvalidError
    if abs(value) > 1e15 or not math.isfinite(value):
        raise _InvalidError
    return float(value)


def number_within(value: Any, most: float, *, zero: bool) -> float:
    """Check a finite number from 0 (itself only if ``zero``) to ``most``.

    Raises:
        ValueError: It is none, or lies outside.
    """
    number = _finite(value)
    if number < 0 or number > most or (number == 0 and not zero):
        raise _InvalidError
    return number


def boolean(value: Any) -> bool:
    """Check true or false from YAML or a program.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, bool):
        return value
    raise _InvalidError


_WORDS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(
    ("false", "0", "no", "off"), False
)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")


def boolean_from_text(text: str) -> bool:
    """Read a boolean of the environment: true/false, 1/0, yes/no, on/off.

    Raises:
        ValueError: It is none of these.
    """
    try:
        return _WORDS[text.strip().lower()]
    except KeyError:
        raise _InvalidError from None


def number_from_text(text: str) -> int | float:
    """Read a plain decimal number.

    >>> number_from_text("2"), number_from_text(" 0.5 ")
    (2, 0.5)

    Raises:
        ValueError: It is none; "nan", "inf" and "1_000" are none.
    """
    text = text.strip()
    if len(text) > 40 or not _NUMBER.fullmatch(text):
        raise _InvalidError
    number = float(text)
    return int(number) if number.is_integer() else number
