"""Write JSON values as YAML: block style, strings quoted, nothing in it that cannot be seen.

PyYAML's dumper takes longer than everything else that makes a skill; this form needs no dumper.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from generator.untrusted import escape_invisible, has_invisible

#: A longer key must be marked as one.
_MAX_KEY_CHARS = 500
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
#: YAML 1.1 reads these as booleans or nothing.
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def yaml_text(value: dict[str, Any]) -> str:
    """Write a mapping.

    >>> print(yaml_text({"a": [1, {"b": "c", "d": []}], "on": 1e-06}), end="")
    a:
    - 1
    - b: "c"
      d: []
    "on": 1.0e-06
    """
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            name = _key(str(key))
            if len(name) > _MAX_KEY_CHARS:
                yield f"? {name}"
            yield from _entry(":" if len(name) > _MAX_KEY_CHARS else f"{name}:", part)
    elif isinstance(value, list) and value:
        for part in value:
            lines = _lines(part)
            yield f"- {next(lines)}"
            yield from (f"  {line}" for line in lines)
    elif _is_command(value):
        yield "|-"
        yield value
    else:
        yield _scalar(value)


def _entry(head: str, value: Any) -> Iterator[str]:
    if _is_command(value):
        yield f"{head} |-"
        yield f"  {value}"
        return
    if not isinstance(value, dict | list) or not value:
        yield f"{head} {_scalar(value)}"
        return
    yield head
    indent = "  " if isinstance(value, dict) or head == ":" else ""
    yield from (f"{indent}{line}" for line in _lines(value))


def _is_command(value: Any) -> bool:
    """Tell a text that is easier to copy without YAML's own quotes."""
    quotes = isinstance(value, str) and ('"' in value or "\\" in value)
    return quotes and value.isprintable() and value == value.strip() and not has_invisible(value)


def _key(key: str) -> str:
    plain = _PLAIN_KEY.fullmatch(key) and key.lower() not in _WORDS
    return key if plain else _quoted(key)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    text = json.dumps(value)
    if isinstance(value, float) and "." not in text:
        # Without a point YAML 1.1 reads 1e-06 as text.
        return {"Infinity": ".inf", "-Infinity": "-.inf", "NaN": ".nan"}.get(
            text, text.replace("e", ".0e")
        )
    return text


def _quoted(text: str) -> str:
    return escape_invisible(json.dumps(text, ensure_ascii=False))
