"""One text for equal arguments, and the hashes made of it; pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> str:
    """Write JSON in one way: keys sorted, whole floats as integers.

    >>> canonical({"b": 1.0, "a": "ü"})
    '{"a":"ü","b":1}'
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def arguments_hash(arguments: Mapping[str, Any]) -> str:
    """Give a short name of arguments; equal arguments have equal names."""
    return _digest(canonical(arguments))


def call_hash(model_id: str, arguments: Mapping[str, Any]) -> str:
    """Give a name of what is sent to fal: model and arguments."""
    return arguments_hash({"model_id": model_id, "arguments": arguments})


def fingerprint(
    fal: str, model_id: str, arguments: Mapping[str, Any], output: Mapping[str, Any]
) -> str:
    """Give a name of a whole call: at which fal, what, with which arguments, into which files."""
    return _digest(canonical([fal, model_id, arguments, output]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
