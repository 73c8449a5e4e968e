"""Example arguments that a person could have written, from the schema's own examples."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from falq.schema.checking import problems, same_json
from falq.schema.fields import Field, read_fields
from falq.schema.normal_form import Schema, is_number

Accept = Callable[[Any], bool]
_MAX_TEXT_CHARS = 400
_MIN_SENTENCE_CHARS = 40
#: Stands where the document's own values may not be shown.
PLACEHOLDER = "VALUE"
_SAMPLE_FILES: Mapping[str, str] = {
    "image": "./photo.png",
    "video": "./clip.mp4",
    "audio": "./voice.wav",
    "archive": "./images.zip",
    "file": "./file.bin",
}
_SAMPLES_BY_SUFFIX: Mapping[str, str] = {
    "png jpg jpeg webp gif avif bmp heic": "./photo.png",
    "mp4 mov webm mkv m4v avi": "./clip.mp4",
    "mp3 wav ogg m4a flac aac opus": "./voice.wav",
    "zip tar tgz": "./images.zip",
    "safetensors ckpt pt bin": "./weights.safetensors",
}
_ADDRESS = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s\"'<>)\]]*[^\s\"'<>)\].,;:!?]")
_SAMPLE_TEXTS: Mapping[str, str] = {
    "prompt": "a lighthouse on a cliff at dawn, soft light",
    "text": "Hello! This sentence was made by a machine.",
    "negative_prompt": "blurry, low quality",
    "path": "./weights.safetensors",
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


def both_examples(
    schema: Schema, accept: Accept = _anything, *, extra: int = 3
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give an example of the required arguments only, and one that shows more.

    Args:
        schema: In normal form.
        accept: Which of the schema's own values may be shown.
        extra: How many optional arguments, of those that change the result visibly, the long
            one has.
    """
    fields = _acceptable(schema, accept)
    short = _short(fields)
    optional = (f for f in fields if f.name not in short and not f.deprecated and _tells(f))
    others = ((field.name, _other_value(field)) for field in sorted(optional, key=_rank))
    chosen = [(name, value) for name, value in others if value is not None]
    whole = {**short, **dict(chosen[:extra])}
    return short, whole if not problems(whole, schema) else short


def _short(fields: list[Field]) -> dict[str, Any]:
    wanted = [field for field in fields if field.required] or fields[:1]
    return {field.name: example_value(field) for field in wanted}


def part_example(field: Field, accept: Accept = _anything) -> dict[str, Any] | None:
    """Give an object, or one of a list's objects, that shows its parts; None if it has none."""
    shown = _acceptable_field(field, accept)
    examples = list(shown.examples)
    while shown.items is not None and not shown.properties:
        examples = [part for value in examples if isinstance(value, list) for part in value]
        shown = shown.items
    given = [value for value in (*examples, *shown.examples) if isinstance(value, dict) and value]
    if not shown.properties:
        return None
    return given[0] if given else _made_object(shown)


def _acceptable(schema: Schema, accept: Accept) -> list[Field]:
    """Take out of the fields what may not be shown; a field whose name may not is left out."""
    fields = [_acceptable_field(field, accept) for field in read_fields(schema)]
    return [f for f in fields if f.required or (accept(f.name) and PLACEHOLDER not in f.choices)]


def _acceptable_field(field: Field, accept: Accept) -> Field:
    values = (_shown_value(value) for value in field.examples)
    choices = tuple(value for value in field.choices if accept(value) and _showable(value))
    return replace(
        field,
        examples=tuple(value for value in values if accept(value) and _showable(value)),
        has_default=field.has_default and accept(field.default),
        choices=choices or ((PLACEHOLDER,) if field.choices else ()),
        items=field.items and _acceptable_field(field.items, accept),
        properties=tuple(_acceptable_field(part, accept) for part in field.properties),
    )


def _shown_value(value: Any) -> Any:
    """Give an example as a person would write it: one line, files of their own, not too long.

    >>> _shown_value("Make it like  https://h.example/a/b.mp4?x=1, please.")
    'Make it like ./clip.mp4, please.'
    >>> _shown_value([{"path": "https://h.example/a.safetensors"}])
    [{'path': './weights.safetensors'}]
    """
    if isinstance(value, str):
        line = " ".join(value[: 10 * _MAX_TEXT_CHARS].split())
        return _shortened(_ADDRESS.sub(lambda found: _sample_of(found[0]), line))
    if isinstance(value, list):
        return [_shown_value(part) for part in value]
    return {k: _shown_value(v) for k, v in value.items()} if isinstance(value, dict) else value


def _sample_of(address: str) -> str:
    suffix = address.partition("?")[0].rpartition(".")[2].lower()
    found = (path for names, path in _SAMPLES_BY_SUFFIX.items() if suffix in names.split())
    return next(found, "./file.bin")


def _shortened(text: str) -> str:
    if len(text) <= _MAX_TEXT_CHARS:
        return text
    cut = text[:_MAX_TEXT_CHARS]
    sentence = max(cut.rfind(mark) for mark in (". ", "! ", "? "))
    return cut[: sentence + 1] if sentence >= _MIN_SENTENCE_CHARS else cut.rpartition(" ")[0]


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
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return 0 < len(text) <= _MAX_TEXT_CHARS and "data:" not in text and text.isprintable()


def _tells(field: Field) -> bool:
    plain = field.kind in ("string", "integer", "number", "boolean", "mixed")
    telling = bool(field.choices) or field.name in _TELLING or field.important or field.has_default
    harmless = field.name != "sync_mode" and "safety" not in field.name
    return plain and telling and harmless and not field.media


def _rank(field: Field) -> tuple[bool, int, bool]:
    place = _TELLING.index(field.name) if field.name in _TELLING else len(_TELLING)
    return not field.important, place, not field.choices


def _other_value(field: Field) -> Any:
    """Give a value other than the default, so that the example shows a difference; else None."""
    others = [c for c in field.choices if not same_json(c, field.default)]
    if others:
        return others[0]
    if field.name == "seed":
        return 42
    if field.kind == "boolean" and isinstance(field.default, bool):
        return not field.default
    if is_number(field.default) and field.kind in ("integer", "number"):
        return _other_number(field)
    value = example_value(field)
    return None if field.has_default and same_json(value, field.default) else value


def _other_number(field: Field) -> float | None:
    """Give a number near the default, the greater one first; None if none fits."""
    default = field.default
    near: list[float]
    if field.kind == "integer":
        step = int(field.multiple_of or 1)
        near = [default + step, default - step] if abs(default) < 10 * step else []
        near += [default * 2, default // 2]
    else:
        near = [_middle(default, limit) for limit in (field.maximum, field.minimum)]
        near += [default * 2, default / 2]
    fitting = (n for n in near if n != default and _is_inside(n, field))
    return next(fitting, None)


def _middle(default: float, limit: float | None) -> float:
    """Give what lies between a default and a limit, the default itself if that is far away."""
    if limit is None or abs(limit) > 10 * abs(default or 1):
        return default
    return float(f"{(default + limit) / 2:.2g}")


def _is_inside(number: float, field: Field) -> bool:
    low = field.minimum is None or number >= field.minimum
    high = field.maximum is None or number <= field.maximum
    above = field.exclusive_minimum is None or number > field.exclusive_minimum
    return low and high and above and not (field.multiple_of and number % field.multiple_of)


def _made(field: Field) -> Any:
    kind = field.kinds[0] if field.kinds else "string"
    if kind in ("integer", "number"):
        return _made_number(field, kind)
    if kind == "array":
        return _made_list(field)
    if kind == "object":
        return _made_object(field)
    return False if kind == "boolean" else _made_text(field)


def _made_object(field: Field) -> dict[str, Any]:
    wanted = [part for part in field.properties if part.required] or field.properties[:2]
    return {part.name: example_value(part) for part in wanted}


def _made_text(field: Field) -> str:
    text = _SAMPLE_TEXTS.get(field.name, "")
    if not text:
        words = re.fullmatch(r"[A-Za-z0-9]{1,20}(?:_[A-Za-z0-9]{1,20}){0,2}", field.name)
        text = f"example {field.name.replace('_', ' ')}" if words else "example text"
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
