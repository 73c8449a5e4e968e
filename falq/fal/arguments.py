"""A model's arguments as bytes on the wire."""

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
