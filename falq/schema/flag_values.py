"""Turn what stands on a command line into the JSON value of a field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from falq.errors import ArgumentsError
from falq.schema.fields import Field
from falq.schema.wording import expectation


def value_from_text(text: str, field: Field) -> Any:
    """Read one flag's text by the types of its field.

    Text that fits no type is given back as it is: the check against the schema refuses it in
    words.

    Raises:
        ArgumentsError: It begins like a JSON object or list and breaks off.

    >>> value_from_text("5", Field(name="d", kinds=("string",), choices=("5", "10")))
    '5'
    >>> value_from_text('{"width": 8}', Field(name="s", kinds=("object", "string")))
    {'width': 8}
    >>> value_from_text("5", Field(name="d", kinds=("integer", "string"), closed_kinds=("string",)))
    5
    """
    matched = [choice for choice in field.choices if _spelt(choice) == text]
    if matched:
        return matched[0]
    if field.kinds == ("string",):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip()[:1] in ("{", "[") and "string" not in field.free_kinds:
            raise _broken(text, field, error) from error
        return text
    except (ValueError, RecursionError):
        return text
    return value if _is_wanted(value, field) else text


def values_from_texts(texts: Sequence[str], field: Field) -> list[Any]:
    """Read a repeated flag as a list; a single JSON array stands for the whole list.

    >>> values_from_texts(("a", "b"), Field(name="tags", kinds=("array",)))
    ['a', 'b']
    >>> values_from_texts(('["a", "b"]',), Field(name="tags", kinds=("array",)))
    ['a', 'b']
    """
    items = field.items or Field(name=field.name)
    if len(texts) == 1 and texts[0].lstrip().startswith("["):
        whole = value_from_text(texts[0], Field(name=field.name, kinds=("array",)))
        if isinstance(whole, list):
            return whole
    return [value_from_text(text, items) for text in texts]


def _broken(text: str, field: Field, error: json.JSONDecodeError) -> ArgumentsError:
    near = text[max(0, error.pos - 20) : error.pos + 20].replace("\n", " ")
    where = f"at line {error.lineno} column {error.colno} (near {near!r})"
    return ArgumentsError(
        f"{field.name} is not valid JSON: {error.msg} {where}, expected {expectation(field)}",
        detail=[{"field": field.name, "expected": "JSON", "suggestion": None}],
    )


def _spelt(choice: Any) -> str:
    return choice if isinstance(choice, str) else json.dumps(choice)


def _is_wanted(value: Any, field: Field) -> bool:
    if value is None:
        return field.nullable and "string" not in field.free_kinds
    # A number given where any text is allowed too may be meant as either: fal's ids look so.
    return isinstance(value, dict | list) or "string" not in field.free_kinds
