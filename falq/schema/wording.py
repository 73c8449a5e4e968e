"""Say in words what a field expects, and show values without flooding or leaking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from falq.schema.fields import Field

MAX_VALUE_CHARS = 80
_MAX_CHOICES = 24
_MAX_NAMES = 12


def expectation(field: Field) -> str:
    """Describe what fits a field.

    >>> expectation(Field(name="n", kinds=("integer",), minimum=1, maximum=50))
    'an integer from 1 to 50'
    >>> expectation(Field(name="f", kinds=("string",), choices=("png", "jpeg"), closed=True))
    'one of "png", "jpeg"'
    >>> auto = {"choices": ("auto",), "closed_kinds": ("string",), "minimum": 4}
    >>> expectation(Field(name="d", kinds=("integer", "string"), **auto))
    'an integer of at least 4 or "auto"'
    """
    words = list(dict.fromkeys(_alternatives(field))) or ["any JSON value"]
    return " or ".join([*words, "null"] if field.nullable else words)


def show_value(value: Any) -> str:
    """Show a value as short JSON; a data URI, which may be megabytes, only by its type.

    >>> show_value("data:image/png;base64,AAAA")
    '"data:image/png;…"'
    """
    text = json.dumps(_without_data(value), ensure_ascii=False, default=str)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 1]}…"


def show_choices(choices: tuple[Any, ...]) -> str:
    """List values, at most 24 of them."""
    shown = ", ".join(show_value(value) for value in choices[:_MAX_CHOICES])
    rest = len(choices) - _MAX_CHOICES
    return f"{shown} and {rest} more" if rest > 0 else shown


def _without_data(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("data:"):
        return f"{value[:40].partition(';')[0].partition(',')[0]};…"
    if isinstance(value, dict):
        return {key: _without_data(part) for key, part in value.items()}
    return [_without_data(part) for part in value] if isinstance(value, list) else value


def _alternatives(field: Field) -> Iterator[str]:
    for kind in field.free_kinds:
        if kind == "object":
            yield _object(field)
        elif kind == "array":
            yield _array(field)
        elif kind != "string" or not field.choices:
            yield _scalar(field, kind)
    if field.choices:
        one = len(field.choices) == 1
        yield f"{'' if one else 'one of '}{show_choices(field.choices)}"
        if "string" in field.free_kinds:
            yield "other text"


def _object(field: Field) -> str:
    names = [part.name for part in field.properties]
    if not names:
        return "a JSON object"
    return f"a JSON object {{{', '.join(names[:_MAX_NAMES])}{', …' if len(names) > 12 else ''}}}"


def _array(field: Field) -> str:
    size = _range(field.min_items, field.max_items)
    inner = f" of: {expectation(field.items)}" if field.items else ""
    return f"a list{f' ({size} items)' if size else ''}{inner}"


def _scalar(field: Field, kind: str) -> str:
    if kind == "boolean":
        return "true or false"
    if kind == "string":
        if field.media:
            noun = "file" if field.media == "file" else f"{field.media} file"
            return f"URL or local path of {_article(noun)}"
        size = _range(field.min_length, field.max_length)
        return f"text{f' ({size} characters)' if size else ''}"
    return f"{_article(kind)}{_bounds(field)}"


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _range(low: int | None, high: int | None) -> str:
    if low is not None and high is not None:
        return f"{low}" if low == high else f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high is not None else ""


def _bounds(field: Field) -> str:
    low, high = field.minimum, field.maximum
    words = ""
    if low is not None and high is not None:
        words = f" from {low} to {high}"
    elif low is not None:
        words = f" of at least {low}"
    if field.exclusive_minimum is not None:
        words += f" above {field.exclusive_minimum}"
    if high is not None and low is None:
        words += f" up to {high}"
    if field.exclusive_maximum is not None:
        words += f" below {field.exclusive_maximum}"
    return f"{words}, a multiple of {field.multiple_of}" if field.multiple_of else words
