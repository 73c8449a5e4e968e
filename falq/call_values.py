"""What the options of a call may be: one rule for command line, Python and worker. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from falq.errors import ArgumentsError, UsageError
from falq.values import MAX_SECONDS, number_within, whole_number

#: Looks at fal that come faster help nobody, seconds.
LEAST_POLL_S = 0.01
PRIORITIES = ("high", "normal", "low")
_LONGEST = f"at most 31 days ({MAX_SECONDS:.0f})"


def poll_interval(name: str, value: Any) -> float | None:
    """Check a fixed time between two polls; None is none.

    Raises:
        UsageError: It is none, too short or longer than a month.
    """
    seconds = _seconds(name, value, f"seconds, at least {LEAST_POLL_S:g}, {_LONGEST}", zero=False)
    if seconds is not None and seconds < LEAST_POLL_S:
        raise _refuse(name, value, f"seconds, at least {LEAST_POLL_S:g}")
    return seconds


def wait(name: str, value: Any) -> float | None:
    """Check how long a caller wants to wait; None waits for the end, 0 not at all.

    Raises:
        UsageError: It is no such time.
    """
    return _seconds(name, value, f"seconds, at least 0, {_LONGEST}", zero=True)


def max_polls(name: str, value: Any) -> int | None:
    """Check how many polls there may be; None leaves it to the job's time.

    Raises:
        UsageError: It is no whole number from 1.
    """
    if value is None:
        return None
    try:
        return whole_number(value, 1)
    except ValueError:
        raise _refuse(name, value, "a whole number, 1 to 999999") from None


def priority(name: str, value: Any) -> str:
    """Check a lane.

    Raises:
        UsageError: There is no such lane.
    """
    if value not in PRIORITIES:
        raise _refuse(name, value, "high, normal or low")
    return str(value)


def output_file(name: str, value: Any) -> str | None:
    """Check the name of a file; None has names made.

    Raises:
        UsageError: It is no text, or an empty one.
    """
    return None if value is None else some_text(name, value, "the name of a file")


def some_text(name: str, value: Any, expected: str) -> str:
    """Check a text that has to say something.

    Raises:
        UsageError: It is none, or empty.
    """
    if not isinstance(value, str) or not value.strip():
        raise _refuse(name, value, expected)
    return value


def sync_only(name: str, value: Any) -> bool | None:
    """Check a choice of fal's sync API; None leaves it to the queue.

    Raises:
        UsageError: It is neither; the text "false" would count as true.
    """
    if value is not None and not isinstance(value, bool):
        raise _refuse(name, value, "True, False or None")
    return value


def whole_characters(name: str, arguments: Any) -> None:
    r"""Check that a JSON value can be written as UTF-8, as fal reads it.

    Raises:
        ArgumentsError: Half a surrogate pair is in it, such as ``\ud800``, or an argument of
            the command line was no UTF-8.
    """
    try:
        json.dumps(arguments, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(error.object[error.start]):04X}"
        raise ArgumentsError(
            f"{name}: {half} is half a character: expected whole ones, in UTF-8",
            "nothing was sent; write the character itself, or both halves of it",
        ) from error


def idempotency_key(name: str, value: Any) -> str | None:
    """Check a key; an empty one would protect nobody.

    Raises:
        UsageError: It is no text, or an empty one.
    """
    return None if value is None else some_text(name, value, "a text that names this call")


def read_seconds(options: Mapping[str, Any], name: str) -> float | None:
    """Read a time from the options of a job; None where they name none.

    Raises:
        UsageError: It is no time that anybody waits.
    """
    return _seconds(name, options.get(name), f"seconds, more than 0, {_LONGEST}", zero=False)


def read_count(options: Mapping[str, Any], name: str) -> int | None:
    """Read a number of times from the options of a job.

    Raises:
        UsageError: It is no whole number from 1.
    """
    return max_polls(name, options.get(name))


def _seconds(name: str, value: Any, expected: str, *, zero: bool) -> float | None:
    if value is None:
        return None
    try:
        return number_within(value, MAX_SECONDS, zero=zero)
    except ValueError:
        raise _refuse(name, value, expected) from None


def _refuse(name: str, value: Any, expected: str) -> UsageError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}…"
    return UsageError(f"{name} is {shown}: expected {expected}", "nothing was sent")
