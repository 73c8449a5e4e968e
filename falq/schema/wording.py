"""Say in words what a field expects, and show values without flooding or leaking."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from falq.schema.fields import Field

MAX_VALUE_CHARS = 80
#: A choice must be copied whole; a longer one is an attack.
_MAX_CHOICE_CHARS = 300
_MAX_NAMES = 12
_MAX_PARTS = 12
_MAX_LEVELS = 2
_NOUNS = {"file": "file", "archive": "ZIP archive"}
_PLURALS = {
    "true or false": "booleans",
    "text": "texts",
    "an integer": "integers",
    "a number": "numbers",
}


@dataclass(frozen=True, kw_only=True)
class Style:
    """How much is said, and of what.

    Attributes:
        max_choices: More are only counted; None lists all.
        more: Where the others are.
        of_result: The field is one of a result, where no local path stands.
    """

    max_choices: int | None = None
    more: str = ""
    of_result: bool = False


_WHOLE = Style()


def expectation(field: Field, style: Style = _WHOLE) -> str:
    """Describe what fits a field.

    >>> expectation(Field(name="n", kinds=("integer",), minimum=1, maximum=50))
    'an integer from 1 to 50'
    >>> expectation(Field(name="f", kinds=("string",), choices=("png", "jpeg"), closed=True))
    'one of "png", "jpeg"'
    >>> auto = {"choices": ("auto",), "closed_kinds": ("string",), "minimum": 4}
    >>> expectation(Field(name="d", kinds=("integer", "string"), **auto))
    'an integer of at least 4 or "auto"'
    """
    words = list(dict.fromkeys(_alternatives(field, style))) or ["any JSON value"]
    return " or ".join([*words, "null"] if field.nullable else words)


def part_lines(field: Field, style: Style = _WHOLE) -> list[str]:
    """Describe the parts of an object or of a list's objects, one line for each object.

    >>> size = Field(name="w", kinds=("integer",), required=True, minimum=1)
    >>> part_lines(Field(name="size", kinds=("object",), properties=(size,)))
    ['w* an integer of at least 1']
    """
    return [f"{at}{' · '.join(parts)}" for at, parts in part_groups(field, style)]


def part_groups(
    field: Field, style: Style = _WHOLE, *, levels: int = _MAX_LEVELS, at: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """Describe the parts of each object inside a field, after where it stands."""
    inner = field
    while inner.items is not None and not inner.properties:
        inner = inner.items
    if not inner.properties or not levels:
        return
    shown, rest = inner.properties[:_MAX_PARTS], len(inner.properties) - _MAX_PARTS
    yield at, [*(_part(part, style) for part in shown), *([f"{rest} more"] if rest > 0 else [])]
    for part in shown:
        yield from part_groups(part, style, levels=levels - 1, at=f"{at}{part.name}: ")


def _part(part: Field, style: Style) -> str:
    default = f", default {show_value(part.default)}" if _has_default(part) else ""
    return f"{part.name}{'*' if part.required else ''} {expectation(part, style)}{default}"


def _has_default(field: Field) -> bool:
    return field.has_default and field.default is not None


def show_value(value: Any, limit: int = MAX_VALUE_CHARS) -> str:
    """Show a value as short JSON; a data URI, which may be megabytes, only by its type.

    >>> show_value("data:image/png;base64,AAAA")
    '"data:image/png;…"'
    """
    text = json.dumps(_without_data(value), ensure_ascii=False, default=str)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def show_number(number: float) -> str:
    """Write a number without an exponent.

    >>> show_number(1e-06), show_number(0.025), show_number(3.0)
    ('0.000001', '0.025', '3')
    """
    shown = f"{Decimal(str(number)):f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def either(words: Sequence[str]) -> str:
    """List alternatives.

    >>> either(["a", "b", "c"])
    'a, b or c'
    """
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _choices(choices: tuple[Any, ...], style: Style) -> str:
    shown = choices[: style.max_choices]
    rest = len(choices) - len(shown)
    words = ", ".join(show_value(value, _MAX_CHOICE_CHARS) for value in shown)
    more = f" and {rest} more{f': {style.more}' if style.more else ''}"
    return f"{'one of ' if len(choices) > 1 else ''}{words}{more if rest else ''}"


def _without_data(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("data:"):
        return f"{value[:40].partition(';')[0].partition(',')[0]};…"
    if isinstance(value, dict):
        return {key: _without_data(part) for key, part in value.items()}
    return [_without_data(part) for part in value] if isinstance(value, list) else value


def _alternatives(field: Field, style: Style) -> Iterator[str]:
    for kind in field.free_kinds:
        if kind == "object":
            yield _object(field)
        elif kind == "array":
            yield _array(field, style)
        elif kind != "string" or not field.choices:
            yield _scalar(field, kind, style)
    if field.choices:
        yield _choices(field.choices, style)
        if "string" in field.free_kinds:
            yield "other text"


def _object(field: Field) -> str:
    names = [part.name for part in field.properties]
    if not names:
        return "a JSON object"
    more = ", …" if len(names) > _MAX_NAMES else ""
    return f"a JSON object {{{', '.join(names[:_MAX_NAMES])}{more}}}"


def _array(field: Field, style: Style) -> str:
    size = _range(field.min_items, field.max_items)
    inner = expectation(field.items, style) if field.items else ""
    of = f" of {_PLURALS[inner]}" if inner in _PLURALS else f" of: {inner}" if inner else ""
    return f"a list{f' ({size} items)' if size else ''}{of}"


def _scalar(field: Field, kind: str, style: Style) -> str:
    if kind == "boolean":
        return "true or false"
    if kind != "string":
        return f"{_article(kind)}{_bounds(field)}"
    if field.media:
        noun = _NOUNS.get(field.media, f"{field.media} file")
        return f"{'URL' if style.of_result else 'URL or local path'} of {_article(noun)}"
    size = _range(field.min_length, field.max_length)
    return f"text{f' of {size} characters' if size else ''}"


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
