"""Checks of arguments against a model's schema, answered in fal's words (fal-api.md §4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

Detail = dict[str, Any]

_TYPES: Mapping[str, tuple[str, str]] = {
    "string": ("string_type", "Input should be a valid string"),
    "integer": ("int_type", "Input should be a valid integer"),
    "number": ("float_type", "Input should be a valid number"),
    "boolean": ("bool_type", "Input should be a valid boolean"),
    "array": ("list_type", "Input should be a valid list"),
    "object": ("model_attributes_type", "Input should be a valid dictionary or object"),
    "null": ("none_required", "Input should be None"),
}

#: Keyword of the schema: fal's type, the name of the limit in ``ctx``, the words.
_LIMITS: Mapping[str, tuple[str, str, str]] = {
    "minimum": ("greater_than_equal", "ge", "Input should be greater than or equal to {}"),
    "maximum": ("less_than_equal", "le", "Input should be less than or equal to {}"),
    "exclusiveMinimum": ("greater_than", "gt", "Input should be greater than {}"),
    "exclusiveMaximum": ("less_than", "lt", "Input should be less than {}"),
    "multipleOf": ("multiple_of", "multiple_of", "Input should be a multiple of {}"),
    "minLength": ("sequence_too_short", "min_length", "Should have at least {} characters"),
    "maxLength": ("sequence_too_long", "max_length", "Should have at most {} characters"),
    "minItems": ("sequence_too_short", "min_length", "Should have at least {} items"),
    "maxItems": ("sequence_too_long", "max_length", "Should have at most {} items"),
}
_POLICY_MARK = "[[policy]]"


class ArgumentChecker:
    """Checks arguments against the input schema of one OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        posts = (item["post"] for item in document["paths"].values() if "post" in item)
        schema = next(posts)["requestBody"]["content"]["application/json"]["schema"]
        root = {**schema, "components": document["components"]}
        self._validator = Draft202012Validator(root)

    def problems(self, arguments: Any) -> list[Detail]:
        """List what fal would refuse, empty if nothing."""
        if not isinstance(arguments, dict):
            return [_no_object(arguments)]
        found = [
            detail for error in self._validator.iter_errors(arguments) for detail in _details(error)
        ]
        return found or [*_policy(arguments), *_unreachable(arguments)]


def content_policy(prompt: Any) -> Detail:
    """Refuse a prompt as fal's content checker does."""
    words = "The content could not be processed because it contained material flagged"
    return _detail(
        ("prompt",), f"{words} by a content checker.", "content_policy_violation", prompt
    )


def _details(error: ValidationError) -> Iterator[Detail]:
    if error.validator == "anyOf":
        for inner in error.context or ():
            if inner.validator_value != "null":
                yield from _details(inner)
    elif error.validator == "required":
        yield from _missing(error)
    else:
        yield _single(error)


def _missing(error: ValidationError) -> Iterator[Detail]:
    # jsonschema raises one error for each absent name and tells it in its message only.
    name = error.message.partition("'")[2].partition("'")[0]
    yield _detail((*error.absolute_path, name), "Field required", "missing", error.instance)


def _single(error: ValidationError) -> Detail:
    word, limit = str(error.validator), error.validator_value
    path, given = tuple(error.absolute_path), error.instance
    if word in _LIMITS:
        kind, name, words = _LIMITS[word]
        return _detail(path, words.format(limit), kind, given, {name: limit})
    if word == "enum" and isinstance(limit, list):
        expected = _either(limit)
        ctx = {"expected": expected}
        return _detail(path, f"Input should be {expected}", "literal_error", given, ctx)
    if word == "type":
        kind, words = _TYPES[str(limit)]
        return _detail(path, words, kind, given)
    return _detail(path, error.message, "value_error", given)


def _either(values: list[Any]) -> str:
    quoted = [repr(value) for value in values]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def _detail(
    path: tuple[Any, ...], msg: str, kind: str, given: Any, ctx: Detail | None = None
) -> Detail:
    found: Detail = {"loc": ["body", *path], "msg": msg, "type": kind}
    found["url"] = f"https://docs.fal.ai/errors/#{kind}"
    return {**found, **({"ctx": ctx} if ctx else {}), "input": given}


def _no_object(given: Any) -> Detail:
    words = "Input should be a valid dictionary or object to extract fields from"
    return _detail((), words, "model_attributes_type", given)


def _policy(arguments: Mapping[str, Any]) -> list[Detail]:
    prompt = arguments.get("prompt")
    flagged = isinstance(prompt, str) and _POLICY_MARK in prompt
    return [content_policy(prompt)] if flagged else []


def _unreachable(arguments: Mapping[str, Any]) -> list[Detail]:
    schemes = ("http://", "https://", "data:")
    words = "Failed to download the file. Please check if the URL is accessible and try again."
    return [
        _detail((name,), words, "file_download_error", value)
        for name, value in arguments.items()
        if name.endswith("_url") and isinstance(value, str) and not value.startswith(schemes)
    ]
