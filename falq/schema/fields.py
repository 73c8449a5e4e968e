"""The fields of a schema as values that flags, help texts and skills are made from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from falq.schema.media import media_kind
from falq.schema.normal_form import Schema, resolve

#: Objects nested deeper are shown as JSON without their fields.
_MAX_DEPTH = 4
#: A field of images may take many of them, packed.
_ARCHIVE = re.compile(r"\b(?:a|the|to|your)\b[\w ]{0,20}\b(?:zip|tar)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Field:
    """One input or output field.

    Attributes:
        kinds: JSON types other than null, in the document's order; empty means any.
        choices: Allowed or preset values; binding only if ``closed``.
        closed_kinds: Those of the kinds in which nothing but the choices fits.
        items: What a list holds.
        properties: Fields of an object.
        parts_known: There is one kind of object or list, and those are all of its fields.
        media: Kind of file whose address belongs here (``falq.schema.media``).
        important: The model's author marked it so.
    """

    name: str
    kinds: tuple[str, ...] = ()
    nullable: bool = False
    required: bool = False
    has_default: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    closed: bool = False
    closed_kinds: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    items: Field | None = None
    properties: tuple[Field, ...] = ()
    parts_known: bool = True
    title: str = ""
    description: str = ""
    examples: tuple[Any, ...] = ()
    media: str | None = None
    important: bool = False
    deprecated: bool = False

    @property
    def kind(self) -> str:
        """Give the one JSON type, ``mixed`` for several, ``any`` for none."""
        return "any" if not self.kinds else self.kinds[0] if len(self.kinds) == 1 else "mixed"

    @property
    def free_kinds(self) -> tuple[str, ...]:
        """Give the kinds in which other values than the choices fit."""
        return () if self.closed else tuple(k for k in self.kinds if k not in self.closed_kinds)


def read_fields(schema: Schema) -> tuple[Field, ...]:
    """Read the fields of an object schema in normal form, in the author's order.

    >>> schema = {"properties": {"b": {"type": "integer"}, "a": {}}, "required": ["a"],
    ...           "x-fal-order-properties": ["a", "gone", "b"]}
    >>> [(field.name, field.kind, field.required) for field in read_fields(schema)]
    [('a', 'any', True), ('b', 'integer', False)]
    """
    return _object_fields(flatten(schema, schema), schema, 0)


def read_field(schema: Schema, root: Schema, name: str = "") -> Field:
    """Read one schema in normal form as a field; ``root`` holds its ``$defs``."""
    return _field(name, schema, root, 0)


def flatten(schema: Schema, root: Schema, depth: int = 0) -> Schema:
    """Follow ``$ref`` and merge ``allOf``, whose parts add up; what stands beside them wins."""
    schema = resolve(schema, root)
    if "allOf" not in schema or depth > _MAX_DEPTH:
        return schema
    merged: Schema = {}
    for part in schema["allOf"]:
        merged = _merge(merged, flatten(part, root, depth + 1))
    return _merge(merged, {key: value for key, value in schema.items() if key != "allOf"})


def _merge(first: Schema, second: Schema) -> Schema:
    merged = {**first, **second}
    for key in ("required", "x-fal-order-properties"):
        if key in merged:
            merged[key] = [*first.get(key, []), *second.get(key, [])]
    if "properties" in merged:
        merged["properties"] = {**first.get("properties", {}), **second.get("properties", {})}
    return merged


def _object_fields(schema: Schema, root: Schema, depth: int) -> tuple[Field, ...]:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    order = dict.fromkeys([*schema.get("x-fal-order-properties", []), *properties])
    names = [name for name in order if name in properties]
    return tuple(_field(n, properties[n], root, depth, required=n in required) for n in names)


def _field(name: str, schema: Schema, root: Schema, depth: int, *, required: bool = False) -> Field:
    flat = flatten(schema, root)
    variants = list(_variants(flat, root, 0))
    real = [variant for variant in variants if _kind(variant) != "null"]
    notes = {**(real[0] if real else {}), **flat}
    return Field(
        name=name,
        required=required,
        nullable=any(_admits_null(variant) for variant in variants),
        kinds=_kinds(real),
        **_values(real),
        **_limits(real),
        **_inside(name, real, notes, root, depth),
        **_notes(notes),
    )


def _variants(schema: Schema, root: Schema, depth: int) -> Iterator[Schema]:
    for key in ("anyOf", "oneOf"):
        if key in schema and depth <= _MAX_DEPTH:
            for part in schema[key]:
                yield from _variants(flatten(part, root), root, depth + 1)
            return
    kinds = schema.get("type")
    if not isinstance(kinds, list):
        yield schema
        return
    for kind in kinds:
        yield {"type": "null"} if kind == "null" else {**schema, "type": kind}


def _choices(schema: Schema) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    return list(schema.get("enum", []))


_JSON_TYPES = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))


def json_type(value: Any) -> str:
    """Name the JSON type of a value.

    >>> [json_type(value) for value in (True, 1, 1.5, "a", None, [], {})]
    ['boolean', 'integer', 'number', 'string', 'null', 'array', 'object']
    """
    if value is None:
        return "null"
    plain = next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), None)
    return plain or ("array" if isinstance(value, list) else "object")


def _kind(schema: Schema) -> str:
    if "type" in schema:
        return str(schema["type"])
    kinds = {json_type(value) for value in _choices(schema)}
    if len(kinds) == 1:
        return kinds.pop()
    return "object" if "properties" in schema else "array" if "items" in schema else "any"


def _kinds(variants: list[Schema]) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(_kind(variant) for variant in variants))
    return () if "any" in kinds else kinds


def _admits_null(schema: Schema) -> bool:
    return _kind(schema) == "null" or None in _choices(schema)


def _values(variants: list[Schema]) -> dict[str, Any]:
    found = [value for variant in variants for value in _choices(variant) if value is not None]
    closed = bool(found) and all(_choices(variant) for variant in variants)
    free = {_kind(variant) for variant in variants if not _choices(variant)}
    kinds = dict.fromkeys(_kind(variant) for variant in variants)
    return {
        "choices": tuple(found),
        "closed": closed,
        "closed_kinds": tuple(kind for kind in kinds if kind not in free),
    }


_LIMITS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusiveMinimum": "exclusive_minimum",
    "exclusiveMaximum": "exclusive_maximum",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_items",
    "maxItems": "max_items",
}


def _limits(variants: list[Schema]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variant in reversed(variants):
        found |= {name: variant[key] for key, name in _LIMITS.items() if key in variant}
    return found


def _inside(
    name: str, variants: list[Schema], notes: Schema, root: Schema, depth: int
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "media": _media(name, variants, notes),
    }
    found["parts_known"] = _parts_known(variants)
    if depth >= _MAX_DEPTH:
        return found
    for variant in variants:
        if "items" in variant and "items" not in found:
            found["items"] = _field(name, variant["items"], root, depth + 1)
        if "properties" in variant and "properties" not in found:
            found["properties"] = _object_fields(variant, root, depth + 1)
    return found


def _parts_known(variants: list[Schema]) -> bool:
    kinds = [_kind(variant) for variant in variants]
    free = any(isinstance(variant.get("additionalProperties"), dict) for variant in variants)
    return not free and kinds.count("object") <= 1 and kinds.count("array") <= 1


def _media(name: str, variants: list[Schema], notes: Schema) -> str | None:
    texts = any(_kind(variant) in ("string", "array") for variant in variants)
    kind = media_kind(name, notes.get("ui")) if texts else None
    packed = kind is not None and _ARCHIVE.search(notes.get("description", ""))
    return "archive" if packed else kind


def _notes(notes: Schema) -> dict[str, Any]:
    ui = notes.get("ui", {})
    return {
        "title": notes.get("title", ""),
        "description": notes.get("description", ""),
        "has_default": "default" in notes,
        "default": notes.get("default"),
        "examples": tuple(notes.get("examples", ())),
        "important": ui.get("important") is True,
        "deprecated": notes.get("deprecated", False),
    }
