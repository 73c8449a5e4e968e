"""Bring a schema of fal's into one self-contained form that later readers can trust.

Fal's documents call themselves OpenAPI 3.0.4 but speak JSON Schema 2020-12 in places, older
ones speak 3.0 (fal-api.md §6.7). The normal form is 2020-12: only the keywords below, each
with a value of its proper type, every ``$ref`` pointing into ``$defs`` of the same schema.
Foreign references, ``$id``, ``$schema`` and everything unknown are dropped, so no reader can
be led to fetch an address or trip over a malformed document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
_POINTER = "#/components/schemas/"
_LOCAL = "#/$defs/"
#: Deeper than any real document; below it a schema admits everything.
_MAX_DEPTH = 40
_ANNOTATIONS = ("title", "description", "default", "examples", "ui", "x-fal", "deprecated")


def is_number(value: Any) -> bool:
    """Tell whether a JSON value is a number; ``true`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


_KEPT: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("title", "description", "format", "pattern"), _is_text),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), is_number),
    "multipleOf": lambda value: is_number(value) and value > 0,
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _is_count),
    **dict.fromkeys(("enum", "examples"), _is_list),
    **dict.fromkeys(("default", "const"), lambda _: True),
    **dict.fromkeys(("required", "x-fal-order-properties"), _are_names),
    **dict.fromkeys(("ui", "x-fal"), _is_object),
    **dict.fromkeys(("deprecated", "uniqueItems"), lambda value: isinstance(value, bool)),
}


def self_contained(schema: Any, components: Any) -> Schema:
    """Give the normal form of a schema with the components that it reaches under ``$defs``.

    A reference at the root is resolved, so that ``properties`` stand there.

    >>> pet = {"type": "object", "nullable": True, "x-evil": 1}
    >>> self_contained({"$ref": "#/components/schemas/Pet"}, {"Pet": pet})
    {'type': ['object', 'null']}
    >>> self_contained({"items": {"$ref": "#/components/schemas/Pet"}}, {"Pet": pet})
    {'items': {'$ref': '#/$defs/Pet'}, '$defs': {'Pet': {'type': ['object', 'null']}}}
    """
    known = components if isinstance(components, dict) else {}
    root = _normal(schema, known, 0)
    root = resolve(root, {"$defs": _reached(root, known)})
    found = _reached(root, known)
    return {**root, "$defs": found} if found else root


def _reached(root: Schema, known: Mapping[str, Any]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    names = list(_references(root))
    while names:
        name = names.pop(0)
        if name not in found:
            found[name] = _normal(known[name], known, 0)
            names.extend(_references(found[name]))
    return found


def resolve(schema: Schema, root: Schema) -> Schema:
    """Follow a ``$ref`` of a normal schema; what stands beside it wins.

    >>> resolve({"$ref": "#/$defs/A", "title": "mine"}, {"$defs": {"A": {"type": "string"}}})
    {'type': 'string', 'title': 'mine'}
    """
    for _ in range(_MAX_DEPTH):
        if "$ref" not in schema:
            return schema
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**root.get("$defs", {}).get(_name(schema["$ref"]), {}), **beside}
    return {}


def _name(reference: str) -> str:
    return reference.removeprefix(_LOCAL).replace("~1", "/").replace("~0", "~")


def _pointer(name: str) -> str:
    return _LOCAL + name.replace("~", "~0").replace("/", "~1")


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield _name(schema["$ref"])
        for key, value in schema.items():
            if key not in ("default", "examples", "enum", "const", "ui", "x-fal"):
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _normal(schema: Any, known: Mapping[str, Any], depth: int) -> Schema:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return {}
    kept = {key: schema[key] for key, fits in _KEPT.items() if key in schema and fits(schema[key])}
    normal = {
        **_reference(schema.get("$ref"), known),
        **_type(schema.get("type")),
        **kept,
        **_parts(schema, known, depth + 1),
    }
    return _nullable(_modern_bounds(_modern_example(normal, schema), schema), schema)


def _reference(reference: Any, known: Mapping[str, Any]) -> Schema:
    if not isinstance(reference, str) or not reference.startswith(_POINTER):
        return {}
    name = reference.removeprefix(_POINTER).replace("~1", "/").replace("~0", "~")
    return {"$ref": _pointer(name)} if name in known else {}


def _type(given: Any) -> Schema:
    if isinstance(given, str) and given in TYPES:
        return {"type": given}
    if isinstance(given, list):
        names = [name for name in given if isinstance(name, str) and name in TYPES]
        return {"type": names} if names else {}
    return {}


def _parts(schema: Schema, known: Mapping[str, Any], depth: int) -> Schema:
    parts: Schema = {}
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if _is_list(schema.get(key)):
            parts[key] = [_normal(part, known, depth) for part in schema[key]]
    if isinstance(schema.get("properties"), dict):
        given = schema["properties"]
        parts["properties"] = {name: _normal(part, known, depth) for name, part in given.items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            parts[key] = _normal(schema[key], known, depth)
    if isinstance(schema.get("additionalProperties"), bool):
        parts["additionalProperties"] = schema["additionalProperties"]
    return parts


def _modern_example(normal: Schema, schema: Schema) -> Schema:
    if "example" in schema and "examples" not in normal:
        return {**normal, "examples": [schema["example"]]}
    return normal


def _modern_bounds(normal: Schema, schema: Schema) -> Schema:
    # OpenAPI 3.0 writes exclusiveMinimum as a flag beside minimum.
    for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if schema.get(flag) is True and bound in normal:
            normal[flag] = normal.pop(bound)
    return normal


def _nullable(normal: Schema, schema: Schema) -> Schema:
    if schema.get("nullable") is not True:
        return normal
    if isinstance(normal.get("type"), str):
        more = {"enum": [*normal["enum"], None]} if "enum" in normal else {}
        return {**normal, "type": [normal["type"], "null"], **more}
    notes = {key: normal[key] for key in _ANNOTATIONS if key in normal}
    core = {key: value for key, value in normal.items() if key not in notes}
    return {"anyOf": [core, {"type": "null"}], **notes}
