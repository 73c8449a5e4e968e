"""What changed between two schemas of a model, and what of it breaks callers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from falq.schema.checking import same_json
from falq.schema.fields import Field, read_fields
from falq.schema.normal_form import Schema
from falq.schema.wording import expectation, show_value

_TEXTS = ("title", "description", "examples", "ui", "x-fal", "x-fal-order-properties")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field that differs.

    Attributes:
        field: Its path, such as ``loras[].scale``.
        change: ``added``, ``removed`` or ``changed``.
        breaking: A call that was fine before may be refused or mean something else.
    """

    field: str
    change: str
    breaking: bool
    detail: str

    def __str__(self) -> str:
        return f"{self.change} {self.field}: {self.detail}{' [breaking]' if self.breaking else ''}"


def input_changes(old: Schema, new: Schema) -> list[Change]:
    """Compare what a model takes; breaking for those who send arguments."""
    return _schema_changes(old, new, incoming=True)


def output_changes(old: Schema, new: Schema) -> list[Change]:
    """Compare what a model gives back; breaking for those who read results."""
    return _schema_changes(old, new, incoming=False)


def _schema_changes(old: Schema, new: Schema, *, incoming: bool) -> list[Change]:
    found = list(_fields_changes(read_fields(old), read_fields(new), "", incoming=incoming))
    if not found and _without_texts(old) != _without_texts(new):
        where = "inputs" if incoming else "result"
        detail = "a detail that is in the schema only, such as a format"
        found = [Change(field=where, change="changed", breaking=False, detail=detail)]
    return found


def _without_texts(schema: Any) -> Any:
    """Give a schema without what is only said to people."""
    if isinstance(schema, list):
        return [_without_texts(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_texts(part) for name, part in value.items()}
        if key in ("properties", "$defs") and isinstance(value, dict)
        else _without_texts(value)
        for key, value in schema.items()
        if key not in _TEXTS
    }


def _fields_changes(
    old: tuple[Field, ...], new: tuple[Field, ...], at: str, *, incoming: bool
) -> Iterator[Change]:
    before, after = ({field.name: field for field in fields} for fields in (old, new))
    for name, field in before.items():
        if name not in after:
            detail = expectation(field)
            yield Change(field=f"{at}{name}", change="removed", breaking=True, detail=detail)
    for name, field in after.items():
        if name not in before:
            breaking = incoming and field.required and not field.has_default
            detail = _needs(field)
            yield Change(field=f"{at}{name}", change="added", breaking=breaking, detail=detail)
        else:
            yield from _changed(before[name], field, f"{at}{name}", incoming=incoming)


def _needs(field: Field) -> str:
    return f"{'required, ' if field.required else ''}{expectation(field)}"


def _changed(old: Field, new: Field, path: str, *, incoming: bool) -> Iterator[Change]:
    details = [*_differences(old, new)]
    if details:
        breaking = _narrowed(old, new) if incoming else _narrowed(new, old)
        yield Change(field=path, change="changed", breaking=breaking, detail="; ".join(details))
    if old.properties and new.properties:
        yield from _fields_changes(old.properties, new.properties, f"{path}.", incoming=incoming)
    if old.items and new.items:
        yield from _changed(old.items, new.items, f"{path}[]", incoming=incoming)


def _differences(old: Field, new: Field) -> Iterator[str]:
    """Say what differs in the fields themselves; their parts are compared on their own."""
    both = bool(old.choices) and bool(new.choices)
    before, after = (_shallow(field, choices=not both) for field in (old, new))
    parts_kept = bool(old.items) == bool(new.items) and bool(old.properties) == bool(new.properties)
    if before != after:
        yield f"{before} → {after}"
    elif not parts_kept:
        yield f"{expectation(old)} → {expectation(new)}"
    elif _limits(old) != _limits(new):
        yield "limits"
    if both:
        yield from _choices_changed(old.choices, new.choices)
    if old.required != new.required:
        yield "required" if new.required else "no longer required"
    if not same_json(_default(old), _default(new)):
        yield f"default {_show_default(old)} → {_show_default(new)}"


def _shallow(field: Field, *, choices: bool) -> str:
    bare = replace(field, properties=(), items=None)
    if not choices:
        bare = replace(bare, choices=(), closed=False)
        return f"{expectation(bare)}{' (listed)' if field.closed else ''}"
    return expectation(bare)


def _choices_changed(old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[str]:
    gone = [value for value in old if not _is_in(value, new)]
    come = [value for value in new if not _is_in(value, old)]
    for word, values in (("removed", gone), ("added", come)):
        if values:
            yield f"choices {word}: {', '.join(map(show_value, values))}"


def _is_in(value: Any, values: tuple[Any, ...]) -> bool:
    return any(same_json(value, one) for one in values)


def _default(field: Field) -> list[Any]:
    return [field.default] if field.has_default else []


def _show_default(field: Field) -> str:
    return show_value(field.default) if field.has_default else "none"


def _limits(field: Field) -> list[Any]:
    return [getattr(field, name) for name in (*_LOWER, *_UPPER, "multiple_of")]


def _narrowed(old: Field, new: Field) -> bool:
    """Tell whether a value that fitted ``old`` may not fit ``new``."""
    return (
        (new.required and not old.required and not new.has_default)
        or (old.nullable and not new.nullable)
        or not _kinds_kept(old, new)
        or not _choices_kept(old, new)
        or _bounds_narrowed(old, new)
    )


def _kinds_kept(old: Field, new: Field) -> bool:
    wider = {*new.kinds, *(("integer",) if "number" in new.kinds else ())}
    return not new.kinds or (bool(old.kinds) and set(old.kinds) <= wider)


def _choices_kept(old: Field, new: Field) -> bool:
    if not new.choices or not (new.closed or old.choices):
        return True
    return bool(old.choices) and all(_is_in(c, new.choices) for c in old.choices)


_LOWER = ("minimum", "exclusive_minimum", "min_length", "min_items")
_UPPER = ("maximum", "exclusive_maximum", "max_length", "max_items")


def _bounds_narrowed(old: Field, new: Field) -> bool:
    for names, sign in ((_LOWER, 1), (_UPPER, -1)):
        for name in names:
            before, after = getattr(old, name), getattr(new, name)
            if after is not None and (before is None or sign * after > sign * before):
                return True
    return new.multiple_of not in (None, old.multiple_of)
