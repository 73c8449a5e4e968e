"""What the generator's commands print: JSON for programs, tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from falq.cli.show import Voice, emit, emit_table
from falq.schema.fields import Field
from falq.schema.wording import expectation, show_number, show_value
from generator.description import price_line
from generator.fetching import Found, FoundModel
from generator.generated_files import RECORD
from generator.generation import Made
from generator.model_facts import ModelFacts
from generator.untrusted import plain

_MAX_CELL_CHARS = 100
#: What a user must be able to copy is not cut.
_WHOLE_CHARS = 20_000
_SCHEMA_WORDS = {
    "unchanged": "the model's schema has not changed",
    "texts changed": "only texts of the model's schema have changed",
    "unknown": "there is no earlier schema to compare with",
}


def print_found(found: Found, *, table: bool, voice: Voice) -> None:
    """Print the models of a search."""
    if not table:
        models = [_found_dict(model) for model in found.models]
        emit({"models": models, "next_cursor": found.next_cursor})
        return
    rows = (_cells(model) for model in found.models)
    emit_table(("id", "name", "category", "price", "updated"), rows, whole=("id",))
    if found.next_cursor:
        voice.say(f"more: --cursor {plain(found.next_cursor, 200)}  (or a larger --limit)")


def print_made(made: Sequence[Made], *, table: bool, voice: Voice) -> None:
    """Print the skills that were made, with what changed in their schemas."""
    for one in made:
        _talk_about(one, voice)
    _talk_about_creator(made, voice)
    if not table:
        emit({"skills": [one.to_dict() for one in made]})
        return
    emit_table(
        ("skill", "model", "status", "path"),
        ((one.tree.name, one.facts.model_id, one.status, one.path) for one in made),
    )


def print_schema(facts: ModelFacts, *, table: bool, voice: Voice) -> None:
    """Print what a model takes, gives and costs."""
    if not table:
        emit(_schema_dict(facts))
        return
    voice.say(f"{facts.model_id}: {facts.title} ({facts.category})")
    voice.say(price_line(facts))
    rows = [*_field_rows("in", facts.inputs), *_field_rows("out", facts.outputs)]
    emit_table(("", "field", "fits", "default", "about"), rows)


def _found_dict(model: FoundModel) -> dict[str, Any]:
    entry = model.entry
    return {
        "model_id": entry.model_id,
        "name": plain(entry.title, 200),
        "category": plain(entry.category, 60),
        "description": plain(entry.description, 1000),
        "deprecated": entry.deprecated,
        "updated_at": entry.updated_at,
        "price": _price_dict(model),
    }


def _price_dict(model: FoundModel) -> dict[str, Any] | None:
    price = model.price
    if price is None:
        return None
    return {"unit_price": price.unit_price, "unit": price.unit, "currency": price.currency}


def _cells(model: FoundModel) -> tuple[str, ...]:
    entry, price = model.entry, model.price
    cost = f"{show_number(price.unit_price)} {price.currency}/{price.unit}" if price else ""
    name = f"{entry.title}{' (deprecated)' if entry.deprecated else ''}"
    updated = (entry.updated_at or "")[:10]
    return tuple(
        plain(cell, _MAX_CELL_CHARS)
        for cell in (entry.model_id, name, entry.category, cost, updated)
    )


def _talk_about(made: Made, voice: Voice) -> None:
    name = made.tree.name
    if made.facts.deprecated:
        voice.warn(f"fal marks {made.facts.model_id} as deprecated; it may stop working")
    for warning in made.warnings:
        voice.warn(plain(warning, 600))
    for change in made.changes:
        voice.say(f"{name}: {plain(change, 300)}")
    if made.schema in _SCHEMA_WORDS:
        voice.say(f"{name}: {_SCHEMA_WORDS[made.schema]}")
    if made.status == "planned":
        voice.say(f"{made.path}/")
        for path in sorted([*made.tree.files, *made.tree.links, RECORD]):
            arrow = f" -> {made.tree.links[path]}" if path in made.tree.links else ""
            voice.say(f"  {path}{arrow}")
    else:
        voice.say(f"{made.status} {made.path}: read {made.path / 'SKILL.md'}")


def _talk_about_creator(made: Sequence[Made], voice: Voice) -> None:
    creator = made[0].creator if made else None
    if creator is not None and creator.status != "kept":
        voice.say(f"{creator.status} {creator.path}/, which holds the scripts that skills link to")


def _schema_dict(facts: ModelFacts) -> dict[str, Any]:
    return {
        "model_id": facts.model_id,
        "name": facts.title,
        "category": facts.category,
        "description": facts.description,
        "deprecated": facts.deprecated,
        "price": facts.price.to_dict() if facts.price else None,
        "inputs": [_field_dict(field) for field in facts.inputs],
        "outputs": [_field_dict(field) for field in facts.outputs],
        "input_schema": facts.schema.input,
        "output_schema": facts.schema.output,
    }


def _field_dict(field: Field) -> dict[str, Any]:
    shown = {
        "name": field.name,
        "kinds": list(field.kinds),
        "required": field.required,
        "nullable": field.nullable,
        "fits": expectation(field),
        "choices": list(field.choices),
        "media": field.media,
        "description": plain(field.description, 1000),
        "examples": list(field.examples),
    }
    return {**shown, "default": field.default} if field.has_default else shown


def _field_rows(side: str, fields: Iterable[Field]) -> list[tuple[str, ...]]:
    return [
        (
            side,
            plain(f"{field.name}{' *' if field.required and side == 'in' else ''}", 60),
            plain(expectation(field), _WHOLE_CHARS),
            plain(show_value(field.default), _MAX_CELL_CHARS) if field.has_default else "",
            plain(field.description or field.title, _WHOLE_CHARS),
        )
        for field in fields
    ]
