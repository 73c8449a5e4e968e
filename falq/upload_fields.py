"""The fields that ``--upload-field NAME=PATH`` names, checked before anything is sent. Pure.

A name that no model knows would be uploaded, sent and paid for without any effect.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from falq.errors import ArgumentsError
from falq.files.media_fields import Keys

#: A value that is no path may be a whole file in base64.
_SHOWN_CHARS = 120
_NAME = re.compile(r"[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*|\[\d{1,4}\])*")
_KEY = re.compile(r"([A-Za-z_][\w-]*)|\[(\d+)\]")
_WORD_LIST = """
url uri path file image img picture photo frame mask face portrait garment cloth person human
subject style logo sketch background foreground pose depth control reference source init input
start end first last tail video movie clip motion audio voice speech music sound song vocal
speaker archive zip data document pdf mesh model texture lora weight embedding checkpoint
"""
#: What names of media fields are made of, in the singular.
_WORDS = frozenset(_WORD_LIST.split())
#: Likeness from which on a word is a typing error (difflib).
_CLOSE = 0.75


def place_promised(
    arguments: Mapping[str, Any],
    upload_fields: Sequence[str],
    input_schema: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], dict[Keys, str]]:
    """Put the paths of upload fields into a copy of the arguments; tell where they stand.

    >>> place_promised({"loras": [{"scale": 1}]}, ["loras[0].path=a.bin"], None)
    ({'loras': [{'scale': 1, 'path': 'a.bin'}]}, {('loras', 0, 'path'): 'a.bin'})

    Raises:
        ArgumentsError: One is not ``NAME=PATH``, or no model has such a field.
    """
    deep = [field for field in upload_fields if len(_keys(field)) > 1]
    promised = promised_values(
        [field for field in upload_fields if field not in deep], input_schema
    )
    for field in upload_fields:
        _check_name(str(_keys(field)[0]), arguments, input_schema)
    placed = copy.deepcopy({**arguments, **promised})
    found = _paths_of(promised)
    for field in deep:
        name, path = _named(field)
        _put(placed, name, _keys(field), path)
        found[_keys(field)] = path
    return placed, found


def promised_values(
    upload_fields: Sequence[str], input_schema: Mapping[str, Any] | None
) -> dict[str, str | list[str]]:
    """Give what ``--upload-field`` makes of fields, with paths where addresses will stand.

    A field that takes a list gets one; without a schema, one that is given more than once
    or whose name says ``_urls``.

    >>> promised_values(["image_url=a.png", "image_urls=b.png"], None)
    {'image_url': 'a.png', 'image_urls': ['b.png']}

    Raises:
        ArgumentsError: One is not ``NAME=PATH``.
    """
    paths: dict[str, list[str]] = {}
    for field in upload_fields:
        name, path = _named(field)
        paths.setdefault(name, []).append(path)
    lists = {name: _takes_list(name, len(given), input_schema) for name, given in paths.items()}
    return {name: given if lists[name] else given[0] for name, given in paths.items()}


def shown(path: str) -> str:
    """Give a path for messages, shortened."""
    return repr(path) if len(path) <= _SHOWN_CHARS else f"{path[:_SHOWN_CHARS]!r}…"


def _known_fields(input_schema: Mapping[str, Any] | None) -> dict[str, Any]:
    from falq.schema.fields import read_fields

    return {field.name: field for field in read_fields(dict(input_schema or {}))}


def _takes_list(name: str, count: int, input_schema: Mapping[str, Any] | None) -> bool:
    known = _known_fields(input_schema)
    if name not in known:
        return count > 1 or name.endswith("_urls")
    takes = "array" in known[name].kinds
    if count > 1 and not takes:
        raise ArgumentsError(f"--upload-field {name} is given {count} times: it takes one file")
    return takes and (count > 1 or "string" not in known[name].kinds)


def _check_name(name: str, arguments: Mapping[str, Any], schema: Mapping[str, Any] | None) -> None:
    known = _known_fields(schema)
    if name in arguments or name in known or (schema or {}).get("additionalProperties"):
        return
    meant = difflib.get_close_matches(name, known, n=3)
    if meant:
        hint = f"did you mean {' or '.join(meant)}?"
        raise ArgumentsError(f"--upload-field {name}: the model has no such field", hint)
    if not _is_plausible(name):
        hint = f'if the model has it, say so in --args as well: {{"{name}": ""}}'
        raise ArgumentsError(f"--upload-field {name}: no name of a field for files", hint)


def _is_plausible(name: str) -> bool:
    """Tell whether a name is made of words of media fields and of none that is nearly one.

    >>> [_is_plausible(name) for name in ("image_url", "startFrame2", "image_urll", "prompt")]
    [True, True, False, False]
    """
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    words = [word.rstrip("s") for word in re.split(r"[^a-z]+", parted) if word]
    strange = [word for word in words if word not in _WORDS]
    typos = [w for w in strange if difflib.get_close_matches(w, _WORDS, n=1, cutoff=_CLOSE)]
    return len(strange) < len(words) and not typos


def _named(field: str) -> tuple[str, str]:
    name, equals, path = field.partition("=")
    if not (name and equals and path):
        raise ArgumentsError(f"--upload-field {shown(field)}: expected NAME=PATH")
    if _NAME.fullmatch(name) is None:
        message = f"--upload-field {shown(name)}: no name of a field"
        raise ArgumentsError(message, "NAME is image_url, or a place such as loras[0].path")
    return name, path


def _keys(field: str) -> Keys:
    name, _ = _named(field)
    return tuple(key or int(index) for key, index in _KEY.findall(name))


def _put(arguments: Any, name: str, keys: Keys, path: str) -> None:
    place = arguments
    try:
        for key in keys[:-1]:
            place = place[key]
        last = keys[-1]
        if isinstance(last, int) != isinstance(place, list):
            raise TypeError
        if isinstance(last, int):
            _ = place[last]
        place[last] = path
    except (KeyError, IndexError, TypeError) as err:
        message = f"--upload-field {name}: the arguments have no such place"
        raise ArgumentsError(message, "give what surrounds it in --args") from err


def _paths_of(promised: Mapping[str, str | list[str]]) -> dict[Keys, str]:
    found: dict[Keys, str] = {}
    for name, value in promised.items():
        if isinstance(value, str):
            found[(name,)] = value
        else:
            found |= {(name, index): path for index, path in enumerate(value)}
    return found
