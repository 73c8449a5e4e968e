"""Tolerant reading of JSON that others wrote: what does not fit is None, never an error."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back on the wire. Header names are looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def request_id(self) -> str | None:
        """Fal's id of the request as its header tells it."""
        return self.headers.get("x-fal-request-id")

    @property
    def date(self) -> float | None:
        """When it was sent, by the sender's clock, in Unix seconds."""
        try:
            return parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except ValueError:
            return None

    def json(self) -> Any:
        """Give the body as JSON.

        Raises:
            ValueError: It is none.
        """
        try:
            return json.loads(self.content)
        except RecursionError as error:
            raise ValueError("JSON nested too deeply") from error

    def json_or_none(self) -> Any:
        """Give the body as JSON, None if it is none."""
        try:
            return self.json()
        except ValueError:
            return None


def text_in(data: Mapping[str, Any], name: str) -> str | None:
    """Give a text that is not empty."""
    value = data.get(name)
    return value if isinstance(value, str) and value else None


def number(value: Any) -> float | None:
    """Read a finite number, from its text too.

    >>> number("3.5"), number(True), number("nan")
    (3.5, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def integer(value: Any) -> int | None:
    """Read a whole number.

    >>> integer(2.0), integer(2.5)
    (2, None)
    """
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def mapping(value: Any) -> Mapping[str, Any]:
    """Give a JSON object, an empty one instead of anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Give a JSON list, an empty one instead of anything else."""
    return value if isinstance(value, list) else []


def instant(value: Any) -> float | None:
    """Read a time of ISO 8601 as Unix seconds; one without a zone is UTC.

    >>> instant("1970-01-01T00:01:00Z")
    60.0
    """
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value.strip())
        aware = read if read.tzinfo is not None else read.replace(tzinfo=UTC)
        return aware.timestamp()
    except (ValueError, OverflowError):
        return None
