"""What changed between two schemas of a model, and what of it breaks callers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from falq.schema.fields import Field, read_fields
from falq.schema.normal_form import Schema
from falq.schema.wording import expectation, show_value


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field that differs.

    Attributes:
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
    return list(_changes(old, new, incoming=True))


def output_changes(old: Schema, new: Schema) -> list[Change]:
    """Compare what a model gives back; breaking for those who read results."""
    return list(_changes(old, new, incoming=False))


def _changes(old: Schema, new: Schema, *, incoming: bool) -> Iterator[Change]:
    before = {field.name: field for field in read_fields(old)}
    after = {field.name: field for field in read_fields(new)}
    for name, field in before.items():
        if name not in after:
            yield Change(field=name, change="removed", breaking=True, detail=expectation(field))
    for name, field in after.items():
        if name not in before:
            breaking = incoming and field.required and not field.has_default
            yield Change(field=name, change="added", breaking=breaking, detail=_needs(field))
        else:
            yield from _changed(before[name], field, incoming=incoming)


def _needs(field: Field) -> str:
    return f"{'required, ' if field.required else ''}{expectation(field)}"


def _changed(old: Field, new: Field, *, incoming: bool) -> Iterator[Change]:
    details = []
    if expectation(old) != expectation(new):
        details.append(f"{expectation(old)} → {expectation(new)}")
    if old.required != new.required:
        details.append("required" if new.required else "no longer required")
    if _default(old) != _default(new):
        details.append(f"default {_default(old)} → {_default(new)}")
    if details:
        breaking = _narrowed(old, new) if incoming else _narrowed(new, old)
        yield Change(field=new.name, change="changed", breaking=breaking, detail="; ".join(details))


def _default(field: Field) -> str:
    return show_value(field.default) if field.has_default else "none"


def _narrowed(old: Field, new: Field) -> bool:
    """Tell whether a value that fitted ``old`` may not fit ``new``."""
    return (
        (new.required and not old.required and not new.has_default)
        or (old.nullable and not new.nullable)
        or not _kinds_kept(old, new)
        or not _choices_kept(old, new)
        or _bounds_narrowed(old, new)
        or _parts_narrowed(old, new)
    )


def _kinds_kept(old: Field, new: Field) -> bool:
    wider = {*new.kinds, *(("integer",) if "number" in new.kinds else ())}
    return not new.kinds or (bool(old.kinds) and set(old.kinds) <= wider)


def _choices_kept(old: Field, new: Field) -> bool:
    if not new.choices or not (new.closed or old.choices):
        return True
    return bool(old.choices) and all(choice in new.choices for choice in old.choices)


_LOWER = ("minimum", "exclusive_minimum", "min_length", "min_items")
_UPPER = ("maximum", "exclusive_maximum", "max_length", "max_items")


def _bounds_narrowed(old: Field, new: Field) -> bool:
    for names, sign in ((_LOWER, 1), (_UPPER, -1)):
        for name in names:
            before, after = getattr(old, name), getattr(new, name)
            if after is not None and (before is None or sign * after > sign * before):
                return True
    return new.multiple_of not in (None, old.multiple_of)


def _parts_narrowed(old: Field, new: Field) -> bool:
    if old.items and new.items and _narrowed(old.items, new.items):
        return True
    before = {part.name: part for part in old.properties}
    after = {part.name: part for part in new.properties}
    gone = bool(after) and any(name not in after for name in before)
    demanded = any(p.required and p.name not in before for p in new.properties) and bool(before)
    both = before.keys() & after.keys()
    return gone or demanded or any(_narrowed(before[n], after[n]) for n in both)
