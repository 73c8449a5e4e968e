"""A model's fields as lines for a fenced block that is labelled as the provider's data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from falq.schema.fields import Field
from falq.schema.flags import negated
from falq.schema.wording import expectation, show_value
from generator.untrusted import fenced

_MAX_LINE_CHARS = 220
#: Optional inputs that a SKILL.md shows; the others are in ``--help``.
_MAX_OPTIONAL = 24
_MAX_OUTPUTS = 20


def required_inputs(fields: Iterable[Field]) -> list[Field]:
    """Give the inputs that a call must have."""
    return [field for field in fields if field.required]


def telling_inputs(fields: Iterable[Field]) -> list[Field]:
    """Give the optional inputs worth showing: those marked important first."""
    optional = [field for field in fields if not field.required and not field.deprecated]
    ranked = sorted(optional, key=lambda field: not field.important)
    return ranked[:_MAX_OPTIONAL]


def input_lines(fields: Iterable[Field], flags: Mapping[str, str]) -> list[str]:
    """Describe inputs, two lines each: flag with what fits, then what fal says."""
    return [line for field in fields for line in _input(field, flags.get(field.name))]


def output_lines(fields: Iterable[Field]) -> list[str]:
    """Describe the keys of a result, one line each."""
    return [
        fenced(f"{field.name}: {_result(field)}", _MAX_LINE_CHARS)
        for field in [*fields][:_MAX_OUTPUTS]
    ]


def _input(field: Field, flag: str | None) -> list[str]:
    given = flag or f'--args {{"{field.name}": …}}'
    if flag and field.kind == "boolean":
        given = f"{flag} / {negated(flag)}"
    repeat = " (repeat the flag for more)" if flag and "array" in field.kinds else ""
    default = f"; default {show_value(field.default)}" if _has_default(field) else ""
    line = f"{given} — {expectation(field)}{default}{repeat}"
    head = fenced(line, 2 * _MAX_LINE_CHARS)
    about = fenced(field.description or field.title, _MAX_LINE_CHARS)
    return [head, f"    {about}"] if about else [head]


def _has_default(field: Field) -> bool:
    return field.has_default and field.default is not None


def _result(field: Field) -> str:
    about = f", {field.description}" if field.description else ""
    return f"{expectation(field)}{about}"
