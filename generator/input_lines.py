"""A model's fields as lines for a fenced block that is labelled as the provider's data."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from falq.schema.examples import part_example
from falq.schema.fields import Field
from falq.schema.flags import negated
from falq.schema.wording import Style, expectation, part_lines, show_value
from generator.untrusted import as_json, fenced, is_innocent, plain

_MAX_LINE_CHARS = 220
_MAX_PARTS_CHARS = 600
_MAX_ABOUT_CHARS = 2000
#: Choices that a SKILL.md shows of one input.
_MAX_CHOICES = 24
#: Optional inputs that a SKILL.md shows; the others are in ``--help``.
_MAX_OPTIONAL = 24
_MAX_OUTPUTS = 20
_INDENT = "    "
_SHORT = Style(max_choices=_MAX_CHOICES, more="--help")
_RESULT = Style(max_choices=_MAX_CHOICES, of_result=True)


def required_inputs(fields: Iterable[Field]) -> list[Field]:
    """Give the inputs that a call must have."""
    return [field for field in fields if field.required]


def telling_inputs(fields: Iterable[Field]) -> list[Field]:
    """Give the optional inputs worth showing: those marked important first."""
    optional = [field for field in fields if not field.required and not field.deprecated]
    ranked = sorted(optional, key=lambda field: not field.important)
    return ranked[:_MAX_OPTIONAL]


def input_lines(fields: Iterable[Field], flags: Mapping[str, str]) -> list[str]:
    """Describe inputs: flag with what fits, then what fal says, then parts and an example."""
    return [line for field in fields for line in _input(field, flags.get(field.name))]


def input_entries(fields: Iterable[Field], flags: Mapping[str, str]) -> dict[str, Any]:
    """Describe inputs by name, whole, for a reference file."""
    return {field.name: _entry(field, flags.get(field.name)) for field in fields}


def output_lines(fields: Iterable[Field]) -> list[str]:
    """Describe the keys of a result: what each is, then its parts."""
    lines = []
    for field in [*fields][:_MAX_OUTPUTS]:
        about = f", {field.description}" if field.description else ""
        line = f"{field.name}: {expectation(field, _RESULT)}{about}"
        lines += [fenced(line, _MAX_LINE_CHARS), *_parts(field, _RESULT)]
    return lines


def _input(field: Field, flag: str | None) -> list[str]:
    given = flag or f'--args {{"{field.name}": …}}'
    if flag and field.kind == "boolean":
        given = f"{flag} / {negated(flag)}"
    repeat = " (repeat the flag for more)" if flag and "array" in field.kinds else ""
    default = f"; default {show_value(field.default)}" if _has_default(field) else ""
    line = f"{given} — {expectation(field, _SHORT)}{default}{repeat}"
    about = fenced(field.description or field.title, _MAX_LINE_CHARS)
    sample = sample_words(field, flag) if flag else []
    return [
        fenced(line, 8 * _MAX_LINE_CHARS),
        *([f"{_INDENT}{about}"] if about else []),
        *_parts(field, _SHORT),
        *([f"{_INDENT}such as {shlex.join(sample)}"] if sample else []),
    ]


def _parts(field: Field, style: Style) -> list[str]:
    return [f"{_INDENT}{fenced(line, _MAX_PARTS_CHARS)}" for line in part_lines(field, style)]


def _entry(field: Field, flag: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"flag": flag, "required": field.required, "fits": expectation(field)}
    if field.has_default:
        entry["default"] = field.default
    if field.description or field.title:
        entry["about"] = plain(field.description or field.title, _MAX_ABOUT_CHARS)
    parts = part_lines(field)
    return {**entry, "parts": parts} if parts else entry


def sample_words(field: Field, flag: str) -> list[str]:
    """Give an input with parts as words of a command; nothing if it has none."""
    sample = part_example(field, is_innocent)
    text = as_json(sample) if sample else ""
    return [flag, text] if text and len(text) <= _MAX_LINE_CHARS else []


def _has_default(field: Field) -> bool:
    return field.has_default and field.default is not None
