"""Builders of the JSON schemas that fal's model documents consist of.

The dialect is fal's own (fal-api.md §6.7): OpenAPI 3.0.4 by name, with nullable written as
``anyOf`` and numeric ``exclusiveMinimum`` as in JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

#: Names and pixels of fal's ``image_size`` presets.
IMAGE_PRESETS: Mapping[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}


def text(description: str, **more: Any) -> Schema:
    """Describe a string."""
    return {"type": "string", "description": description, **more}


def integer(description: str, **more: Any) -> Schema:
    """Describe a whole number; bounds are given as ``minimum`` and ``maximum``."""
    return {"type": "integer", "description": description, **more}


def number(description: str, **more: Any) -> Schema:
    """Describe a number."""
    return {"type": "number", "description": description, **more}


def flag(description: str, *, default: bool) -> Schema:
    """Describe a switch."""
    return {"type": "boolean", "description": description, "default": default}


def choice(description: str, *values: str, **more: Any) -> Schema:
    """Describe one of several words; fal writes durations this way, too ("5" | "10")."""
    return {"type": "string", "enum": list(values), "description": description, **more}


def listing(description: str, items: Schema, **more: Any) -> Schema:
    """Describe a list."""
    return {"type": "array", "description": description, "items": items, **more}


def ref(name: str, **siblings: Any) -> Schema:
    """Point to a component; fal lets keywords stand beside the ``$ref``."""
    return {"$ref": f"#/components/schemas/{name}", **siblings}


def nullable(schema: Schema) -> Schema:
    """Let null pass as well, in the form that fal sends."""
    outside = ("description", "default", "examples", "ui")
    inner = {key: value for key, value in schema.items() if key not in outside}
    kept = {key: value for key, value in schema.items() if key in outside}
    return {"anyOf": [inner, {"type": "null"}], **kept}


def media_url(description: str, kind: str, example: str) -> Schema:
    """Describe an address of a picture, a sound or a film, marked for fal's user interface."""
    hint = {"field": kind, "important": True}
    return text(description, ui=hint, examples=[f"https://example.com/{example}"])


def image_size(default: str = "landscape_4_3") -> Schema:
    """Describe a size that is a preset's name or an object of width and height."""
    presets = {"type": "string", "enum": list(IMAGE_PRESETS)}
    return {
        "description": "The size of the generated image.",
        "anyOf": [ref("ImageSize"), presets],
        "default": default,
    }


def titled(properties: Mapping[str, Schema]) -> dict[str, Schema]:
    """Give each property the title that pydantic would derive from its name."""
    return {
        name: schema if "$ref" in schema else {"title": name.replace("_", " ").title(), **schema}
        for name, schema in properties.items()
    }


def object_schema(
    title: str, properties: Mapping[str, Schema], required: Iterable[str] = ()
) -> Schema:
    """Describe an object with its display order, as fal's documents do."""
    schema: Schema = {
        "title": title,
        "x-fal-order-properties": list(properties),
        "properties": titled(properties),
        "type": "object",
    }
    needed = list(required)
    return {**schema, "required": needed} if needed else schema


def find_refs(node: Any) -> Iterator[str]:
    """Yield the names of the components that a schema points to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rpartition("/")[2]
        for value in node.values():
            yield from find_refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from find_refs(value)
