"""Example arguments that a person could have written, from the schema's own examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from falq.schema.checking import problems
from falq.schema.fields import Field, read_fields
from falq.schema.normal_form import Schema

Accept = Callable[[Any], bool]
_MAX_TEXT_CHARS = 160
_SAMPLE_FILES: Mapping[str, str] = {
    "image": "./photo.png",
    "video": "./clip.mp4",
    "audio": "./voice.wav",
    "archive": "./images.zip",
    "file": "./file.bin",
}
_SAMPLE_TEXTS: Mapping[str, str] = {
    "prompt": "a lighthouse on a cliff at dawn, soft light",
    "text": "Hello! This sentence was made by a machine.",
    "negative_prompt": "blurry, low quality",
}
#: Optional inputs that a person changes first, in that order.
_TELLING = (
    "image_size",
    "aspect_ratio",
    "resolution",
    "duration",
    "voice",
    "num_images",
    "output_format",
    "style",
    "seed",
)


def _anything(_: Any) -> bool:
    return True


def short_example(schema: Schema, accept: Accept = _anything) -> dict[str, Any]:
    """Give the required arguments only.

    Args:
        schema: In normal form.
        accept: Which of the schema's own values may be shown.
    """
    fields = _acceptable(schema, accept)
    wanted = [f for f in fields if f.required] or fields[:1]
    return {field.name: example_value(field) for field in wanted}


def long_example(schema: Schema, accept: Accept = _anything, *, extra: int = 3) -> dict[str, Any]:
    """Give the required arguments and a few optional ones that change the result visibly."""
    fields = _acceptable(schema, accept)
    optional = [f for f in fields if not f.required and not f.deprecated and _tells(f)]
    chosen = {field.name: _other_value(field) for field in sorted(optional, key=_rank)[:extra]}
    short = short_example(schema, accept)
    whole = {**short, **chosen}
    return whole if not problems(whole, schema) else short


def _acceptable(schema: Schema, accept: Accept) -> list[Field]:
    """Take out of the fields what may not be shown; a field whose name may not is left out."""
    fields = [field for field in read_fields(schema) if field.required or accept(field.name)]
    return [_without_unacceptable(field, accept) for field in fields]


def _without_unacceptable(field: Field, accept: Accept) -> Field:
    return replace(
        field,
        examples=tuple(value for value in field.examples if accept(value)),
        has_default=field.has_default and accept(field.default),
        choices=tuple(value for value in field.choices if accept(value)) or field.choices,
        items=field.items and _without_unacceptable(field.items, accept),
        properties=tuple(_without_unacceptable(part, accept) for part in field.properties),
    )


def example_value(field: Field) -> Any:
    """Give one value that fits a field: its example, its default, or one made for its type.

    >>> example_value(Field(name="seed", kinds=("integer",), minimum=7))
    7
    """
    if field.media:
        sample = _SAMPLE_FILES[field.media]
        return [sample] if "array" in field.kinds else sample
    for value in (*field.examples, *((field.default,) if field.has_default else ())):
        if value is not None and _showable(value):
            return value
    return field.choices[0] if field.choices else _made(field)


def _showable(value: Any) -> bool:
    text = value if isinstance(value, str) else json.dumps(value)
    return 0 < len(text) <= _MAX_TEXT_CHARS and "data:" not in text and text.isprintable()


def _tells(field: Field) -> bool:
    plain = field.kind in ("string", "integer", "number", "boolean", "mixed")
    telling = bool(field.choices) or field.name in _TELLING or field.important or field.has_default
    return plain and telling and not field.media and field.name != "sync_mode"


def _rank(field: Field) -> tuple[bool, int, bool]:
    place = _TELLING.index(field.name) if field.name in _TELLING else len(_TELLING)
    return not field.important, place, not field.choices


def _other_value(field: Field) -> Any:
    """Give a value other than the default, so that the example shows a difference."""
    texts = [c for c in field.choices if c != field.default and _showable(c)]
    if texts:
        return texts[0]
    if field.name == "seed":
        return 42
    if field.name == "num_images" and (field.maximum is None or field.maximum >= 2):
        return 2
    return example_value(field)


def _made(field: Field) -> Any:
    kind = field.kinds[0] if field.kinds else "string"
    if kind in ("integer", "number"):
        return _made_number(field, kind)
    if kind == "array":
        return _made_list(field)
    if kind == "object":
        wanted = [part for part in field.properties if part.required] or field.properties[:2]
        return {part.name: example_value(part) for part in wanted}
    return False if kind == "boolean" else _made_text(field)


def _made_text(field: Field) -> str:
    text = _SAMPLE_TEXTS.get(field.name, f"example {field.name.replace('_', ' ')}"[:60])
    short = text if field.max_length is None else text[: field.max_length]
    return short.ljust(field.min_length or 0, ".")


def _made_number(field: Field, kind: str) -> float:
    if field.minimum is not None:
        value = field.minimum
    elif field.exclusive_minimum is not None:
        value = field.exclusive_minimum + 1
    else:
        value = field.maximum if field.maximum is not None else 1
    if field.maximum is not None:
        value = min(value, field.maximum)
    return int(value) if kind == "integer" else value


def _made_list(field: Field) -> list[Any]:
    one = example_value(field.items) if field.items else "example"
    return [one] * max(1, field.min_items or 0)
