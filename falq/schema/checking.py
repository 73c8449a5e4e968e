"""Check a model's arguments against its schema, before anything is sent or paid.

A validator of our own for the keywords of the normal form: it starts in no time (the
jsonschema package costs 60 ms, more than the whole of a warm call), names what was expected
in words, and reads no pattern of an untrusted document. A property test holds it to the
verdicts of jsonschema.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from falq.errors import ArgumentsError
from falq.schema.fields import Field, json_type, read_field, read_fields
from falq.schema.media import contradicts, is_remote, suffix_kind
from falq.schema.normal_form import Schema, is_number, resolve
from falq.schema.wording import Style, expectation, show_value

#: Recursive schemas end here; deeper values are left to fal.
_MAX_DEPTH = 64
_MAX_SHOWN = 5
_STYLE = Style(max_choices=24, more="--help lists them")
#: Stands for a local path that will be uploaded.
_PLACEHOLDER = "https://v3.fal.media/files/uploaded-file"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One value that does not fit.

    Attributes:
        path: Such as ``loras[0].scale``; empty for the arguments themselves.
        expected: What would fit, in words.
        depth: How far inside the arguments: of several explanations the deepest is meant.
    """

    path: str
    value: Any
    expected: str
    depth: int = 0
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f" (did you mean {self.suggestion}?)" if self.suggestion else ""
        if self.value is MISSING:
            return f"`{self.path}` is {self.expected}{hint}"
        given = f"got {show_value(self.value)}, expected {self.expected}"
        return f"{self.path or 'arguments'}: {given}{hint}"


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()


def check_arguments(arguments: Any, schema: Schema, *, hint: str = "nothing was sent") -> list[str]:
    """Refuse arguments that do not fit, and give warnings about those that nobody knows.

    Args:
        arguments: What would be sent; a local path in a media field counts as uploaded.
        schema: The model's input schema in normal form (``falq.schema.normal_form``).
        hint: Of the error.

    Raises:
        ArgumentsError: ``detail`` holds ``{field, expected, suggestion}`` for each problem.
    """
    fields = read_fields(schema)
    candidate = _as_if_uploaded(arguments, fields)
    unknown = list(_unknown(candidate, fields, ""))
    misspelt = [problem for problem in unknown if problem.suggestion]
    told = {problem.path for problem in misspelt}
    found = [*misspelt, *(p for p in problems(candidate, schema) if p.path not in told)]
    if found:
        raise _refusal(found, hint)
    odd = [f"{one.path!r} is not in the model's schema; it is sent as it is" for one in unknown]
    return [*odd, *_wrong_kinds(arguments, fields, "")]


def problems(value: Any, schema: Schema) -> list[Problem]:
    """List what does not fit a schema in normal form, in the order of the document."""
    return list(_Checker(schema).check(value, schema, "", 0))


def with_required_defaults(arguments: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """Fill in required fields that the schema itself has a default for (fal-api.md §6.7)."""
    wanted = {f.name: f.default for f in read_fields(schema) if f.required and f.has_default}
    return {**wanted, **arguments}


def near_miss(name: str, known: list[str]) -> str | None:
    """Find the known name that was probably meant.

    >>> near_miss("num-images", ["num_images", "seed"]), near_miss("colour", ["seed"])
    ('num_images', None)
    """
    plain = {k.lower().replace("-", "_"): k for k in reversed(known)}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), plain, n=1, cutoff=0.75)
    return plain[close[0]] if close else None


def _refusal(found: list[Problem], hint: str) -> ArgumentsError:
    shown = "; ".join(str(problem) for problem in found[:_MAX_SHOWN])
    rest = f"; and {len(found) - _MAX_SHOWN} more" if len(found) > _MAX_SHOWN else ""
    detail = [
        {"field": p.path, "expected": p.expected, "suggestion": p.suggestion or None} for p in found
    ]
    return ArgumentsError(f"{shown}{rest}", hint, detail=detail)


def _as_if_uploaded(arguments: Any, fields: tuple[Field, ...]) -> Any:
    if not isinstance(arguments, dict):
        return arguments
    media = {field.name for field in fields if field.media}
    return {name: _uploaded(v) if name in media else v for name, v in arguments.items()}


def _uploaded(value: Any) -> Any:
    if isinstance(value, list):
        return [_uploaded(part) for part in value]
    local = isinstance(value, str) and value and not is_remote(value)
    return _PLACEHOLDER if local else value


def _wrong_kinds(value: Any, fields: tuple[Field, ...], at: str) -> Iterator[str]:
    """Warn of local files whose names say that they are of another kind than is wanted."""
    known = {field.name: field for field in fields}
    for name, part in value.items() if isinstance(value, dict) else ():
        if name in known:
            yield from _wrong_kind(part, known[name], _join(at, name))


def _wrong_kind(value: Any, field: Field, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from _wrong_kind(part, field.items or field, f"{path}[{index}]")
    elif isinstance(value, dict):
        yield from _wrong_kinds(value, field.properties, path)
    elif isinstance(value, str) and not is_remote(value) and contradicts(value, field.media):
        wanted, said = field.media, suffix_kind(value)
        yield f"{path} takes a file of kind {wanted}: {show_value(value)} is named like {said}"


def _unknown(value: Any, fields: tuple[Field, ...], at: str) -> Iterator[Problem]:
    """Find keys that the schema does not name, here and in the objects inside."""
    if not isinstance(value, dict) or not fields:
        return
    known = {field.name: field for field in fields}
    for name, part in value.items():
        path = _join(at, str(name))
        if name in known:
            yield from _unknown_inside(part, known[name], path)
            continue
        meant = near_miss(str(name), list(known))
        yield Problem(
            path=path,
            value=MISSING,
            expected="not a field of this model",
            suggestion=meant if meant and meant not in value else "",
        )


def _unknown_inside(value: Any, field: Field, path: str) -> Iterator[Problem]:
    if not field.parts_known:
        return
    if isinstance(value, list) and field.items is not None:
        for index, part in enumerate(value):
            yield from _unknown_inside(part, field.items, f"{path}[{index}]")
    else:
        yield from _unknown(value, field.properties, path)


class _Checker:
    def __init__(self, root: Schema) -> None:
        self._root = root

    def check(self, value: Any, schema: Schema, path: str, depth: int) -> Iterator[Problem]:
        if depth > _MAX_DEPTH:
            return
        schema = resolve(schema, self._root)
        if not self._scalar_fits(value, schema):
            yield self._problem(value, schema, path, depth)
            return
        for part in schema.get("allOf", ()):
            yield from self.check(value, part, path, depth + 1)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                yield from self._one_fits(value, schema, key, path, depth)
        if isinstance(value, dict):
            yield from self._object(value, schema, path, depth)
        if isinstance(value, list):
            yield from self._list(value, schema, path, depth)

    def _scalar_fits(self, value: Any, schema: Schema) -> bool:
        return all(fits(value, schema[key]) for key, fits in _RULES.items() if key in schema)

    def _problem(self, value: Any, schema: Schema, path: str, depth: int) -> Problem:
        field = read_field(schema, self._root)
        return Problem(
            path=path,
            value=value,
            expected=expectation(field, _STYLE),
            depth=depth,
            suggestion=_meant_choice(value, field),
        )

    def _one_fits(
        self, value: Any, schema: Schema, key: str, path: str, depth: int
    ) -> Iterator[Problem]:
        tries = [list(self.check(value, part, path, depth + 1)) for part in schema[key]]
        fitting = sum(not found for found in tries)
        if fitting == 1 or (fitting and key == "anyOf"):
            return
        inside = [found for found in tries if found and found[0].path != path]
        if len(inside) == 1:
            yield from inside[0]
        else:
            yield self._problem(value, schema, path, depth)

    def _object(
        self, value: dict[str, Any], schema: Schema, path: str, depth: int
    ) -> Iterator[Problem]:
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                field = read_field(properties.get(name, {}), self._root)
                wanted = f"required: {expectation(field, _STYLE)}"
                yield Problem(path=_join(path, name), value=MISSING, expected=wanted, depth=depth)
        others = schema.get("additionalProperties", True)
        for name, part in value.items():
            inner = _join(path, name)
            if name in properties:
                yield from self.check(part, properties[name], inner, depth + 1)
            elif others is False:
                yield Problem(path=inner, value=MISSING, expected="not allowed", depth=depth)
            elif isinstance(others, dict):
                yield from self.check(part, others, inner, depth + 1)

    def _list(self, value: list[Any], schema: Schema, path: str, depth: int) -> Iterator[Problem]:
        heads = schema.get("prefixItems", [])
        for index, part in enumerate(value):
            inner = heads[index] if index < len(heads) else schema.get("items", {})
            yield from self.check(part, inner, f"{path}[{index}]", depth + 1)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _meant_choice(value: Any, field: Field) -> str:
    if not field.choices or isinstance(value, dict | list):
        return ""
    shown = {str(choice): choice for choice in reversed(field.choices)}
    meant = near_miss(str(value), list(shown)) if value is not None else None
    return show_value(shown[meant]) if meant is not None else ""


def same_json(first: Any, second: Any) -> bool:
    """Tell whether two JSON values are the same.

    >>> same_json(1, 1.0), same_json([1], [True])
    (True, False)
    """
    # Python holds 1 == True; JSON does not.
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same_json, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same_json(first[k], second[k]) for k in first)
    return bool(first == second)


def _is_type(value: Any, kind: Any) -> bool:
    if isinstance(kind, list):
        return any(_is_type(value, one) for one in kind)
    actual = json_type(value)
    if kind == "integer" and actual == "number":
        return bool(value == int(value)) if abs(value) < float("inf") else False
    return actual == kind or (kind == "number" and actual == "integer")


def _is_multiple(value: Any, step: Any) -> bool:
    ratio = value / step
    return abs(ratio - round(ratio)) < 1e-9 if abs(ratio) < 1e15 else True


def _unique(value: list[Any], wanted: Any) -> bool:
    pairs = ((a, b) for i, a in enumerate(value) for b in value[:i])
    return not wanted or not any(same_json(a, b) for a, b in pairs)


def _if_number(rule: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, bound: not is_number(value) or rule(value, bound)


def _if_kind(kind: type, rule: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, bound: not isinstance(value, kind) or rule(value, bound)


_RULES: Mapping[str, Callable[[Any, Any], bool]] = {
    "type": _is_type,
    "enum": lambda value, allowed: any(same_json(value, one) for one in allowed),
    "const": same_json,
    "minimum": _if_number(lambda value, bound: bool(value >= bound)),
    "maximum": _if_number(lambda value, bound: bool(value <= bound)),
    "exclusiveMinimum": _if_number(lambda value, bound: bool(value > bound)),
    "exclusiveMaximum": _if_number(lambda value, bound: bool(value < bound)),
    "multipleOf": _if_number(_is_multiple),
    "minLength": _if_kind(str, lambda value, bound: len(value) >= bound),
    "maxLength": _if_kind(str, lambda value, bound: len(value) <= bound),
    "minItems": _if_kind(list, lambda value, bound: len(value) >= bound),
    "maxItems": _if_kind(list, lambda value, bound: len(value) <= bound),
    "uniqueItems": _if_kind(list, _unique),
}
