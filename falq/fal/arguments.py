"""A model's arguments as bytes on the wire and as a text to compare them by."""

from __future__ import annotations

import json
from typing import Any

from falq.errors import ArgumentsError


def encode_arguments(arguments: Any) -> bytes:
    """Write arguments as the JSON object that a model takes.

    Raises:
        ArgumentsError: They are no JSON object.
    """
    if not isinstance(arguments, dict):
        raise ArgumentsError(f"arguments are {type(arguments).__name__}, expected a JSON object")
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        reason = f"arguments cannot be written as JSON: {type(error).__name__}"
        raise ArgumentsError(reason) from error


def canonical(value: Any) -> str:
    """Write JSON in one way, so that equal arguments are equal texts.

    >>> canonical({"b": 1.0, "a": [True]}) == canonical({"a": [True], "b": 1})
    True
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
